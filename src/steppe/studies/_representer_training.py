"""Weight decay by first-order training, in NumPy: one hidden ReLU layer, bias and affine part free."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steppe.core import derived_seed

Array = NDArray[np.float64]
_RATE = 0.02
_LIVE = 1e-3
_MOMENTS = (0.9, 0.999)


@dataclass(frozen=True)
class Decayed:
    """Where training ended.

    Args:
        decay: Loss plus alpha/2·Σ(‖w‖² + v²).
        path: Loss plus alpha·Σ‖w‖|v|, never larger.
        imbalance: Σ(‖w‖ − |v|)² over Σ(‖w‖² + v²).
        live: Neurons whose ‖w‖|v| is above 1e-3 of the largest.
    """

    decay: float
    path: float
    imbalance: float
    live: int


def trained(x: Array, y: Array, alpha: float, *, width: int, steps: int, seed: int) -> Decayed:
    """Adam with cosine decay on (1/2n)·Σ(y − f)² + alpha/2·Σ(‖w‖² + v²), full batch.

    f(x) = Σ v relu(w·x − b) + c·x + c₀; b, c and c₀ are not decayed. Thresholds start at random data points.
    """
    n, d = x.shape
    rng = np.random.default_rng(derived_seed("networks.shallow_relu", seed))
    w = 0.5 * rng.standard_normal((width, d))
    b = np.einsum("kd,kd->k", w, x[rng.integers(0, n, width)]) + 0.1 * rng.standard_normal(width)
    values = np.concatenate([w.ravel(), b, 0.5 * rng.standard_normal(width) / np.sqrt(width), np.zeros(d + 1)])
    first, second = np.zeros_like(values), np.zeros_like(values)
    parts = np.cumsum([width * d, width, width])
    free = np.column_stack([x, np.ones(n)])
    for step in range(steps):
        w, b, v, c = np.split(values, parts)
        w = w.reshape(width, d)
        hidden = np.maximum(x @ w.T - b, 0.0)
        slack = (hidden @ v + free @ c - y) / n
        pulled = (hidden > 0) * np.outer(slack, v)
        slope = np.concatenate(
            [(pulled.T @ x + alpha * w).ravel(), -pulled.sum(axis=0), hidden.T @ slack + alpha * v, free.T @ slack]
        )
        first = _MOMENTS[0] * first + (1 - _MOMENTS[0]) * slope
        second = _MOMENTS[1] * second + (1 - _MOMENTS[1]) * slope * slope
        rate = 0.5 * _RATE * (1 + np.cos(np.pi * step / steps))
        scaled = first / (1 - _MOMENTS[0] ** (step + 1))
        values = values - rate * scaled / (np.sqrt(second / (1 - _MOMENTS[1] ** (step + 1))) + 1e-12)
    w, b, v, c = np.split(values, parts)
    return _ended(x, y, alpha, w.reshape(width, d), b, v, c)


def _ended(x: Array, y: Array, alpha: float, w: Array, b: Array, v: Array, c: Array) -> Decayed:
    fitted = np.maximum(x @ w.T - b, 0.0) @ v + x @ c[:-1] + c[-1]
    loss = 0.5 * float(np.mean(np.square(y - fitted)))
    norms, sizes = np.linalg.norm(w, axis=1), np.abs(v)
    squares = float(np.square(norms).sum() + np.square(sizes).sum())
    return Decayed(
        decay=loss + 0.5 * alpha * squares,
        path=loss + alpha * float(norms @ sizes),
        imbalance=float(np.square(norms - sizes).sum()) / max(squares, 1e-300),
        live=int(np.count_nonzero(norms * sizes > _LIVE * max(float((norms * sizes).max()), 1e-6))),
    )
