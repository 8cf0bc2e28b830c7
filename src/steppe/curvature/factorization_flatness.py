"""The flattest factorizations of a matrix, and how far from them a deep linear network is."""

import math
from dataclasses import replace
from typing import Any

import torch

from steppe.core import Estimate, Fact, check_integer, check_number
from steppe.networks import layer_matrices, target_matrix

from .factorization import deep_linear_sharpness
from .factorization_space import magnitude, scaled, shifted

_SOURCE = "Mulayoff, Michaeli (2020), Unique Properties of Flat Minima in Deep Networks"


def flattest_sharpness(target: Any, depth: int, *, scale: float = 1.0) -> Fact:
    """The least sharpness of any factorization of `target` into `depth` layers: 2 scale · L σ_1^{2(L−1)/L}.

    Without data. Balanced factorizations attain it, and others do too.

    Args:
        target: M [d_L, d_0].
        depth: Number of layers L ≥ 1.
        scale: Factor > 0 of ‖M − W‖_F².

    Raises:
        KindError, ShapeError, DataError: The target is no finite matrix.
        ParameterError: A number is out of range.
        ComputationError: The value is beyond the range of float64.

    Example:
        >>> float(flattest_sharpness([[4.0]], 2))
        16.0
    """
    matrix = target_matrix(target)
    depth = check_integer("depth", depth, minimum=1)
    check_number("scale", scale, above=0.0)
    mantissa, exponent = scaled(matrix)
    sigma = float(torch.linalg.matrix_norm(mantissa, ord=2))
    power = 2 * (depth - 1) / depth
    whole = math.floor(exponent * power)
    value = depth * sigma**power * 2.0 ** (exponent * power - whole)
    return Fact(
        magnitude(value, whole, scale),
        source=_SOURCE,
        status="theorem",
        statement=f"least sharpness of {depth} layers that multiply to the target",
        hypotheses=("loss scale · ‖M − W_L ⋯ W_1‖_F²", "zero residual", "hidden widths ≥ rank M"),
    )


def flatness_ratio(layers: Any, *, rtol: float = 1e-10) -> Estimate:
    """Sharpness over the least sharpness of any factorization of the same product: 1 at the flattest, else larger.

    Without data, at zero residual; it depends neither on the loss's scale nor on a common factor of the layers.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        rtol: Relative tolerance of the sharpness.

    Returns:
        The ratio with its error; infinite where the product is zero and the sharpness is not, 1 where both are.

    Raises:
        SteppeError: As `deep_linear_sharpness`.
    """
    matrices = layer_matrices(layers)
    product = scaled(matrices[0])
    for matrix in matrices[1:]:
        product = scaled(matrix).times(product)
    shift = round(product.exponent / len(matrices))  # a common factor, so that the product is of order one
    found = deep_linear_sharpness([shifted(matrix, -shift) for matrix in matrices], rtol=rtol)
    whole = shifted(product.mantissa, product.exponent - shift * len(matrices))
    least = float(flattest_sharpness(whole, len(matrices)))
    if least == 0:
        return replace(found, value=math.inf if found.value > 0 else 1.0, error=0.0, quantity="flatness ratio")
    return replace(found, value=found.value / least, error=found.error / least, quantity="flatness ratio")


def is_flattest(layers: Any, *, rtol: float = 1e-8) -> bool:
    """Whether no factorization of the same product is flatter: λ_max ≤ (1 + rtol) · 2L σ_1^{2(L−1)/L}.

    Equal norm products ‖A_i‖ ‖B_i‖ alone do not say so: they must equal σ_1^{(L−1)/L}.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        rtol: Relative tolerance > 0.

    Raises:
        SteppeError: As `deep_linear_sharpness`.

    Example:
        >>> is_flattest([[[2.0, 0.0], [0.0, 2.0]], [[2.0, 0.0], [0.0, 0.5]]])  # though not balanced in Frobenius norm
        True
        >>> is_flattest([[[100.0], [-0.99]], [[1.0, 100.0]]])  # spectral norms nearly equal, but far too large
        False
    """
    rtol = check_number("rtol", rtol, above=0.0)
    return float(flatness_ratio(layers, rtol=min(rtol / 10, 1e-10))) <= 1 + rtol
