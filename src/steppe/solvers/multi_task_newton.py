"""The engine under the multi-task lasso: proximal point steps, each solved by Newton's method on the dual."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import cho_factor, cho_solve

_GROWTH, _RETREAT = 5.0, 0.04  # of the proximal step, after an outer step that Newton solved or did not
_NEWTON = 40  # inner steps at most
_STALLED = 5  # inner steps without a smaller gradient that mean rounding


@dataclass(frozen=True)
class GroupProblem:
    """min over V of φ(T − F V) + α Σ_k ‖v_k‖₂, where φ* (Θ) = μ/2 ‖Θ‖² + δ ‖Θ‖.

    μ = n, δ = 0 is φ(R) = ‖R‖²/(2n); μ = δ = 0 forces R = 0; μ = 0, δ > 0 forces ‖R‖ ≤ δ.
    """

    features: Float[ndarray, "r K"]
    targets: Float[ndarray, "r c"]
    alpha: float
    quadratic: float
    radius: float

    def penalty(self, weights: Float[ndarray, "K c"]) -> float:
        """α Σ_k ‖v_k‖."""
        return self.alpha * float(row_lengths(weights).sum())

    def primal(self, weights: Float[ndarray, "K c"]) -> float:
        """The objective; for μ = 0 the penalty alone, however well the constraint holds."""
        if self.quadratic == 0.0:
            return self.penalty(weights)
        residual = self.targets - self.features @ weights
        return float((residual**2).sum()) / (2 * self.quadratic) + self.penalty(weights)

    def feasible(self, dual: Float[ndarray, "r c"]) -> Float[ndarray, "r c"]:
        """The best multiple s Θ with ‖φ_k' s Θ‖ ≤ α for every k."""
        largest = float(row_lengths(self.features.T @ dual).max(initial=0.0))
        most = self.alpha / largest if largest > 0 else np.inf
        slope = float((self.targets * dual).sum()) - self.radius * float(np.linalg.norm(dual))
        square = self.quadratic * float((dual**2).sum())
        best = slope / square if square > 0 else (np.inf if slope > 0 else 0.0)
        scale = min(max(best, 0.0), most)
        return dual * (scale if np.isfinite(scale) else 1.0)

    def dual_value(self, dual: Float[ndarray, "r c"]) -> float:
        """⟨T, Θ⟩ − φ*(Θ)."""
        square = float((dual**2).sum())
        return float((self.targets * dual).sum()) - self.quadratic / 2 * square - self.radius * float(np.sqrt(square))


@dataclass(frozen=True)
class GroupOutcome:
    """Where `proximal_newton` stopped: V, a feasible Θ, the gap, Newton steps taken, and whether the gap was met."""

    weights: Float[ndarray, "K c"]
    dual: Float[ndarray, "r c"]
    primal: float
    gap: float
    steps: int
    converged: bool


def row_lengths(matrix: Float[ndarray, "k c"]) -> Float[ndarray, " k"]:
    """‖row‖₂ of each row, without overflow for rows of ordinary size."""
    return np.sqrt(np.einsum("kc,kc->k", matrix, matrix))


def shrink(matrix: Float[ndarray, "K c"], threshold: float) -> Float[ndarray, "K c"]:
    """Each row shortened by `threshold`, to zero where it is shorter: the proximal map of the group norm."""
    lengths = row_lengths(matrix)
    keep = np.where(lengths > threshold, 1 - threshold / np.where(lengths > 0, lengths, 1.0), 0.0)
    return matrix * keep[:, None]


def proximal_newton(
    problem: GroupProblem, *, start: Float[ndarray, "K c"], tol: float, max_iter: int, step: float
) -> GroupOutcome:
    """Proximal point steps in V; each is a smooth problem in Θ, solved by Newton with an exact line search direction.

    The multiplier of a step is the next V, with exact zeros. The step grows, so the outer steps converge superlinearly.
    A Newton step costs O(r²k + r³ + k³) for k rows in play: the Hessian is (M ⊗ I) plus k rank-one terms, and the
    matrix that joins them is an entrywise product of two Gram matrices.

    Args:
        problem: Features and targets in r coordinates.
        start: The first V.
        tol: Of the gap, relative to the primal value (or, for a constraint, also of its violation, to ‖T‖).
        max_iter: Outer steps.
        step: First proximal step.
    """
    weights, dual = start, np.zeros_like(problem.targets)
    scale = max(float(np.linalg.norm(problem.targets)), np.finfo(float).tiny)
    best = GroupOutcome(weights, dual, problem.primal(weights), np.inf, 0, converged=False)
    total = 0
    for outer in range(max_iter):
        accuracy = max(min(1e-2, 10.0 ** -(2 + outer)), 0.1 * tol) * scale
        dual, steps = _newton(problem, weights, dual, step, accuracy)
        total += steps
        weights = shrink(weights + step * (problem.features.T @ dual), step * problem.alpha)
        best = _outcome(problem, weights, dual, scale, tol, total)
        if best.converged:
            break
        step *= _GROWTH if steps < _NEWTON else _RETREAT
    return best


def _outcome(
    problem: GroupProblem,
    weights: Float[ndarray, "K c"],
    dual: Float[ndarray, "r c"],
    scale: float,
    tol: float,
    steps: int,
) -> GroupOutcome:
    feasible = problem.feasible(dual)
    primal = problem.primal(weights)
    gap = primal - problem.dual_value(feasible)
    met = True
    if problem.quadratic == 0.0:
        residual = problem.targets - problem.features @ weights
        violation = max(float(np.linalg.norm(residual)) - problem.radius, 0.0)
        gap = abs(gap) + violation * float(np.linalg.norm(feasible))  # what the violation may have saved
        met = violation <= tol * scale
    gap = max(gap, 0.0)
    converged = bool(met and gap <= tol * max(primal, np.finfo(float).tiny))
    return GroupOutcome(weights, feasible, float(primal), gap, steps, converged)


def _newton(
    problem: GroupProblem,
    weights: Float[ndarray, "K c"],
    dual: Float[ndarray, "r c"],
    step: float,
    accuracy: float,
) -> tuple[Float[ndarray, "r c"], int]:
    """Minimise over Θ φ*(Θ) − ⟨T, Θ⟩ + ‖shrink(V + σF'Θ)‖²/(2σ), to a gradient of norm `accuracy`."""
    value, gradient, shifted = _inner(problem, weights, dual, step)
    least, stalled = np.inf, 0
    for count in range(_NEWTON):
        size = float(np.linalg.norm(gradient))
        stalled = 0 if size < 0.7 * least else stalled + 1
        least = min(size, least)
        if size <= accuracy:
            return dual, count
        if stalled > _STALLED and least < 1e-6 * float(np.linalg.norm(problem.targets)):
            return dual, _NEWTON  # rounding of the long step: a shorter one is more accurate
        direction = _direction(problem, shifted, dual, gradient, step)
        slope = float((direction * gradient).sum())
        length = 1.0
        while True:
            trial = _inner(problem, weights, dual + length * direction, step)
            if trial[0] <= value + 1e-4 * length * slope or length < 1e-8:
                break
            # Near the end rounding hides the decrease of the value; the gradient still tells.
            if float(np.linalg.norm(trial[1])) < 0.9 * size and abs(length * slope) < 1e-9 * (1 + abs(value)):
                break
            length *= 0.5
        if length < 1e-8:
            return dual, count
        dual = dual + length * direction
        value, gradient, shifted = trial
    return dual, _NEWTON


def _inner(
    problem: GroupProblem, weights: Float[ndarray, "K c"], dual: Float[ndarray, "r c"], step: float
) -> tuple[float, Float[ndarray, "r c"], Float[ndarray, "K c"]]:
    shifted = weights + step * (problem.features.T @ dual)
    moved = shrink(shifted, step * problem.alpha)
    length = float(np.linalg.norm(dual))
    value = problem.quadratic / 2 * length**2 + problem.radius * length - float((problem.targets * dual).sum())
    gradient = problem.quadratic * dual - problem.targets + problem.features @ moved
    if problem.radius > 0 and length > 0:
        gradient = gradient + problem.radius / length * dual
    return value + float((moved**2).sum()) / (2 * step), gradient, shifted


def _direction(
    problem: GroupProblem,
    shifted: Float[ndarray, "K c"],
    dual: Float[ndarray, "r c"],
    gradient: Float[ndarray, "r c"],
    step: float,
) -> Float[ndarray, "r c"]:
    """−H⁻¹ g with H = M ⊗ I + Σ_k s_k (φ_k φ_k') ⊗ (w_k w_k'), by Woodbury's formula in the k rows in play."""
    lengths = row_lengths(shifted)
    active = lengths > step * problem.alpha
    columns, rows, norms = problem.features[:, active], shifted[active], lengths[active]
    keep = 1 - step * problem.alpha / norms
    joint = np.sqrt(step * step * problem.alpha / norms**3)
    r = problem.features.shape[0]
    core = (columns * (step * keep)) @ columns.T
    length = float(np.linalg.norm(dual))
    ridge = problem.quadratic + (problem.radius / length if length > 0 else 0.0)
    size = float(np.linalg.norm(gradient)) / max(float(np.linalg.norm(problem.targets)), np.finfo(float).tiny)
    typical = max(float(np.trace(core)) / r, step * float((problem.features**2).sum()) / (r * len(lengths)))
    ridge = ridge + typical * min(1e-3, max(size * 1e-2, 1e-13))
    factor = cho_factor(core + ridge * np.eye(r), check_finite=False)
    plain = cho_solve(factor, -gradient, check_finite=False)
    if not len(norms):
        return plain
    solved = cho_solve(factor, columns, check_finite=False)
    capacity = (columns.T @ solved) * (rows @ rows.T) * np.outer(joint, joint)
    capacity[np.diag_indices_from(capacity)] += 1.0
    pull = joint * np.einsum("kc,kc->k", columns.T @ plain, rows)
    amount = joint * np.linalg.solve(capacity, pull)
    return plain - solved @ (amount[:, None] * rows)
