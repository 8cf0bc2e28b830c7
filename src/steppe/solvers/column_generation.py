"""Column generation over activation cones: from no neurons to the optimum, for any dimension and data fit.

A round asks the oracle where a neuron would still pay, adds up to twenty such neurons, finds sizes, merges neurons of a
common cone, moves all neurons to the optimum of their cones and polishes. Every round lowers the objective. When the
oracle finds nothing more, it looks again from many more starts; then comes the proof that the dimension allows.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from steppe.core import derived_seed
from steppe.linalg import Pace

from .certificate import certify
from .certified import Certified
from .climbing import Climber
from .cone_problem import Coordinates, cone_problem
from .master import free_part_refitted, optimal_in_cones, optimal_sizes
from .maximum import Maximum
from .merging import merged
from .neuron_set import Array, ConeData, NeuronSet, empty_set
from .oracle import FULL, QUICK, WIDE, Effort, distinct, local_maxima_of
from .polishing import polished, slid
from .problem import VariationProblem
from .rigorous import Proof, prove
from .scales import Scales, rescaled
from .solution import Solution

METHOD = "column-generation"
MAX_ITER = 200
_CLOSE = 2e-2  # relative gap below which rounds look harder and polish
_CLIMBS = 150  # local maxima followed per round at most
_TINY = 1e-9  # neurons smaller than this share of the largest are dropped after the cone program
_STALLS = 3  # rounds without decrease after which nothing more is to be expected


@dataclass
class _Search:
    """What a run carries from round to round."""

    problem: VariationProblem
    data: ConeData
    coordinates: Coordinates
    rng: np.random.Generator
    neurons: NeuronSet
    gap: float = np.inf
    primal: float = np.inf
    found: Array = field(default_factory=lambda: np.zeros((0, 0)))
    values: Array = field(default_factory=lambda: np.zeros(0))
    history: list[dict[str, Any]] = field(default_factory=list)

    def look(self, effort: Effort) -> Maximum:
        """Ask the local oracle at the present neurons; sets `gap` and `primal` as its answer would have them."""
        rho = self.rho()
        self.found, self.values = local_maxima_of(
            self.data.Z, rho, self.data.penalised, rng=self.rng, known=self.neurons.u, effort=effort
        )
        value = float(np.abs(self.values[0]))
        self.gap = self.relative_gap(rho, value)
        above = np.abs(self.values) > self.data.alpha * (1 + 1e-9)
        unit = self.coordinates.outward(self.found[:1])[0]
        units = self.coordinates.outward(self.found[above])
        return Maximum(value, unit, value, "heuristic", units, effort.starts, "local search from random starts")

    def take(self, maximum: Maximum, rho: Array) -> None:
        """Add the neurons that a proof found to those to add next."""
        units = self.coordinates.inward(maximum.units)
        signs = np.sign(rho @ np.maximum(self.data.Z @ units.T, 0.0))
        climbers = {sign: Climber(self.data.Z, sign * rho, self.data.penalised) for sign in (-1.0, 1.0)}
        climbed = [climbers[sign].climb(u) for u, sign in zip(units, signs, strict=True) if sign]
        self.found = np.concatenate([self.found, np.reshape(climbed, (-1, self.data.Z.shape[1]))])
        values = rho @ np.maximum(self.data.Z @ self.found.T, 0.0)
        kept = distinct(self.found, values, limit=_CLIMBS, cosine=1 - 1e-12)
        self.found, self.values = self.found[kept], values[kept]

    def rho(self) -> Array:
        """The projected direction of descent in the outputs."""
        return np.asarray(self.problem.rho(self.neurons.outputs(self.data)))

    def relative_gap(self, rho: Array, value: float) -> float:
        """The gap if M(ρ) were `value`, relative to P; a P that is nothing but rounding counts as zero."""
        self.primal = self.neurons.objective(self.data)
        if self.negligible():
            return 0.0
        gap = self.primal - self.problem.dual_value(self.problem.dual_point(rho, value))
        # A dual value above the primal one proves that M(ρ) is larger.
        return max(0.0, gap) / self.primal if gap >= -1e-9 * self.primal else np.inf

    def negligible(self) -> bool:
        """Whether P is nothing but rounding."""
        return self.primal <= 1e-27 * float(self.data.weights @ np.square(self.data.y))

    def improve(self, *, careful: bool = False) -> bool:
        """One round on the neurons found; False if the objective did not fall.

        `careful` keeps every new neuron up to the cone program: beside one that is almost the same the sizes of fixed
        neurons do not tell them apart in floating point.
        """
        data = self.data
        new = np.flatnonzero(np.abs(self.values) > data.alpha * (1 + 1e-10))
        before = self.neurons.objective(data)
        typical = data.sizes(self.neurons.u).mean() if len(self.neurons) else 1.0
        small = (1e-4 if careful else 1e-6) * typical
        joined = self.neurons.joined(self.found[new] * small, np.sign(self.values[new]))
        sized = merged(data, joined if careful else optimal_sizes(data, joined))
        if not careful and sized.u.size < len(
            data.Z
        ):  # with more unknowns than samples there is nothing smooth to follow
            sized = merged(data, slid(data, sized))
        # Far from the optimum the next neurons matter more than the last digits of these.
        moved = optimal_in_cones(data, sized, self.rng, tol=1e-10 if self.gap <= _CLOSE else 1e-5)
        sizes = data.sizes(moved.u)
        moved = merged(data, moved.keep(sizes > _TINY * sizes.max(initial=0.0)))
        moved = polished(data, moved) if self.gap <= _CLOSE else moved
        best = min((moved, sized), key=lambda neurons: neurons.objective(data))
        if best.objective(data) >= before:
            return False
        self.neurons = best
        return True

    def note(self, stage: str) -> None:
        """Write one row of the history."""
        row = {"primal": self.primal, "gap": self.gap, "neurons": len(self.neurons), "stage": stage}
        self.history.append({"iteration": len(self.history), **row})


def solve_columns(
    problem: VariationProblem,
    *,
    tol: float = 1e-4,
    max_iter: int | None = None,
    seed: int = 0,
    start: Solution | None = None,
    pace: Pace | None = None,
    proof: Proof | None = None,
) -> Certified:
    """The optimum by column generation, then the proof that the dimension allows.

    Args:
        problem: With one output.
        tol: Relative gap at which to stop.
        max_iter: Rounds allowed; None for 200, and less for more than 5000 samples (50 at 20 000).
        seed: Seed of the oracle's starts.
        start: A solution whose neurons are tried first.
        pace: Limit on time, and progress.
        proof: How much work the proof may take; None for the usual amount.

    Returns:
        The solution with its certificate. `converged` says that no neuron that the local search knows of, and none
        that the proof met, leaves more than `tol`; the certificate says how much of that is proved.

    Cost:
        Per round one pass of the oracle (some hundred starts, some twenty steps of n·D each) and one cone program,
        some fifteen factorisations of size K·D for K neurons.
    """
    pace = Pace() if pace is None else pace
    max_iter = max(20, min(MAX_ITER, MAX_ITER * 5000 // problem.n)) if max_iter is None else max_iter
    small, scales = rescaled(problem)
    data, coordinates = cone_problem(small)
    rng = np.random.default_rng(derived_seed("solvers.oracle", seed))
    search = _Search(small, data, coordinates, rng, free_part_refitted(data, empty_set(data)))
    if start is not None:
        _warm(search, start, scales)
    maximum, converged, reason = _rounds(search, tol, max_iter, pace, proof or Proof())
    solution = scales.solution(coordinates.solution(data, search.neurons))
    maximum = scales.maximum(maximum)
    certificate = certify(problem, solution, maximum, method=METHOD)
    return Certified(solution, certificate, maximum, tuple(search.history), converged, reason, len(search.history))


def _warm(search: _Search, start: Solution, scales: Scales) -> None:
    """Take the neurons of another solution, where they are better than none."""
    u = start.u.copy()
    if scales.bias_free:
        u[:, -1] /= scales.inputs
    inner = Solution(u, start.v * (scales.inputs / scales.targets))
    neurons = search.coordinates.neurons(search.data, inner)
    candidate = optimal_sizes(search.data, free_part_refitted(search.data, neurons))
    if candidate.objective(search.data) < search.neurons.objective(search.data):
        search.neurons = candidate


def _rounds(search: _Search, tol: float, max_iter: int, pace: Pace, proof: Proof) -> tuple[Maximum, bool, str]:
    """Rounds until the gap is small or a limit is met: the last maximum, whether it converged, and why it ended."""
    stalled = 0
    while True:
        effort = QUICK if not stalled and _CLOSE < search.gap < np.inf else FULL
        # A network of many neurons has many local maxima; to add few of them per round would take many rounds.
        many = len(search.neurons)
        climbs, starts = min(max(effort.climbs, many), _CLIMBS), min(max(effort.starts, 4 * many), WIDE.starts)
        maximum, stage = search.look(replace(effort, climbs=climbs, starts=starts)), "local"
        if search.gap <= tol and not effort.exact:
            maximum = search.look(FULL)
        if search.negligible():
            # ρ is rounding and says nothing; zero is a lower bound of P.
            search.note("interpolated")
            return replace(maximum, upper=np.inf, kind="bound"), True, "the data are interpolated up to rounding"
        if search.gap <= tol or stalled:
            maximum, stage = _proved(search, maximum, tol, proof)
            if search.gap <= tol:
                search.note(stage)
                return maximum, True, maximum.reason
        search.note(stage)
        reason = pace.over or ("rounds ran out; raise `max_iter`" if len(search.history) >= max_iter else "")
        if not reason and stalled >= _STALLS:
            reason = f"no further decrease in floating point; the gap is {search.gap:.1e}"
        if reason:
            return maximum, False, reason
        stalled = 0 if search.improve(careful=stalled > 0) else stalled + 1
        pace.advance(1, f"gap {search.gap:.1e}, {len(search.neurons)} neurons")


def _proved(search: _Search, maximum: Maximum, tol: float, proof: Proof) -> tuple[Maximum, str]:
    """The proof where there is one, else a wide search. Neurons that it meets and that pay are the next to be added.

    `search.gap` becomes the gap of the largest value met: a bound above it that could not be made tighter is no reason
    to go on.
    """
    rho = search.rho()
    proved = prove(search.problem, rho, maximum, tol, proof)
    if proved.kind == "heuristic":
        return replace(search.look(WIDE), reason=proved.reason), "wide"
    search.gap = search.relative_gap(rho, max(proved.value, maximum.value))
    if search.gap > tol:
        search.take(proved, rho)
    return proved, proved.kind
