"""Ridge splines: the polynomials that a derivative order leaves free, and the width that suffices.

Parhi, Nowak, *Banach Space Representer Theorems for Neural Networks and Ridge Splines*, JMLR 22(43), 2021.
"""

import math

from steppe.core import Fact, check_integer

_SOURCE = "Parhi, Nowak (JMLR 22(43), 2021), Theorem 1"


def free_polynomials(d: int, order: int) -> Fact:
    """Dimension of the polynomials of degree < order in d variables, C(d + order − 1, d).

    Args:
        d: Input dimension ≥ 1.
        order: Order m ≥ 2 of the derivative whose variation is penalized; 2 is ReLU, with 1 + d affine functions free.

    Example:
        >>> int(free_polynomials(2, 3))
        6
    """
    d, order = check_integer("d", d, minimum=1), check_integer("order", order, minimum=2)
    return Fact(
        math.comb(d + order - 1, d),
        source=_SOURCE,
        status="theorem",
        statement="dimension of the polynomials that are not penalized",
    )


def ridge_spline_width(n: int, d: int, order: int = 2) -> Fact:
    """Number of neurons with which some optimal ridge spline does: n − C(d + order − 1, d), at least 0.

    The optimum of any data fit of n values plus the variation of the order-th derivative is attained by a network with
    activation max(t, 0)^(order − 1)/(order − 1)!, a free polynomial of degree < order and at most so many neurons.

    Args:
        n: Number of samples at which the free polynomials are determined.
        d: Input dimension ≥ 1.
        order: m ≥ 2.

    Example:
        >>> int(ridge_spline_width(10, 2))
        7
    """
    n = check_integer("n", n, minimum=1)
    return Fact(
        max(0, n - int(free_polynomials(d, order))),
        source=_SOURCE,
        status="theorem",
        statement="a solution with at most so many neurons exists",
        hypotheses=("the data determine the free polynomials",),
    )
