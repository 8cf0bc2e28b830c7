"""Claims about the level of a column over replicates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steppe.core import ParameterError, check_choice
from steppe.stats import center_interval

from .claims import Claim, Side, as_tuple, check_side, name_of, read
from .claims_measured import ALONE, Band, Measured, band_at, band_words, check_band, judge_groups, typical
from .rows import Row, Rows
from .verdicts import Judgement


def _per_replicate(rows: Rows, value: Callable[[Row], Any], replicate: str, statistic: str) -> NDArray[np.float64]:
    """One value per replicate; rows without the replicate axis are replicates themselves."""
    summary = np.mean if statistic == "mean" else np.median
    found: dict[Any, list[float]] = {}
    for index, row in enumerate(rows):
        number = value(row)
        if number is not None:
            found.setdefault(row.cell.get(replicate, ("row", index)), []).append(typical(number))
    return np.array([summary(values) for values in found.values()])


@dataclass(frozen=True)
class Within(Claim):
    """A statistic over replicates lies in a band, in every group: the interval inside holds, wholly outside fails.

    Rows of one replicate are summarised first. With one replicate there is no interval, hence inconclusive.

    Args:
        column: Column or function of the row; a curve stands for the median of its last quarter.
        low: Lower end of the band, a number or a function of the group's axes.
        high: Upper end.
        by: Axes whose values make the groups.
        statistic: `"median"` or `"mean"` over replicates; `"each"` asks every row to lie in the band, without interval.
        replicate: The axis of replication.
    """

    column: Side = field(default="", kw_only=True)
    low: Band = field(default=-np.inf, kw_only=True)
    high: Band = field(default=np.inf, kw_only=True)
    by: str | Sequence[str] = field(default=(), kw_only=True)
    statistic: Literal["median", "mean", "each"] = field(default="median", kw_only=True)
    replicate: str = field(default="seed", kw_only=True)

    def _check(self) -> None:
        object.__setattr__(self, "by", as_tuple(self.by))
        check_side("column", self.column)
        check_choice("statistic", self.statistic, ("median", "mean", "each"))
        check_band(self, self.low, self.high)

    @property
    def expected(self) -> str:
        """The band."""
        what = name_of(self.column) if self.statistic == "each" else f"{self.statistic} of {name_of(self.column)}"
        return f"{what} {band_words(self.low, self.high)}"

    def _value(self, row: Row) -> Any:
        return read(self.column, row)

    def _judge(self, rows: Rows) -> Judgement:
        if self.statistic == "each":
            return self._judge_each(rows)
        found = []
        for values, group in rows.by(*self.by).items():
            axes = dict(zip(self.by, values, strict=True))
            sample = _per_replicate(group, self._value, self.replicate, self.statistic)
            if sample.size:
                center = float(np.mean(sample) if self.statistic == "mean" else np.median(sample))
                interval = center_interval(sample, self.statistic) if sample.size > 1 else None
                note = "" if interval else ALONE
                found.append(
                    Measured(axes, center, interval, band_at(self.low, axes), band_at(self.high, axes), group, note)
                )
        return judge_groups(found)

    def _judge_each(self, rows: Rows) -> Judgement:
        found = []
        for row in rows:
            value = self._value(row)
            if value is not None:
                number, group = typical(value), {axis: row.cell.get(axis) for axis in self.by}
                ends = band_at(self.low, group), band_at(self.high, group)
                found.append(Measured(row.cell, number, (number, number), *ends, Rows([row], rows.slug)))
        if not found:
            return judge_groups(found)
        judgement = judge_groups(found)
        numbers = [measured.value for measured in found]
        inside = sum(measured.state == "holds" for measured in found)
        words = f"{inside} of {len(found)} rows inside; range {min(numbers):.4g} to {max(numbers):.4g}"
        return _without_interval(judgement, words)


def _without_interval(judgement: Judgement, measured: str) -> Judgement:
    return replace(judgement, measured=measured, interval=None)


@dataclass(frozen=True)
class Settles(Within):
    """A column settles at a level: |column / at − 1| ≤ `within` for its statistic over replicates, in every group.

    Args:
        column: Column or function of the row; a curve stands for the median of its last quarter.
        at: The level: column, number or function of the row.
        within: Relative half-width.
        by: Axes whose values make the groups.
        statistic: `"median"`, `"mean"` or `"each"`.
        replicate: The axis of replication.
    """

    at: Side = field(default=1.0, kw_only=True)
    within: int | float = field(default=0.1, kw_only=True)

    def _check(self) -> None:
        if not self.within > 0:
            raise ParameterError(f"`within` must be > 0, got {self.within}; pass a relative half-width such as 0.1")
        check_side("at", self.at)
        object.__setattr__(self, "low", 1 - self.within)
        object.__setattr__(self, "high", 1 + self.within)
        super()._check()

    @property
    def expected(self) -> str:
        """The level."""
        return f"{name_of(self.column)} / {name_of(self.at)} {band_words(self.low, self.high)}"

    def _value(self, row: Row) -> Any:
        value, level = read(self.column, row), read(self.at, row)
        return None if value is None or level is None else typical(value) / typical(level)
