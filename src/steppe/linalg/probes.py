"""Random probes and what their samples say about a mean."""

import math

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from steppe.core import generator

from .krylov import check_finite
from .operators import SymmetricOperator
from .pace import Pace

_NORMAL = 1.959963984540054


class Probes:
    """Rademacher vectors by number: the i-th can be drawn again instead of being stored.

    Args:
        operator: Whose size and device they have.
        seed: Seed (purpose `curvature.probe`).
        first: Number of the first one drawn by `samples`.
    """

    def __init__(self, operator: SymmetricOperator, seed: int, *, first: int = 0) -> None:
        self.operator, self.next = operator, first
        # One stream gives each probe its own seed, so that neighbouring seeds share no probes.
        self._seeds = generator("curvature.probe", seed)
        self._drawn: list[int] = []

    def vector(self, number: int) -> Float[Tensor, " p"]:
        """The probe of that number, in float64."""
        while len(self._drawn) <= number:
            self._drawn.append(int(torch.randint(2**62, (), generator=self._seeds)))
        rng = torch.Generator().manual_seed(self._drawn[number])
        signs = torch.randint(0, 2, (self.operator.shape[0],), generator=rng, dtype=torch.int8)
        return (2 * signs - 1).to(device=self.operator.device, dtype=torch.float64)

    def samples(self, count: int, pace: Pace, *, away: Tensor | None = None) -> list[float]:
        """zᵀ P A P z of the next probes, P the projection away from the rows of `away`; fewer if the pace is over."""
        found: list[float] = []
        while len(found) < count and not pace.over:
            z = self.vector(self.next)
            if away is not None:
                z = z - away.T @ (away @ z)
            image = self.operator @ z.to(self.operator.dtype)
            check_finite(image)
            found.append(float(z @ image.to(torch.float64)))
            self.next += 1
            pace.advance(1, "trace")
        return found


def mean_and_error(samples: list[float]) -> tuple[float, float]:
    """Mean and standard error; the latter widened so that ± 1.96 errors is the 95 % interval of Student's t."""
    values = torch.tensor(samples, dtype=torch.float64)
    if len(samples) < 2:
        return float(values.mean()), math.nan
    widened = float(special.stdtrit(len(samples) - 1, 0.975)) / _NORMAL
    return float(values.mean()), widened * float(values.std()) / math.sqrt(len(samples))
