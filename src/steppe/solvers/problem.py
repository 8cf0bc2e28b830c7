"""The variation-norm problem: data, data fit and penalty, with its primal and dual values."""

import math
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from steppe.core import DataError, KindError, ParameterError, ShapeError, check_choice, check_number

from .fits import Fit, FitName, fit_named
from .free_part import FreePart, best_free_fit
from .solution import Solution, row_norms

Bias = Literal["free", "penalized"]
_BLOCK = 1 << 22  # entries of a block of features that is held at once


class VariationProblem:
    """Minimise P = Σ_i s_i l(y_i, f(x_i)) + α Σ_k ‖v_k‖₂ over all networks of all widths.

    f(x) = Σ_k v_k relu(w_k·x − b_k) + S(x) β. Weights s_i sum to one (1/n unless given), so that the squared fit is
    (1/2n) Σ (y − f)². Every neuron has penalty norm one and v_k carries its size; at balance, P is the loss with
    weight decay α/2 on inner and outer weights.

    * `bias="free"`: the norm is ‖w_k‖ and S = [x, 1] is always there (without it no minimizer exists in general): the
      penalty is the second-order Radon-domain total variation, `norms.variation_norm`.
    * `bias="penalized"`: the norm is ‖(w_k, b_k)‖; S is [x, 1] with `skip=True` and empty with `skip=False`.

    The object never changes; its arrays are read-only. Rows of weight zero are left out.

    Args:
        X: Inputs, n ≥ 1 rows and d ≥ 1 columns, finite.
        y: Targets: n numbers, or [n, c] for c outputs (squared fit only); labels −1 and 1 for the logistic fit.
        alpha: α > 0, in the unit of loss per penalty.
        fit: `"squared"`, `"logistic"`, `"huber"`, or a data fit such as `HuberFit(0.5)`.
        bias: Whether biases are penalized.
        skip: Whether an affine function is free.
        sample_weight: n numbers ≥ 0, not all zero; only their ratios count.

    Raises:
        KindError: Data are not real numbers.
        ShapeError: Shapes do not fit together.
        DataError: Data are empty or not finite, or labels do not suit the fit.
        ParameterError: α ≤ 0, or a free bias without skip.

    Example:
        >>> problem = VariationProblem([[0.0], [1.0], [2.0]], [0.0, 0.0, 1.0], alpha=0.01)
        >>> problem.n, problem.d, problem.free.shape
        (3, 1, (3, 2))
    """

    X: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n *c"]
    weights: Float[np.ndarray, " n"]
    alpha: float
    fit: Fit
    bias: Bias
    skip: bool
    unit: float

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        alpha: float,
        fit: FitName | Fit = "squared",
        bias: Bias = "free",
        skip: bool = True,
        sample_weight: Any = None,
    ) -> None:
        inputs, targets = _inputs(X), _numbers("y", y)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim not in (1, 2) or len(targets) != len(inputs) or targets.size == 0:
            raise ShapeError(
                f"`y` must have shape [{len(inputs)}] or [{len(inputs)}, c], got {list(targets.shape)}; "
                "pass one target per row of `X`"
            )
        check_choice("bias", bias, ["free", "penalized"])
        if bias == "free" and not skip:
            raise ParameterError(
                '`skip` must be True with bias="free", got False; without a free affine function no minimizer exists: '
                'pass skip=True, or bias="penalized"'
            )
        chosen = fit_named(fit)
        if targets.ndim == 2 and chosen.name != "squared":
            raise ParameterError(
                f'`fit` must be "squared" for several outputs, got "{chosen.name}"; fit them one by one'
            )
        weights, kept = _weights(sample_weight, len(inputs))
        if not kept.all():
            inputs, targets = inputs[kept], targets[kept]
        chosen.check_targets(targets)
        self._set("X", _frozen(inputs))
        self._set("y", _frozen(targets))
        self._set("weights", _frozen(weights))
        self._set("alpha", check_number("alpha", alpha, above=0.0))
        self._set("fit", chosen)
        self._set("bias", bias)
        self._set("skip", bool(skip))
        self._set("unit", 1.0)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a VariationProblem never changes; state a new one instead of setting `{name}`")

    def replaced(self, **changes: Any) -> "VariationProblem":
        """A copy with other attributes, unchecked; what was computed from the old ones is forgotten."""
        other = object.__new__(VariationProblem)
        for name in ("X", "y", "weights", "alpha", "fit", "bias", "skip", "unit"):
            value = changes.get(name, getattr(self, name))
            other._set(name, _frozen(value) if isinstance(value, np.ndarray) else value)
        return other

    def with_alpha(self, alpha: float) -> "VariationProblem":
        """The same problem with another α; data and bases are shared, not computed again."""
        other = object.__new__(VariationProblem)
        other.__dict__.update(self.__dict__)
        other._set("alpha", check_number("alpha", alpha, above=0.0))
        return other

    @property
    def n(self) -> int:
        """Number of samples of positive weight."""
        return len(self.X)

    @property
    def d(self) -> int:
        """Number of inputs."""
        return self.X.shape[1]

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return 1 if self.y.ndim == 1 else self.y.shape[1]

    @cached_property
    def Z(self) -> Float[np.ndarray, "n D"]:  # noqa: N802 - the literature's name
        """[X, −1]: the preactivation of a neuron u = (w, b) is Z u (−`unit` after `rescaled`)."""
        return _frozen(np.column_stack([self.X, np.full(self.n, -self.unit)]))

    @cached_property
    def free(self) -> Float[np.ndarray, "n q"]:
        """The columns that are not penalised: [X, 1], or none."""
        return _frozen(np.column_stack([self.X, np.ones(self.n)]) if self.skip else np.zeros((self.n, 0)))

    @cached_property
    def _part(self) -> FreePart:
        return FreePart(self.X)

    def penalty_norms(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, " k"]:
        """‖w‖ of every neuron if the bias is free, ‖(w, b)‖ if it is penalized."""
        return row_norms(u[:, : self.d] if self.bias == "free" else u)

    def features(self, u: Float[np.ndarray, "k D"]) -> Float[np.ndarray, "n k"]:
        """relu(Z uᵀ)."""
        return np.asarray(np.maximum(self.X @ u[:, : self.d].T - self.unit * u[:, self.d], 0.0))

    def evaluate(self, solution: Solution) -> Float[np.ndarray, "n *c"]:
        """The outputs of a solution on the data, [n] or [n, c]."""
        f = np.zeros_like(self.y)
        if solution.beta is not None and self.skip:
            f += self.X @ solution.beta[: self.d] + solution.beta[self.d]
        rows = max(1, _BLOCK // max(1, len(solution.u)))
        for first in range(0, self.n if len(solution.u) else 0, rows):
            part = slice(first, first + rows)
            preactivations = self.X[part] @ solution.u[:, : self.d].T - self.unit * solution.u[:, self.d]
            f[part] += np.maximum(preactivations, 0.0) @ solution.v
        return f

    def correlations(self, u: Float[np.ndarray, "k D"], rho: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, " k"]:
        """|Σ_i ρ_i relu(z_i·u)| of every neuron, the norm over outputs."""
        sums = np.zeros((len(u), self.outputs))
        rows = max(1, _BLOCK // max(1, len(u)))
        for first in range(0, self.n if len(u) else 0, rows):
            part = slice(first, first + rows)
            preactivations = self.X[part] @ u[:, : self.d].T - self.unit * u[:, self.d]
            sums += np.maximum(preactivations, 0.0).T @ rho[part].reshape(-1, self.outputs)
        return row_norms(sums)

    def loss(self, f: Float[np.ndarray, "n *c"]) -> float:
        """Σ_i s_i l(y_i, f_i)."""
        return float((self._spread * self.fit.values(f, self.y)).sum())

    def primal(self, solution: Solution, *, outputs: Float[np.ndarray, "n *c"] | None = None) -> float:
        """P of a solution whose neurons may have any penalty norm; `outputs` if they were evaluated before."""
        sizes = np.abs(solution.v) if solution.v.ndim == 1 else row_norms(solution.v)
        penalty = float(sizes @ self.penalty_norms(solution.u)) if len(sizes) else 0.0
        return self.loss(self.evaluate(solution) if outputs is None else outputs) + self.alpha * penalty

    @property
    def _spread(self) -> Float[np.ndarray, "n *c"]:
        return self.weights if self.y.ndim == 1 else self.weights[:, None]

    def rho(self, f: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """−s l'(y, f), made orthogonal to the free columns: the direction whose maximum the oracles look for."""
        return self.project_free(-self._spread * self.fit.gradient(f, self.y))

    def project_free(self, a: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The part of `a` orthogonal to the free columns; `a` itself without free part."""
        return self._part.project(a) if self.skip else a

    def affine_start(self) -> Float[np.ndarray, "q *c"]:
        """β of the best fit without neurons; no entries without free part.

        Raises:
            DataError: Logistic fit on labels that an affine function separates.
        """
        if not self.skip:
            return np.zeros((0, *self.y.shape[1:]))
        return self._part.coefficients(best_free_fit(self._part, self.fit, self.y, self.weights))

    def dual_value(self, theta: Float[np.ndarray, "n *c"]) -> float:
        """−Σ_i s_i l*(−θ_i / s_i): no network has a smaller P if θ is feasible; −∞ outside the domain."""
        value = 0.0 - float((self._spread * self.fit.conjugate(-theta / self._spread, self.y)).sum())
        return value if not math.isnan(value) else -math.inf

    def dual_point(self, rho: Float[np.ndarray, "n *c"], upper: float) -> Float[np.ndarray, "n *c"]:
        """θ = c ρ with the best c such that M(θ) ≤ α, given M(ρ) ≤ `upper`; ρ as `rho` returns it.

        θ = 0, which is always feasible, if `upper` is not finite or ρ leaves the domain of the conjugate.
        """
        return rho * self.dual_scale(rho, upper)

    def dual_scale(self, rho: Float[np.ndarray, "n *c"], upper: float) -> float:
        """The factor c of `dual_point`; |c| · upper ≤ α."""
        if not math.isfinite(upper) or not np.isfinite(rho).all():
            return 0.0
        limit = self.alpha / upper if upper > 0 else math.inf
        size = float(np.abs(rho).max())
        if size == 0.0:
            return 0.0
        if self.fit.name != "squared":
            return self._searched_scale(rho, min(limit, 2.0))
        unit = rho / size  # squares of tiny or huge numbers stay in range
        least = float((np.square(unit) / self._spread).sum())
        best = float((unit * (self.y / size)).sum()) / least
        return float(np.clip(best, -limit, limit))

    def _searched_scale(self, rho: Float[np.ndarray, " n"], limit: float) -> float:
        """Golden-section search of the concave c ↦ D(c ρ) on [0, limit]; compared with both ends."""
        golden = (math.sqrt(5.0) - 1.0) / 2.0
        low, high = 0.0, limit
        for _ in range(80):
            left, right = high - golden * (high - low), low + golden * (high - low)
            if self.dual_value(left * rho) < self.dual_value(right * rho):
                low = left
            else:
                high = right
        tried = [0.0, 0.5 * (low + high), min(1.0, limit), limit]
        return max(tried, key=lambda c: self.dual_value(c * rho))


def _frozen(array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    array = np.ascontiguousarray(array)
    if array.base is not None or array.flags.writeable:
        array = array.copy()
    array.setflags(write=False)
    return array


def _inputs(X: Any) -> Float[np.ndarray, "n d"]:
    inputs = _numbers("X", X)
    if inputs.ndim != 2:
        raise ShapeError(f"`X` must have shape [n, d], got {list(inputs.shape)}; pass one row per sample")
    if inputs.shape[0] < 1 or inputs.shape[1] < 1:
        raise DataError(f"`X` must have at least one row and one column, got {list(inputs.shape)}; pass some data")
    return inputs


def _numbers(name: str, values: Any) -> Float[np.ndarray, "..."]:
    """`values` as finite float64; torch tensors come through their array interface."""
    try:
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except ValueError as error:
        raise ShapeError(f"`{name}` must be an array, got rows of unequal length; pass rows of one length") from error
    if array.dtype.kind not in "fiubO":
        raise KindError(f"`{name}` must hold real numbers, got dtype {array.dtype}; pass floats")
    try:
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise KindError(f"`{name}` must hold real numbers, got {type(values).__name__}; pass floats") from error
    if not np.isfinite(array).all():
        raise DataError(f"`{name}` must be finite, got NaN or infinity; drop or impute those samples")
    return array


def _weights(sample_weight: Any, n: int) -> tuple[Float[np.ndarray, " m"], np.ndarray]:
    """Weights that sum to one, of the samples where they are positive, and which those are."""
    if sample_weight is None:
        return np.full(n, 1.0 / n), np.ones(n, dtype=bool)
    raw = _numbers("sample_weight", sample_weight)
    if raw.shape != (n,):
        raise ShapeError(f"`sample_weight` must have shape [{n}], got {list(raw.shape)}; pass one weight per sample")
    if (raw < 0).any() or not (raw > 0).any():
        raise DataError("`sample_weight` must be ≥ 0 and not all zero, got others; drop those samples")
    kept = raw > 0
    scaled = raw[kept] / raw.max()
    return scaled / scaled.sum(), kept
