"""Hard functions at the boundary of the ball: caps, their atoms, packings and the lower bounds built on them.

A cap of parameter ε has height h = ε²: C(u) = {x in the unit ball : uᵀx > 1 − ε²}. Its normalised atom is
Φ_u(x) = ε⁻² φ(uᵀx − (1 − ε²)), of maximum 1.
"""

import math

import numpy as np
from scipy import special

from steppe.core import Fact, Status, check_integer, check_number

from .ball import ball_marginal_constant, cap_integral

_SOURCE = "Liang, Qiao, Wang, Parhi (NeurIPS 2025), hard functions"


def cap_mass(d: int, epsilon: float) -> Fact:
    """P(X in C) of a cap of height ε² for inputs uniform on the unit ball, exact.

    `cap_mass_bounds` encloses it.

    Args:
        d: Input dimension ≥ 1.
        epsilon: ε in (0, 1].
    """
    d, h = _checked(d, epsilon)
    return _fact(0.5 * special.betainc((d + 1) / 2, 0.5, h * (2 - h)), "mass of a cap of height ε²")


def cap_mass_limit(d: int) -> Fact:
    """U = lim P(C)/ε^(d+1) = 2^((d+1)/2) c_1/(d+1) as ε → 0; P(C) ≤ U ε^(d+1) for every ε.

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    return _fact(2 ** ((d + 1) / 2) * ball_marginal_constant(d) / (d + 1), "limit of the cap mass over ε^(d+1)")


def atom_energy(d: int, epsilon: float) -> Fact:
    """‖Φ‖² = E Φ(X)² of the normalised atom for inputs uniform on the unit ball, exact.

    c_1 h⁻² ∫_0^h (h − s)² (2s − s²)^((d−1)/2) ds with h = ε², by a quadrature whose terms are all positive.

    Args:
        d: Input dimension ≥ 1.
        epsilon: ε in (0, 1].
    """
    d, h = _checked(d, epsilon)
    return _fact(float(cap_integral(d, np.array([h]), 2)[0]) / h**2, "squared norm of a normalised cap atom")


def atom_energy_limit(d: int) -> Fact:
    """The limit of ‖Φ‖²/ε^(d+1) as ε → 0: c_1 2^((d−1)/2) B((d+1)/2, 3).

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    value = ball_marginal_constant(d) * 2 ** ((d - 1) / 2) * special.beta((d + 1) / 2, 3)
    return _fact(value, "limit of ‖Φ‖² over ε^(d+1)")


def hard_family_seminorm(d: int, epsilon: float, size: int) -> Fact:
    """|Σ ξ_i Φ_{u_i}|_{V_g} = N ε^(2d+2) for N disjoint atoms with signs, under the canonical weight (1 − |t|)^(d+2).

    Args:
        d: Input dimension ≥ 1.
        epsilon: ε in (0, 1].
        size: Number of atoms N ≥ 0.
    """
    d, h = _checked(d, epsilon)
    n = check_integer("size", size, minimum=0)
    return _fact(n * h ** (d + 1), "weighted variation seminorm of N disjoint cap atoms", status="theorem")


def disc_packing_size(epsilon: float) -> Fact:
    """The largest number of disjoint caps of height ε² in the disc (d = 2): ⌊π / arccos(1 − ε²)⌋, exact.

    Centres at the angles 2πj/N attain it.

    Args:
        epsilon: ε in (0, 1].
    """
    _, h = _checked(2, epsilon)
    angle = 2 * math.asin(math.sqrt(h / 2))  # arccos(1 − h) without cancellation
    return _fact(math.floor(math.pi / angle * (1 + 1e-14)), "largest number of disjoint caps in the disc")


def packing_size_bound(d: int, epsilon: float) -> Fact:
    """An upper bound on the number of disjoint caps of height ε² in the unit ball, by surface area, ≍ ε^(−(d−1)).

    Caps are disjoint iff their centres are at angles ≥ 2θ, θ = arccos(1 − ε²); spherical caps of angle θ around the
    centres do not overlap, so N ≤ 1/σ(θ), σ(θ) = ½ I_{sin²θ}((d−1)/2, ½) the share of the sphere in one of them.
    For d = 1 there are two caps.

    Args:
        d: Input dimension ≥ 1.
        epsilon: ε in (0, 1].
    """
    d, h = _checked(d, epsilon)
    share = 0.5 if d == 1 else 0.5 * special.betainc((d - 1) / 2, 0.5, h * (2 - h))
    return _fact(math.floor((1 + 1e-14) / share), "upper bound on the number of disjoint caps")


def empty_cap_probability(d: int, n: int, *, kappa: float = 1.0) -> Fact:
    """(1 − P(C))^n: the probability that a cap with ε = κ n^(−1/(d+1)) holds none of n uniform samples, exact.

    Args:
        d: Input dimension ≥ 1.
        n: Number of samples ≥ 1.
        kappa: κ > 0, with ε ≤ 1.

    Raises:
        ParameterError: A number is out of range, or κ n^(−1/(d+1)) exceeds 1.
    """
    d = check_integer("d", d, minimum=1)
    n = check_integer("n", n, minimum=1)
    epsilon = check_number("kappa", kappa, above=0.0, maximum=n ** (1 / (d + 1))) * n ** (-1 / (d + 1))
    return _fact(math.exp(n * math.log1p(-cap_mass(d, min(epsilon, 1.0)))), "probability that a cap holds no sample")


def empty_cap_limit(d: int, *, kappa: float = 1.0) -> Fact:
    """e^(−U κ^(d+1)): the limit of `empty_cap_probability` as n → ∞.

    Args:
        d: Input dimension ≥ 1.
        kappa: κ > 0.
    """
    d = check_integer("d", d, minimum=1)
    k = check_number("kappa", kappa, above=0.0)
    return _fact(math.exp(-cap_mass_limit(d) * k ** (d + 1)), "limiting probability that a cap holds no sample")


def cap_mass_bounds(d: int, epsilon: float) -> tuple[Fact, Fact]:
    """The two-sided bound 2c_1/(d+1) ε^(d+1) ≤ P(C) ≤ U ε^(d+1).

    They follow from 1 ≤ 2 − s ≤ 2 under the integral of the marginal density over the height s of the cap.

    Args:
        d: Input dimension ≥ 1.
        epsilon: ε in (0, 1].
    """
    d, _ = _checked(d, epsilon)
    low = 2 * ball_marginal_constant(d) / (d + 1) * epsilon ** (d + 1)
    high = cap_mass_limit(d) * epsilon ** (d + 1)
    return _fact(low, "lower bound on the cap mass"), _fact(high, "upper bound on the cap mass")


def varshamov_gilbert_size(size: int) -> Fact:
    """Sign vectors of length N that differ pairwise in at least N/8 places: there are at least 2^(N/8).

    The Varshamov–Gilbert bound (textbook form, N ≥ 8), recalled.

    Args:
        size: N ≥ 8.
    """
    n = check_integer("size", size, minimum=8)
    return Fact(
        2.0 ** (n / 8),
        source="Varshamov–Gilbert bound (Tsybakov 2009, Lemma 2.9)",
        status="recalled",
        statement="number of sign vectors at pairwise Hamming distance ≥ N/8",
        hypotheses=("N ≥ 8",),
    )


def fano_epsilon(d: int, n: int, noise: float) -> Fact:
    """The cap parameter at which n noisy samples cannot tell the hard functions apart, constants left out.

    n ε²/σ² ≍ ε^(−(d−1)) gives ε = (σ²/n)^(1/(d+1)); for d = 1 the bumps at the boundary give (σ²/n)^(1/2).

    Args:
        d: Input dimension ≥ 1.
        n: Number of samples ≥ 1.
        noise: Standard deviation σ > 0 of the label noise.
    """
    d = check_integer("d", d, minimum=1)
    n = check_integer("n", n, minimum=1)
    variance = check_number("noise", noise, above=0.0) ** 2
    return _fact((variance / n) ** (1 / (d + 1)), "scale ε of the Fano argument, up to constants", status="theorem")


def fano_risk(d: int, n: int, noise: float) -> Fact:
    """The minimax risk of the hard family, constants left out: ε² = (σ²/n)^(2/(d+1)); for d = 1, ε = (σ²/n)^(1/2).

    Args:
        d: Input dimension ≥ 1.
        n: Number of samples ≥ 1.
        noise: Standard deviation σ > 0 of the label noise.
    """
    epsilon = fano_epsilon(d, n, noise)
    return _fact(
        float(epsilon) ** (1 if d == 1 else 2), "minimax risk, up to constants (Theorem 3.7)", status="theorem"
    )


def sphere_interpolation_bound(
    n: int, label_bound: float, *, balanced: bool = True, radius: float = 1.0, patches: int = 1
) -> Fact:
    """Sharpness at which a network of width n interpolates any labels |y_i| ≤ D on distinct points of the sphere.

    One neuron per sample, active on it alone. With |v_i| = 1 and activation |y_i|, λ_max ≤ 1 + (D² + 2)/n (the paper);
    with v_i² = |y_i|/√2, the best split, λ_max ≤ 1 + 2√2 D/n (derived). Both are equalities when all |y_i| = D. On a
    sphere of radius R, 2 is 1 + R² and 2√2 is 2√(1 + R²). A network that pools over L patches, each on its own sphere,
    has 1 + 2√2 D/(nL), or 1 + (D² + 2/L²)/n with |v_i| = 1 (derived).

    Args:
        n: Number of samples ≥ 1.
        label_bound: D ≥ 0.
        balanced: Use the best split.
        radius: R > 0.
        patches: L ≥ 1.
    """
    n = check_integer("n", n, minimum=1)
    pooled = check_integer("patches", patches, minimum=1)
    bound = check_number("label_bound", label_bound, minimum=0.0)
    inner = 1 + check_number("radius", radius, above=0.0) ** 2
    value = 1 + (2 * math.sqrt(inner) * bound / pooled if balanced else bound**2 + inner / pooled**2) / n
    plain = not balanced and pooled == 1 and radius == 1
    return Fact(
        value,
        source="Liang, Cloninger, Parhi, Wang (ICLR 2026), sphere",
        status="theorem" if plain else "derived",
        statement="sharpness of an interpolating network on the sphere",
        hypotheses=(f"distinct samples on a sphere of radius {radius:g}", "|y_i| ≤ D", "loss (1/2n) Σ r_i²"),
    )


def _checked(d: int, epsilon: float) -> tuple[int, float]:
    d = check_integer("d", d, minimum=1)
    return d, check_number("epsilon", epsilon, above=0.0, maximum=1.0) ** 2


def _fact(value: float, statement: str, *, status: Status = "derived") -> Fact:
    return Fact(
        value, source=_SOURCE, status=status, statement=statement, hypotheses=("inputs uniform on the unit ball",)
    )
