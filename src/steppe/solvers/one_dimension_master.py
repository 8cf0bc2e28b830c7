"""The fit with few candidate knots: a lasso on slope changes, by an active set with tridiagonal systems.

With the signs of the slope changes given, the penalty is linear and the fit one tridiagonal system in the values at the
nodes, O(k). Knots whose slope change comes out with the wrong sign are dropped: first all at once, which nearly always
lowers the objective; where it does not, one after the other along the way to the minimizer, which always does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .one_dimension_mesh import Elements, Indices, Mesh, Vector, slope_changes, slope_changes_transposed, steps

_BLOCK_TRIES = 30


@dataclass(frozen=True)
class Master:
    """Minimize ½dᵀGd − bᵀd + alpha·Σ|slope change of (values + d)| over d.

    Args:
        positions: Of the nodes.
        elements: G, the Gram matrix of the hats.
        pull: b, inner products of the hats with the weighted residual of `values`.
        values: Where to start.
        changes: Slope changes of the start, exactly 0 at new knots.
        signs: Of the slope changes allowed at the inner nodes, ±1.
        alpha: Weight of the penalty.
        unit: Length of the interval in which slopes are measured.
    """

    positions: Vector
    elements: Elements
    pull: Vector
    values: Vector
    changes: Vector
    signs: Vector
    alpha: float
    unit: float

    def solve(self) -> tuple[Indices, Vector]:
        """The nodes that stay (ends included) and by how much the values there move; the objective does not rise."""
        kept, moves = self._in_blocks()
        if kept is None or self._increase(kept, moves) > 0:
            kept, moves = self._one_by_one()
        return kept, moves

    def _moved(self, mesh: Mesh, moves: Vector) -> Vector:
        """How much the function changes at all nodes; where a node stays, exactly its move."""
        return mesh.expand(moves) + (mesh.expand(self.values[mesh.nodes]) - self.values)

    def _step(self, kept: Indices, moves: Vector) -> Vector:
        """From there to the minimizer for the given signs."""
        mesh = Mesh(self.positions, kept)
        slack = self.pull - self.elements.apply(self._moved(mesh, moves))
        penalty = slope_changes_transposed(self.signs[kept[1:-1] - 1], self._widths(kept))
        return mesh.coarser(self.elements).solve(mesh.restrict(slack) - self.alpha * penalty)

    def _in_blocks(self) -> tuple[Indices | None, Vector]:
        kept = np.arange(self.positions.size)
        moves = np.zeros(kept.size)
        for _ in range(_BLOCK_TRIES):
            moves = moves + self._step(kept, moves)
            right = self._changes(kept, moves) * self.signs[kept[1:-1] - 1] > 0
            if right.all():
                return kept, moves
            stay = _inner(right)
            kept, moves = kept[stay], moves[stay]
        return None, moves

    def _one_by_one(self) -> tuple[Indices, Vector]:
        kept = np.arange(self.positions.size)
        moves, changes = np.zeros(kept.size), self.changes
        while True:
            step = self._step(kept, moves)
            aimed = self._changes(kept, moves + step)
            wrong = aimed * self.signs[kept[1:-1] - 1] <= 0
            if not wrong.any():
                return kept, moves + step
            idle = wrong & (changes == 0)
            if idle.any():  # dropping a knot without slope change leaves the function as it is
                stay = ~idle
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    shares = np.where(wrong, changes / (changes - aimed), np.inf)
                first = int(np.argmin(shares))
                moves = moves + shares[first] * step
                changes = changes + shares[first] * (aimed - changes)
                stay = np.arange(changes.size) != first
            changes = changes[stay]
            kept, moves = kept[_inner(stay)], moves[_inner(stay)]

    def _changes(self, kept: Indices, moves: Vector) -> Vector:
        return slope_changes(self.values[kept] + moves, self._widths(kept))

    def _widths(self, kept: Indices) -> Vector:
        return steps(self.positions[kept]) / self.unit

    def _increase(self, kept: Indices, moves: Vector) -> float:
        """Objective minus objective at the start."""
        moved = self._moved(Mesh(self.positions, kept), moves)
        fit = 0.5 * float(moved @ self.elements.apply(moved)) - float(self.pull @ moved)
        return fit + self.alpha * float(np.abs(self._changes(kept, moves)).sum() - np.abs(self.changes).sum())


def _inner(stay: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([[True], stay, [True]])
