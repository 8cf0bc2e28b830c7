"""Piecewise linear functions of one variable, given by their values at nodes (the hat basis).

Truncated powers relu(x − t) are nearly dependent for neighbouring t; hat functions are not: their Gram matrix is
tridiagonal, and after scaling its diagonal to 1 it is well conditioned. So the solver works with hats and hands over
slope changes only at the end.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dptsv

from steppe.core import ComputationError

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Elements:
    """Gram matrix of the hats, piece by piece: Σu², Σul and Σl², where l rises from 0 to 1 on the piece, u = 1 − l."""

    left: Vector
    mixed: Vector
    right: Vector

    @property
    def diagonal(self) -> Vector:
        """Diagonal of the assembled matrix."""
        found = np.zeros(self.left.size + 1)
        found[:-1] += self.left
        found[1:] += self.right
        return found

    def apply(self, values: Vector) -> Vector:
        """The assembled matrix times a vector."""
        found = self.diagonal * values
        found[:-1] += self.mixed * values[1:]
        found[1:] += self.mixed * values[:-1]
        return found

    def solve(self, right: Vector) -> Vector:
        """The assembled system, in O(nodes)."""
        _, _, found, info = dptsv(self.diagonal, self.mixed, right)
        if info != 0:
            raise ComputationError("the normal equations of the spline are singular; weights differ by more than 1e15?")
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Mesh:
    """Ascending points, of which some are nodes; the first and the last one always are.

    Args:
        points: Distinct positions, ascending, at least two.
        nodes: Indices of the nodes.
    """

    points: Vector
    nodes: Indices

    @cached_property
    def counts(self) -> Indices:
        """Points of each piece; a node belongs to the piece on its right, the last one to the last piece."""
        counts = self.nodes[1:] - self.nodes[:-1]
        counts[-1] += 1
        return counts

    @cached_property
    def rising(self) -> Vector:
        """Per point: 0 at the left end of its piece, 1 at the right end."""
        left = self.points[self.nodes[:-1]]
        width = self.points[self.nodes[1:]] - left
        found = self.points - left.repeat(self.counts)
        found /= width.repeat(self.counts)
        return found

    @cached_property
    def falling(self) -> Vector:
        """1 − rising."""
        return 1.0 - self.rising

    def expand(self, values: Vector) -> Vector:
        """Values at the nodes → values at all points."""
        found = values[:-1].repeat(self.counts)
        found *= self.falling
        second = values[1:].repeat(self.counts)
        second *= self.rising
        found += second
        return found

    def restrict(self, values: Vector) -> Vector:
        """The transpose of `expand`."""
        found = np.zeros(self.nodes.size)
        found[:-1] += self._sums(values * self.falling)
        found[1:] += self._sums(values * self.rising)
        return found

    def elements(self, weights: Vector) -> Elements:
        """Gram matrix of the hats under weights at the points."""
        falling, rising = weights * self.falling, weights * self.rising
        return Elements(
            self._sums(falling * self.falling), self._sums(falling * self.rising), self._sums(rising * self.rising)
        )

    def coarser(self, fine: Elements) -> Elements:
        """Gram matrix of these hats, where `fine` is the one of hats with a node at every point. Positive sums only."""
        rising = self.rising[:-1]
        ends = self.rising[1:].copy()
        ends[self.nodes[1:-1] - 1] = 1.0  # the right end of a piece is the left end of the next one
        falling, fallen = 1.0 - rising, 1.0 - ends
        starts = self.nodes[:-1]

        def sums(values: Vector) -> Vector:
            return np.add.reduceat(values, starts)

        return Elements(
            sums(fine.left * falling**2 + 2 * fine.mixed * falling * fallen + fine.right * fallen**2),
            sums(
                fine.left * falling * rising
                + fine.mixed * (falling * ends + fallen * rising)
                + fine.right * fallen * ends
            ),
            sums(fine.left * rising**2 + 2 * fine.mixed * rising * ends + fine.right * ends**2),
        )

    def _sums(self, values: Vector) -> Vector:
        return np.add.reduceat(values, self.nodes[:-1])


def steps(values: Vector) -> Vector:
    """Differences of neighbours; `np.diff` takes several times as long on short vectors."""
    return values[1:] - values[:-1]


def slope_changes(values: Vector, widths: Vector) -> Vector:
    """Changes of slope at the inner nodes."""
    return steps(steps(values) / widths)


def slope_changes_transposed(signs: Vector, widths: Vector) -> Vector:
    """Gradient of Σ sign·(change of slope) with respect to the values at the nodes."""
    padded = np.zeros(signs.size + 2)
    padded[1:-1] = signs
    slopes = np.zeros(signs.size + 3)
    slopes[1:-1] = steps(padded) / widths
    return steps(slopes)
