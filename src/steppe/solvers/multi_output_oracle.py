"""Where a neuron with several outputs would still pay: local maxima of ‖R' relu(Zu)‖₂, never a bound."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .climbing import Climber
from .multi_output_data import MultiData

_BLOCK = 1 << 18  # entries of a block of hidden values
_WORK = 10**10


@dataclass(frozen=True)
class Effort:
    """How hard the oracle looks: random starts, steps of their ascent, and points followed to their kinks.

    On small problems there are up to `most` starts instead, within `_WORK` multiplications.
    """

    starts: int
    steps: int
    climbs: int
    most: int

    def count(self, data: MultiData) -> int:
        """Random starts for a problem."""
        cost = 4 * self.steps * len(data.Z) * (data.Z.shape[1] + data.Y.shape[1])
        return int(np.clip(_WORK // cost, self.starts, self.most))


QUICK, WIDE = Effort(192, 30, 0, 192), Effort(768, 60, 12, 4096)


def correlations(
    data: MultiData, rho: Float[np.ndarray, "n c"], u: Float[np.ndarray, "k D"]
) -> Float[np.ndarray, " k"]:
    """‖Σ_i ρ_i relu(z_i·u)‖₂ of every row u."""
    return np.linalg.norm(np.maximum(data.Z @ u.T, 0.0).T @ rho, axis=1)


def multi_output_maxima(
    data: MultiData,
    rho: Float[np.ndarray, "n c"],
    known: Float[np.ndarray, "k D"],
    rng: np.random.Generator,
    effort: Effort,
) -> tuple[Float[np.ndarray, "m D"], Float[np.ndarray, " m"]]:
    """Rows of penalty norm one where the correlation has a local maximum, with its value, best first.

    Args:
        data: The problem.
        rho: The direction, orthogonal to the free columns.
        known: Neurons to start from as well, and near.
        rng: Of the starts.
        effort: How hard to look.
    """
    D = data.Z.shape[1]
    near = known + 0.5 / np.sqrt(D) * rng.standard_normal(known.shape)
    starts = data.normalised(np.concatenate([known, near, _starts(data, rng, effort.count(data))]))
    scale = float(np.abs(rho).max(initial=0.0))
    if scale == 0.0:
        return starts[:1], np.zeros(1)
    rows = max(32, _BLOCK // len(data.Z))
    parts = [_risen(data, rho / scale, starts[i : i + rows], effort.steps) for i in range(0, len(starts), rows)]
    u = np.concatenate([known, *parts])  # a known neuron may lie on kinks that the ascent leaves
    values = correlations(data, rho, u)
    u, values = _distinct(data, u, values, len(u))
    if effort.climbs:
        climbed = np.array([_climb(data, rho, row) for row in u[: effort.climbs]])
        u = np.concatenate([u, climbed])
        u, values = _distinct(data, u, correlations(data, rho, u), len(u))
    return u, values


def _starts(data: MultiData, rng: np.random.Generator, count: int) -> Float[np.ndarray, "s D"]:
    """Gaussian directions, and normals of hyperplanes through samples, where the kinks are."""
    p = data.penalised
    half = count // 2
    starts = rng.standard_normal((count, data.Z.shape[1]))
    # D − 1 samples in general position lie on one hyperplane; in many dimensions a few of them have to do.
    through = min(p - 1, len(data.Z) - 1, 12)
    if through > 0:
        chosen = data.Z[rng.integers(0, len(data.Z), size=(half, through + (p < data.Z.shape[1]))), :p]
        rows = chosen[:, 1:] - chosen[:, :1] if p < data.Z.shape[1] else chosen
        basis = np.linalg.qr(np.swapaxes(rows, 1, 2))[0]
        inside = np.einsum("sdj,sd->sj", basis, starts[:half, :p])
        starts[:half, :p] -= np.einsum("sdj,sj->sd", basis, inside)
    return starts


def _risen(
    data: MultiData, rho: Float[np.ndarray, "n c"], starts: Float[np.ndarray, "s D"], steps: int
) -> Float[np.ndarray, "s D"]:
    """Starts after their ascent; a free bias is first put where it is best."""
    if data.penalised == data.Z.shape[1]:
        return _ascend(data, rho, starts, steps)
    starts = np.column_stack([starts[:, :-1], _best_bias(data, rho, starts[:, :-1])])
    risen = _ascend(data, rho, starts, steps // 2)
    again = np.column_stack([risen[:, :-1], _best_bias(data, rho, risen[:, :-1])])
    return _ascend(data, rho, again, steps - steps // 2)


def _best_bias(data: MultiData, rho: Float[np.ndarray, "n c"], w: Float[np.ndarray, "s d"]) -> Float[np.ndarray, " s"]:
    """The bias of the largest correlation for every w: on a sample, since the correlation is convex in between."""
    heights = data.Z[:, :-1] @ w.T
    order = np.argsort(-heights, axis=0)
    falling = np.take_along_axis(heights, order, axis=0)
    squares = np.zeros_like(heights)
    for column in rho.T:
        weight = column[order]
        squares += (np.cumsum(weight * falling, axis=0) - np.cumsum(weight, axis=0) * falling) ** 2
    return np.take_along_axis(falling, np.argmax(squares, axis=0)[None, :], axis=0)[0]


def _ascend(
    data: MultiData, rho: Float[np.ndarray, "n c"], starts: Float[np.ndarray, "s D"], steps: int
) -> Float[np.ndarray, "s D"]:
    """Batched projected ascent in single precision; a step grows on success and shrinks on failure."""
    Z, R, u = data.Z.astype(np.float32), rho.astype(np.float32), starts.astype(np.float32)
    p = data.penalised
    value, gradient = _value(Z, R, u)
    step = np.full(len(u), 0.5, dtype=np.float32)
    tiny = np.float32(1e-30)
    for _ in range(steps):
        length = np.sqrt(np.einsum("kj,kj->k", gradient, gradient)) + tiny
        tried = u + (step / length)[:, None] * gradient
        tried /= (np.sqrt(np.einsum("kj,kj->k", tried[:, :p], tried[:, :p])) + tiny)[:, None]
        reached, fresh = _value(Z, R, tried)
        better = reached > value
        u, gradient = np.where(better[:, None], tried, u), np.where(better[:, None], fresh, gradient)
        value = np.where(better, reached, value)
        step = np.where(better, np.float32(1.6), np.float32(0.4)) * step
    return data.normalised(u.astype(np.float64))


def _value(
    Z: Float[np.ndarray, "n D"], R: Float[np.ndarray, "n c"], u: Float[np.ndarray, "s D"]
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, "s D"]]:
    hidden = Z @ u.T
    outputs = R.T @ np.maximum(hidden, 0)
    value = np.sqrt(np.einsum("ck,ck->k", outputs, outputs))
    along = R @ (outputs / (value + np.float32(1e-30)))
    return value, (along * (hidden > 0)).T @ Z


def _climb(data: MultiData, rho: Float[np.ndarray, "n c"], u: Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
    """To the kinks: for the output direction of the present point the correlation is that of one output."""
    for _ in range(3):
        outputs = np.maximum(data.Z @ u, 0.0) @ rho
        size = float(np.linalg.norm(outputs))
        if size == 0.0:
            break
        climbed = Climber(data.Z, rho @ (outputs / size), data.penalised).climb(u)
        if np.linalg.norm(np.maximum(data.Z @ climbed, 0.0) @ rho) <= size * (1 + 1e-12):
            break
        u = climbed
    return u


def _distinct(
    data: MultiData, u: Float[np.ndarray, "s D"], values: Float[np.ndarray, " s"], limit: int
) -> tuple[Float[np.ndarray, "m D"], Float[np.ndarray, " m"]]:
    """The best rows, greedily, no two closer than a cosine of 0.9999."""
    order = np.argsort(-values, kind="stable")
    unit = u / np.linalg.norm(u, axis=1)[:, None]
    chosen: list[int] = []
    open_ = np.ones(len(u), dtype=bool)
    for i in order:
        if open_[i]:
            chosen.append(int(i))
            open_ &= unit @ unit[i] <= 0.9999
        if len(chosen) == limit:
            break
    picked: Int[np.ndarray, " m"] = np.array(chosen)
    return u[picked], values[picked]
