"""The fewest knots: two knots of one sign at neighbouring data points are one knot between them."""

from dataclasses import dataclass

import numpy as np

from .one_dimension_mesh import Indices, Vector, steps

_ROUNDING = 1e-13  # relative change of the fitted values that a merged knot may cause


@dataclass(frozen=True)
class Broken:
    """A piecewise linear function by its values at ascending positions, continued linearly beyond the ends."""

    positions: Vector
    values: Vector

    @property
    def slopes(self) -> Vector:
        """Slope of each piece."""
        return steps(self.values) / steps(self.positions)

    @property
    def changes(self) -> Vector:
        """Changes of slope at the inner positions."""
        return steps(self.slopes)

    def __call__(self, x: Vector) -> Vector:
        """The function at x."""
        if self.positions.size == 1:
            return np.full(x.shape, self.values[0])
        piece = np.clip(np.searchsorted(self.positions, x, side="right") - 1, 0, self.positions.size - 2)
        left, width = self.positions[piece], np.diff(self.positions)[piece]
        share = (x - left) / width
        return np.asarray(self.values[piece] * (1 - share) + self.values[piece + 1] * share)


def sparsest(function: Broken, indices: Indices) -> Broken:
    """The same values at the data and the same TV(f′) with the fewest knots.

    A run of p knots of one sign at neighbouring data points becomes ⌈p/2⌉ knots: between two of them lies no sample, so
    the outer two pieces may be continued until they meet; by convexity they meet between the two, and the slopes
    change by the same amount in total. No function with these values and this variation has fewer knots (Debarre,
    Denoyelle, Unser, Fageot 2022, "Sparsest piecewise-linear regression of one-dimensional data"; recalled).

    Where x has so large an offset that the place between two samples cannot be stored to the accuracy of the fit, the
    two knots stay.

    Args:
        function: With nodes at the ends and at knots.
        indices: Of its positions among the distinct data points.

    Cost: O(knots).
    """
    changes = function.changes
    if changes.size < 2:
        return function
    joined = (np.diff(indices[1:-1]) == 1) & (np.signbit(changes[1:]) == np.signbit(changes[:-1]))
    runs = np.concatenate([[0], np.cumsum(~joined)])
    first = np.flatnonzero(np.concatenate([[True], ~joined]))
    within = np.arange(changes.size) - first[runs]
    leading = np.flatnonzero((within % 2 == 0) & np.append(joined, False))  # first of each pair, among the knots
    at = leading + 1  # among the positions
    positions, values, slopes = function.positions.copy(), function.values.copy(), function.slopes
    blur = np.abs(changes[leading] + changes[leading + 1]) * np.spacing(np.abs(positions[at + 1]))
    sharp = blur <= _ROUNDING * np.ptp(values)
    leading, at = leading[sharp], at[sharp]
    if leading.size == 0:
        return function
    share = changes[leading + 1] / (changes[leading] + changes[leading + 1])
    move = share * (positions[at + 1] - positions[at])
    values[at] += slopes[at - 1] * move
    positions[at] += move
    return Broken(np.delete(positions, at + 1), np.delete(values, at + 1))
