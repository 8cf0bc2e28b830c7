"""Neural balance: of all rescalings of a network, the one of least weight norm."""

import torch

from steppe.networks import ShallowReLU

from .canonical import check_network, row_norms


def balance(network: ShallowReLU) -> ShallowReLU:
    """The same function with ‖w_k‖ = ‖v_k‖ for every neuron: α = √(‖v‖/‖w‖), (w, b, v) → (αw, αb, v/α).

    Among all rescalings it minimises ½ Σ (‖w_k‖² + ‖v_k‖²), which then equals the path norm; every minimizer of a loss
    with weight decay on (w, v) is balanced. A neuron with w = 0 or v = 0 becomes zero, its constant φ(−b)v moves into
    the output bias. Skip connection unchanged. Source: Parhi and Nowak (2023), Section on weight decay.

    Args:
        network: A shallow ReLU network; it is not changed.

    Returns:
        A new network of the same dtype.

    Raises:
        KindError: It is no `ShallowReLU`.
    """
    check_network(network)
    w, b, v, bias = (p.detach().double() for p in (network.w, network.b, network.v, network.output_bias))
    inner, outer = row_norms(w), row_norms(v.T)
    proper = (inner > 0) & (outer > 0)
    alpha = torch.where(proper, torch.sqrt(outer / torch.where(proper, inner, 1.0)), 0.0)
    inverse = torch.where(proper, 1 / torch.where(proper, alpha, 1.0), 0.0)
    constant = v @ torch.where(inner == 0, (-b).clamp(min=0), 0.0)
    skip = None if network.skip is None else network.skip.detach()
    dtype = network.w.dtype
    w, b, v, bias = w * alpha[:, None], b * alpha, v * inverse, bias + constant
    return ShallowReLU.from_weights(w.to(dtype), b.to(dtype), v.to(dtype), bias.to(dtype), skip)
