"""Data of `bai2022-global-optimization`."""

import math

import numpy as np

from steppe.core import derived_seed
from steppe.data import tabular

Array = np.ndarray


def ridges(n: int, d: int, *, seed: int) -> tuple[Array, Array]:
    """Gaussian inputs; the target is a sum of three ridge functions, standardised, and noise 0.3."""
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    X = rng.standard_normal((n, d))
    directions = rng.standard_normal((3, d)) / math.sqrt(d)
    along = X @ directions.T
    clean = np.sin(2 * along[:, 0]) + np.abs(along[:, 1]) + np.maximum(along[:, 2] - 0.3, 0)
    clean = (clean - clean.mean()) / clean.std()
    return _standardised(X), clean + 0.3 * rng.standard_normal(n)


def diabetes(n: int, d: int, *, seed: int) -> tuple[Array, Array]:
    """So many rows and leading columns of scikit-learn's diabetes table, standardised."""
    table = tabular("diabetes")
    X, y = table.x.numpy(), table.y[:, 0].numpy()
    chosen = np.random.default_rng(derived_seed("data.subset", seed)).permutation(len(y))[:n]
    return _standardised(X[chosen][:, :d]), (y[chosen] - y[chosen].mean()) / y[chosen].std()


def weak_features(n: int, *, seed: int) -> tuple[Array, Array]:
    """Four square clusters with the labels of XOR, and three features ±0.3 that give the label away."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])[np.arange(n) % 4]
    y = np.sign(corners[:, 0] * corners[:, 1])
    strong = corners + 0.2 * rng.uniform(-1, 1, (n, 2))
    return np.column_stack([strong, 0.3 * y[:, None] + 0.03 * rng.standard_normal((n, 3))]), y


def _standardised(X: Array) -> Array:
    return np.asarray((X - X.mean(axis=0)) / X.std(axis=0))
