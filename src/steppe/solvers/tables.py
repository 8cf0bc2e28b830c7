"""A table as an estimator meets it: weights, equal rows taken together, columns of different scales."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from steppe.core import DataError, ShapeError

_APART = 10.0  # scales of columns that differ by more are warned of


@dataclass(frozen=True, eq=False)
class Merged:
    """The distinct rows of a table in a fixed order, with their weights: the same problem, whatever the row order.

    Rows equal in inputs and targets are one row with the sum of their weights, rows of weight zero are left out, and
    rows are sorted. A fit on it does not depend on the order of the samples, and a weight of two is a sample twice,
    bit for bit.

    Args:
        X: Distinct inputs [m, d].
        y: Their targets [m] or [m, c].
        weights: Σ of the weights of equal rows, positive.
    """

    X: Float[np.ndarray, "m d"]
    y: Float[np.ndarray, " m"] | Float[np.ndarray, "m c"]
    weights: Float[np.ndarray, " m"]


def merged(X: Any, y: Any, sample_weight: Any = None) -> Merged:
    """The distinct rows of (X, y) with positive weight, sorted.

    Args:
        X: Inputs [n, d], finite.
        y: Targets [n] or [n, c].
        sample_weight: Weights [n] ≥ 0, one each if None.
    """
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    kept = weights > 0
    rows = np.column_stack([X, y])[kept] + 0.0  # −0 becomes 0
    weights = weights[kept]
    order = np.lexsort(rows.T[::-1])
    rows, weights = rows[order], weights[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    distinct, d = rows[first], X.shape[1]
    targets = distinct[:, d] if np.ndim(y) == 1 else distinct[:, d:]
    return Merged(distinct[:, :d].copy(), targets.copy(), np.add.reduceat(weights, np.flatnonzero(first)))


def checked_weights(sample_weight: Any, n: int) -> Float[np.ndarray, " n"] | None:
    """Weights of the samples as float64, or None.

    Raises:
        ShapeError: They are not n numbers.
        DataError: One is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(n, float(weights))
    if weights.shape != (n,):
        raise ShapeError(
            f"`sample_weight` must have shape ({n},), one weight per sample, got {weights.shape}; reshape it"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError("`sample_weight` must be finite and ≥ 0, got a negative, infinite or missing weight; repair it")
    if not (weights > 0).any():
        raise DataError("`sample_weight` needs at least one positive weight, got only zero weights; leave it out")
    return weights


def warn_if_apart(X: Float[np.ndarray, "n d"], names: tuple[str, ...]) -> None:
    """Warn once if the standard deviations of two columns that are not constant differ by more than ten.

    Args:
        X: Inputs.
        names: Names of the columns.
    """
    size = np.abs(X).max(axis=0)
    unit = X / np.where(size > 0, size, 1.0)  # squares of 1e200 would overflow
    spread = unit.std(axis=0)
    varied = np.flatnonzero(spread > 1e-12)
    if not len(varied):
        return
    scale = np.log(spread[varied]) + np.log(size[varied])
    small, large = varied[scale.argmin()], varied[scale.argmax()]
    if scale.max() - scale.min() > np.log(_APART):
        ratio = f"{10.0 ** ((scale.max() - scale.min()) / np.log(10.0)):.3g}"
        warnings.warn(
            f"the columns have different scales: the standard deviation of {names[large]} is {ratio} times that of "
            f"{names[small]}, and the penalty treats directions alike. Nothing is scaled for you; if the units "
            "are arbitrary, fit make_pipeline(StandardScaler(), …)",
            UserWarning,
            stacklevel=5,
        )
