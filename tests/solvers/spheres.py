"""Degenerate and ordinary problems max |Σ ρ_i relu(z_i·w)| over the sphere, and what is known of them elsewhere."""

import itertools

import numpy as np

KINDS = [
    "gauss", "integer", "repeated", "opposite", "near", "rank", "zero", "axis", "sparse", "positive", "wild", "bias",
    "scale",
]  # fmt: skip


def instance(kind, seed, D, *, centred, n=None):
    """Rows [n, D] and weights; with a free bias weights are orthogonal to [X, 1]."""
    rng = np.random.default_rng([KINDS.index(kind), seed, D, centred])
    n = n or int(rng.integers(D + 2 if centred else 1, 12))
    Z, rho = rng.normal(size=(n, D)), rng.normal(size=n)
    if kind == "integer":
        Z = rng.integers(-2, 3, size=(n, D)).astype(float)
    elif kind == "repeated":
        Z = Z[rng.integers(0, n, n)]
    elif kind == "opposite":
        Z = Z[rng.integers(0, n, n)] * rng.choice([-1.0, 1.0, 2.5, -0.3], size=(n, 1))
    elif kind == "near":
        Z = Z[rng.integers(0, max(1, n // 3), n)] * (1 + 10.0 ** rng.uniform(-16, -6) * rng.normal(size=(n, D)))
    elif kind == "rank":
        rank = int(rng.integers(1, D + 1))
        Z = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, D))
    elif kind == "zero":
        Z[rng.random(n) < 0.4] = 0.0
    elif kind == "axis":
        Z = np.eye(D)[rng.integers(0, D, n)] * rng.choice([-1.0, 1.0], size=(n, 1))
    elif kind == "sparse":
        rho[rng.random(n) < 0.5] = 0.0
    elif kind == "positive":
        rho = np.abs(rho)
    elif kind == "wild" and not centred:
        Z = Z * 10.0 ** rng.uniform(-6, 6, size=(n, 1))
    elif kind == "bias":
        Z = np.column_stack([rng.integers(-2, 3, size=(n, D - 1)), -np.ones(n)])
    if centred:
        rho = _projected(Z, rho)
    if kind == "scale":
        Z, rho = Z * 10.0 ** rng.uniform(-120, 120), rho * 10.0 ** rng.uniform(-120, 120)
    return Z, rho


def _projected(X, rho):
    S = np.column_stack([X, np.ones(len(X))])
    U, values, _ = np.linalg.svd(S, full_matrices=False)
    U = U[:, values > 1e-12 * values[0]]
    for _ in range(3):
        rho = rho - U @ (U.T @ rho)
    return np.where(np.abs(rho) < 1e-13, 0.0, rho)


def problems(Z, rho, *, centred):
    """The homogeneous problems, with numbers of order one, and what their values must be multiplied with."""
    scale, weight = np.abs(Z).max() or 1.0, np.abs(rho).max() or 1.0
    Z, rho = Z / scale, rho / weight
    return [Z - z for z in Z] if centred else [Z], rho, scale * weight


def sampled(Z, rho, seed, *, centred, count=1000):
    """The largest value at random unit vectors: a lower bound."""
    W = np.random.default_rng(seed).normal(size=(count, Z.shape[1]))
    W /= np.linalg.norm(W, axis=1)[:, None]
    rows, weights, scale = problems(Z, rho, centred=centred)
    return scale * max(np.abs(weights @ np.maximum(part @ W.T, 0.0)).max() for part in rows)


def independent(Z, rho, *, centred):
    """The maximum by brute force: every activation pattern near every vertex, face by face. For a few rows only."""
    rows, weights, scale = problems(Z, rho, centred=centred)
    return scale * max((_listed(part[weights != 0], weights[weights != 0]) for part in rows), default=0.0)


def _listed(Z, rho):
    """The largest value at the candidates."""
    Z, rho = Z[np.any(Z != 0, axis=1)], rho[np.any(Z != 0, axis=1)]
    if not len(Z):
        return 0.0
    W = _candidates(Z, rho)
    return float(np.abs(rho @ np.maximum(Z @ W.T, 0.0)).max())


def _candidates(Z, rho):
    """Local maxima lie in a cell, on a face, ..., on a line: for every flat, the patterns around its own cells."""
    D = Z.shape[1]
    found = [np.eye(D), -np.eye(D)]
    for size in range(D):
        for picked in itertools.combinations(range(len(Z)), size):
            basis = _flat(Z, picked)
            if basis.shape[1] == 0:
                continue
            inside = _representatives(Z @ basis)
            if basis.shape[1] == 1:
                found.append(np.concatenate([basis.T, -basis.T]))
                continue
            q = ((Z @ basis @ inside.T > 1e-12).T * rho) @ Z @ basis
            sizes = np.linalg.norm(q, axis=1)
            w = (q[sizes > 1e-14] / sizes[sizes > 1e-14, None]) @ basis.T
            found += [w, -w]
    return np.concatenate(found)


def _flat(Z, picked):
    """Orthonormal basis of the vectors orthogonal to the picked rows."""
    if not picked:
        return np.eye(Z.shape[1])
    rows = Z[list(picked)] / np.linalg.norm(Z[list(picked)], axis=1)[:, None]
    _, values, directions = np.linalg.svd(rows, full_matrices=True)
    return directions[int((values > 1e-11).sum()) :].T


def _representatives(A):
    """A point of every cell that the rows of A cut out of R^k: sums of ± neighbouring rays; for k ≤ 3."""
    k = A.shape[1]
    sizes = np.linalg.norm(A, axis=1)
    A = A[sizes > 1e-11] / sizes[sizes > 1e-11, None]
    if k == 1 or not len(A):
        return np.concatenate([np.eye(k), -np.eye(k)])
    if k == 2:
        angles = np.sort(np.concatenate([np.arctan2(A[:, 0], -A[:, 1]), np.arctan2(-A[:, 0], A[:, 1])]))
        middle = (angles + np.append(angles[1:], angles[0] + 2 * np.pi)) / 2
        return np.column_stack([np.cos(middle), np.sin(middle)])
    points = []
    for i, axis in enumerate(A):  # beside the middle of every arc of every circle
        basis = _flat(A, [i])
        arcs = _representatives(np.delete(A, i, axis=0) @ basis) @ basis.T
        gaps = np.abs(np.delete(A, i, axis=0) @ arcs.T)
        gaps = np.where(gaps < 1e-11, np.inf, gaps).min(axis=0, initial=1.0)
        points += [arcs + 0.3 * gaps[:, None] * axis, arcs - 0.3 * gaps[:, None] * axis]
    return np.concatenate(points)
