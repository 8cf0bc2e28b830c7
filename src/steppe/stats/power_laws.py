"""Fits of y = C·x^slope with an interval that covers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steppe.core import DataError, check_choice, check_number

from .intervals import Statistic, Values, as_sample, student_quantile

_FEWEST = 3
Table = NDArray[np.float64]  # replicates × distinct x, logarithms of y, NaN where a replicate has no value


@dataclass(frozen=True, kw_only=True)
class SlopeFit:
    """The exponent of a power law y = exp(intercept)·x^slope.

    Args:
        slope: The exponent: least squares of log y on log x through one value per x.
        intercept: log y at x = 1.
        interval: Confidence interval of the slope.
        level: Its coverage.
        method: `"replicates"` (Student's t over one slope per replicate) or `"residuals"` (Student's t from the scatter
            of the points around the line).
        upper_half_slope: The slope through the upper half of the range of x alone (at least three points), or None.
        upper_half_interval: Its interval, by the same method.
        bends: Whether the replicates agree that the two slopes differ (their difference's interval excludes zero).
        replicates: How many replicates.
        x: The distinct x, ascending.
        y: The value fitted at each x.
        per_replicate: One slope per replicate that saw every x.
    """

    slope: float
    intercept: float
    interval: tuple[float, float]
    level: float
    method: str
    upper_half_slope: float | None
    upper_half_interval: tuple[float, float] | None
    bends: bool
    replicates: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    per_replicate: tuple[float, ...] = ()

    def predict(self, x: Values) -> NDArray[np.float64]:
        """The fitted y at x."""
        return np.asarray(np.exp(self.intercept + self.slope * np.log(np.asarray(x, dtype=np.float64))))


def fit_power_law(
    x: Values,
    y: Values,
    *,
    replicates: Any = None,
    statistic: Statistic = "median",
    level: float = 0.95,
) -> SlopeFit:
    """The exponent of y against x by least squares in logarithms, with a confidence interval over replicates.

    Values at one x are summarised over replicates (median, or the geometric mean for `"mean"`) before the line is
    drawn. If every replicate has a value at every x, the interval is Student's t over one slope per replicate, widened
    for the median's lower efficiency; the unit of replication is the replicate, so errors shared by all x of a
    replicate are accounted for. Otherwise it is Student's t from the residuals of the line, which takes the points as
    independent. Neither sees bias: compare `upper_half_slope`.

    Args:
        x: Positive abscissae, one per observation.
        y: Positive values.
        replicates: The replicate (seed) of each observation; None takes all as one replicate. Several observations of
            one replicate at one x are summarised first.
        statistic: `"median"` or `"mean"` (of logarithms).
        level: Coverage, in (0, 1).

    Returns:
        The fit.

    Raises:
        DataError: Lengths differ, a value is not positive, or there are fewer than three distinct x.

    Accuracy: covers the truth in 93 to 97 % of synthetic power laws with five replicates per point (normal, skewed and
    heavy-tailed noise); measured in the tests.
    """
    check_choice("statistic", statistic, ("mean", "median"))
    check_number("level", level, above=0, below=1)
    points, table = _table(x, y, replicates, statistic)
    log_x = np.log(points)
    centers = _summary(table, statistic, axis=0)
    slope, intercept = _line(log_x, centers)
    interval, method, slopes = _slope_interval(log_x, table, centers, slope, statistic, level)
    half = _upper_half(points)
    upper, upper_interval, bends = None, None, False
    if half is not None:
        upper, _ = _line(log_x[half], centers[half])
        upper_interval, _, upper_slopes = _slope_interval(
            log_x[half], table[:, half], centers[half], upper, statistic, level
        )
        bends = _differ(np.array(upper_slopes), np.array(slopes), level)
    return SlopeFit(
        slope=slope,
        intercept=intercept,
        interval=interval,
        level=level,
        method=method,
        upper_half_slope=upper,
        upper_half_interval=upper_interval,
        bends=bends,
        replicates=table.shape[0],
        x=tuple(map(float, points)),
        y=tuple(map(float, np.exp(centers))),
        per_replicate=slopes,
    )


def _table(x: Values, y: Values, replicates: Any, statistic: Statistic) -> tuple[NDArray[np.float64], Table]:
    xs, ys = as_sample(x, name="x"), as_sample(y, name="y")
    labels = [0] * xs.size if replicates is None else list(replicates)
    if not xs.size == ys.size == len(labels):
        raise DataError(
            f"`x`, `y` and `replicates` must have one length, got {xs.size}, {ys.size} and {len(labels)}; align them"
        )
    for name, values in (("x", xs), ("y", ys)):
        if (values <= 0).any():
            bad = int((values <= 0).sum())
            raise DataError(f"`{name}` must be positive for a power law, got {bad} values ≤ 0; leave those rows out")
    points = np.unique(xs)
    if points.size < _FEWEST:
        raise DataError(f"a power law needs at least {_FEWEST} distinct x, got {points.size}; widen the grid")
    order = list(dict.fromkeys(labels))
    table = np.full((len(order), points.size), np.nan)
    found: dict[tuple[int, int], list[float]] = {}
    for label, abscissa, value in zip(labels, xs, np.log(ys), strict=True):
        found.setdefault((order.index(label), int(np.searchsorted(points, abscissa))), []).append(value)
    for place, logarithms in found.items():
        table[place] = _summary(np.array(logarithms), statistic, axis=0)
    return points, table


def _summary(values: NDArray[np.float64], statistic: Statistic, *, axis: int) -> Any:
    return np.nanmedian(values, axis=axis) if statistic == "median" else np.nanmean(values, axis=axis)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    centered = x - x.mean()
    slope = float(centered @ y / (centered @ centered))
    return slope, float(y.mean() - slope * x.mean())


def _slope_interval(
    x: NDArray[np.float64],
    table: Table,
    centers: NDArray[np.float64],
    slope: float,
    statistic: Statistic,
    level: float,
) -> tuple[tuple[float, float], str, tuple[float, ...]]:
    count = table.shape[0]
    if count >= 2 and not np.isnan(table).any():
        slopes = tuple(_line(x, row)[0] for row in table)
        half = (
            student_quantile(level, count - 1)
            * float(np.std(slopes, ddof=1))
            / np.sqrt(count)
            * _widening(count, statistic)
        )
        return (slope - half, slope + half), "replicates", slopes
    centered = x - x.mean()
    residuals = centers - centers.mean() - slope * centered
    variance = float(residuals @ residuals) / (x.size - 2) / float(centered @ centered)
    half = student_quantile(level, x.size - 2) * float(np.sqrt(variance))
    return (slope - half, slope + half), "residuals", ()


# Standard deviation of the median over that of the mean for normal samples of this size (exact order-statistics
# values, recalled and recomputed by simulation in the tests); the limit is √(π/2).
_MEDIAN_OVER_MEAN = {1: 1.0, 2: 1.0, 3: 1.160, 4: 1.092, 5: 1.198, 6: 1.135, 7: 1.214, 8: 1.159, 9: 1.223, 10: 1.176}


def _widening(count: int, statistic: Statistic) -> float:
    return 1.0 if statistic == "mean" else _MEDIAN_OVER_MEAN.get(count, float(np.sqrt(np.pi / 2)))


def _upper_half(points: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """The x above the geometric middle of the range, at least three of them but not all."""
    half = np.log(points) >= (np.log(points[0]) + np.log(points[-1])) / 2
    if half.sum() < _FEWEST:
        half = np.arange(points.size) >= points.size - _FEWEST
    return None if half.all() else half


def _differ(upper: NDArray[np.float64], whole: NDArray[np.float64], level: float) -> bool:
    if upper.size < 2 or upper.size != whole.size:
        return False
    differences = upper - whole
    spread = float(differences.std(ddof=1)) / np.sqrt(differences.size)
    return bool(abs(differences.mean()) > student_quantile(level, differences.size - 1) * spread)
