"""The columns that are not penalised: their span, and the best fit with nothing but them."""

import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float

from steppe.core import ComputationError, DataError

from .fits import Fit, SquaredFit

_RANK = 1e-12  # a direction of the free columns whose size relative to the largest is below this counts as none
_STEPS = 200


class FreePart:
    """The span of [X, 1], held by an orthonormal basis of columns that were centered and scaled.

    Args:
        X: Inputs.
    """

    def __init__(self, X: Float[np.ndarray, "n d"]) -> None:
        n = len(X)
        self.center = _mean(X)
        centered = X - self.center
        self.scale = np.abs(centered).max(axis=0, initial=0.0)
        # A column that is constant up to rounding adds nothing to the span.
        varied = self.scale > 4 * np.finfo(float).eps * np.abs(X).max(axis=0, initial=0.0)
        self.scale = np.where(varied, self.scale, 1.0)
        columns = np.where(varied, centered / self.scale, 0.0)
        left, sizes, right = scipy.linalg.svd(columns - _mean(columns), full_matrices=False, check_finite=False)
        kept = sizes > _RANK * max(float(sizes[0]) if len(sizes) else 0.0, 1e-300)
        self._right, self._sizes = right[kept], sizes[kept]
        self._shift = _mean(columns)
        self.basis = np.column_stack([left[:, kept], np.full(n, 1.0 / np.sqrt(n))])

    def project(self, a: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The part of `a` orthogonal to the columns; the projector is applied twice against rounding."""
        a = a - self.basis @ (self.basis.T @ a)
        return np.asarray(a - self.basis @ (self.basis.T @ a))

    def coefficients(self, inner: Float[np.ndarray, "q *c"]) -> Float[np.ndarray, "p *c"]:
        """β with [X, 1] β = basis · inner; the one of least norm in the scaled columns."""
        n = len(self.basis)
        flat = inner.reshape(len(inner), -1)
        slopes = self._right.T @ (flat[:-1] / self._sizes[:, None])
        constant = flat[-1] / np.sqrt(n) - self._shift @ slopes
        slopes = slopes / self.scale[:, None]
        beta = np.vstack([slopes, constant - self.center @ slopes])
        return np.asarray(beta.reshape(-1, *inner.shape[1:]))


def _mean(columns: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " d"]:
    """Mean of every column; exact for a constant one, and without overflow."""
    return np.asarray(columns[0] + (columns - columns[0]).mean(axis=0))


def best_free_fit(
    part: FreePart, fit: Fit, y: Float[np.ndarray, "n *c"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "q *c"]:
    """Inner coefficients of the least weighted loss with free columns only.

    Weighted least squares for the squared fit; otherwise Newton's method with halved steps in the orthonormal basis.

    Raises:
        DataError: Logistic fit, and the free columns separate the labels: there is no minimizer.
        ComputationError: Newton's method did not settle.
    """
    if isinstance(fit, SquaredFit):
        root = np.sqrt(weights)
        rows = part.basis * root[:, None]
        targets = y * (root if y.ndim == 1 else root[:, None])
        return np.asarray(scipy.linalg.lstsq(rows, targets, check_finite=False)[0])
    if fit.name == "logistic":
        refuse_separated(part.basis, y)
    return _newton(part.basis, fit, y, weights)


def refuse_separated(basis: Float[np.ndarray, "n q"], y: Float[np.ndarray, " n"]) -> None:
    """Raise if some affine function has y f ≥ 0 on all samples and > 0 on one: the loss then has no minimizer.

    Raises:
        DataError: So it is.
    """
    signed = basis * y[:, None] * np.sqrt(len(y))
    answer = scipy.optimize.linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(y)), bounds=(-1.0, 1.0))
    if answer.status == 0 and -answer.fun > 1e-7 * len(y):
        raise DataError(
            "`y` must not be separable by an affine function where that function is free, got labels that are: the "
            'logistic loss has no minimizer; pass bias="penalized" and skip=False'
        )


def _newton(
    basis: Float[np.ndarray, "n q"], fit: Fit, y: Float[np.ndarray, "n *c"], weights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "q *c"]:
    inner = np.zeros((basis.shape[1], *y.shape[1:]))
    value = float(weights @ fit.values(basis @ inner, y))
    scale = max(float(np.abs(y).max()), 1e-300) if fit.name == "huber" else 1.0
    for _ in range(_STEPS):
        f = basis @ inner
        slope = basis.T @ (weights * fit.gradient(f, y))
        bend = weights * _second(fit, f, y)
        matrix = (basis * bend[:, None]).T @ basis
        matrix[np.diag_indices_from(matrix)] += 1e-14 * weights.mean() + 1e-300
        step = scipy.linalg.solve(matrix, slope, assume_a="pos", check_finite=False)
        size = 1.0
        while size > 1e-10:
            trial = inner - size * step
            new = float(weights @ fit.values(basis @ trial, y))
            if new <= value - 1e-4 * size * float(slope @ step) or new <= value == 0:
                break
            size *= 0.5
        else:
            if float(np.abs(slope).max()) <= 1e-7 * scale * np.sqrt(float(np.square(weights).sum())):
                return inner
            raise ComputationError("the best free fit was not found: Newton's method cannot descend; scale `y`")
        inner, value = trial, new
        if float(np.abs(step).max()) <= 1e-13 * (scale + float(np.abs(inner).max())):
            return inner
    return inner


def _second(fit: Fit, f: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Second derivative of the loss, kept above zero."""
    if fit.name == "logistic":
        p = np.abs(fit.gradient(f, y))
        return np.maximum(p * (1.0 - p), 1e-12)
    return np.where(np.abs(fit.gradient(f, y)) < fit.parameters["delta"], 1.0, 1e-3)
