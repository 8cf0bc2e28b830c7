"""The linear method of `parhi2021-near-minimax`: ridge regression with the kernel of infinitely many random neurons."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RIDGES = 10.0 ** np.arange(-8.0, 1.01, 0.25)


def neuron_kernel(a: Array, b: Array) -> Array:
    """2 E φ(uᵀ(x, 1)) φ(uᵀ(x′, 1)) over Gaussian u: the arc-cosine kernel of order one with a bias."""
    a, b = (np.column_stack([rows, np.ones(len(rows))]) for rows in (a, b))
    sizes = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    cosine = np.clip(a @ b.T / sizes, -1.0, 1.0)
    angle = np.arccos(cosine)
    return np.asarray(sizes * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi)


def kernel_ridge(x: Array, y: Array, at: Array, ridge: float) -> Array:
    """The minimizer of (1/n) Σ (f − y)² + ridge ‖f‖², evaluated at other inputs."""
    matrix = neuron_kernel(x, x)
    matrix[np.diag_indices_from(matrix)] += len(x) * ridge
    return np.asarray(neuron_kernel(at, x) @ np.linalg.solve(matrix, y))


def best_ridge(x: Array, y: Array, fresh: Array, clean: Array) -> float:
    """The least mean squared error to the clean targets over all `RIDGES`: the choice an oracle would make."""
    values, vectors = np.linalg.eigh(neuron_kernel(x, x))
    inner = vectors.T @ y
    rotated = neuron_kernel(fresh, x) @ vectors
    weights = inner[:, None] / (np.maximum(values, 0.0)[:, None] + len(x) * RIDGES)
    return float(np.square(rotated @ weights - clean[:, None]).mean(axis=0).min())
