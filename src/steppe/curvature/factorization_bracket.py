"""Two proved bounds of a deep linear network's sharpness that often meet: a closed form that needs no iteration."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .factorization_space import OutputSpace, spectral_norm, top_singular

_MEET = 1e-10


@dataclass(frozen=True, eq=False)
class Bracket:
    """Bounds of λ_max(K), from one trial map Z = u vᵀ and from norms of the layers.

    lower = Σ_i ‖A_iᵀ u‖² ‖B_i F v‖² ≤ λ_max(K) ≤ Σ_i Π_{j≠i} ‖W_j‖² ‖F‖² = upper, for the top left singular vector u of
    W_L and the top right one v of W_1 F. They meet at depth 2 without data, where they are ‖W_1‖² + ‖W_2‖², at balanced
    layers, and wherever the top singular vectors of neighbours are aligned.

    Args:
        upper: To be multiplied by 2^exponent, as all numbers here.
        exponent: A power of two.
        lower: As above.
        residual: ‖K Z − lower Z‖_F.
        vectors: The trial eigenvector of the Hessian, V_i = A_iᵀ Z (B_i F)ᵀ / √lower, layer by layer [d_i, d_{i−1}].
    """

    upper: float
    exponent: int
    lower: float
    residual: float
    vectors: list[Float[Tensor, "_ _"]]

    @property
    def error(self) -> float:
        """At most this far from `lower` lies λ_max(K), and the residual of the trial vector is no larger."""
        return self.residual + max(self.upper - self.lower, 0.0)

    def closes(self, rtol: float) -> bool:
        """Whether the bounds meet, to the tolerance and in any case to ten digits: then the answer is closed-form."""
        return self.error <= min(rtol, _MEET) * self.lower


@dataclass(frozen=True)
class LayerNorms:
    """Spectral norms of the layers and of F, as mantissas and exponents, with the end vectors u and v."""

    norms: list[float]
    exponents: list[int]
    input_norm: float
    input_exponent: int
    u: Tensor
    v: Tensor

    @property
    def zero(self) -> bool:
        """Whether a layer or F is zero."""
        return not all(self.norms) or not self.input_norm

    def ratios(self) -> list[float]:
        """(Least norm / ‖W_i‖)² for each layer."""
        least = self.least
        powers = [max(self.exponents[least] - exponent, -1000) for exponent in self.exponents]
        return [
            math.ldexp(self.norms[least] / norm, power) ** 2 for norm, power in zip(self.norms, powers, strict=True)
        ]

    @property
    def least(self) -> int:
        """The layer of least norm."""
        return min(range(len(self.norms)), key=lambda i: math.log2(self.norms[i]) + self.exponents[i])

    def product_but(self, *skipped: int) -> tuple[float, int]:
        """(Π ‖W_j‖² ‖F‖²) over the layers that are not skipped, as mantissa and exponent."""
        mantissa, exponent = math.frexp(self.input_norm**2)
        exponent += 2 * self.input_exponent
        for index, (norm, power) in enumerate(zip(self.norms, self.exponents, strict=True)):
            if index not in skipped:
                mantissa, more = math.frexp(mantissa * norm**2)
                exponent += more + 2 * power
        return mantissa, exponent


def layer_norms(space: OutputSpace) -> LayerNorms:
    """Spectral norms of all layers, from eigenvalues of small Gram matrices. Cost: L symmetric eigenvalue problems."""
    first, last, features = space.layers[0], space.layers[-1], space.features
    top, u, _ = top_singular(last.mantissa)
    low, _, v = top_singular((first if features is None else first.times(features)).mantissa)
    norms = [spectral_norm(layer.mantissa) for layer in space.layers[1:-1]]
    if len(space.layers) > 1:
        norms.insert(0, low if features is None else spectral_norm(first.mantissa))
    return LayerNorms(
        norms=[*norms, top],
        exponents=[layer.exponent for layer in space.layers],
        input_norm=1.0 if features is None else spectral_norm(features.mantissa),
        input_exponent=0 if features is None else features.exponent,
        u=u,
        v=v,
    )


def bracket(space: OutputSpace, norms: LayerNorms) -> Bracket | None:
    """The two bounds; None where a layer is zero. Cost: some 4 L matrix–vector products."""
    if norms.zero:
        return None
    steps = [layer.mantissa / norm for layer, norm in zip(space.layers, norms.norms, strict=True)]
    features = None if space.features is None else space.features.mantissa / norms.input_norm
    after = [norms.u]
    for step in reversed(steps[1:]):
        after.insert(0, step.T @ after[0])
    before = [norms.v if features is None else features @ norms.v]
    for step in steps[:-1]:
        before.append(step @ before[-1])
    ratios = norms.ratios()
    factor, exponent = norms.product_but(norms.least)
    shares = [ratio * float(a @ a) * float(b @ b) for ratio, a, b in zip(ratios, after, before, strict=True)]
    lower = math.fsum(shares)
    if lower == 0:
        return None
    roots = [math.sqrt(ratio / lower) for ratio in ratios]
    return Bracket(
        upper=factor * math.fsum(ratios),
        exponent=exponent,
        lower=factor * lower,
        residual=factor * _residual(steps, features, after, before, ratios, norms, lower),
        vectors=[root * torch.outer(a, b) for root, a, b in zip(roots, after, before, strict=True)],
    )


def _residual(
    steps: list[Tensor],
    features: Tensor | None,
    after: list[Tensor],
    before: list[Tensor],
    ratios: list[float],
    norms: LayerNorms,
    lower: float,
) -> float:
    """‖Σ_i r_i A_i A_iᵀ u vᵀ B_iᵀ B_i − lower u vᵀ‖_F for layers of norm one."""
    left = after[0][:, None]
    for step, vector in zip(steps[1:], after[1:], strict=True):
        left = torch.cat([step @ left, vector[:, None]], dim=1)
    right = before[-1][:, None]
    for step, vector in zip(reversed(steps[:-1]), reversed(before[:-1]), strict=True):
        right = torch.cat([vector[:, None], step.T @ right], dim=1)
    if features is not None:
        right = features.T @ right
    weights = torch.tensor(ratios, dtype=left.dtype, device=left.device)
    image = (left * weights) @ right.T
    return float((image - lower * torch.outer(norms.u, norms.v)).norm())
