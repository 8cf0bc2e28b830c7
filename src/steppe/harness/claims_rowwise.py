"""Claims that every row must satisfy: inequalities, identities, invariances, shares; and the way out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from steppe.core import InputError, KindError, check_number

from .claims import Claim, Side, check_side, name_of, read
from .rows import Row, Rows, label_of
from .verdicts import Judgement

_TINY = 1e-300


@dataclass(frozen=True)
class _Compared:
    """One row's comparison: `slack` ≥ 0 iff it is satisfied; `ratio` is left over right, NaN over zero."""

    row: Row
    slack: float
    ratio: float
    relative: float


@dataclass(frozen=True)
class _Comparison(Claim):
    left: Side = field(default="", kw_only=True)
    right: Side = field(default=0.0, kw_only=True)
    rtol: int | float = field(default=0.0, kw_only=True)

    def _check(self) -> None:
        check_side("left", self.left)
        check_side("right", self.right)
        check_number("rtol", self.rtol, minimum=0)
        if self.left == "":
            raise InputError(f"claim `{self.id}` must say its `left` side, got nothing; name a column")

    def _slack(self, left: Any, right: Any) -> Any:
        raise NotImplementedError

    def _compare(self, row: Row) -> _Compared | None:
        left, right = read(self.left, row), read(self.right, row)
        if left is None or right is None:
            return None
        a, b = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
        slack = np.atleast_1d(self._slack(a, b))
        if not slack.size:
            return None
        worst = int(np.argmin(slack))
        top, bottom = (float(np.broadcast_to(side, slack.shape)[worst]) for side in (a, b))
        ratio = top / bottom if abs(bottom) > _TINY else float("nan")
        least = float(slack[worst])
        return _Compared(row, least, ratio, least / max(abs(top), abs(bottom), _TINY))

    def _judge(self, rows: Rows) -> Judgement:
        compared = [found for row in rows if (found := self._compare(row)) is not None]
        missing = (
            f"{len(rows) - len(compared)} rows where a side is undefined left out" if len(compared) < len(rows) else ""
        )
        if not compared:
            return Judgement(state="not judged", note=missing, rows=0)
        broken = sum(found.slack < 0 for found in compared)
        worst = min(compared, key=lambda found: found.relative)
        measured = f"in {len(compared) - broken} of {len(compared)} rows; tightest slack {worst.slack:.3g}"
        if worst.ratio == worst.ratio:
            measured += f", there left/right = {worst.ratio:.6g}"
        return Judgement(
            state="fails" if broken else "holds",
            measured=measured,
            value=worst.ratio if worst.ratio == worst.ratio else worst.slack,
            margin=worst.slack,
            worst=worst.row.label,
            worst_command=worst.row.command,
            note=missing,
            rows=len(compared),
        )


@dataclass(frozen=True)
class _Inequality(_Comparison):
    slack: int | float = field(default=0.0, kw_only=True)
    sign: ClassVar[str]
    direction: ClassVar[int]

    @property
    def expected(self) -> str:
        """The inequality."""
        return f"{name_of(self.left)} {self.sign} {name_of(self.right)}{_tolerance(self.slack, self.rtol)}"

    def _slack(self, left: Any, right: Any) -> Any:
        return self.direction * (right - left) + self.slack + self.rtol * np.abs(right)


@dataclass(frozen=True)
class AtMost(_Inequality):
    """left ≤ right in every row, up to `slack + rtol·|right|`. Curves are compared entry by entry.

    Args:
        left: Column, number or function of the row.
        right: The same.
        slack: Absolute tolerance.
        rtol: Tolerance relative to the right side.
    """

    sign, direction = "≤", 1


@dataclass(frozen=True)
class AtLeast(_Inequality):
    """left ≥ right in every row, up to `slack + rtol·|right|`; the arguments of `AtMost`."""

    sign, direction = "≥", -1


@dataclass(frozen=True)
class Equal(_Comparison):
    """|left − right| ≤ atol + rtol·|right| in every row. Curves are compared entry by entry.

    Args:
        left: Column, number or function of the row.
        right: The same.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """

    atol: int | float = field(default=0.0, kw_only=True)

    @property
    def expected(self) -> str:
        """The identity."""
        return f"{name_of(self.left)} = {name_of(self.right)}{_tolerance(self.atol, self.rtol)}"

    def _slack(self, left: Any, right: Any) -> Any:
        return self.atol + self.rtol * np.abs(right) - np.abs(left - right)


def _tolerance(absolute: int | float, relative: int | float) -> str:
    parts = ([f"{absolute:g}"] if absolute else []) + ([f"{relative:g}·|right|"] if relative else [])
    return f" (± {' + '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class Invariant(Claim):
    """A column does not change across an axis: max − min ≤ rtol · max |value| among rows that agree in the other axes.

    Args:
        column: The column.
        across: The axis along which nothing changes.
        rtol: Relative tolerance.
    """

    column: str = field(default="", kw_only=True)
    across: str = field(default="", kw_only=True)
    rtol: int | float = field(default=1e-9, kw_only=True)

    @property
    def expected(self) -> str:
        """The invariance."""
        return f"{name_of(self.column)} the same for every {self.across} (to {self.rtol:g})"

    def _judge(self, rows: Rows) -> Judgement:
        spreads: list[tuple[float, Rows]] = []
        others = [axis for axis in dict.fromkeys(name for row in rows for name in row.cell) if axis != self.across]
        for group in rows.by(*others).values():
            values = group.column(self.column) if self.column in group.names else np.array([])
            if values.size >= 2:
                scale = max(float(np.max(np.abs(values))), _TINY)
                spreads.append((float(np.ptp(values)) / scale, group))
        if not spreads:
            return Judgement(state="not judged", note=f"no two rows differ in {self.across} alone", rows=0)
        spread, group = max(spreads, key=lambda pair: pair[0])
        row = group[0]
        return Judgement(
            state="holds" if spread <= self.rtol else "fails",
            measured=f"largest relative spread {spread:.3g} in {len(spreads)} groups",
            value=spread,
            margin=self.rtol - spread,
            worst=label_of({name: value for name, value in row.cell.items() if name != self.across}),
            worst_command=row.command,
            rows=sum(len(found) for _, found in spreads),
        )


@dataclass(frozen=True)
class Share(Claim):
    """The share of rows in scope that satisfy a condition is in a band.

    It is a statement about the grid asked for, hence without interval.

    Args:
        condition: A column of booleans, or a function of the row.
        at_least: The least share, in [0, 1].
        at_most: The largest share, in [0, 1].
    """

    condition: str | Callable[[Row], Any] = field(default="", kw_only=True)
    at_least: int | float = field(default=0.0, kw_only=True)
    at_most: int | float = field(default=1.0, kw_only=True)

    def _check(self) -> None:
        check_side("condition", self.condition)
        check_number("at_least", self.at_least, minimum=0, maximum=1)
        check_number("at_most", self.at_most, minimum=self.at_least, maximum=1)

    @property
    def expected(self) -> str:
        """The band."""
        low = f"at least {self.at_least:.0%}" if self.at_least > 0 else ""
        high = f"at most {self.at_most:.0%}" if self.at_most < 1 else ""
        return f"{' and '.join(part for part in (low, high) if part) or 'any share'} of the rows"

    def _judge(self, rows: Rows) -> Judgement:
        answers = [(answer, row) for row in rows if (answer := read(self.condition, row)) is not None]
        if not answers:
            return Judgement(state="not judged", note="the condition is undefined in every row", rows=0)
        yes = sum(bool(answer) for answer, _ in answers)
        share = yes / len(answers)
        margin = min(share - self.at_least, self.at_most - share)
        low_is_tight = share - self.at_least <= self.at_most - share
        worst = next((row for answer, row in answers if bool(answer) != low_is_tight), None)
        return Judgement(
            state="holds" if margin >= 0 else "fails",
            measured=f"{yes} of {len(answers)} rows ({share:.0%})",
            value=share,
            margin=margin,
            worst=worst.label if worst else None,
            worst_command=worst.command if worst else None,
            rows=len(answers),
        )


@dataclass(frozen=True)
class Predicate(Claim):
    """The way out: any function of the rows that gives a `Judgement`.

    Args:
        function: Rows (those in scope) → Judgement.
        expects: What is claimed, in words and numbers.
    """

    function: Callable[[Rows], Judgement] | None = field(default=None, kw_only=True)
    expects: str = field(default="", kw_only=True)

    def _check(self) -> None:
        if not callable(self.function):
            raise KindError(f"`function` must be callable, got {type(self.function).__name__}; pass Rows -> Judgement")

    @property
    def expected(self) -> str:
        """What is claimed."""
        return self.expects or self.statement

    def _judge(self, rows: Rows) -> Judgement:
        assert self.function is not None
        judgement = self.function(rows)
        if not isinstance(judgement, Judgement):
            raise KindError(f"`function` of claim `{self.id}` must return a Judgement, got {type(judgement).__name__}")
        return judgement
