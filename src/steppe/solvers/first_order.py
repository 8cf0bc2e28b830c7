"""Plain weight decay and PathProx as methods by name.

They get close and cannot know it; the certificate of every other method, evaluated on their output, says how close.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from .certified import Certified
from .certified_output import certified_output
from .first_order_training import LOOKS, Optimizer, Schedule, Trained, train_pathprox, train_weight_decay
from .scales import Scales, rescaled
from .solution import Solution

if TYPE_CHECKING:
    from steppe.linalg import Pace

    from .problem import VariationProblem
    from .rigorous import Proof

WIDTH = 200
STEPS = 20_000


def solve_weight_decay(
    problem: "VariationProblem",
    *,
    width: int = WIDTH,
    optimizer: Optimizer = "adam",
    step_size: float | None = None,
    schedule: Schedule = "cosine",
    restarts: int = 1,
    tol: float = 1e-4,
    max_iter: int = STEPS,
    seed: int = 0,
    start: Solution | None = None,
    pace: "Pace | None" = None,
    proof: "Proof | None" = None,
) -> Certified:
    """What everybody does: gradient descent or Adam on the loss with weight decay; full-batch, from balanced weights.

    Args:
        problem: Of any number of outputs.
        width: Number of neurons.
        optimizer: `"adam"` with its usual constants, or `"gradient-descent"`.
        step_size: Largest step; 0.01 for Adam, and a stable one for gradient descent.
        schedule: `"cosine"` lets the step fall to zero; `"constant"`.
        restarts: Initialisations, of which the one with the least objective is returned.
        tol: Relative gap below which the output counts as converged.
        max_iter: Updates.
        seed: Seed of the initialisation and of the certificate's oracle.
        start: A solution whose neurons replace the first ones of every initialisation.
        pace: Limit on time, and progress.
        proof: How much work a proof may take.

    Raises:
        ComputationError: Training diverged from every initialisation.

    Cost:
        Four products of an n × D and a D × width matrix for each update.
    """
    small, scales = rescaled(problem)
    trained = train_weight_decay(
        small, width=width, optimizer=optimizer, step_size=step_size, steps=max_iter, schedule=schedule,
        restarts=restarts, seed=seed, start=_inward(scales, start), pace=pace,
    )  # fmt: skip
    words = _words(trained, scales, max_iter)
    return certified_output(
        problem, small, scales, trained.solution, method="weight-decay", tol=tol, seed=seed, proof=proof, **words
    )


def solve_pathprox(
    problem: "VariationProblem",
    *,
    width: int = WIDTH,
    step_size: float | None = None,
    schedule: Schedule = "constant",
    restarts: int = 1,
    tol: float = 1e-4,
    max_iter: int = STEPS,
    seed: int = 0,
    start: Solution | None = None,
    pace: "Pace | None" = None,
    proof: "Proof | None" = None,
) -> Certified:
    """PathProx (Yang et al. 2022): proximal gradient descent on the path norm; full-batch.

    Args:
        problem: Of any number of outputs.
        width: Number of neurons.
        step_size: The step; a stable one by default.
        schedule: `"constant"`, as published, or `"cosine"`.
        restarts: Initialisations, of which the one with the least objective is returned.
        tol: Relative gap below which the output counts as converged.
        max_iter: Updates.
        seed: Seed of the initialisation and of the certificate's oracle.
        start: A solution whose neurons replace the first ones of every initialisation.
        pace: Limit on time, and progress.
        proof: How much work a proof may take.

    Raises:
        ComputationError: Training diverged from every initialisation.
    """
    small, scales = rescaled(problem)
    trained = train_pathprox(
        small, width=width, step_size=step_size, steps=max_iter, schedule=schedule, restarts=restarts, seed=seed,
        start=_inward(scales, start), pace=pace,
    )  # fmt: skip
    words = _words(trained, scales, max_iter)
    return certified_output(
        problem, small, scales, trained.solution, method="pathprox", tol=tol, seed=seed, proof=proof, **words
    )


def _words(trained: Trained, scales: Scales, steps: int) -> dict[str, Any]:
    unit = scales.targets**2
    places = np.linspace(0, steps, LOOKS + 1).astype(int).tolist()
    history = tuple({"iteration": t, "primal": unit * p} for t, p in zip(places, trained.objectives, strict=False))
    done = history[-1]["iteration"]
    return {"history": history, "reason": f"{done} updates of a first-order method", "iterations": done}


def _inward(scales: Scales, start: Solution | None) -> Solution | None:
    """A start in the units of the rescaled problem."""
    if start is None:
        return None
    u, beta = start.u, start.beta
    if scales.bias_free:
        u = np.column_stack([u[:, :-1], u[:, -1] / scales.inputs])
    if beta is not None and len(beta):
        beta = np.concatenate([beta[:-1] * scales.inputs, beta[-1:]]) / scales.targets
    return Solution(u, start.v * (scales.inputs / scales.targets), beta)
