"""What weight decay does to one singular value of a deep matrix factorization: map, threshold, critical weight.

The problem is min over W_1, …, W_L of scale · ‖M − W_L ⋯ W_1‖_F² + weight · Σ_l ‖W_l‖_F², the papers' loss, without
a factor ½. Only λ = weight/scale matters here.
"""

import math
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steppe.core import DataError, Fact, KindError, ShapeError, check_integer, check_number

Array = NDArray[np.float64]
SOURCE = "Kamber, Parhi (2026), On the Loss Landscape Geometry of Regularized Deep Matrix Factorization"
HYPOTHESES = (
    "loss scale · ‖M − W_L ⋯ W_1‖_F² + weight · Σ_l ‖W_l‖_F²",
    "hidden widths ≥ the number of singular values that are kept",
)
_TIE = 1e-12
_ITERATIONS = 100


@overload
def singular_value_map(sigma: float, weight: float, depth: int, *, scale: float = 1.0) -> Fact: ...
@overload
def singular_value_map(sigma: ArrayLike, weight: float, depth: int, *, scale: float = 1.0) -> Array: ...
def singular_value_map(sigma: Any, weight: Any, depth: Any, *, scale: Any = 1.0) -> Any:
    """s*(σ) = argmin_{s ≥ 0} (σ − s)² + λ L s^(2/L), what weight decay leaves of a singular value σ of the target.

    Depth 2: max(σ − λ, 0), the soft threshold. Depth L ≥ 3: 0 up to the threshold, where the map jumps to
    σ (L − 2)/(L − 1); above it the larger root of s^((L−2)/L) (σ − s) = λ. At the threshold itself 0 and the jump's
    upper end are both optimal: the map gives 0, a number says so in its `statement`, and `singular_value_ties` tells.

    Args:
        sigma: σ ≥ 0; an array of any shape gives an array.
        weight: Weight ≥ 0 of Σ_l ‖W_l‖_F².
        depth: L ≥ 2.
        scale: Factor > 0 of ‖M − W‖_F². For ½ ‖M − W‖² + (λ/2) Σ ‖W_l‖² pass `weight=λ/2, scale=0.5`.

    Raises:
        DataError: σ is empty, negative or not finite.
        ParameterError: The weight is negative, the scale not positive, or the depth below 2.

    Cost: fewer than ten Newton steps on log(1 − s/σ), at any scale of σ and λ. Accurate to rounding.

    Example:
        >>> [round(float(singular_value_map(3.0, 0.1, depth)), 4) for depth in (2, 3, 4)]
        [2.9, 2.9301, 2.9417]
    """
    values = _singular_values(sigma)
    depth, weight, scale = _setting(depth, weight, scale)
    found = _shrunk(values, weight, depth, scale)
    if values.ndim:
        return found
    statement = f"what remains of the singular value {float(values):g} at depth {depth} and weight {weight:g}"
    if singular_value_ties(values, weight, depth, scale=scale):
        top = float(values) * (depth - 2) / (depth - 1)
        statement += f"; not unique: at the threshold 0 and {top:g} are both optimal"
    return fact(float(found), statement)


def singular_value_ties(sigma: Any, weight: Any, depth: Any, *, scale: Any = 1.0, rtol: float = _TIE) -> Any:
    """Whether σ lies at the threshold, where two values are optimal and the minimizer is not unique.

    Args:
        sigma: σ ≥ 0, a number or an array.
        weight: Weight ≥ 0.
        depth: L ≥ 2; at depth 2 there are no ties.
        scale: Factor > 0 of ‖M − W‖_F².
        rtol: Relative distance to the threshold that counts as a tie: singular values carry rounding errors.

    Returns:
        A bool, or an array of them.

    Raises:
        DataError: σ is empty, negative or not finite.
        ParameterError: A number is out of range.
    """
    values = _singular_values(sigma)
    depth, weight, scale = _setting(depth, weight, scale)
    limit = _threshold(weight, depth, scale)
    tolerance = check_number("rtol", rtol, minimum=0.0) * limit
    tied = (np.abs(values - limit) <= tolerance) & (depth > 2 and weight > 0)
    return tied if values.ndim else bool(tied)


def singular_value_threshold(weight: float, depth: int, *, scale: float = 1.0) -> Fact:
    """σ_th = (L − 1)(L − 2)^(−(L−2)/(2(L−1))) λ^(L/(2(L−1))): smaller singular values of the target are set to zero.

    λ at depth 2, 2 λ^(3/4) at depth 3. The end-to-end minimizer is unique if and only if no singular value of the
    target equals it (depth ≥ 3; at depth 2 it is always unique).

    Args:
        weight: Weight ≥ 0 of Σ_l ‖W_l‖_F².
        depth: L ≥ 2.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        ParameterError: A number is out of range.

    Example:
        >>> float(singular_value_threshold(1.0, 3))
        2.0
    """
    depth, weight, scale = _setting(depth, weight, scale)
    return fact(_threshold(weight, depth, scale), f"largest singular value that is lost at weight {weight:g}")


def local_minimum_threshold(weight: float, depth: int, *, scale: float = 1.0) -> Fact:
    """The singular value of the target above which keeping it is a local minimum; below σ_th not a global one.

    (λ (2L − 2)/L)^(L/(2(L−1))) ((2L − 2)/(L − 2))^((L−2)/(2(L−1))), where s^((L−2)/L) (σ − s) = λ begins to have
    roots; σ_th at depth 2. Gradient methods started at large weights stop at such minima, from small weights at zero.

    Args:
        weight: Weight ≥ 0 of Σ_l ‖W_l‖_F².
        depth: L ≥ 2.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        ParameterError: A number is out of range.
    """
    depth, weight, scale = _setting(depth, weight, scale)
    power, double = depth / (2 * (depth - 1)), 2 * depth - 2
    roots = (double / (depth - 2)) ** ((depth - 2) / double) if depth > 2 else 1.0
    value = (double / depth) ** power * roots * math.pow(weight, power) / math.pow(scale, power)
    return fact(value, f"smallest singular value that a local minimum can keep at weight {weight:g}")


def critical_weight(sigma1: float, depth: int, *, scale: float = 1.0) -> Fact:
    """The weight above which zero is the unique end-to-end minimizer.

    scale · (L − 2)^((L−2)/L) (σ_1/(L − 1))^(2(L−1)/L), and scale · σ_1 at depth 2. For L ≥ 3 the collapse is a jump:
    just below it, the top singular value is still σ_1 (L − 2)/(L − 1), and at it both are optimal.

    Args:
        sigma1: Largest singular value σ_1 ≥ 0 of the target.
        depth: L ≥ 2.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        ParameterError: A number is out of range.

    Example:
        >>> float(critical_weight(2.0, 3))
        1.0
    """
    depth, _, scale = _setting(depth, 0.0, scale)
    top = check_number("sigma1", sigma1, minimum=0.0)
    exponent = 2 * (depth - 1) / depth
    with np.errstate(over="ignore"):
        value = scale * _power(depth - 2, (depth - 2) / depth) * np.float64(top / (depth - 1)) ** exponent
    return fact(float(value), f"weight at which the minimizer of a target with σ_1 = {top:g} collapses to zero")


def exceptional_distance(target: Any, weight: float, depth: int, *, scale: float = 1.0) -> Fact:
    """Distance of a target from the set of targets whose end-to-end minimizer is not unique: min_k |σ_k − σ_th|.

    The distance in the Frobenius norm and in the spectral norm alike (a singular value moves by at most the norm of
    the change, and one can be moved alone). Infinite at depth 2, where every target has a unique minimizer.

    Args:
        target: M [d_L, d_0].
        weight: Weight > 0 of Σ_l ‖W_l‖_F².
        depth: L ≥ 2.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        DataError: The target is empty or not finite.
        ParameterError: A number is out of range.
    """
    sigma = np.linalg.svd(check_matrix("target", target), compute_uv=False)
    depth, weight, scale = _setting(depth, weight, scale, positive=True)
    distance = math.inf if depth == 2 else float(np.abs(sigma - _threshold(weight, depth, scale)).min())
    return fact(distance, "distance to the targets without a unique end-to-end minimizer")


def fact(value: float, statement: str, *more: str) -> Fact:
    """A derived number of this theory."""
    return Fact(value, source=SOURCE, status="derived", statement=statement, hypotheses=(*HYPOTHESES, *more))


def check_matrix(name: str, value: Any) -> Array:
    """`value` as a float64 matrix that is neither empty nor infinite.

    Raises:
        KindError: It is no array of numbers.
        ShapeError: It is no matrix.
        DataError: It is empty or not finite.
    """
    matrix = _array(name, value)
    if matrix.ndim != 2:
        raise ShapeError(f"`{name}` must be a matrix [d_L, d_0], got shape {list(matrix.shape)}; pass two dimensions")
    return matrix


def _shrunk(sigma: Array, weight: float, depth: int, scale: float) -> Array:
    if weight == 0:
        return sigma.copy()
    if depth == 2:
        return np.asarray(np.maximum(sigma - weight / scale, 0.0))
    kept = sigma > _threshold(weight, depth, scale)
    result = np.zeros_like(sigma)
    result[kept] = larger_root(sigma[kept], weight, depth, scale)
    return result


def larger_root(sigma: Array, weight: float, depth: int, scale: float) -> Array:
    """The larger root s of s^((L−2)/L) (σ − s) = λ, for σ above `local_minimum_threshold`.

    With u = 1 − s/σ the condition is log u + (L−2)/L log(1 − u) = log λ σ^(−2(L−1)/L). The left side is concave in
    log u and rises up to the root, with a slope of at least 1 − 1/L if σ ≥ σ_th: Newton's method from u = right side
    ascends to it.
    """
    power = (depth - 2) / depth
    right = math.log(weight) - math.log(scale) - 2 * (depth - 1) / depth * np.log(sigma)
    log_u = right
    for _ in range(_ITERATIONS):
        u = np.exp(log_u)
        step = (log_u + power * np.log1p(-u) - right) / (1 - power * u / (1 - u))
        log_u = log_u - step
        if not np.any(np.abs(step) > 1e-15 * (1 + np.abs(log_u))):
            break
    return np.asarray(-np.expm1(log_u) * sigma)


def _threshold(weight: float, depth: int, scale: float) -> float:
    if depth == 2:
        return weight / scale
    power = depth / (2 * (depth - 1))
    factor = (depth - 1) * _power(depth - 2, -(depth - 2) / (2 * (depth - 1)))
    return factor * math.pow(weight, power) / math.pow(scale, power)


def _power(base: int, exponent: float) -> float:
    return 1.0 if base == 0 else math.pow(base, exponent)


def _setting(depth: Any, weight: Any, scale: Any, *, positive: bool = False) -> tuple[int, float, float]:
    return (
        check_integer("depth", depth, minimum=2),
        check_number("weight", weight, **({"above": 0.0} if positive else {"minimum": 0.0})),
        check_number("scale", scale, above=0.0),
    )


def _singular_values(sigma: Any) -> Array:
    values = _array("sigma", sigma)
    if np.any(values < 0):
        raise DataError(f"`sigma` must be ≥ 0, got {values.min():g}; singular values are not negative")
    return values


def _array(name: str, value: Any) -> Array:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KindError(f"`{name}` must hold real numbers, got {type(value).__name__}; pass an array") from error
    if array.size == 0:
        raise DataError(f"`{name}` must hold at least one number, got shape {list(array.shape)}; pass more")
    if not np.isfinite(array).all():
        raise DataError(f"`{name}` must be finite, got {array[~np.isfinite(array)][0]}; pass finite numbers")
    return array
