"""The multi-task lasso for neurons with several outgoing columns: kernels of a convolution, pixels after flattening."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg

Matrix = Float[np.ndarray, "_ _"]
_MAX_ITER = 6000
_CHECKED = 25  # iterations between two looks at the gap
_RELAXED = 1.6  # over-relaxation, which saves about a third of the iterations


@dataclass(frozen=True, eq=False)
class BlockFit:
    """Weights of smallest Σ‖V_k‖_F at a residual, and how small it is known to be.

    `gap` is (norm − lower bound) / norm, the bound being that of a feasible point of the dual problem.
    """

    weights: Matrix
    norm: float
    gap: float
    residual: float


def smallest_block_norm(
    features: Matrix, targets: Matrix, size: int, *, tolerance: float, tol: float = 1e-3
) -> BlockFit:
    """Minimise Σ_k ‖V_k‖_F over V with ‖ΦV − Ψ‖_F ≤ tolerance · ‖Ψ‖_F, V_k the rows of group k.

    Alternating directions; the dual problem max ⟨M, Ψ⟩ − tolerance·‖Ψ‖·‖M‖ over ‖Φ_kᵀM‖_F ≤ 1 gives the gap. At the end
    the weights are moved within their groups until the residual is met.

    Args:
        features: Φ, groups of neighbouring columns.
        targets: Ψ, within reach of the features and not zero.
        size: Columns per group.
        tolerance: Relative residual, below 1.
        tol: Gap at which it stops; at most 6000 iterations of two products with Φ each.
    """
    length, height = float(np.linalg.norm(features, ord=2)), float(np.linalg.norm(targets))
    phi, psi = features / length, targets / height
    state = _Alternating(phi, psi, size, tolerance)
    weights = _moved_onto(phi, psi, state.run(tol), 0.999 * tolerance, size)
    norm = float(_lengths(weights, size).sum())
    residual = float(np.linalg.norm(phi @ weights - psi))
    gap = max(1 - state.bound / norm, 0.0) if norm > 0 else 0.0
    return BlockFit(weights * (height / length), norm * height / length, gap, residual)


class _Alternating:
    """min Σ‖U_k‖ + indicator of the ball at W, with U = V and W = ΦV."""

    def __init__(self, phi: Matrix, psi: Matrix, size: int, radius: float) -> None:
        self.phi, self.psi, self.size, self.radius = phi, psi, size, radius
        _, values, self.right = linalg.svd(phi, full_matrices=False)
        self.damped = values**2 / (1 + values**2)
        self.weights = np.zeros((phi.shape[1], psi.shape[1]))
        self.bound, self.step = 0.0, 1.0

    def run(self, tol: float) -> Matrix:
        """Weights with exact zeros whose residual is nearly met; `bound` is then below every norm that meets it."""
        first, second = np.zeros_like(self.weights), np.zeros_like(self.psi)
        image = np.zeros_like(self.psi)
        for count in range(1, _MAX_ITER + 1):
            ahead = self.weights - first + self.phi.T @ (image - second)
            free = ahead - self.right.T @ (self.damped[:, None] * (self.right @ ahead))
            made = self.phi @ free
            relaxed = _RELAXED * free + (1 - _RELAXED) * self.weights
            mixed = _RELAXED * made + (1 - _RELAXED) * image
            old, old_image = self.weights, image
            self.weights = _shrunk(relaxed + first, self.size, self.step)
            image = self._into_ball(mixed + second)
            first, second = first + relaxed - self.weights, second + mixed - image
            if count % _CHECKED == 0:
                if self._gap(-second / self.step) <= tol and np.linalg.norm(made - image) <= tol * max(
                    self.radius, tol
                ):
                    break
                factor = self._balance(free - self.weights, made - image, self.weights - old, image - old_image)
                first, second, self.step = first * factor, second * factor, self.step * factor
        return self.weights

    def _into_ball(self, image: Matrix) -> Matrix:
        away = image - self.psi
        distance = float(np.linalg.norm(away))
        return image if distance <= self.radius else self.psi + away * (self.radius / distance)

    def _gap(self, dual: Matrix) -> float:
        """The best lower bound so far against the present norm."""
        worst = float(_lengths(self.phi.T @ dual, self.size).max())
        value = float((dual * self.psi).sum()) - self.radius * float(np.linalg.norm(dual))
        self.bound = max(self.bound, value / max(worst, 1e-300))
        norm = float(_lengths(self.weights, self.size).sum())
        return abs(norm - self.bound) / norm if norm > 0 else 1.0

    def _balance(self, split: Matrix, split_image: Matrix, moved: Matrix, moved_image: Matrix) -> float:
        """Twice or half the step where the two residuals differ tenfold."""
        primal = float(np.hypot(np.linalg.norm(split), np.linalg.norm(split_image)))
        dual = float(np.hypot(np.linalg.norm(moved), np.linalg.norm(moved_image)))
        return 0.5 if primal > 10 * dual else 2.0 if dual > 10 * primal else 1.0


def _lengths(weights: Matrix, size: int) -> np.ndarray:
    return np.sqrt((weights.reshape(-1, size * weights.shape[1]) ** 2).sum(axis=1))


def _shrunk(weights: Matrix, size: int, threshold: float) -> Matrix:
    """Every group shortened by the threshold, to zero where it is shorter."""
    lengths = _lengths(weights, size)
    factor = np.maximum(0.0, 1.0 - threshold / np.maximum(lengths, 1e-300))
    return weights * np.repeat(factor, size)[:, None]


def _moved_onto(phi: Matrix, psi: Matrix, weights: Matrix, radius: float, size: int) -> Matrix:
    """The weights moved by least squares within their groups until the residual is at most `radius`, if it can be."""
    active = np.repeat(_lengths(weights, size) > 0, size)
    missing = psi - phi @ weights
    distance = float(np.linalg.norm(missing))
    if distance <= radius or not active.any():
        return weights
    move = linalg.lstsq(phi[:, active], missing, cond=1e-13, lapack_driver="gelsd")[0]
    weights = weights.copy()
    weights[active] += move * (1 - radius / distance)
    if np.linalg.norm(psi - phi @ weights) > (1 + 1e-6) * radius + 1e-14:  # the groups cannot bring all of it
        weights[active] += move * (radius / distance)
    return weights


def reduce_blocks(features: Matrix, weights: Matrix, size: int) -> Matrix:
    """Groups removed along exact dependencies of what they give: the same ΦV, no larger Σ‖V_k‖_F.

    The block form of `reduce_columns`: with V_k = a_k U_k the outputs are Σ a_k Φ_k U_k; where these are dependent, a
    moves along a dependency whose sum is not negative until some a_k is zero. At most r_Φ · r_Ψ groups are left.
    """
    lengths = _lengths(weights, size)
    live = np.flatnonzero(lengths > 0)
    amounts = lengths[live]
    units = weights.reshape(len(lengths), size, -1)[live] / amounts[:, None, None]
    blocks = features.reshape(len(features), -1, size).transpose(1, 0, 2)[live]
    products = np.asarray(np.linalg.qr((blocks @ units).reshape(len(live), -1).T, mode="r"))
    scales = np.maximum(np.linalg.norm(products, axis=0), 1e-300)
    while len(live) > 1:
        _, values, right = linalg.svd(products / scales)
        if len(values) == len(live) and values[-1] > 1e-10 * values[0]:
            break
        move = right[-1] / scales
        move = move if move.sum() >= 0 else -move
        ratios = np.where(move > 1e-14 * np.abs(move).max(), amounts / np.where(move > 0, move, 1.0), np.inf)
        amounts = np.maximum(amounts - ratios.min() * move, 0.0)
        amounts[ratios.argmin()] = 0.0
        kept = amounts > 0
        live, amounts, units, products, scales = live[kept], amounts[kept], units[kept], products[:, kept], scales[kept]
    reduced = np.zeros((len(lengths), size, weights.shape[1]))
    reduced[live] = amounts[:, None, None] * units
    return reduced.reshape(weights.shape)
