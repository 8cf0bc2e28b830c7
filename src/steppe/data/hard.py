"""Hard functions: bumps on disjoint caps at the boundary of the ball, which flat networks get for free.

A cap is C(u, ε²) = {x in the unit ball: uᵀx > 1 − ε²}; its normalised atom Φ_u(x) = ε⁻² φ(uᵀx − (1 − ε²)) has
maximum 1 at x = u and vanishes outside. Caps are disjoint iff their centres are at angle ≥ 2θ with cos θ = 1 − ε².

Source: Liang, Qiao, Wang, Parhi, Stable Minima … Neural Shattering (2025), arXiv 2506.20779, lower bounds.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steppe.core import DataError, ShapeError, check_inputs, check_integer, check_number, generator
from steppe.networks import ShallowReLU

_BATCH = 1024


def cap_packing(d: int, epsilon: float | int, *, seed: int, candidates: int = 16384) -> Float[Tensor, "N d"]:
    """Centres, on the unit sphere, of disjoint caps of height ε².

    d = 1: the two points ±1. d = 2: the largest regular arrangement, N = ⌊π/θ⌋ at angles 2πj/N. d ≥ 3: greedy
    choice among random directions, which finds fewer than the maximal number (heuristic).

    Args:
        d: Dimension ≥ 1.
        epsilon: 0 < ε ≤ 1/2.
        seed: Any integer ≥ 0 (used for d ≥ 3).
        candidates: Directions tried for d ≥ 3; O(candidates · N · d).

    Raises:
        ParameterError: A number is out of range.
    """
    d = check_integer("d", d, minimum=1)
    epsilon = check_number("epsilon", epsilon, above=0, maximum=0.5)
    candidates = check_integer("candidates", candidates, minimum=1)
    rng = generator("data.teacher.packing", seed)
    if d == 1:
        return torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    if d == 2:
        count = math.floor(math.pi / math.acos(1 - epsilon**2))
        angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    limit = 2 * (1 - epsilon**2) ** 2 - 1  # cos 2θ
    centres = torch.empty(0, d, dtype=torch.float64)
    for start in range(0, candidates, _BATCH):
        u = torch.randn(min(_BATCH, candidates - start), d, generator=rng, dtype=torch.float64)
        u /= u.norm(dim=1, keepdim=True)
        u = u[~(u @ centres.T > limit).any(dim=1)]
        centres = torch.cat([centres, u[_greedy((u @ u.T > limit).tolist())]])
    return centres


def _greedy(conflicts: list[list[bool]]) -> list[int]:
    """Indices, first come first served, of candidates without a conflict with those kept before."""
    kept: list[int] = []
    for index, row in enumerate(conflicts):
        if not any(row[other] for other in kept):
            kept.append(index)
    return kept


@dataclass(frozen=True, eq=False)
class HardFamily:
    """The functions f_ξ = Σ_i ξ_i Φ_{u_i} over disjoint caps, as shallow networks.

    ‖f_ξ‖_∞ = max |ξ_i|, and ‖f_ξ − f_ξ'‖² = Σ_i (ξ_i − ξ'_i)² ‖Φ‖² in L², since supports are disjoint.

    Attributes:
        centres: Unit vectors u_i [N, d].
        epsilon: ε; caps have height ε².
    """

    centres: Float[Tensor, "N d"]
    epsilon: float

    @property
    def size(self) -> int:
        """Number N of caps."""
        return self.centres.shape[0]

    def network(self, values: Any = 1.0) -> ShallowReLU:
        """f_ξ with the given values ξ [N], or one value for all caps.

        Raises:
            ShapeError: There are not N values.
        """
        values = torch.as_tensor(values, dtype=torch.float64)
        if values.ndim == 0:
            values = values.expand(self.size)
        if values.shape != (self.size,):
            raise ShapeError(f"`values` must be one number or {self.size}, one per cap, got {list(values.shape)}")
        threshold = torch.full((self.size,), 1 - self.epsilon**2, dtype=torch.float64)
        return ShallowReLU.from_weights(self.centres, threshold, values / self.epsilon**2).requires_grad_(
            requires_grad=False
        )

    def empty(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, " N"]:
        """Which caps contain no sample."""
        check_inputs(x, inputs=self.centres.shape[1])
        return (x.double() @ self.centres.T <= 1 - self.epsilon**2).all(dim=0)

    def empty_cap_network(self, x: Float[Tensor, "n d"], *, level: float | int = 1.0) -> ShallowReLU:
        """f_Γ = L Σ_{j in Γ} Φ_{u_j} over the caps Γ that contain no sample of x.

        No neuron is active on x, so with zero labels it interpolates and the Hessian of the ½ squared error has the
        single nonzero eigenvalue 1, that of the output bias: it is stable for every step size up to 2, although its
        squared norm under the uniform ball is L² |Γ| ‖Φ‖².

        Args:
            x: Inputs in the unit ball.
            level: Height L of the bumps.

        Returns:
            A network of width |Γ|, ready to be trained or measured on (x, 0).

        Raises:
            DataError: Every cap contains a sample.
        """
        level = check_number("level", level)
        empty = self.empty(x)
        if not empty.any():
            raise DataError(
                f"`x` must leave a cap empty, got samples in all {self.size}; pass fewer samples or a smaller ε"
            )
        family = HardFamily(self.centres[empty], self.epsilon)
        return family.network(level).requires_grad_(requires_grad=True)


def hard_family(d: int, epsilon: float | int, *, seed: int, candidates: int = 16384) -> HardFamily:
    """The family on the caps of `cap_packing`, with the same arguments."""
    return HardFamily(cap_packing(d, epsilon, seed=seed, candidates=candidates), float(epsilon))


@dataclass(frozen=True)
class BoundaryBumps:
    """The hard functions in one dimension: f_ξ = Σ_k ξ_k Φ_k with smooth bumps beside the right end of [−1, 1].

    K = ⌊1/ε⌋ bumps of unit height stand on consecutive intervals of width ε², from 1 − ε on; each is
    Φ(z) = exp(1 − 1/(1 − z²)) in the coordinate z in (−1, 1) of its interval. (The paper asks for smooth, compactly
    supported bumps of unit height; this one is our choice.) Supports are disjoint, ‖Φ_k‖ in L² of the uniform law is
    proportional to ε, and Σ_k ∫ |Φ_k''| (1 − |x|)³ dx stays bounded as ε → 0. Cost of a call: O(n).

    Args:
        epsilon: 0 < ε ≤ 1/2.

    Raises:
        ParameterError: ε is out of range.
    """

    epsilon: float

    def __post_init__(self) -> None:
        check_number("epsilon", self.epsilon, above=0, maximum=0.5)

    @property
    def size(self) -> int:
        """Number K of bumps."""
        return math.floor(1 / self.epsilon * (1 + 1e-12))

    def __call__(self, x: Float[Tensor, "n 1"], values: Any = 1.0) -> Float[Tensor, "n 1"]:
        """f_ξ(x), with the given values ξ [K] or one value for all bumps.

        Raises:
            ShapeError: The inputs are not [n, 1], or there are not K values.
        """
        check_inputs(x, inputs=1)
        values = torch.as_tensor(values, dtype=torch.float64)
        if values.ndim and values.shape != (self.size,):
            raise ShapeError(f"`values` must be one number or {self.size}, one per bump, got {list(values.shape)}")
        place = (x.double() - (1 - self.epsilon)) / self.epsilon**2
        index = place.floor()
        z = 2 * (place - index) - 1
        inside = (index >= 0) & (index < self.size) & (z.abs() < 1)
        height = torch.where(inside, torch.exp(1 - 1 / (1 - z.square()).clamp_min(1e-300)), 0.0)
        return height * values.expand(self.size)[index.clamp(0, self.size - 1).long()]
