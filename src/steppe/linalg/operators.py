"""Symmetric operators that are known only through their products."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import DeviceError, DtypeError, KindError, ParameterError, ShapeError, check_integer

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

    def to_dense(self) -> Float[Tensor, "p p"]:
        """The whole matrix, from p products; memory p²."""
        identity = torch.eye(self._size, dtype=self.dtype, device=self.device)
        blocks = [self @ identity[:, i : i + _DENSE_BLOCK] for i in range(0, self._size, _DENSE_BLOCK)]
        return torch.cat(blocks, dim=1)

    def __repr__(self) -> str:
        words = "; ".join(word for word in (self.backend, self.convention) if word)
        return f"{type(self).__name__}(shape={list(self.shape)}, dtype={self.dtype}{'; ' if words else ''}{words})"
