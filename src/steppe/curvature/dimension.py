"""The effective dimension: how many directions of the parameters the data determine."""

import math
import time
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError, Estimate, check_integer, check_number, generator
from steppe.linalg import Pace, SymmetricOperator

from .operators import as_operator, gauss_newton
from .options import ProblemOptions, refuse_unknown_options

_DENSE = 256  # up to this size the whole matrix is diagonalised
_SOLVED = 1e-3  # relative error of the solves behind a stochastic effective dimension
_PRODUCTS = 2000


def effective_dimension(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    alpha: float,
    probes: int = 20,
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Any = False,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The effective dimension Σ_i λ_i / (λ_i + α): how many directions the data determine against a prior α/2 ‖θ‖².

    λ are the eigenvalues of the Gauss–Newton matrix, or of the operator given, which must be positive semidefinite. It
    lies between 0 and the rank, grows when α falls, and depends on α/λ only: loss and α scaled together leave it.

    At most 256 parameters are diagonalised. Beyond that, N = p − α E zᵀ(A + α)⁻¹z over random signs z, with the solves
    by conjugate gradients. The error of a solve in this quantity is at most ‖r‖² and is driven below 0.1 %.

    Args:
        model: A module (then loss and data follow), or a positive semidefinite operator alone.
        loss: As in `gauss_newton`.
        data: As in `gauss_newton`.
        alpha: α > 0, in units of the loss per squared parameter; for weight decay λθ added to the gradient, α = λ.
        probes: Random vectors, ≥ 2.
        seed: Seed of the probes (purpose `curvature.probe`).
        max_products: Products allowed for the solves, 2000 if None.
        budget: Seconds allowed for the solves.
        progress: True for a bar on stderr, or a callable (done, total, text).
        **options: As in `hessian`.

    Returns:
        The estimate with its standard error over probes; error 0 if exact.

    Raises:
        ComputationError: The matrix has a negative eigenvalue.
        SteppeError: As `gauss_newton`.

    Cost: p products if exact, else probes times about √(λ_max/α) products.
    Source: MacKay 1992; Maddox, Benton, Wilson 2020, arXiv 2003.02139 (recalled).
    """
    own = ("alpha", "probes", "seed", "max_products", "budget", "progress")
    refuse_unknown_options("effective_dimension", options, *own)
    began = time.perf_counter()
    alpha = check_number("alpha", alpha, above=0.0)
    probes = check_integer("probes", probes, minimum=2)
    rng = generator("curvature.probe", seed)
    limits = {"budget": budget, "progress": progress, "max_products": max_products or _PRODUCTS}
    if isinstance(model, SymmetricOperator) or data is None:
        operator: SymmetricOperator = as_operator(model, loss, data, function="effective_dimension", **options)
    else:
        operator = gauss_newton(model, loss, data, **options)
    before = operator.products
    error, converged, reason = 0.0, True, "all eigenvalues"
    if operator.shape[0] <= _DENSE:
        value = _of_spectrum(operator, alpha)
    else:
        signs = 2 * torch.randint(0, 2, (operator.shape[0], probes), generator=rng).double() - 1
        with Pace(**limits, agree=operator.agree) as pace:
            samples, ended = _by_solves(operator, alpha, signs.to(operator.device), pace)
        value, error = float(samples.mean()), float(samples.std()) / math.sqrt(len(samples))
        converged, reason = not ended, ended or f"{probes} probes"
    return Estimate(
        value=value,
        error=error,
        error_kind="standard error" if error else "none",
        converged=converged,
        reason=reason,
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=f"α {alpha:g}; {operator.convention}",
        source="Maddox, Benton, Wilson 2020",
        quantity="effective dimension",
    )


def _of_spectrum(operator: SymmetricOperator, alpha: float) -> float:
    dense = operator.to_dense().double()
    values = torch.linalg.eigvalsh(0.5 * (dense + dense.T))
    rounding = 1e3 * torch.finfo(operator.dtype).eps * float(values.abs().max())
    if float(values[0]) < -rounding:
        raise _indefinite(f"the eigenvalue {float(values[0]):.3g}")
    values = values.clamp(min=0.0)
    return float((values / (values + alpha)).sum())


def _by_solves(
    operator: SymmetricOperator, alpha: float, z: Float[Tensor, "p probes"], pace: Pace
) -> tuple[Float[Tensor, " probes"], str]:
    """The samples p − α zᵀ(A + α)⁻¹z, by conjugate gradients on all probes side by side; and why they ended early."""
    p = operator.shape[0]
    x, r = torch.zeros_like(z), z.clone()
    d, square = r.clone(), r.square().sum(dim=0)
    open_ = torch.ones(z.shape[1], dtype=torch.bool, device=z.device)
    while bool(open_.any()) and not pace.over:
        along = d[:, open_]
        image = (operator @ along.to(operator.dtype)).double() + alpha * along
        bend = (along * image).sum(dim=0)
        if not torch.isfinite(bend).all():
            raise ComputationError("the operator's product is NaN or infinite; check parameters, data and loss")
        if bool((bend <= 0).any()):
            raise _indefinite("a direction of curvature below −α")
        step = square[open_] / bend
        x[:, open_] += step * along
        r[:, open_] -= step * image
        now = r[:, open_].square().sum(dim=0)
        d[:, open_] = r[:, open_] + (now / square[open_]) * along
        square[open_] = now
        # For A ≥ 0 the solve's error in α zᵀ(A + α)⁻¹z is at most ‖r‖².
        found = p - alpha * (z * x).sum(dim=0)
        open_ = square > _SOLVED * found.clamp(min=1e-3)
        pace.advance(along.shape[1], f"{int(open_.sum())} of {len(open_)} solves open")
    return p - alpha * (z * x).sum(dim=0), pace.over if bool(open_.any()) else ""


def _indefinite(seen: str) -> ComputationError:
    return ComputationError(
        f"the effective dimension needs a positive semidefinite matrix, got {seen}; pass `gauss_newton` or `fisher`"
    )
