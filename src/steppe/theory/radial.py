"""The isotropic radial family P(1 − ‖X‖ < δ) = δ^α: tails and the population weight g by quadrature."""

import math
from collections.abc import Callable
from typing import Any, Literal

from scipy import integrate

from steppe.core import Fact, check_choice, check_integer, check_number

_SOURCE = "Liang, Cloninger, Parhi, Wang (ICLR 2026), radial family"


def radial_marginal_tail(d: int, alpha: float, t: float) -> Fact:
    """p(t) = P(uᵀX > t) for radial inputs X = ρU, U uniform on the sphere, P(1 − ρ < δ) = δ^α.

    p(t) = k ∫_t^1 (1 − x²)^((d−3)/2) (1 − t/x)^α dx for t ≥ 0, with k = Γ(d/2)/(√π Γ((d−1)/2)), by adaptive quadrature
    (relative error about 1e-10). It is also the half-space depth at distance t.

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0.
        t: Threshold, any real number.

    Raises:
        ParameterError: d or α is out of range.
    """
    d, a, t = _checked(d, alpha, t)
    upper = _integral(d, a, abs(t), excess=False)
    return _fact(upper if t >= 0 else 1 - upper, "mass of the half-space uᵀx > t")


def radial_tail_excess(d: int, alpha: float, t: float) -> Fact:
    """s(t) = E(uᵀX − t)_+ for radial inputs, by the quadrature of `radial_marginal_tail`.

    Close to t = 1 it decays as (1 − t)^(α + (d+1)/2), and p as (1 − t)^(α + (d−1)/2).

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0.
        t: Threshold, any real number.

    Raises:
        ParameterError: d or α is out of range.
    """
    d, a, t = _checked(d, alpha, t)
    upper = _integral(d, a, abs(t), excess=True)
    return _fact(upper if t >= 0 else upper - t, "mean excess over the threshold")


def radial_weight(d: int, alpha: float, t: float, *, sides: Literal["both", "one"] = "both") -> Fact:
    """Population weight g of a neuron at threshold t for radial inputs, by adaptive quadrature.

    g̃ = s √(p² + (s + t p)²) with p = P(uᵀX > t) and s = E(uᵀX − t)_+; g is g̃ at |t|, the smaller side. Close to
    |t| = 1 it decays as (1 − |t|)^(d + 2α). α = 1 has the boundary exponents of the uniform ball but is another law.

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0.
        t: Threshold, any real number.
        sides: `"both"` is g, `"one"` is g̃ of the side uᵀx > t.

    Raises:
        ParameterError: d or α is out of range.
        UnknownNameError: `sides` is neither.
    """
    d, a, t = _checked(d, alpha, t)
    check_choice("sides", sides, ["both", "one"])
    r = abs(t)
    p, s = _integral(d, a, r, excess=False), _integral(d, a, r, excess=True)
    if sides == "one" and t < 0:
        p, s = 1 - p, s + r
        r = t
    return _fact(s * math.hypot(p, s + r * p), "weight of radial inputs")


def radial_weight_exponent(d: int, alpha: float) -> Fact:
    """The exponent d + 2α: g of radial inputs behaves as (1 − |t|)^(d + 2α) at the boundary (derived).

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0.
    """
    d, a, _ = _checked(d, alpha, 0.0)
    return _fact(d + 2 * a, "exponent of g at the boundary")


def _checked(d: int, alpha: float, t: float) -> tuple[int, float, float]:
    return check_integer("d", d, minimum=1), check_number("alpha", alpha, above=0.0), check_number("t", t)


def _integral(d: int, alpha: float, t: float, *, excess: bool) -> float:
    """P(uᵀX > t), or E(uᵀX − t)_+ if `excess`, for t ≥ 0: k ∫_t^1 (1 − x²)^((d−3)/2) x^e (1 − t/x)^β dx (/β).

    e = 0 and β = α for the probability, e = 1 and β = α + 1 for the excess.
    """
    if t >= 1:
        return 0.0
    beta = alpha + 1 if excess else alpha
    if d == 1:  # the projection is ±ρ
        return float(0.5 * (1 - t) ** beta / (beta if excess else 1.0))
    k = math.exp(math.lgamma(d / 2) - math.lgamma((d - 1) / 2)) / math.sqrt(math.pi)
    if t == 0:  # 1/2, and E ρ · E(U_1)_+
        return float(k / (d - 1) / beta) if excess else 0.5
    integral = (_far if t >= 0.1 else _near)(t, (d - 3) / 2, beta, float(excess))
    return float(k * integral / (beta if excess else 1.0))


def _far(t: float, a: float, beta: float, e: float) -> float:
    """∫_t^1 (1 − x²)^a x^e (1 − t/x)^β dx with x = 1 − hy, h = 1 − t.

    The end-point powers y^a (1 − y)^β are integrated exactly and the power of h is taken out, so that the relative
    accuracy does not suffer close to t = 1.
    """
    h = 1 - t
    value = _quad(lambda y: (2 - h * y) ** a * (1 - h * y) ** (e - beta), 0.0, 1.0, weight="alg", wvar=(a, beta))
    return float(h ** (a + beta + 1) * value)


def _near(t: float, a: float, beta: float, e: float) -> float:
    """The same for small t, where 1 − t/x varies on the scale of t: in log(x/t) up to √t, in x from there."""
    middle = math.sqrt(t)

    def logarithmic(z: float) -> float:
        x = t * math.exp(z)
        return float((1 - x * x) ** a * x ** (e + 1) * (-math.expm1(-z)) ** beta)

    def plain(x: float) -> float:
        return float((1 + x) ** a * x**e * (1 - t / x) ** beta)

    inner = _quad(logarithmic, 0.0, math.log(middle / t))
    return inner + _quad(plain, middle, 1.0, weight="alg", wvar=(0.0, a))


def _quad(function: Callable[[float], float], low: float, high: float, **options: Any) -> float:
    value, _ = integrate.quad(function, low, high, epsabs=0.0, epsrel=1e-10, limit=400, **options)
    return float(value)


def _fact(value: float, statement: str) -> Fact:
    law = ("inputs isotropic with P(1 − ‖X‖ < δ) = δ^α",)
    return Fact(value, source=_SOURCE, status="derived", statement=statement, hypotheses=law)
