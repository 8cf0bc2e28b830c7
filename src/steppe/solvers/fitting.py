"""From a table to a certified network: equal rows taken together, solved, the certificate put back on all rows."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from steppe.core import ComputationError

from .certificate import Certificate, certify
from .certified import Certified
from .fits import FitName
from .maximum import Maximum
from .path import solve_path
from .problem import Bias, VariationProblem
from .rigorous import Proof
from .solution import Solution
from .solve import alpha_max, solve
from .tables import Merged

Rows = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n *c"], Float[np.ndarray, " n"] | None]
_NOISE = 1e-12  # residuals below this share of the largest target are rounding


@dataclass(frozen=True)
class FitOptions:
    """What an estimator asks of the solver.

    Args:
        fit: Name of the data fit.
        bias: `"free"` or `"penalized"`.
        skip: Whether the affine part is free.
        tol: Relative gap at which to stop.
        max_iter: Rounds allowed.
        budget: Seconds allowed, or None.
        seed: Seed of the oracle's starts.
        proof: Work that the rigorous stage may take.
    """

    fit: FitName
    bias: Bias
    skip: bool
    tol: float
    max_iter: int
    budget: float | None
    seed: int
    proof: Proof = field(default_factory=Proof)

    def shared_by(self, solves: int) -> "FitOptions":
        """The same with the seconds divided among several solves.

        Args:
            solves: How many.
        """
        return self if self.budget is None else replace(self, budget=self.budget / solves)

    def unproved(self, tol: float) -> "FitOptions":
        """The same with another tolerance and without the rigorous stage, for fits that only choose.

        Args:
            tol: Relative gap at which to stop.
        """
        return replace(self, tol=tol, proof=Proof(max_cones=0))

    def problem(self, table: Merged, alpha: float) -> VariationProblem:
        """The problem on a table of distinct rows.

        Args:
            table: The rows.
            alpha: Weight of the penalty.
        """
        return self.on(table.X, table.y, table.weights, alpha)

    def on(
        self,
        X: Float[np.ndarray, "n d"],
        y: Float[np.ndarray, "n *c"],
        weights: Float[np.ndarray, " n"] | None,
        alpha: float,
    ) -> VariationProblem:
        """The problem on given rows.

        Args:
            X: Inputs.
            y: Targets.
            weights: Weights of the samples, or None.
            alpha: Weight of the penalty.
        """
        return VariationProblem(X, y, alpha=alpha, fit=self.fit, bias=self.bias, skip=self.skip, sample_weight=weights)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A certified answer on the rows the user gave.

    Args:
        problem: The problem on those rows, its alpha included.
        solution: The network in the solvers' coordinates.
        certificate: Its certificate, dual vector in the order of the rows.
        alpha_max: The least alpha at which no neuron is needed.
        iterations: Rounds of the solver, at least one.
        converged: Whether the tolerance was reached.
        reason: Why not.
    """

    problem: VariationProblem
    solution: Solution
    certificate: Certificate
    alpha_max: float
    iterations: int
    converged: bool
    reason: str


def largest_alpha(options: FitOptions, table: Merged) -> float:
    """The least alpha at which the optimum has no neuron; 0 if the free part alone fits up to rounding.

    Args:
        options: How the problem is stated.
        table: Its rows.

    Raises:
        DataError: Logistic fit with a free affine part on labels that it separates.
    """
    problem = options.problem(table, 1.0)
    return 0.0 if free_fit(problem) is not None else float(alpha_max(problem, seed=options.seed))


def free_fit(problem: VariationProblem) -> Solution | None:
    """The free part alone, if it fits the targets up to rounding (constant targets, fewer samples than columns).

    What is left then is noise, in which no search has anything to find.

    Args:
        problem: Any problem.
    """
    if problem.fit.name == "logistic":
        return None
    beta = problem.affine_start() if problem.skip else None
    alone = Solution(np.zeros((0, problem.d + 1)), np.zeros((0, *problem.y.shape[1:])), beta)
    left = float(np.abs(problem.y - problem.evaluate(alone)).max())
    return alone if left <= _NOISE * float(np.abs(problem.y).max()) else None


def _without_neurons(problem: VariationProblem, alone: Solution) -> Certified:
    """The free part as an answer; θ = 0 certifies it, whose M is zero exactly."""
    unit = np.eye(1, problem.d + 1)
    maximum = Maximum(0.0, unit[0], math.inf, "exact", unit[:0], reason="the free part fits the targets up to rounding")
    certificate = certify(problem, alone, maximum, method="free-part")
    return Certified(alone, certificate, maximum, converged=True, reason=maximum.reason, iterations=1)


def _solved(options: FitOptions, problem: VariationProblem) -> Certified:
    alone = free_fit(problem)
    if alone is not None:
        return _without_neurons(problem, alone)
    return solve(
        problem,
        tol=options.tol,
        max_iter=options.max_iter,
        seed=options.seed,
        budget=options.budget,
        proof=options.proof,
    )


def reference_alpha(limit: float, table: Merged) -> float:
    """What `alpha_ratio` is a share of: alpha_max; where that is 0 any alpha > 0 has the same optimum: max |y| max |x|.

    Args:
        limit: alpha_max.
        table: The rows.
    """
    if limit > 0:
        return limit
    size = float(np.abs(table.y).max()) * float(np.abs(table.X).max())
    return size if 0 < size < math.inf else 1.0


def fit_rows(
    options: FitOptions,
    table: Merged,
    rows: Rows,
    alpha: float,
    limit: float,
) -> Fitted:
    """Solve on the distinct rows and certify on the rows as given.

    Args:
        options: How the problem is stated and how far to go.
        table: The distinct rows.
        rows: Inputs, targets and weights as the user gave them.
        alpha: Weight of the penalty.
        limit: alpha_max.
    """
    certified = _solved(options, options.problem(table, alpha))
    return _fitted(options, certified, rows, alpha, limit)


def fit_path(
    options: FitOptions, table: Merged, rows: Rows, alphas: Float[np.ndarray, " r"], limit: float
) -> list[Fitted]:
    """The same for falling weights of the penalty, each solution starting from the one before.

    Args:
        options: How the problem is stated and how far to go.
        table: The distinct rows.
        rows: Inputs, targets and weights as the user gave them.
        alphas: Weights of the penalty, falling.
        limit: alpha_max.
    """
    path = _solved_path(options, table, alphas)
    return [
        _fitted(options, certified, rows, float(alpha), limit) for certified, alpha in zip(path, alphas, strict=True)
    ]


def path_outputs(
    options: FitOptions, table: Merged, alphas: Float[np.ndarray, " r"], X: Float[np.ndarray, "t d"]
) -> list[Float[np.ndarray, "t *c"]]:
    """What the networks along a path say on other inputs.

    Args:
        options: How the problem is stated and how far to go.
        table: The rows to fit.
        alphas: Weights of the penalty, falling.
        X: The other inputs.
    """
    found = []
    for certified in _solved_path(options, table, alphas):
        u, v, beta = certified.solution.u, certified.solution.v, certified.solution.beta
        f = np.maximum(X @ u[:, :-1].T - u[:, -1], 0.0) @ v
        found.append(f if beta is None or not len(beta) else f + X @ beta[:-1] + beta[-1])
    return found


def _solved_path(options: FitOptions, table: Merged, alphas: Float[np.ndarray, " r"]) -> list[Certified]:
    problem = options.problem(table, float(alphas[0]))
    alone = free_fit(problem)
    if alone is not None:
        return [_without_neurons(problem.with_alpha(float(alpha)), alone) for alpha in alphas]
    budget = None if options.budget is None else options.budget / len(alphas)
    return solve_path(
        problem,
        [float(alpha) for alpha in alphas],
        tol=options.tol,
        max_iter=options.max_iter,
        seed=options.seed,
        budget=budget,
        proof=options.proof,
    )


def _fitted(options: FitOptions, certified: Certified, rows: Rows, alpha: float, limit: float) -> Fitted:
    """The certificate of the distinct rows, stated for all rows.

    Equal rows share their correlation in proportion to their weights, so that no neuron sees a difference: M is the
    same number.
    """
    stated = options.on(*rows, alpha)
    method = certified.certificate.method
    try:
        certificate = certify(stated, certified.solution, certified.maximum, method=method)
    except ComputationError:  # at a tiny alpha the order of a sum decides; no proof then, but an answer
        weaker = replace(certified.maximum, kind="heuristic")
        certificate = certify(stated, certified.solution, weaker, method=method)
    return Fitted(
        stated,
        certified.solution,
        certificate,
        limit,
        max(1, certified.iterations),
        certified.converged,
        certified.reason,
    )


def predicted_seconds(n: int, d: int, outputs: int = 1) -> float:
    """About how long a fit takes, from its size alone, within a factor of ten: most is cone programs and searches.

    Some twenty rounds, each with fifteen factorisations of size K·D for about K = 3·D neurons (at most one per sample),
    and a search from thousands of starts over at most 4096 samples; 2e10 operations per second.

    Args:
        n: Samples.
        d: Features.
        outputs: Outputs.
    """
    D = d + 1
    size = min(3 * D, n) * D
    cones = 20 * 15 * (size**3 / 3 + n * size)
    searches = 20 * 512 * 25 * 4 * min(n, 4096) * D + 12_288 * 20 * n * D
    return outputs * (cones + searches) / 2e10
