"""Which columns moved between two sets of rows of the same cells, and whether chance explains it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steppe.harness import Row, Rows, canonical
from steppe.stats import center_interval

Method = Literal["paired", "independent", "bounds", "exact"]
_COMPANIONS = ("_error", "_residual")  # a bound on the numerical error of the column of that name


@dataclass(frozen=True, kw_only=True)
class Movement:
    """One column under one condition (a cell without its seed), compared between A and B.

    Args:
        column: The column.
        condition: The axes without the replicates' axis.
        method: `"paired"`: the mean difference over the seeds that both sides have against its interval (Student's t).
            `"independent"`: the sides share at most one seed; the difference of their means against the root of the
            sum of squares of their half-widths, which is somewhat wider than Welch's interval. `"bounds"`: one value on
            each side, against the sum of their error columns. `"exact"`: one value on each side, or no numbers.
        replicates: How many pairs (or values on the smaller side) took part.
        a: Mean on side A; text as it is.
        b: Mean on side B.
        change: `b − a`, None for text.
        interval: Where the change lies, by the method; None if there is nothing to measure it by.
        moved: Whether the interval excludes zero (or, without one, whether the values differ).
    """

    column: str
    condition: Mapping[str, Any]
    method: Method
    replicates: int
    a: Any
    b: Any
    change: float | None
    interval: tuple[float, float] | None
    moved: bool

    @property
    def relative(self) -> float | None:
        """The change over |a|; None where that has no meaning."""
        if self.change is None or not self.a:
            return None
        found = self.change / abs(self.a)
        return found if math.isfinite(found) else None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All columns under all conditions.

    Args:
        movements: Those that differ at all by more than rounding, whether beyond their interval or not.
        equal: How many are equal, or differ by no more than rounding.
        by_interval: How many of `movements` were held against an interval from replicates.
        lost: Column → how many cells have a value in A and none in B.
        gained: Column → the reverse.
        level: The coverage of the intervals.
    """

    movements: tuple[Movement, ...]
    equal: int
    by_interval: int
    lost: Mapping[str, int]
    gained: Mapping[str, int]
    level: float

    @property
    def moved(self) -> tuple[Movement, ...]:
        """Those beyond their interval, the largest relative change first."""
        found = (movement for movement in self.movements if movement.moved)
        return tuple(sorted(found, key=lambda m: -abs(m.relative) if m.relative is not None else -math.inf))

    @property
    def by_chance(self) -> float:
        """How many would be beyond their interval if nothing but chance had changed."""
        return (1 - self.level) * self.by_interval


def compare(a: Rows, b: Rows, *, over: str, level: float, rtol: float) -> Compared:
    """Compare every column that either side has, condition by condition.

    Args:
        a: Rows of side A.
        b: Rows of side B.
        over: The axis of replicates.
        level: Coverage of the intervals.
        rtol: Relative changes up to this are rounding.

    Cost: one interval per column and condition that differ.
    """
    sides = _conditions(a, over), _conditions(b, over)
    movements: list[Movement] = []
    equal, lost, gained = 0, dict[str, int](), dict[str, int]()
    for place in (place for place in sides[0] if place in sides[1]):
        here, there = sides[0][place], sides[1][place]
        condition = {name: value for name, value in next(iter(here.values())).cell.items() if name != over}
        for column in dict.fromkeys(name for row in (*here.values(), *there.values()) for name in row.result):
            found = _Pair(column, here, there)
            for counts, number in ((lost, found.lost), (gained, found.gained)):
                if number:
                    counts[column] = counts.get(column, 0) + number
            movement = found.movement(condition, level, rtol)
            if movement is not None:
                movements.append(movement)
            equal += movement is None and found.comparable
    measured = sum(movement.method in ("paired", "independent") for movement in movements)
    return Compared(
        movements=tuple(movements), equal=equal, by_interval=measured, lost=lost, gained=gained, level=level
    )


def _conditions(rows: Rows, over: str) -> dict[bytes, dict[Any, Row]]:
    found: dict[bytes, dict[Any, Row]] = {}
    for row in rows:
        condition = canonical({name: value for name, value in row.cell.items() if name != over})
        found.setdefault(condition, {})[canonical(row.cell.get(over))] = row
    return found


class _Pair:
    """One column under one condition: replicate → value, on either side."""

    def __init__(self, column: str, here: Mapping[Any, Row], there: Mapping[Any, Row]) -> None:
        self.column, self.rows = column, (here, there)
        self.a, self.b = ({seed: row.result.get(column) for seed, row in side.items()} for side in (here, there))
        self.both = [s for s in self.a if self.a[s] is not None and self.b.get(s) is not None]
        self.lost = sum(self.a[s] is not None and s in self.b and self.b[s] is None for s in self.a)
        self.gained = sum(self.b[s] is not None and s in self.a and self.a[s] is None for s in self.b)

    @property
    def comparable(self) -> bool:
        return bool(self.both) or all(any(v is not None for v in side.values()) for side in (self.a, self.b))

    def movement(self, condition: Mapping[str, Any], level: float, rtol: float) -> Movement | None:
        """The movement; None if the sides are equal up to rounding or cannot be compared."""
        sides = [[_number(v) for v in side.values() if v is not None] for side in (self.a, self.b)]
        if not all(sides):
            return None
        if any(value is None for side in sides for value in side):
            return self._words(condition)
        if len(self.both) >= 2:
            pairs = [(_number(self.a[s]), _number(self.b[s])) for s in self.both]
            return self._paired(condition, pairs, level, rtol)
        if min(map(len, sides)) >= 2:
            return self._independent(condition, sides, level, rtol)
        return self._single(condition, rtol) if self.both else None

    def _paired(self, condition: Any, pairs: Sequence[Any], level: float, rtol: float) -> Movement | None:
        if all(_rounding(a, b, rtol) for a, b in pairs):
            return None
        interval = center_interval([b - a for a, b in pairs], "mean", level=level)
        means = [math.fsum(side) / len(pairs) for side in zip(*pairs, strict=True)]
        return self._made(condition, "paired", len(pairs), means[0], means[1], interval, rtol)

    def _independent(self, condition: Any, sides: Sequence[Any], level: float, rtol: float) -> Movement | None:
        means = [math.fsum(side) / len(side) for side in sides]
        ends = [center_interval(side, "mean", level=level) for side in sides]
        half = math.hypot(*((high - low) / 2 for low, high in ends))
        change = means[1] - means[0]
        interval = (change - half, change + half)
        return self._made(condition, "independent", min(map(len, sides)), means[0], means[1], interval, rtol)

    def _single(self, condition: Any, rtol: float) -> Movement | None:
        (seed,) = self.both[:1]
        a, b = _number(self.a[seed]), _number(self.b[seed])
        assert a is not None
        assert b is not None
        if _rounding(a, b, rtol):
            return None
        errors = [_error_of(self.column, side[seed]) for side in self.rows]
        if None in errors:
            return self._made(condition, "exact", 1, a, b, None, rtol)
        half = math.fsum(error for error in errors if error is not None)
        return self._made(condition, "bounds", 1, a, b, (b - a - half, b - a + half), rtol)

    def _made(
        self, condition: Any, method: Method, replicates: int, a: float, b: float, interval: Any, rtol: float
    ) -> Movement:
        beyond = interval is None or not interval[0] <= 0.0 <= interval[1]
        return Movement(
            column=self.column, condition=condition, method=method, replicates=replicates, a=a, b=b, change=b - a,
            interval=interval, moved=beyond and not _rounding(a, b, rtol),
        )  # fmt: skip

    def _words(self, condition: Any) -> Movement | None:
        changed = [s for s in self.both if canonical(self.a[s]) != canonical(self.b[s])]
        if not changed:
            return None
        return Movement(
            column=self.column, condition=condition, method="exact", replicates=len(self.both),
            a=self.a[changed[0]], b=self.b[changed[0]], change=None, interval=None, moved=True,
        )  # fmt: skip


def _number(value: Any) -> float | None:
    """A number as it is, a curve by its mean, yes and no as one and zero; None for text and empty curves."""
    try:
        if isinstance(value, list):
            return math.fsum(value) / len(value) if value else None
        return float(value) if isinstance(value, int | float) else None
    except (TypeError, OverflowError):  # nothing that a run writes
        return None


def _rounding(a: float, b: float, rtol: float) -> bool:
    return abs(b - a) <= rtol * max(abs(a), abs(b))


def _error_of(column: str, row: Row) -> float | None:
    for ending in _COMPANIONS:
        value = row.result.get(column + ending)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return abs(float(value))
    return None
