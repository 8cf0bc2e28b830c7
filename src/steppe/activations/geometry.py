"""Geometry of the inputs that decides what flat networks may memorise: depth, radius and dimension of the data."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from steppe.core import DataError, Estimate, check_inputs, check_integer, check_number, generator

_LEVEL = 0.95
_NORMAL = 1.959963984540054
_FEWEST = 20  # radii, below which no tail can be fitted
_BLOCK = 1 << 22  # distances held at once
_EQUAL = 1e-9  # mean logarithm of ratios that are all one, up to rounding
_NO_INDEX = 1e-9  # below which the law of the excess is exponential
_SPARE = 4  # neighbours beyond those asked for, whose distances are computed again without cancellation


def concentration_curve(depth: Float[Tensor, " n"], levels: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """Ψ(T) = P(depth(X) ≥ T): the share of the points that lie at least T deep, at each level T.

    Args:
        depth: Depth of each point, from `half_space_depth` or a bound. An upper bound on the depths gives one on Ψ.
        levels: Where to evaluate.

    Raises:
        DataError: There is no point.
    """
    ordered = _vector("depth", depth).sort().values
    return 1 - torch.searchsorted(ordered, levels.to(ordered), side="left").to(ordered) / len(ordered)


def depth_area(depth: Float[Tensor, " n"]) -> Estimate:
    """∫_0^½ Ψ(T) dT = E min(depth, ½), the mean depth, with its standard error over independent points.

    At most 1/4 for every continuous law, attained in one dimension; n different numbers give 1/4 + 1/(2n) (n even).
    Depths that bound gives make it an over-estimate: compare areas only at an equal number of directions and of points.

    Args:
        depth: Depth of each point.

    Raises:
        DataError: There is no point.
    """
    values = _vector("depth", depth).clamp(max=0.5)
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(
        value=float(values.mean()),
        error=error,
        error_kind="standard error" if len(values) > 1 else "none",
        reason="mean over the points",
        quantity="depth area",
        convention="area under Ψ from 0 to 1/2",
        source="Liang, Cloninger, Parhi, Wang (ICLR 2026), Ψ; the identity is Fubini's",
    )


@dataclass(frozen=True, kw_only=True)
class RadiusTail:
    """The exponent α of P(‖X‖ > r_max (1 − δ)) ∝ δ^α: 0 on a sphere, 1 in a uniform ball, large towards the centre.

    Args:
        alpha: The estimate; ∞ if the radii show no end.
        interval: 95 % interval; its upper end is ∞ where an unbounded law cannot be excluded.
        end: The largest possible radius if it was given, else None.
        threshold: The radius beyond which the tail was fitted.
        scale: Scale σ of the generalized Pareto law of the excess over the threshold.
        index: Its index γ = −1/α; positive for a power law without end.
        tail: How many of the largest radii were used.
        n: How many radii there are.
        method: How it was obtained.
    """

    alpha: float
    interval: tuple[float, float]
    end: float | None
    threshold: float
    scale: float
    index: float
    tail: int
    n: int
    method: str

    def survival(self, radii: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
        """The fitted share of larger radii, (k/n) (1 + γ (r − threshold)/σ)^(−1/γ), at radii beyond the threshold."""
        excess = (radii - self.threshold).clamp(min=0) / self.scale
        if abs(self.index) < _NO_INDEX:
            return self.tail / self.n * torch.exp(-excess)
        return self.tail / self.n * (1 + self.index * excess).clamp(min=0) ** (-1 / self.index)

    def __str__(self) -> str:
        low, high = self.interval
        end = "" if math.isfinite(high) else "no end excluded, "
        return f"α = {self.alpha:.3g} [{low:.3g}, {high:.3g}] ({end}{self.method}, {self.tail} of {self.n} radii)"


def radius_tail_exponent(
    radii: Float[Tensor, " n"], *, end: float | None = None, tail: int | None = None
) -> RadiusTail:
    """Estimate α in P(r > end·(1 − δ)) ∝ δ^α as δ → 0, from the largest radii, with a 95 % interval.

    With a known `end` it is maximum likelihood (Hill's estimator of the gaps end − r, those below rounding censored),
    with the exact gamma interval. Without it α = −1/γ, γ the extreme-value index by the moment estimator of Dekkers,
    Einmahl and de Haan (Ann. Statist. 1989; formula recalled), with its asymptotic normal interval for γ.

    Limits: the interval takes the radii as independent and the power law as exact over the tail used. Unbounded light
    tails approach γ = 0 so slowly that finite samples seem to have a large finite α: for Gaussian inputs in ten
    dimensions α ≈ 5 to 9, and growing with n. Without a known end, an α above 2 says little more than "few points near
    the boundary".

    Args:
        radii: Distances from the centre.
        end: The largest possible radius, if it is known.
        tail: How many of the largest to use; None is n^(2/3), rounded up.

    Raises:
        DataError: Fewer than 20 radii, a negative one, or too many zeros.
        ParameterError: `end` is below the largest radius, or `tail` is out of range.
    """
    r = _vector("radii", radii, minimum=_FEWEST).sort(descending=True).values
    if r[-1] < 0 or r[0] == 0:
        raise DataError(
            f"`radii` must be ≥ 0 and not all zero, got {float(r[-1]):g} to {float(r[0]):g}; pass distances"
        )
    n = len(r)
    k = min(math.ceil(n ** (2 / 3)), n - 1) if tail is None else check_integer("tail", tail, minimum=5, maximum=n - 1)
    if r[k] == 0:
        raise DataError(f"`radii` must have more than {k} positive ones, got {int((r > 0).sum())}; leave zeros out")
    if end is not None:
        end = check_number("end", end, minimum=float(r[0]) - _rounding(float(r[0])))
        alpha, interval = _hill(end - r[: k + 1], resolution=_rounding(end))
        index, scale = (-1 / alpha, (end - float(r[k])) / alpha) if alpha else (-math.inf, 0.0)
    else:
        index, scale, interval = _moments(r[: k + 1])
        alpha = _end_exponent(index)
    return RadiusTail(
        alpha=alpha,
        interval=interval,
        end=end,
        threshold=float(r[k]),
        scale=scale,
        index=index,
        tail=k,
        n=n,
        method="unknown end, moment estimator" if end is None else "known end, maximum likelihood",
    )


def _rounding(size: float) -> float:
    return 8 * torch.finfo(torch.float64).eps * size


def _hill(gaps: Tensor, *, resolution: float) -> tuple[float, tuple[float, float]]:
    """From the gaps to the end, ascending, the last of which is the reference."""
    seen = gaps[:-1].clamp(min=resolution)
    total = float(torch.log(gaps[-1].clamp(min=resolution) / seen).sum())
    count = int((gaps[:-1] > resolution).sum())
    if total == 0 or count == 0:
        return 0.0, (0.0, 0.0)
    outside = (1 - _LEVEL) / 2
    low, high = (float(special.gammaincinv(count, p)) / total for p in (outside, 1 - outside))
    return (count - 1 if count > 1 else 1) / total, (low, high)


def _moments(largest: Tensor) -> tuple[float, float, tuple[float, float]]:
    """Index, scale, and interval of the exponent, from the largest radii, descending; the last is the reference."""
    threshold, on_a_sphere = float(largest[-1]), (-math.inf, 0.0, (0.0, 0.0))
    if float(largest[0]) - threshold <= _rounding(float(largest[0])):
        return on_a_sphere
    logs = torch.log(largest[:-1] / threshold)
    first, second = float(logs.mean()), float(logs.square().mean())
    spread = 1 - first**2 / second
    if spread <= 0:
        return on_a_sphere
    negative = 1 - 0.5 / spread
    index, scale = first + negative, threshold * first * (1 - negative)
    half = _NORMAL * math.sqrt(_moment_variance(index) / (len(largest) - 1))
    return index, scale, (_end_exponent(index - half), _end_exponent(index + half))


def _end_exponent(gamma: float) -> float:
    """α = −1/γ, ∞ where there is no end."""
    return -1 / gamma if gamma < 0 else math.inf


def _moment_variance(g: float) -> float:
    """Of √k (γ̂ − γ), k → ∞."""
    if g >= 0:
        return 1 + g * g
    bracket = 4 - 8 * (1 - 2 * g) / (1 - 3 * g) + (5 - 11 * g) * (1 - 2 * g) / ((1 - 3 * g) * (1 - 4 * g))
    return (1 - g) ** 2 * (1 - 2 * g) * bracket


def intrinsic_dimension(x: Float[Tensor, "n d"], *, neighbors: int = 2, samples: int = 2000, seed: int = 0) -> Estimate:
    """Maximum-likelihood dimension of the data from ratios of nearest-neighbour distances, with its standard error.

    1/m̂ = mean over points of (1/(k−1)) Σ_{j<k} log(T_k/T_j), T_j the distance to the j-th neighbour: k = 2 is TwoNN
    (Facco et al. 2017), larger k is Levina and Bickel (2004) with the average of MacKay and Ghahramani. It is exact for
    locally uniform data; k sets the scale. Curvature, boundaries and too few points for the dimension lower it: true
    dimensions beyond about 10 are under-estimated. Rows that repeat count once. The standard error adds the covariances
    of points that are each other's neighbours. Invariant under shifts, rotations and one common scale.

    Args:
        x: The data.
        neighbors: k ≥ 2.
        samples: At most so many points, drawn at random, look for their neighbours among all.
        seed: Which.

    Raises:
        DataError: Fewer than k + 2 different rows.
        ParameterError: k < 2 or `samples` < 2.

    Cost: O(samples · n · d).
    """
    check_inputs(x)
    k = check_integer("neighbors", neighbors, minimum=2)
    check_integer("samples", samples, minimum=2)
    rows = torch.unique(x.detach().double(), dim=0)
    n = len(rows)
    if n < k + 2:
        raise DataError(f"`x` must have at least {k + 2} different rows, got {n}; pass more data or fewer neighbors")
    rows = rows - rows.mean(dim=0)
    chosen = torch.arange(n)
    if n > samples:
        chosen = torch.randperm(n, generator=generator("activations.neighbors", seed))[:samples]
    chosen = chosen.to(rows.device)
    distances, places = _nearest(rows, chosen, k)
    logs = torch.log(distances[:, -1:] / distances[:, :-1]).mean(dim=1)
    mean = float(logs.mean())
    if mean < _EQUAL:
        raise DataError(
            f"`x` must have rows at different distances, got {k} equally near neighbours of every row (a lattice?); "
            "pass more neighbors"
        )
    return Estimate(
        value=1 / mean,
        error=_standard_error(logs, chosen, places, n) / mean**2,
        error_kind="standard error",
        reason=f"{len(chosen)} points among {n}",
        quantity="intrinsic dimension",
        convention="TwoNN" if k == 2 else f"Levina–Bickel, {k} neighbours",
        source="Facco et al. 2017" if k == 2 else "Levina and Bickel 2004, MacKay and Ghahramani 2005",
    )


def _nearest(rows: Tensor, chosen: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances to the k nearest other rows, and which they are."""
    squares = rows.square().sum(dim=1)
    wanted = min(k + 1 + _SPARE, len(rows))
    found = []
    for some in chosen.split(max(_BLOCK // len(rows), 1)):
        near = (squares - 2 * rows[some] @ rows.T).topk(wanted, dim=1, largest=False).indices
        exact = (rows[near] - rows[some][:, None]).norm(dim=2)
        exact[near == some[:, None]] = math.inf
        distances, order = exact.sort(dim=1)
        found.append((distances[:, :k], near.gather(1, order)[:, :k]))
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])


def _standard_error(values: Tensor, chosen: Tensor, places: Tensor, n: int) -> float:
    """Of the mean of values that depend on each other where their points are neighbours."""
    count = len(values)
    off = values - values.mean()
    at = torch.full((n,), -1, dtype=torch.int64, device=values.device)
    at[chosen] = torch.arange(count, device=values.device)
    other = at[places]
    shared = torch.where(other >= 0, off[other.clamp(min=0)], 0.0) * off[:, None]
    alone = float(off.square().sum())
    return math.sqrt(max(alone + 2 * float(shared.sum()), alone)) / count


def _vector(name: str, values: Tensor, minimum: int = 1) -> Tensor:
    check_inputs(
        values[:, None] if isinstance(values, Tensor) and values.ndim == 1 else values,
        name=name,
        inputs=1,
        minimum=minimum,
    )
    return values.detach().double().flatten()
