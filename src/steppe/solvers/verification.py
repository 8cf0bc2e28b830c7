"""Verification of certificates: every claim derived anew from the raw numbers, apart from every solver."""

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from steppe.core import DataError, derived_seed

from .branching import boundable, bounded_maximum
from .certificate_files import seal
from .enumeration import enumerable, exact_maximum
from .exact_check import largest_correlation
from .problem import VariationProblem
from .scales import rescaled
from .search_check import searched_correlation
from .solution import row_norms

if TYPE_CHECKING:
    from .certificate import Certificate

_EPS = float(np.finfo(float).eps)
_FEASIBLE = 1e-9  # relative amount by which M(θ) may exceed α in floating point
_ORTHOGONAL = 1e-9
_AFFORDABLE = {2: 1e7, 3: 5e5}  # arcs that NumPy lists in seconds, by the dimension of a homogeneous problem


class DataScaleWarning(UserWarning):
    """The inputs given to `verify` have another scale than those of the fit."""


@dataclass(frozen=True)
class Verification:
    """The answer of `Certificate.check`; true in a condition if everything holds.

    Args:
        holds: Whether every claim was confirmed.
        reasons: What was confirmed or refused, in words.
        primal: The objective of the stored network on the given data; nan if it was not reached.
        dual: The dual value of the stored dual point.
        maximum: The largest correlation with one neuron, as found or bounded.
        relative_gap: What the numbers support.
    """

    holds: bool
    reasons: tuple[str, ...]
    primal: float = math.nan
    dual: float = math.nan
    maximum: float = math.nan
    relative_gap: float = math.nan

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return ("verified: " if self.holds else "refused: ") + "; ".join(self.reasons)


class _Refused(Exception):  # noqa: N818 - carries a reason out of the steps, is no error
    pass


@dataclass(eq=False)
class _Data:
    """The data as the check sees them, rows of weight zero left out."""

    X: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n c"]
    s: Float[np.ndarray, "n 1"]
    problem: VariationProblem


def check_claim(certificate: "Certificate", X: Any, y: Any, sample_weight: Any, *, seed: int) -> Verification:
    """See `Certificate.check`."""
    found: dict[str, float] = {}
    reasons: list[str] = []
    try:
        _unedited(certificate)
        data = _accept(certificate, X, y, sample_weight)
        found["primal"] = _primal(certificate, data)
        reasons.append(f"the objective is {found['primal']:.10g}")
        found["dual"] = _dual(certificate, data, certificate.theta)
        _orthogonal(certificate, data)
        found["maximum"] = _maximum(certificate, data, seed)
        found["relative_gap"] = _gap(certificate, data, found)
        reasons.append(
            f"the dual value is {found['dual']:.10g} and the largest correlation with one neuron is "
            f"{found['maximum'] / certificate.alpha:.10g} α ({_MEANS[certificate.kind]})"
        )
        reasons.append(f"the relative gap is {found['relative_gap']:.2g}, and {certificate.claim:.2g} was claimed")
    except _Refused as refusal:
        return Verification(holds=False, reasons=(str(refusal),), **found)
    return Verification(holds=True, reasons=tuple(reasons), **found)


_MEANS = {"exact": "all faces listed again", "bound": "branch and bound again", "heuristic": "fresh starts, no proof"}


def _unedited(certificate: "Certificate") -> None:
    if certificate.digest != seal(certificate):
        raise _Refused("the certificate was edited after it was made: its digest is not that of its numbers")
    if not certificate.alpha > 0 or not certificate.claim >= 0 or not 0 <= certificate.upper <= certificate.alpha:
        raise _Refused("the claims contradict themselves: they need α > 0, a gap ≥ 0 and a bound between 0 and α")


def _accept(certificate: "Certificate", X: Any, y: Any, sample_weight: Any) -> _Data:
    """The data, if they can be those of the fit."""
    try:
        problem = VariationProblem(
            X,
            y,
            alpha=certificate.alpha,
            fit=certificate.fit,
            bias=certificate.bias,
            skip=certificate.skip,
            sample_weight=sample_weight,
        )
    except DataError as error:
        if certificate.fit.name != "logistic" or "finite" in str(error):
            raise
        raise _Refused(f"these are not the targets of the fit: {error}") from None
    n, d, c = problem.n, problem.d, problem.outputs
    theirs = (len(certificate.theta), certificate.solution.u.shape[1] - 1, math.prod(certificate.theta.shape[1:]))
    if (n, d, c) != theirs:
        raise _Refused(
            f"the data have {n} samples, {d} inputs and {c} outputs, and those of the fit had {theirs[0]}, "
            f"{theirs[1]} and {theirs[2]}"
        )
    _same_scale(certificate, problem.X)
    return _Data(problem.X, problem.y.reshape(n, c), problem.weights[:, None], problem)


def _same_scale(certificate: "Certificate", X: Float[np.ndarray, "n d"]) -> None:
    """Warn if some column lies or spreads elsewhere than at fit."""
    low, high = X.min(axis=0), X.max(axis=0)
    center, spread = 0.5 * low + 0.5 * high, 0.5 * high - 0.5 * low
    then, width = certificate.columns
    unit = np.maximum(np.maximum(spread, width), 1e-300)
    with np.errstate(over="ignore"):
        other = (np.minimum(spread, width) < 0.5 * unit) | (np.abs(center - then) > np.maximum(unit, 1e-9 * abs(then)))
    other &= ~((spread == width) & (center == then))
    if other.any():
        j = int(np.argmax(other))
        message = (
            f"column {j} of `X` is {center[j]:.4g} ± {spread[j]:.4g}, at fit it was {then[j]:.4g} ± {width[j]:.4g}; "
            "did you mean the transformed X?"
        )
        warnings.warn(message, DataScaleWarning, stacklevel=5)
        raise _Refused(f"the data have another scale than at fit: {message}")


def _outputs(certificate: "Certificate", data: _Data) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n c"]]:
    """The outputs on the data with true ReLUs, and the size of what was added up to get it."""
    solution, d = certificate.solution, data.X.shape[1]
    w, b, v = solution.u[:, :d], solution.u[:, d], solution.v.reshape(len(solution.v), data.y.shape[1])
    f, size = np.zeros_like(data.y), np.zeros_like(data.y)
    if solution.beta is not None and len(solution.beta):
        beta = solution.beta.reshape(d + 1, -1)
        f += data.X @ beta[:d] + beta[d]
        size += np.abs(data.X) @ np.abs(beta[:d]) + np.abs(beta[d])
    rows = max(1, (1 << 22) // max(1, len(w)))
    for start in range(0, len(f) if len(w) else 0, rows):
        X = data.X[start : start + rows]
        f[start : start + rows] += np.maximum(X @ w.T - b, 0.0) @ v
        size[start : start + rows] += (np.abs(X) @ np.abs(w.T) + np.abs(b)) @ np.abs(v)
    return f, size


def _losses(certificate: "Certificate", f: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss and absolute slope of every entry, written out once more."""
    name = certificate.fit.name
    if name == "squared":
        return 0.5 * (f - y) ** 2, np.abs(f - y)
    if name == "logistic":
        return np.logaddexp(0.0, -y * f), np.ones_like(f)
    delta, r = certificate.fit.parameters["delta"], np.abs(f - y)
    return np.where(r <= delta, 0.5 * np.minimum(r, delta) ** 2, delta * (r - 0.5 * delta)), np.minimum(r, delta)


def _primal(certificate: "Certificate", data: _Data) -> float:
    """The objective of the stored weights; refused unless it is the stated one."""
    f, size = _outputs(certificate, data)
    losses, slopes = _losses(certificate, f, data.y)
    u, v = certificate.solution.u, certificate.solution.v
    norms = row_norms(u[:, :-1] if certificate.bias == "free" else u)
    sizes = np.abs(v) if v.ndim == 1 else row_norms(v)
    primal = float((data.s * losses).sum()) + certificate.alpha * float(norms @ sizes)
    doubt = 64 * _EPS * float((data.s * slopes * (size + np.abs(data.y))).sum()) + 1e-12 * primal
    if not math.isfinite(primal):
        raise _Refused("the stored network has no finite objective on these data")
    if not abs(primal - certificate.primal) <= doubt + certificate.floor:
        raise _Refused(
            f"the stored network has the objective {primal:.12g} on these data, and {certificate.primal:.12g} is "
            "stated: other data, labels, weights or α"
        )
    floor = _EPS * float((data.s * _losses(certificate, np.zeros_like(f), data.y)[0]).sum())
    if not certificate.floor <= floor * (1 + 1e-9):
        raise _Refused(f"the rounding of the objective is {floor:.3g}, and {certificate.floor:.3g} is stated")
    return primal


def _dual(certificate: "Certificate", data: _Data, theta: np.ndarray) -> float:
    """D of the stored dual point; refused unless it is the stated one."""
    value, doubt = _dual_value(certificate, data, theta.reshape(data.y.shape))
    if not abs(value - certificate.dual) <= doubt:
        raise _Refused(
            f"the stored dual point has the dual value {value:.12g} on these data, and {certificate.dual:.12g} is "
            "stated: other data, labels or dual point"
        )
    return value


def _dual_value(certificate: "Certificate", data: _Data, theta: np.ndarray) -> tuple[float, float]:
    """−Σ s l*(−θ/s) and its rounding; −∞ outside the conjugate's domain."""
    name = certificate.fit.name
    if name == "logistic":
        t = data.y * (theta / data.s)
        if not ((t >= -1e-12) & (t <= 1 + 1e-12)).all():
            return -math.inf, 0.0
        t = np.clip(t, 0.0, 1.0)
        terms = -data.s * sum(p * np.log(np.where(p > 0, p, 1.0)) for p in (t, 1.0 - t))
        return float(terms.sum()), 1e-12
    q = theta / data.s
    if name == "huber" and not (np.abs(q) <= certificate.fit.parameters["delta"] * (1 + 1e-12)).all():
        return -math.inf, 0.0
    terms = theta * (data.y - 0.5 * q)
    return float(terms.sum()), 1e-12 * float((np.abs(theta) * (np.abs(data.y) + np.abs(q))).sum())


def _orthogonal(certificate: "Certificate", data: _Data) -> None:
    """Refuse unless Sᵀθ = 0 up to rounding; columns are centered first, which changes no span."""
    if not certificate.skip:
        return
    theta = certificate.theta.reshape(data.y.shape)
    size = float(np.abs(theta).max())
    if size == 0.0:
        return
    theta = theta / size
    scale = np.maximum(np.abs(data.X).max(axis=0), 1e-300)
    X = data.X / scale
    centered = np.column_stack([X - (X[0] + (X - X[0]).mean(axis=0)), np.ones(len(X))])
    doubt = _ORTHOGONAL * np.abs(centered).T @ np.abs(theta) + 64 * _EPS * np.abs(theta).sum(axis=0)
    if not (np.abs(centered.T @ theta) <= doubt).all():
        raise _Refused("the dual point is not orthogonal to the affine functions, which are free: it bounds nothing")


def _maximum(certificate: "Certificate", data: _Data, seed: int) -> float:
    """M(θ) by the means of the kind; refused where it exceeds α."""
    if certificate.kind == "exact":
        found = _listed(certificate, data)
        if found is None:
            raise _Refused("an exact maximum is claimed where the faces cannot be listed: too many inputs or outputs")
    elif certificate.kind == "bound":
        found = _bounded(certificate, data)
    else:
        found = _searched(certificate, data, seed)
    slack = certificate.claim if certificate.kind == "heuristic" else _FEASIBLE
    if not found <= certificate.alpha * (1 + slack):
        raise _Refused(
            "the dual point is not feasible: its largest correlation with one neuron is "
            f"{found / certificate.alpha:.10g} α"
        )
    return found


def _listed(certificate: "Certificate", data: _Data) -> float | None:
    """M(θ) by listing all faces: in NumPy apart from the solvers where that takes seconds, else by `enumeration`."""
    n, d = data.X.shape
    dimension = d if certificate.bias == "free" else d + 1
    cost = float(n) ** (dimension - 1) * (n if certificate.bias == "free" and d > 1 else 1)
    if cost <= _AFFORDABLE.get(dimension, math.inf):
        found = largest_correlation(data.X, certificate.theta, bias=certificate.bias)
        if found is not None:
            return found
    small, scales = rescaled(data.problem)
    size = float(np.abs(certificate.theta).max())
    if data.problem.outputs > 1 or not enumerable(small):
        return None
    return scales.penalty(size / scales.targets) * exact_maximum(small, certificate.theta / size).upper if size else 0.0


def _bounded(certificate: "Certificate", data: _Data) -> float:
    """A bound on M(θ) by branch and bound, with as much work as the first proof took and a reserve."""
    small, scales = rescaled(data.problem)
    size = float(np.abs(certificate.theta).max())
    if size == 0.0:
        return 0.0
    if data.problem.outputs > 1 or not boundable(small):
        raise _Refused("a bound is claimed where branch and bound is not served: too many inputs or several outputs")
    unit = scales.penalty(size / scales.targets)  # M of the original over M of θ / size in the rescaled problem
    found = bounded_maximum(
        small,
        certificate.theta / size,
        target=certificate.alpha * (1 + 0.5 * _FEASIBLE) / unit,
        max_cones=4 * certificate.work + 10_000,
    )
    return unit * found.upper


def _searched(certificate: "Certificate", data: _Data, seed: int) -> float:
    """The largest correlation that a search from fresh starts finds."""
    rng = np.random.default_rng(derived_seed("solvers.verification", seed))
    theta = certificate.theta.reshape(data.y.shape)
    return searched_correlation(data.X, theta, bias=certificate.bias, rng=rng, known=certificate.solution.u)


def _gap(certificate: "Certificate", data: _Data, found: dict[str, float]) -> float:
    """The relative gap of the dual point made feasible; refused if it is larger than claimed."""
    primal, dual = found["primal"], found["dual"]
    if found["maximum"] > certificate.alpha:
        shrunk = certificate.theta.reshape(data.y.shape) * (certificate.alpha / found["maximum"])
        dual = _dual_value(certificate, data, shrunk)[0]
    gap = max(0.0, primal - dual) / max(primal, certificate.floor) if primal > dual else 0.0
    if not gap <= certificate.claim * (1 + 1e-6) + 1e-12 + 4 * _FEASIBLE * (certificate.kind != "heuristic"):
        raise _Refused(f"the relative gap is {gap:.3g}, and only {certificate.claim:.3g} is claimed")
    return gap
