"""ADMM on the sampled convex program: one factorisation, then products with the data, a threshold and a projection.

Splitting u = copies (block soft threshold) and (2D_p − I) Z u_p = slacks (projection to ≥ 0), after Bai, Gautam and
Sojoudi 2023. Because (2D_p − I)² = I the Gram matrix of the slacks is ZᵀZ in every block, so the linear system needs
one D × D factor and one n × n eigendecomposition, which serves every value of the penalty parameter.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool
from scipy.linalg import cho_factor, cho_solve, eigh

from steppe.linalg import Pace

from .convex_programs_cone import ProgramAnswer, answer_of
from .solution import row_norms

if TYPE_CHECKING:
    from .problem import VariationProblem

Array = np.ndarray
_RELAXED = 1.6  # over-relaxation, Boyd et al. 2011, section 3.4.3
_CHECK_EVERY = 25
_BALANCE = 5.0  # residuals whose ratio exceeds this change the penalty parameter …
_LAST_BALANCE = 20_000  # … up to this iteration, after which it stays, as convergence needs


class _System:
    """(ρ A + Bᵀ B) u = r for A = I ⊗ (I + g² ZᵀZ) and B the weighted features, free columns projected out.

    Blocks are held as U [2, P, D]: those that enter f with a plus sign and those with a minus sign.
    """

    def __init__(self, problem: "VariationProblem", masks: Bool[np.ndarray, "n P"], slack_weight: float) -> None:
        self.z, self.masks = problem.Z, masks.astype(float)
        self.root = np.sqrt(problem.weights)
        columns = problem.free * self.root[:, None]
        left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
        self.basis = left[:, sizes > 1e-12 * max(sizes.max(initial=0.0), 1e-300)]
        gram = np.eye(self.z.shape[1]) + slack_weight * self.z.T @ self.z
        self.block = cho_factor(gram)
        kernel = 2.0 * (self.z @ cho_solve(self.block, self.z.T)) * (self.masks @ self.masks.T)
        small = self.root[:, None] * kernel * self.root
        small = self.project(self.project(small).T)
        self.values, self.vectors = eigh(0.5 * (small + small.T))

    def project(self, a: Array) -> Array:
        """Remove the free columns."""
        return a - self.basis @ (self.basis.T @ a)

    def features(self, u: Array) -> Array:
        """B u [n]."""
        merged = (u[0] - u[1]) @ self.z.T  # [P, n]
        return self.project(self.root * np.einsum("np,pn->n", self.masks, merged))

    def transposed(self, a: Array) -> Array:
        """Bᵀ a [2, P, D]."""
        rows = self.masks.T * (self.root * self.project(a))
        plus = rows @ self.z
        return np.stack([plus, -plus])

    def solve(self, right: Array, penalty: float) -> Array:
        """The solution u by the Woodbury identity."""
        first = self._blocks(right) / penalty
        inner = self.vectors.T @ self.features(first)
        inner = self.vectors @ (inner / (1.0 + self.values / penalty))
        return first - self._blocks(self.transposed(inner)) / penalty

    def _blocks(self, u: Array) -> Array:
        return cho_solve(self.block, u.reshape(-1, u.shape[-1]).T).T.reshape(u.shape)


def sampled_program_by_admm(
    problem: "VariationProblem",
    masks: Bool[np.ndarray, "n P"],
    *,
    tol: float = 1e-6,
    max_iter: int = 20_000,
    penalty: float | None = None,
    pace: "Pace | None" = None,
) -> ProgramAnswer:
    """The sampled convex program of `sampled_program` by the alternating direction method of multipliers.

    Args:
        problem: The problem, squared fit and one output.
        masks: Activation patterns.
        tol: Bound on the primal and dual residual, relative to the size of what they compare.
        max_iter: Largest number of iterations.
        penalty: First value of the penalty parameter ρ; residual balancing changes it.
        pace: Limit on time, and progress.

    Cost:
        One n × n eigendecomposition, then O(n P D + n²) for each iteration.
    """
    slack_weight = problem.n / max(float(np.linalg.norm(problem.Z, 2)) ** 2, 1e-300)  # samples of size one
    system = _System(problem, masks, slack_weight)
    rho = penalty if penalty is not None else max(problem.alpha, 1e-12)
    found = _iterate(problem, system, masks, slack_weight**0.5, rho, tol, max_iter, pace or Pace())
    copies, iterations, converged, residual = found
    beta = None
    if problem.free.shape[1]:
        rest = problem.y - np.einsum("np,pn->n", system.masks, (copies[0] - copies[1]) @ problem.Z.T)
        beta = np.linalg.lstsq(problem.free * system.root[:, None], system.root * rest, rcond=None)[0]
    words = f"residuals {'below' if converged else 'still'} {residual:.1e} after {iterations} iterations"
    return answer_of(
        problem, masks, copies[0], copies[1], beta, converged=converged, iterations=iterations, reason=words
    )


def _iterate(
    problem: "VariationProblem",
    system: _System,
    masks: Array,
    scale: float,
    rho: float,
    tol: float,
    max_iter: int,
    pace: Pace,
) -> tuple[Array, int, bool, float]:
    measured = problem.Z.shape[1] if problem.bias == "penalized" else problem.d
    signed = scale * np.where(masks, 1.0, -1.0).T[None]  # [1, P, n]
    fixed = system.transposed(system.project(system.root * problem.y))
    shape = (2, masks.shape[1], problem.Z.shape[1])
    copies, dual = np.zeros(shape), np.zeros(shape)
    slacks = np.zeros((2, masks.shape[1], problem.n))
    slack_dual = np.zeros_like(slacks)
    residual = np.inf
    for step in range(1, max_iter + 1):
        pulled = signed * (slacks - slack_dual)
        u = system.solve(fixed + rho * (copies - dual + pulled @ problem.Z), rho)
        along = signed * (u @ problem.Z.T)
        old, old_slacks = copies, slacks
        mixed, mixed_along = _RELAXED * u + (1 - _RELAXED) * old, _RELAXED * along + (1 - _RELAXED) * old_slacks
        copies = _threshold(mixed + dual, problem.alpha / rho, measured)
        slacks = np.maximum(mixed_along + slack_dual, 0.0)
        dual = dual + mixed - copies
        slack_dual = slack_dual + mixed_along - slacks
        if step % _CHECK_EVERY and step < max_iter:
            continue
        primal = np.hypot(np.linalg.norm(u - copies), np.linalg.norm(along - slacks))
        change = (copies - old) + (signed * (slacks - old_slacks)) @ problem.Z
        size = max(float(np.linalg.norm(u)), 1e-12)
        push = max(float(np.linalg.norm(dual + (signed * slack_dual) @ problem.Z)), problem.alpha / rho)
        first, second = float(primal) / size, float(np.linalg.norm(change)) / push
        residual = max(first, second)
        pace.advance(_CHECK_EVERY, f"residual {residual:.1e}")
        if residual <= tol or pace.over:
            return copies, step, residual <= tol, residual
        ratio = first / max(second, 1e-300)
        if step <= _LAST_BALANCE and not 1 / _BALANCE < ratio < _BALANCE:
            factor = 2.0 if ratio > 1 else 0.5
            rho, dual, slack_dual = rho * factor, dual / factor, slack_dual / factor
    return copies, max_iter, False, residual


def _threshold(u: Array, level: float, measured: int) -> Array:
    """Block soft threshold of the penalised coordinates; the others pass."""
    part = u[..., :measured]
    norms = row_norms(part.reshape(-1, measured)).reshape(*part.shape[:-1], 1)
    shrunk = u.copy()
    shrunk[..., :measured] = part * np.maximum(1.0 - level / np.maximum(norms, 1e-300), 0.0)
    return shrunk
