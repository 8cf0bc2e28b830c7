"""When an observer may measure: every so many steps, within a budget of seconds or a share of the training's time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steppe.core import check_integer, check_number


class Pacing:
    """Decides at which steps an observer measures.

    Args:
        every: Measure at steps divisible by this at most.
        budget: Seconds of measuring in all, or None.
        overhead: Largest ratio of measuring to training time, such as 0.05, or None. The first measurement is always
            made; later ones wait until the training has earned the cost of the last.
        clock: Seconds, monotonic.

    Attributes:
        measuring: Seconds spent on measurements.
        training: Seconds between them.
        measured: How many were made.

    Raises:
        ParameterError: A number is out of range.
    """

    def __init__(
        self,
        *,
        every: int = 1,
        budget: float | None = None,
        overhead: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.every = check_integer("every", every, minimum=1)
        self.budget = None if budget is None else check_number("budget", budget, above=0.0)
        self.allowed = None if overhead is None else check_number("overhead", overhead, above=0.0)
        self._clock = clock
        self.measuring = self.training = 0.0
        self.measured = 0
        self._last_cost = 0.0
        self._left: float | None = None

    @property
    def overhead(self) -> float:
        """Measuring time as a share of the training time so far; NaN before there is any."""
        return self.measuring / self.training if self.training > 0 else float("nan")

    @property
    def over(self) -> str:
        """Why nothing more will be measured, or nothing."""
        if self.budget is not None and self.measured and self.measuring + self._last_cost > self.budget:
            return f"the budget of {self.budget:g} s is spent ({self.measuring:.3g} s in {self.measured} checks)"
        return ""

    def due(self, step: int) -> bool:
        """Whether to measure at this step; called at every step, it takes the time of training."""
        now = self._clock()
        if self._left is not None:
            self.training += now - self._left
        self._left = now
        if step % self.every or self.over:
            return False
        earned = self.allowed is None or self.measuring + self._last_cost <= self.allowed * self.training
        return earned or not self.measured

    @contextmanager
    def spending(self) -> Iterator[None]:
        """A context around a measurement."""
        began = self._clock()
        try:
            yield
        finally:
            self._left = self._clock()
            self._last_cost = self._left - began
            self.measuring += self._last_cost
            self.measured += 1
