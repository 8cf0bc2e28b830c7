"""The density of a spectrum, by stochastic Lanczos quadrature."""

import math
import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, KindError, check_integer, check_number, generator

from .krylov import check_finite
from .operators import SymmetricOperator
from .pace import Pace, Progress

_BASIS = 2**26  # bytes for the vectors that a chain is orthogonalised against
_NORMAL = 1.959963984540054


@dataclass(frozen=True, kw_only=True, eq=False)
class Density:
    """The eigenvalue distribution of a symmetric matrix, as one quadrature rule for each random probe.

    For a probe z, uniform on the sphere, Σ_j w_j f(θ_j) approximates zᵀ f(A) z, whose mean is tr f(A) / p. The rule is
    exact for polynomials of degree 2m − 1. Errors are those of the finite number of probes; what the eigenvalues of a
    probe's rule do between the nodes is not in them.

    Args:
        nodes: Ritz values, ascending, a row for each probe.
        weights: Their weights; each row sums to one.
        size: p.
        exact: Whether the nodes are all the eigenvalues.
        converged: Whether all probes were made.
        reason: Why the computation stopped.
        products: Operator–vector products spent.
        seconds: Wall time.
        backend: Which implementation made the products.
        convention: What the operator is.
    """

    nodes: Float[Tensor, "s m"]
    weights: Float[Tensor, "s m"]
    size: int
    exact: bool = False
    converged: bool = True
    reason: str = ""
    products: int = 0
    seconds: float = 0.0
    backend: str = ""
    convention: str = ""

    def density(self, grid: Float[Tensor, " g"], *, width: float | None = None) -> Float[Tensor, " g"]:
        """The density per unit of eigenvalue at each point of a grid, every node blurred to a normal distribution.

        Args:
            grid: Points.
            width: Standard deviation of the blur; 1 % of the range of the nodes if None.
        """
        scale = self._width(width)
        z = (grid.to(self.nodes)[:, None] - self.nodes.reshape(1, -1)) / scale
        kernel = torch.exp(-0.5 * z.square()) / (scale * math.sqrt(2 * math.pi))
        return kernel @ self.weights.reshape(-1) / len(self.nodes)

    def cumulative(self, grid: Float[Tensor, " g"]) -> Float[Tensor, " g"]:
        """The share of eigenvalues at most as large as each point of a grid."""
        return self._shares(grid).mean(dim=0)

    def cumulative_band(self, grid: Float[Tensor, " g"]) -> tuple[Float[Tensor, " g"], Float[Tensor, " g"]]:
        """Lower and upper ends of 95 % intervals of `cumulative`, pointwise."""
        shares = self._shares(grid)
        half = torch.tensor([_NORMAL * self._share_error(column) for column in shares.T]).to(shares)
        middle = shares.mean(dim=0)
        return (middle - half).clamp(min=0.0), (middle + half).clamp(max=1.0)

    def eigenvalue_count(self, low: float = -math.inf, high: float = math.inf) -> Estimate:
        """The number of eigenvalues in [low, high]."""
        inside = ((self.nodes >= low) & (self.nodes <= high)).to(self.weights)
        shares = (self.weights * inside).sum(dim=1)
        return self._estimate(
            self.size * float(shares.mean()), self.size * self._share_error(shares), f"eigenvalues in [{low}, {high}]"
        )

    def moment(self, order: int) -> Estimate:
        """The mean of λ^order over the eigenvalues; order 1 is trace/p, order 2 is ‖A‖_F²/p."""
        order = check_integer("order", order, minimum=0)
        values = (self.weights * self.nodes**order).sum(dim=1)
        spread = (self.weights * self.nodes ** (2 * order)).sum(dim=1).mean() - values.mean().square()
        # Var zᵀBz = 2 (p ‖B‖_F² − tr² B) / (p² (p + 2)) for z uniform on the sphere.
        known = math.sqrt(max(2 * float(spread) / (self.size + 2), 0.0) / len(values))
        return self._estimate(float(values.mean()), max(known, self._seen(values)), f"moment {order}")

    def _shares(self, grid: Float[Tensor, " g"]) -> Float[Tensor, "s g"]:
        order = self.nodes.argsort(dim=1)
        nodes, weights = self.nodes.gather(1, order), self.weights.gather(1, order)
        summed = torch.cat([torch.zeros_like(weights[:, :1]), weights.cumsum(dim=1)], dim=1)
        points = grid.to(nodes).expand(len(nodes), -1).contiguous()
        return summed.gather(1, torch.searchsorted(nodes.contiguous(), points, right=True))

    def _share_error(self, shares: Float[Tensor, " s"]) -> float:
        """The known spread of ‖Pz‖² for a projection P, or the seen one if that is larger."""
        mean = min(max(float(shares.mean()), 0.5 / self.size), 1 - 0.5 / self.size)
        return max(math.sqrt(2 * mean * (1 - mean) / (self.size + 2) / len(shares)), self._seen(shares))

    @staticmethod
    def _seen(values: Float[Tensor, " s"]) -> float:
        return float(values.std()) / math.sqrt(len(values)) if len(values) > 2 else 0.0

    def _width(self, width: float | None) -> float:
        if width is not None:
            return check_number("width", width, above=0.0)
        spread = float(self.nodes.max() - self.nodes.min())
        return 0.01 * spread if spread > 0 else 0.01 * max(abs(float(self.nodes.max())), 1e-300)

    def _estimate(self, value: float, error: float, quantity: str) -> Estimate:
        return Estimate(
            value=value,
            error=0.0 if self.exact else error,
            error_kind="none" if self.exact else "standard error",
            converged=self.converged,
            reason=self.reason,
            products=self.products,
            seconds=self.seconds,
            backend=self.backend,
            convention=self.convention,
            quantity=quantity,
        )


def spectral_density(
    operator: SymmetricOperator,
    *,
    steps: int = 40,
    probes: int = 3,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    max_products: int | None = None,
) -> Density:
    """The density of the spectrum, by stochastic Lanczos quadrature: one Lanczos chain for each random probe.

    Args:
        operator: The operator. If p ≤ steps·probes it is diagonalised from p products, which is exact.
        steps: Length m of a chain; it resolves about range/m, and better at the ends.
        probes: Number of chains, made one after another in the same memory.
        seed: Seed of the probes (purpose `linalg.start`).
        budget: Seconds allowed, None for any number; the chain under way is then cut short.
        progress: True for a bar on stderr, or a callable (products done, expected, text).
        max_products: Products allowed, None for steps·probes.

    Raises:
        KindError: It is not an operator.
        ParameterError: A number is out of range.
        ComputationError: A product is not finite.

    Cost: steps·probes products. Memory: the vectors of one chain in the operator's dtype up to 64 MiB; a longer one is
    orthogonalised against its latest vectors only. Eigenvalues at the ends then get several nodes that share their
    weight, which leaves the density as it is. References: Golub & Welsch 1969; Ubaru, Chen & Saad 2017; Greenbaum 1989
    for chains without full orthogonality (recalled).
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    began, before = time.perf_counter(), operator.products
    steps = check_integer("steps", steps, minimum=1)
    probes = check_integer("probes", probes, minimum=1)
    p = operator.shape[0]
    rows: list[tuple[Tensor, Tensor]] = []
    if exact := p <= steps * probes and (max_products is None or p <= max_products):
        rows, reason = [_all_eigenvalues(operator)], "diagonalised"
    else:
        rng = generator("linalg.start", seed)
        with Pace(budget, progress, total=steps * probes, max_products=max_products, agree=operator.agree) as pace:
            chain = Chain(operator, min(steps, p), pace)
            while len(rows) < probes and (len(rows) == 0 or not pace.over):
                rows.append(chain.quadrature(torch.randn(p, generator=rng, dtype=torch.float64).to(operator.device)))
            reason = pace.over if len(rows) < probes or len(rows[-1][0]) < len(rows[0][0]) else ""
        if reason and len(rows) > 1 and len(rows[-1][0]) < len(rows[0][0]):
            rows.pop()
    longest = max(len(nodes) for nodes, _ in rows)
    return Density(
        nodes=torch.stack([_padded(nodes, longest, float(nodes[-1])) for nodes, _ in rows]),
        weights=torch.stack([_padded(weights, longest, 0.0) for _, weights in rows]),
        size=p,
        exact=bool(exact),
        converged=exact or not reason,
        reason=reason or f"{len(rows)} probes of {longest} steps",
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
    )


class Chain:
    """Lanczos chains one after another in the same memory."""

    def __init__(self, operator: SymmetricOperator, steps: int, pace: Pace) -> None:
        p = operator.shape[0]
        window = min(steps, max(_BASIS // (p * operator.dtype.itemsize), 3))
        self.operator, self.steps, self.pace = operator, steps, pace
        self.rows = torch.empty(window, p, dtype=operator.dtype, device=operator.device)

    def quadrature(self, start: Float[Tensor, " p"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
        """Nodes and weights of the rule that the chain from `start` gives."""
        vector, diagonal, off = start / start.norm(), [], []
        scale, window = 0.0, len(self.rows)
        for j in range(self.steps):
            self.rows[j % window] = vector.to(self.rows)
            image = self.operator @ self.rows[j % window]
            check_finite(image)
            image = image.to(torch.float64)
            scale = max(scale, float(image.norm()))
            kept = self.rows[: min(j + 1, window)]
            diagonal.append(float(image @ vector))
            for _ in range(2):
                image -= (kept.T @ (kept @ image.to(kept))).to(torch.float64)
            self.pace.advance(1, "density")
            length = float(image.norm())
            if length <= 64 * torch.finfo(self.operator.dtype).eps * scale or (self.pace.over and j + 1 < self.steps):
                break
            off.append(length)
            vector = image / length
        matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        inner = torch.tensor(off[: len(diagonal) - 1], dtype=torch.float64)
        matrix = matrix + torch.diag(inner, 1) + torch.diag(inner, -1)
        nodes, vectors = torch.linalg.eigh(matrix)
        return nodes, vectors[0].square()


def _padded(row: Float[Tensor, " m"], length: int, value: float) -> Float[Tensor, " n"]:
    return torch.nn.functional.pad(row, (0, length - len(row)), value=value)


def _all_eigenvalues(operator: SymmetricOperator) -> tuple[Tensor, Tensor]:
    matrix = operator.to_dense().to(torch.float64)
    check_finite(matrix)
    values = torch.linalg.eigvalsh(0.5 * (matrix + matrix.T)).cpu()
    return values, torch.full_like(values, 1 / len(values))
