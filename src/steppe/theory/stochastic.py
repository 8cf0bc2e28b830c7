"""Linear stability of mini-batch gradient descent at an interpolating minimum."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steppe.core import DataError, Fact, ShapeError, check_integer, check_number

_SOURCE = "Wu, Ma, E (NeurIPS 2018), How SGD Selects the Global Minima, Theorem 1"
_HYPOTHESES = (
    "the minimum interpolates: every sample's gradient is zero there",
    "every sample's loss is quadratic near the point",
    "batches are drawn uniformly without replacement, afresh at every step",
)


def sgd_growth(hessians: ArrayLike, step_size: float, *, batch_size: int, exact: bool = False) -> Fact:
    """By which factor the mean squared distance from an interpolating minimum may grow in a step of SGD.

    With H the mean of the per-sample Hessians H_i and Σ the mean of H_i² − H², SGD with batches of B out of n is stable
    in mean square if

        λ_max[(I − ηH)² + η² (n − B)/(B(n − 1)) Σ] ≤ 1,

    which is what is returned; B = n gives gradient descent, whose distance grows by max (1 − ηa)² over the eigenvalues
    a of H. It bounds the growth in one step from the worst start; where the H_i do not commute, SGD can be stable
    beyond it. `exact` returns the asymptotic factor instead, the spectral radius of C ↦ E[(I − ηH_B) C (I − ηH_B)] on
    symmetric matrices, at a cost of p⁶.

    Args:
        hessians: [n, p, p], one symmetric matrix per sample.
        step_size: η > 0.
        batch_size: B in 1..n.
        exact: Asymptotic factor instead of the one-step bound; for p up to about 30.

    Returns:
        The factor per step; stable iff at most 1 (`exact`) or if at most 1.

    Raises:
        ShapeError: The matrices are not [n, p, p].
        DataError: One is not finite or not symmetric.
        ParameterError: The step is not positive or B is not in 1..n.

    Example:
        Two samples of curvature 0 and 2 in one dimension: (1 − η)² + η² at B = 1.

        >>> round(float(sgd_growth([[[0.0]], [[2.0]]], 0.5, batch_size=1)), 12)
        0.5
    """
    each = _checked(hessians)
    n, p = each.shape[:2]
    step = check_number("step_size", step_size, above=0.0)
    batch = check_integer("batch_size", batch_size, minimum=1, maximum=n)
    noise = step**2 * (n - batch) / (batch * (n - 1)) if n > 1 else 0.0
    mean = each.mean(axis=0)
    rest = np.eye(p) - step * mean
    if exact:
        spread = np.mean([np.kron(h, h) for h in each], axis=0) - np.kron(mean, mean)
        value = float(np.abs(np.linalg.eigvals(np.kron(rest, rest) + noise * spread)).max())
    else:
        spread = np.mean(each @ each, axis=0) - mean @ mean
        value = float(np.linalg.eigvalsh(rest @ rest + noise * spread)[-1])
    return Fact(
        value,
        source=_SOURCE,
        status="derived" if exact else "recalled",
        statement="asymptotic growth per step of the mean squared distance"
        if exact
        else "largest growth of the mean squared distance in one step",
        hypotheses=_HYPOTHESES,
    )


def _checked(hessians: ArrayLike) -> NDArray[np.float64]:
    each = np.asarray(hessians, dtype=np.float64)
    if each.ndim != 3 or each.shape[1] != each.shape[2] or each.size == 0:
        raise ShapeError(f"`hessians` must have shape [n, p, p], got {list(each.shape)}; stack one matrix per sample")
    if not np.isfinite(each).all():
        raise DataError("`hessians` must be finite, got NaN or infinite entries; check the loss at this point")
    if np.abs(each - each.transpose(0, 2, 1)).max() > 1e-6 * np.abs(each).max():
        raise DataError("`hessians` must be symmetric, got entries that differ from their mirror; symmetrise them")
    return each
