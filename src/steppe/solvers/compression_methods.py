"""How neurons are chosen: as few as suffice, or those of smallest norm (multi-task lasso)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from .column_reduction import reduce_columns
from .compression_blocks import reduce_blocks, smallest_block_norm
from .compression_selection import LayerProblem, fewest
from .multi_task_lasso import minimum_group_norm

Method = Literal["fewest-neurons", "smallest-norm"]
METHODS = ("fewest-neurons", "smallest-norm")


@dataclass(frozen=True, eq=False)
class Choice:
    """Neurons that stay, ascending, the rows of V that belong to them, and the relative residual."""

    neurons: Int[np.ndarray, " k"]
    weights: Float[np.ndarray, "c o"]
    residual: float


def choose(problem: LayerProblem, tolerance: float, method: str, lengths: Float[np.ndarray, " g"]) -> Choice:
    """Neurons and weights with a relative residual of at most `tolerance`.

    Args:
        problem: The layer.
        tolerance: Largest relative residual.
        method: `"fewest-neurons"` or `"smallest-norm"`.
        lengths: ‖w_k‖ of each neuron, by which the norm of its outgoing weights counts.
    """
    if method == "smallest-norm":
        return _smallest_norm(problem, tolerance, lengths)
    neurons = fewest(problem, tolerance)
    if len(neurons) == 0:  # a layer keeps one neuron at least
        neurons = np.zeros(1, dtype=int)
    weights, residual = problem.refit(neurons)
    return Choice(neurons, weights, residual)


def _smallest_norm(problem: LayerProblem, tolerance: float, lengths: Float[np.ndarray, " g"]) -> Choice:
    """Minimise Σ_k ‖w_k‖‖v_k‖ at that residual, then groups reduced to the bound r_Φ · r_Ψ."""
    size = float(np.linalg.norm(problem.targets))
    allowed = tolerance * problem.scale / size if size > 0 else 1.0
    weights = np.zeros((problem.groups * problem.size, problem.targets.shape[1]))
    if allowed < 1.0:
        cost = np.repeat(np.where(lengths > 0, lengths, 1.0), problem.size)
        weights = _of_smallest_norm(problem, problem.features / cost, allowed) / cost[:, None]
    neurons = np.flatnonzero(np.linalg.norm(weights.reshape(problem.groups, -1), axis=1) > 0)
    if len(neurons) == 0:
        neurons = np.zeros(1, dtype=int)
    left = problem.targets - problem.features @ weights
    return Choice(neurons, weights[problem.columns(neurons)], float(np.linalg.norm(left)) / problem.scale)


def _of_smallest_norm(
    problem: LayerProblem, scaled: Float[np.ndarray, "m c"], allowed: float
) -> Float[np.ndarray, "c o"]:
    if problem.size > 1:
        found = smallest_block_norm(scaled, problem.targets, problem.size, tolerance=allowed)
        return reduce_blocks(scaled, found.weights, problem.size)
    # Its constraint holds to 1e-9; below some hundred times that, weights that fit exactly are asked for.
    fit = minimum_group_norm(scaled, problem.targets, tolerance=0.99 * allowed if allowed > 3e-7 else 0.0)
    return reduce_columns(scaled, fit.weights).weights
