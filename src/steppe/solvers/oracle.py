"""The local oracle: where a neuron would still pay, found from many starts; never a bound."""

from dataclasses import dataclass, replace

import numpy as np

from .climbing import Climber
from .cone_problem import cone_problem
from .maximum import Maximum
from .neuron_set import Array, Indices
from .problem import VariationProblem
from .scales import rescaled


@dataclass(frozen=True)
class Effort:
    """How hard the oracle looks.

    Args:
        starts: Gaussian starts; as many again are normals of hyperplanes through data points.
        steps: Steps of the batched ascent.
        climbs: Distinct points that are taken on from there.
        exact: Whether those are followed to their local maximum.
    """

    starts: int
    steps: int
    climbs: int
    exact: bool = True

    def within(self, n: int, D: int) -> "Effort":
        """Less where the problem is so small that it has few cones, or so large that many starts take long."""
        starts = min(self.starts, 64 + 4 * n * D, max(64, _WORK // min(n, _SAMPLE)))
        return replace(self, starts=starts, climbs=min(self.climbs, 8 + n))


QUICK, FULL, WIDE = Effort(128, 20, 20, exact=False), Effort(256, 25, 30), Effort(4096, 25, 60)
_SAMPLE = 4096  # rows used in the first batched ascent at most
_WORK = 2_000_000  # starts times rows of the first ascent at most, for each kind of start
_CLIMBS_ON_LINE = 40
_BLOCK = 1 << 18  # entries of a block of hidden values


def normalised(U: Array, penalised: int) -> Array:
    """Rows of penalty norm one."""
    size = np.sqrt(np.einsum("kj,kj->k", U[:, :penalised], U[:, :penalised]))
    return U / np.maximum(size, 1e-300)[:, None]


def starting_points(Z: Array, penalised: int, rng: np.random.Generator, *, gaussian: int, planes: int) -> Array:
    """Gaussian directions and normals of hyperplanes through data points, both orientations."""
    n, D = Z.shape
    points = [rng.standard_normal((gaussian, D))]
    if penalised < D:
        # A free bias starts on a kink: far out every neuron is worth nothing.
        anchors = Z[rng.integers(0, n, size=gaussian)]
        points[0][:, -1] = -np.einsum("kj,kj->k", points[0][:, :-1], anchors[:, :-1]) / anchors[:, -1]
    if planes and n >= D - 1 and D > 1:
        picks = rng.integers(0, n, size=(planes, D - 1))
        normals = np.linalg.svd(Z[picks], full_matrices=True)[2][:, -1]
        keep = np.sqrt(np.einsum("kj,kj->k", normals[:, :penalised], normals[:, :penalised])) > 1e-6
        points += [normals[keep], -normals[keep]]
    return normalised(np.concatenate(points), penalised)


def ascend(Z: Array, rho: Array, U: Array, penalised: int, *, steps: int) -> tuple[Array, Array]:
    """Batched projected ascent of |g| in single precision; rows and their values in double precision."""
    Zs, r = Z.astype(np.float32), rho.astype(np.float32)
    W = U.astype(np.float32)
    hidden = Zs @ W.T
    value = r @ np.maximum(hidden, 0)
    sign = np.where(value >= 0, np.float32(1), np.float32(-1))
    value = value * sign
    step = np.full(len(W), 0.3, dtype=np.float32)
    gradient = sign[:, None] * ((hidden > 0) * r[:, None]).T @ Zs
    for _ in range(steps):
        size = np.sqrt(np.einsum("kj,kj->k", gradient, gradient)) + np.float32(1e-30)
        tried = W + (step / size)[:, None] * gradient
        tried /= np.sqrt(np.einsum("kj,kj->k", tried[:, :penalised], tried[:, :penalised]))[:, None] + np.float32(1e-30)
        hidden = Zs @ tried.T
        active = hidden > 0
        reached = sign * (r @ (hidden * active))
        better = reached > value
        W = np.where(better[:, None], tried, W)
        value = np.where(better, reached, value)
        fresh = sign[:, None] * ((active * r[:, None]).T @ Zs)
        gradient = np.where(better[:, None], fresh, gradient)
        step = np.minimum(np.where(better, step * np.float32(1.5), step * np.float32(0.4)), np.float32(2.0))
    W64 = normalised(W.astype(np.float64), penalised)
    return W64, rho @ np.maximum(Z @ W64.T, 0.0)


def distinct(U: Array, values: Array, *, limit: int, cosine: float) -> Indices:
    """Indices of the best rows, greedily, no two of one sign closer than `cosine`."""
    order = np.argsort(-np.abs(values))
    size = np.sqrt(np.einsum("kj,kj->k", U, U))
    unit = U / size[:, None]
    chosen: list[int] = []
    open_ = np.ones(len(U), dtype=bool)
    for i in order:
        if open_[i]:
            chosen.append(int(i))
            if len(chosen) == limit:
                break
            open_ &= ~((unit @ unit[i] > cosine) & (np.sign(values) == np.sign(values[i])))
    return np.array(chosen, dtype=np.int64)


def local_maxima_of(
    Z: Array,
    rho: Array,
    penalised: int,
    *,
    rng: np.random.Generator,
    known: Array | None = None,
    effort: Effort | None = None,
) -> tuple[Array, Array]:
    """Distinct local maxima of |g| and the signed values of g there, best first.

    Args:
        Z: Rows.
        rho: Their weights.
        penalised: Leading coordinates that are in the norm.
        rng: Where starts come from.
        known: Neurons to start from as well, with a perturbation of each.
        effort: How many starts, steps and climbs.
    """
    effort = (effort or FULL).within(*Z.shape)
    if penalised == 1 and Z.shape[1] == 2:
        return _on_the_line(Z, rho)
    U = starting_points(Z, penalised, rng, gaussian=effort.starts, planes=effort.starts // 2)
    if known is not None and len(known):
        base = normalised(known, penalised)
        noise = 0.05 * rng.standard_normal(base.shape)
        U = np.concatenate([U, base, normalised(base + noise, penalised)])
    U, values = _screened(Z, rho, U, penalised, effort, rng)
    picks = distinct(U, values, limit=effort.climbs, cosine=0.998)
    if not effort.exact:
        return _with_known(Z, rho, U[picks], values[picks], known, penalised)
    up, down = Climber(Z, rho, penalised), Climber(Z, -rho, penalised)
    found = np.array([(up if values[i] >= 0 else down).climb(U[i]) for i in picks])
    reached = rho @ np.maximum(Z @ found.T, 0.0)
    picks = distinct(found, reached, limit=effort.climbs, cosine=1 - 1e-12)
    return _with_known(Z, rho, found[picks], reached[picks], known, penalised)


def _on_the_line(Z: Array, rho: Array) -> tuple[Array, Array]:
    """One input and free bias: g is piecewise linear in the bias, and the same for both directions."""
    knots = np.unique(-Z[:, 0] / Z[:, 1])
    order = np.argsort(Z[:, 0], kind="stable")[::-1]
    x, r = Z[order, 0], rho[order]
    # Σ_{x_i > t} ρ_i (x_i − t) by running sums, t in units of the inputs.
    at = np.searchsorted(-x, knots * Z[0, 1], side="left")
    mass, moment = (np.concatenate([[0.0], np.cumsum(part)]) for part in (r, r * x))
    values = moment[at] + knots * Z[0, 1] * mass[at]
    size = np.concatenate([[0.0], np.abs(values), [0.0]])
    peaks = np.flatnonzero((size[1:-1] >= size[:-2]) & (size[1:-1] >= size[2:]))
    peaks = peaks[np.argsort(-np.abs(values[peaks]))][:_CLIMBS_ON_LINE]
    return np.column_stack([np.ones(len(peaks)), knots[peaks]]), values[peaks]


def _with_known(
    Z: Array, rho: Array, U: Array, values: Array, known: Array | None, penalised: int
) -> tuple[Array, Array]:
    """The best known neuron goes first where nothing better was found: what is known is never forgotten."""
    if known is None or len(known) == 0:
        return U, values
    unit = normalised(known, penalised)
    own = rho @ np.maximum(Z @ unit.T, 0.0)
    best = int(np.argmax(np.abs(own)))
    if abs(own[best]) <= abs(values[0]):
        return U, values
    return np.concatenate([unit[best : best + 1], U]), np.concatenate([own[best : best + 1], values])


def _screened(
    Z: Array, rho: Array, U: Array, penalised: int, effort: Effort, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Starts after their ascent, in blocks that fit the cache; of many samples only a part is used on the way up."""
    n = len(Z)
    if n <= _SAMPLE:
        return _in_blocks(Z, rho, U, penalised, effort.steps)
    rows = rng.permutation(n)[:_SAMPLE]
    U, _ = _in_blocks(Z[rows], rho[rows], U, penalised, effort.steps)
    values = rho @ np.maximum(Z @ U.T, 0.0)
    best = distinct(U, values, limit=3 * effort.climbs, cosine=0.998)
    return _in_blocks(Z, rho, U[best], penalised, effort.steps)


def _in_blocks(Z: Array, rho: Array, U: Array, penalised: int, steps: int) -> tuple[Array, Array]:
    block = max(64, _BLOCK // len(Z))
    risen = [ascend(Z, rho, U[i : i + block], penalised, steps=steps) for i in range(0, len(U), block)]
    return np.concatenate([part for part, _ in risen]), np.concatenate([part for _, part in risen])


def local_maxima(
    problem: VariationProblem,
    rho: Array,
    *,
    rng: np.random.Generator,
    known: Array | None = None,
    effort: Effort | None = None,
) -> Maximum:
    """The largest |Σ_i ρ_i relu(z_i·u)| that a search from many starts finds; never a bound.

    Args:
        problem: With one output.
        rho: As `problem.rho` returns it.
        rng: Where starts come from.
        known: Neurons to start from as well.
        effort: How many starts, steps and climbs.

    Returns:
        A Maximum of kind `"heuristic"`; `units` are the local maxima above `problem.alpha`, best first.
    """
    size = float(np.abs(rho).max(initial=0.0)) or 1.0
    small, scales = rescaled(problem)
    data, coordinates = cone_problem(small)
    inner = None
    if known is not None:
        inner = known.copy()
        inner[:, -1] /= scales.inputs if scales.bias_free else 1.0
        inner = coordinates.inward(inner)
    found, values = local_maxima_of(data.Z, rho / size, data.penalised, rng=rng, known=inner, effort=effort)
    units = coordinates.outward(found)
    units[:, -1] *= scales.inputs if scales.bias_free else 1.0
    reached = np.abs(values) * size * scales.inputs
    best = float(reached[0])
    above = units[reached > problem.alpha]
    return Maximum(best, units[0], best, "heuristic", above, (effort or FULL).starts, "local search from random starts")
