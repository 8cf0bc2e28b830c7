"""Eigenvalues with what is known about their errors."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class Eigenvalues:
    """Eigenvalues at one end of a spectrum, with their residuals.

    Args:
        values: [k], the requested end first.
        vectors: [p, k], orthonormal columns.
        residuals: ‖A y − θ y‖ [k]: within this distance of each value lies some eigenvalue.
        gaps: Distance of each value to the nearest other Ritz value [k], less that one's residual and so possibly
            negative; NaN where there is none.
        converged: Whether every residual met the tolerance.
        reason: Why the computation stopped.
        products: Operator–vector products spent.
        seconds: Wall time.
        backend: Which implementation made the products, or "dense".
        convention: What the operator is.
        beyond: No eigenvalue beside those found lies beyond this number, except with probability 1/1000 over the random
            start (for one eigenvalue from a random start: no eigenvalue at all); NaN if nothing of the kind is known.
        ends: Outer ends [k] of the eigenvalues: the i-th lies between values[i] and ends[i], except with the same
            probability; NaN where nothing of the kind is known.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "p k"]
    residuals: Float[Tensor, " k"]
    gaps: Float[Tensor, " k"]
    converged: bool
    reason: str
    products: int
    seconds: float = 0.0
    backend: str = ""
    convention: str = ""
    beyond: float = math.nan
    ends: Float[Tensor, " k"] = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))

    @property
    def kato_temple(self) -> Float[Tensor, " k"]:
        """residual² / gap [k], the Kato–Temple error of each value if the Ritz gap is a gap of the spectrum.

        NaN where the gap is not positive. The hypothesis is not checked: another eigenvalue might hide in the gap. The
        residual needs none. [recalled]
        """
        bound = self.residuals.square() / self.gaps
        return torch.where(self.gaps > 0, torch.minimum(bound, self.residuals), torch.nan)

    def estimate(self, index: int = 0, *, quantity: str = "eigenvalue") -> Estimate:
        """One of the values, with its residual, as an `Estimate`; the reason names the sharper bounds."""
        reason, sharper = self.reason, float(self.kato_temple[index])
        if math.isfinite(sharper) and self.backend != "dense":
            reason += f"; Kato–Temple error {sharper:.2g} if the Ritz gap {float(self.gaps[index]):.2g} holds"
        if math.isfinite(self.beyond) and index == 0:
            reason += f"; none beyond {self.beyond:.6g} with probability 0.999"
        return Estimate(
            value=float(self.values[index]),
            error=float(self.residuals[index]),
            error_kind="residual",
            converged=self.converged,
            reason=reason,
            products=self.products,
            seconds=self.seconds,
            backend=self.backend,
            convention=self.convention,
            quantity=quantity,
        )


def gaps_of(values: Float[Tensor, " j"], residuals: Float[Tensor, " j"], chosen: Tensor) -> Float[Tensor, " k"]:
    """Least distance of the chosen values to another one, less that one's residual; NaN if there is none."""
    if len(values) == 1:
        return torch.full_like(values, torch.nan)
    distances = (values[chosen, None] - values[None, :]).abs() - residuals[None, :]
    distances[torch.arange(len(chosen), device=chosen.device), chosen] = torch.inf
    return distances.min(dim=1).values
