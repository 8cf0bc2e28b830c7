"""One call for every problem: choose a method, solve, certify."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

import numpy as np

from steppe.core import (
    DataError,
    Estimate,
    ParameterError,
    check_choice,
    check_integer,
    check_number,
    derived_seed,
    grouped,
)
from steppe.linalg import Pace, Progress

from .certified import Certified
from .column_generation import solve_columns
from .oracle import WIDE, local_maxima
from .problem import VariationProblem
from .rigorous import Proof, prove
from .scales import rescaled
from .solution import Solution

Method = Literal[
    "auto",
    "column-generation",
    "one-dimension",
    "multi-output",
    "sampled-convex",
    "gated",
    "admm",
    "pathprox",
    "weight-decay",
]

# Where each further method lives: module and function.
_METHODS: dict[str, tuple[str, str]] = {
    "one-dimension": ("one_dimension", "solve_one_dimension"),
    "multi-output": ("multi_output", "solve_multi_output"),
    "sampled-convex": ("convex_programs", "solve_sampled_convex"),
    "gated": ("convex_programs", "solve_gated"),
    "admm": ("convex_programs", "solve_admm"),
    "pathprox": ("first_order", "solve_pathprox"),
    "weight-decay": ("first_order", "solve_weight_decay"),
}


_SERVED = 1_000_000  # entries of Z; 20 000 × 9 take about a minute


def solve(
    problem: VariationProblem,
    *,
    method: Method = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    seed: int = 0,
    start: Solution | None = None,
    budget: float | None = None,
    progress: Progress = False,
    proof: Proof | None = None,
) -> Certified:
    """The best network for a problem, with a certificate of how far it can be from the optimum.

    Args:
        problem: What is minimised.
        method: `"auto"` takes the exact one-dimensional solver, the multi-output solver or column generation.
        tol: Relative gap (P − D) / P at which to stop.
        max_iter: Rounds allowed; None for the method's own limit.
        seed: Seed of everything random.
        start: A solution to start from.
        budget: Seconds after which the best network so far is returned with its certificate. Where the clock ends a
            run, the result is not reproducible.
        progress: True for a bar on stderr, or a callable (done, total, text).
        proof: How much work the rigorous stage may take; None for the usual amount.

    Raises:
        ParameterError: A limit is out of range, or the method does not suit the problem.
        DataError: Labels that a free affine function separates with the logistic loss: there is no minimizer. Or more
            than a million entries in [X, −1], which column generation does not serve.
    """
    check_number("tol", tol, above=0.0)
    if max_iter is not None:
        check_integer("max_iter", max_iter, minimum=1)
    name = check_choice("method", method, ["auto", "column-generation", *_METHODS])
    name = _automatic(problem) if name == "auto" else name
    with Pace(budget, progress) as pace:
        if name == "column-generation":
            if problem.outputs > 1:
                raise ParameterError(
                    f'method "column-generation" needs one output, got {problem.outputs}; use method="multi-output"'
                )
            refuse_too_large(problem)
            refuse_no_minimizer(problem)
            return solve_columns(problem, tol=tol, max_iter=max_iter, seed=seed, start=start, pace=pace, proof=proof)
        if name == "multi-output":
            refuse_too_large(problem)
        return _other(name)(problem, **_options(name, tol, max_iter, seed, start, pace))


def _automatic(problem: VariationProblem) -> str:
    if problem.outputs > 1:
        return "multi-output"
    if problem.d == 1 and problem.bias == "free" and problem.fit.name == "squared":
        return "one-dimension"
    return "column-generation"


def _other(name: str) -> Callable[..., Certified]:
    module, function = _METHODS[name]
    return getattr(import_module(f".{module}", __package__), function)


def _options(
    name: str, tol: float, max_iter: int | None, seed: int, start: Solution | None, pace: Pace
) -> dict[str, Any]:
    options: dict[str, Any] = {"tol": tol, "seed": seed, "start": start}
    if max_iter is not None:
        options["max_iter"] = max_iter
    if name != "one-dimension":  # its rounds take milliseconds
        options["pace"] = pace
    return options


def refuse_too_large(problem: VariationProblem) -> None:
    """Refuse what column generation would work on for hours.

    Raises:
        DataError: [X, −1] has more than a million entries.
    """
    if problem.Z.size > _SERVED:
        raise DataError(
            f"column generation serves up to {grouped(_SERVED)} entries (samples × (inputs + 1)), got "
            f"{grouped(problem.Z.shape[0])} × {grouped(problem.Z.shape[1])}; draw a sample of the rows, choose fewer "
            'columns, or train by method="weight-decay", whose network gets the same certificate'
        )


def refuse_no_minimizer(problem: VariationProblem) -> None:
    """Refuse a free affine function with logistic loss on labels that it separates.

    Raises:
        DataError: So it is.
    """
    if problem.fit.name == "logistic" and problem.skip:
        problem.affine_start()


def alpha_max(problem: VariationProblem, *, seed: int = 0, proof: Proof | None = None) -> Estimate:
    """The smallest alpha that uses no neuron: M(ρ) at the best fit without neurons; `problem.alpha` plays no role.

    Args:
        problem: Data, fit and penalty.
        seed: Seed of the oracle's starts.
        proof: How much work a proof may take; None for the usual amount.

    Returns:
        An Estimate: of kind `"bound"` with the distance to a proved upper bound, where there is a proof; of kind
        `"none"` where the value is the best of many starts and the truth may be larger.
    """
    refuse_no_minimizer(problem)
    if problem.outputs > 1:
        return import_module(".multi_output", __package__).multi_output_alpha_max(problem, seed=seed)
    small, scales = rescaled(problem)
    f = small.free @ small.affine_start() if small.skip else np.zeros(small.n)
    rho = small.rho(f)
    if float(np.abs(rho).max()) <= 1e-13 * float(np.abs(small.weights * small.fit.gradient(0 * f, small.y)).max()):
        reason = "the free part fits up to rounding"
        return Estimate(value=0.0, error=0.0, error_kind="bound", reason=reason, quantity="alpha_max")
    rng = np.random.default_rng(derived_seed("solvers.oracle", seed))
    found = local_maxima(small, rho, rng=rng)
    if found.value > 0:
        found = prove(small.with_alpha(found.value), rho, found, 2e-6, proof or Proof())
    if found.kind == "heuristic" or found.upper > 1.01 * found.value:
        found = local_maxima(small, rho, rng=rng, effort=WIDE)
    # Residuals within equal rows, say, correlate with no neuron; shares of the rounding that is left mean nothing.
    rounding = 1e-14 * float(np.abs(rho) @ np.linalg.norm(small.Z, axis=1))
    if found.value <= rounding:
        reason = "no neuron correlates with the residuals beyond rounding"
        error = scales.penalty(max(found.upper, rounding))
        return Estimate(value=0.0, error=error, error_kind="bound", reason=reason, quantity="alpha_max")
    proved = found.kind != "heuristic"
    return Estimate(
        value=scales.penalty(found.value),
        error=scales.penalty(found.upper - found.value) if proved else math.nan,
        error_kind="bound" if proved else "none",
        converged=True,
        reason=found.reason,
        products=found.work,
        quantity="alpha_max",
    )
