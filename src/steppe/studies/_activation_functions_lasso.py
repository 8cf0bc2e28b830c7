"""A small lasso with free columns, by an active set; it knows nothing of splines and checks the solver that does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steppe.core import ComputationError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lasso:
    """minimize ½‖y − Φv − Sβ‖² + λΣ|v|.

    Args:
        v: Coefficients of the penalized columns.
        fitted: Φv + Sβ.
        objective: Its value.
        correlation: max |Φᵀ residual| over λ; 1 at the optimum unless v = 0.
    """

    v: Array
    beta: Array
    fitted: Array
    objective: float
    correlation: float


def lasso(columns: Array, free: Array, y: Array, strength: float, *, tol: float = 1e-10) -> Lasso:
    """Add the column of largest correlation, solve with these signs, drop what crosses zero on the way; repeat.

    Raises:
        ComputationError: It did not end after many steps.
    """
    basis = np.linalg.qr(free)[0]
    inner, target = _without(basis, columns), _without(basis, y)
    v = np.zeros(columns.shape[1])
    active: list[int] = []
    for _ in range(50 * columns.shape[1] + 50):
        pull = inner.T @ (target - inner @ v)
        size = np.abs(pull)
        size[active] = 0.0
        best = int(np.argmax(size)) if size.size else -1
        if best < 0 or size[best] <= strength * (1 + tol):
            return _result(columns, free, y, strength, v)
        signs = np.sign(v)
        signs[best] = np.sign(pull[best])
        active = _settled(inner, target, strength, v, signs, [*active, best])
    raise ComputationError("the active set of the lasso did not settle; columns are nearly dependent")


def _settled(inner: Array, target: Array, strength: float, v: Array, signs: Array, active: list[int]) -> list[int]:
    """Move v to the minimizer over the active columns with their signs; columns that reach zero first leave."""
    while active:
        q, r = np.linalg.qr(inner[:, active])
        aimed = np.linalg.solve(r, q.T @ target - strength * np.linalg.solve(r.T, signs[active]))
        wrong = aimed * signs[active] <= 0
        if not wrong.any():
            v[active] = aimed
            return active
        now = v[active]
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(wrong, np.where(now == 0, 0.0, now / (now - aimed)), np.inf)
        first = int(np.argmin(shares))
        v[active] = now + shares[first] * (aimed - now)
        v[active[first]] = 0.0
        active = [index for index in active if index != active[first]]
    return active


def _without(basis: Array, values: Array) -> Array:
    values = values - basis @ (basis.T @ values)
    return np.asarray(values - basis @ (basis.T @ values))


def _result(columns: Array, free: Array, y: Array, strength: float, v: Array) -> Lasso:
    beta = np.asarray(np.linalg.lstsq(free, y - columns @ v, rcond=None)[0], dtype=np.float64)
    fitted = columns @ v + free @ beta
    residual = y - fitted
    correlation = float(np.abs(columns.T @ residual).max(initial=0.0)) / strength
    return Lasso(v, beta, fitted, 0.5 * float(residual @ residual) + strength * float(np.abs(v).sum()), correlation)
