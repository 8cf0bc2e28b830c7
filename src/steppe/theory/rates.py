"""Exponents e > 0 of the rates n^(−e), constants and logarithms left out.

Every function returns a `Fact` with its source. An *upper* rate says that errors decay at least as fast, a *lower* rate
that no estimator decays faster; a smaller exponent is a slower rate.

Provisional until 1.0.
"""

from typing import Literal

from steppe.core import Fact, Status, check_choice, check_integer, check_number

_A = "Liang, Qiao, Wang, Parhi (NeurIPS 2025)"
_B = "Liang, Cloninger, Parhi, Wang (ICLR 2026)"
_C = "Liang, Singh, Parhi, Cloninger, Wang (2026)"

__all__ = [
    "flat_lower",
    "flat_upper",
    "low_norm_gap",
    "low_norm_mse",
    "mixture_upper",
    "patch_upper",
    "radial_lower",
    "radial_upper",
]


def flat_upper(d: int) -> Fact:
    """Generalization gap of every flat network on the uniform ball: n^(−1/(2d+4)), Theorem 3.5.

    The same exponent bounds the error to a noiseless target at the training inputs (Theorem 3.6).

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    return _fact(1 / (2 * d + 4), f"{_A}, Theorems 3.5 and 3.6", "theorem", "gap of flat networks, upper bound", _BALL)


def flat_lower(d: int) -> Fact:
    """Lower bound for flat networks on the uniform ball: n^(−2/(d+1)) for d ≥ 2 and n^(−1/2) for d = 1, Theorem 3.7.

    Args:
        d: Input dimension ≥ 1. For d = 1 the hard functions are bumps next to the boundary, not caps, hence the jump.
    """
    d = check_integer("d", d, minimum=1)
    value = 0.5 if d == 1 else 2 / (d + 1)
    return _fact(value, f"{_A}, Theorems 3.5 and 3.7", "theorem", "flat networks, lower bound for any estimator", _BALL)


def low_norm_gap(d: int) -> Fact:
    """Generalization gap of networks of bounded variation norm: n^(−(d+3)/(4d+6)).

    It decreases to 1/4, the dimension-free exponent that the paper states for weight decay. The finer exponent is
    recalled: it follows from the metric entropy (C/δ)^(2d/(d+3)) of the unit ball of the norm.

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    return _fact((d + 3) / (4 * d + 6), f"{_A}, comparison with low norm", "recalled", "gap at bounded norm", _NORM)


def low_norm_mse(d: int) -> Fact:
    """Squared error of the best estimator over a ball of the variation norm: n^(−(d+3)/(2d+3)), recalled.

    Args:
        d: Input dimension ≥ 1.
    """
    d = check_integer("d", d, minimum=1)
    return _fact((d + 3) / (2 * d + 3), f"{_A}, comparison with low norm", "recalled", "error at bounded norm", _NORM)


def radial_upper(d: int, alpha: float, *, kind: Literal["published", "valid", "safe"] = "published") -> Fact:
    """Generalization gap of flat networks on radial inputs, P(1 − ‖X‖ < δ) = δ^α.

    Two balances give two exponents, and the paper prints the first:

    * `"published"`: α(d+3) / (2(d² + 4αd + 3α)), the shell against the core;
    * `"valid"`: α / (2(d + 2α)), where the empirical weight is still within half of the population weight on the core
      (derived). At α = 1 it is the 1/(2d+4) of the uniform ball, while the published one is 1/(2d+2).
    * `"safe"`: the smaller of the two, which both arguments allow.

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0; small is close to the sphere, large is concentrated at the centre.
        kind: Which exponent.

    Raises:
        ParameterError: d or α is out of range.
        UnknownNameError: `kind` is not one of the three.
    """
    d = check_integer("d", d, minimum=1)
    a = check_number("alpha", alpha, above=0.0)
    check_choice("kind", kind, ["published", "valid", "safe"])
    published = a * (d + 3) / (2 * (d * d + 4 * a * d + 3 * a))
    valid = a / (2 * (d + 2 * a))
    value = {"published": published, "valid": valid, "safe": min(published, valid)}[kind]
    status: Status = "recalled" if kind == "published" else "derived"
    return _fact(value, f"{_B}, radial family", status, f"gap on radial inputs, upper bound ({kind})", _RADIAL)


def radial_lower(d: int, alpha: float) -> Fact:
    """Lower bound for flat networks on radial inputs: n^(−2α/(d−1+2α)).

    For d = 1 there are two caps only and the exponent is 1, true but weak: at α = 1 the bumps of `flat_lower` give 1/2.

    Args:
        d: Input dimension ≥ 1.
        alpha: α > 0.

    Raises:
        ParameterError: d or α is out of range.
    """
    d = check_integer("d", d, minimum=1)
    a = check_number("alpha", alpha, above=0.0)
    return _fact(2 * a / (d - 1 + 2 * a), f"{_B}, radial family", "recalled", "radial inputs, lower bound", _RADIAL)


def mixture_upper(dim: int) -> Fact:
    """Gap of flat networks on a mixture of low-dimensional balls: n^(−1/(2m+4)), whatever the ambient dimension.

    Args:
        dim: Dimension m ≥ 1 of the pieces.
    """
    m = check_integer("dim", dim, minimum=1)
    law = ("inputs uniform on unit balls of m-dimensional affine subspaces",)
    return _fact(1 / (2 * m + 4), f"{_B}, low-dimensional mixture", "recalled", "gap on mixtures, upper bound", law)


def patch_upper(size: int, d: int) -> Fact:
    """Gap of flat networks with shared patches of m of d coordinates, inputs on the sphere: n^(−(d−m)/(6d−2m)).

    Derived; it agrees with the abstract's n^(−1/6 + O(m/d)). The paper's own exponent was not read.

    Args:
        size: Coordinates per patch, 1 ≤ m < d.
        d: Input dimension ≥ 2.

    Raises:
        ParameterError: The patch is not smaller than the input.
    """
    d = check_integer("d", d, minimum=2)
    m = check_integer("size", size, minimum=1, maximum=d - 1)
    law = ("inputs uniform on the sphere", "locality and weight sharing")
    return _fact((d - m) / (6 * d - 2 * m), f"{_C}, main result", "derived", "gap with shared patches", law)


_BALL = ("inputs uniform on the unit ball", "n → ∞ with d fixed")
_NORM = ("inputs in the unit ball", "variation norm bounded", "n → ∞ with d fixed")
_RADIAL = ("inputs radial with P(1 − ‖X‖ < δ) = δ^α", "n → ∞ with d fixed")


def _fact(value: float, source: str, status: Status, statement: str, hypotheses: tuple[str, ...]) -> Fact:
    return Fact(value, source=source, status=status, statement=f"{statement}: n^(−{value:.4g})", hypotheses=hypotheses)
