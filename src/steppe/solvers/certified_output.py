"""The certificate of a network that some other method found: the same oracle, proof and dual point as for our own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe.core import derived_seed

from .certificate import certify
from .certified import Certified
from .cone_problem import cone_problem
from .maximum import Maximum
from .oracle import WIDE, local_maxima_of
from .rigorous import Proof, prove
from .solution import Solution

_ROUNDING = 1e-13  # of the residual of the zero function

if TYPE_CHECKING:
    from .problem import VariationProblem
    from .scales import Scales


def certified_output(
    problem: "VariationProblem",
    small: "VariationProblem",
    scales: "Scales",
    solution: Solution,
    *,
    method: str,
    tol: float,
    seed: int,
    reason: str,
    history: tuple[dict[str, Any], ...] = (),
    iterations: int = 0,
    proof: Proof | None = None,
) -> Certified:
    """A solution of the rescaled problem, certified in the units of the original one.

    Args:
        problem: The problem as stated.
        small: The same problem, rescaled.
        scales: The way back.
        solution: A solution of `small`.
        method: What found it.
        tol: Relative gap below which the output counts as converged.
        seed: Seed of the oracle.
        reason: Why the method stopped.
        history: Records of the method.
        iterations: Iterations of the method.
        proof: How much work a proof may take.
    """
    maximum = scales.maximum(_maximum(small, solution, tol, seed, proof or Proof()))
    outward = scales.solution(solution)
    certificate = certify(problem, outward, maximum, method=method)
    converged = bool(certificate.relative_gap <= tol)
    return Certified(outward, certificate, maximum, history, converged, reason, iterations)


def _maximum(problem: "VariationProblem", solution: Solution, tol: float, seed: int, proof: Proof) -> Maximum:
    """The dual maximum at the residual of a solution."""
    rho = problem.rho(problem.evaluate(solution))
    if _is_rounding(problem, rho):
        none = np.zeros((0, problem.d + 1))
        words = "the residual is nothing but rounding; the dual point is zero"
        return Maximum(0.0, np.eye(problem.d + 1)[0], np.inf, "bound", none, reason=words)
    if problem.outputs > 1:
        found: Maximum = import_module(".multi_output", __package__).multi_output_maximum(problem, rho, solution, seed)
        return found
    rng = np.random.default_rng(derived_seed("solvers.oracle", seed))
    data, coordinates = cone_problem(problem)
    known = coordinates.neurons(data, solution).u
    units, values = local_maxima_of(data.Z, rho, data.penalised, rng=rng, known=known, effort=WIDE)
    outward = coordinates.outward(units)
    best = float(np.abs(values[0]))
    local = Maximum(
        best, outward[0], best, "heuristic", outward[np.abs(values) > problem.alpha], WIDE.starts,
        "local search from random starts",
    )  # fmt: skip
    return prove(problem, rho, local, tol, proof)


def _is_rounding(problem: "VariationProblem", rho: np.ndarray) -> bool:
    """Whether a network fits so well that no digit of its residual is right: the direction ρ then says nothing."""
    size = float(np.abs(problem.rho(np.zeros_like(problem.y))).max())
    raw = float((problem.weights * np.abs(problem.y).reshape(problem.n, -1).max(axis=1)).max())
    return float(np.abs(rho).max()) <= _ROUNDING * max(size, raw)
