"""Convex programs from the literature as methods by name: sampled cones, the same by ADMM, and gated ReLU.

All of them fix activation patterns before they solve. What they minimise is the objective over networks with those
patterns, so the optimum of their program is no optimum of the problem, and nothing in them says how far it is. The
certificate does.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool

from steppe.core import ParameterError

from .certified import Certified
from .certified_output import certified_output
from .convex_programs_admm import sampled_program_by_admm
from .convex_programs_cone import ProgramAnswer, sampled_program
from .convex_programs_gated import split_gates
from .convex_programs_patterns import activation_patterns
from .scales import rescaled
from .solution import Solution

if TYPE_CHECKING:
    from steppe.linalg import Pace

    from .problem import VariationProblem
    from .rigorous import Proof

Patterns = int | Literal["all"]
PATTERNS = 100
_MOST_ENTRIES = 20_000_000  # numbers in the constraints of one interior point program
_MOST_SAMPLES = 4000  # rows of ADMM's eigendecomposition
_NEGLIGIBLE = 1e-8  # blocks below this share of the penalty are rounding of the interior point
_ALIKE = 1e-6  # predictions of a problem of ordinary scale that differ by less are the same


def solve_sampled_convex(
    problem: "VariationProblem",
    *,
    patterns: Patterns = PATTERNS,
    tol: float = 1e-4,
    max_iter: int = 400,
    seed: int = 0,
    start: Solution | None = None,
    pace: "Pace | None" = None,
    proof: "Proof | None" = None,
) -> Certified:
    """The convex program of Pilanci and Ergen 2020 on sampled activation patterns, by an interior point.

    Args:
        problem: With one output.
        patterns: How many patterns are sampled, or `"all"` (few samples in at most two dimensions), which makes the
            program the problem itself.
        tol: Relative gap below which the output counts as converged; the program is solved to 1e-10 whatever it is.
        max_iter: Iterations of the interior point.
        seed: Seed of the hyperplanes and of the certificate's oracle.
        start: A solution whose patterns are added.
        pace: Progress; an interior point program is not interrupted.
        proof: How much work a proof may take.

    Returns:
        The recovered network, whose objective is that of the program, with its certificate.

    Raises:
        ParameterError: Several outputs, or a program too large.
        ComputationError: The interior point found no solution.
    """
    small, scales = rescaled(problem)
    masks = _masks(small, patterns, seed, start)
    answer = sampled_program(small, masks, max_iter=max_iter)
    _tick(pace, answer)
    return certified_output(
        problem, small, scales, recovered(small, answer), method="sampled-convex", tol=tol, seed=seed, proof=proof,
        **_words(answer, masks, scales.targets**2),
    )  # fmt: skip


def solve_admm(
    problem: "VariationProblem",
    *,
    patterns: Patterns = PATTERNS,
    tol: float = 1e-4,
    accuracy: float = 1e-6,
    max_iter: int = 20_000,
    seed: int = 0,
    start: Solution | None = None,
    pace: "Pace | None" = None,
    proof: "Proof | None" = None,
) -> Certified:
    """The same program by the alternating direction method of multipliers (Bai, Gautam and Sojoudi 2023).

    Args:
        problem: With one output and the squared fit.
        patterns: As in `solve_sampled_convex`.
        tol: Relative gap below which the output counts as converged.
        accuracy: Relative residual at which ADMM stops.
        max_iter: Iterations of ADMM.
        seed: Seed of the hyperplanes and of the certificate's oracle.
        start: A solution whose patterns are added.
        pace: Limit on time, and progress.
        proof: How much work a proof may take.

    Raises:
        ParameterError: Another fit, several outputs, or more than 4000 samples.
    """
    if problem.fit.name != "squared":
        raise ParameterError(
            f'`fit` must be "squared" for method "admm", got "{problem.fit.name}"; use method="sampled-convex"'
        )
    if problem.n > _MOST_SAMPLES:
        raise ParameterError(
            f'`problem` must have at most {_MOST_SAMPLES} samples for method "admm", got {problem.n}; its '
            'eigendecomposition is n × n: use method="column-generation"'
        )
    small, scales = rescaled(problem)
    masks = _masks(small, patterns, seed, start)
    answer = sampled_program_by_admm(small, masks, tol=accuracy, max_iter=max_iter, pace=pace)
    return certified_output(
        problem, small, scales, recovered(small, answer), method="admm", tol=tol, seed=seed, proof=proof,
        **_words(answer, masks, scales.targets**2),
    )  # fmt: skip


def solve_gated(
    problem: "VariationProblem",
    *,
    patterns: Patterns = PATTERNS,
    tol: float = 1e-4,
    max_iter: int = 400,
    seed: int = 0,
    start: Solution | None = None,
    pace: "Pace | None" = None,
    proof: "Proof | None" = None,
) -> Certified:
    """Gated ReLU: the program without cone constraints, a group lasso, and its blocks split into ReLU neurons.

    The optimum of the relaxation, `history[0]["program"]`, is at most that of `solve_sampled_convex` on the same
    patterns. It is *not* a lower bound of the problem, because the gates are sampled.

    Args:
        problem: With one output and a penalized bias.
        patterns: As in `solve_sampled_convex`; with `"all"` the relaxation is a lower bound.
        tol: Relative gap below which the output counts as converged.
        max_iter: Iterations of the interior point.
        seed: Seed of the hyperplanes and of the certificate's oracle.
        start: A solution whose patterns are added.
        pace: Progress.
        proof: How much work a proof may take.

    Returns:
        A ReLU network with the predictions of the gated one, and its own, larger objective.

    Raises:
        ParameterError: A free bias, several outputs, or a program too large.
        ComputationError: The interior point found no solution.
    """
    if problem.bias == "free":
        raise ParameterError(
            '`bias` must be "penalized" for method "gated", got "free": gates with free thresholds interpolate at no '
            'cost; pass bias="penalized"'
        )
    small, scales = rescaled(problem)
    masks = _masks(small, patterns, seed, start)
    answer = split_gates(small, masks, gates := sampled_program(small, masks, cones=False, max_iter=max_iter))
    _tick(pace, answer)
    words = _words(answer, masks, unit := scales.targets**2)
    words["history"][0]["program"] = unit * gates.value
    words["reason"] = (
        f"the relaxation has value {unit * gates.value:.6g}"
        + ("" if patterns == "all" else ", no lower bound because its gates are sampled")
        + "; its blocks were split into ReLU neurons"
    )
    return certified_output(
        problem, small, scales, recovered(small, answer), method="gated", tol=tol, seed=seed, proof=proof, **words
    )


def recovered(problem: "VariationProblem", answer: ProgramAnswer) -> Solution:
    """The network of a program's blocks: neuron v_p/‖v_p‖ of size ‖v_p‖, and −‖w_p‖ for w_p.

    Blocks inside their cones keep the predictions, and so the objective. A block of negligible size is left out; what
    it added to the free columns goes there. Where all neurons together do nothing, none are returned.
    """
    blocks = np.concatenate([answer.positive, answer.negative])
    signs = np.repeat([1.0, -1.0], [len(answer.positive), len(answer.negative)])
    sizes = problem.penalty_norms(blocks)
    kept = sizes > _NEGLIGIBLE * max(float(sizes.sum()), 1e-300)
    solution = Solution(blocks[kept] / sizes[kept, None], signs[kept] * sizes[kept], answer.beta)
    candidates = [solution]
    nothing = Solution(blocks[:0], signs[:0], answer.beta)
    if np.abs(answer.predictions - problem.evaluate(nothing)).max() <= _ALIKE * max(1.0, np.abs(problem.y).max()):
        candidates.insert(0, nothing)
    if answer.beta is not None:
        root = np.sqrt(problem.weights)
        for candidate in list(candidates):
            rest = answer.predictions - problem.evaluate(candidate)
            shift = np.linalg.lstsq(problem.free * root[:, None], root * rest, rcond=None)[0]
            candidates.append(Solution(candidate.u, candidate.v, answer.beta + shift))
    return min(candidates, key=problem.primal)


def _masks(
    problem: "VariationProblem", patterns: Patterns, seed: int, start: Solution | None
) -> Bool[np.ndarray, "n P"]:
    """Sampled patterns, those of `start` first; refused where the program would not fit."""
    if problem.outputs > 1:
        raise ParameterError(
            f'convex programs over sampled patterns serve one output, got {problem.outputs}; use method="multi-output"'
        )
    masks = activation_patterns(problem.Z, patterns, seed=seed, bias=problem.bias)
    if start is not None and len(start.u):
        known = problem.features(start.u) > 0
        masks = np.unique(np.concatenate([known[:, known.any(axis=0)], masks], axis=1), axis=1)
    size = 2 * masks.size * problem.Z.shape[1]
    if size > _MOST_ENTRIES:
        raise ParameterError(
            f"`patterns` must leave the program at most {_MOST_ENTRIES:,} coefficients, got {size:,}; pass "
            f'patterns={max(1, _MOST_ENTRIES * masks.shape[1] // size)}, or use method="column-generation"'
        )
    return masks


def _words(answer: ProgramAnswer, masks: Bool[np.ndarray, "n P"], unit: float) -> dict[str, Any]:
    """What the record of a program says; `unit` turns a loss of the rescaled problem into one of the original."""
    record = {"program": unit * answer.value, "patterns": masks.shape[1], "converged": answer.converged}
    return {"history": (record,), "reason": answer.reason, "iterations": answer.iterations}


def _tick(pace: "Pace | None", answer: ProgramAnswer) -> None:
    if pace is not None:
        pace.advance(1, answer.reason)
