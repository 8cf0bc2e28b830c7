"""The largest Hessian eigenvalues of a deep linear network: which way is sound, and which is short."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ComputationError, NotComputedError, ParameterError, grouped
from steppe.linalg import Eigenvalues, SymmetricOperator, extreme_eigenvalues
from steppe.networks import DeepLinearProducts

from .factorization_bracket import Bracket, LayerNorms, bracket, layer_norms
from .factorization_space import OutputSpace, magnitude, scaled, shifted

Method = Literal["auto", "closed form", "dense", "lanczos"]

_DENSE = 512  # up to this size K is diagonalised
_COMMON = 1e-12  # what may stay off the diagonals in a common basis, as a share of the largest eigenvalue
_ROUNDING = 1e-13  # eigenvalues of K below this share of the largest have no accurate eigenvector


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorizationEigenvalues(Eigenvalues):
    """Eigenvalues of a deep linear network's Hessian, with eigenvectors layer by layer.

    Args:
        shapes: Shape [d_l, d_{l−1}] of each layer.
    """

    shapes: tuple[torch.Size, ...]

    def layer_vectors(self, index: int = 0) -> list[Float[Tensor, "_ _"]]:
        """The unit eigenvector of one of the values, as a list of matrices of the shapes of the layers."""
        parts = self.vectors[:, index].split([shape.numel() for shape in self.shapes])
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def widened(self, error: float) -> "FactorizationEigenvalues":
        """The same values for a matrix that differs by at most `error` in norm."""
        return replace(
            self,
            residuals=self.residuals + error,
            gaps=self.gaps - 2 * error,
            ends=self.ends + error,
            beyond=self.beyond + error,
            reason=f"{self.reason}; the residual moves it by at most {error:.2g}",
        )


class FactorizationProblem:
    """The loss scale · ‖Z − W_L ⋯ W_1 F‖_F² at given layers.

    Args:
        layers: W_1, …, W_L in float64.
        features: F [d_0, q], or None for the identity.
        targets: Z [d_L, q], or None if the residual is zero.
        scale: Factor > 0.
    """

    def __init__(self, layers: Sequence[Tensor], features: Tensor | None, targets: Tensor | None, scale: float) -> None:
        self.layers, self.features, self.targets, self.scale = list(layers), features, targets, scale
        self.space = OutputSpace(self.layers, features)
        self.size = self.space.parameters

    @cached_property
    def norms(self) -> LayerNorms:
        """Norms of the layers."""
        return layer_norms(self.space)

    @cached_property
    def bounds(self) -> Bracket | None:
        """Two cheap bounds of λ_max(K)."""
        return bracket(self.space, self.norms)

    @cached_property
    def residual(self) -> Tensor | None:
        """Z − W F, or None."""
        if self.targets is None:
            return None
        return self.targets - self.outputs

    @cached_property
    def outputs(self) -> Tensor:
        """W F."""
        outputs = self.layers[0] if self.features is None else self.layers[0] @ self.features
        for layer in self.layers[1:]:
            outputs = layer @ outputs
        return outputs

    @cached_property
    def bend(self) -> float:
        """log₂ of a bound of ‖R‖ for the rest of the Hessian, H = 2 scale · Jᵀ J + R; −∞ at zero residual.

        The block of W_i and W_j is at most 2 scale ‖E Fᵀ‖ Π_{k≠i,j} ‖W_k‖ with E = Z − W F, and ‖R‖ at most the
        largest sum of a row of blocks. So R vanishes at every minimizer over W, noise in the targets notwithstanding.
        """
        if self.residual is None or len(self.layers) == 1:
            return -math.inf
        moment = scaled(self.residual)
        if self.features is not None:
            moment = moment.times(scaled(self.features.T))
        if moment.zero:
            return -math.inf
        if self.norms.zero:
            return math.inf
        logs = [math.log2(norm) + power for norm, power in zip(self.norms.norms, self.norms.exponents, strict=True)]
        rows = []
        for index, own in enumerate(logs):
            least, *others = sorted(logs[:index] + logs[index + 1 :])
            rows.append(sum(logs) - own - least + math.log2(1 + sum(2.0 ** (least - other) for other in others)))
        return 1 + math.log2(self.scale) + math.log2(float(moment.mantissa.norm())) + moment.exponent + max(rows)

    def flat_enough(self, rtol: float) -> bool:
        """Whether what the residual adds to the Hessian lies within the tolerance of its largest eigenvalue."""
        if self.bend == -math.inf:
            return True
        if self.bounds is None:
            return False
        lower = 1 + math.log2(self.scale) + math.log2(self.bounds.lower) + self.bounds.exponent
        return self.bend <= math.log2(rtol) + lower

    @property
    def residual_words(self) -> str:
        """What is known about the residual, for conventions."""
        if self.residual is None:
            return "zero residual"
        size = scaled(self.residual)
        return f"residual norm {float(shifted(size.mantissa.norm(), size.exponent)):.3g}"

    def solve(
        self, k: int, *, rtol: float, method: Method = "auto", convention: str = "", **more: Any
    ) -> FactorizationEigenvalues:
        """The k largest Hessian eigenvalues, in the output space if that is sound.

        Arguments and errors are those of `largest`.
        """
        if not self.flat_enough(rtol):
            if method not in ("auto", "lanczos"):
                raise NotComputedError(
                    f"the residual is not zero ({self.residual_words}), so that {method!r} does not give the Hessian; "
                    'pass method="auto", or no target for a zero-residual minimizer'
                )
            return self.exact(k, rtol=rtol, convention=f"{convention}; exact Hessian off the minimizers", **more)
        found = self.largest(k, rtol=rtol, method=method, convention=convention, **more)
        return found if self.bend == -math.inf else found.widened(2.0**self.bend)

    def spectrum(self, max_size: int) -> Float[Tensor, " p"]:
        """All eigenvalues of the Hessian, descending."""
        p, m = self.size, self.space.size
        if not self.flat_enough(_ROUNDING):
            _check_size(p, max_size)
            matrix = self.hessian_product(torch.eye(p).to(self.layers[0]))
            return torch.linalg.eigvalsh(0.5 * (matrix + matrix.T)).flip(0)
        values = joint_eigenvalues(*self.space.grams()) if not self.space.zero else torch.zeros(0).to(self.layers[0])
        if values is None:
            _check_size(min(m, p), max_size)
            if m <= p:
                matrix = self.space.dense()
            else:
                jacobian = self.space.jacobian()
                matrix = jacobian.T @ jacobian
            values = torch.linalg.eigvalsh(matrix)
        values = values.sort(descending=True).values.clamp(min=0.0)[:p]
        if len(values):
            magnitude(float(values[0]), self.space.exponent, self.scale)
        mantissa, power = math.frexp(self.scale)
        padded = torch.cat([values, values.new_zeros(p - len(values))])
        return shifted(padded * mantissa, self.space.exponent + power + 1)

    def largest(
        self,
        k: int,
        *,
        rtol: float,
        method: Method = "auto",
        seed: int = 0,
        convention: str = "",
        **limits: Any,
    ) -> FactorizationEigenvalues:
        """The k largest eigenvalues of 2 scale · Jᵀ J, which is the Hessian up to `bend`.

        Args:
            k: How many.
            rtol: Relative tolerance of the residuals.
            method: `"closed form"`: the two bounds, if they meet; `"dense"`: K diagonalised; `"lanczos"`: Krylov
                vectors of length d_L q; `"auto"`: the first of these that applies.
            seed: Seed of the random directions.
            convention: What the numbers refer to.
            **limits: `max_products`, `budget` and `progress`, as in `extreme_eigenvalues`.

        Raises:
            NotComputedError: The closed form was asked for and the bounds do not meet.
            ParameterError: Fewer than k eigenvalues are above rounding.
        """
        if self.space.zero:
            return self._nothing(k, convention)
        if k == 1 and method in ("auto", "closed form"):
            if self.bounds is not None and self.bounds.closes(rtol):
                return self._closed(self.bounds, convention)
            if method == "closed form":
                raise NotComputedError(
                    "the bounds Σ_i ‖A_iᵀu‖² ‖B_iv‖² and Σ_i Π ‖W_j‖² of the sharpness do not meet for these layers; "
                    'pass method="auto"'
                )
        elif method == "closed form":
            raise ParameterError(f'`k` must be 1 for the closed form, got {k}; pass method="auto"')
        if method == "dense" or (method == "auto" and self.space.size <= _DENSE):
            return self._lifted(_diagonalised(self.space, k), k, convention)
        operator = SymmetricOperator(
            self.space.product, self.space.size, device=self.layers[0].device, backend="closed form, output space"
        )
        found = extreme_eigenvalues(operator, min(k, self.space.size), rtol=rtol, seed=seed, **limits)
        return self._lifted(found, k, convention)

    def exact(
        self, k: int, *, rtol: float, seed: int = 0, convention: str = "", **limits: Any
    ) -> FactorizationEigenvalues:
        """The k largest eigenvalues of the Hessian wherever the layers are, with Krylov vectors of all parameters."""
        probe = torch.ones(self.size, 1, dtype=torch.float64, device=self.layers[0].device)
        exponent = scaled(self.hessian_product(probe)).exponent  # Lanczos squares its numbers: a power of two apart
        operator = SymmetricOperator(
            lambda block: shifted(self.hessian_product(block), -exponent),
            self.size,
            device=self.layers[0].device,
            backend="closed form",
            convention=convention,
        )
        found = extreme_eigenvalues(operator, k, rtol=rtol, seed=seed, **limits)
        return FactorizationEigenvalues(**_sized(found, 1.0, exponent), shapes=tuple(self.space.shapes))

    def hessian_product(self, block: Float[Tensor, "p s"], *, residual: bool = True) -> Float[Tensor, "p s"]:
        """The exact Hessian, or 2 scale · Jᵀ J without `residual`, times each column."""
        return 2 * self.scale * self._products.second_order(block, residual=residual)

    @cached_property
    def _products(self) -> DeepLinearProducts:
        """Products of ½ ‖W F − Z‖².

        Raises:
            ComputationError: The outputs are not finite.
        """
        first = self.layers[0]
        features = torch.eye(first.shape[1]).to(first) if self.features is None else self.features
        products = DeepLinearProducts(self.layers, features, self.outputs if self.targets is None else self.targets)
        if not all(torch.isfinite(part).all() for part in (*products.forwards, *products.adjoints)):
            raise ComputationError("the layers' products are not finite in float64; rescale the layers or the data")
        return products

    def _closed(self, bounds: Bracket, convention: str) -> FactorizationEigenvalues:
        space = self.space
        value = magnitude(bounds.lower, bounds.exponent, self.scale)
        error = value * (bounds.error / bounds.lower)
        place: dict[str, Any] = {"dtype": torch.float64, "device": self.layers[0].device}
        return FactorizationEigenvalues(
            values=torch.tensor([value], **place),
            vectors=torch.cat([part.reshape(-1) for part in bounds.vectors])[:, None],
            residuals=torch.tensor([error], **place),
            gaps=torch.full((1,), torch.nan, **place),
            converged=True,
            reason="upper and lower bound from norms meet",
            products=0,
            backend="closed form, norms of layers",
            convention=convention,
            ends=torch.tensor([value + error], **place),
            shapes=tuple(space.shapes),
        )

    def _lifted(self, found: Eigenvalues, k: int, convention: str) -> FactorizationEigenvalues:
        """Eigenvalues of K as those of the Hessian."""
        values, space = found.values, self.space
        top = float(values[0])
        above = int((values > _ROUNDING * top).sum())
        if above < k:
            raise ParameterError(
                f"`k` must be at most the number of eigenvalues above rounding, {above}, got {k}; "
                "deep_linear_spectrum holds all of them"
            )
        magnitude(top, space.exponent, self.scale)
        mantissa, power = math.frexp(self.scale)
        layers = space.lift(found.vectors, values)
        changed = _sized(found, mantissa, space.exponent + power + 1)
        # The residual of the lifted vector is Jᵀ times that of the vector, over √μ.
        changed["residuals"] = changed["residuals"] * (top / values).sqrt()
        changed |= {
            "vectors": torch.cat([part.flatten(1) for part in layers], dim=1).T,
            "convention": convention,
        }
        return FactorizationEigenvalues(**changed, shapes=tuple(space.shapes))

    def _nothing(self, k: int, convention: str) -> FactorizationEigenvalues:
        zeros = torch.zeros(k, dtype=torch.float64, device=self.layers[0].device)
        return FactorizationEigenvalues(
            values=zeros,
            vectors=torch.eye(self.size, k, dtype=torch.float64, device=zeros.device),
            residuals=zeros,
            gaps=zeros,
            converged=True,
            reason="the matrix is zero",
            products=0,
            backend="closed form",
            convention=convention,
            beyond=0.0,
            ends=zeros,
            shapes=tuple(self.space.shapes),
        )


def _diagonalised(space: OutputSpace, k: int) -> Eigenvalues:
    """The k largest eigenvalues of K, all of which are computed."""
    matrix = space.dense()
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(matrix))
    count = min(k, len(values))
    residuals = (matrix @ vectors[:, :count] - vectors[:, :count] * values[:count]).norm(dim=0)
    return Eigenvalues(
        values=values[:count],
        vectors=vectors[:, :count],
        residuals=residuals,
        gaps=torch.full_like(residuals, torch.nan),
        converged=True,
        reason="diagonalised",
        products=0,
        backend="dense, output space",
        ends=values[:count] + residuals,
    )


def joint_eigenvalues(lefts: list[Tensor], rights: list[Tensor]) -> Float[Tensor, " m"] | None:
    """The eigenvalues Σ_i p_ia g_ib of Σ_i P_i ⊗ G_i, if all P_i commute and all G_i too; None otherwise.

    Both sides are turned into the eigenbasis of a generic combination. What stays off the diagonals moves no eigenvalue
    by more than its norm (Weyl), which must be at most 10⁻¹² of the largest.
    """
    (p, p_off), (g, g_off) = _in_one_basis(lefts), _in_one_basis(rights)
    values = p.T @ g
    off = sum(
        a * (float(right.abs().max()) + b) + float(left.abs().max()) * b
        for a, b, left, right in zip(p_off, g_off, p, rights, strict=True)
    )
    if off > _COMMON * float(values.max()):
        return None
    return values.reshape(-1)


def _in_one_basis(matrices: list[Tensor]) -> tuple[Float[Tensor, "l r"], list[float]]:
    """Diagonals in one orthonormal basis, and the norms of what is off them."""
    sizes = [max(float(matrix.abs().max()), 1e-300) for matrix in matrices]
    mix = sum(
        (1 + 0.618 * index) / size * matrix for index, (matrix, size) in enumerate(zip(matrices, sizes, strict=True))
    )
    basis = torch.linalg.eigh(mix).eigenvectors
    turned = [basis.T @ matrix @ basis for matrix in matrices]
    diagonals = [matrix.diagonal() for matrix in turned]
    return torch.stack(diagonals), [
        float((matrix - torch.diag(d)).norm()) for matrix, d in zip(turned, diagonals, strict=True)
    ]


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ParameterError(
            f"`max_size` must be ≥ {grouped(size)}, the size of the matrix to diagonalise, got {grouped(limit)}; raise "
            "it, or ask deep_linear_eigenvalues for the k largest"
        )


def _sized(found: Eigenvalues, mantissa: float, exponent: int) -> dict[str, Any]:
    """The fields, with whatever has the size of an eigenvalue times mantissa · 2^exponent."""
    sized = {field.name: getattr(found, field.name) for field in fields(found)}
    for name in ("values", "residuals", "gaps", "ends"):
        sized[name] = shifted(sized[name] * mantissa, exponent)
    sized["beyond"] = float(shifted(torch.tensor(found.beyond * mantissa, dtype=torch.float64), exponent))
    return sized
