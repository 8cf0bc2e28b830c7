"""One Krylov pass that answers several questions about a spectrum."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, KindError, check_integer, check_number, generator

from .density import Density
from .krylov import KrylovBasis
from .lanczos import extreme_eigenvalues
from .operators import SymmetricOperator
from .pace import Pace, Progress
from .probes import Probes, mean_and_error
from .search import Search
from .spectra import Eigenvalues, gaps_of

_DENSE = 32
_STEPS = 40
_PROBES = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What one Krylov pass told about a spectrum.

    Args:
        largest: The largest eigenvalue.
        smallest: The smallest eigenvalue; its tolerance is relative to the larger of both magnitudes.
        vector: Eigenvector of the largest one [p].
        density: The spectral density.
        trace: The trace, exact on the Krylov space and from probes on the rest; None if no product was left for it.
        converged: Whether all parts are.
        reason: Why it stopped, part by part.
        products: Operator–vector products spent, all together.
        seconds: Wall time.
        backend: Which implementation made the products.
        convention: What the operator is.
    """

    largest: Estimate
    smallest: Estimate
    vector: Float[Tensor, " p"]
    density: Density
    trace: Estimate | None
    converged: bool
    reason: str
    products: int
    seconds: float
    backend: str
    convention: str


def survey(
    operator: SymmetricOperator,
    *,
    rtol: float = 1e-3,
    steps: int = _STEPS,
    probes: int = _PROBES,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    max_products: int | None = None,
) -> Survey:
    """Largest and smallest eigenvalue, density and trace from one Krylov pass and a few probes.

    A Lanczos chain from a random vector is continued until both ends are converged, or for `steps` steps beyond the
    convergence of the largest eigenvalue at most. Its nodes are the density; the space that it spans is taken out
    exactly of the trace, and `probes` random vectors see only the rest.

    Args:
        operator: The operator; p ≤ 32 is diagonalised.
        rtol: Relative tolerance of the residuals.
        steps: Least length of the chain, and most steps that the smallest eigenvalue may take more.
        probes: Probes of the trace, ≥ 2.
        seed: Seed of all random vectors.
        budget: Seconds allowed, None for any number; the trace gets what is left.
        progress: True for a bar on stderr, or a callable (products done, expected, text).
        max_products: Products allowed, 1000 if None.

    Returns:
        The parts; those that the budget did not reach are marked or None, and `reason` says why.

    Raises:
        KindError: It is not an operator.
        ParameterError: A number is out of range.
        ComputationError: A product is not finite.

    Cost: chain + probes, 60–80 products as a rule; memory 8·p·(steps of the chain) bytes, up to 1 GiB.
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    began, before = time.perf_counter(), operator.products
    rtol = check_number("rtol", rtol, above=0.0)
    steps = check_integer("steps", steps, minimum=2)
    probes = check_integer("probes", probes, minimum=2)
    limit = check_integer("max_products", 1000 if max_products is None else max_products, minimum=1)
    if operator.shape[0] <= _DENSE:
        return _dense(operator, began)
    rng = generator("linalg.start", seed)
    start = torch.randn(1, operator.shape[0], generator=rng, dtype=torch.float64).to(operator.device)
    krylov = KrylovBasis(operator, start, rng, keep=2)
    krylov.capacity = max(krylov.capacity, 2 * steps)
    with Pace(budget, progress, total=steps + probes, max_products=limit, agree=operator.agree) as pace:
        search = Search(krylov, 1, rtol=rtol, pace=pace, companion=None, random=True)
        reason = search.run()
        lower = _lower_end(krylov, pace, rtol, steps)
        ends = _ends(krylov, operator, search, reason, lower, began)
        density = _density(krylov, operator, krylov.size, began)
        samples = Probes(operator, seed).samples(probes, pace, away=krylov.basis)
        trace = _trace(krylov, operator, samples, probes, pace.over)
    parts = [e for e in (*ends[:2], trace) if e is not None]
    words = [f"{e.quantity}: {e.reason}" for e in parts] + ([] if trace else [f"trace: not reached, {pace.over}"])
    return Survey(
        largest=ends[0],
        smallest=ends[1],
        vector=ends[2],
        density=density,
        trace=trace,
        converged=trace is not None and all(e.converged for e in parts),
        reason="; ".join(words),
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
    )


def _lower_end(krylov: KrylovBasis, pace: Pace, rtol: float, steps: int) -> str:
    """Go on until the smallest Ritz value is converged as well; why that failed, or nothing."""
    most = krylov.size + steps
    while True:
        values, coefficients = krylov.ritz()
        size = max(abs(float(values[0])), abs(float(values[-1])))
        met = float(krylov.residuals(coefficients[:, :1])[0]) <= max(rtol * size, krylov.rounding)
        if met and krylov.size >= steps:
            return ""
        if pace.over or krylov.size >= most:
            return "" if met else pace.over or f"{steps} steps after the largest were not enough"
        if not krylov.advance():
            return ""
        krylov.step()
        pace.advance(1, f"{krylov.size} dimensions")


def _ends(
    krylov: KrylovBasis, operator: SymmetricOperator, search: Search, reason: str, lower: str, began: float
) -> tuple[Estimate, Estimate, Tensor]:
    """Both ends as estimates, and the vector of the upper one."""
    values, coefficients = krylov.ritz()
    residuals = krylov.residuals(coefficients)
    found = []
    for index, converged, why, beyond in (
        (len(values) - 1, search.converged, reason, search.beyond),
        (0, not lower, lower or "residual small beside the largest magnitude", math.nan),
    ):
        one = torch.tensor([index], device=values.device)
        found.append(
            Eigenvalues(
                values=values[one],
                vectors=krylov.basis.T @ coefficients[:, one],
                residuals=residuals[one].clamp(min=krylov.rounding),
                gaps=gaps_of(values, residuals, one),
                converged=converged,
                reason=why,
                products=krylov.size,
                seconds=time.perf_counter() - began,
                backend=operator.backend,
                convention=operator.convention,
                beyond=beyond,
            )
        )
    upper, low = found
    names = ("largest eigenvalue", "smallest eigenvalue")
    return upper.estimate(quantity=names[0]), low.estimate(quantity=names[1]), upper.vectors[:, 0]


def _density(krylov: KrylovBasis, operator: SymmetricOperator, products: int, began: float) -> Density:
    values, coefficients = krylov.ritz()
    first = coefficients[0] if not krylov.cycles else coefficients[krylov.origin]
    weights = first.square()
    return Density(
        nodes=values[None].cpu(),
        weights=(weights / weights.sum())[None].cpu(),
        size=operator.shape[0],
        reason=f"one chain of {krylov.size} steps",
        products=products,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
    )


def _trace(
    krylov: KrylovBasis, operator: SymmetricOperator, samples: list[float], probes: int, over: str
) -> Estimate | None:
    if len(samples) < 2:
        return None
    mean, error = mean_and_error(samples)
    done = len(samples) == probes
    words = f"{len(samples)} probes, {krylov.size} directions taken out exactly"
    return Estimate(
        value=float(krylov.projection.trace()) + mean,
        error=error,
        error_kind="standard error",
        converged=done,
        reason=words if done else f"{over}; {words}",
        products=krylov.size + len(samples),
        backend=operator.backend,
        convention=operator.convention,
        quantity="trace",
    )


def _dense(operator: SymmetricOperator, began: float) -> Survey:
    """Everything from the matrix."""
    before, p = operator.products, operator.shape[0]
    found = extreme_eigenvalues(operator, p)
    products = operator.products - before
    about: dict[str, Any] = {
        "backend": "dense",
        "convention": operator.convention,
        "products": products,
        "reason": "diagonalised",
    }
    values = found.values.cpu()
    nodes = values.flip(0)[None]
    trace = float(values.sum())
    last = found.estimate(p - 1, quantity="smallest eigenvalue")
    return Survey(
        largest=found.estimate(quantity="largest eigenvalue"),
        smallest=last,
        vector=found.vectors[:, 0],
        density=Density(nodes=nodes, weights=torch.full_like(nodes, 1 / p), size=p, exact=True, **about),
        trace=Estimate(value=trace, error=0.0, error_kind="none", quantity="trace", **about),
        converged=True,
        seconds=time.perf_counter() - began,
        **about,
    )
