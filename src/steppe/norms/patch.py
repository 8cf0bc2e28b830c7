"""The data-weighted norm of networks on patches: the weight of a neuron is that of the patches, not of the inputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.activations import HalfSpaceMoments, half_space_moments
from steppe.core import KindError
from steppe.networks import PatchReLU

from .canonical import row_norms

_BLOCK = 1 << 22  # numbers of the patches that are held at once


@dataclass(frozen=True)
class PatchMoments:
    """How a patch network's neurons respond on average, and how steeply the outputs depend on their filters.

    Args:
        excess: s_k, the mean activation over samples and positions.
        slope: Norm of the mean of Σ_j 1[active] (x[P_j], −1)/l, the gradient in the filters of neuron k for v_k = 1:
            √(p_k² + ‖M_k‖²) over all patches with shared weights, (1/l) √(Σ_j (p_jk² + ‖M_jk‖²)) otherwise.
    """

    excess: Float[Tensor, " m"]
    slope: Float[Tensor, " m"]


def patch_moments(network: PatchReLU, x: Float[Tensor, "n d"]) -> PatchMoments:
    """Moments of the patches on the active sides of the neurons, in float64; memory is bounded by blocks of samples.

    Args:
        network: A patch network.
        x: Inputs.

    Raises:
        KindError: It is no `PatchReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
        DataError: `x` is empty or not finite.
    """
    if not isinstance(network, PatchReLU):
        raise KindError(
            f"`network` must be a PatchReLU, got {type(network).__name__}; "
            "convert a ShallowReLU with PatchReLU.from_shallow, a convolution with patch_from_convolution"
        )
    data = network.check(x).detach().double()
    w, b = network.w.detach().double(), network.b.detach().double()
    if network.shared:
        whole = _shared(network, data, w, b)
        return PatchMoments(whole.excess, _slope(whole))
    each = [half_space_moments(data[:, patch], w[j], b[j])[0] for j, patch in enumerate(network.patches)]
    slopes = torch.linalg.vector_norm(torch.stack([_slope(one) for one in each]), dim=0)
    return PatchMoments(torch.stack([one.excess for one in each]).mean(0), slopes / len(each))


def patch_weighted_norm(network: PatchReLU, x: Float[Tensor, "n d"]) -> float:
    """Σ_k ‖v_k‖ ‖w_k‖ g̃(w_k/‖w_k‖, b_k/‖w_k‖) with the weight g̃ of the patches: what flatness bounds.

    Shared weights: g̃ is `activation_weight` (one-sided) of the n·l patches of all samples and positions; the k-th term
    is ‖v_k‖ s_k √(p_k² + ‖M_k‖²) with the moments of the patches. Own weights at every position: the k-th term is
    ‖v_k‖ s_k (1/l) √(Σ_j (p_jk² + ‖M_jk‖²)), s_k the mean activation over samples and positions. Nothing is merged.
    With one patch of all inputs it is `weighted_variation_norm(…, reduced=False)`. Rescaling changes nothing. Derived,
    by the proof of Liang et al. (NeurIPS 2025), Theorem 3.2.

    Args:
        network: A patch network, any number of outputs.
        x: The inputs whose patches define the weight.

    Raises:
        KindError: It is no `PatchReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
        DataError: `x` is empty or not finite.
    """
    moments = patch_moments(network, x)
    return float((row_norms(network.v.detach().double().T) * moments.excess * moments.slope).sum())


def _shared(network: PatchReLU, data: Tensor, w: Tensor, b: Tensor) -> HalfSpaceMoments:
    """Moments over all patches, one block of samples after the other."""
    total = HalfSpaceMoments(w.new_zeros(len(w)), torch.zeros_like(w), w.new_zeros(len(w)))
    for block in data.split(max(1, _BLOCK // network.patches.numel())):
        part, share = half_space_moments(network.extract(block).flatten(0, 1), w, b)[0], len(block) / len(data)
        total.fraction.add_(part.fraction, alpha=share)
        total.mean.add_(part.mean, alpha=share)
        total.excess.add_(part.excess, alpha=share)
    return total


def _slope(moments: HalfSpaceMoments) -> Tensor:
    return torch.hypot(moments.fraction, torch.linalg.vector_norm(moments.mean, dim=1))
