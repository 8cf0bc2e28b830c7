"""When an iteration must end, and how far it has come."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from steppe.core import KindError, check_integer, check_number

# Called with products done, products expected (None if unknown) and a few words.
Report = Callable[[int, int | None, str], Any]
Progress = bool | Report


class Pace:
    """Counts products against limits on time and number, and shows how far an iteration has come.

    A routine asks `over` before each step and ends with what it has when a reason comes back. The clock starts when
    the pace is made. A step that would not fit into the budget any more, judged by the mean step so far, is not begun.

    Args:
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, a callable (done, total or None, text), or False.
        total: Products expected, for the bar.
        max_products: Products allowed, None for any number.
        agree: Makes one decision of those that several processes take by their clocks; called only with a budget.

    Raises:
        ParameterError: A limit is out of range.
        KindError: `progress` is neither a bool nor callable.

    Example:
        >>> with Pace(max_products=3) as pace:
        ...     while not pace.over:
        ...         pace.advance(1)
        >>> pace.done, pace.over
        (3, 'products ran out; raise `max_products`')
    """

    def __init__(
        self,
        budget: float | None = None,
        progress: Progress = False,  # noqa: FBT002 - the second of two limits everywhere
        *,
        total: int | None = None,
        max_products: int | None = None,
        agree: Callable[[bool], bool] | None = None,
    ) -> None:
        self.budget = None if budget is None else check_number("budget", budget, above=0.0)
        self.max_products = None if max_products is None else check_integer("max_products", max_products, minimum=1)
        if not isinstance(progress, bool) and not callable(progress):
            raise KindError(
                f"`progress` must be a bool or a callable (done, total, text), got {type(progress).__name__}; pass True"
            )
        self._agree = agree
        self._late = False
        self._progress = progress
        self._bar: Any = None
        self._began = time.perf_counter()
        self.total = total
        self.done = 0
        self.steps = 0

    @property
    def seconds(self) -> float:
        """Time since the pace was made."""
        return time.perf_counter() - self._began

    @property
    def over(self) -> str:
        """Why another step must not begin; empty while it may."""
        if self.max_products is not None and self.done >= self.max_products:
            return "products ran out; raise `max_products`"
        if self.budget is not None and self.steps and not self._late:
            late = self.seconds * (1 + 1 / self.steps) > self.budget
            self._late = late if self._agree is None else self._agree(late)
        if self._late:
            return f"the budget of {self.budget:g} s ran out; raise `budget`"
        return ""

    @property
    def left(self) -> int | None:
        """Products that are still allowed, None for any number."""
        return None if self.max_products is None else max(self.max_products - self.done, 0)

    def advance(self, products: int, text: str = "") -> None:
        """Note one step of so many products."""
        self.done += products
        self.steps += 1
        if callable(self._progress):
            self._progress(self.done, self.total, text)
        elif self._progress:
            self._draw(text)

    def expect(self, total: int | None) -> None:
        """Change the products expected."""
        self.total = total

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> "Pace":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self, text: str) -> None:
        if self._bar is None:
            # Loaded on demand: most calls show nothing.
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("products")
        self._bar.update(self._task, completed=self.done, total=self.total, description=text or "products")


def remaining(budget: float | None, began: float) -> float | None:
    """What is left of a budget that started at `time.perf_counter() == began`; at least a millisecond."""
    if budget is None:
        return None
    return max(check_number("budget", budget, above=0.0) - (time.perf_counter() - began), 1e-3)
