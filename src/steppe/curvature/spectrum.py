"""The exact Gauss–Newton spectrum of shallow networks on few samples, and how far the Hessian is from it."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import KindError, ParameterError, check_integer, refuse_unknown_keywords

from .closed_form import ClosedForm
from .operators import build


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussNewtonSpectrum:
    """All eigenvalues of a Gauss–Newton matrix that can be nonzero, exact up to rounding.

    Args:
        values: The min(n·k, p) largest eigenvalues, descending; the other p − min(n·k, p) are zero.
        residual_norm: ‖E‖₂ of the rest of the Hessian, H = G + E, exact. By Weyl's inequality the i-th largest
            eigenvalue of H lies within it of the i-th largest of G (zeros included).
        size: p.
        seconds: Wall time.
        convention: Loss, reduction, samples and parameters.
    """

    values: Float[Tensor, " q"]
    residual_norm: float
    size: int
    seconds: float
    convention: str

    def sharpness_interval(self) -> tuple[float, float]:
        """Two proved ends of the largest Hessian eigenvalue: λ_max(G) ± ‖E‖."""
        top = float(self.values[0])
        return top - self.residual_norm, top + self.residual_norm


def gauss_newton_spectrum(
    network: Any, loss: Any, data: Any, *, max_size: int = 4096, **unknown: Any
) -> GaussNewtonSpectrum:
    """The exact spectrum of the Gauss–Newton matrix of a `ShallowReLU`, through its n·k × n·k Gram matrix.

    With S = B Bᵀ the Hessian of the loss in the outputs, G = Jᵀ S J and Bᵀ J Jᵀ B have the same nonzero eigenvalues.
    The rest E of the Hessian couples v_j with (w_j, b_j) only, so that its eigenvalues are ± the singular values of m
    small matrices [k, d + 1].

    Args:
        network: The network; computed in float64.
        loss: A loss of the house.
        data: One batch (x, y) or a re-iterable of batches.
        max_size: Largest n·k that is allowed.
        **unknown: Refused, with the keyword to use instead.

    Raises:
        KindError: There is no closed form.
        ParameterError: n·k exceeds `max_size`.
        SteppeError: As `hessian`.

    Cost: O((n·k)³ + n² k² m), memory a few (n·k)². Source: Weyl's inequality (recalled); the rest is our derivation.
    """
    refuse_unknown_keywords("gauss_newton_spectrum", unknown, ["max_size"])
    began = time.perf_counter()
    limit = check_integer("max_size", max_size, minimum=1)
    operator = build(network, loss, data, kind="Gauss–Newton", check=False)
    source = operator.source
    if not isinstance(source, ClosedForm):
        raise KindError(
            "`network` must be a ShallowReLU under SquaredLoss, CrossEntropy or Logistic, "
            f"got {type(network).__name__} under {type(loss).__name__}; use `eigenvalues` of `gauss_newton`"
        )
    size = source.samples * source.products.k
    if size > limit:
        raise ParameterError(f"`max_size` must be ≥ n·k = {size}, got {limit}; raise it or pass fewer samples")
    with torch.no_grad():
        gram = source.weigh.conjugate(source.products.gram())
        values = torch.linalg.eigvalsh(0.5 * (gram + gram.T)).flip(0)[: source.size].clamp(min=0.0)
        residual = source.residual.permute(2, 0, 1)
        norm = float(torch.linalg.matrix_norm(residual, ord=2).max()) if len(residual) else 0.0
    return GaussNewtonSpectrum(
        values=values,
        residual_norm=norm,
        size=source.size,
        seconds=time.perf_counter() - began,
        convention=operator.convention,
    )
