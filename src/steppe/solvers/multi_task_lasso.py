"""The multi-task lasso: few shared columns of features that fit several targets, penalised or exact, with a gap."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from steppe.core import DataError, ShapeError, check_integer, check_number

from .multi_task_newton import GroupOutcome, GroupProblem, proximal_newton, row_lengths

_RANK = 1e-12  # singular values below this share of the largest are rounding
_WELL = 0.1  # singular values above this share of the largest are well determined
_IN_SPAN = 1e-9  # relative distance of targets from the span of the features that still counts as none


@dataclass(frozen=True)
class GroupFit:
    """Weights V, one row per column of features, with the proof of their quality.

    `primal` is the objective at V and `dual` the value at `dual_point`, which satisfies ‖φ_k'Θ‖ ≤ α (1 for an exact
    fit) for every k up to rounding, so no weights have an objective below `dual`. `residual` is ‖Y − ΦV‖_F / ‖Y‖_F;
    for an exact fit `gap` includes what that residual may have saved.
    """

    weights: Float[ndarray, "K c"]
    dual_point: Float[ndarray, "n c"]
    primal: float
    dual: float
    gap: float
    residual: float
    steps: int
    converged: bool
    reason: str

    @property
    def active(self) -> Int[ndarray, " a"]:
        """Indices of the rows of `weights` that are not zero."""
        return np.flatnonzero(row_lengths(self.weights) > 0)

    @property
    def penalty(self) -> float:
        """Σ_k ‖v_k‖₂."""
        return float(row_lengths(self.weights).sum())


def multi_task_lasso(
    features: Float[ndarray, "n K"],
    targets: Float[ndarray, "n c"],
    *,
    alpha: float,
    start: Float[ndarray, "K c"] | None = None,
    tol: float = 1e-9,
    max_iter: int = 60,
) -> GroupFit:
    """Solve min over V of ‖Y − ΦV‖_F²/(2n) + α Σ_k ‖v_k‖₂.

    Proximal point steps with Newton's method on the dual, exact zeros. With r the rank of Φ and k the rows in play,
    a Newton step costs O(r²k + r³ + k³); some thirty of them reach any tolerance above rounding. One decomposition of
    Φ, O(nK min(n, K)), comes first.

    Args:
        features: Φ.
        targets: Y.
        alpha: Weight of the penalty, positive.
        start: First V, zero by default.
        tol: Of the duality gap, relative to the objective.
        max_iter: Proximal steps at most.

    Raises:
        ParameterError: alpha ≤ 0, or a tolerance or count out of range.
        ShapeError: The shapes do not fit together.
        DataError: A value is not finite.

    Example:
        >>> multi_task_lasso(np.eye(2), np.array([[3.0, 4.0], [0.0, 1.0]]), alpha=0.5).weights
        array([[2.4, 3.2],
               [0. , 0. ]])
    """
    check_number("alpha", alpha, above=0.0)
    problem = _Scaled(features, targets, start, tol, max_iter)
    n = problem.n
    if problem.trivial:
        return problem.zero()
    # Multiplied by n/‖Y‖², in units where the longest column and the targets have length 1.
    level = n * alpha / (problem.feature_size * problem.target_size)
    outcome = problem.solve(level, quadratic=1.0, radius=0.0)
    factor = problem.target_size**2 / n
    outside = problem.outside**2 / (2 * n)
    return problem.result(outcome, factor, outside, problem.target_size / n)


def minimum_group_norm(
    features: Float[ndarray, "n K"],
    targets: Float[ndarray, "n c"],
    *,
    tolerance: float = 0.0,
    start: Float[ndarray, "K c"] | None = None,
    tol: float = 1e-9,
    max_iter: int = 60,
) -> GroupFit:
    """Solve min Σ_k ‖v_k‖₂ subject to ‖Y − ΦV‖_F ≤ tolerance · ‖Y‖_F; ΦV = Y for tolerance 0.

    The same method and cost as `multi_task_lasso`. For tolerance 0 the answer is put back onto ΦV = Y at the end.

    Args:
        features: Φ.
        targets: Y.
        tolerance: Relative residual that is allowed, in [0, 1).
        start: First V, zero by default.
        tol: Of the duality gap, relative to the objective, and of the constraint, relative to ‖Y‖.
        max_iter: Proximal steps at most.

    Raises:
        DataError: The features cannot fit the targets that well, or a value is not finite.
        ParameterError: A tolerance or count is out of range.
        ShapeError: The shapes do not fit together.

    Example:
        >>> minimum_group_norm(np.array([[1.0, 2.0]]), np.array([[6.0, 8.0]])).weights
        array([[0., 0.],
               [3., 4.]])
    """
    check_number("tolerance", tolerance, minimum=0.0, below=1.0)
    problem = _Scaled(features, targets, start, tol, max_iter)
    if problem.target_size == 0.0:
        return problem.zero()
    distance = problem.outside / problem.whole_size
    if distance > max(tolerance, _IN_SPAN):
        raise DataError(
            f"`targets` must lie in the span of the features within a relative distance of {tolerance:g}, "
            f"got {distance:.3g}; raise `tolerance` above that, or add features"
        )
    radius = float(np.sqrt(max((tolerance * problem.whole_size) ** 2 - problem.outside**2, 0.0))) / problem.target_size
    if radius >= 1.0:
        return problem.zero()
    outcome = problem.solve(1.0, quadratic=0.0, radius=radius)
    if radius == 0.0:
        outcome = _onto_constraint(problem, outcome)
    factor = problem.target_size / problem.feature_size
    return problem.result(outcome, factor, 0.0, 1.0 / problem.feature_size)


def _onto_constraint(problem: "_Scaled", outcome: GroupOutcome) -> GroupOutcome:
    """V moved by the shortest step on its support that makes FV = T, if that step is of the size of rounding."""
    active = np.flatnonzero(row_lengths(outcome.weights) > 0)
    columns = problem.reduced[:, active]
    missing = problem.goal - columns @ outcome.weights[active]
    change = np.linalg.lstsq(columns, missing, rcond=_RANK)[0]
    weights = outcome.weights.copy()
    weights[active] += change
    if np.linalg.norm(problem.goal - columns @ weights[active]) >= np.linalg.norm(missing):
        return outcome
    primal = float(row_lengths(weights).sum())
    dual = float((problem.goal * outcome.dual).sum())
    return GroupOutcome(weights, outcome.dual, primal, max(primal - dual, 0.0), outcome.steps, outcome.converged)


class _Scaled:
    """Φ and Y in coordinates of the span of Φ, in units where the longest column and the targets have length 1."""

    def __init__(
        self,
        features: Float[ndarray, "n K"],
        targets: Float[ndarray, "n c"],
        start: Float[ndarray, "K c"] | None,
        tol: float,
        max_iter: int,
    ) -> None:
        self.features, self.targets = _checked(features, targets)
        self.tol = check_number("tol", tol, above=0.0)
        self.max_iter = check_integer("max_iter", max_iter, minimum=1)
        self.n, self.shape = len(self.targets), (self.features.shape[1], self.targets.shape[1])
        largest, high = float(np.abs(self.features).max(initial=0.0)), float(np.abs(self.targets).max(initial=0.0))
        # Powers of two lose no digit and keep squares in range at any scale of the data.
        self.unit, self.high = 2.0 ** int(np.frexp(largest)[1]), 2.0 ** int(np.frexp(high)[1])
        self.basis, self.reduced = _span(self.features / self.unit)
        goal = self.basis.T @ (self.targets / self.high)
        self.whole_size = float(np.linalg.norm(self.targets / self.high))
        self.outside = float(np.linalg.norm(self.targets / self.high - self.basis @ goal))
        self.length = float(row_lengths(self.reduced.T).max(initial=0.0))
        self.norm = float(np.linalg.norm(goal))
        self.reduced = self.reduced / (self.length or 1.0)
        self.goal = goal / (self.norm or 1.0)
        self.start = start
        self.feature_size, self.target_size = self.length * self.unit, self.norm * self.high
        self.outside, self.whole_size = self.outside * self.high, self.whole_size * self.high

    @property
    def trivial(self) -> bool:
        """Whether V = 0 fits as well as any other."""
        return self.feature_size == 0.0 or self.target_size == 0.0

    def zero(self) -> GroupFit:
        """V = 0, which is optimal where targets or features vanish."""
        primal = self.whole_size**2 / (2 * self.n) if self.features.size else 0.0
        nothing = np.zeros(self.shape)
        residual = 1.0 if self.whole_size > 0 else 0.0
        dual = self.targets / self.n
        reason = "zero is optimal"
        return GroupFit(nothing, dual, primal, primal, 0.0, residual, steps=0, converged=True, reason=reason)

    def solve(self, level: float, *, quadratic: float, radius: float) -> GroupOutcome:
        problem = GroupProblem(self.reduced, self.goal, level, quadratic, radius)
        first = np.zeros(self.shape) if self.start is None else self.start * (self.feature_size / self.target_size)
        # The least squares weights that well-determined directions ask for say how long a step is.
        shortest = np.linalg.lstsq(self.reduced, self.goal, rcond=_WELL)[0]
        typical = float(np.sqrt(np.mean(shortest**2) * self.shape[1]))
        return proximal_newton(problem, start=first, tol=self.tol, max_iter=self.max_iter, step=typical / level)

    def result(self, outcome: GroupOutcome, factor: float, constant: float, dual_factor: float) -> GroupFit:
        """The outcome in the caller's units; what no weights can fit is added to both values and to the dual point."""
        weights = outcome.weights * (self.target_size / self.feature_size)
        missing = self.targets - self.features @ weights
        dual = self.basis @ outcome.dual * dual_factor
        if constant > 0:
            dual = dual + (self.targets - self.basis @ (self.basis.T @ self.targets)) / self.n
        primal, gap = outcome.primal * factor + constant, outcome.gap * factor
        residual = float(np.linalg.norm(missing)) / (self.whole_size or 1.0)
        reason = "gap reached" if outcome.converged else f"stopped at a relative gap of {gap / (primal or 1.0):.1e}"
        return GroupFit(weights, dual, primal, primal - gap, gap, residual, outcome.steps, outcome.converged, reason)


def _checked(
    features: Float[ndarray, "n K"], targets: Float[ndarray, "n c"]
) -> tuple[Float[ndarray, "n K"], Float[ndarray, "n c"]]:
    arrays = {"features": np.asarray(features, dtype=float), "targets": np.asarray(targets, dtype=float)}
    for name, array in arrays.items():
        if array.ndim != 2 or 0 in array.shape:
            raise ShapeError(f"`{name}` must be a matrix with at least one row and column, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise DataError(f"`{name}` must be finite, got NaN or infinity; remove those rows")
    phi, y = arrays.values()
    if len(phi) != len(y):
        raise ShapeError(
            f"`targets` must have the {len(phi)} rows of `features`, got {len(y)}; pair them sample by sample"
        )
    return phi, y


def _span(features: Float[ndarray, "n K"]) -> tuple[Float[ndarray, "n r"], Float[ndarray, "r K"]]:
    """Φ = basis · reduced with orthonormal basis columns."""
    left, sizes, right = np.linalg.svd(features, full_matrices=False)
    rank = int((sizes > _RANK * sizes[0]).sum()) if sizes[0] > 0 else 0
    return left[:, :rank], sizes[:rank, None] * right[:rank]
