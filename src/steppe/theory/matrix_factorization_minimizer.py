"""The global minimizer of weight-decayed deep matrix factorization, and what all its factorizations share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steppe.core import (
    Fact,
    KindError,
    NotComputedError,
    ShapeError,
    check_integer,
    check_number,
)

from .matrix_factorization import (
    Array,
    check_matrix,
    critical_weight,
    fact,
    larger_root,
    local_minimum_threshold,
    singular_value_map,
    singular_value_threshold,
    singular_value_ties,
)

_EQUAL = 1e-12


@dataclass(frozen=True, eq=False, kw_only=True)
class EndToEndMinimizer:
    """The minimizer of scale · ‖M − W_L ⋯ W_1‖_F² + Σ_l weight_l ‖W_l‖_F², and what its factorizations share.

    Attributes:
        matrix: W* [d_L, d_0]; where it is not unique, the one in which tied singular values are zero.
        singular_values: s_k = s*(σ_k) [min(d_0, d_L)], descending; zero beyond the narrowest layer.
        target_singular_values: σ_k of the target.
        left: Left singular vectors of the target [d_L, min(d_0, d_L)].
        right: Right singular vectors of the target [d_0, min(d_0, d_L)].
        weights: Weight of each layer [L].
        scale: Factor of ‖M − W‖_F².
        sizes: d_0, …, d_L, or None if only the depth was given (hidden widths then suffice by assumption).
        ties: Whether a singular value that the layers could hold lies at the threshold: then minimizers with different
            singular values exist, and trace and spectrum are not the same at all of them.
        unique: Whether W* is unique: no ties, and no equal singular values of which a narrow layer keeps only some.
    """

    matrix: Array
    singular_values: Array
    target_singular_values: Array
    left: Array
    right: Array
    weights: tuple[float, ...]
    scale: float
    sizes: tuple[int, ...] | None
    ties: bool
    unique: bool

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self.weights)

    @property
    def rank(self) -> int:
        """How many singular values are kept."""
        return int(np.count_nonzero(self.singular_values))

    @property
    def weight(self) -> float:
        """The geometric mean of the layers' weights, on which W* depends alone."""
        return _mean_weight(self.weights)

    @property
    def threshold(self) -> Fact:
        """σ_th: smaller singular values of the target are lost."""
        return singular_value_threshold(self.weight, self.depth, scale=self.scale)

    @property
    def critical_weight(self) -> Fact:
        """The (mean) weight above which W* = 0."""
        return critical_weight(float(self.target_singular_values[0]), self.depth, scale=self.scale)

    @property
    def value(self) -> Fact:
        """The optimal value of the objective: scale · Σ_k (σ_k − s_k)² + weight · L Σ_k s_k^(2/L)."""
        gaps = self.target_singular_values - self.singular_values
        value = self.scale * float(gaps @ gaps) + self.weight * self.depth * self._power_sum(2 / self.depth)
        return fact(value, "smallest value of the objective")

    @property
    def layer_norms(self) -> Array:
        """‖W_l‖_F² of each layer [L], the same at all minimizers: Σ_k s_k^(2/L) if the weights are equal."""
        return self._power_sum(2 / self.depth) * self.weight / np.array(self.weights)

    @property
    def layer_spectral_norms(self) -> Array:
        """‖W_l‖ of each layer [L], the same at all minimizers: s_1^(1/L) if the weights are equal."""
        top = float(self.singular_values[0]) ** (1 / self.depth)
        return np.asarray(top * np.sqrt(self.weight / np.array(self.weights)))

    @property
    def trace(self) -> Fact:
        """The trace of the objective's Hessian, the same at all minimizers.

        2 scale · Σ_l (weight_l / weight) ‖A_l‖_F² ‖B_l‖_F² + 2 Σ_l weight_l d_l d_(l−1), where ‖A_l‖_F² =
        Σ_k s_k^(2(L−l)/L) over the kept k, or d_L for l = L; ‖B_l‖_F² = Σ_k s_k^(2(l−1)/L), or d_0 for l = 1.

        Raises:
            NotComputedError: The sizes are not known, or a singular value of the target is at the threshold.
        """
        sizes, depth = self.require_one_spectrum("trace"), self.depth
        sums = [self._power_sum(2 * power / depth) for power in range(depth)]
        after, before = [*sums[:0:-1], float(sizes[-1])], [float(sizes[0]), *sums[1:]]
        products = [a * b for a, b in zip(after, before, strict=True)]
        return self._trace(products, sizes, "trace of the Hessian at every minimizer")

    @property
    def trace_bound(self) -> Fact:
        """A simple lower bound of the trace, with equality at depth 2 and where one singular value is kept.

        With equal weights 2 scale · (d_0 + d_L + L − 2) Σ_k s_k^(2(L−1)/L) + 2 weight · (number of parameters).

        Raises:
            NotComputedError: The sizes are not known, or a singular value of the target is at the threshold.
        """
        sizes, depth = self.require_one_spectrum("trace_bound"), self.depth
        factors = [float(sizes[0]), *[1.0] * (depth - 2), float(sizes[-1])]
        total = self._power_sum(2 * (depth - 1) / depth)
        return self._trace([factor * total for factor in factors], sizes, "lower bound of the Hessian's trace")

    def require_one_spectrum(self, name: str) -> tuple[int, ...]:
        """The sizes, if all minimizers have the same Hessian spectrum.

        Raises:
            NotComputedError: The sizes are not known, or a singular value of the target is at the threshold.
        """
        if self.sizes is None:
            raise NotComputedError(f"`{name}` depends on the hidden widths; pass the sizes d_0, …, d_L as `depth`")
        if self.ties:
            raise NotComputedError(
                f"`{name}` differs between minimizers: a singular value of `target` is at the threshold "
                f"{float(self.threshold):g}; change `weight` a little"
            )
        return self.sizes

    def _power_sum(self, power: float) -> float:
        kept = self.singular_values[: self.rank]
        return float((kept**power).sum())

    def _trace(self, products: Sequence[float], sizes: Sequence[int], statement: str) -> Fact:
        """Sum over the layers of their share of the trace, from ‖A_l‖² ‖B_l‖² at equal weights."""
        value = 0.0
        for layer, (weight, product) in enumerate(zip(self.weights, products, strict=True)):
            value += 2 * self.scale * weight / self.weight * product + 2 * weight * sizes[layer] * sizes[layer + 1]
        return fact(value, statement, "no singular value of the target is at the threshold")

    def __str__(self) -> str:
        word = "unique" if self.unique else "not unique"
        return (
            f"end-to-end minimizer of rank {self.rank} ({word}): singular values "
            f"{', '.join(f'{s:.6g}' for s in self.singular_values)}; optimal value {float(self.value):.8g} "
            f"({self.scale:g} · ‖M − W‖² + {self.weight:g} · Σ ‖W_l‖² over {self.depth} layers)"
        )

    __repr__ = __str__


def end_to_end_minimizer(
    target: Any, weight: float | Sequence[float], depth: int | Sequence[int], *, scale: float = 1.0
) -> EndToEndMinimizer:
    """The minimizer of scale · ‖M − W_L ⋯ W_1‖_F² + Σ_l weight_l ‖W_l‖_F² over all layers, in closed form.

    W* = Σ_k s*(σ_k) u_k v_kᵀ with the singular vectors of M and `singular_value_map` at the geometric mean of the
    weights. A hidden layer narrower than min(d_0, d_L) keeps the largest singular values only.

    Args:
        target: M [d_L, d_0].
        weight: One weight > 0 for all layers, or one for each.
        depth: Number of layers L ≥ 2 with hidden widths ≥ min(d_0, d_L), or all sizes d_0, d_1, …, d_L, which trace
            and spectrum need.
        scale: Factor > 0 of ‖M − W‖_F². For ½ ‖M − W‖² + (λ/2) Σ ‖W_l‖² pass `weight=λ/2, scale=0.5`.

    Raises:
        DataError: The target is empty or not finite.
        ShapeError: The sizes do not fit the target, or there is not one weight per layer.
        ParameterError: A weight or the scale is not positive, or the depth is below 2.

    Cost: one singular value decomposition.

    Example:
        >>> best = end_to_end_minimizer([[3.0, 0.0], [0.0, 0.2]], 0.1, 3)
        >>> best.rank, best.unique, round(float(best.value), 4)
        (1, True, 0.6592)
    """
    matrix = check_matrix("target", target)
    sizes = None if isinstance(depth, int | np.integer) else check_sizes(depth, matrix.shape)
    layers = check_integer("depth", depth, minimum=2) if sizes is None else len(sizes) - 1
    weights = _check_weights(weight, layers)
    mean, factor = _mean_weight(weights), check_number("scale", scale, above=0.0)
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    room = min(sizes) if sizes else len(sigma)
    kept = singular_value_map(sigma, mean, layers, scale=factor)
    cut = room < len(sigma) and kept[room] > 0 and bool(sigma[room - 1] - sigma[room] <= _EQUAL * sigma[0])
    kept[room:] = 0.0
    ties = bool(np.any(singular_value_ties(sigma[:room], mean, layers, scale=factor)))
    return EndToEndMinimizer(
        matrix=(left * kept) @ right,
        singular_values=kept,
        target_singular_values=sigma,
        left=left,
        right=right.T,
        weights=weights,
        scale=factor,
        sizes=sizes,
        ties=ties,
        unique=not ties and not cut,
    )


def minimizer_trace(target: Any, weight: float | Sequence[float], sizes: Sequence[int], *, scale: float = 1.0) -> Fact:
    """The trace of the Hessian at every minimizer: `end_to_end_minimizer(...).trace`.

    Args:
        target: M [d_L, d_0].
        weight: One weight > 0 for all layers, or one for each.
        sizes: d_0, d_1, …, d_L.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        NotComputedError: A singular value of the target is at the threshold.
        DataError: The target is empty or not finite.
        ShapeError: The sizes do not fit the target.
        ParameterError: A number is out of range.
    """
    return end_to_end_minimizer(target, weight, sizes, scale=scale).trace


def local_minimum_values(
    target: Any, weight: float | Sequence[float], depth: int | Sequence[int], *, scale: float = 1.0
) -> Array:
    """The value of the objective at its local minima: entry r belongs to those that keep the r largest singular values.

    At a critical point every singular value of the product is 0 or a root of s^((L−2)/L) (σ − s) = λ, with M's
    singular vectors. At depth L ≥ 3 it is a local minimum if the roots are the larger ones and no singular value is
    kept while a larger one is lost; else a strict saddle (our derivation, for distinct singular values). At depth 2
    all local minima are global.

    Args:
        target: M [d_L, d_0].
        weight: One weight > 0 for all layers, or one for each.
        depth: L ≥ 2, or the sizes d_0, …, d_L.
        scale: Factor > 0 of ‖M − W‖_F².

    Returns:
        One value per rank 0, 1, …, up to the number of singular values above `local_minimum_threshold` (and the
        narrowest width); at depth 2 only the optimum.

    Raises:
        SteppeError: As `end_to_end_minimizer`.
    """
    best = end_to_end_minimizer(target, weight, depth, scale=scale)
    if best.depth == 2:
        return np.array([float(best.value)])
    sigma = best.target_singular_values[: min(best.sizes) if best.sizes else None]
    sigma = sigma[sigma > local_minimum_threshold(best.weight, best.depth, scale=best.scale)]
    roots = larger_root(sigma, best.weight, best.depth, best.scale)
    decay = best.weight * best.depth * roots ** (2 / best.depth)
    gains = best.scale * (sigma**2 - (sigma - roots) ** 2) - decay
    nothing = best.scale * float(best.target_singular_values @ best.target_singular_values)
    return np.asarray(nothing - np.cumsum([0.0, *gains]))


def check_sizes(sizes: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`sizes` as d_0, …, d_L with at least two layers, if they fit a target of this shape [d_L, d_0].

    Raises:
        KindError: They are no list of integers.
        ShapeError: There are fewer than three, or the ends do not fit.
        ParameterError: A size is below one.
    """
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray):
        raise KindError(f"`depth` must be an integer or the sizes d_0, …, d_L, got {sizes!r}; pass one of them")
    widths = tuple(check_integer(f"sizes[{i}]", size, minimum=1) for i, size in enumerate(sizes))
    if len(widths) < 3:
        raise ShapeError(f"`sizes` must hold at least 3 numbers (two layers), got {list(widths)}; pass d_0, …, d_L")
    if (widths[-1], widths[0]) != tuple(shape):
        raise ShapeError(
            f"`sizes` must begin with {shape[1]} and end with {shape[0]}, the columns and rows of the target, got "
            f"{list(widths)}; W_1 [d_1, d_0] acts first"
        )
    return widths


def _check_weights(weight: Any, layers: int) -> tuple[float, ...]:
    if not isinstance(weight, Sequence | np.ndarray) or isinstance(weight, str) or np.ndim(weight) == 0:
        return (check_number("weight", weight, above=0.0),) * layers
    if len(weight) != layers:
        raise ShapeError(f"`weight` must be a number or one per layer, {layers}, got {len(weight)}; pass as many")
    return tuple(check_number(f"weight[{i}]", one, above=0.0) for i, one in enumerate(weight))


def _mean_weight(weights: Sequence[float]) -> float:
    """The geometric mean; exact where all are equal."""
    if len(set(weights)) == 1:
        return weights[0]
    return math.exp(sum(map(math.log, weights)) / len(weights))
