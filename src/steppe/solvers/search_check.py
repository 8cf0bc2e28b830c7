"""The largest correlation of a dual point with one neuron, searched from fresh starts: never a bound.

A plain projected ascent written for verification, for one output or several; for one output the best starts are also
climbed to the kinks by the oracle, on the raw numbers.
"""

import numpy as np
from jaxtyping import Float

from .oracle import local_maxima_of

Points = Float[np.ndarray, "n D"]
Units = Float[np.ndarray, "k D"]
_WORK = 2e9  # multiplications that one search may spend
_STARTS, _STEPS = 1024, 60


def searched_correlation(
    X: Float[np.ndarray, "n d"],
    theta: Float[np.ndarray, "n c"],
    *,
    bias: str,
    rng: np.random.Generator,
    known: Units,
) -> float:
    """The largest ‖Σ_i θ_i relu(w·x_i − b)‖ found over neurons of penalty norm one.

    Args:
        X: Inputs.
        theta: Dual point.
        bias: `"free"` or `"penalized"`.
        rng: Of the starts.
        known: Neurons (w, b) that are tried first.
    """
    size = float(np.abs(theta).max(initial=0.0))
    center = X[0] + (X - X[0]).mean(axis=0) if bias == "free" else np.zeros(X.shape[1])
    scale = float(np.abs(X - center).max(initial=0.0 if bias == "free" else 1.0))
    if size == 0.0 or scale == 0.0:
        return 0.0
    p, column = theta / size, np.full(len(X), -1.0 if bias == "free" else -1.0 / scale)
    full = np.column_stack([(X - center) / scale, column])
    if bias == "free":
        known = np.column_stack([known[:, :-1], (known[:, -1] - known[:, :-1] @ center) / scale])
    penalised = X.shape[1] + (bias == "penalized")
    rows = full[:, :penalised]
    ascent = _FreeBias(rows, p) if bias == "free" else _Homogeneous(rows, p)
    count = int(np.clip(_WORK / (_STEPS * rows.size * (2 + p.shape[1])), 16, _STARTS))
    starts = np.concatenate([known[:, :penalised], _starts(rows, rng, count)])
    best = _ascend(ascent, starts, _STEPS)
    if p.shape[1] == 1:
        found = local_maxima_of(full, p[:, 0], penalised, rng=rng, known=known[:64])[1]
        best = max(best, float(np.abs(found).max(initial=0.0)))
    return size * scale * best


def _starts(rows: Points, rng: np.random.Generator, count: int) -> Units:
    """Gaussian directions, and normals of hyperplanes through random samples, where the kinks are."""
    n, D = rows.shape
    half = count // 2
    chosen = rows[rng.integers(0, n, size=(half, D))]
    normals = np.linalg.svd(chosen[:, 1:] - chosen[:, :1] if D > 1 else chosen)[2][:, -1]
    return np.concatenate([rng.standard_normal((count - half, D)), normals, -normals])


class _Homogeneous:
    """g(u) = ‖Σ p_i relu(z_i·u)‖ for many unit vectors u at once."""

    def __init__(self, Z: Points, p: Float[np.ndarray, "n c"]) -> None:
        self.Z, self.p = Z, p

    def __call__(self, U: Units) -> tuple[Float[np.ndarray, " k"], Units]:
        """Values and gradients."""
        return self.at(self.Z @ U.T)

    def at(self, hidden: Float[np.ndarray, "n k"]) -> tuple[Float[np.ndarray, " k"], Units]:
        """Values and gradients from the preactivations."""
        outputs = self.p.T @ np.maximum(hidden, 0.0)
        values = np.sqrt(np.square(outputs).sum(axis=0))
        along = self.p @ (outputs / np.where(values > 0, values, 1.0))
        return values, np.asarray((along * (hidden > 0)).T @ self.Z)


class _FreeBias(_Homogeneous):
    """The same for w alone, each with the best of its n biases."""

    def __call__(self, U: Units) -> tuple[Float[np.ndarray, " k"], Units]:
        """Values and gradients at the best bias."""
        heights = self.Z @ U.T
        order = np.argsort(-heights, axis=0)
        sorted_heights = np.take_along_axis(heights, order, axis=0)
        squares = np.zeros_like(heights)
        for column in self.p.T:
            weight = column[order]
            moment = np.cumsum(weight * sorted_heights, axis=0) - np.cumsum(weight, axis=0) * sorted_heights
            squares += np.square(moment)
        knots = np.take_along_axis(sorted_heights, np.argmax(squares, axis=0)[None, :], axis=0)
        return self.at(heights - knots)


def _ascend(ascent: _Homogeneous, U: Units, steps: int) -> float:
    """The best value after steps that grow on success and shrink on failure."""
    sizes = np.linalg.norm(U, axis=1)
    U = U[sizes > 0] / sizes[sizes > 0, None]
    values, gradients = ascent(U)
    step = np.full(len(U), 0.3)
    for count in range(steps):
        if count == steps // 4:  # most starts meet in few maxima; the better half goes on
            kept = np.argsort(values)[-max(16, len(U) // 4) :]
            U, values, gradients, step = U[kept], values[kept], gradients[kept], step[kept]
        sizes = np.linalg.norm(gradients, axis=1)
        tried = U + (step / np.where(sizes > 0, sizes, 1.0))[:, None] * gradients
        tried /= np.linalg.norm(tried, axis=1)[:, None]
        reached, fresh = ascent(tried)
        better = reached > values
        U, gradients = np.where(better[:, None], tried, U), np.where(better[:, None], fresh, gradients)
        values = np.where(better, reached, values)
        step = np.where(better, 1.5 * step, 0.4 * step)
    return float(values.max(initial=0.0))
