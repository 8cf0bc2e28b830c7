"""Trace and diagonal of curvature operators."""

import time
from dataclasses import replace
from typing import Any, Literal, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError, Estimate, ParameterError, check_choice, check_integer
from steppe.linalg import (
    DiagonalEstimate,
    Progress,
    SymmetricOperator,
    TraceMethod,
    remaining,
    stochastic_diagonal,
    stochastic_trace,
)

from .operators import as_operator
from .options import ProblemOptions, refuse_unknown_options

_COLUMNS = 64  # unit vectors per block
_PROBES = 100

DiagonalMethod = Literal["auto", "exact", "stochastic"]


def trace(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    rtol: float | None = None,
    probes: int | None = None,
    method: TraceMethod = "auto",
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The trace of the Hessian (or of one operator).

    Closed-form operators give it exactly, without products; it is that of the Gauss–Newton matrix too, because the
    residual part of a shallow ReLU network has a zero diagonal. Others with at most `probes` parameters are summed
    exactly from p products. Beyond that it is stochastic, see `steppe.linalg.stochastic_trace`: without `rtol`
    Hutchinson's estimator, the mean of zᵀHz over `probes` random sign vectors z, unbiased with variance
    2 Σ_{i≠j} H_ij² / probes; with `rtol` large eigenvalues are first taken out exactly if their spread says it pays.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        rtol: Relative standard error to reach; None for a fixed number of probes.
        probes: Number of products without `rtol`, ≥ 2, 100 if None; fixed beforehand, so that stopping adds no bias.
        method: `"auto"`, `"hutchinson"`, `"deflated"`, `"hutch++"` or `"xtrace"`; other than `"auto"`, exact sums are
            not tried.
        seed: Seed of the probes (purpose `curvature.probe`).
        max_products: Products allowed with `rtol`, 10 000 if None.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected or None, text).
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        The estimate, with `error_kind` "standard error" if it is stochastic and "none" (error 0) if exact.

    Raises:
        SteppeError: As `hessian`.

    Cost: about one product in closed form, else min(p, probes) products, or as many as `rtol` takes.
    """
    own = ("rtol", "probes", "method", "seed", "max_products", "budget", "progress")
    refuse_unknown_options("trace", options, *own)
    began = time.perf_counter()
    number = check_integer("probes", _PROBES if probes is None else probes, minimum=2)
    check_integer("seed", seed, minimum=0)
    operator = as_operator(model, loss, data, function="trace", **options)
    before = operator.products
    exact = getattr(operator, "exact_diagonal", None)
    if method == "auto" and exact is not None:
        value = float(exact().double().sum())
    elif method == "auto" and operator.shape[0] <= number:
        value = float(_finite(_diagonal_by_products(operator)).double().sum())
    else:
        _announce(operator, number)
        found = stochastic_trace(
            operator,
            rtol=rtol,
            probes=probes,
            method=method,
            seed=seed,
            max_products=max_products,
            budget=remaining(budget, began),
            progress=progress,
        )
        return replace(found, seconds=time.perf_counter() - began)
    return Estimate(
        value=value,
        error=0.0,
        error_kind="none",
        reason="exact",
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
        quantity="trace",
    )


@overload
def diagonal(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    method: Literal["auto", "exact"] = "auto",
    max_products: int = 4096,
    **options: Unpack[ProblemOptions],
) -> Float[Tensor, " p"]: ...


@overload
def diagonal(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    method: Literal["stochastic"],
    probes: int = 100,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    **options: Unpack[ProblemOptions],
) -> DiagonalEstimate: ...


def diagonal(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    method: DiagonalMethod = "auto",
    max_products: int = 4096,
    probes: int = 100,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    **options: Unpack[ProblemOptions],
) -> Float[Tensor, " p"] | DiagonalEstimate:
    """The diagonal of the Hessian (or of one operator), in the order of the flat parameters.

    Exact unless asked otherwise: closed-form operators give it without products, others from p products with unit
    vectors. `method="stochastic"` is the mean of z ∘ Hz over random sign vectors z, with an error for every entry.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        method: `"auto"` and `"exact"` return a tensor [p]; `"stochastic"` a `DiagonalEstimate`.
        max_products: Largest p for which p products are made.
        probes: Number of random vectors of the stochastic diagonal.
        seed: Seed of these vectors (purpose `curvature.probe`).
        budget: Seconds allowed to the stochastic diagonal, None for any number.
        progress: True for a bar on stderr, or a callable, during the stochastic diagonal.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Raises:
        ParameterError: There is no closed form and p exceeds `max_products`.
        ComputationError: An entry is not finite.
        SteppeError: As `hessian`.
    """
    own = ("method", "max_products", "probes", "seed", "budget", "progress")
    refuse_unknown_options("diagonal", options, *own)
    check_choice("method", method, ["auto", "exact", "stochastic"])
    began = time.perf_counter()
    limit = check_integer("max_products", max_products, minimum=1)
    operator = as_operator(model, loss, data, function="diagonal", **options)
    if method == "stochastic":
        _announce(operator, check_integer("probes", probes, minimum=2))
        left = remaining(budget, began)
        found = stochastic_diagonal(operator, probes=probes, seed=seed, budget=left, progress=progress)
        return replace(found, seconds=time.perf_counter() - began)
    exact = getattr(operator, "exact_diagonal", None)
    if exact is not None:
        entries: Tensor = exact()
        return entries
    if operator.shape[0] > limit:
        raise ParameterError(
            f"`max_products` must be ≥ {operator.shape[0]}, the products that this exact diagonal takes, got {limit}; "
            'raise it, pass method="stochastic", or use `trace` for the sum'
        )
    _announce(operator, operator.shape[0])
    return _finite(_diagonal_by_products(operator))


def _announce(operator: SymmetricOperator, products: int) -> None:
    """Tell a curvature operator how many products are to come."""
    expect = getattr(operator, "expect", None)
    if expect is not None:
        expect(products)


def _finite(diagonal: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
    if not torch.isfinite(diagonal).all():
        raise ComputationError(
            "the operator's product is NaN or infinite; check that parameters, data and loss are finite here"
        )
    return diagonal


def _diagonal_by_products(operator: SymmetricOperator) -> Float[Tensor, " p"]:
    p = operator.shape[0]
    parts = []
    for first in range(0, p, _COLUMNS):
        rows = torch.arange(first, min(first + _COLUMNS, p), device=operator.device)
        block = torch.zeros(p, len(rows), dtype=operator.dtype, device=operator.device)
        block[rows, rows - first] = 1
        parts.append((operator @ block)[rows, rows - first])
    return torch.cat(parts)
