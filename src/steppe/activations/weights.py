"""The weight g of a neuron: how much the data lie on its active side and, by the smaller, on either side."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import DtypeError, ParameterError, ShapeError, check_choice, check_inputs, check_same_place

Sides = Literal["both", "one"]
_CHUNK = 1 << 22  # entries of the [rows, m] blocks that are held at once


@dataclass(frozen=True)
class HalfSpaceMoments:
    """Moments of the data on the open half-spaces wᵀx > b, as means over all n samples.

    Args:
        fraction: p = (1/n) Σ 1[wᵀx_i > b].
        mean: M = (1/n) Σ_{active} x_i; not the conditional mean, which is M/p.
        excess: s = (1/n) Σ (wᵀx_i − b)_+, the mean activation.
    """

    fraction: Float[Tensor, " m"]
    mean: Float[Tensor, "m d"]
    excess: Float[Tensor, " m"]

    @property
    def weight(self) -> Float[Tensor, " m"]:
        """The product s √(p² + ‖M‖²): g̃ if ‖w‖ = 1, otherwise ‖w‖ times g̃ of the normalised neuron."""
        return self.excess * torch.hypot(self.fraction, torch.linalg.vector_norm(self.mean, dim=1))


def half_space_moments(
    x: Float[Tensor, "n d"], w: Float[Tensor, "m d"], b: Float[Tensor, " m"]
) -> tuple[HalfSpaceMoments, HalfSpaceMoments]:
    """Moments of the data on both open sides, wᵀx > b and wᵀx < b, in float64.

    Both inequalities are strict: a sample on the hyperplane belongs to neither side. On the second side the excess is
    (1/n) Σ (b − wᵀx_i)_+. Directions need not be normalised. Cost O(nmd) time; memory is bounded by blocks of samples.

    Args:
        x: Inputs.
        w: Normals.
        b: Thresholds.

    Raises:
        ShapeError: The shapes do not fit together.
        DtypeError: The dtypes differ.
        DeviceError: The devices differ.
        DataError: `x` is empty or not finite.
    """
    _check(x, w, b, names=("w", "b"))
    x, w, b = x.detach().double(), w.detach().double(), b.detach().double()
    n, (m, d) = x.shape[0], w.shape
    sides = [(w.new_zeros(m), w.new_zeros(m, d), w.new_zeros(m)) for _ in range(2)]
    for block in x.split(max(1, _CHUNK // max(m, 1))):
        z = torch.addmm(-b, block, w.T)
        for (count, total, excess), signed in zip(sides, (z, -z), strict=True):
            active = (signed > 0).double()
            count += active.sum(0)
            total += active.T @ block
            excess += signed.clamp(min=0).sum(0)
    first, second = (HalfSpaceMoments(count / n, total / n, excess / n) for count, total, excess in sides)
    return first, second


def activation_weight(
    x: Float[Tensor, "n d"], u: Float[Tensor, "m d"], t: Float[Tensor, " m"], *, sides: Sides = "both"
) -> Float[Tensor, " m"]:
    """The data-dependent weight g(u, t) of unit neurons φ(uᵀx − t), exact up to rounding, in float64.

    With p, M, s the fraction, unnormalised mean and mean activation on the open half-space uᵀx > t,
    g̃(u, t) = s √(p² + ‖M‖²), which equals P(uᵀX > t)² E[uᵀX − t | uᵀX > t] √(1 + ‖E[X | uᵀX > t]‖²) without dividing
    by zero, and g(u, t) = min{g̃(u, t), g̃(−u, −t)}. The inequality is strict. g(u, t) = g(−u, −t), and g = 0 where one
    side holds no sample. Cost O(nmd). Source: Liang et al. (NeurIPS 2025), Section 3; division-free form derived.

    Args:
        x: Inputs.
        u: Unit directions.
        t: Thresholds.
        sides: `"both"` is g; `"one"` is g̃ of the side uᵀx > t.

    Raises:
        ParameterError: A direction has not length one.
        ShapeError: The shapes do not fit together.
        DtypeError: The dtypes differ.
        DataError: `x` is empty or not finite.
        UnknownNameError: `sides` is neither.

    Example:
        >>> x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
        >>> activation_weight(x, torch.ones(1, 1).double(), torch.zeros(1).double()).item()  # ½ √(¼ + ¼)
        0.3535533905932738
    """
    check_choice("sides", sides, ["both", "one"])
    _check(x, u, t, names=("u", "t"))
    _check_unit(u)
    active, inactive = half_space_moments(x, u, t)
    return torch.minimum(active.weight, inactive.weight) if sides == "both" else active.weight


def activation_weight_profile(
    x: Float[Tensor, "n d"], u: Float[Tensor, " d"], t: Float[Tensor, " q"], *, sides: Sides = "both"
) -> Float[Tensor, " q"]:
    """`activation_weight` of one direction at many thresholds, in O(n(d + log n) + q(d + log n)).

    The projections are sorted once; s is a sum of positive gaps, so that it keeps its relative accuracy at the end of
    the data. As a function of t, s is convex and piecewise linear, √(p² + ‖M‖²) piecewise constant with jumps at the
    projections of the data.

    Args:
        x: Inputs.
        u: One unit direction.
        t: Thresholds, in any order.
        sides: `"both"` is g; `"one"` is g̃ of the side uᵀx > t.

    Raises:
        ParameterError: The direction has not length one.
        ShapeError: The shapes do not fit together.
        DtypeError: The dtypes differ.
        UnknownNameError: `sides` is neither.
    """
    check_choice("sides", sides, ["both", "one"])
    if u.ndim != 1 or t.ndim != 1:
        raise ShapeError(f"`u` must be one direction [d] and `t` [q], got {list(u.shape)} and {list(t.shape)}")
    _check(x, u.expand(len(t), -1), t, names=("u", "t"))
    _check_unit(u[None, :])
    x, u, t = x.detach().double(), u.detach().double(), t.detach().double()
    z, order = torch.sort(x @ u)
    x = x[order]
    active = _profile(x, z, t)
    return torch.minimum(active, _profile(x.flip(0), -z.flip(0), -t)) if sides == "both" else active


def _profile(x: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """One-sided weights from samples in the order of their ascending projections z."""
    n = len(z)
    above = torch.arange(n - 1, 0, -1, dtype=z.dtype, device=z.device)  # samples above each gap
    gaps = (above * z.diff()).flip(0).cumsum(0).flip(0)
    excess = torch.cat([gaps, z.new_zeros(1)])  # Σ_{i ≥ j} (z_i − z_j)
    total = torch.cat([x.flip(0).cumsum(0).flip(0), x.new_zeros(1, x.shape[1])])  # Σ_{i ≥ j} x_i
    first = torch.searchsorted(z, t.contiguous(), right=True)  # the first sample with z > t
    count = (n - first).to(z.dtype)
    at = first.clamp(max=n - 1)
    s = torch.where(count > 0, excess[at] + count * (z[at] - t), 0.0)
    return s / n * torch.hypot(count / n, torch.linalg.vector_norm(total[first], dim=1) / n)


def _check(x: Tensor, w: Tensor, b: Tensor, *, names: tuple[str, str]) -> None:
    check_inputs(x)
    for tensor, name in ((w, names[0]), (b, names[1])):
        if not tensor.is_floating_point():
            raise DtypeError(
                f"`{name}` must have a floating dtype, got {tensor.dtype}; convert it with {name}.double()"
            )
    if w.ndim != 2 or w.shape[1] != x.shape[1]:
        raise ShapeError(
            f"`{names[0]}` must have shape [m, {x.shape[1]}] to go with x {list(x.shape)}, got {list(w.shape)}; "
            "pass one row per neuron"
        )
    if list(b.shape) != [len(w)]:
        raise ShapeError(
            f"`{names[1]}` must have shape [{len(w)}], one threshold per direction, got {list(b.shape)}; reshape it"
        )
    check_same_place(x, w, b, names=names)


def _check_unit(u: Tensor) -> None:
    norms = torch.linalg.vector_norm(u.detach().double(), dim=1)
    slack = 4 * torch.finfo(u.dtype).eps ** 0.5
    if len(u) and not bool(((norms - 1).abs() <= slack).all()):
        worst = norms[(norms - 1).abs().argmax()].item()
        raise ParameterError(
            f"`u` must have rows of length 1, got one of length {worst:.6g}; pass u = w / ‖w‖ and t = b / ‖w‖"
        )
