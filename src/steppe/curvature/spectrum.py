"""The exact Gauss–Newton spectrum on few samples, and how far the Hessian is from it."""

import math
import time
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import KindError, NotComputedError, ParameterError, check_integer
from steppe.linalg import SymmetricOperator, extreme_eigenvalues

from .autograd import AutogradCurvature
from .closed_form import ClosedForm
from .dual import dual_eigenvalues, output_count
from .operators import build
from .options import ProblemOptions, refuse_unknown_options

ResidualKind = Literal["exact", "probability 0.999", "none"]

_LOOSE = 0.03  # relative tolerance of the norm of the rest, of which a bound is wanted and not digits


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussNewtonSpectrum:
    """All eigenvalues of a Gauss–Newton matrix that can be nonzero, exact up to rounding.

    Args:
        values: The min(n·k, p) largest eigenvalues, descending; the other p − min(n·k, p) are zero.
        residual_norm: A bound of ‖E‖₂ for the rest of the Hessian, H = G + E; NaN if it was not asked for. By Weyl's
            inequality the i-th largest eigenvalue of H lies within it of the i-th largest of G (zeros included).
        residual_kind: `"exact"`; `"probability 0.999"`: a bound from two Lanczos searches, which holds except with
            probability 1/500 over their random starts; or `"none"`.
        size: p.
        products: Operator–vector products spent on ‖E‖.
        seconds: Wall time.
        backend: How the matrix was made.
        convention: Loss, reduction, samples and parameters.
    """

    values: Float[Tensor, " q"]
    residual_norm: float
    residual_kind: ResidualKind = "exact"
    size: int
    products: int = 0
    seconds: float
    backend: str = ""
    convention: str

    def sharpness_interval(self) -> tuple[float, float]:
        """Two ends of the largest Hessian eigenvalue, λ_max(G) ± ‖E‖; as sure as `residual_kind` says.

        Raises:
            NotComputedError: ‖E‖ was not asked for.
        """
        if self.residual_kind == "none":
            raise NotComputedError("the interval needs ‖E‖, got none; call gauss_newton_spectrum(..., residual=True)")
        top = float(self.values[0])
        if len(self.values) < self.size:
            top = max(top, 0.0)
        return top - self.residual_norm, top + self.residual_norm


def gauss_newton_spectrum(
    network: Any,
    loss: Any,
    data: Any,
    *,
    max_size: int = 4096,
    residual: bool = True,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    **options: Unpack[ProblemOptions],
) -> GaussNewtonSpectrum:
    """The exact spectrum of the Gauss–Newton matrix of any model on few samples, through an n·k × n·k Gram matrix.

    With S the Hessian of the loss in the outputs and J Jᵀ = C Cᵀ, G = Jᵀ S J and Cᵀ S C have the same nonzero
    eigenvalues. For a `ShallowReLU` under a loss of the house the Gram matrix is closed-form, and the rest E of the
    Hessian couples v_j with (w_j, b_j) only, so that its eigenvalues are ± the singular values of m small matrices
    [k, d + 1]. For other models rows of the Jacobian are made sample by sample, and ‖E‖ is bounded by Lanczos searches
    at both ends of H − G.

    Args:
        network: The model.
        loss: `loss(outputs, targets) -> scalar`.
        data: One batch (x, y) or a re-iterable of batches.
        max_size: Largest n·k that is allowed.
        residual: Whether ‖E‖ is wanted; it costs some 20 products of H and G where it is not closed-form.
        seed: Seed of these searches.
        dtype: Dtype of the closed form, float64 if None. In float32 it takes half the time, and each value carries
            rounding of about 10⁻⁶ of the largest.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Raises:
        KindError: There is no loss, or the model is none.
        ParameterError: n·k exceeds `max_size`, or the rows do not fit into memory.
        SteppeError: As `hessian`.

    Cost: O((n·k)³ + (n·k)² p) work and n·k backward passes of one sample; in closed form O((n·k)³ + n² k² m). Memory a
    few (n·k)², and 1 GiB for rows. Source: Weyl's inequality (recalled); the rest is our derivation.
    """
    refuse_unknown_options("gauss_newton_spectrum", options, "max_size", "residual", "seed", "dtype")
    began = time.perf_counter()
    limit = check_integer("max_size", max_size, minimum=1)
    if loss is None or options.get("objective") is not None:
        raise KindError("`gauss_newton_spectrum` needs loss(outputs, targets), got none; pass a loss")
    operator = build(network, loss, data, kind="Gauss–Newton", check=False, dtype=dtype, **options)
    source = operator.source
    closed = isinstance(source, ClosedForm)
    if not closed and not isinstance(source, AutogradCurvature):
        operator = build(network, loss, data, kind="Gauss–Newton", check=False, closed_form=False, **options)
        source = operator.source
    size = source.samples * source.products.k if closed else output_count(source)
    if size > limit:
        raise ParameterError(f"`max_size` must be ≥ n·k = {size}, got {limit}; raise it or pass fewer samples")
    values = _closed_values(source) if closed else dual_eigenvalues(source)
    norm, products = math.nan, 0
    kind: ResidualKind = "none"
    if residual and closed:
        norm, kind = _closed_norm(source), "exact"
    elif residual:
        rest = build(network, loss, data, kind="Hessian", check=False, closed_form=False, **options) - operator
        norm, products = _norm_bound(rest, seed)
        kind = "probability 0.999"
    return GaussNewtonSpectrum(
        values=values,
        residual_norm=norm,
        residual_kind=kind,
        size=source.size,
        products=products,
        seconds=time.perf_counter() - began,
        backend="closed form" if closed else "rows of the Jacobian",
        convention=operator.convention,
    )


def _closed_values(source: ClosedForm) -> Float[Tensor, " q"]:
    with torch.no_grad():
        gram = source.weigh.conjugate(source.products.gram())
        return torch.linalg.eigvalsh(0.5 * (gram + gram.T)).flip(0)[: source.size].clamp(min=0.0)


def _closed_norm(source: ClosedForm) -> float:
    with torch.no_grad():
        residual = source.residual.permute(2, 0, 1)
        return float(torch.linalg.matrix_norm(residual, ord=2).max()) if len(residual) else 0.0


def _norm_bound(rest: SymmetricOperator, seed: int) -> tuple[float, int]:
    """A bound of the norm that fails with probability 1/500 at most, and its products."""
    bound, products = 0.0, 0
    ends: tuple[Literal["largest", "smallest"], ...] = ("largest", "smallest")
    for which in ends:
        end = extreme_eigenvalues(rest, which=which, rtol=_LOOSE, seed=seed)
        products += end.products
        beyond = abs(end.beyond) if math.isfinite(end.beyond) else abs(float(end.values[0])) + float(end.residuals[0])
        bound = max(bound, beyond, abs(float(end.values[0])))
    return bound, products
