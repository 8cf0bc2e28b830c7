"""The largest eigenvalue of an operator that changes slowly, followed from check to check."""

import math
import time

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import KindError, check_integer, check_number, generator

from .krylov import KrylovBasis, check_finite
from .operators import SymmetricOperator
from .pace import Pace
from .search import Search
from .spectra import Eigenvalues

_ALLOWANCE = 2.05  # products a check may cost on average before the challenger has to wait
_DEBT = 4.0  # most products that a dear check leaves to be saved again
_STALE = 0.05  # relative change of θ₁ beyond which an old θ₂ says nothing
_SAVED = 2.0  # most products that cheap checks may save up
_OVERDUE = 20  # checks after which the challenger moves in any case
_FADES = 0.995  # what the memory of the lowest Ritz value loses at each move
_NOISE = 0.02  # random part mixed into the challenger at each move
_MOST = 500  # products of one check


class Warm:
    """Follows the largest eigenvalue of a slowly changing operator for about two products a check.

    The first check is a cold Lanczos search. Each later one starts from the last eigenvector, moved on along its last
    change, or from the one before it if that was the better guess last time (training at the edge of stability swings
    with period two). It adds residual directions until ‖A y − θ y‖ ≤ rtol·θ, which mostly takes one or two products:
    the Rayleigh–Ritz method on a small subspace, as in LOBPCG.

    Started from an eigenvector alone, such a method may follow an eigenvalue that was overtaken. So a challenger
    orthogonal to it is kept and moved by a power step, at one product, whenever earlier checks left products to spare
    (and every 20th check at least). A random part in it reaches every direction in the end. When its Rayleigh quotient
    is larger, it takes over. Its own value and residual give the gap, θ₁ − (θ₂ + r₂), that the Kato–Temple error
    needs, less what θ₁ has changed since; NaN when that is more than 5 %. It is an estimate, because an eigenvalue that
    neither of the two has touched is not in it.

    Args:
        rtol: A check is converged when the residual is at most rtol·|θ|.
        keep: Vectors kept between checks, 2 or 3: eigenvector, challenger, and the eigenvector before.
        seed: Seed of the random directions (purpose `linalg.start`).

    Attributes:
        checks: Number of checks so far.
        products: Products spent so far.

    Raises:
        ParameterError: A number is out of range.

    Memory: `keep` vectors in float64 between checks; during a check two more for each product.
    """

    def __init__(self, rtol: float = 1e-2, *, keep: int = 3, seed: int = 0) -> None:
        self.rtol = check_number("rtol", rtol, above=0.0)
        self.keep = check_integer("keep", keep, minimum=2, maximum=3)
        self.seed = check_integer("seed", seed, minimum=0)
        self.checks = self.products = 0
        self.reset()

    def reset(self) -> None:
        """Forget all vectors: the next check is cold."""
        self._vector: Tensor | None = None
        self._before: Tensor | None = None
        self._challenger: Tensor | None = None
        self._second = math.nan  # θ₂ + r₂ when the challenger moved last
        self._seen_at = math.nan  # θ₁ then
        self._floor = 0.0  # the lowest Ritz value met
        self._swings = False  # whether the eigenvector before the last one is the better start
        self._ahead = 0.0  # share of the last change that the next one is expected to repeat
        self._saved = 0.0
        self._waited = 0

    def update(self, operator: SymmetricOperator, *, budget: float | None = None) -> Eigenvalues:
        """The largest eigenvalue now.

        Args:
            operator: The operator at this moment; one of another size or device than before starts cold.
            budget: Seconds allowed, None for any number.

        Returns:
            One value with vector, residual and the estimated gap to the next (NaN if the challenger was never moved).

        Raises:
            KindError: It is not an operator.
            ComputationError: A product is not finite.
        """
        if not isinstance(operator, SymmetricOperator):
            raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
        before, began = operator.products, time.perf_counter()
        fits = self._vector is not None and (len(self._vector), self._vector.device) == (
            operator.shape[0],
            operator.device,
        )
        if not fits:
            self.reset()
        self._rng = generator("linalg.start", self.seed + self.checks)
        with Pace(budget, max_products=_MOST, agree=operator.agree) as pace:
            found = self._warm(operator, pace) if fits else self._cold(operator, pace)
        value, vector, residual, reason = found
        self.checks += 1
        spent = operator.products - before
        self.products += spent
        self._saved = min(max(self._saved + _ALLOWANCE - spent, -_DEBT), _SAVED)
        return Eigenvalues(
            values=torch.tensor([value], dtype=torch.float64),
            vectors=vector[:, None],
            residuals=torch.tensor([residual], dtype=torch.float64),
            gaps=torch.tensor([self._gap(value)], dtype=torch.float64),
            converged=not reason,
            reason=reason or f"residual ≤ {self.rtol:g} · |value|",
            products=spent,
            seconds=time.perf_counter() - began,
            backend=operator.backend,
            convention=operator.convention,
        )

    def _cold(self, operator: SymmetricOperator, pace: Pace) -> tuple[float, Tensor, float, str]:
        start = torch.randn(1, operator.shape[0], generator=self._rng, dtype=torch.float64).to(operator.device)
        krylov = KrylovBasis(operator, start, self._rng, keep=self.keep)
        search = Search(krylov, 1, rtol=self.rtol, pace=pace, companion=None, random=True)
        reason = search.run()
        values, coefficients = (part.flip(-1) for part in krylov.ritz())
        residuals = krylov.residuals(coefficients)
        self._vector = krylov.basis.T @ coefficients[:, 0]
        if len(values) > 1:
            self._challenger = krylov.basis.T @ coefficients[:, 1]
            self._second, self._seen_at = float(values[1] + residuals[1]), float(values[0])
        self._floor = float(values[-1])
        return (
            float(values[0]),
            self._vector,
            max(float(residuals[0]), krylov.rounding),
            "" if search.converged else reason,
        )

    def _gap(self, value: float) -> float:
        """θ₁ − (θ₂ + r₂), less what θ₁ has changed since θ₂ was measured; NaN if that is too long ago."""
        change = abs(value - self._seen_at)
        return value - self._second - change if change <= _STALE * abs(value) else math.nan

    def _warm(self, operator: SymmetricOperator, pace: Pace) -> tuple[float, Tensor, float, str]:
        assert self._vector is not None
        space = _Space(operator, pace)
        start, others = self._vector, [self._challenger]
        if self._before is not None:
            others += [self._vector, self._before]
            change = self._vector - self._before
            start = self._before if self._swings else self._vector + self._ahead * change
            start = start / start.norm()
        space.add(start)
        known = self._known(start, others)
        reason = self._converge(space, known)
        self._waited += 1
        if not reason and (self._saved + _ALLOWANCE - space.size >= 1 or self._waited >= _OVERDUE):
            self._challenge(space)
            reason = self._converge(space, known)
        value, vector, remainder = space.top()
        if space.size > 1:
            self._second = max(self._second, space.top(1)[0])  # a Ritz value is never above the eigenvalue
        if float(vector @ self._vector) < 0:
            vector = -vector
        self._remember(vector)
        return value, vector, max(float(remainder.norm()), space.rounding), reason

    def _known(self, start: Tensor, others: list[Tensor | None]) -> list[Tensor]:
        """Orthonormal directions beside the start in which eigenvalues are near the largest one."""
        known: list[Tensor] = []
        for vector in others:
            if vector is None:
                continue
            for _ in range(2):
                for other in [start, *known]:
                    vector = vector - (other @ vector) * other
            if float(length := vector.norm()) > 0.01:
                known.append(vector / length)
        return known

    def _converge(self, space: "_Space", known: list[Tensor]) -> str:
        """Add residual directions until the residual is small; why that failed, or nothing."""
        while True:
            value, _, remainder = space.top()
            if float(remainder.norm()) <= max(self.rtol * abs(value), space.rounding):
                return ""
            # Parts along known directions are raised as the inverse of A − θ would raise them.
            second = self._second if math.isfinite(self._second) else 0.0
            distance = max(value - second, 0.05 * abs(value))
            weight = min(abs(value) / distance, 20.0) - 1
            direction = remainder + sum((weight * float(k @ remainder) * k for k in known), torch.zeros_like(remainder))
            if (reason := space.pace.over) or not (space.add(direction) or space.add(remainder)):
                return reason or ("" if space.full else "no direction is left")

    def _challenge(self, space: "_Space") -> None:
        """Move the challenger by one power step, at the cost of one product."""
        noise = torch.randn(space.p, generator=self._rng, dtype=torch.float64).to(space.device)
        vector = noise / noise.norm()
        if self._challenger is not None:
            vector = self._challenger + _NOISE * vector
        space.add(vector)
        value, second, remainder = space.top(1) if space.size > 1 else space.top()
        self._second, self._seen_at = value + float(remainder.norm()), space.top()[0]
        # The power step must not be caught by a large negative eigenvalue: A + shift favours the upper end.
        self._floor = min(_FADES * self._floor, space.lowest())
        moved = remainder + (value + max(0.0, -self._floor)) * second
        self._challenger = moved / moved.norm() if float(moved.norm()) > 0 else None
        self._waited = 0

    def _remember(self, vector: Tensor) -> None:
        if self._before is not None and self._vector is not None:
            self._swings = abs(float(vector @ self._before)) > abs(float(vector @ self._vector))
            # The share of the last change that was repeated is how far the next start looks ahead.
            last, new = self._vector - self._before, vector - self._vector
            repeated = float(new @ last) / max(float(last @ last), 1e-300)
            self._ahead = min(max(0.5 * self._ahead + 0.5 * repeated, 0.0), 1.0)
        self._before = self._vector if self.keep > 2 else None
        self._vector = vector
        if self._challenger is not None:
            apart = self._challenger - (self._challenger @ vector) * vector
            length = float(apart.norm())
            self._challenger = apart / length if length > 1e-8 else None


class _Space:
    """A small subspace with the images of its orthonormal rows."""

    def __init__(self, operator: SymmetricOperator, pace: Pace) -> None:
        self.operator, self.pace = operator, pace
        self.p, self.device = operator.shape[0], operator.device
        self.rows: list[Tensor] = []
        self.images: list[Tensor] = []
        self.scale = 0.0

    @property
    def size(self) -> int:
        return len(self.rows)

    @property
    def full(self) -> bool:
        return self.size >= self.p

    @property
    def rounding(self) -> float:
        return 64 * torch.finfo(self.operator.dtype).eps * self.scale

    def add(self, vector: Float[Tensor, " p"]) -> bool:
        """Take one more direction in, for one product; False if it lies in the space."""
        length = vector.norm()
        if self.full or not float(length) > 0:
            return False
        vector = vector / length
        for _ in range(2):
            for row in self.rows:
                vector = vector - (row @ vector) * row
        if float(length := vector.norm()) < 1e-10:
            return False
        vector = vector / length
        image = (self.operator @ vector.to(self.operator.dtype)).to(torch.float64)
        check_finite(image)
        self.rows.append(vector)
        self.images.append(image)
        self.scale = max(self.scale, float(image.norm()))
        self.pace.advance(1)
        self._solve()
        return True

    def _solve(self) -> None:
        projection = torch.stack(self.rows) @ torch.stack(self.images).T
        values, vectors = torch.linalg.eigh(0.5 * (projection + projection.T))
        self._values, self._coefficients = values.flip(0), vectors.flip(1)

    def top(self, index: int = 0) -> tuple[float, Float[Tensor, " p"], Float[Tensor, " p"]]:
        """Ritz value, Ritz vector and residual vector, counted from the largest."""
        coefficients = self._coefficients[:, index].tolist()
        vector = sum((c * row for c, row in zip(coefficients, self.rows, strict=True)), torch.zeros_like(self.rows[0]))
        image = sum((c * row for c, row in zip(coefficients, self.images, strict=True)), torch.zeros_like(vector))
        value = float(self._values[index])
        length = vector.norm()
        return value, vector / length, image / length - value * vector / length

    def lowest(self) -> float:
        """The smallest Ritz value."""
        return float(self._values[-1])
