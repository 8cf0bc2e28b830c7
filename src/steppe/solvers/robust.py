"""Training against an adversary who may move every input by ε in each coordinate, as a convex program.

After Bai, Gautam and Sojoudi 2023. A pair (v_p, w_p) per sampled activation pattern D_p, with worst-case constraints
(2D_p − I) Z v_p ≥ ε ‖v_p‖₁ (thresholds do not move), so that no allowed move changes which neuron sees which sample.
The network is then affine on the box around every sample, and the worst margin or residual is known exactly.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from steppe.core import DataError, ParameterError, check_choice, check_number

from .convex_programs import PATTERNS, recovered
from .convex_programs_cone import ACCURACY, ProgramAnswer, answer_of, penalised_block
from .convex_programs_conic import ConicProgram, add_logistic
from .convex_programs_patterns import activation_patterns
from .problem import VariationProblem
from .solution import Solution

if TYPE_CHECKING:
    from steppe.networks import ShallowReLU

Array = np.ndarray
RobustFit = Literal["hinge", "squared", "logistic"]
_MOST_ENTRIES = 20_000_000


@dataclass(frozen=True, eq=False)
class RobustTrained:
    """A network trained against an adversary.

    Args:
        solution: The network in the problem's coordinates.
        problem: Data and penalty (its fit is not what was minimised).
        radius: ε, in the unit of the inputs.
        fit: The loss.
        value: Worst-case loss on the training data plus α times the penalty. No network of the same patterns that keeps
            them on all boxes has a smaller one; over all networks it is an upper bound of the optimum.
        worst: Worst-case loss of every training sample, exact for this network.
        patterns: Activation patterns of the program.
    """

    solution: Solution
    problem: VariationProblem
    radius: float
    fit: RobustFit
    value: float
    worst: Float[np.ndarray, " n"]
    patterns: int

    @property
    def network(self) -> "ShallowReLU":
        """The balanced network."""
        return self.solution.network(self.problem)


def solve_robust(
    X: Any,
    y: Any,
    *,
    radius: float,
    alpha: float,
    fit: RobustFit = "hinge",
    bias: Literal["free", "penalized"] = "penalized",
    skip: bool = False,
    patterns: int = PATTERNS,
    seed: int = 0,
) -> RobustTrained:
    """Minimise the mean worst-case loss over l∞ boxes of radius ε plus α Σ_k ‖(w_k, b_k)‖ |v_k|.

    Args:
        X: Inputs [n, d].
        y: Labels −1 and 1 [n]; numbers for the squared fit.
        radius: ε ≥ 0; 0 trains without adversary.
        alpha: α > 0.
        fit: `"hinge"`, `"logistic"`, or `"squared"`.
        bias: Whether thresholds are penalized, as in `VariationProblem`.
        skip: Whether an affine function is free.
        patterns: Sampled activation patterns, besides the one of a neuron that sees all samples.
        seed: Seed of the hyperplanes.

    Raises:
        InputError: Data that do not suit the fit, or a program too large.
        ComputationError: The interior point found no solution.

    Cost:
        One interior point program of 2 P (2D + 1) variables and about 4 P (n + D) + 2 n D rows.
    """
    radius = check_number("radius", radius, minimum=0.0)
    check_choice("fit", fit, ["hinge", "squared", "logistic"])
    problem = VariationProblem(X, y, alpha=alpha, bias=bias, skip=skip)
    if problem.outputs > 1:
        raise ParameterError(f"robust training serves one output, got {problem.outputs}; train one per output")
    if fit != "squared" and not np.isin(problem.y, (-1.0, 1.0)).all():
        raise DataError(f'`y` must hold the labels -1 and 1 for fit="{fit}", got others; encode them so')
    masks = _patterns(problem, patterns, seed)
    if 4 * masks.size * problem.Z.shape[1] > _MOST_ENTRIES:
        raise ParameterError(
            f"`patterns` must be fewer for {problem.n} samples, got {patterns}; pass patterns={max(1, patterns // 10)}"
        )
    answer = _solve(problem, masks, radius, fit)
    solution = recovered(problem, answer)
    worst = _worst_losses(problem, solution, radius, fit)
    value = float(problem.weights @ worst) + problem.alpha * solution.penalty
    return RobustTrained(solution, problem, radius, fit, value, worst, masks.shape[1])


def _patterns(problem: VariationProblem, patterns: int, seed: int) -> Bool[np.ndarray, "n P"]:
    """Sampled patterns and the one with all samples active, which bears the affine part.

    The paper also samples patterns of moved data. A pattern that a neuron keeps on all boxes is one of the data
    themselves, so they would add nothing.
    """
    sampled = activation_patterns(problem.Z, patterns, seed=seed, bias=problem.bias)
    return np.unique(np.concatenate([np.ones((problem.n, 1), dtype=bool), sampled], axis=1), axis=1)


def _solve(problem: VariationProblem, masks: Bool[np.ndarray, "n P"], radius: float, fit: RobustFit) -> ProgramAnswer:
    program = ConicProgram()
    n, size, d = problem.n, problem.Z.shape[1], problem.d
    terms: list[tuple[slice, Any]] = []  # the predictions
    slopes: list[tuple[slice, Any]] = []  # the slopes of the network at every sample, [n · d]
    blocks = []
    for mask in masks.T:
        for sign in (1.0, -1.0):
            block = penalised_block(program, problem, problem.alpha)
            blocks.append(block)
            active = sign * mask.astype(float)
            terms.append((block, sparse.csr_matrix(active[:, None] * problem.Z)))
            slopes.append((block, sparse.kron(active[:, None], sparse.eye(d, size))))
            rows = np.where(mask, 1.0, -1.0)[:, None] * problem.Z
            size_of = _absolute(program, [(block, sparse.eye(d, size))], d)
            program.require("nonnegative", [(block, rows), (size_of, np.full((n, d), -radius))])
    free = program.variables(problem.free.shape[1])
    if problem.skip:
        terms.append((free, problem.free))
        slopes.append((free, sparse.kron(np.ones((n, 1)), sparse.eye(d, d + 1))))
    moves = _absolute(program, slopes, n * d)
    _add_worst_case(program, fit, problem, terms, (moves, radius * sparse.kron(sparse.eye(n), np.ones((1, d)))))
    x, _, iterations = program.solve(tol=ACCURACY)
    found = np.stack([x[block] for block in blocks]).reshape(-1, 2, size)
    return answer_of(problem, masks, found[:, 0], found[:, 1], x[free] if problem.skip else None, iterations=iterations)


def _absolute(program: ConicProgram, terms: list[tuple[slice, Any]], count: int) -> slice:
    """Variables that are at least |Σ matrix · block|, entry by entry."""
    bound = program.variables(count)
    for sign in (1.0, -1.0):
        program.require("nonnegative", [(bound, 1.0), *((block, sign * matrix) for block, matrix in terms)])
    return bound


def _add_worst_case(
    program: ConicProgram,
    fit: RobustFit,
    problem: VariationProblem,
    terms: list[tuple[slice, Any]],
    move: tuple[slice, Any],
) -> None:
    """The worst-case loss: predictions may move by radius · ‖slope‖₁ in the direction that hurts."""
    n, y, weights = problem.n, problem.y, problem.weights
    block, moved = move
    if fit == "squared":
        residual = program.variables(n, quadratic=weights)
        for sign in (1.0, -1.0):
            rest = [(own, sign * matrix) for own, matrix in terms]
            program.require("nonnegative", [(residual, 1.0), (block, -moved), *rest], -sign * y)
        return
    margins = [(own, sparse.diags(y) @ matrix) for own, matrix in terms] + [(block, -moved)]
    if fit == "logistic":
        add_logistic(program, margins, weights)
        return
    loss = program.variables(n, linear=weights)
    program.require("nonnegative", [(loss, 1.0)])
    program.require("nonnegative", [(loss, 1.0), *margins], -1.0)


def _worst_losses(problem: VariationProblem, solution: Solution, radius: float, fit: RobustFit) -> Array:
    """Worst loss of every sample over its box, for a network that is affine on all of them."""
    active = problem.Z @ solution.u.T > 0
    slope = (active * solution.v) @ solution.u[:, : problem.d]
    if solution.beta is not None:
        slope = slope + solution.beta[: problem.d]
    move = radius * np.abs(slope).sum(axis=1)
    f = problem.evaluate(solution)
    if fit == "squared":
        return 0.5 * np.square(np.abs(f - problem.y) + move)
    margin = problem.y * f - move
    return np.maximum(1.0 - margin, 0.0) if fit == "hinge" else np.logaddexp(0.0, -margin)
