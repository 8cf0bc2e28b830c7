"""Fewer neurons with the same outputs and no larger norm: the reduction behind the width bound rank(Φ) · rank(Ψ)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from steppe.core import DataError, ShapeError, check_number

from .multi_task_newton import row_lengths

_EXPLICIT = 20_000_000  # entries of the matrix of products; beyond, its Gram matrix serves
_REFRESH = 24  # eliminations between two orthonormalisations


@dataclass(frozen=True)
class ColumnReduction:
    """Weights with at most `bound` = rank(Φ) · rank(ΦV) rows that are not zero, same ΦV, and no larger Σ‖v_k‖.

    `change` is ‖Φ(V_new − V)‖_F / ‖ΦV‖_F, of the size of rounding.
    """

    weights: Float[ndarray, "K c"]
    active: Int[ndarray, " a"]
    before: int
    bound: int
    feature_rank: int
    output_rank: int
    change: float


def reduce_columns(
    features: Float[ndarray, "n K"], weights: Float[ndarray, "K c"], *, tolerance: float = 1e-10
) -> ColumnReduction:
    """Remove neurons one by one along exact dependencies until none is left.

    With v_k = a_k u_k, ‖u_k‖ = 1, the outputs are Σ_k a_k φ_k u_k'. These products lie in a space of dimension
    rank(Φ) · rank(ΦV), once V is projected onto the row space of ΦV (which changes no output and lengthens no v_k).
    Where more of them are active they are dependent; moving a along a dependency whose sum is not negative keeps the
    outputs and does not raise Σ a_k, until some a_k is zero. The bound holds for any V; starting from an optimal one
    the sum stays the same. O(m k²) with m = rank(Φ) rank(ΦV) and k active rows.

    Args:
        features: Φ, one column per neuron.
        weights: V, one row per neuron.
        tolerance: Singular values below this share of the largest count as zero.

    Raises:
        ShapeError: The shapes do not fit together.
        DataError: A value is not finite.
        ParameterError: The tolerance is out of range.

    Example:
        >>> reduce_columns(np.array([[1.0, 1.0, 2.0]]), np.array([[1.0], [1.0], [1.0]])).weights.ravel()
        array([0., 0., 2.])
    """
    check_number("tolerance", tolerance, above=0.0, below=1e-3)
    phi, v = np.asarray(features, dtype=float), np.asarray(weights, dtype=float)
    if phi.ndim != 2 or v.ndim != 2 or phi.shape[1] != len(v):
        raise ShapeError(
            f"`weights` must have one row per column of `features`, got shapes {v.shape} and {phi.shape}; transpose one"
        )
    if not (np.isfinite(phi).all() and np.isfinite(v).all()):
        raise DataError("`features` and `weights` must be finite, got NaN or infinity; remove those samples")
    span = _coordinates(phi, tolerance)
    outputs = span @ v
    rows = _row_space(outputs, tolerance)
    before = int((row_lengths(v) > 0).sum())
    inner = v @ rows.T  # V in the row space of the outputs
    sizes = row_lengths(inner)
    live = np.flatnonzero((sizes > 0) & (row_lengths(span.T) > 0))
    directions = inner[live] / sizes[live, None]
    amounts = _independent(span[:, live], directions, sizes[live], tolerance)
    new = np.zeros_like(v)
    new[live] = (amounts[:, None] * directions) @ rows
    scale = float(np.linalg.norm(outputs)) or 1.0
    change = float(np.linalg.norm(span @ new - outputs)) / scale
    active = np.flatnonzero(row_lengths(new) > 0)
    return ColumnReduction(new, active, before, len(span) * len(rows), len(span), len(rows), change)


def _independent(
    features: Float[ndarray, "r k"], directions: Float[ndarray, "k q"], amounts: Float[ndarray, " k"], tolerance: float
) -> Float[ndarray, " k"]:
    """Amounts ≥ 0 with the same Σ_k a_k φ_k u_k', no larger sum, and independent products where they are positive."""
    lengths = np.sqrt((features**2).sum(axis=0))
    scaled = amounts * lengths  # of unit products, so that no dependency is hidden by scale
    null = _null_space(features / lengths, directions, tolerance)
    price, goal = 1.0 / lengths, scaled.copy()
    alive = np.ones(len(scaled), dtype=bool)
    for count in range(null.shape[1]):
        if count % _REFRESH == _REFRESH - 1:
            null = np.linalg.qr(null)[0]
        move = null[:, 0] if price @ null[:, 0] >= 0 else -null[:, 0]
        if not (move > 0).any():  # then the sum of the move is zero and its mirror image serves as well
            move = -move
        ratios = np.where(alive & (move > 1e-14), scaled / np.where(move > 1e-14, move, 1.0), np.inf)
        out = int(np.argmin(ratios))
        scaled = np.maximum(scaled - ratios[out] * move, 0.0)
        scaled[out], alive[out] = 0.0, False
        pivot = null[:, 0] / null[out, 0]
        null = null[:, 1:] - np.outer(pivot, null[out, 1:])
        null[~alive] = 0.0
    return _restored(features / lengths, directions, goal, scaled) / lengths


def _restored(
    features: Float[ndarray, "r k"],
    directions: Float[ndarray, "k q"],
    goal: Float[ndarray, " k"],
    amounts: Float[ndarray, " k"],
) -> Float[ndarray, " k"]:
    """Rounding of many eliminations undone: least squares on the products that are left, kept if it stays positive."""
    kept = np.flatnonzero(amounts > 0)
    gram = (features[:, kept].T @ features[:, kept]) * (directions[kept] @ directions[kept].T)
    missing = features @ ((goal - amounts)[:, None] * directions)
    right = np.einsum("rk,rk->k", features[:, kept], missing @ directions[kept].T)
    change = np.linalg.lstsq(gram, right, rcond=1e-14)[0]
    if (amounts[kept] + change < 0).any():
        return amounts
    result = amounts.copy()
    result[kept] += change
    better = np.linalg.norm(features @ ((goal - result)[:, None] * directions)) < np.linalg.norm(missing)
    return result if better else amounts


def _null_space(
    features: Float[ndarray, "r k"], directions: Float[ndarray, "k q"], tolerance: float
) -> Float[ndarray, "k p"]:
    """Orthonormal dependencies of the products φ_k u_k'."""
    (r, k), q = features.shape, directions.shape[1]
    if r * q * k <= _EXPLICIT:
        products = (features[:, None, :] * directions.T[None, :, :]).reshape(r * q, k)
        _, sizes, right = np.linalg.svd(products, full_matrices=True)
        sizes = np.concatenate([sizes, np.zeros(k - len(sizes))])
        return right[sizes <= tolerance * sizes.max(initial=0.0)].T
    squares, vectors = np.linalg.eigh((features.T @ features) * (directions @ directions.T))
    return vectors[:, squares <= max(tolerance**2, 1e-13) * squares[-1]]


def _coordinates(features: Float[ndarray, "n K"], tolerance: float) -> Float[ndarray, "r K"]:
    """Φ in orthonormal coordinates of its span."""
    _, sizes, right = np.linalg.svd(features, full_matrices=False)
    rank = int((sizes > tolerance * sizes.max(initial=0.0)).sum())
    return sizes[:rank, None] * right[:rank]


def _row_space(outputs: Float[ndarray, "r c"], tolerance: float) -> Float[ndarray, "q c"]:
    if 0 in outputs.shape:
        return np.zeros((0, outputs.shape[1]))
    _, sizes, right = np.linalg.svd(outputs, full_matrices=False)
    return right[: int((sizes > tolerance * sizes[0]).sum())] if sizes[0] > 0 else right[:0]
