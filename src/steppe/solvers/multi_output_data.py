"""The several-output problem in centered units of order one, and the way back."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from .problem import VariationProblem
from .solution import Solution, row_norms

_ROUNDING = 1e-13
_RANK = 1e-12  # free columns whose size is below this share of the largest add nothing to the span


@dataclass(frozen=True, eq=False)
class MultiData:
    """Minimise ½‖B √s (Y − relu(ZU')V)‖² + α Σ_k ‖v_k‖ over unit rows u_k; B removes what the free columns fit.

    Args:
        Z: Rows (x − center)/size and −1 for a free bias; rows of [X, −1]/size for a penalized one.
        Y: Targets over their size.
        root: Square roots of the weights of the samples, a column.
        alpha: α in these units.
        penalised: Leading coordinates of u that are in the norm.
        free: Orthonormal basis of the weighted free columns, [n, 0] without.
        center: Of the inputs; zero for a penalized bias.
        size: Of the inputs.
        height: Of the targets.
    """

    Z: Float[np.ndarray, "n D"]
    Y: Float[np.ndarray, "n c"]
    root: Float[np.ndarray, "n 1"]
    alpha: float
    penalised: int
    free: Float[np.ndarray, "n q"]
    center: Float[np.ndarray, " d"]
    size: float
    height: float

    @cached_property
    def targets(self) -> Float[np.ndarray, "n c"]:
        """B √s Y; zero where only rounding is left of it."""
        whole = self.root * self.Y
        targets = self.without_free(whole)
        return targets if np.linalg.norm(targets) > _ROUNDING * np.linalg.norm(whole) else np.zeros_like(targets)

    def without_free(self, a: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """B a; twice against rounding."""
        if self.free.shape[1] == 0:
            return a
        a = a - self.free @ (self.free.T @ a)
        return np.asarray(a - self.free @ (self.free.T @ a))

    def features(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "n k"]:
        """B √s relu(Z u')."""
        return self.without_free(self.root * np.maximum(self.Z @ u.T, 0.0))

    def rho(self, u: Float[np.ndarray, "k D"], v: Float[np.ndarray, "k c"]) -> Float[np.ndarray, "n c"]:
        """√s B √s (Y − relu(Zu')v)."""
        return np.asarray(self.root * (self.targets - self.features(u) @ v))

    def normalised(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "k D"]:
        """Rows of penalty norm one."""
        return np.asarray(u / np.maximum(row_norms(u[:, : self.penalised]), 1e-300)[:, None])

    def outward(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "k D"]:
        """Neurons in the units of the problem."""
        if self.penalised == self.Z.shape[1]:
            return u
        w = u[:, :-1]
        return np.column_stack([w, w @ self.center + self.size * u[:, -1]])

    def inward(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "k D"]:
        """Neurons of the problem in these units."""
        if self.penalised == self.Z.shape[1]:
            return u
        w = u[:, :-1]
        return np.column_stack([w, (u[:, -1] - w @ self.center) / self.size])

    def solution(self, problem: VariationProblem, u: Float[np.ndarray, "k D"], v: Float[np.ndarray, "k c"]) -> Solution:
        """The network in the units of the problem, with the best free part."""
        outer, sizes = self.outward(u), v * (self.height / self.size)
        beta = None
        if problem.skip:
            columns = self._columns(problem.X)
            missing = self.Y - np.maximum(self.Z @ u.T, 0.0) @ v
            inner = np.linalg.lstsq(self.root * columns, self.root * missing, rcond=_RANK)[0] * self.height
            slopes = inner[:-1] / self.size
            beta = np.vstack([slopes, inner[-1:] - (self.center @ slopes)[None, :]])
        if problem.y.ndim == 1:
            return Solution(outer, sizes[:, 0].copy(), None if beta is None else beta[:, 0].copy())
        return Solution(outer, sizes, beta)

    def _columns(self, inputs: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n q"]:
        return np.column_stack([(inputs - self.center) / self.size, np.ones(len(inputs))])


def multi_data(problem: VariationProblem) -> MultiData:
    """The problem in centered units of order one."""
    targets = problem.y[:, None] if problem.y.ndim == 1 else problem.y
    root = np.sqrt(problem.weights)[:, None]
    center = problem.weights @ problem.X if problem.skip else np.zeros(problem.d)
    free_bias = problem.bias == "free"
    moved = problem.X - center
    rows = moved if free_bias else problem.Z
    size = float(np.sqrt((root**2 * rows**2).sum() / rows.shape[1])) or 1.0
    Z = np.column_stack([moved / size, -np.ones(problem.n)]) if free_bias else problem.Z / size
    free = np.zeros((problem.n, 0))
    if problem.skip:
        left, sizes, _ = np.linalg.svd(root * np.column_stack([moved / size, np.ones(problem.n)]), full_matrices=False)
        free = left[:, sizes > _RANK * sizes[0]]
    plain = MultiData(Z, targets, root, problem.alpha, Z.shape[1] - free_bias, free, center, size, 1.0)
    height = float(np.linalg.norm(plain.targets)) or 1.0
    if not free_bias:
        center = np.zeros(problem.d)
    alpha = problem.alpha / size / height
    return MultiData(Z, targets / height, root, alpha, Z.shape[1] - free_bias, free, center, size, height)
