"""Extreme eigenvalues of a symmetric operator, by Lanczos with full reorthogonalisation."""

import time
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    DataError,
    Estimate,
    KindError,
    ShapeError,
    check_choice,
    check_integer,
    check_number,
    generator,
)

from .krylov import KrylovBasis, check_finite
from .operators import SymmetricOperator

_DENSE = 32  # up to this size all p products are made and the matrix is diagonalised
_BLOCK = 8  # largest random start block
_CONFIRM = 3  # block steps that a random companion makes before a given start is believed
_PRODUCTS = 1000

Which = Literal["largest", "smallest"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Eigenvalues:
    """Eigenvalues at one end of a spectrum, with their residuals.

    Args:
        values: [k], the requested end first.
        vectors: [p, k], orthonormal columns.
        residuals: ‖A y − θ y‖ [k]: within this distance of each value lies some eigenvalue.
        gaps: Distance of each value to the nearest other Ritz value [k]; NaN where there is none.
        converged: Whether every residual met the tolerance.
        reason: Why the computation stopped.
        products: Operator–vector products spent.
        seconds: Wall time.
        backend: Which implementation made the products, or "dense".
        convention: What the operator is.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "p k"]
    residuals: Float[Tensor, " k"]
    gaps: Float[Tensor, " k"]
    converged: bool
    reason: str
    products: int
    seconds: float = 0.0
    backend: str = ""
    convention: str = ""

    @property
    def kato_temple(self) -> Float[Tensor, " k"]:
        """residual² / gap [k], the Kato–Temple error of each value if the Ritz gap is a gap of the spectrum.

        The hypothesis is not checked: another eigenvalue might hide in the gap. The residual needs none. [recalled]
        """
        return self.residuals.square() / self.gaps

    def estimate(self, index: int = 0, *, quantity: str = "eigenvalue") -> Estimate:
        """One of the values, with its residual, as an `Estimate`."""
        return Estimate(
            value=float(self.values[index]),
            error=float(self.residuals[index]),
            error_kind="residual",
            converged=self.converged,
            reason=self.reason,
            products=self.products,
            seconds=self.seconds,
            backend=self.backend,
            convention=self.convention,
            quantity=quantity,
        )


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
) -> Eigenvalues:
    """The k largest or smallest algebraic eigenvalues, by Lanczos with full reorthogonalisation in float64.

    A pair is converged when its residual ‖A y − θ y‖ ≤ rtol·|θ| (or is rounding). Then some eigenvalue lies within
    the residual of θ, and if θ is separated from the others by a gap, the error is at most residual²/gap
    (Kato–Temple). A small residual alone does not prove that no larger eigenvalue was skipped, and nothing short of a
    factorisation does. So the iteration goes on until, in two successive steps, all k pairs are converged and the
    next Ritz value lies below by twice its own residual. k > 1 starts from a random block (it finds multiplicities up
    to its size, at most 8); a given start, or k beyond the block, is joined by a random companion for `confirm` steps
    or more; an invariant subspace that is too small is left in a random direction.

    Args:
        operator: The operator; p ≤ 32 (and k near p) are diagonalised exactly from p products.
        k: How many, 1 ≤ k ≤ p.
        which: `"largest"` or `"smallest"`, in the algebraic sense: −100 is smaller than 1.
        rtol: Relative tolerance of the residual, > 0.
        start: A first vector [p] or block [p, s], such as earlier eigenvectors; random if None.
        seed: Seed of the random directions (purpose `linalg.start`).
        max_products: Products allowed; 1000 if None.
        confirm: Least number of steps with a random companion after the first convergence; if None, 0 for a random
            start block of at least k vectors and 3 otherwise. False trusts `start`: no companion, and the first
            convergence is believed.

    Returns:
        The values with vectors, residuals and the reason for stopping; `converged` is False if the products ran out.

    Raises:
        ShapeError: `start` does not fit.
        DataError: `start` is zero or not finite.
        ComputationError: A product is not finite.

    Cost: one product per step and vector of the block, and O(p·j) work for the reorthogonalisation of step j; memory
    8·p·j bytes up to 1 GiB, then a thick restart. References: Lanczos 1950; Saad, Numerical Methods for Large
    Eigenvalue Problems, ch. 6 (recalled).
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    began = time.perf_counter()
    p = operator.shape[0]
    k = check_integer("k", k, minimum=1, maximum=p)
    sign = 1.0 if check_choice("which", which, ["largest", "smallest"]) == "largest" else -1.0
    rtol = check_number("rtol", rtol, above=0.0)
    limit = check_integer("max_products", _PRODUCTS if max_products is None else max_products, minimum=1)
    before = operator.products
    if p <= _DENSE or 2 * k > p:
        return _dense(operator, k, sign, began)
    rng = generator("linalg.start", seed)
    given = _start_rows(operator, start)
    block = min(k, _BLOCK)
    steps = 0 if given is None and block >= k else _CONFIRM
    if confirm is not None:
        steps = -1 if confirm is False else check_integer("confirm", confirm, minimum=0)
    rows = torch.randn(block, p, generator=rng, dtype=torch.float64).to(operator.device) if given is None else given
    krylov = KrylovBasis(operator, rows, rng, keep=k)
    converged, reason = _iterate(krylov, k, sign, rtol, steps, before + limit)
    ritz, coefficients = krylov.ritz()
    order = torch.argsort(sign * ritz, descending=True)[:k]
    return Eigenvalues(
        values=ritz[order],
        vectors=krylov.basis.T @ coefficients[:, order],
        residuals=krylov.residuals(coefficients[:, order]),
        gaps=_gaps(ritz, order),
        converged=converged,
        reason=reason,
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
    )


def _iterate(krylov: KrylovBasis, k: int, sign: float, rtol: float, confirm: int, limit: int) -> tuple[bool, str]:
    """Grow the basis until k pairs are converged and nothing suggests a skipped one, or products run out."""
    companion_steps: int | None = None  # block steps since a random companion joined
    streak = 0
    while True:
        krylov.step()
        ritz, coefficients = krylov.ritz()
        order = torch.argsort(sign * ritz, descending=True)[: k + 1]
        values, residuals = sign * ritz[order], krylov.residuals(coefficients[:, order])
        tolerances = torch.clamp(rtol * values.abs(), min=krylov.rounding)
        met = len(values) >= k and bool((residuals[:k] <= tolerances[:k]).all())
        companion_steps = None if companion_steps is None else companion_steps + 1
        waited = confirm <= 0 or (companion_steps is not None and companion_steps >= confirm)
        # A next Ritz value that is still uncertain may yet overtake the k-th.
        calm = len(values) <= k or bool(values[k] + 2 * residuals[k] <= values[k - 1] + tolerances[k - 1])
        streak = streak + 1 if met and waited and calm else 0
        if streak >= (1 if confirm < 0 else 2):
            rounding = bool((residuals[:k] <= krylov.rounding).all())
            return True, "residual at rounding level" if rounding else f"residual ≤ {rtol:g} · |value|"
        if krylov.operator.products >= limit:
            return met, f"products ran out with residual {float(residuals[:k].max()):.3g}; raise `max_products`"
        join = met and confirm > 0 and companion_steps is None
        companion_steps = 0 if join else companion_steps
        if not krylov.advance(random=int(join)) and not krylov.advance(random=int(len(values) < k)):
            return met, "invariant subspace" if krylov.size < krylov.rows.shape[1] else "the whole space was searched"


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


def _gaps(ritz: Float[Tensor, " j"], order: Tensor) -> Float[Tensor, " k"]:
    """Distance of the chosen values to the nearest other one; NaN if there is none."""
    if len(ritz) == 1:
        return torch.full_like(ritz, torch.nan)
    distances = (ritz[order, None] - ritz[None, :]).abs()
    distances[torch.arange(len(order), device=order.device), order] = torch.inf
    return distances.min(dim=1).values


def _dense(operator: SymmetricOperator, k: int, sign: float, began: float) -> Eigenvalues:
    """All eigenvalues of the matrix, from p products."""
    before = operator.products
    matrix = operator.to_dense().to(torch.float64)
    check_finite(matrix)
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.T))
    order = torch.argsort(sign * values, descending=True)[:k]
    return Eigenvalues(
        values=values[order],
        vectors=vectors[:, order],
        residuals=(matrix @ vectors[:, order] - vectors[:, order] * values[order]).norm(dim=0),
        gaps=_gaps(values, order),
        converged=True,
        reason="diagonalised",
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend="dense",
        convention=operator.convention,
    )
