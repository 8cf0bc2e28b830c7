"""From a stated problem to the arrays of column generation, and back."""

from dataclasses import dataclass

import numpy as np

from .free_part import FreePart
from .neuron_set import Array, ConeData, NeuronSet
from .problem import VariationProblem
from .solution import Solution


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The linear map between the neurons of a problem and those of its arrays.

    With a free bias the inputs are centered and the bias column is as large as they are: both change nothing but the
    numbers, and rounding with them.

    Args:
        center: Subtracted from the inputs.
        unit: The bias column is −unit.
        part: The free columns, if any.
    """

    center: Array
    unit: float
    part: FreePart | None

    def inward(self, u: Array) -> Array:
        """Rows (w, b) of the problem as rows of the arrays."""
        return np.column_stack([u[:, :-1], (u[:, -1] - u[:, :-1] @ self.center) / self.unit])

    def outward(self, u: Array) -> Array:
        """Rows of the arrays as rows (w, b) of the problem."""
        return np.column_stack([u[:, :-1], u[:, -1] * self.unit + u[:, :-1] @ self.center])

    def neurons(self, data: ConeData, solution: Solution) -> NeuronSet:
        """A solution as a working set."""
        sign = np.where(solution.v < 0, -1.0, 1.0)
        u = self.inward(solution.u)
        sizes = data.sizes(u)
        kept = (sizes > 0) & (solution.v != 0)
        scale = np.abs(solution.v[kept])
        return NeuronSet(u[kept] * scale[:, None], sign[kept], np.zeros(data.Q.shape[1]))

    def solution(self, data: ConeData, neurons: NeuronSet) -> Solution:
        """A working set as a solution with neurons of penalty norm one."""
        sizes = data.sizes(neurons.u)
        kept = sizes > 0
        u = self.outward(neurons.u[kept] / sizes[kept, None])
        beta = self.part.coefficients(neurons.beta) if self.part is not None else None
        return Solution(u, neurons.sign[kept] * sizes[kept], beta)


def cone_problem(problem: VariationProblem) -> tuple[ConeData, Coordinates]:
    """The arrays of a problem with one output, of ordinary scale (`scales.rescaled`)."""
    free = problem.bias == "free"
    part = FreePart(problem.X) if problem.skip else None
    Z = np.array(problem.Z)
    center, unit = np.zeros(problem.d), 1.0
    if free:
        center = problem.X[0] + (problem.X - problem.X[0]).mean(axis=0)
        Z[:, :-1] = problem.X - center
        unit = float(np.sqrt(np.square(Z[:, :-1]).mean())) or 1.0
        Z[:, -1] = -unit
    data = ConeData(
        Z,
        np.asarray(problem.y),
        np.asarray(problem.weights),
        part.basis if part is not None else np.zeros((problem.n, 0)),
        problem.fit,
        problem.alpha,
        problem.d if free else problem.d + 1,
    )
    return data, Coordinates(center, unit, part)
