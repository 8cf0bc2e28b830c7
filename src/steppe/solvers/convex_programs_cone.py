"""The sampled convex program: one pair of cone members per activation pattern, solved by an interior point."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from .convex_programs_conic import MAX_ITER, ConicProgram, add_fit

if TYPE_CHECKING:
    from .problem import VariationProblem

ACCURACY = 1e-10


@dataclass(frozen=True, eq=False)
class ProgramAnswer:
    """The optimum of a program over P activation patterns.

    Args:
        value: Objective of the program.
        positive: Blocks v_p that enter f with a plus sign.
        negative: Blocks w_p that enter with a minus sign.
        beta: Coefficients of the free columns, or None.
        predictions: f = Σ_p D_p Z (v_p − w_p) + S β on the samples.
        converged: Whether the method met its own stopping rule.
        iterations: Iterations it took.
        reason: Why it stopped.
    """

    value: float
    positive: Float[np.ndarray, "P D"]
    negative: Float[np.ndarray, "P D"]
    beta: Float[np.ndarray, " q"] | None
    predictions: Float[np.ndarray, " n"]
    converged: bool = True
    iterations: int = 0
    reason: str = "solved by the interior point"


def sampled_program(
    problem: "VariationProblem",
    masks: Bool[np.ndarray, "n P"],
    *,
    cones: bool = True,
    tol: float = ACCURACY,
    max_iter: int = MAX_ITER,
) -> ProgramAnswer:
    """Minimise loss(Σ_p D_p Z (v_p − w_p) + S β) + α Σ_p (‖v_p‖ + ‖w_p‖).

    The minimum is over v_p with (2D_p − I) Z v_p ≥ 0 and w_p with the same.

    Args:
        problem: The problem, with one output.
        masks: Activation patterns D_p.
        cones: Whether the constraints hold; without them v_p and w_p merge into one block (gated ReLU).
        tol: Accuracy of the interior point.
        max_iter: Iterations of the interior point.

    Raises:
        ComputationError: The interior point found no solution.

    Cost:
        Interior point iterations of about n² · blocks + (blocks · D)³ at worst, most of it sparse.
    """
    program = ConicProgram()
    signs = (1.0, -1.0) if cones else (1.0,)
    terms: list[tuple[slice, Any]] = []
    blocks = []
    for mask in masks.T:
        active = problem.Z * mask[:, None]
        for sign in signs:
            block = penalised_block(program, problem, problem.alpha)
            blocks.append(block)
            terms.append((block, sparse.csr_matrix(sign * active)))
            if cones:
                program.require("nonnegative", [(block, np.where(mask, 1.0, -1.0)[:, None] * problem.Z)])
    free = program.variables(problem.free.shape[1])
    if problem.free.shape[1]:
        terms.append((free, problem.free))
    add_fit(program, problem.fit.name, terms, problem.y, problem.weights, **problem.fit.parameters)
    x, _, iterations = program.solve(tol=tol, max_iter=max_iter)
    found = np.stack([x[block] for block in blocks]).reshape(masks.shape[1], len(signs), -1)
    negative = found[:, 1] if cones else np.zeros_like(found[:, 0])
    beta = x[free] if problem.free.shape[1] else None
    return answer_of(problem, masks, found[:, 0], negative, beta, iterations=iterations)


def answer_of(
    problem: "VariationProblem",
    masks: Bool[np.ndarray, "n P"],
    positive: Float[np.ndarray, "P D"],
    negative: Float[np.ndarray, "P D"],
    beta: Float[np.ndarray, " q"] | None,
    **outcome: Any,
) -> ProgramAnswer:
    """The answer with its value and predictions computed from the blocks."""
    f = predictions_of(problem.Z, masks, positive - negative)
    if beta is not None:
        f = f + problem.free @ beta
    size = problem.penalty_norms(positive).sum() + problem.penalty_norms(negative).sum()
    value = float(problem.weights @ problem.fit.values(f, problem.y) + problem.alpha * size)
    return ProgramAnswer(value, positive, negative, beta, f, **outcome)


def predictions_of(
    z: Float[np.ndarray, "n D"], masks: Bool[np.ndarray, "n P"], blocks: Float[np.ndarray, "P D"]
) -> Float[np.ndarray, " n"]:
    """Σ_p D_p Z u_p."""
    return np.asarray(np.einsum("np,np->n", masks, z @ blocks.T))


def penalised_block(program: ConicProgram, problem: "VariationProblem", cost: float) -> slice:
    """A block u of D variables that costs `cost` · ‖u‖ in the penalty norm."""
    size = problem.Z.shape[1]
    block = program.variables(size)
    bound = program.variables(1, linear=cost)
    measured = size if problem.bias == "penalized" else size - 1
    place = np.arange(measured)
    rows = sparse.coo_matrix((np.ones(measured), (place + 1, place)), shape=(measured + 1, size))
    top = sparse.coo_matrix(([1.0], ([0], [0])), shape=(measured + 1, 1))
    program.require("second-order", [(bound, top), (block, rows)])
    return block
