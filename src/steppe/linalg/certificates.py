"""What a Krylov space proves about the eigenvalues that it does not show.

Let a chain start at a unit vector q with Ritz values θ_i, whose vectors have first coefficients a_i and last ones s_i,
and let β be the norm of what sticks out. An eigenvector with an eigenvalue μ that is no θ_i satisfies

    |⟨q, v⟩| ≤ β |Σ a_i s_i / (μ − θ_i)| / √(1 + β² Σ s_i² / (μ − θ_i)²),

so an eigenvalue that is far from all Ritz values has hardly any share in q. For a random direction q of dimension p
that is improbable: P(|⟨q, v⟩| ≤ t) ≤ t √(2p/π). This turns a computation into a bound that fails with a known
probability (van Dorsselaer, Hochstenbach & van der Vorst 2000, recalled; for q uniform on the sphere the density of
⟨q, v⟩ is largest at 0, where it is below √(p/2π)).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MISS = 1e-3  # accepted probability that a bound from a random start fails


@dataclass(frozen=True, eq=False)
class Spread:
    """How the first vector of a chain is spread over its Ritz vectors, and what sticks out at the end.

    Args:
        values: Ritz values θ.
        first: Coefficients of the Ritz vectors at the first vector.
        last: Coefficients at the last vector.
        beta: Norm of the remainder of the last vector.
    """

    values: Float[np.ndarray, " j"]
    first: Float[np.ndarray, " j"]
    last: Float[np.ndarray, " j"]
    beta: float

    def share(self, mu: float, *, ended: bool = False) -> float:
        """Largest |⟨q, v⟩| of an eigenvector with eigenvalue μ; relative to the next vector if the chain `ended`."""
        if self.beta == 0.0:
            return 0.0
        distances = mu - self.values
        if not np.abs(distances).min() > 0:
            return math.inf
        pull = self.last * (self.beta / distances)
        through = abs(float(self.first @ pull))
        return through if ended else through / math.sqrt(1 + float(pull @ pull))


def chance(chains: list[Spread], mu: float, size: int) -> float:
    """Probability, at most, that a random start of a chain (with its restarts) hides an eigenvector of value μ."""
    share = math.prod([chain.share(mu, ended=i < len(chains) - 1) for i, chain in enumerate(chains)])
    return min(1.0, share * math.sqrt(2 * size / math.pi)) if math.isfinite(share) else 1.0


def ceiling(chains: list[Spread], size: int, *, miss: float = MISS) -> float:
    """The least number that no eigenvalue exceeds, up to the probability `miss` over the random start.

    Beyond the largest Ritz value the share falls monotonically, so bisection finds where it is improbable.
    """
    top = float(chains[-1].values[-1])
    spread = max(float(chains[-1].values[-1] - chains[-1].values[0]), chains[-1].beta)
    if spread == 0.0:
        return top
    low, step = 0.0, 1e-12 * spread
    while chance(chains, top + step, size) > miss:
        low, step = step, 4 * step
        if step > 1e30 * spread:
            return math.inf
    for _ in range(30):
        middle = math.sqrt(low * step) if low > 0 else step / 2
        low, step = (middle, step) if chance(chains, top + middle, size) > miss else (low, middle)
    return top + step


def enclosures(
    values: Float[Tensor, " j"], last: Float[Tensor, "j b"], limit: float, count: int
) -> Float[Tensor, " count"]:
    """Upper ends of the `count` largest eigenvalues, if what is orthogonal to the basis does not exceed `limit`.

    With A = [[H, Bᵀ], [B, A']] and A' ≤ ν < μ, Sylvester's law of inertia (Schur complement of A' − μ) shows that A has
    no more eigenvalues above μ than H + BᵀB / (μ − ν). The i-th end is the root of λ_i(H + BᵀB/(μ − ν)) = μ. To first
    order that is Kato–Temple, θ_i + r_i²/(θ_i − ν).

    Args:
        values: Ritz values θ, descending.
        last: What sticks out of the Ritz vectors, as coordinates: BᵀB = last lastᵀ in their basis.
        limit: ν.
        count: How many ends.

    Returns:
        The ends, descending; `inf` where there is none.
    """
    out = last @ last.T
    scale = max(float(values.abs().max()), float(out.diagonal().max()) ** 0.5, abs(limit), 1e-300)
    least = 1e-13 * scale  # μ − ν must not be lost to rounding

    def excess(mu: float, index: int) -> float:
        moved = torch.linalg.eigvalsh(torch.diag(values) + out / (mu - limit)).flip(0)
        return float(moved[index]) - mu

    ends = torch.full((count,), torch.inf, dtype=values.dtype, device=values.device)
    for i in range(count):
        low = max(float(values[i]), limit + least)
        high = low + float(last[i].square().sum()) / (low - limit) + least
        for _ in range(60):
            if excess(high, i) <= 0:
                break
            high = low + 2 * (high - low)
        else:
            continue
        for _ in range(20):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if excess(middle, i) > 0 else (low, middle)
        ends[i] = high
    return ends
