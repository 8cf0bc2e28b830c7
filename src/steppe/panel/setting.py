"""What the theorems about a shallow network on its data, or on its patches, are made of: measured once in float64."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from steppe.activations import HalfSpaceMoments, half_space_moments
from steppe.core import (
    DataError,
    Estimate,
    KindError,
    ShapeError,
    SquaredLoss,
    check_number,
    check_same_place,
    check_targets,
)
from steppe.curvature import eigenvalues, gauss_newton
from steppe.curvature import sharpness as measured_sharpness
from steppe.networks import PatchReLU, ShallowReLU
from steppe.norms import patch_moments, patch_weighted_norm, weighted_variation_norm

from .inequality import Hypothesis

_ROUNDING = 1e-12
_BLOCK = 1 << 24  # preactivations that are held at once


@dataclass(frozen=True, eq=False)
class Setting:
    """A scalar shallow network with its data, taken exactly into float64.

    Args:
        network: The network: a `ShallowReLU`, or in `PatchSetting` a `PatchReLU`.
        x: Inputs [n, d].
        y: Targets [n, 1].
        radius: R of the theorems.
        rtol: Relative tolerance of eigenvalues.
        given: A sharpness that was measured before, or None.
    """

    network: Any
    x: Tensor
    y: Tensor
    radius: float
    rtol: float
    given: Estimate | None
    point_words: ClassVar[str] = "‖x_i‖"
    extension: ClassVar[str] = ""  # what the sources do not say

    @property
    def sum_words(self) -> str:
        """The left side of the theorems."""
        return "Σ|v_k|‖w_k‖g̃(u_k,t_k)"

    @cached_property
    def sharpness(self) -> Estimate:
        """λ_max(∇²L), of the exact Hessian."""
        if self.given is not None:
            return self.given
        return measured_sharpness(self.network, SquaredLoss(), (self.x, self.y), rtol=self.rtol)

    @cached_property
    def gauss_newton_norm(self) -> Estimate:
        """λ_max(G) of the Gauss–Newton matrix."""
        operator = gauss_newton(self.network, SquaredLoss(), (self.x, self.y))
        return eigenvalues(operator, 1, rtol=self.rtol).estimate()

    @cached_property
    def training_loss(self) -> float:
        """L = (1/2n) Σ r²."""
        with torch.no_grad():
            return float(SquaredLoss()(self.network(self.x), self.y))

    @cached_property
    def weighted_sum(self) -> float:
        """Σ |a_k| g̃(u_k, t_k), one-sided and unmerged."""
        return weighted_variation_norm(self.network, self.x, reduced=False)

    @cached_property
    def seminorm(self) -> float:
        """|f|_{V_g}, on the ball of the data."""
        return weighted_variation_norm(self.network, self.x)

    @cached_property
    def mean_gradient_square(self) -> float:
        """‖(1/n) Σ_i ∇_θ f(x_i)‖² = 1 + Σ_k [s_k² + v_k² (p_k² + ‖M_k‖²)], and ‖mean x‖² with a skip connection."""
        active: HalfSpaceMoments = half_space_moments(self.x, self.network.w, self.network.b)[0]
        v = self.network.v.detach()[0]
        inner = v.square() * (active.fraction.square() + active.mean.square().sum(dim=1))
        total = 1 + active.excess.square().sum() + inner.sum()
        if self.network.skip is not None:
            total += self.x.mean(dim=0).square().sum()
        return float(total)

    @cached_property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """One output, ‖x‖ ≤ R, and no sample on an activation hyperplane."""
        largest = reach(self.network, self.x)
        inside = largest <= self.radius * (1 + _ROUNDING)
        return (
            Hypothesis("one output, squared loss (1/2n) Σ r²", "checked"),
            Hypothesis(
                f"{self.point_words} ≤ R",
                "checked" if inside else "violated",
                f"max {self.point_words} = {largest:.6g}, R = {self.radius:.6g}",
            ),
            self._off_the_hyperplanes(),
        )

    def _off_the_hyperplanes(self) -> Hypothesis:
        statement = "no sample lies on an activation hyperplane"
        on, pairs = self._on_hyperplanes()
        if on == 0:
            return Hypothesis(statement, "checked")
        return Hypothesis(statement, "violated", f"{on} of {pairs} pairs; the mask is w·x > b, strictly")

    def _on_hyperplanes(self) -> tuple[int, int]:
        """How many pairs of a sample and a neuron are within rounding of the hyperplane, and how many there are."""
        with torch.no_grad():
            z = self.network.preactivations(self.x).abs()
            norms = torch.linalg.vector_norm(self.network.w, dim=1), torch.linalg.vector_norm(self.x, dim=1)
            limit = 4 * torch.finfo(z.dtype).eps * (norms[1][:, None] * norms[0] + self.network.b.abs())
            return int((z <= limit).sum()), z.numel()

    def rounding(self, *values: float) -> float:
        """Rounding error of sums of this size."""
        return _ROUNDING * (1 + sum(abs(value) for value in values))


class PatchSetting(Setting):
    """A scalar network on patches: the same theorems, with the moments of the patches."""

    point_words = "‖x_i[P_j]‖"
    extension = ", with patches in place of samples (derived)"

    @property
    def sum_words(self) -> str:
        """The patch-weighted norm."""
        return "Σ|v_k|‖w_k‖g̃_patch(u_k,t_k)" if self.network.shared else "Σ|v_k|s_k√(Σ_j(p_jk²+‖M_jk‖²))/l"

    @cached_property
    def weighted_sum(self) -> float:
        """The patch-weighted norm."""
        return patch_weighted_norm(self.network, self.x)

    @property
    def seminorm(self) -> float:
        """The same: neurons are not merged over positions."""
        return self.weighted_sum

    @cached_property
    def mean_gradient_square(self) -> float:
        """‖(1/n) Σ_i ∇_θ f(x_i)‖²."""
        moments, v = patch_moments(self.network, self.x), self.network.v.detach()[0]
        return float(1 + moments.excess.square().sum() + (v * moments.slope).square().sum())

    def _on_hyperplanes(self) -> tuple[int, int]:
        network, on = self.network, 0
        per_sample = network.positions * network.width
        norms = torch.linalg.vector_norm(network.w, dim=-1)
        with torch.no_grad():
            for block in self.x.split(max(1, _BLOCK // per_sample)):
                sizes = torch.linalg.vector_norm(network.extract(block), dim=2)[:, :, None]
                limit = 4 * torch.finfo(block.dtype).eps * (sizes * norms + network.b.abs())
                on += int((network.preactivations(block).abs() <= limit).sum())
        return on, len(self.x) * per_sample


def reach(network: Any, x: Tensor) -> float:
    """The longest sample, or the longest patch of a sample."""
    if not isinstance(network, PatchReLU):
        return float(torch.linalg.vector_norm(x, dim=1).max())
    rows = max(1, _BLOCK // network.patches.numel())
    return max(float(torch.linalg.vector_norm(network.extract(block), dim=2).max()) for block in x.split(rows))


def setting(
    network: Any, x: Any, y: Any, *, radius: float | None = None, rtol: float = 1e-3, sharpness: Any = None
) -> Setting:
    """The checked setting; errors are those of `check_flatness`."""
    if not isinstance(network, ShallowReLU | PatchReLU):
        raise KindError(
            f"`network` must be a ShallowReLU or a PatchReLU, got {type(network).__name__}; "
            "convert nn.Sequential(Linear, ReLU, Linear) with ShallowReLU.from_sequential"
        )
    if network.outputs != 1:
        raise ShapeError(
            f"`network` must have one output, got {network.outputs}; the theorem is about scalar networks: check each "
            f"output alone with {type(network).__name__}.from_weights and v[j], output_bias[j : j + 1]"
        )
    network.check(x)
    check_targets(y, (len(x), 1))
    check_same_place(network, y, names=("y",))
    if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
        raise DataError("the weights of `network` must be finite, got NaN or infinity; training has diverged")
    x = x.detach().double()
    if sharpness is not None and not isinstance(sharpness, Estimate):
        sharpness = Estimate(value=check_number("sharpness", sharpness))
    return (PatchSetting if isinstance(network, PatchReLU) else Setting)(
        network=network.copy(dtype=torch.float64),
        x=x,
        y=y.detach().double(),
        radius=reach(network, x) if radius is None else check_number("radius", radius, minimum=0.0),
        rtol=check_number("rtol", rtol, above=0.0, below=1.0),
        given=sharpness,
    )
