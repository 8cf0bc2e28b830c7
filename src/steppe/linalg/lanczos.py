"""Extreme eigenvalues of a symmetric operator, by Lanczos with full reorthogonalisation."""

import math
import time
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    DataError,
    KindError,
    ShapeError,
    check_choice,
    check_integer,
    check_number,
    generator,
)

from .krylov import KrylovBasis, check_finite
from .operators import SymmetricOperator
from .pace import Pace, Progress
from .search import Search
from .spectra import Eigenvalues, gaps_of

_DENSE = 32  # up to this size all p products are made and the matrix is diagonalised
_PRODUCTS = 1000

Which = Literal["largest", "smallest"]


def extreme_eigenvalues(
    operator: SymmetricOperator,
    k: int = 1,
    *,
    which: Which = "largest",
    rtol: float = 1e-3,
    start: Float[Tensor, "p *s"] | None = None,
    seed: int = 0,
    max_products: int | None = None,
    confirm: int | Literal[False] | None = None,
    budget: float | None = None,
    progress: Progress = False,
) -> Eigenvalues:
    """The k largest or smallest algebraic eigenvalues, by Lanczos with full reorthogonalisation in float64.

    A pair is converged when its residual ‖A y − θ y‖ ≤ rtol·|θ| (or is rounding). Then some eigenvalue lies within
    the residual of θ, and if θ is separated from the others by a gap, the error is at most residual²/gap
    (Kato–Temple). A small residual alone does not prove that no eigenvalue was skipped, therefore:

    * One eigenvalue from a random start: the iteration goes on until a larger eigenvalue, farther away than the next
      Ritz value or 10·rtol·|θ|, whichever is less, could hide with probability 1/1000 at most, which would need a start
      almost orthogonal to its eigenvector.
    * Several, or a given start: a random companion orthogonal to all that was searched is iterated by itself. What it
      finds (such as further copies of a multiple eigenvalue) joins. Otherwise it bounds, up to the same probability,
      everything that is left, and the law of inertia encloses each eigenvalue (`Eigenvalues.ends`). Where the
      spectrum is dense this takes too long; the companion then ends after max(24, as many products as were spent), and
      the reason says beyond which number nothing hides.

    Args:
        operator: The operator; p ≤ 32 (and k near p) are diagonalised exactly from p products.
        k: How many, 1 ≤ k ≤ p.
        which: `"largest"` or `"smallest"`, in the algebraic sense: −100 is smaller than 1.
        rtol: Relative tolerance of the residual, > 0.
        start: A first vector [p] or block [p, s], such as earlier eigenvectors; random if None.
        seed: Seed of the random directions (purpose `linalg.start`).
        max_products: Products allowed; 1000 if None.
        confirm: Most steps of a companion; None for as many as are needed, False for none: a given start is trusted
            and the first convergence is believed.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected or None, text).

    Returns:
        The values with vectors, residuals and the reason for stopping; `converged` is False if products or seconds ran
        out.

    Raises:
        ShapeError: `start` does not fit.
        DataError: `start` is zero or not finite.
        ComputationError: A product is not finite.

    Cost: one product per step, and O(p·j) work for the reorthogonalisation of step j; memory 8·p·j bytes up to 1 GiB,
    then a thick restart. References: Lanczos 1950; Saad, Numerical Methods for Large Eigenvalue Problems, ch. 6;
    van Dorsselaer, Hochstenbach & van der Vorst 2000 for the probability (all recalled).
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    began = time.perf_counter()
    p = operator.shape[0]
    k = check_integer("k", k, minimum=1, maximum=p)
    sign = 1.0 if check_choice("which", which, ["largest", "smallest"]) == "largest" else -1.0
    rtol = check_number("rtol", rtol, above=0.0)
    limit = check_integer("max_products", _PRODUCTS if max_products is None else max_products, minimum=1)
    companion = None if confirm is None else 0 if confirm is False else check_integer("confirm", confirm, minimum=0)
    before = operator.products
    if p <= _DENSE or 2 * k > p:
        return _dense(operator, k, sign, began)
    rng = generator("linalg.start", seed)
    given = _start_rows(operator, start)
    rows = torch.randn(1, p, generator=rng, dtype=torch.float64).to(operator.device) if given is None else given
    krylov = KrylovBasis(operator if sign > 0 else _negative(operator), rows, rng, keep=k)
    with Pace(budget, progress, max_products=limit, agree=operator.agree) as pace:
        search = Search(krylov, k, rtol=rtol, pace=pace, companion=companion, random=given is None)
        reason = search.run()
    ritz, coefficients = (part.flip(-1) for part in krylov.ritz())
    residuals = krylov.residuals(coefficients)
    return Eigenvalues(
        values=sign * ritz[:k],
        vectors=krylov.basis.T @ coefficients[:, :k],
        # The recurrence's residuals may fall below what the products can resolve.
        residuals=residuals[:k].clamp(min=krylov.rounding),
        gaps=gaps_of(ritz, residuals, torch.arange(min(k, len(ritz)), device=ritz.device)),
        converged=search.converged,
        reason=reason,
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
        beyond=sign * search.beyond,
        ends=sign * search.ends,
    )


def _negative(operator: SymmetricOperator) -> SymmetricOperator:
    """−A, whose largest eigenvalues are the smallest of A."""
    size, dtype, device = operator.shape[0], operator.dtype, operator.device
    return SymmetricOperator(lambda block: -(operator @ block), size, dtype=dtype, device=device)


def _start_rows(operator: SymmetricOperator, start: Tensor | None) -> Tensor | None:
    """A given start as float64 rows, or None."""
    if start is None:
        return None
    p = operator.shape[0]
    if not isinstance(start, Tensor) or start.ndim not in (1, 2) or start.shape[0] != p or start.numel() == 0:
        got = list(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise ShapeError(f"`start` must have shape [{p}] or [{p}, s], got {got}; pass earlier eigenvectors or None")
    rows = start.detach().reshape(p, -1).T.to(dtype=torch.float64, device=operator.device)
    norms = rows.norm(dim=1)
    if not torch.isfinite(norms).all() or not (norms > 0).all():
        raise DataError(
            "`start` must be finite and nonzero, got a zero or non-finite vector; pass None for a random one"
        )
    return rows


def _dense(operator: SymmetricOperator, k: int, sign: float, began: float) -> Eigenvalues:
    """All eigenvalues of the matrix, from p products."""
    before = operator.products
    matrix = operator.to_dense().to(torch.float64)
    check_finite(matrix)
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.T))
    order = torch.argsort(sign * values, descending=True)[:k]
    residuals = (matrix @ vectors - vectors * values).norm(dim=0)
    return Eigenvalues(
        values=values[order],
        vectors=vectors[:, order],
        residuals=residuals[order],
        gaps=gaps_of(values, residuals, order),
        converged=True,
        reason="diagonalised",
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend="dense",
        convention=operator.convention,
        beyond=float(values[order[-1]]) if k > 1 else math.nan,
        ends=values[order] + sign * residuals[order],
    )
