"""The growing orthonormal basis behind Lanczos, with full reorthogonalisation."""

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError

from .certificates import Spread
from .operators import SymmetricOperator

_MEMORY = 2**30  # bytes that a basis may take before it is compressed to its best half


def check_finite(image: Tensor) -> None:
    """Raise a ComputationError if a product is NaN or infinite."""
    if not torch.isfinite(image).all():
        raise ComputationError(
            "the operator's product is NaN or infinite; check that parameters, data and loss are finite here"
        )


class KrylovBasis:
    """An orthonormal basis grown by products, the projection of the operator on it, and what sticks out.

    With basis Q and projection H = QᵀAQ, A Q = Q H + R. Only few directions stick out of the basis, the `remainders`;
    `outlets` says how much of each the image of a column has: R = remaindersᵀ outletsᵀ. The residual of a Ritz pair is
    R times its coefficients.

    Args:
        operator: The operator A; the basis is float64 whatever its dtype.
        start: First block, rows [b, p].
        rng: Where random directions come from.
        keep: Number of Ritz vectors that must survive a compression.
    """

    def __init__(
        self, operator: SymmetricOperator, start: Float[Tensor, "b p"], rng: torch.Generator, *, keep: int
    ) -> None:
        p = operator.shape[0]
        self.operator, self.rng, self.keep = operator, rng, keep
        self.capacity = min(p, max(_MEMORY // (8 * p), 4 * (keep + start.shape[0]) + 20))
        self.rows = torch.empty(0, p, dtype=torch.float64, device=operator.device)
        self.projection = torch.zeros(0, 0, dtype=torch.float64, device=operator.device)
        self.remainders = self.rows
        self.outlets = self.projection
        self.born: list[int] = []  # the column whose image brought each remainder
        self.scale = 0.0  # largest ‖A q‖ met, a lower bound of ‖A‖
        self.size = 0
        self.origin = 0  # column at which the present chain of the first vector starts
        self.cycles: list[Spread] = []  # the chains that compressions have ended
        self.frontier = self._orthonormal(start)

    @property
    def rounding(self) -> float:
        """What a residual cannot be told from zero below."""
        return 64 * torch.finfo(self.operator.dtype).eps * self.scale

    @property
    def dust(self) -> float:
        """What sticks out by less is rounding of the basis itself, whose products sum over p entries."""
        return max(self.rounding, self.rows.shape[1] ** 0.5 * torch.finfo(torch.float64).eps * self.scale)

    @property
    def basis(self) -> Float[Tensor, "j p"]:
        """The basis so far, as rows."""
        return self.rows[: self.size]

    def step(self) -> None:
        """Apply the operator to the frontier and take the frontier into the basis."""
        block = self.frontier
        image = (self.operator @ block.T.to(self.operator.dtype)).to(torch.float64).T
        check_finite(image)
        self._reserve(self.size + block.shape[0])
        old, self.size = self.size, self.size + block.shape[0]
        self.rows[old : self.size] = block
        coefficients = self.basis @ image.T
        projection = coefficients.new_zeros(self.size, self.size)
        projection[:old, :old] = self.projection
        projection[:, old:] = coefficients
        projection[old:, :] = coefficients.T
        projection[old:, old:] = 0.5 * (coefficients[old:] + coefficients[old:].T)
        self.projection = projection
        # Rounding leaves traces of the basis in it, which `_orthonormal` takes out of what becomes a new vector.
        remainder = torch.addmm(image, coefficients.T, self.basis, alpha=-1)
        self.scale = max(self.scale, float(image.norm(dim=1).max()))
        # What stuck out before and was taken into the basis now sticks out no more.
        earlier = self.remainders - (self.remainders @ block.T) @ block
        left = (earlier.norm(dim=1) > self.dust).tolist()
        fresh = list(range(old, self.size))
        self.born = [column for column, out in zip(self.born, left, strict=True) if out] + fresh
        self.remainders = torch.cat([earlier[left], remainder])
        self.outlets = torch.block_diag(self.outlets[:, left], torch.eye(len(fresh)).to(projection))

    def ritz(self, first: int = 0) -> tuple[Float[Tensor, " j"], Float[Tensor, "j j"]]:
        """Ritz values, ascending, and their coefficients as columns; of the basis from column `first` on."""
        return torch.linalg.eigh(self.projection[first:, first:])

    def residuals(self, coefficients: Float[Tensor, "j k"]) -> Float[Tensor, " k"]:
        """‖A y − θ y‖ of the Ritz vectors with these coefficients."""
        mixed = coefficients.T @ self.outlets
        if len(self.remainders) == 1:
            return mixed[:, 0].abs() * self.remainders.norm()
        # With few remainders of great length, their triangular factor has all the norms.
        return (mixed @ torch.linalg.qr(self.remainders.T, mode="r").R.T).norm(dim=1)

    def spread(self, first: int | None = None) -> Spread | None:
        """What the chain that starts at a column knows of its first vector; None if more than one end is open."""
        first = self.origin if first is None else first
        if [column for column in self.born if column >= first] != [self.size - 1]:
            return None
        values, vectors = self.ritz(0 if first == self.origin else first)
        row = first if first == self.origin else 0
        beta = float(self.remainders[-1].norm())
        return Spread(values.cpu().numpy(), vectors[row].cpu().numpy(), vectors[-1].cpu().numpy(), beta)

    def advance(self, *, random: int = 0, since: int = 0, until: int | None = None) -> bool:
        """The next frontier: what sticks out of columns since ≤ j < until, and random directions; False if none."""
        last = self.size if until is None else until
        large = self.remainders[[row for row, column in enumerate(self.born) if since <= column < last]]
        large = large[large.norm(dim=1) > self.dust]
        self.frontier = self._orthonormal(torch.cat([large, self.random(random)]))
        return self.frontier.shape[0] > 0

    def random(self, count: int) -> Float[Tensor, "count p"]:
        """Random normal directions."""
        p = self.rows.shape[1]
        return torch.randn(count, p, generator=self.rng, dtype=torch.float64).to(self.rows.device)

    def _reserve(self, size: int) -> None:
        if size > self.capacity and self.size > self.capacity // 2:
            self._compress()
            size = self.size + self.frontier.shape[0]
        if size > self.rows.shape[0]:
            grown = self.rows.new_empty(max(size, min(self.rows.shape[0] + 8, self.capacity)), self.rows.shape[1])
            grown[: self.size] = self.basis
            self.rows = grown

    def _compress(self) -> None:
        """Keep the Ritz vectors of both ends only (thick restart); the frontier stays orthogonal to them."""
        values, vectors = torch.linalg.eigh(self.projection)
        ends = max(self.keep + 4, self.capacity // 4)
        if 2 * ends >= self.size:
            return
        if (ended := self.spread()) is not None:
            self.cycles.append(ended)
        kept = torch.cat([vectors[:, :ends], vectors[:, -ends:]], dim=1)
        self.rows[: kept.shape[1]] = kept.T @ self.basis
        self.outlets = kept.T @ self.outlets
        self.size = self.origin = kept.shape[1]
        self.projection = torch.diag(torch.cat([values[:ends], values[-ends:]]))

    def _orthonormal(self, rows: Float[Tensor, "b p"]) -> Float[Tensor, "c p"]:
        """Orthonormal rows with the same span beyond the basis; dependent ones are dropped."""
        accepted: list[Tensor] = []
        for row in rows[: max(self.rows.shape[1] - self.size, 0)]:
            vector, length = row / row.norm(), row.new_zeros(())
            for _ in range(3):
                vector = torch.addmv(vector, self.basis.T, self.basis @ vector, alpha=-1)
                for other in accepted:
                    vector = vector - (other @ vector) * other
                length = vector.norm()
                if length < 1e-10:  # it was in the span
                    break
                vector = vector / length
                if length > 0.7:  # nothing was lost to cancellation: orthogonal up to rounding
                    break
            if length >= 1e-10:
                accepted.append(vector)
        return torch.stack(accepted) if accepted else rows.new_zeros(0, rows.shape[1])
