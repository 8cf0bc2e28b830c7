"""Which neurons a layer can do without: nested orders of groups of columns, and the fewest that carry the targets.

Everything here is NumPy in float64 on a small problem: `features [m, K]` and `targets [m, D]` may be any matrices with
the inner products of the data, such as a triangular factor of them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy import linalg

Matrix = Float[np.ndarray, "_ _"]
_INDEPENDENT = 1e-9  # a column whose part outside the others is shorter than this share of it is taken as dependent
_RANK = 1e-10  # singular values below this share of the largest count as zero
_LONG_WALK = 1500  # columns beyond which backward elimination, of cubic cost, is left out


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """Features in groups of neighbouring columns, one group per neuron, and what the next layer made of them.

    Args:
        features: Columns; group k holds columns k·size to (k + 1)·size.
        targets: What V must give: features @ V.
        size: Columns per neuron.
        scale: The norm to which residuals are relative, > 0.
    """

    features: Matrix
    targets: Matrix
    size: int
    scale: float

    @property
    def groups(self) -> int:
        """Number of neurons."""
        return self.features.shape[1] // self.size

    @cached_property
    def feature_rank(self) -> int:
        """Rank of the features, singular values below 1e-10 of the largest counted as zero."""
        return numerical_rank(self.features)

    @cached_property
    def target_rank(self) -> int:
        """Rank of the targets, counted the same way."""
        return numerical_rank(self.targets)

    @cached_property
    def short_targets(self) -> Matrix:
        """Targets turned in output space and cut to their rank: the same residual norms, fewer columns."""
        if self.targets.size == 0:
            return self.targets
        left, values, _ = linalg.svd(self.targets, full_matrices=False)
        return left * values

    @cached_property
    def orders(self) -> tuple[np.ndarray, ...]:
        """Neurons from the most to the least needed: forward selection, backward elimination, pivoting."""
        found = [forward_order(self.features, self.short_targets, self.size)]
        if len(found[0]) * self.size <= _LONG_WALK:
            found.append(backward_order(self.features, self.short_targets, self.size, found[0]))
        if self.size == 1 and self.features.size:  # where many choices fit, the one with the smallest weights
            found.append(linalg.qr(self.features, mode="r", pivoting=True)[1][: self.feature_rank])
        return tuple(found)

    def columns(self, neurons: np.ndarray) -> np.ndarray:
        """The columns of some neurons."""
        return (np.asarray(neurons)[:, None] * self.size + np.arange(self.size)).ravel()

    def refit(self, neurons: np.ndarray) -> tuple[Matrix, float]:
        """Least squares on some neurons: their weights [len(neurons)·size, D] and the relative residual."""
        if len(neurons) == 0:
            return np.zeros((0, self.targets.shape[1])), self._relative(self.targets)
        chosen = self.features[:, self.columns(neurons)]
        lengths = np.linalg.norm(chosen, axis=0)
        lengths[lengths == 0] = 1.0
        weights = linalg.lstsq(chosen / lengths, self.targets, cond=1e-13, lapack_driver="gelsd")[0] / lengths[:, None]
        return weights, self._relative(self.targets - chosen @ weights)

    def _relative(self, residual: Matrix) -> float:
        return float(np.linalg.norm(residual)) / self.scale


def numerical_rank(matrix: Matrix) -> int:
    """How many singular values exceed 1e-10 of the largest."""
    if matrix.size == 0 or not matrix.any():
        return 0
    values = linalg.svdvals(matrix)
    return int((values > _RANK * values[0]).sum())


def fewest(problem: LayerProblem, tolerance: float) -> np.ndarray:
    """Few neurons that carry the targets with a relative residual of at most `tolerance`, in ascending order.

    The shortest prefix of each order is found by least squares; the shortest of them (of several, the one with the
    smallest weights) is thinned out further by backward elimination from there. As many as the rank of the features
    always suffice in exact arithmetic; that the number is the smallest possible is not claimed (finding it is hard).

    Args:
        problem: The layer.
        tolerance: Largest relative residual.

    Returns:
        Indices of neurons; all of them if no order meets the tolerance.
    """
    found = [chosen for order in problem.orders if (chosen := _prefix(problem, order, tolerance)) is not None]
    if not found:
        return np.arange(problem.groups)
    best = min(found, key=lambda chosen: (len(chosen), float(np.linalg.norm(problem.refit(chosen)[0]))))
    if len(best) * problem.size <= _LONG_WALK:
        again = backward_order(problem.features, problem.short_targets, problem.size, best)
        thinner = _prefix(problem, again, tolerance)
        best = best if thinner is None else min(best, thinner, key=len)
    return np.sort(best)


def _prefix(problem: LayerProblem, order: np.ndarray, tolerance: float) -> np.ndarray | None:
    """The shortest beginning of an order that meets the tolerance, by bisection: residuals fall along an order."""
    if problem.refit(order)[1] > tolerance:
        return None
    low, high = -1, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if problem.refit(order[:middle])[1] <= tolerance else (middle, high)
    return order[:high]


def forward_order(features: Matrix, targets: Matrix, size: int) -> np.ndarray:
    """Orthogonal least squares: each next neuron is the one that lowers the residual most.

    It ends when no neuron has a part outside the span of those chosen. Cost: one pass over the features per neuron
    chosen, and a small factorisation per group where groups have several columns.
    """
    groups = features.shape[1] // size
    rest = _unit_columns(features)
    left = targets.copy()
    basis = np.zeros((features.shape[0], 0))
    open_groups = np.ones(groups, dtype=bool)
    order = []
    while open_groups.any() and basis.shape[1] < features.shape[0]:
        scores = _scores(rest, left, size)
        scores[~open_groups] = -1.0
        best = int(scores.argmax())
        if scores[best] < 0:
            break
        open_groups[best] = False
        fresh = _orthonormal(rest[:, best * size : (best + 1) * size], basis)
        if fresh.shape[1] == 0:
            continue
        order.append(best)
        basis = np.hstack([basis, fresh])
        rest -= fresh @ (fresh.T @ rest)
        left -= fresh @ (fresh.T @ left)
    return np.array(order, dtype=int)


def _unit_columns(features: Matrix) -> Matrix:
    """Columns of length one; those that are rounding errors beside the longest become zero."""
    lengths = np.linalg.norm(features, axis=0)
    seen = lengths > _INDEPENDENT * lengths.max(initial=0.0)
    return np.where(seen, features / np.where(seen, lengths, 1.0), 0.0)


def _scores(rest: Matrix, left: Matrix, size: int) -> np.ndarray:
    """By how much each group would lower the squared residual; −1 where nothing of it is left."""
    onto = rest.T @ left
    if size == 1:
        lengths = np.einsum("ij,ij->j", rest, rest)
        falls = np.einsum("ij,ij->i", onto, onto) / np.maximum(lengths, np.finfo(float).tiny)
        return np.where(lengths > _INDEPENDENT**2, falls, -1.0)
    blocks = rest.reshape(rest.shape[0], -1, size).transpose(1, 0, 2)
    values, vectors = np.linalg.eigh(blocks.transpose(0, 2, 1) @ blocks)
    turned = vectors.transpose(0, 2, 1) @ onto.reshape(-1, size, left.shape[1])
    kept = values > _INDEPENDENT**2
    falls = np.where(kept, (turned**2).sum(axis=2) / np.where(kept, values, 1.0), 0.0).sum(axis=1)
    return np.where(kept.any(axis=1), falls, -1.0)


def _orthonormal(block: Matrix, basis: Matrix) -> Matrix:
    """An orthonormal basis of the block outside `basis`; projected again, since one pass leaves rounding errors."""
    block = block - basis @ (basis.T @ block)
    left, values, _ = np.linalg.svd(block, full_matrices=False)
    fresh = left[:, values > _INDEPENDENT]
    fresh = fresh - basis @ (basis.T @ fresh)
    return np.linalg.qr(fresh)[0]


def backward_order(features: Matrix, targets: Matrix, size: int, start: np.ndarray) -> np.ndarray:
    """The neurons of `start`, those first that backward elimination drops last.

    Each step drops the neuron without which least squares suffers least. Cost: cubic in the number of columns; where
    features are so nearly dependent that updates lose their digits, they are computed anew.
    """
    groups = [int(group) for group in start]
    inverse, weights = _solved(features, targets, size, groups)
    dropped: list[int] = []
    while groups:
        values, vectors = _own_blocks(inverse, size)
        parts = vectors.transpose(0, 2, 1) @ weights.reshape(len(groups), size, -1)
        worst = int(((parts**2).sum(axis=2) / values).sum(axis=1).argmin())
        at, rest = slice(worst * size, (worst + 1) * size), np.r_[0 : worst * size, (worst + 1) * size : len(inverse)]
        link = inverse[rest, at] @ (vectors[worst] / values[worst]) @ vectors[worst].T
        weights = weights[rest] - link @ weights[at]
        inverse = inverse[np.ix_(rest, rest)] - link @ inverse[at][:, rest]
        dropped.append(groups.pop(worst))
        if groups and np.diag(inverse).min() < 1 - 1e-6:  # columns have length one, so that cannot be
            inverse, weights = _solved(features, targets, size, groups)
    return np.array(dropped[::-1], dtype=int)


def _solved(features: Matrix, targets: Matrix, size: int, groups: list[int]) -> tuple[Matrix, Matrix]:
    """Inverse Gram matrix and least-squares weights of some groups, columns of length one."""
    columns = (np.array(groups, dtype=int)[:, None] * size + np.arange(size)).ravel()
    left, values, right = linalg.svd(_unit_columns(features[:, columns]), full_matrices=False)
    kept = values > _RANK * values.max(initial=0.0)
    scaled = right.T * np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    return scaled @ scaled.T, scaled @ (left.T @ targets)


def _own_blocks(inverse: Matrix, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of the diagonal blocks; in exact arithmetic none is below 1/size."""
    count = len(inverse) // size
    own = inverse.reshape(count, size, count, size)[np.arange(count), :, np.arange(count)]
    values, vectors = np.linalg.eigh(own)
    return np.maximum(values, 0.5 / size), vectors
