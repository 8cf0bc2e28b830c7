"""From gated ReLU to ReLU: every block as a difference of two members of its cone."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from .convex_programs_cone import ACCURACY, ProgramAnswer, answer_of, penalised_block
from .convex_programs_conic import ConicProgram

if TYPE_CHECKING:
    from .problem import VariationProblem

_NEGLIGIBLE = 1e-8


def split_gates(problem: "VariationProblem", masks: Bool[np.ndarray, "n P"], gates: ProgramAnswer) -> ProgramAnswer:
    """The gated optimum with every block u_p = v_p − w_p split at the least ‖v_p‖ + ‖w_p‖ within its cone.

    The predictions stay; the penalty grows, much where a cone is narrow.

    Args:
        problem: The problem.
        masks: The gates.
        gates: The optimum without cone constraints, blocks in `positive`.

    Raises:
        ComputationError: The interior point found no decomposition.
    """
    sizes = problem.penalty_norms(gates.positive)
    positive, negative = np.zeros_like(gates.positive), np.zeros_like(gates.positive)
    for p in np.flatnonzero(sizes > _NEGLIGIBLE * sizes.sum()):
        unit = gates.positive[p] / sizes[p]
        positive[p] = sizes[p] * cone_part(problem, masks[:, p], unit)
        negative[p] = positive[p] - gates.positive[p]
    answer = answer_of(problem, masks, positive, negative, gates.beta)
    return replace(answer, iterations=gates.iterations)


def cone_part(
    problem: "VariationProblem", mask: Bool[np.ndarray, " n"], u: Float[np.ndarray, " D"]
) -> Float[np.ndarray, " D"]:
    """The v of least ‖v‖ + ‖v − u‖ with v and v − u in the cone {(2D − I) Z v ≥ 0}."""
    program = ConicProgram()
    first, second = (penalised_block(program, problem, 1.0) for _ in range(2))
    program.require("zero", [(first, 1.0), (second, -1.0)], -u)
    rows = np.where(mask, 1.0, -1.0)[:, None] * problem.Z
    for block in (first, second):
        program.require("nonnegative", [(block, rows)])
    x, _, _ = program.solve(tol=ACCURACY)
    return x[first]
