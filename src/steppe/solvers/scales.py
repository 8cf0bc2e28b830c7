"""Problems in units of order one: exact rescaling by powers of two, and the way back."""

import math
from dataclasses import dataclass, replace

import numpy as np

from .fits import HuberFit
from .maximum import Maximum
from .problem import VariationProblem
from .solution import Solution


@dataclass(frozen=True)
class Scales:
    """Powers of two by which inputs and targets were divided.

    Args:
        inputs: Of X (and of the bias column, if the bias is penalized).
        targets: Of y; 1 for the logistic fit.
        bias_free: Whether biases scale with the inputs.
    """

    inputs: float
    targets: float
    bias_free: bool

    def solution(self, solution: Solution) -> Solution:
        """A solution of the rescaled problem, in the units of the original one."""
        u, beta = solution.u, solution.beta
        if self.bias_free:
            u = np.column_stack([u[:, :-1], u[:, -1] * self.inputs])
        if beta is not None and len(beta):
            beta = np.concatenate([beta[:-1] * self.targets / self.inputs, beta[-1:] * self.targets])
        return Solution(u, solution.v * self.targets / self.inputs, beta)

    def maximum(self, maximum: Maximum) -> Maximum:
        """The maximum of a dual direction of the rescaled problem, in the units of the original one."""
        unit, units = maximum.unit, maximum.units
        if self.bias_free:
            unit = np.append(unit[:-1], unit[-1] * self.inputs)
            units = np.column_stack([units[:, :-1], units[:, -1] * self.inputs])
        value, upper = (self.penalty(number) for number in (maximum.value, maximum.upper))
        return replace(maximum, value=value, upper=upper, unit=unit, units=units)

    def penalty(self, alpha: float) -> float:
        """A number in the unit of α (α itself, M(ρ)), in the units of the original problem."""
        return alpha * self.targets * self.inputs


def rescaled(problem: VariationProblem) -> tuple[VariationProblem, Scales]:
    """The same problem with max |X| and max |y| in [1, 2), and the way back; exact but for underflow.

    The minimal relative gap, the neurons' directions and the number of neurons do not change. With a penalized bias the
    whole of [X, −1] is divided, only if max |X| > 1. A problem whose numbers are in [1e-3, 1e3] comes back as it is.
    """
    largest = float(np.abs(problem.X).max())
    free = problem.bias == "free"
    inputs = _power(largest if free or largest > 1.0 else 1.0)
    targets = 1.0 if problem.fit.name == "logistic" else _power(float(np.abs(problem.y).max()))
    scales = Scales(inputs, targets, free)
    if inputs == targets == 1.0:
        return problem, scales
    fit = HuberFit(problem.fit.parameters["delta"] / targets) if problem.fit.name == "huber" else problem.fit
    changed = problem.replaced(
        X=problem.X / inputs,
        y=problem.y / targets,
        alpha=max(problem.alpha / inputs / targets, 5e-324),
        fit=fit,
        unit=1.0 if free else problem.unit / inputs,
    )
    return changed, scales


def _power(size: float) -> float:
    """The power of two at or below `size`; 1 for sizes of ordinary order, and for zero."""
    if size == 0.0 or 1e-3 <= size <= 1e3:
        return 1.0
    return math.ldexp(1.0, math.frexp(size)[1] - 1)
