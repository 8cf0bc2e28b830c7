"""The maximum of |Σ_i ρ_i relu(z_i·w)| over unit vectors, brought to its smallest form.

Rows and weights are scaled to at most one, directions that no row has are turned away, and rounding is accounted for:
what is proved on the small form is proved on the data up to `slack`, a bound on rounding in double precision. Results
are therefore *numerically certified*: no step rounds outward, each is charged with a few ulps.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from steppe.core import DataError, ShapeError

from .maximum import Kind, Maximum

_EPSILON = float(np.finfo(np.float64).eps)
_EVEN = 1e-12  # relative size of Σ ρ z up to which the function counts as even; what is left is charged
_ORTHOGONAL = 1e-9  # relative size of [X, 1]'ρ up to which a free bias makes sense
_APART = 1.0 - 1e-9  # cosine above which two units are one
MOST_UNITS = 64


@dataclass(frozen=True, eq=False)
class Homogeneous:
    """One problem on the unit sphere of R^r, or (centred) n of them, the j-th with rows z_i − z_j.

    Args:
        rows: Rows in the coordinates that matter, entries of at most about one; equal ones are one.
        rho: Their weights, of order one, none zero.
        source: Which rows of the data they are.
        basis: Orthonormal columns: the unit vector w of this problem stands for `basis @ w`.
        scale: M of the data = scale · M here.
        slack: What rounding can hide, in units of this problem.
        centred: Whether the bias is free.
        even: Whether g(w) = g(−w) up to `drift`.
        drift: Largest |g(w) − g(−w)|.
        size: Σ_i |ρ_i| ‖z_i‖, an upper bound of M here.
    """

    rows: Float[np.ndarray, "n r"]
    rho: Float[np.ndarray, " n"]
    source: Int[np.ndarray, " n"]
    basis: Float[np.ndarray, "D r"]
    scale: float
    slack: float
    centred: bool
    even: bool
    drift: float
    size: float

    @property
    def rank(self) -> int:
        """Dimension r of the sphere's space."""
        return self.rows.shape[1]

    def outside(self, bound: float) -> float:
        """An upper bound of M of the data from one of this problem."""
        return (bound + self.slack + (self.drift if self.even else 0.0)) * self.scale * (1 + 8 * _EPSILON)


def reduced(Z: Float[np.ndarray, "n D"], rho: Float[np.ndarray, " n"], *, centred: bool) -> Homogeneous:
    """The smallest equivalent problem.

    Args:
        Z: Rows z_i; with `centred` the inputs X, and the bias is free.
        rho: Weights of either sign; with `centred` orthogonal to [X, 1].
        centred: Whether M is the largest of the n problems with rows z_i − z_j.

    Raises:
        ShapeError: Shapes do not fit.
        DataError: Entries are not finite, or `rho` is not orthogonal to [X, 1] with a free bias, where M = ∞.

    Cost: O(n D²).
    """
    Z, rho = np.asarray(Z, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    if Z.ndim != 2 or rho.shape != Z.shape[:1]:
        raise ShapeError(
            f"`rho` must have one weight per row of Z, got shapes {rho.shape} and {Z.shape}; pass [n] and [n, D]"
        )
    if not (np.isfinite(Z).all() and np.isfinite(rho).all()):
        raise DataError("`Z` and `rho` must be finite, got NaN or infinity; drop those samples")
    largest, weight = (float(np.abs(array).max(initial=0.0)) for array in (Z, rho))
    kept = rho != 0
    rows, rho = Z[kept] / (largest or 1.0), rho[kept] / (weight or 1.0)
    reach = float(np.sqrt(np.square(rows).sum(axis=1)).max(initial=0.0))
    if centred:
        _demand_orthogonal(rows, rho)
        rows = _centred(rows)
    sizes = np.sqrt(np.square(rows).sum(axis=1))
    size = float(np.abs(rho) @ (sizes + sizes.max(initial=0.0) if centred else sizes))
    units = (float(np.abs(rho).sum()) * reach if centred else 0.0) + size
    drift = float(np.abs(rho @ rows).sum() + (abs(rho.sum()) * sizes.max(initial=0.0) if centred else 0.0))
    slack = 4 * _EPSILON * (len(rows) + 8 * Z.shape[1]) * units
    weights = float(np.abs(rho).sum())
    rows, rho, first, blurred = _merged(rows, rho, directions=not centred)
    rows, basis, lost = _turned(rows)
    slack += blurred + 2 * lost * (weights if centred else size + weights)
    source = np.flatnonzero(kept)[first]
    rows, rho = np.ascontiguousarray(rows), np.ascontiguousarray(rho)
    even = drift <= _EVEN * units
    return Homogeneous(rows, rho, source, basis, largest * weight, slack, centred, even, drift, size)


def _merged(
    rows: Float[np.ndarray, "n D"],
    rho: Float[np.ndarray, " n"],
    *,
    directions: bool,
) -> tuple[Float[np.ndarray, "m D"], Float[np.ndarray, " m"], Int[np.ndarray, " m"], float]:
    """Equal rows made one (with `directions` also rows of one direction), which they were, and what that can hide.

    Rows of opposite weights cancel so, which no bound on each of them could see.
    """
    first = np.arange(len(rows))
    sizes = np.sqrt(np.square(rows).sum(axis=1))
    units = rows / np.where(sizes > 0, sizes, 1.0)[:, None] if directions else rows
    keys = np.round(units, 12) + 0.0 if directions else rows + 0.0  # no negative zeros
    if len(rows):
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, rho, np.arange(len(rows)), 0.0
    weights = rho * sizes if directions else rho
    total = np.bincount(group.ravel(), weights)
    apart = np.sqrt(np.square(units - units[first[group.ravel()]]).sum(axis=1))
    kept = np.flatnonzero(total)
    kept = kept[np.argsort(first[kept])]
    return units[first[kept]], total[kept], first[kept], float(np.abs(weights) @ apart)


def rank_of(Z: Float[np.ndarray, "n D"], *, centred: bool) -> int:
    """Dimensions that matter: of the span of the rows, or of their differences."""
    largest = float(np.abs(Z).max(initial=0.0))
    rows = Z / (largest or 1.0)
    return _turned(_centred(rows) if centred else rows)[0].shape[1]


def _centred(rows: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n D"]:
    return rows - rows.mean(axis=0) if len(rows) else rows


def _demand_orthogonal(rows: Float[np.ndarray, "n D"], rho: Float[np.ndarray, " n"]) -> None:
    left = _left_over(rows, rho)
    if left > _ORTHOGONAL:
        raise DataError(
            f"`rho` must be orthogonal to [X, 1] where the bias is free, got a relative product of {left:.1e}; "
            "project it first (VariationProblem.rho does)"
        )


def _left_over(rows: Float[np.ndarray, "n D"], rho: Float[np.ndarray, " n"]) -> float:
    """Largest entry of [X, 1]'ρ, in units of Σ |ρ|; rows of entries of at most one."""
    total = float(np.abs(rho).sum())
    left = max(abs(float(rho.sum())), float(np.abs(rho @ rows).max(initial=0.0)))
    return left / total if total > 0 else 0.0


def unbounded(X: Float[np.ndarray, "n d"], rho: Float[np.ndarray, " n"]) -> Maximum | None:
    """M = ∞ where ρ with a free bias is not orthogonal to [X, 1], as rounding noise is not; None where it is."""
    largest, weight = (float(np.abs(array).max(initial=0.0)) for array in (X, rho))
    if not 0 < weight < np.inf or _left_over(X / (largest or 1.0), rho / weight) <= _ORTHOGONAL:
        return None
    width = X.shape[1] + 1
    reason = "rho is not orthogonal to [X, 1]: ever larger biases have ever larger values"
    return Maximum(0.0, np.eye(1, width)[0], np.inf, "bound", np.zeros((0, width)), 0, reason)


def _turned(rows: Float[np.ndarray, "n D"]) -> tuple[Float[np.ndarray, "n r"], Float[np.ndarray, "D r"], float]:
    """Rows in a basis of the space they span (unchanged where it is everything), and the longest part left out."""
    if not len(rows):
        return np.zeros((0, 0)), np.zeros((rows.shape[1], 0)), 0.0
    R = np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows
    _, values, directions = np.linalg.svd(R)
    tolerance = 8 * max(rows.shape) ** 0.5 * _EPSILON * values[0]
    rank = int((values > tolerance).sum())
    if rank == rows.shape[1]:
        return rows, np.eye(rank), 0.0
    lost = float(values[rank]) if rank < len(values) else 0.0
    basis = directions[:rank].T
    return rows @ basis, basis, lost + 4 * _EPSILON * float(values[0])


@dataclass(frozen=True)
class Found:
    """A unit vector of the small form, found with about this value; `centre` −1 where there is but one problem."""

    value: float
    centre: int
    w: tuple[float, ...]


def answer(
    problem: Homogeneous,
    Z: Float[np.ndarray, "n D"],
    rho: Float[np.ndarray, " n"],
    found: list[Found],
    *,
    bound: float,
    kind: Kind,
    target: float,
    work: int,
    reason: str,
    unit: float = 1.0,
) -> Maximum:
    """The points found, put back on the data and evaluated there in extended precision.

    Args:
        problem: The small form.
        Z: The rows it came from (the inputs X if the bias is free).
        rho: The weights it came from.
        found: Points, best first.
        bound: Upper bound of M of the small form.
        kind: `"exact"` or `"bound"`.
        target: Units above it are handed back.
        work: What was counted.
        reason: Why it stopped.
        unit: Size of the column that multiplies a free bias.
    """
    width = Z.shape[1] + (1 if problem.centred else 0)
    units, values = [], []
    for point in found[:MOST_UNITS]:
        w = problem.basis @ np.array(point.w)
        w = w / np.sqrt(w @ w)
        at = problem.source[point.centre] if problem.centred else -1
        rows = Z - Z[at] if problem.centred else Z
        values.append(_true_value(rows, rho, w))
        units.append(np.append(w, (Z[at] @ w) / unit) if problem.centred else w)
    if not units:
        nothing = np.eye(1, width)[0]
        return Maximum(0.0, nothing, problem.outside(bound), kind, np.zeros((0, width)), work, reason)
    order = np.argsort(-np.array(values), kind="stable")
    best = order[0]
    above = [i for i in order if values[i] > target]
    chosen = _distinct(np.array([units[i] for i in above]).reshape(-1, width))
    upper = float(max(problem.outside(bound), values[best]))
    return Maximum(values[best], units[best], upper, kind, chosen, work, reason)


def _true_value(rows: Float[np.ndarray, "n D"], rho: Float[np.ndarray, " n"], w: Float[np.ndarray, " D"]) -> float:
    """|Σ_i ρ_i relu(z_i·w)| in the longest floats the machine has."""
    long = np.longdouble
    preactivations = (rows.astype(long) * w.astype(long)).sum(axis=1)
    return float(abs((rho.astype(long) * np.maximum(preactivations, 0)).sum()))


def _distinct(units: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "m D"]:
    sizes = np.sqrt(np.square(units).sum(axis=1, keepdims=True))
    cosines = (units / sizes) @ (units / sizes).T if len(units) else np.zeros((0, 0))
    chosen: list[int] = []
    for i in range(len(units)):
        if not any(cosines[i, j] > _APART for j in chosen):
            chosen.append(i)
    return np.ascontiguousarray(units[chosen])


def kernels() -> Any:
    """The module `steppe_kernels`, or None if it is missing, too old, or switched off by `STEPPE_KERNELS=off`."""
    if os.environ.get("STEPPE_KERNELS") == "off" or importlib.util.find_spec("steppe_kernels") is None:
        return None
    module = importlib.import_module("steppe_kernels")
    return module if hasattr(module, "bound_cones") else None


def threads(work: int) -> int:
    """Threads for this many cells: as many as torch may use, no more than pays. Results do not depend on it."""
    return 1 if work < 20_000 else max(1, min(8, torch.get_num_threads()))
