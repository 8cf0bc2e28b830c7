"""Symmetric operators that are known only through their products."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    ComputationError,
    DeviceError,
    DtypeError,
    KindError,
    ParameterError,
    ShapeError,
    check_integer,
    check_number,
    generator,
    grouped,
)

_DENSE_BLOCK = 64  # columns of the identity that `to_dense` sends through at once


class SymmetricOperator:
    """A symmetric p × p matrix known through its products `operator @ v`.

    Args:
        product: Maps a block of vectors [p, s] to its image [p, s]; linear and symmetric, which is trusted.
        size: p ≥ 1.
        dtype: Dtype of the vectors it takes and gives.
        device: Device of the vectors.
        backend: How products are computed, for results.
        convention: What the matrix is, for results.

    Raises:
        ParameterError: p < 1.
        DtypeError: The dtype is not floating.

    Example:
        >>> operator = SymmetricOperator(lambda block: 2 * block, 3)
        >>> (operator @ torch.ones(3, dtype=torch.float64)).tolist(), operator.products
        ([2.0, 2.0, 2.0], 1)
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        size: int,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        backend: str = "",
        convention: str = "",
    ) -> None:
        if not callable(product):
            raise KindError(f"`product` must be a callable on blocks [p, s], got {type(product).__name__}; pass one")
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64")
        self._product = product
        self._size = check_integer("size", size, minimum=1)
        self.dtype = dtype
        self.device = torch.device(device)
        self.backend = backend
        self.convention = convention
        self.products = 0
        self.agreement: Callable[[bool], bool] | None = None

    @classmethod
    def from_matrix(cls, matrix: Float[Tensor, "p p"]) -> "SymmetricOperator":
        """The operator of an explicit symmetric matrix.

        Raises:
            ShapeError: It is not square.
            ParameterError: It is not symmetric to rounding.
        """
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ShapeError(f"`matrix` must have shape [p, p], got {list(matrix.shape)}; pass a square matrix")
        skew = float((matrix - matrix.T).abs().max()) if matrix.numel() else 0.0
        if skew > 1e3 * torch.finfo(matrix.dtype).eps * float(matrix.abs().max()):
            raise ParameterError(
                f"`matrix` must be symmetric, got entries that differ by {skew:.3g} from their mirror; "
                "pass (matrix + matrix.T) / 2"
            )
        size, dtype, device = matrix.shape[0], matrix.dtype, matrix.device
        return cls(lambda block: matrix @ block, size, dtype=dtype, device=device, backend="explicit matrix")

    @property
    def shape(self) -> tuple[int, int]:
        """(p, p)."""
        return self._size, self._size

    def __matmul__(self, v: Float[Tensor, "p *s"]) -> Float[Tensor, "p *s"]:
        """The product with a vector [p] or with the columns of a block [p, s]; each column counts as one product.

        Raises:
            ShapeError: It is neither [p] nor [p, s].
            DtypeError: Its dtype is not the operator's.
            DeviceError: Its device is not the operator's.
        """
        if not isinstance(v, Tensor):
            raise KindError(f"`v` must be a torch tensor, got {type(v).__name__}; convert it with torch.as_tensor(v)")
        if v.ndim not in (1, 2) or v.shape[0] != self._size:
            raise ShapeError(
                f"`v` must have shape [{self._size}] or [{self._size}, s], got {list(v.shape)}; reshape it"
            )
        if v.dtype != self.dtype:
            raise DtypeError(f"`v` must have the operator's dtype, {self.dtype}, got {v.dtype}; convert v")
        if v.device != self.device:
            raise DeviceError(f"`v` must be on the operator's device, {self.device}, got {v.device}; move v")
        block = v.detach()[:, None] if v.ndim == 1 else v.detach()
        self.products += block.shape[1]
        image = self._product(block) if block.shape[1] else torch.zeros_like(block)
        return image[:, 0] if v.ndim == 1 else image

    def agree(self, flag: bool) -> bool:  # noqa: FBT001 - the one argument of a question
        """Whether a decision that may differ between processes, such as one by the clock, is taken by any of them.

        An operator of a single process agrees with itself.
        """
        return flag if self.agreement is None else self.agreement(flag)

    def to_dense(self, *, max_size: int = 10_000) -> Float[Tensor, "p p"]:
        """The whole matrix, from p products.

        Args:
            max_size: Largest p that is allowed; memory is p² numbers.

        Raises:
            ParameterError: p exceeds `max_size`; the message predicts products and memory.
        """
        limit = check_integer("max_size", max_size, minimum=1)
        p = self._size
        if p > limit:
            gigabytes = p * p * torch.finfo(self.dtype).bits / 8e9
            raise ParameterError(
                f"`to_dense` of a {grouped(p)} × {grouped(p)} operator would take {grouped(p)} products and "
                f"{gigabytes:.3g} GB, got max_size={limit}; raise it, choose fewer parameters, or use eigenvalues, "
                "trace or diagonal"
            )
        identity = torch.eye(p, dtype=self.dtype, device=self.device)
        blocks = [self @ identity[:, i : i + _DENSE_BLOCK] for i in range(0, p, _DENSE_BLOCK)]
        return torch.cat(blocks, dim=1)

    def to_scipy(self) -> Any:
        """The operator as a `scipy.sparse.linalg.LinearOperator` on NumPy vectors, for `eigsh` and its like."""
        from scipy.sparse.linalg import LinearOperator

        def product(array: Any) -> Any:
            tensor = torch.as_tensor(array).to(dtype=self.dtype, device=self.device)
            image = self @ (tensor.reshape(self._size, -1) if tensor.ndim > 1 else tensor)
            return image.cpu().numpy()

        kind = torch.zeros((), dtype=self.dtype).numpy().dtype
        return LinearOperator(self.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=kind)

    def check_symmetry(self, *, seed: int = 0, rtol: float | None = None) -> float:
        """How far the operator is from symmetric, on two random vectors: |uᵀAv − vᵀAu| relative to ‖Au‖ + ‖Av‖.

        Args:
            seed: Seed of the vectors.
            rtol: What is refused; the square root of the rounding unit if None.

        Raises:
            ComputationError: The operator is not symmetric.

        Cost: two products.
        """
        worst = math.sqrt(torch.finfo(self.dtype).eps) if rtol is None else check_number("rtol", rtol, above=0.0)
        vectors = torch.randn(self._size, 2, generator=generator("linalg.start", seed), dtype=torch.float64)
        vectors = (vectors / vectors.norm(dim=0)).to(dtype=self.dtype, device=self.device)
        images = (self @ vectors).double()
        u, v = vectors.double().T
        scale = float(images.norm(dim=0).sum())
        skew = float((u @ images[:, 1] - v @ images[:, 0]).abs()) / scale if scale > 0 else 0.0
        if not skew <= worst:
            raise ComputationError(
                f"the operator is not symmetric: uᵀAv and vᵀAu differ by {skew:.3g} of the length of the images; look "
                "for an operation whose second derivative is wrong (a custom backward, a hook on a gradient)"
            )
        return skew

    def __add__(self, other: Any) -> "SymmetricOperator":
        """The sum of two operators of one size, dtype and device; a product costs one of each."""
        if not isinstance(other, SymmetricOperator):
            return NotImplemented
        return self._combined([(1.0, self), (1.0, other)])

    def __sub__(self, other: Any) -> "SymmetricOperator":
        """The difference of two operators."""
        if not isinstance(other, SymmetricOperator):
            return NotImplemented
        return self._combined([(1.0, self), (-1.0, other)])

    def __mul__(self, factor: Any) -> "SymmetricOperator":
        """The operator times a number."""
        return self._combined([(check_number("factor", factor), self)])

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> "SymmetricOperator":
        """The operator over a number."""
        number = check_number("divisor", divisor)
        if number == 0:
            raise ParameterError("`divisor` must differ from 0, got 0; pass another number")
        return self._combined([(1 / number, self)])

    def __neg__(self) -> "SymmetricOperator":
        """The operator times −1."""
        return self._combined([(-1.0, self)])

    def _words(self) -> str:
        """What the matrix is, inside a combination."""
        return self.convention or "operator"

    def _combined(self, terms: Sequence[tuple[float, "SymmetricOperator"]]) -> "SymmetricOperator":
        """Σ factor · operator."""
        for _, term in terms:
            if term.shape != self.shape:
                raise ShapeError(f"operators must have one shape, got {list(self.shape)} and {list(term.shape)}")
            if term.dtype != self.dtype:
                raise DtypeError(f"operators must have one dtype, got {self.dtype} and {term.dtype}; build one anew")
            if term.device != self.device:
                raise DeviceError(f"operators must be on one device, got {self.device} and {term.device}; move one")

        def product(block: Tensor) -> Tensor:
            total = torch.zeros_like(block)
            for factor, term in terms:
                total.add_(term @ block, alpha=factor)
            return total

        backends = dict.fromkeys(term.backend for _, term in terms if term.backend)
        words = " + ".join(("" if factor == 1 else f"{factor:g} × ") + f"({term._words()})" for factor, term in terms)
        combined = SymmetricOperator(
            product,
            self._size,
            dtype=self.dtype,
            device=self.device,
            backend=" + ".join(backends),
            convention=words.replace("+ -1 × ", "− ").replace("+ -", "− "),
        )
        combined.agreement = next((term.agreement for _, term in terms if term.agreement is not None), None)
        return combined

    def __repr__(self) -> str:
        words = "; ".join(word for word in (self.backend, self.convention) if word)
        return f"{type(self).__name__}(shape={list(self.shape)}, dtype={self.dtype}{'; ' if words else ''}{words})"
