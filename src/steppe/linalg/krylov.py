"""The growing orthonormal basis behind block Lanczos, with full reorthogonalisation."""

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError

from .operators import SymmetricOperator

_MEMORY = 2**30  # bytes that a basis may take before it is compressed to its best half


def check_finite(image: Tensor) -> None:
    """Raise a ComputationError if a product is NaN or infinite."""
    if not torch.isfinite(image).all():
        raise ComputationError(
            "the operator's product is NaN or infinite; check that parameters, data and loss are finite here"
        )


class KrylovBasis:
    """An orthonormal basis of a (block) Krylov space, the projection of the operator on it, and what sticks out.

    With basis Q, projection H = QᵀAQ and the last applied block B, A Q = Q H + R Bᵀ-part: every earlier remainder
    lies in the basis, so the residual of a Ritz pair is the remainder weighed by its last coefficients.

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
        self.remainder = self.rows
        self.last = 0  # rows of the last applied block
        self.scale = 0.0  # largest ‖A q‖ met, a lower bound of ‖A‖
        self.size = 0
        self.frontier = self._orthonormal(start)

    @property
    def rounding(self) -> float:
        """What a residual cannot be told from zero below."""
        return 64 * torch.finfo(self.operator.dtype).eps * self.scale

    @property
    def basis(self) -> Float[Tensor, "j p"]:
        """The basis so far, as rows."""
        return self.rows[: self.size]

    def _reserve(self, size: int) -> None:
        if size > self.capacity and self.size > self.capacity // 2:
            self._compress()
            size = self.size + self.frontier.shape[0]
        if size > self.rows.shape[0]:
            grown = self.rows.new_empty(max(size, min(2 * self.rows.shape[0] + 16, self.capacity)), self.rows.shape[1])
            grown[: self.size] = self.basis
            self.rows = grown

    def _compress(self) -> None:
        """Keep the Ritz vectors of both ends only (thick restart); the frontier stays orthogonal to them."""
        values, vectors = torch.linalg.eigh(self.projection)
        ends = max(self.keep + 4, self.capacity // 4)
        kept = torch.cat([vectors[:, :ends], vectors[:, -ends:]], dim=1) if 2 * ends < self.size else vectors
        self.rows[: kept.shape[1]] = kept.T @ self.basis
        self.size = kept.shape[1]
        self.projection = torch.diag(torch.cat([values[:ends], values[-ends:]]) if 2 * ends < len(values) else values)

    def step(self) -> None:
        """Apply the operator to the frontier and take the frontier into the basis."""
        block = self.frontier
        image = (self.operator @ block.T.to(self.operator.dtype)).to(torch.float64).T
        check_finite(image)
        self._reserve(self.size + block.shape[0])
        old, self.last = self.size, block.shape[0]
        self.size += self.last
        self.rows[old : self.size] = block
        coefficients = self.basis @ image.T
        projection = coefficients.new_zeros(self.size, self.size)
        projection[:old, :old] = self.projection
        projection[:, old:] = coefficients
        projection[old:, :] = coefficients.T
        projection[old:, old:] = 0.5 * (coefficients[old:] + coefficients[old:].T)
        self.projection = projection
        self.remainder = image - coefficients.T @ self.basis
        self.remainder -= (self.basis @ self.remainder.T).T @ self.basis
        self.scale = max(self.scale, float(image.norm(dim=1).max()))

    def ritz(self) -> tuple[Float[Tensor, " j"], Float[Tensor, "j j"]]:
        """Ritz values, ascending, and their coefficients in the basis as columns."""
        return torch.linalg.eigh(self.projection)

    def residuals(self, coefficients: Float[Tensor, "j k"]) -> Float[Tensor, " k"]:
        """‖A y − θ y‖ of the Ritz vectors with these coefficients."""
        return (coefficients[-self.last :].T @ self.remainder).norm(dim=1)

    def advance(self, *, random: int = 0) -> bool:
        """The next frontier: what the last block stuck out, plus random directions; False if there is none."""
        large = self.remainder[self.remainder.norm(dim=1) > self.rounding]
        fresh = self.random(random)
        self.frontier = self._orthonormal(torch.cat([large, fresh]))
        return self.frontier.shape[0] > 0

    def random(self, count: int) -> Float[Tensor, "count p"]:
        """Random normal directions."""
        p = self.rows.shape[1]
        return torch.randn(count, p, generator=self.rng, dtype=torch.float64).to(self.rows.device)

    def _orthonormal(self, rows: Float[Tensor, "b p"]) -> Float[Tensor, "c p"]:
        """Orthonormal rows with the same span beyond the basis; dependent ones are dropped."""
        accepted: list[Tensor] = []
        for row in rows[: max(self.rows.shape[1] - self.size, 0)]:
            vector = row / row.norm()
            for _ in range(2):
                vector = vector - self.basis.T @ (self.basis @ vector)
                for other in accepted:
                    vector = vector - (other @ vector) * other
            # Two passes leave rounding only; a direction that loses nearly all its length was in the span.
            if (length := vector.norm()) > 1e-10:
                vector = vector / length
                vector = vector - self.basis.T @ (self.basis @ vector)
                for other in accepted:
                    vector = vector - (other @ vector) * other
                accepted.append(vector / vector.norm())
        return torch.stack(accepted) if accepted else rows.new_zeros(0, rows.shape[1])
