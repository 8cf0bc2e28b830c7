"""What products with the Hessian are spent on: one Krylov pass for both ends and the density, then the trace."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from steppe.core import Estimate
from steppe.curvature import CurvatureOperator, Density, spectral_density, survey, trace
from steppe.linalg import extreme_eigenvalues

STEPS = 40  # least length of the chain, where there are products enough
_WHOLE = 1000  # parameters up to which the whole matrix may be taken, if it is within the budget
_ROOM = 1.2  # products over p that must be there for that
_ROUNDING = 64  # in units of eps·|λ|: what a residual cannot be told from zero below
_ATTRIBUTES = {"sharpness": "largest", "smallest": "smallest", "trace": "trace", "density": "density"}
_RTOL = 1e-2  # of the smallest eigenvalue by itself, which is small beside the largest as a rule
_TRACE = 0.02  # relative standard error that is aimed at where the trace alone is asked for

Report = Callable[[int, int | None, str], Any]


@dataclass(kw_only=True)
class Spectrum:
    """What the products gave; what is None has its reason in `absent`."""

    largest: Estimate | None = None
    smallest: Estimate | None = None
    vector: Tensor | None = None
    density: Density | None = None
    trace: Estimate | None = None
    products: int = 0
    absent: dict[str, str] = field(default_factory=dict)


def spectrum(
    operator: CurvatureOperator,
    *,
    wanted: set[str],
    products: int,
    steps: int,
    seconds: float | None,
    seed: int,
    progress: Report,
    why_not: str,
) -> Spectrum:
    """Spend products on what was asked for, the ends of the spectrum first.

    A matrix that is within reach is taken whole, which makes everything exact. Otherwise one Lanczos chain gives both
    ends and the density; the trace is exact on its space, and probes see the rest.

    Args:
        operator: The Hessian.
        wanted: Which of `sharpness`, `smallest`, `trace`, `density` were asked for.
        products: Products that may be spent.
        steps: Least length of the chain; it may become twice as long.
        seconds: Seconds that are left, None for any number.
        seed: Seed of the random directions.
        progress: Called with products done, expected, and a few words.
        why_not: What to say of all of them if no product may be made.
    """
    names, exact = wanted & {"sharpness", "smallest", "trace", "density"}, None
    if operator.exact_diagonal is not None and "trace" in names:
        exact, names = trace(operator, seed=seed), names - {"trace"}
    before, p = operator.products, operator.shape[0]
    limits: dict[str, Any] = {"seed": seed, "budget": seconds, "max_products": products, "progress": progress}
    if not names:
        found = Spectrum()
    elif products < 2:
        found = Spectrum(absent=dict.fromkeys(sorted(names), why_not))
    elif names == {"sharpness"}:
        top = extreme_eigenvalues(operator, **limits)
        found = Spectrum(largest=top.estimate(quantity="sharpness"), vector=top.vectors[:, 0])
    elif names == {"smallest"} and products < p:
        low = extreme_eigenvalues(operator, which="smallest", rtol=_RTOL, **limits)
        found = Spectrum(smallest=low.estimate(quantity="smallest eigenvalue"))
    elif names == {"trace"} and products < p:
        found = Spectrum(trace=trace(operator, rtol=_TRACE, **limits))
    elif names == {"density"}:
        found = Spectrum(density=spectral_density(operator, **limits))
    elif p <= _WHOLE and _ROOM * p <= products:
        found = _whole(operator)
        progress(p, p, "the whole matrix")
    else:
        found = _surveyed(operator, names, limits, steps)
    scale = max((abs(end.value) for end in (found.largest, found.smallest) if end is not None), default=0.0)
    found.largest = _rounded(found.largest, operator, scale)
    found.smallest = _rounded(found.smallest, operator, scale)
    found.trace = exact or found.trace
    found.products = operator.products - before
    return _only(found, wanted)


def _only(found: Spectrum, wanted: set[str]) -> Spectrum:
    """What was not asked for is dropped."""
    for name, attribute in _ATTRIBUTES.items():
        if name not in wanted:
            setattr(found, attribute, None)
    return found


def _rounded(estimate: Estimate | None, operator: CurvatureOperator, scale: float) -> Estimate | None:
    """With an error that is no smaller than the rounding of products in the operator's dtype."""
    if estimate is None or estimate.error_kind != "residual":
        return estimate
    least = _ROUNDING * torch.finfo(operator.dtype).eps * scale
    return estimate if estimate.error >= least else replace(estimate, error=least)


def _surveyed(operator: CurvatureOperator, names: set[str], limits: dict[str, Any], steps: int) -> Spectrum:
    products = limits["max_products"]
    steps = max(min(steps, products // 2), 2)
    # The chain may take twice its steps; the probes that are asked for shall fit.
    probes = max(products - 2 * steps - 20, products // 4, 2) if "trace" in names else 2
    found = survey(operator, steps=steps, probes=probes, **limits)
    return Spectrum(
        largest=found.largest,
        smallest=found.smallest,
        vector=found.vector,
        density=cast(Density, found.density),  # the room's own survey makes it one that draws itself
        trace=found.trace,
        absent={} if found.trace is not None or "trace" not in names else {"trace": found.reason.split("trace: ")[-1]},
    )


def _whole(operator: CurvatureOperator) -> Spectrum:
    """Everything from the matrix."""
    before, p = operator.products, operator.shape[0]
    found = extreme_eigenvalues(operator, p)
    values = found.values.flip(0)[None].cpu()
    about: dict[str, Any] = {
        "reason": "diagonalised",
        "products": operator.products - before,
        "backend": operator.backend,
        "convention": operator.convention,
    }
    return Spectrum(
        largest=found.estimate(0, quantity="sharpness"),
        smallest=found.estimate(p - 1, quantity="smallest eigenvalue"),
        vector=found.vectors[:, 0],
        density=Density(nodes=values, weights=torch.full_like(values, 1 / p), size=p, exact=True, **about),
        trace=Estimate(value=float(values.sum()), error=0.0, quantity="trace", **about),
    )
