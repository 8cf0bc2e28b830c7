"""Claims about exponents and orders over replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from steppe.core import DataError, InputError, check_choice
from steppe.stats import center_interval, fit_power_law

from .claims import Claim, Side, as_tuple, check_side, name_of, read
from .claims_measured import ALONE, Band, Measured, band_at, band_words, check_band, judge_groups, typical
from .rows import Rows, label_of
from .verdicts import Judgement

Direction = Literal["decreasing", "increasing"]


@dataclass(frozen=True)
class PowerLaw(Claim):
    """y grows like x^e with e in a band, in every group; e < 0 is decay.

    The exponent is `stats.fit_power_law`'s. It holds only if its whole interval lies in the band. If the slope of the
    upper half of the range differs significantly and lies outside the band, the claim is inconclusive: it drifts.

    Args:
        x: Axis or column.
        y: Column or function of the row.
        low: Lower end of the band of the exponent, a number or a function of the group's axes.
        high: Upper end.
        by: Axes whose values make the groups.
        replicate: The axis of replication.
        statistic: `"median"` or `"mean"` (geometric) over replicates at one x.
    """

    x: str = field(default="", kw_only=True)
    y: Side = field(default="", kw_only=True)
    low: Band = field(default=-np.inf, kw_only=True)
    high: Band = field(default=np.inf, kw_only=True)
    by: str | Sequence[str] = field(default=(), kw_only=True)
    replicate: str = field(default="seed", kw_only=True)
    statistic: Literal["median", "mean"] = field(default="median", kw_only=True)

    def _check(self) -> None:
        object.__setattr__(self, "by", as_tuple(self.by))
        check_side("y", self.y)
        check_choice("statistic", self.statistic, ("median", "mean"))
        check_band(self, self.low, self.high)

    @property
    def expected(self) -> str:
        """The band."""
        return f"exponent of {name_of(self.y)} in {self.x} {band_words(self.low, self.high)}"

    def _judge(self, rows: Rows) -> Judgement:
        found, few = [], []
        for values, group in rows.by(*self.by).items():
            axes = dict(zip(self.by, values, strict=True))
            points = _points(group, self.x, self.y, self.replicate)
            if len({x for x, _, _ in points}) < 3:
                few.append(label_of(axes) or "all rows")
                continue
            found.append(self._fit(axes, points, group))
        note = f"fewer than three values of {self.x} for {', '.join(few)}" if few else ""
        return judge_groups(found, note)

    def _fit(self, axes: Mapping[str, Any], points: "list[tuple[float, float, Any]]", group: Rows) -> Measured:
        xs, ys, seeds = zip(*points, strict=True)
        fit = fit_power_law(xs, ys, replicates=seeds, statistic=self.statistic)
        low, high = band_at(self.low, axes), band_at(self.high, axes)
        interval: tuple[float, float] | None = fit.interval
        upper = fit.upper_half_slope
        label = f"{label_of(axes)}: " if axes else ""
        note = "" if upper is None else f"{label}upper half of the range {upper:.4g}"
        if upper is not None and fit.bends and not low <= upper <= high and low <= fit.slope <= high:
            interval = min(fit.interval[0], upper), max(fit.interval[1], upper)
            note += ", so the slope drifts out of the band (interval widened to it)"
        return Measured(axes, fit.slope, interval, low, high, group, note)


def _points(rows: Rows, x: str, y: Side, replicate: str) -> list[tuple[float, float, Any]]:
    """(x, y, replicate) of every row that has both."""
    found = []
    for row in rows:
        abscissa, value = read(x, row), read(y, row)
        if abscissa is not None and value is not None:
            found.append((float(abscissa), typical(value), row.cell.get(replicate)))
    return found


def _ordered(values: Mapping[Any, Mapping[Any, float]], direction: str, along: str, rows: Rows) -> Judgement:
    """Differences between neighbours on an axis, paired by replicate; `values` is axis value → replicate → number."""
    sign = -1.0 if direction == "decreasing" else 1.0
    found = []
    for before, after in pairwise(values):
        shared = [seed for seed in values[before] if seed in values[after]]
        steps = np.array([sign * (values[after][seed] - values[before][seed]) for seed in shared])
        if steps.size:
            interval = center_interval(steps, "mean") if steps.size > 1 else None
            step = {along: f"{before}→{after}"}
            found.append(Measured(step, float(steps.mean()), interval, 0.0, np.inf, rows, "" if interval else ALONE))
    if not found:
        return Judgement(state="not judged", note=f"fewer than two values of {along} share a replicate", rows=0)
    return replace(judge_groups(found), rows=len(rows), worst_command=rows[0].run if rows else None)


@dataclass(frozen=True)
class Ordered(Claim):
    """A column increases or decreases along an axis: every step between neighbours has the sign, with its interval.

    Steps are paired by replicate; other axes are summarised by the median within a replicate.

    Args:
        column: Column or function of the row.
        along: The axis.
        direction: `"decreasing"` or `"increasing"`.
        replicate: The axis of replication.
    """

    column: Side = field(default="", kw_only=True)
    along: str = field(default="", kw_only=True)
    direction: Direction = field(default="decreasing", kw_only=True)
    replicate: str = field(default="seed", kw_only=True)

    def _check(self) -> None:
        check_side("column", self.column)
        check_choice("direction", self.direction, ("decreasing", "increasing"))

    @property
    def expected(self) -> str:
        """The order."""
        return f"{name_of(self.column)} {self.direction} along {self.along}"

    def _judge(self, rows: Rows) -> Judgement:
        values: dict[Any, dict[Any, float]] = {}
        for level in rows.values(self.along):
            found: dict[Any, list[float]] = {}
            for row in rows.where(**{self.along: level}):
                number = read(self.column, row)
                if number is not None:
                    found.setdefault(row.cell.get(self.replicate), []).append(typical(number))
            if found:
                values[level] = {seed: float(np.median(numbers)) for seed, numbers in found.items()}
        return _ordered(values, self.direction, self.along, rows)


@dataclass(frozen=True)
class SlopesOrdered(Claim):
    """The steepness |exponent| of y in x increases or decreases along an axis, step by step, paired by replicate.

    Args:
        x: Axis or column of the power law.
        y: Column or function of the row.
        along: The axis.
        direction: `"decreasing"` or `"increasing"`.
        replicate: The axis of replication.
    """

    x: str = field(default="", kw_only=True)
    y: Side = field(default="", kw_only=True)
    along: str = field(default="", kw_only=True)
    direction: Direction = field(default="decreasing", kw_only=True)
    replicate: str = field(default="seed", kw_only=True)

    def _check(self) -> None:
        check_side("y", self.y)
        check_choice("direction", self.direction, ("decreasing", "increasing"))
        if not self.x or not self.along:
            raise InputError(
                f"claim `{self.id}` must say `x` and `along`, got {self.x!r} and {self.along!r}; name axes"
            )

    @property
    def expected(self) -> str:
        """The order."""
        return f"|exponent of {name_of(self.y)} in {self.x}| {self.direction} along {self.along}"

    def _judge(self, rows: Rows) -> Judgement:
        values: dict[Any, dict[Any, float]] = {}
        for level in rows.values(self.along):
            group = rows.where(**{self.along: level})
            slopes = {seed: _steepness(one, self.x, self.y) for (seed,), one in group.by(self.replicate).items()}
            known = {seed: slope for seed, slope in slopes.items() if slope is not None}
            if known:
                values[level] = known
        return _ordered(values, self.direction, self.along, rows)


def _steepness(rows: Rows, x: str, y: Side) -> float | None:
    points = _points(rows, x, y, "")
    if len({abscissa for abscissa, _, _ in points}) < 3:
        return None
    xs, ys, _ = zip(*points, strict=True)
    try:
        return abs(fit_power_law(xs, ys).slope)
    except DataError:
        return None
