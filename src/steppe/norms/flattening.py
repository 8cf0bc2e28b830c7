"""Of all rescalings of a network, the one with the shortest mean gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.activations import half_space_moments
from steppe.core import ShapeError
from steppe.networks import ShallowReLU

from .canonical import check_network


def balance_mean_gradient(network: ShallowReLU, x: Float[Tensor, "n d"]) -> ShallowReLU:
    """The same function, each neuron rescaled so that ‖(1/n) Σ_i ∇_θ f(x_i)‖ is least: (w, b, v) → (cw, cb, v/c).

    With s, p, M the mean activation, fraction and unnormalised mean of the samples that activate a neuron, the mean
    gradient has square 1 + Σ_k [c² s² + v² (p² + ‖M‖²)/c²] (and ‖mean x‖² with a skip connection); c² = |v| √(p² +
    ‖M‖²)/s makes it 1 + 2 Σ_k |v_k| ‖w_k‖ g̃(u_k, t_k), the lower bound on λ_max at interpolation. Neurons that no
    sample activates stay as they are; those with v = 0 become zero. Source: key lemma of Mulayoff, Michaeli, Soudry
    (NeurIPS 2021); here for any d.

    Args:
        network: With one output; it is not changed.
        x: The samples.

    Returns:
        A new network of the same dtype.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: It has several outputs, or `x` does not fit.
    """
    check_network(network).check(x)
    if network.outputs != 1:
        raise ShapeError(f"`network` must have one output, got {network.outputs}; balance each output alone")
    w, b, v = (p.detach().double() for p in (network.w, network.b, network.v))
    active = half_space_moments(x.detach().double(), w, b)[0]
    outer = v[0].abs() * torch.hypot(active.fraction, torch.linalg.vector_norm(active.mean, dim=1))
    free = active.excess > 0
    c = torch.where(free, torch.sqrt(outer / torch.where(free, active.excess, 1.0)), 1.0)
    inverse = torch.where(c > 0, 1 / torch.where(c > 0, c, 1.0), 0.0)
    dtype = network.w.dtype
    return ShallowReLU.from_weights(
        (w * c[:, None]).to(dtype), (b * c).to(dtype), (v * inverse).to(dtype), network.output_bias, network.skip
    )
