"""Intervals for a mean or median over replicates, and the bootstrap for other statistics."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from steppe.core import DataError, check_choice, check_integer, check_number, derived_seed

Statistic = Literal["mean", "median"]
Values = Sequence[int | float] | NDArray[Any]
_FEW = 6  # below this many values no order statistics enclose the median with 95 %


def as_sample(values: Values, *, name: str = "values", minimum: int = 1) -> NDArray[np.float64]:
    """`values` as a finite float vector of at least `minimum` entries.

    Raises:
        DataError: It is too short, not a vector or not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size < minimum:
        raise DataError(f"`{name}` must be a vector of at least {minimum} values, got shape {sample.shape}; give more")
    if not np.isfinite(sample).all():
        bad = int((~np.isfinite(sample)).sum())
        raise DataError(f"`{name}` must be finite, got {bad} NaN or infinite entries; leave those rows out")
    return sample


def student_quantile(level: float, freedom: int) -> float:
    """T with P(|T| ≤ t) = level for Student's distribution."""
    from scipy import special  # here, because it takes longer to load than everything else in the light rooms

    return float(special.stdtrit(freedom, 0.5 + level / 2))


def center_interval(values: Values, statistic: Statistic = "median", *, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval for the mean or median of the distribution that independent replicates come from.

    Mean: Student's t. Median: from six values on, the interpolated order statistics of Hettmansperger and Sheather
    (1986, Statist. Probab. Lett. 4:75; formula recalled), valid for any continuous distribution; with fewer values no
    order statistics reach 95 %, and Student's t around the mean is given, which takes the distribution as roughly
    symmetric.

    Args:
        values: At least two replicates.
        statistic: `"mean"` or `"median"`.
        level: Coverage, in (0, 1).

    Returns:
        Lower and upper end.

    Raises:
        DataError: There are fewer than two values, or one is not finite.
    """
    sample = as_sample(values, minimum=2)
    check_choice("statistic", statistic, ("mean", "median"))
    check_number("level", level, above=0, below=1)
    if statistic == "median" and sample.size >= _FEW:
        return _median_interval(np.sort(sample), level)
    half = student_quantile(level, sample.size - 1) * float(sample.std(ddof=1)) / np.sqrt(sample.size)
    center = float(sample.mean())
    return center - half, center + half


def _median_interval(ordered: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Between the order statistics of depth k and k + 1 whose coverages enclose the level (at depth 1, that one)."""
    from scipy import special

    n = ordered.size
    coverages = 1 - 2 * special.bdtr(np.arange(n // 2), n, 0.5)  # of [x_(k), x_(n+1−k)] for depth k = 1, 2, …
    depth = int(np.sum(coverages >= level))
    if depth == 0:
        return float(ordered[0]), float(ordered[-1])
    inner = coverages[depth] if depth < coverages.size else 0.0
    share = (coverages[depth - 1] - level) / (coverages[depth - 1] - inner)
    weight = (n - depth) * share / (depth + (n - 2 * depth) * share)
    at = min(depth, n - 1)
    low = (1 - weight) * ordered[depth - 1] + weight * ordered[at]
    high = (1 - weight) * ordered[n - depth] + weight * ordered[n - 1 - at]
    return float(low), float(high)


def bootstrap_interval(
    values: Values,
    statistic: Callable[[NDArray[np.float64]], float],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of any statistic of independent replicates (Efron 1979).

    It under-covers with few replicates (about 84 % for a mean of five); for means and medians use `center_interval`.

    Args:
        values: At least two replicates.
        statistic: Vector → number.
        level: Coverage, in (0, 1).
        resamples: How many resamples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end.

    Raises:
        DataError: There are fewer than two values, or one is not finite.

    Cost: `resamples` evaluations of the statistic.
    """
    sample = as_sample(values, minimum=2)
    check_number("level", level, above=0, below=1)
    check_integer("resamples", resamples, minimum=1)
    generator = np.random.default_rng(derived_seed("stats.bootstrap", seed))
    draws = generator.integers(0, sample.size, size=(resamples, sample.size))
    found = np.array([float(statistic(sample[draw])) for draw in draws])
    low, high = np.quantile(found, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
