"""The enumeration of cells in NumPy: what `steppe_kernels.enumerate_arcs` does, for where it is missing.

Both sides give the same points. Rows are made unit vectors u_i with weights p_i = ρ_i ‖z_i‖; h = Σ_i p_i u_i. On one
half turn, q is the sum of the active p_i u_i; at the opposite point it is h − q, so that a half turn is enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Array = np.ndarray[Any, np.dtype[np.float64]]
Listed = list[tuple[float, int, list[float]]]

_PARALLEL = 1e-12  # rows closer than this to ±u_i move with circle i
_OUTSIDE = 1e-9  # a candidate may lie this far outside its cell; its true value is taken anyway
_KEPT = 256


def enumerate_arcs(
    z: Float[np.ndarray, "n d"], rho: Float[np.ndarray, " n"], *, centred: bool, target: float
) -> tuple[float, Listed]:
    """The largest |Σ_i ρ_i relu(z_i·w)| over the unit circle or sphere, and the best points met, best first.

    Args:
        z: Rows, two or three columns.
        rho: Weights.
        centred: Whether to solve the n problems with rows z_i − z_j.
        target: Array below both it and a better point nearby need not be met.
    """
    d = z.shape[1]
    found: Listed = []
    least = 4 * np.finfo(np.float64).eps * float(np.abs(z).max(initial=0.0)) if centred else 0.0
    for centre in range(len(z)) if centred else [-1]:
        rows = z - z[centre] if centred else z
        sizes = np.sqrt(np.square(rows).sum(axis=1))
        kept = (sizes > least) & (rho * sizes != 0)
        u, p = rows[kept] / sizes[kept, None], (rho * sizes)[kept]
        if not len(u):
            continue
        walks = [_plane(u, p, target)] if d == 2 else (_circle(u, p, i, target) for i in range(len(u)))
        best = [candidate for walk in walks for candidate in walk]
        if centred:  # one per sign
            best = [max(half, key=lambda c: abs(c[0])) for s in (1, -1) if (half := [c for c in best if s * c[0] > 0])]
        found += [(abs(value), centre, w.tolist()) for value, w in best if value != 0]
    found.sort(key=lambda point: -point[0])
    return (found[0][0] if found else 0.0), found[:_KEPT]


Candidates = list[tuple[float, Array]]


@dataclass(frozen=True)
class _Breaks:
    """Where one half turn crosses the circles of the rows, in order: unit vector, side just after, row."""

    x: Array
    y: Array
    side: Array
    row: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def turned(self) -> Array:
        """−1 for the last arc, which ends at the opposite of the first breakpoint."""
        return np.append(np.ones(len(self.x) - 1), -1.0)


def _breaks(a: Array, b: Array, sizes: Array, row: np.ndarray[Any, np.dtype[np.int64]]) -> _Breaks:
    x, y = -b / sizes, a / sizes
    flip = (y < 0) | ((y == 0) & (x < 0))
    x, y = np.where(flip, -x, x), np.where(flip, -y, y)
    key = np.where(x >= 0, y / np.where(x >= 0, x + y, 1.0), 1 - x / np.where(x >= 0, 1.0, y - x))
    order = np.argsort(key, kind="stable")
    return _Breaks(x[order], y[order], np.where(flip, 1.0, -1.0)[order], row[order])


def _arcs(f: Array, breaks: _Breaks) -> tuple[Array, Array]:
    """Values f·w and places w where |f·w| is largest on the arcs: all starts, then all stationary points."""
    fx, fy, ax, ay = f[:, 0], f[:, 1], breaks.x, breaks.y
    bx, by = breaks.turned * np.roll(ax, -1), breaks.turned * np.roll(ay, -1)
    before, after, size = ax * fy - ay * fx, fx * by - fy * bx, np.hypot(fx, fy)
    inside = (before * after >= 0) & (size > 0)
    sign = np.where((before > 0) | ((before == 0) & (after > 0)), 1.0, -1.0)[inside]
    starts = np.column_stack([ax, ay])
    stationary = sign[:, None] * f[inside, :2] / size[inside, None]
    return np.append(fx * ax + fy * ay, sign * size[inside]), np.concatenate([starts, stationary])


def _plane(u: Array, p: Array, target: float) -> Candidates:
    breaks = _breaks(u[:, 0], u[:, 1], np.ones(len(u)), np.arange(len(u)))
    step = (breaks.side * p[breaks.row])[:, None] * u[breaks.row]
    q = -np.where(breaks.side < 0, 1.0, 0.0) @ step + np.cumsum(step, axis=0)
    values, places = _arcs(q, breaks)
    opposite, facing = _arcs(q - p @ u, breaks)
    values, places = np.append(values, opposite), np.concatenate([places, -facing])
    return _top(values, places, target, _KEPT)


def _top(values: Array, places: Array, target: float, count: int) -> Candidates:
    """The best of either sign, and what lies above the target."""
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    chosen = [int(i) for i in order if abs(values[i]) > target]
    for sign in (1.0, -1.0):
        best = int(np.argmax(sign * values))
        if sign * values[best] > 0 and best not in chosen:
            chosen.append(best)
    return [(float(values[i]), places[i]) for i in chosen]


def _frame(axis: Array) -> Array:
    least = int(np.argmin(np.abs(axis)))
    e1 = np.eye(3)[least] - axis[least] * axis
    e1 /= np.sqrt(e1 @ e1)
    return np.array([e1, np.cross(axis, e1), axis])


def _circle(u: Array, p: Array, i: int, target: float) -> Candidates:
    """The best point of either sign on circle `i` and in the cells beside it."""
    frame = _frame(u[i])
    local = u @ frame.T
    sizes = np.hypot(local[:, 0], local[:, 1])
    apart = np.flatnonzero(sizes > _PARALLEL)
    beside = p * local[:, 2] * (sizes <= _PARALLEL)
    sides = np.array([beside[beside * p > 0].sum(), beside[beside * p < 0].sum()])  # above, below
    points = np.array([u[i], -u[i]])  # all there is where every row moves with the circle
    best: Candidates = []
    if len(apart):
        breaks = _breaks(local[apart, 0], local[apart, 1], sizes[apart], apart)
        step = (breaks.side * p[breaks.row])[:, None] * local[breaks.row]
        q = -np.where(breaks.side < 0, 1.0, 0.0) @ step + np.cumsum(step, axis=0)
        h = (p @ u) @ frame.T
        values, places = _arcs(q, breaks)
        opposite, facing = _arcs(q - h, breaks)
        best = _top(np.append(values, opposite), np.concatenate([places, -facing]) @ frame[:2], np.inf, 0)
        threshold = min([target, *(abs(value) for value, _ in best)]) if len(best) == 2 else 0.0
        points = np.concatenate([points, _cells(q, h, sides, local, breaks, threshold) @ frame])
    best += [(float(v), w) for v, w in zip(p @ np.maximum(u @ points.T, 0.0), points, strict=True)]
    return [max(half, key=lambda c: abs(c[0])) for s in (1, -1) if (half := [c for c in best if s * c[0] > 0])]


def _cells(q: Array, h: Array, sides: Array, local: Array, breaks: _Breaks, threshold: float) -> Array:
    """Unit vectors ±f/‖f‖ that may lie in the cells, f = q there, beside every arc and its opposite."""
    first = breaks.side[:, None] * local[breaks.row]
    last = (
        np.roll(np.where(np.arange(len(q)) == 0, 1.0, -1.0) * breaks.side, -1)[:, None] * local[np.roll(breaks.row, -1)]
    )
    found = []
    for up, beside in ((1.0, sides[0]), (-1.0, sides[1])):
        for opposite in (False, True):
            f = q + np.array([0.0, 0.0, beside]) - (h if opposite else 0.0)
            size = np.sqrt(np.square(f).sum(axis=1))
            tests = np.stack([up * f[:, 2], (first * f).sum(axis=1), (last * f).sum(axis=1)])
            for sign in (1.0, -1.0):
                inside = (size > threshold) & (sign * tests >= -_OUTSIDE * size).all(axis=0) & (size > 0)
                found.append((-sign if opposite else sign) * f[inside] / size[inside, None])
    return np.concatenate(found)
