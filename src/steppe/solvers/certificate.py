"""Certificates: how far, at most, a network is from the best network of any width, with the numbers that show it."""

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from steppe.core import ComputationError, ParameterError

from .certificate_files import read_certificate, seal, write_certificate
from .fits import Fit
from .maximum import Kind, Maximum
from .problem import Bias, VariationProblem
from .solution import Solution
from .verification import Verification, check_claim

CLAIM = 1e-4  # relative gap that a heuristic certificate claims at least: its search may have missed a little
_PROOFS: dict[Kind, str] = {
    "exact": "every face of the dual constraint was listed",
    "bound": "branch and bound over all neurons",
    "heuristic": "a search from many starts; this is no proof",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Certificate:
    """A network, a dual point, and what the two say together: P − D ≥ P − P*.

    For every dual point θ with Sᵀθ = 0 and M(θ) = max |Σ θ_i relu(w·x_i − b)| ≤ α, over neurons of penalty norm one, no
    network of any width has an objective below D(θ). Everything but M(θ) ≤ α is arithmetic; `kind` says how far that
    one inequality is proved. Computed in floating point, without directed rounding.

    Args:
        primal: P of the network.
        dual: D(θ).
        kind: `"exact"`: M(θ) by listing all faces. `"bound"`: M(θ) bounded by branch and bound. `"heuristic"`: the
            largest value that a search found; it proves nothing.
        method: What found the network.
        alpha: α.
        upper: What is claimed of M(θ): not above this, which is not above α.
        claim: What is claimed of the gap, relative to the objective; at least `CLAIM` for a heuristic kind.
        floor: Objective below which nothing counts: rounding of the loss of the zero function.
        fit, bias, skip: The problem's.
        solution: The network, in the solvers' coordinates.
        theta: The dual point θ, one row per sample of positive weight.
        columns: Center and spread of every input at fit, to recognise data of another scale.
        work: What the search for M counted: faces, cones or starts.
        digest: Of all numbers above but `method` and `work`; a certificate edited by hand shows.
    """

    primal: float
    dual: float
    kind: Kind
    method: str
    alpha: float
    upper: float
    claim: float
    floor: float
    fit: Fit
    bias: Bias
    skip: bool
    solution: Solution
    theta: Float[np.ndarray, "n *c"]
    columns: Float[np.ndarray, "2 d"]
    work: int = 0
    digest: str = ""

    @property
    def gap(self) -> float:
        """P − D ≥ P − P*."""
        return max(0.0, self.primal - self.dual)

    @property
    def relative_gap(self) -> float:
        """The gap in units of the objective (of its rounding, if the objective is smaller than that)."""
        return relative(self.gap, self.primal, self.floor)

    def sentence(self) -> str:
        """What is certified, in words, and how far it is proved."""
        percent = _percent(self.claim)
        why = _PROOFS[self.kind]
        if self.claim >= 1.0:
            return f"Nothing is known about how much lower the objective of another ReLU network can be ({why})."
        if self.kind == "heuristic":
            return f"No ReLU network of any width with an objective more than {percent} lower was found ({why})."
        return f"No ReLU network of any width has an objective more than {percent} lower ({self.kind}: {why})."

    def check(self, X: Any, y: Any, sample_weight: Any = None, *, seed: int = 0) -> Verification:
        """Re-derive everything from the stored weights and dual point on the given data, with the reasons.

        Primal value with true ReLUs, dual value, Sᵀθ = 0, M(θ) ≤ α by the means of the kind (all faces; branch and
        bound to the claimed bound; the oracle from fresh starts), and the gap.

        Args:
            X: Inputs of the fit, [n, d].
            y: Targets of the fit.
            sample_weight: Weights of the fit, if there were any.
            seed: Of the fresh starts.

        Raises:
            InputError: Data that are no data (not finite, of unequal lengths). Data of another fit are no error, the
                verification just does not hold.

        Cost:
            That of the kind's maximum: O(n log n) for d = 1, one factor n more per dimension up to three; for `bound`
            the work of the original proof.
        """
        return check_claim(self, X, y, sample_weight, seed=seed)

    def verify(self, X: Any, y: Any, sample_weight: Any = None) -> bool:
        """Whether everything that is claimed holds on these data; `check` says why not.

        Warns:
            DataScaleWarning: The inputs have another scale than at fit; the answer is False.
        """
        return self.check(X, y, sample_weight).holds

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, in the format of the page "Certificates"; numbers keep all their digits.

        Raises:
            OSError: The file cannot be written.
        """
        write_certificate(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Certificate":
        """Read what `save` wrote; nothing is believed before `verify`.

        Raises:
            InputError: There is no such file, or it is no certificate; the message says what is wrong.
        """
        return cls(**read_certificate(path))

    def __str__(self) -> str:
        values = f"Objective {self.primal:.10g}, dual {self.dual:.10g}, relative gap {self.relative_gap:.2g}."
        return f"{self.sentence()} {values}"


def certify(
    problem: VariationProblem,
    solution: Solution,
    maximum: Maximum,
    *,
    method: str = "",
    claim: float | None = None,
) -> Certificate:
    """The certificate of a solution, given the maximum at ρ = `problem.rho(problem.evaluate(solution))`.

    Args:
        problem: In its original units (`rescaled` has a way back).
        solution: The network.
        maximum: M(ρ); its `kind` becomes that of the certificate.
        method: What found the solution.
        claim: Relative gap to claim; the gap found, rounded up, if None, and at least `CLAIM` for a heuristic maximum.

    Raises:
        ParameterError: The problem is a rescaled one, or less is claimed than was found.
        ComputationError: A proved maximum cannot be right: one of the network's own neurons exceeds it. (A heuristic
            one is replaced by that value.)
    """
    if problem.unit != 1.0:
        raise ParameterError("`problem` must be in its original units; take solution and maximum back with `Scales`")
    outputs = problem.evaluate(solution)
    primal = problem.primal(solution, outputs=outputs)
    floor = np.finfo(float).eps * problem.loss(np.zeros_like(problem.y))
    theta, upper = np.zeros_like(problem.y), 0.0  # always feasible; enough where the fit is exact up to rounding
    if primal > floor:
        theta, upper = _dual(problem, solution, problem.rho(outputs), maximum)
    dual = problem.dual_value(theta)
    found = relative(max(0.0, primal - dual), primal, floor)
    least = min(1.0, found * (1 + 1e-6) + 1e-12)
    if claim is None:
        claim = least if maximum.kind != "heuristic" else max(least, CLAIM)
    elif not claim >= found:
        raise ParameterError(f"`claim` must be at least the relative gap {found:.3g}, got {claim:.3g}; claim less")
    certificate = Certificate(
        primal=primal,
        dual=dual,
        kind=maximum.kind,
        method=method,
        alpha=problem.alpha,
        upper=upper,
        claim=claim,
        floor=floor,
        fit=problem.fit,
        bias=problem.bias,
        skip=problem.skip,
        solution=solution,
        theta=theta,
        columns=column_scales(problem.X),
        work=maximum.work,
    )
    object.__setattr__(certificate, "digest", seal(certificate))
    return certificate


def _dual(
    problem: VariationProblem, solution: Solution, rho: Float[np.ndarray, "n *c"], maximum: Maximum
) -> tuple[Float[np.ndarray, "n *c"], float]:
    """The dual point of a solution, inside the conjugate's domain, and the bound on its M.

    The network's own neurons are among those that M is taken over. With them in the bound the dual value cannot exceed
    the objective, whatever a search has missed.

    Raises:
        ComputationError: A proved bound is below the value at one of the network's own neurons.
    """
    own = float(problem.correlations(solution.u, rho).max(initial=0.0))
    if own > maximum.upper * (1 + 1e-8) + 1e-9 * problem.alpha and maximum.kind != "heuristic":
        raise ComputationError(
            f"the {maximum.kind} maximum {maximum.upper:.10g} is too small: one of the network's own neurons has "
            f"{own:.10g}; please report it with the data"
        )
    bound = max(own, maximum.upper)
    scale = problem.dual_scale(rho, bound)
    theta = scale * rho
    if not math.isfinite(problem.dual_value(theta)):
        return np.zeros_like(rho), 0.0  # always feasible
    return theta, min(abs(scale) * bound if scale else 0.0, problem.alpha)


def relative(gap: float, primal: float, floor: float) -> float:
    """Gap over objective, or over the rounding of the objective where that is larger; 0 if there is no gap."""
    return gap / max(primal, floor) if gap > 0 else 0.0


def column_scales(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "2 d"]:
    """Center and spread of every column, without overflow."""
    low, high = X.min(axis=0), X.max(axis=0)
    return np.stack([0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low])


def _percent(share: float) -> str:
    """A share in percent, rounded up to two digits: never better than it is."""
    if share <= 0:
        return "0 %"
    percent = 100.0 * share
    step = 10.0 ** (math.floor(math.log10(percent)) - 1)
    return f"{math.ceil(percent / step - 1e-6) * step:.2g} %"
