"""The uniform law on the unit ball: marginal tails and the population weight g, accurate up to the boundary."""

import math
from functools import lru_cache
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from steppe.core import DataError, Fact, check_choice, check_integer, check_number

Array = NDArray[np.float64]
Sides = Literal["both", "one"]
_SOURCE = "Liang, Qiao, Wang, Parhi (NeurIPS 2025), Appendix on the uniform ball"
_NODES = 48


def ball_marginal_constant(d: int) -> Fact:
    """c_1(d) in the density c_1 (1 − x²)^((d−1)/2) of one coordinate of a uniform point in the unit ball.

    c_1 = Γ(d/2 + 1) / (√π Γ((d+1)/2)): 1/2, 2/π, 3/4, 15/16 for d = 1, 2, 3, 5.

    Args:
        d: Input dimension ≥ 1.
    """
    return _fact(_constant(check_integer("d", d, minimum=1)), "constant of the marginal density")


@overload
def ball_marginal_tail(d: int, t: float) -> Fact: ...
@overload
def ball_marginal_tail(d: int, t: ArrayLike) -> Array: ...
def ball_marginal_tail(d: int, t: Any) -> Any:
    """p(t) = P(X_1 > t) for a uniform point of the unit ball: ½ I_{1−t²}((d+1)/2, ½) for t ≥ 0, exact.

    It is the mass of the cap {x : uᵀx > t}, and the half-space depth of a point at distance t from the centre.

    Args:
        d: Input dimension ≥ 1.
        t: Threshold, any real number; an array gives an array.
    """
    return _over(d, t, _tail, "mass of the half-space uᵀx > t")


@overload
def ball_tail_moment(d: int, t: float) -> Fact: ...
@overload
def ball_tail_moment(d: int, t: ArrayLike) -> Array: ...
def ball_tail_moment(d: int, t: Any) -> Any:
    """N(t) = E[X_1 1{X_1 > t}] = c_1 (1 − t²)^((d+1)/2) / (d+1) for a uniform point of the unit ball, exact.

    Args:
        d: Input dimension ≥ 1.
        t: Threshold, any real number; an array gives an array.
    """
    return _over(d, t, _moment, "E[X_1 1{X_1 > t}]")


@overload
def ball_tail_excess(d: int, t: float) -> Fact: ...
@overload
def ball_tail_excess(d: int, t: ArrayLike) -> Array: ...
def ball_tail_excess(d: int, t: Any) -> Any:
    """s(t) = E[(X_1 − t)_+] = N(t) − t p(t) for a uniform point of the unit ball.

    Near |t| = 1 the difference cancels; here it is a Gauss–Jacobi quadrature with positive terms, accurate to about
    1e-14 in relative terms up to the boundary.

    Args:
        d: Input dimension ≥ 1.
        t: Threshold, any real number; an array gives an array.
    """
    return _over(d, t, _excess, "E[(X_1 − t)_+]")


@overload
def ball_weight(d: int, t: float, *, sides: Sides = "both") -> Fact: ...
@overload
def ball_weight(d: int, t: ArrayLike, *, sides: Sides = "both") -> Array: ...
def ball_weight(d: int, t: Any, *, sides: Sides = "both") -> Any:
    """Population weight g of a neuron at threshold t when inputs are uniform on the unit ball, exact.

    g̃(t) = (N − t p) √(p² + N²) for the side uᵀx > t, and g(t) = g̃(|t|) is the smaller of the two sides. It does not
    depend on the direction u, vanishes for |t| ≥ 1 and behaves as G_d (1 − |t|)^(d+2) there. Relative accuracy about
    1e-13, also near |t| = 1.

    Args:
        d: Input dimension ≥ 1.
        t: Threshold, any real number; an array gives an array.
        sides: `"both"` is g, `"one"` is g̃ of the side uᵀx > t.

    Raises:
        ParameterError: d < 1.
        UnknownNameError: `sides` is neither.

    Example:
        >>> round(ball_weight(1, 0.5), 8)  # ((1 − t)³ / 8) √(1 + ((1 + t)/2)²)
        0.01953125
    """
    check_choice("sides", sides, ["both", "one"])

    def weight(d: int, t: Array) -> Array:
        t = np.abs(t) if sides == "both" else t
        return np.asarray(_excess(d, t) * np.hypot(_tail(d, t), _moment(d, t)))

    return _over(d, t, weight, "weight g of the uniform ball" if sides == "both" else "weight g̃ of the uniform ball")


def ball_weight_limit(d: int) -> Fact:
    """G_d = lim g(t) / (1 − |t|)^(d+2) as |t| → 1: √2 c_1² 2^(d−1) 8 / ((d+1)² (d+3)).

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    value = math.sqrt(2) * _constant(d) ** 2 * 2.0 ** (d - 1) * 8 / ((d + 1) ** 2 * (d + 3))
    return _fact(value, "limit of g / (1 − |t|)^(d+2) at the boundary")


@overload
def canonical_weight(d: int, t: float) -> Fact: ...
@overload
def canonical_weight(d: int, t: ArrayLike) -> Array: ...
def canonical_weight(d: int, t: Any) -> Any:
    """The weight (1 − |t|)_+^(d+2) with which the paper states its rates: g of the uniform ball up to constants.

    Args:
        d: Input dimension ≥ 1.
        t: Threshold, any real number; an array gives an array.
    """
    return _over(d, t, lambda d, t: np.maximum(1 - np.abs(t), 0.0) ** (d + 2), "canonical weight")


@overload
def ball_depth(d: int, distance: float) -> Fact: ...
@overload
def ball_depth(d: int, distance: ArrayLike) -> Array: ...
def ball_depth(d: int, distance: Any) -> Any:
    """Half-space (Tukey) depth of a point at this distance from the centre, inputs uniform on the unit ball.

    inf_u P(uᵀ(X − x) ≥ 0) = P(X_1 ≥ ‖x‖), because the law is isotropic (derived).

    Args:
        d: Input dimension ≥ 1.
        distance: ‖x‖ ≥ 0; an array gives an array.

    Raises:
        ParameterError: A distance is negative.
    """
    rho = _numbers("distance", distance)
    if np.any(rho < 0):
        check_number("distance", float(rho.min()), minimum=0.0)
    return _over(d, distance, _tail, "half-space depth in the uniform ball", name="distance")


def _constant(d: int) -> float:
    return math.exp(math.lgamma(d / 2 + 1) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


@lru_cache(maxsize=256)
def _jacobi(power: int, a: float) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1] for the weight (1 − y)^power y^a."""
    x, w = special.roots_jacobi(_NODES, float(power), a)
    return (1 + x) / 2, w / 2.0 ** (power + a + 1)


def cap_integral(d: int, height: Array, power: int) -> Array:
    """c_1 ∫_0^h (h − s)^power (2s − s²)^((d−1)/2) ds for 0 ≤ h ≤ 1: every term is positive, nothing cancels."""
    a = (d - 1) / 2
    y, w = _jacobi(power, a)
    h = np.clip(np.asarray(height, dtype=np.float64), 0.0, 1.0)
    smooth = (1 - 0.5 * h[..., None] * y) ** a @ w
    return np.asarray(_constant(d) * 2.0**a * h ** (power + a + 1) * smooth)


def _tail(d: int, t: Array) -> Array:
    r = np.minimum(np.abs(t), 1.0)
    upper = 0.5 * special.betainc((d + 1) / 2, 0.5, (1 - r) * (1 + r))
    return np.asarray(np.where(t >= 0, upper, 1 - upper), dtype=np.float64)


def _moment(d: int, t: Array) -> Array:
    r = np.minimum(np.abs(t), 1.0)
    return np.asarray(_constant(d) * ((1 - r) * (1 + r)) ** ((d + 1) / 2) / (d + 1))


def _excess(d: int, t: Array) -> Array:
    return cap_integral(d, 1 - np.abs(t), 1) + np.maximum(-t, 0.0)


def _numbers(name: str, t: Any) -> Array:
    values = np.asarray(t, dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"`{name}` must be finite, got {values[~np.isfinite(values)][0]}; pass finite numbers")
    return values


def _over(d: int, t: Any, function: Any, statement: str, *, name: str = "t") -> Any:
    d = check_integer("d", d, minimum=1)
    values = _numbers(name, t)
    result = function(d, np.atleast_1d(values))
    return _fact(float(result[0]), statement) if values.ndim == 0 else result


def _fact(value: float, statement: str) -> Fact:
    return Fact(
        value, source=_SOURCE, status="derived", statement=statement, hypotheses=("inputs uniform on the unit ball",)
    )
