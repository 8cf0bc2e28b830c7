"""The canonical form of a shallow ReLU network: unit directions, distinct hyperplanes, affine parts in the skip."""

from typing import Any

import torch
from torch import Tensor

from steppe.core import KindError, check_number
from steppe.networks import ShallowReLU


def canonicalize(network: ShallowReLU, *, radius: float | None = None, tolerance: float = 1e-12) -> ShallowReLU:
    """The same function with unit directions, one neuron per hyperplane and every affine part in the skip connection.

    1. Neurons with w = 0 are constants and go into the output bias; neurons with v = 0 go.
    2. u = w/‖w‖, t = b/‖w‖, a = ‖w‖ v.
    3. With a radius R, neurons with |t| ≥ R are affine on the ball {‖x‖ ≤ R}: they go into skip and bias, or vanish.
    4. Hyperplanes are compared modulo (u, t) ~ (−u, −t). Since φ(s) − φ(−s) = s, neurons of one hyperplane merge into
       one whose coefficient is the sum of theirs, whatever their orientation; what remains is affine. The first entry
       of u that is not zero (within the tolerance) becomes positive. Neurons whose coefficients cancel go.

    The function is preserved on R^d, or on the ball if a radius is given, up to rounding and the tolerance. The result
    is float64, has a skip connection, `w` with rows u_j, `b` = t_j and `v` = a_j; an affine function keeps one neuron
    of zero weights. Cost O(m(d + k + log m)) when hyperplanes are distinct.

    Args:
        network: A shallow ReLU network, any number of outputs; it is not changed.
        radius: R > 0, or None for all of R^d.
        tolerance: Hyperplanes are equal if u and t differ by at most this (t relative to max(1, |t|)); a merged
            coefficient vanishes if it is at most this times the sum of the merged ones; |t| ≥ R is read as
            |t| ≥ R(1 − tolerance).

    Raises:
        KindError: It is no `ShallowReLU`.
        ParameterError: The radius is not positive, or the tolerance not in [0, 0.1].
    """
    check_network(network)
    tolerance = check_number("tolerance", tolerance, minimum=0.0, maximum=0.1)
    w, b, v, bias = (p.detach().double().clone() for p in (network.w, network.b, network.v, network.output_bias))
    skip = torch.zeros_like(w[:1]).repeat(len(v), 1) if network.skip is None else network.skip.detach().double().clone()

    norm = row_norms(w)
    bias += v @ torch.where(norm == 0, (-b).clamp(min=0), 0.0)
    keep = (norm > 0) & (v != 0).any(dim=0)
    u, t, a = w[keep] / norm[keep, None], b[keep] / norm[keep], v[:, keep] * norm[keep]
    if radius is not None:
        limit = check_number("radius", radius, above=0.0) * (1 - tolerance)
        active, inside = t <= -limit, t.abs() < limit
        skip += a[:, active] @ u[active]
        bias -= a[:, active] @ t[active]
        u, t, a = u[inside], t[inside], a[:, inside]

    group, leaders = _hyperplanes(u, t, row_norms(a.T), tolerance)
    orientation = _orientation(u[leaders], tolerance)
    u_new, t_new = u[leaders] * orientation[:, None], t[leaders] * orientation
    flipped = (u * u_new[group]).sum(1) < 0
    a_new = a.new_zeros(len(a), len(leaders)).index_add_(1, group, a)
    total = a.new_zeros(len(leaders)).index_add_(0, group, row_norms(a.T))
    skip -= a[:, flipped] @ u_new[group[flipped]]
    bias += a[:, flipped] @ t_new[group[flipped]]

    kept = row_norms(a_new.T) > tolerance * total
    if not kept.any():
        return ShallowReLU.from_weights(torch.zeros_like(w[:1]), b.new_zeros(1), v.new_zeros(len(v), 1), bias, skip)
    return ShallowReLU.from_weights(u_new[kept], t_new[kept], a_new[:, kept], bias, skip)


def check_network(network: Any) -> ShallowReLU:
    """`network`, if it is a `ShallowReLU`; a KindError with the remedy otherwise."""
    if not isinstance(network, ShallowReLU):
        raise KindError(
            f"`network` must be a ShallowReLU, got {type(network).__name__}; "
            "convert nn.Sequential(Linear, ReLU, Linear) with ShallowReLU.from_sequential"
        )
    return network


def row_norms(matrix: Tensor) -> Tensor:
    """Euclidean norms of the rows, without under- or overflow of the squares."""
    scale = matrix.abs().amax(dim=1)
    return scale * torch.linalg.vector_norm(matrix / torch.where(scale > 0, scale, 1.0)[:, None], dim=1)


def _hyperplanes(u: Tensor, t: Tensor, size: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The hyperplane of every neuron, and for every hyperplane its neuron with the largest coefficient.

    Neurons are sorted by |qᵀ(u, t)| for a fixed vector q, which does not see the orientation; only neighbours within
    the tolerance are compared in full.
    """
    m, d = u.shape
    rows = torch.cat([u, t[:, None]], dim=1)
    q = torch.sin(torch.arange(1, d + 2, dtype=u.dtype, device=u.device).square())
    scale = t.abs().clamp(min=1.0)
    key, order = torch.sort((rows @ q).abs())
    window = 2 * (tolerance + 1e-15) * q.abs().sum() * torch.maximum(scale[order][1:], scale[order][:-1])
    starts = torch.cat([order.new_zeros(min(m, 1)), 1 + torch.nonzero(key.diff() > window).flatten()])
    sizes = torch.diff(starts, append=order.new_tensor([m]))
    group = torch.empty_like(order)
    group[order] = torch.repeat_interleave(torch.arange(len(starts), device=u.device), sizes)
    leaders = order[starts]
    more: list[Tensor] = []
    for run in torch.nonzero(sizes > 1).flatten().tolist():
        members = order[starts[run] : starts[run] + sizes[run]]
        members = members[torch.argsort(size[members], descending=True, stable=True)]
        fresh = True
        while len(members):
            leader = members[0]
            sign = torch.where((u[members] * u[leader]).sum(1) < 0, -1.0, 1.0)
            apart = (rows[members] - sign[:, None] * rows[leader]).abs()
            apart[:, -1] /= torch.maximum(scale[members], scale[leader])
            same = (apart <= tolerance).all(dim=1)
            if fresh:
                leaders[run], fresh = leader, False
            else:
                group[members[same]] = len(starts) + len(more)
                more.append(leader)
            members = members[~same]
    return group, torch.cat([leaders, torch.stack(more)]) if more else leaders


def _orientation(u: Tensor, tolerance: float) -> Tensor:
    """+1 or −1 per row, so that the first entry beyond the tolerance becomes positive."""
    big = u.abs() > max(tolerance, 1e-15)
    first = big.double().argmax(dim=1, keepdim=True)
    return torch.where(u.gather(1, first)[:, 0] < 0, -1.0, 1.0).to(u.dtype)
