"""The diagonal of an operator from random probes, with an error for every entry."""

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from steppe.core import KindError, check_integer

from .krylov import check_finite
from .operators import SymmetricOperator
from .pace import Pace, Progress
from .probes import Probes

_NORMAL = 1.959963984540054


@dataclass(frozen=True, kw_only=True, eq=False)
class DiagonalEstimate:
    """A diagonal with a standard error for every entry.

    Args:
        values: The entries [p].
        errors: Their standard errors [p], widened so that ± 1.96 errors is the 95 % interval of Student's t.
        converged: Whether all probes were made.
        reason: Why the computation stopped.
        products: Operator–vector products spent.
        seconds: Wall time.
        backend: Which implementation made the products.
        convention: What the operator is.
    """

    values: Float[Tensor, " p"]
    errors: Float[Tensor, " p"]
    converged: bool
    reason: str
    products: int
    seconds: float = 0.0
    backend: str = ""
    convention: str = ""


def stochastic_diagonal(
    operator: SymmetricOperator,
    *,
    probes: int = 100,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
) -> DiagonalEstimate:
    """The diagonal as the mean of z ∘ Az over vectors z of independent signs.

    The variance of entry i is Σ_{j≠i} A_ij² per probe; a diagonal matrix is found from one.

    Args:
        operator: The operator.
        probes: Number of probes, ≥ 2.
        seed: Seed of the probes (purpose `curvature.probe`).
        budget: Seconds allowed, None for any number; at least two probes are made.
        progress: True for a bar on stderr, or a callable (products done, expected, text).

    Raises:
        KindError: It is not an operator.
        ParameterError: `probes` is below 2.
        ComputationError: A product is not finite.

    Cost: one product a probe; memory of three vectors. Source: Bekas, Kokiopoulou & Saad 2007 (recalled).
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    began, before = time.perf_counter(), operator.products
    number = check_integer("probes", probes, minimum=2)
    vectors = Probes(operator, seed)
    mean = torch.zeros(operator.shape[0], dtype=torch.float64, device=operator.device)
    squares = torch.zeros_like(mean)
    made = 0
    with Pace(budget, progress, total=number, agree=operator.agree) as pace:
        while made < number and (made < 2 or not pace.over):
            z = vectors.vector(made)
            image = operator @ z.to(operator.dtype)
            check_finite(image)
            made += 1
            # Welford's update: no cancellation between large sums.
            apart = z * image.to(torch.float64) - mean
            mean += apart / made
            squares += apart * (z * image.to(torch.float64) - mean)
            pace.advance(1, "diagonal")
        reason = f"{made} probes" if made == number else f"{pace.over}; {made} probes"
    widened = float(special.stdtrit(made - 1, 0.975)) / _NORMAL
    return DiagonalEstimate(
        values=mean,
        errors=widened * (squares.clamp(min=0) / (made - 1) / made).sqrt(),
        converged=made == number,
        reason=reason,
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
    )
