"""The largest correlation of a dual point with one neuron, by listing all faces: NumPy only, apart from every solver.

For a fixed activation pattern θ ↦ Σ θ_i relu(z_i·u) is linear in u, so on the unit sphere it is largest at the
normalised sum of its active z_i, on a face of lower dimension, or at a corner. Listing the faces lists the candidates;
each is a neuron of norm one, so that no listed value is ever too large. In the line and the plane a sort does it, in
space one sort for every circle z_i·u = 0. A free bias puts the knot onto one of the samples: one such problem each.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "n D"]
Numbers = Float[np.ndarray, " n"]
_TOP = 8  # best candidates of a circle that are evaluated again, without running sums


def largest_correlation(X: Points, theta: Float[np.ndarray, "n *c"], *, bias: str) -> float | None:
    """The largest |Σ_i θ_i relu(w·x_i − b)| over all neurons of penalty norm one; None where that is not served.

    Served: one output with bias free and d ≤ 3, or penalized and d ≤ 2; several outputs with bias free and d = 1.
    Cost O(n log n) for d = 1 with free bias, otherwise one more factor n per dimension.

    Args:
        X: Inputs.
        theta: Dual point, orthogonal to [X, 1] if the bias is free.
        bias: `"free"` (norm ‖w‖) or `"penalized"` (norm ‖(w, b)‖).
    """
    d = X.shape[1]
    size = float(np.abs(theta).max(initial=0.0))
    if size == 0.0:
        return 0.0
    if bias == "free" and d == 1:
        return size * _on_line(X[:, 0], theta / size)
    dimension = d if bias == "free" else d + 1
    if theta.ndim > 1 or dimension > 3:
        return None
    inside = _on_circle if dimension == 2 else _on_sphere
    unit = theta / size
    if bias == "penalized":
        return size * _scaled(inside, np.column_stack([X, np.full(len(X), -1.0)]), unit)
    return size * max(_scaled(inside, X - knot, unit) for knot in np.unique(X, axis=0))


def _scaled(inside: Any, Z: Points, p: Numbers) -> float:
    """One homogeneous problem, with numbers of order one and without rows that never count."""
    scale = float(np.abs(Z).max(initial=0.0))
    if scale == 0.0:
        return 0.0
    Z = Z / scale
    kept = Z.any(axis=1) & (p != 0)
    return scale * float(inside(Z[kept], p[kept])) if kept.any() else 0.0


def _on_line(x: Numbers, theta: Float[np.ndarray, "n *c"]) -> float:
    """Free bias in one dimension: Σ θ_i relu(±(x_i − b)) is piecewise linear in b, so a knot at a sample is best."""
    order = np.argsort(x, kind="stable")
    scale = float(np.abs(x - x[order[0]]).max())
    if scale == 0.0:
        return 0.0
    t, p = (x[order] - x[order[0]]) / scale, theta[order].reshape(len(x), -1)
    best = 0.0
    for sign in (1.0, -1.0):
        s, q = (t, p) if sign > 0 else (-t[::-1], p[::-1])
        steps = np.append(np.diff(s), 0.0)[:, None]
        slopes = np.cumsum(q[::-1], axis=0)[::-1]  # of the neuron with its knot just left of s_i
        above = np.concatenate([slopes[1:], np.zeros((1, q.shape[1]))])
        values = np.cumsum((above * steps)[::-1], axis=0)[::-1]
        best = max(best, float(np.sqrt(np.square(values).sum(axis=1)).max()))
    return scale * best


def _arcs(C: Float[np.ndarray, "n 2"], moments: Float[np.ndarray, "n D"]) -> tuple[np.ndarray, ...]:
    """The arcs of the circle between turns, where one c_i·u changes sign.

    Returns:
        Angles where the arcs begin and end, the sum of the moments active on each, and the indices that turn at both
        ends.
    """
    angle = np.arctan2(C[:, 1], C[:, 0])
    turns = np.concatenate([angle - np.pi / 2, angle + np.pi / 2]) % (2 * np.pi)
    change = np.concatenate([moments, -moments])
    owner = np.concatenate([np.arange(len(C)), np.arange(len(C))])
    order = np.argsort(turns, kind="stable")
    begin, owner = turns[order], owner[order]
    end = np.append(begin[1:], begin[0] + 2 * np.pi)
    widest = int(np.argmax(end - begin))  # counting starts where the pattern is least in doubt
    middle = 0.5 * (begin[widest] + end[widest])
    active = C @ np.array([np.cos(middle), np.sin(middle)]) > 0
    change = np.roll(change[order], -widest - 1, axis=0)
    sums = moments[active].sum(axis=0) + np.cumsum(np.concatenate([np.zeros_like(change[:1]), change[:-1]]), axis=0)
    sums = np.roll(sums, widest, axis=0)
    return begin, end, sums, owner, np.roll(owner, -1)


def _candidates(
    begin: Numbers, end: Numbers, sums: Float[np.ndarray, "m 2"], sign: float
) -> tuple[Float[np.ndarray, "m 2"], Numbers]:
    """On every arc the unit vector where sign · h·u is largest, and that value."""
    best = np.arctan2(sign * sums[:, 1], sign * sums[:, 0])
    best = begin + (best - begin) % (2 * np.pi)
    inside = best <= end
    ends = np.stack([begin, end])
    at_ends = sign * (np.cos(ends) * sums[:, 0] + np.sin(ends) * sums[:, 1])
    best = np.where(inside, best, np.where(at_ends[0] >= at_ends[1], begin, end))
    u = np.column_stack([np.cos(best), np.sin(best)])
    return u, sign * (u * sums).sum(axis=1)


def _value(Z: Points, p: Numbers, u: Float[np.ndarray, "k D"]) -> float:
    """The largest |Σ p_i relu(z_i·u)| over some unit vectors."""
    return float(np.abs(p @ np.maximum(Z @ u.T, 0.0)).max(initial=0.0))


def _on_circle(Z: Float[np.ndarray, "n 2"], p: Numbers) -> float:
    begin, end, sums, _, _ = _arcs(Z, p[:, None] * Z)
    best = 0.0
    for sign in (1.0, -1.0):
        u, values = _candidates(begin, end, sums, sign)
        best = max(best, _value(Z, p, u[np.argsort(values)[-_TOP:]]))
    return best


def _on_sphere(Z: Float[np.ndarray, "n 3"], p: Numbers) -> float:
    """Every cell of the sphere borders on an arc of some circle z_i·u = 0, and every corner ends one."""
    best = _value(Z, p, np.vstack([Z, -Z]) / np.linalg.norm(np.vstack([Z, Z]), axis=1)[:, None])
    lengths = np.linalg.norm(Z, axis=1)
    moments = p[:, None] * Z
    for i in range(len(Z)):
        axis = Z[i] / lengths[i]
        frame = np.linalg.svd(axis[None, :])[2][1:].T
        C = Z @ frame
        beside = np.abs(C).max(axis=1) <= 1e-13 * lengths
        along = Z @ axis
        total = [moments[beside & (side * along > 0)].sum(axis=0) for side in (1.0, -1.0)]
        if beside.all():
            best = max(best, *(float(np.linalg.norm(t)) for t in total))
            continue
        others = np.flatnonzero(~beside)
        begin, end, sums, first, last = _arcs(C[others], moments[others])
        middle = 0.5 * (begin + end)
        inward = frame @ np.array([np.cos(middle), np.sin(middle)])
        walls = [np.sign((Z[others[wall]].T * inward).sum(axis=0)) for wall in (first, last)]
        best = max(best, *_cells(Z, p, sums, total, axis, (others[first], others[last]), walls, best))
        for sign in (1.0, -1.0):
            u, values = _candidates(begin, end, sums @ frame, sign)
            top = np.argsort(values)[-_TOP:]
            if values[top[-1]] > best:
                best = max(best, _value(Z, p, u[top] @ frame.T))
    return best


def _cells(
    Z: Float[np.ndarray, "n 3"],
    p: Numbers,
    sums: Float[np.ndarray, "m 3"],
    total: list[np.ndarray],
    axis: Float[np.ndarray, " 3"],
    neighbours: tuple[np.ndarray, np.ndarray],
    walls: list[np.ndarray],
    best: float,
) -> list[float]:
    """Values in the cells on both sides of the arcs of one circle; a cell whose best direction lies elsewhere drops."""
    found = [best]
    for side, beside in zip((1.0, -1.0), total, strict=True):
        h = sums + beside
        norms = np.linalg.norm(h, axis=1)
        for sign in (1.0, -1.0):
            u = sign * h / np.where(norms > 0, norms, 1.0)[:, None]
            kept = (norms > best * (1 + 1e-12)) & (side * (u @ axis) >= -1e-12)
            for wall, inward in zip(neighbours, walls, strict=True):
                kept &= inward * (Z[wall] * u).sum(axis=1) >= -1e-12
            found.append(_value(Z, p, u[kept]) if kept.any() else 0.0)
    return found
