"""Networks with several outputs and shared neurons: min squared loss + α Σ_k ‖w_k‖ ‖v_k‖₂, with its duality gap.

A wide random network is first trained roughly; then every round finds the best sizes of the neurons there are (a
multi-task lasso, which drops most of them), asks the oracle where a neuron would still pay, and moves all neurons to
their kinks. The certificate rests on a local search over neurons and is of kind `heuristic`.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from steppe.core import Estimate, ParameterError, check_integer, check_number, derived_seed
from steppe.linalg import Pace

from .certificate import certify
from .certified import Certified
from .maximum import Maximum
from .multi_output_data import MultiData, multi_data
from .multi_output_oracle import QUICK, WIDE, Effort, multi_output_maxima
from .multi_output_sliding import Gates, open_gates, slide
from .multi_task_lasso import multi_task_lasso
from .problem import VariationProblem
from .scales import Scales, rescaled
from .solution import Solution, row_norms

METHOD = "multi-output"
MAX_ITER = 60
_WIDTH = 120  # neurons of the first network
_ROUGH = 150  # steps of its training
_NEW = 25  # neurons added per round
_EQUAL = 1e-9  # neurons whose cosine is closer to one than this are one neuron
_SHARPEST = 2e-4  # smallest width of the smoothed kinks, relative to the preactivations
_STALLS = 6  # rounds without decrease after which nothing more is to be expected


def solve_multi_output(
    problem: VariationProblem,
    *,
    tol: float = 1e-4,
    max_iter: int = MAX_ITER,
    seed: int = 0,
    start: Solution | None = None,
    pace: Pace | None = None,
) -> Certified:
    """The best network for several outputs that share neurons, with a heuristic certificate.

    Args:
        problem: With the squared fit; one output is served as well.
        tol: Relative gap at which to stop.
        max_iter: Rounds allowed.
        seed: Seed of everything random.
        start: A solution to start from, instead of a random network.
        pace: Limit on time, and progress.

    Returns:
        The solution with its certificate, of kind `heuristic`: a neuron that the search missed could leave a larger
        gap.

    Raises:
        ParameterError: The fit is not the squared one, or a limit is out of range.

    Cost:
        A round takes some 300 gradients of the network, O(n k (D + c)) each, and O(n k²) for the sizes.
    """
    check_number("tol", tol, above=0.0)
    check_integer("max_iter", max_iter, minimum=1)
    if problem.fit.name != "squared":
        raise ParameterError(
            f'`fit` must be "squared" for method "multi-output", got "{problem.fit.name}"; fit the outputs one by one'
        )
    pace = Pace() if pace is None else pace
    small, scales = rescaled(problem)
    data = multi_data(small)
    search = _Search(data, np.random.default_rng(derived_seed("solvers.multi_output", seed)))
    search.begin(None if start is None else _inner(data, scales, start))
    u, reason = search.run(tol, max_iter, pace)
    solution = scales.solution(data.solution(small, search.u, search.v))
    maximum = _maximum(problem, solution, scales.solution(_neurons(data, u)).u)
    certificate = certify(problem, solution, maximum, method=METHOD)
    converged = not reason
    words = "no neuron found that leaves more than the tolerance" if converged else reason
    return Certified(solution, certificate, maximum, tuple(search.history), converged, words, len(search.history))


def multi_output_maximum(
    problem: VariationProblem, rho: Float[np.ndarray, "n *c"], solution: Solution, seed: int = 0
) -> Maximum:
    """The largest correlation of ρ with one neuron that a wide local search finds.

    Args:
        problem: The problem.
        rho: As `problem.rho` gives it.
        solution: Its neurons are starts.
        seed: Of the other starts.
    """
    small, scales = rescaled(problem)
    data = multi_data(small)
    rng = np.random.default_rng(derived_seed("solvers.multi_output", seed))
    known = _inner(data, scales, solution)[0]
    columns = rho[:, None] if rho.ndim == 1 else rho
    size = float(np.abs(columns).max(initial=0.0)) or 1.0
    u, _ = multi_output_maxima(data, columns / size, known, rng, WIDE)
    return _at(problem, columns, scales.solution(_neurons(data, u)).u)


def multi_output_alpha_max(problem: VariationProblem, *, seed: int = 0) -> Estimate:
    """The smallest α that uses no neuron: the largest correlation found with the residual of the best free fit.

    Args:
        problem: Data and penalty; its α plays no role.
        seed: Of the oracle's starts.

    Returns:
        An Estimate of kind `"none"`: the best of many starts; the truth may be larger.
    """
    affine = Solution(np.zeros((0, problem.d + 1)), np.zeros((0, *problem.y.shape[1:])), problem.affine_start())
    small, _ = rescaled(problem)
    rho = problem.rho(problem.evaluate(affine))
    if not multi_data(small).targets.any():  # then ρ is rounding
        rho = np.zeros_like(rho)
    found = multi_output_maximum(problem, rho, affine, seed)
    return Estimate(
        value=found.value,
        error=math.nan,
        error_kind="none",
        converged=True,
        reason=found.reason,
        products=found.work,
        quantity="alpha_max",
    )


@dataclass
class _Search:
    """What a run carries from round to round."""

    data: MultiData
    rng: np.random.Generator
    u: Float[np.ndarray, "k D"] = field(default_factory=lambda: np.zeros((0, 0)))
    v: Float[np.ndarray, "k c"] = field(default_factory=lambda: np.zeros((0, 0)))
    gates: Gates = field(default_factory=lambda: np.zeros((0, 0)))
    primal: float = np.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def begin(self, start: tuple[Float[np.ndarray, "k D"], Float[np.ndarray, "k c"]] | None) -> None:
        """A rough network: the start, or a wide random one after some training."""
        data = self.data
        if start is None:
            D, c = data.Z.shape[1], data.Y.shape[1]
            u = data.normalised(self.rng.standard_normal((_WIDTH, D)))
            v = self.rng.standard_normal((_WIDTH, c)) * (0.2 / math.sqrt(c))
            start = slide(data, u, v, open_gates(data, u), width=0.02, updates=1, steps=_ROUGH)[:2]
        self.u, self.v = start
        self.gates = open_gates(data, self.u)

    def run(self, tol: float, max_iter: int, pace: Pace) -> tuple[Float[np.ndarray, "m D"], str]:
        """Rounds until the gap is small: the neurons the last search met, and why it ended (empty: the gap is met)."""
        width, stalled = 0.02, 0
        while True:
            before = self.primal
            self.resize()
            found, values = self.look(QUICK)
            gap = self.gap(values[0])
            if gap <= tol:
                # For a gap as small as that, the last digits of every maximum count.
                found, values = self.look(WIDE if tol >= 1e-5 else replace(WIDE, climbs=40 + len(self.u)))
                gap = self.gap(values[0])
            self.history.append(
                {"iteration": len(self.history), "primal": self.primal, "gap": gap, "neurons": len(self.u)}
            )
            if gap <= tol:
                return found, ""
            reason = pace.over or ("rounds ran out; raise `max_iter`" if len(self.history) >= max_iter else "")
            stalled = stalled + 1 if self.primal >= before * (1 - 1e-12) else 0
            if stalled >= _STALLS:
                reason = reason or f"no further decrease in floating point; the gap is {gap:.1e}"
            if reason:
                return found, reason
            self.add(found, values, 1e-6 if stalled else width)
            moved = slide(self.data, self.u, self.v, self.gates, width=width, updates=5, steps=60)
            self.u, self.v, self.gates = moved
            width = max(0.6 * width, _SHARPEST)
            pace.advance(1, f"gap {gap:.1e}, {len(self.u)} neurons")

    def resize(self) -> None:
        """The best sizes of the neurons; those that are not needed are dropped."""
        data = self.data
        self.join()
        features, n = data.features(self.u), len(data.Z)
        if not features.any() or not data.targets.any():
            self.keep(np.zeros(len(self.u), dtype=bool))
        else:
            fit = multi_task_lasso(
                features * math.sqrt(n), data.targets * math.sqrt(n), alpha=data.alpha, start=self.v, tol=1e-8
            )
            if fit.primal <= self.objective() * (1 + 1e-12):
                self.v = fit.weights
            self.keep(row_norms(self.v) > 0)
        self.primal = self.objective()

    def join(self) -> None:
        """Put neurons of one direction together: exact for equal ones, and the next sizes repair the rest."""
        if len(self.u) == 0:
            return
        unit = self.u / np.maximum(np.linalg.norm(self.u, axis=1), 1e-300)[:, None]
        first = np.argmax(unit @ unit.T > 1 - _EQUAL, axis=1)
        if (first != np.arange(len(first))).any():
            sums = np.zeros_like(self.v)
            np.add.at(sums, first, self.v)
            self.v = sums
            self.keep(np.bincount(first, minlength=len(first)) > 0)

    def keep(self, mask: np.ndarray) -> None:
        """Drop the other neurons."""
        self.u, self.v, self.gates = self.u[mask], self.v[mask], self.gates[:, mask]

    def objective(self) -> float:
        """The primal value in the units of the data."""
        residual = self.data.targets - self.data.features(self.u) @ self.v
        return float((residual**2).sum()) / 2 + self.data.alpha * float(row_norms(self.v).sum())

    def look(self, effort: Effort) -> tuple[Float[np.ndarray, "m D"], Float[np.ndarray, " m"]]:
        """Ask the oracle at the present residual."""
        return multi_output_maxima(self.data, self.data.rho(self.u, self.v), self.u, self.rng, effort)

    def gap(self, largest: float) -> float:
        """The relative gap if the largest correlation is this; 0 where the objective is rounding."""
        data = self.data
        theta = data.rho(self.u, self.v) / data.root  # of length ‖residual‖, scaled to be feasible
        square = float((theta**2).sum())
        if square == 0.0 or self.primal <= 1e-28 * float((data.targets**2).sum()):
            return 0.0
        along = float((theta * data.targets).sum())
        scale = min(along / square, data.alpha / largest if largest > 0 else np.inf)
        return max(0.0, self.primal - scale * along + scale**2 * square / 2) / self.primal

    def add(self, found: Float[np.ndarray, "m D"], values: Float[np.ndarray, " m"], apart: float) -> None:
        """Give the best new neurons a small size along the outputs they would serve.

        A better point close to a neuron is better reached by moving that neuron, at first: `apart` is the least
        distance 1 − cosine between new neurons; to old ones a quarter of it will do.
        """
        data = self.data
        unit = found / np.linalg.norm(found, axis=1)[:, None]
        old = self.u / np.linalg.norm(self.u, axis=1)[:, None] if len(self.u) else self.u
        chosen: list[int] = []
        for i in np.flatnonzero(values > data.alpha * (1 + 1e-6)):
            near = len(old) > 0 and float((old @ unit[i]).max()) > 1 - apart / 4
            if not near and (not chosen or float((unit[chosen] @ unit[i]).max()) < 1 - apart):
                chosen.append(int(i))
            if len(chosen) == _NEW:
                break
        if chosen:
            new = found[chosen]
            outputs = np.maximum(data.Z @ new.T, 0.0).T @ data.rho(self.u, self.v)
            typical = float(row_norms(self.v).mean()) if len(self.v) else 1.0
            size = 1e-3 * typical / np.maximum(row_norms(outputs), 1e-300)
            self.u = np.concatenate([self.u, new])
            self.v = np.concatenate([self.v, outputs * size[:, None]])
            self.gates = np.column_stack([self.gates, open_gates(data, new)])
            self.resize()


def _neurons(data: MultiData, u: Float[np.ndarray, "k D"]) -> Solution:
    """Neurons alone, in the units of the rescaled problem."""
    return Solution(data.outward(u), np.ones((len(u), 1)))


def _inner(
    data: MultiData,
    scales: Scales,
    solution: Solution,
) -> tuple[Float[np.ndarray, "k D"], Float[np.ndarray, "k c"]]:
    """Neurons and sizes of a solution of the original problem in the units of the data."""
    u = solution.u.copy()
    if scales.bias_free and len(u):
        u[:, -1] /= scales.inputs
    v = solution.v[:, None] if solution.v.ndim == 1 else solution.v
    kept = v.any(axis=1) if len(v) else np.zeros(0, dtype=bool)
    return data.normalised(data.inward(u[kept])), v[kept]


def _maximum(problem: VariationProblem, solution: Solution, found: Float[np.ndarray, "k D"]) -> Maximum:
    """The largest correlation at the residual of the solution, over the neurons that the search met."""
    rho = problem.rho(problem.evaluate(solution))
    columns = rho[:, None] if rho.ndim == 1 else rho
    return _at(problem, columns, np.concatenate([found, solution.u]))


def _at(problem: VariationProblem, rho: Float[np.ndarray, "n c"], u: Float[np.ndarray, "k D"]) -> Maximum:
    values = np.linalg.norm(problem.features(u).T @ rho, axis=1)
    order = np.argsort(-values, kind="stable")
    value = float(values[order[0]])
    above = order[values[order] > problem.alpha]
    reason = "local search from random starts"
    return Maximum(value, u[order[0]], value, "heuristic", u[above], len(u), reason)
