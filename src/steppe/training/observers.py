"""When the loss is recorded and observers are called."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from steppe.core import KindError, check_integer

RECORDS = 200

Observer = Callable[[int, nn.Module], Mapping[str, float] | None]


class StopTraining(Exception):  # noqa: N818 - a signal, as StopIteration is
    """Raised by an observer to end the run in state `"stopped"`.

    Args:
        reason: Why, for `History.reason`.
        columns: What the observer measured before it stopped.
    """

    def __init__(self, reason: str = "an observer stopped the run", columns: Mapping[str, float] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.columns = dict(columns or {})


@dataclass(frozen=True)
class Every:
    """An observer called at steps 0, n, 2n, … and at the last one, whatever the records of the loss.

    Args:
        n: ≥ 1.
        observer: The observer.

    Raises:
        ParameterError: n < 1.
    """

    n: int
    observer: Observer

    def __post_init__(self) -> None:
        check_integer("n", self.n, minimum=1)

    def schedule(self, steps: int) -> list[int]:
        """The steps at which it is called in a run of `steps` updates."""
        return sorted({*range(0, steps + 1, self.n), steps})

    def __call__(self, step: int, model: nn.Module) -> Mapping[str, float] | None:
        """Observe."""
        return self.observer(step, model)


@dataclass(frozen=True)
class AtSteps:
    """An observer called at the given steps only (those beyond the end of the run are ignored).

    Args:
        steps: Numbers of updates done, ≥ 0.
        observer: The observer.
    """

    steps: Sequence[int]
    observer: Observer

    def schedule(self, steps: int) -> list[int]:
        """The steps at which it is called in a run of `steps` updates."""
        return sorted({int(s) for s in self.steps if 0 <= s <= steps})

    def __call__(self, step: int, model: nn.Module) -> Mapping[str, float] | None:
        """Observe."""
        return self.observer(step, model)


def record_steps(steps: int, log_every: int | None = None) -> list[int]:
    """The steps at which the loss is recorded and plain observers are called.

    Args:
        steps: Length of the run.
        log_every: A period; None takes at most 200 steps, all of them if the run is short and otherwise evenly
            spaced on a logarithmic scale. Step 0 and the last step always belong.

    Returns:
        Ascending steps.
    """
    if log_every is not None:
        return sorted({*range(0, steps + 1, log_every), steps})
    if steps < RECORDS:
        return list(range(steps + 1))
    count = RECORDS - 2
    return sorted({0, steps, *(round((steps + 1) ** (i / count)) - 1 for i in range(count))})


class Schedule:
    """Which observers are due at which step."""

    def __init__(self, steps: int, log_every: int | None, observers: Iterable[Any]) -> None:
        records = record_steps(steps, log_every)
        self._observers: list[tuple[Any, set[int]]] = []
        due = set(records)
        for observer in observers:
            if not callable(observer):
                raise KindError(
                    f"`observers` must hold callables (step, model) -> dict | None, got {type(observer).__name__}; "
                    "pass a list of functions, Every(n, function) or AtSteps(steps, function)"
                )
            own = getattr(observer, "schedule", None)
            at = set(own(steps)) if callable(own) else set(records)
            self._observers.append((observer, at))
            due |= at
        self.due = frozenset(due)

    def observers_at(self, step: int) -> list[Observer]:
        """The observers to call at this step."""
        return [observer for observer, at in self._observers if step in at]
