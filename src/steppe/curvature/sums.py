"""Trace and diagonal of curvature operators."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, ParameterError, check_integer, generator, refuse_unknown_keywords
from steppe.linalg import SymmetricOperator

from .operators import CurvatureOperator, as_operator

_COLUMNS = 64  # unit vectors or probes per block


def trace(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    probes: int = 100,
    seed: int = 0,
    weight: Any = None,
    objective: Callable[..., Any] | None = None,
    **unknown: Any,
) -> Estimate:
    """The trace of the Hessian (or of one operator).

    Closed-form operators give it exactly, without products; it is that of the Gauss–Newton matrix too, because the
    residual part of a shallow ReLU network has a zero diagonal. Others with at most `probes` parameters are summed
    exactly from p products. Beyond that, Hutchinson's estimator: the mean of zᵀHz over `probes` Rademacher vectors z,
    unbiased with variance 2 Σ_{i≠j} H_ij² / probes.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        probes: Number of random vectors, ≥ 2; fixed beforehand, so that stopping adds no bias.
        seed: Seed of the probes (purpose `curvature.probe`).
        weight: As in `hessian`.
        objective: As in `hessian`.
        **unknown: Refused, with the keyword to use instead.

    Returns:
        The estimate, with `error_kind` "standard error" if it is stochastic and "none" (error 0) if exact.

    Raises:
        SteppeError: As `hessian`.

    Cost: about one product in closed form, else min(p, probes) products; memory of one block of vectors.
    """
    refuse_unknown_keywords("trace", unknown, ["probes", "seed", "weight", "objective"])
    began = time.perf_counter()
    probes = check_integer("probes", probes, minimum=2)
    rng = generator("curvature.probe", seed)
    operator = as_operator(model, loss, data, function="trace", weight=weight, objective=objective)
    before = operator.products
    error, kind, reason = 0.0, "none", "exact"
    if isinstance(operator, CurvatureOperator) and operator.exact_diagonal is not None:
        value = float(operator.exact_diagonal().double().sum())
    elif operator.shape[0] <= probes:
        value = float(_diagonal_by_products(operator).double().sum())
    else:
        samples = _hutchinson(operator, probes, rng)
        value, error = float(samples.mean()), float(samples.std()) / math.sqrt(probes)
        kind, reason = "standard error", f"{probes} probes"
    return Estimate(
        value=value,
        error=error,
        error_kind="standard error" if kind == "standard error" else "none",
        reason=reason,
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
        quantity="trace",
    )


def diagonal(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    max_products: int = 4096,
    weight: Any = None,
    objective: Callable[..., Any] | None = None,
    **unknown: Any,
) -> Float[Tensor, " p"]:
    """The exact diagonal of the Hessian (or of one operator), in the order of the flat parameters.

    Closed-form operators give it without products; others from p products with unit vectors.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        max_products: Largest p for which p products are made.
        weight: As in `hessian`.
        objective: As in `hessian`.
        **unknown: Refused, with the keyword to use instead.

    Raises:
        ParameterError: There is no closed form and p exceeds `max_products`.
        SteppeError: As `hessian`.
    """
    refuse_unknown_keywords("diagonal", unknown, ["max_products", "weight", "objective"])
    limit = check_integer("max_products", max_products, minimum=1)
    operator = as_operator(model, loss, data, function="diagonal", weight=weight, objective=objective)
    if isinstance(operator, CurvatureOperator) and operator.exact_diagonal is not None:
        return operator.exact_diagonal()
    if operator.shape[0] > limit:
        raise ParameterError(
            f"`max_products` must be ≥ {operator.shape[0]}, the products that this exact diagonal takes, got {limit}; "
            "raise it, or use `trace` for the sum"
        )
    return _diagonal_by_products(operator)


def _diagonal_by_products(operator: SymmetricOperator) -> Float[Tensor, " p"]:
    p = operator.shape[0]
    parts = []
    for first in range(0, p, _COLUMNS):
        rows = torch.arange(first, min(first + _COLUMNS, p), device=operator.device)
        block = torch.zeros(p, len(rows), dtype=operator.dtype, device=operator.device)
        block[rows, rows - first] = 1
        parts.append((operator @ block)[rows, rows - first])
    return torch.cat(parts)


def _hutchinson(operator: SymmetricOperator, probes: int, rng: torch.Generator) -> Float[Tensor, " probes"]:
    """zᵀHz for Rademacher vectors z, a few at a time: memory does not grow with their number."""
    parts = []
    for first in range(0, probes, 8):
        signs = torch.randint(0, 2, (operator.shape[0], min(8, probes - first)), generator=rng)
        z = (2 * signs - 1).to(dtype=operator.dtype, device=operator.device)
        parts.append((z.double() * (operator @ z).double()).sum(dim=0))
    return torch.cat(parts)
