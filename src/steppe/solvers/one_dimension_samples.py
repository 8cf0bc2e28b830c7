"""Samples of one variable made ready: sorted, equal x averaged, weights of sum 1, y centred and scaled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from steppe.core import DataError

from .one_dimension_mesh import Vector


@dataclass(frozen=True)
class Samples:
    """Distinct x, ascending, with the mean of y there.

    Args:
        x: As given, so that differences of neighbours are exact to the last digit whatever the offset.
        y: (mean of y at x − center)/scale.
        weights: Of sum 1.
        gaps: Distances of neighbours over the span of x.
        center: Mean of y.
        scale: Largest |y − center|, or 1.
        span: Largest minus smallest x, or 1.
        within: ½·weighted sum of squares around the means at equal x, in units of scale².
    """

    x: Vector
    y: Vector
    weights: Vector
    gaps: Vector
    center: float
    scale: float
    span: float
    within: float

    @property
    def slope_unit(self) -> float:
        """Slope of the data per slope of the scaled problem."""
        return self.scale / self.span

    def scaled_alpha(self, alpha: float) -> float:
        """Alpha of the scaled problem; the division is done in steps, so that it neither over- nor underflows early."""
        return alpha / self.span / self.scale

    def objective(self, scaled: float) -> float:
        """Objective in the units of the data."""
        return (self.within + scaled) * self.scale * self.scale


def as_samples(x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Samples:
    """Check, sort, merge and scale.

    Raises:
        DataError: Lengths differ, there is no sample, an entry is not finite or too large, or no weight is positive.
    """
    x, y = _vector("x", x), _vector("y", y)
    weights = np.ones(x.size) if sample_weight is None else _vector("sample_weight", sample_weight)
    if not x.size == y.size == weights.size or x.size == 0:
        raise DataError(
            f"`x`, `y` and `sample_weight` need the same length, at least 1; got {x.size}, {y.size}, {weights.size}"
        )
    if sample_weight is not None:
        x, y, weights = _with_weight(x, y, weights)
    if not (x[1:] >= x[:-1]).all():
        order = np.argsort(x, kind="stable")
        x, y, weights = x[order], y[order], weights[order]
    weights = weights / weights.sum()
    with np.errstate(over="ignore"):
        center = float(weights @ y)
        y = y - center
        scale = float(np.abs(y).max()) or 1.0
        span = float(x[-1] - x[0]) or 1.0
    if not np.isfinite([scale, span, center]).all():
        raise DataError("`x` and `y` must span less than 1e308, got more; measure them in larger units")
    return _merged(x, y / scale, weights, center, scale, span)


def _merged(x: Vector, y: Vector, weights: Vector, center: float, scale: float, span: float) -> Samples:
    starts = np.flatnonzero(np.concatenate([[True], x[1:] > x[:-1]]))
    within = 0.0
    if starts.size < x.size:
        sums = np.add.reduceat(weights, starts)
        means = np.add.reduceat(weights * y, starts) / sums
        counts = np.diff(starts, append=x.size)
        within = 0.5 * float(weights @ np.square(y - np.repeat(means, counts)))
        x, y, weights = x[starts], means, sums
    return Samples(x, y, weights, np.diff(x) / span, center, scale, span, within)


def _vector(name: str, values: ArrayLike) -> Vector:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise DataError(f"`{name}` must be a vector, got shape {found.shape}; pass one column")
    if not np.isfinite(found).all():
        raise DataError(f"`{name}` must be finite, got NaN or infinity; remove or impute those samples")
    return found


def _with_weight(x: Vector, y: Vector, weights: Vector) -> tuple[Vector, Vector, Vector]:
    if (weights < 0).any() or not weights.sum() > 0 or not np.isfinite(weights.sum()):
        raise DataError("`sample_weight` must be nonnegative with a positive, finite sum; remove negative weights")
    used = weights > 0
    return x[used], y[used], weights[used]
