"""Where the Hessian of a deep linear network lives at a minimizer: the space of its output maps."""

import math
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError

_SMALLEST = 2.0**-1022
_NEGLIGIBLE = -1060  # powers of two below which a term is zero beside the largest


class Scaled(NamedTuple):
    """A matrix as mantissa · 2^exponent, with entries of the mantissa at most 1."""

    mantissa: Tensor
    exponent: int

    @property
    def zero(self) -> bool:
        """Whether all entries are zero."""
        return not bool(self.mantissa.any())

    def times(self, other: "Scaled") -> "Scaled":
        """The matrix product."""
        product = scaled(self.mantissa @ other.mantissa)
        return Scaled(product.mantissa, product.exponent + self.exponent + other.exponent)


def scaled(matrix: Tensor) -> Scaled:
    """A matrix with its power of two taken out, exactly."""
    top = float(matrix.abs().max()) if matrix.numel() else 0.0
    exponent = math.frexp(top)[1]
    return Scaled(shifted(matrix, -exponent), exponent)


def shifted(matrix: Tensor, exponent: int) -> Tensor:
    """The matrix times 2^exponent; no step on the way leaves the range of floats unless the result does."""
    while exponent:
        step = max(-1000, min(1000, exponent))
        matrix = matrix * 2.0**step
        exponent -= step
    return matrix


def magnitude(value: float, exponent: int, scale: float) -> float:
    """Value · 2^exponent · 2 scale, which is a Hessian's number.

    Raises:
        ComputationError: It is too large or too small for float64.
    """
    mantissa, more = math.frexp(scale)
    try:
        result = math.ldexp(value * mantissa, exponent + more + 1)
    except OverflowError:
        result = math.inf
    if math.isinf(result) or (value != 0 and abs(result) < _SMALLEST):
        power = math.floor(math.log10(abs(value) * mantissa) + (exponent + more + 1) * math.log10(2))
        raise ComputationError(
            f"the Hessian's eigenvalues are about 10^{power}, which float64 does not hold; "
            "rescale the layers, the data or `scale`"
        )
    return result


class OutputSpace:
    """K(Z) = Σ_i A_i A_iᵀ Z (B_i F)ᵀ (B_i F) on matrices Z [d_L, q].

    At zero residual the Hessian of scale · ‖T − W F‖_F² is 2 scale · Jᵀ J with J V = Σ_i A_i V_i B_i F, and K = J Jᵀ:
    the nonzero eigenvalues are those of 2 scale · K, and K Z = μ Z gives the eigenvector V_i = A_iᵀ Z (B_i F)ᵀ / √μ.
    A power of two is taken out of every factor, so that layers of very different size neither overflow nor vanish.

    Args:
        layers: W_1, …, W_L in float64.
        features: F [d_0, q], or None for the identity.
    """

    def __init__(self, layers: list[Tensor], features: Tensor | None = None) -> None:
        self.layers = [scaled(layer) for layer in layers]
        self.features = None if features is None else scaled(features)
        self.shapes = [layer.shape for layer in layers]
        self.parameters = sum(layer.numel() for layer in layers)
        self.rows = layers[-1].shape[0]
        self.columns = layers[0].shape[1] if features is None else features.shape[1]
        self.size = self.rows * self.columns

    @cached_property
    def factors(self) -> tuple[list[Scaled], list[Scaled]]:
        """[A_1, …, A_L] and [B_1 F, …, B_L F]."""
        like = self.layers[0].mantissa
        after = [Scaled(torch.eye(self.rows, dtype=like.dtype, device=like.device), 0)]
        for layer in reversed(self.layers[1:]):
            after.insert(0, layer if len(after) == 1 else after[0].times(layer))
        identity = Scaled(torch.eye(self.columns, dtype=like.dtype, device=like.device), 0)
        before = [identity if self.features is None else self.features]
        for layer in self.layers[:-1]:
            plain = len(before) == 1 and self.features is None
            before.append(layer if plain else layer.times(before[-1]))
        return after, before

    @cached_property
    def shifts(self) -> list[int]:
        """log₂ of the size of each term's factors, relative to the largest; far below zero where the term is zero."""
        sums = [a.exponent + b.exponent if not (a.zero or b.zero) else None for a, b in zip(*self.factors, strict=True)]
        top = max((value for value in sums if value is not None), default=0)
        return [_NEGLIGIBLE if value is None else max(value - top, _NEGLIGIBLE) for value in sums]

    @cached_property
    def exponent(self) -> int:
        """Everything here is to be multiplied by 2^exponent."""
        sums = [a.exponent + b.exponent for a, b in zip(*self.factors, strict=True) if not (a.zero or b.zero)]
        return 2 * max(sums, default=0)

    @cached_property
    def weights(self) -> list[float]:
        """Weight of each term, at most 1; 0 where it is negligible."""
        return [0.0 if shift <= _NEGLIGIBLE // 2 else 4.0**shift for shift in self.shifts]

    @property
    def zero(self) -> bool:
        """Whether K = 0."""
        return not any(self.weights)

    @cached_property
    def _terms(self) -> list[tuple["_Side", "_Side"]]:
        last = len(self.layers) - 1
        return [
            (
                _Side(2.0**shift * a.mantissa, identity=index == last and shift == 0),
                _Side(b.mantissa.T, identity=index == 0 and self.features is None),
            )
            for index, (a, b, shift) in enumerate(zip(*self.factors, self.shifts, strict=True))
            if self.weights[index] > 0
        ]

    def product(self, block: Float[Tensor, "m s"]) -> Float[Tensor, "m s"]:
        """K Z for each column vec(Z), row by row."""
        z = block.T.reshape(-1, self.rows, self.columns)
        z = z[0] if len(z) == 1 else z
        image = z.new_zeros(z.numel() // self.columns, self.columns)
        for left, right in self._terms:
            right.add_product(image, left.times(z).reshape(-1, self.columns))
        return image.view(-1, self.size).T

    def grams(self) -> tuple[list[Tensor], list[Tensor]]:
        """A_i A_iᵀ and (B_i F)ᵀ (B_i F) of the terms that are not zero."""
        return [left.gram() for left, _ in self._terms], [right.gram() for _, right in self._terms]

    def dense(self) -> Float[Tensor, "m m"]:
        """K."""
        like = self.layers[0].mantissa
        matrix = torch.zeros(self.size, self.size, dtype=like.dtype, device=like.device)
        for left, right in zip(*self.grams(), strict=True):
            matrix += _kronecker(left, right)
        return 0.5 * (matrix + matrix.T)

    def jacobian(self) -> Float[Tensor, "m p"]:
        """J; K = J Jᵀ."""
        parts = [
            2.0**shift * _kronecker(a.mantissa, b.mantissa.T)
            for a, b, shift in zip(*self.factors, self.shifts, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def trace(self) -> float:
        """Σ_i ‖A_i‖_F² ‖B_i F‖_F²."""
        squares = [
            float(a.mantissa.square().sum() * b.mantissa.square().sum()) for a, b in zip(*self.factors, strict=True)
        ]
        return math.fsum(weight * square for weight, square in zip(self.weights, squares, strict=True))

    def norm_products(self) -> list[float]:
        """‖A_i‖² ‖B_i F‖² with spectral norms."""
        pairs = zip(*self.factors, self.weights, strict=True)
        return [weight * (spectral_norm(a.mantissa) * spectral_norm(b.mantissa)) ** 2 for a, b, weight in pairs]

    def lift(self, vectors: Float[Tensor, "m k"], values: Float[Tensor, " k"]) -> list[Float[Tensor, "k _ _"]]:
        """The unit eigenvectors V_i of Jᵀ J, layer by layer, that belong to eigenvectors of K with positive values."""
        z = vectors.T.reshape(-1, self.rows, self.columns) / values.sqrt()[:, None, None]
        return [
            2.0**shift * (a.mantissa.T @ z @ b.mantissa.T)
            for a, b, shift in zip(*self.factors, self.shifts, strict=True)
        ]


class _Side:
    """Products with F Fᵀ: through that matrix, or through F where it has few columns."""

    def __init__(self, factor: Tensor, *, identity: bool) -> None:
        self.factor, self.identity = factor, identity
        self.narrow = 2 * factor.shape[1] < factor.shape[0]
        self.whole = factor if identity or self.narrow else self.gram()

    def gram(self) -> Tensor:
        """F Fᵀ."""
        return self.factor @ self.factor.T

    def times(self, z: Tensor) -> Tensor:
        """F Fᵀ Z."""
        if self.identity:
            return z
        return self.factor @ (self.factor.T @ z) if self.narrow else self.whole @ z

    def add_product(self, image: Tensor, z: Tensor) -> None:
        """Add Z F Fᵀ to the image."""
        if self.identity:
            image.add_(z)
        elif self.narrow:
            image.addmm_(z @ self.factor, self.factor.T)
        else:
            image.addmm_(z, self.whole)


def _kronecker(left: Tensor, right: Tensor) -> Tensor:
    """`torch.kron`, which fails on some strides."""
    product = left[:, None, :, None] * right[None, :, None, :]
    return product.reshape(left.shape[0] * right.shape[0], -1)


def spectral_norm(matrix: Tensor) -> float:
    """‖·‖₂, accurate to rounding; entries at most about 1."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0))


def top_singular(matrix: Tensor) -> tuple[float, Tensor, Tensor]:
    """The largest singular value and its unit vectors, left and right."""
    if matrix.shape[0] > matrix.shape[1]:
        value, right, left = top_singular(matrix.T)
        return value, left, right
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    left = vectors[:, -1]
    right = matrix.T @ left
    size = float(right.norm())
    if size == 0:
        right = torch.eye(len(right), 1, dtype=right.dtype, device=right.device)[:, 0]
    return math.sqrt(max(float(values[-1]), 0.0)), left, right if size == 0 else right / size
