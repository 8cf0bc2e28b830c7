"""How far patches of a point on the sphere lie from the sphere of the patch: the radial law that locality creates."""

from scipy import special

from steppe.core import Fact, check_integer, check_number

_SOURCE = "Liang, Singh, Parhi, Cloninger, Wang (2026)"


def patch_radial_tail(size: int, d: int, delta: float) -> Fact:
    """P(‖z‖ > 1 − δ) for m of the d coordinates z of a uniform point of the sphere S^(d−1).

    ‖z‖² has the law Beta(m/2, (d−m)/2), with mean m/d, so that the tail is the regularised incomplete beta function
    I_{1−(1−δ)²}((d−m)/2, m/2). Close to δ = 0 it decays as δ^((d−m)/2): the radial family in R^m with the exponent of
    `patch_radial_exponent`, deep where the whole point lies on the boundary.

    Args:
        size: Coordinates per patch, 1 ≤ m < d.
        d: Input dimension ≥ 2.
        delta: δ in [0, 1].

    Raises:
        ParameterError: A number is out of range.

    Example:
        >>> round(float(patch_radial_tail(2, 10, 0.3)), 6)
        0.067652
    """
    m, d = _sizes(size, d)
    margin = check_number("delta", delta, minimum=0.0, maximum=1.0)
    tail = float(special.betainc((d - m) / 2, m / 2, margin * (2 - margin)))
    return _fact(tail, f"P(‖z‖ > 1 − {margin:g}) for {m} of {d} coordinates", d)


def patch_radial_exponent(size: int, d: int) -> Fact:
    """α = (d − m)/2, the exponent of P(1 − ‖z‖ < δ) ≍ δ^α for m of the d coordinates of a point of the sphere.

    Args:
        size: Coordinates per patch, 1 ≤ m < d.
        d: Input dimension ≥ 2.

    Raises:
        ParameterError: The patch is not smaller than the input.
    """
    m, d = _sizes(size, d)
    return _fact((d - m) / 2, f"P(1 − ‖z‖ < δ) decays as δ to this power for {m} of {d} coordinates", d)


def _sizes(size: int, d: int) -> tuple[int, int]:
    d = check_integer("d", d, minimum=2)
    return check_integer("size", size, minimum=1, maximum=d - 1), d


def _fact(value: float, statement: str, d: int) -> Fact:
    law = (f"inputs uniform on the sphere S^{d - 1}",)
    return Fact(value, source=_SOURCE, status="derived", statement=statement, hypotheses=law)
