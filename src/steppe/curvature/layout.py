"""Operators on the parameters of a model: flat vectors and dictionaries of tensors by name."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import KindError, ShapeError, UnknownNameError, check_choice
from steppe.linalg import SymmetricOperator


class ParameterOperator(SymmetricOperator):
    """A symmetric operator whose coordinates are the entries of named parameters.

    It takes flat vectors and dictionaries of tensors by name, and gives its diagonal blocks.

    Args:
        product: As `SymmetricOperator`.
        shapes: Shape of each parameter by name, in the order of the flat vectors.
        restrict: Gives the product of the diagonal block of a range of parameters, where that is cheaper than a whole
            product; None otherwise.
        **more: As `SymmetricOperator`.

    Attributes:
        names: Parameter names in flat order.
        shapes: Their shapes.
    """

    def __init__(
        self,
        product: Callable[[Tensor], Tensor],
        shapes: Mapping[str, Sequence[int]],
        *,
        restrict: Callable[[slice], Callable[[Tensor], Tensor]] | None = None,
        **more: Any,
    ) -> None:
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        super().__init__(product, sum(shape.numel() for shape in self.shapes.values()), **more)
        self._restrict = restrict

    @property
    def names(self) -> list[str]:
        """Parameter names in flat order."""
        return list(self.shapes)

    def __matmul__(self, v: Any) -> Any:
        """The product with a vector [p], a block [p, s] or a dictionary of tensors by name, of the kind it was given.

        Names that are absent count as zero; the image has them all.
        """
        if isinstance(v, Mapping):
            return self.as_dict(super().__matmul__(self.as_vector(v)))
        return super().__matmul__(v)

    def as_dict(self, v: Float[Tensor, " p"]) -> dict[str, Tensor]:
        """A flat vector as tensors by name, of the shapes of the parameters."""
        if v.ndim != 1 or len(v) != self.shape[0]:
            raise ShapeError(f"`v` must have shape [{self.shape[0]}], got {list(v.shape)}; pass a flat vector")
        parts = v.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def as_vector(self, tensors: Mapping[str, Tensor]) -> Float[Tensor, " p"]:
        """Tensors by name as a flat vector; absent names are zero.

        Raises:
            UnknownNameError: A name is not among `names`.
            ShapeError: A tensor does not have the shape of its parameter.
        """
        for name, tensor in tensors.items():
            if name not in self.shapes:
                close = difflib.get_close_matches(str(name), self.names, n=1, cutoff=0.4)
                remedy = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(self.names)}"
                raise UnknownNameError(
                    f"`v` has a tensor for {name!r}, which is no variable of this operator; {remedy}"
                )
            if not isinstance(tensor, Tensor):
                raise KindError(f"`v[{name!r}]` must be a torch tensor, got {type(tensor).__name__}; convert it")
            if tensor.shape != self.shapes[name]:
                raise ShapeError(
                    f"`v[{name!r}]` must have shape {list(self.shapes[name])}, got {list(tensor.shape)}; reshape it"
                )
        zeros = {"dtype": self.dtype, "device": self.device}
        first = next(iter(tensors.values()), None)
        if first is not None:  # so that a wrong dtype or device is refused, not converted
            zeros = {"dtype": first.dtype, "device": first.device}
        return torch.cat(
            [
                tensors[name].detach().reshape(-1) if name in tensors else torch.zeros(shape.numel(), **zeros)  # type: ignore[call-overload]  # a dtype and a device
                for name, shape in self.shapes.items()
            ]
        )

    def blocks(self, by: Literal["parameter", "module"] = "parameter") -> dict[str, "ParameterOperator"]:
        """The diagonal blocks of single parameters, or of all parameters that one module owns, by name.

        Args:
            by: `"parameter"` or `"module"`; a module is named by its path, the model itself by "".

        Cost: none to make. A product along a block of a model costs at most one product, less for late layers; closed
        forms cost a whole product.
        """
        check_choice("by", by, ["parameter", "module"])
        owners = [name if by == "parameter" else name.rpartition(".")[0] for name in self.names]
        found = {}
        start = 0
        for stop in range(1, len(owners) + 1):
            if stop == len(owners) or owners[stop] != owners[start]:
                found[owners[start]] = self._block(slice(start, stop))
                start = stop
        return found

    def _block(self, where: slice) -> "ParameterOperator":
        names = self.names[where]
        product = self._padded(where) if self._restrict is None else self._restrict(where)
        return ParameterOperator(
            product,
            {name: self.shapes[name] for name in names},
            dtype=self.dtype,
            device=self.device,
            backend=self.backend,
            convention=f"{self.convention}; diagonal block of {', '.join(names)}",
        )

    def _padded(self, where: slice) -> Callable[[Tensor], Tensor]:
        """The block by whole products of vectors that are zero outside."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        start, size = sum(sizes[: where.start]), sum(sizes[where])
        whole, p = self._product, self.shape[0]

        def product(block: Tensor) -> Tensor:
            padded = block.new_zeros(p, block.shape[1])
            padded[start : start + size] = block
            return whole(padded)[start : start + size]

        return product

    def _combined(self, terms: Sequence[tuple[float, SymmetricOperator]]) -> SymmetricOperator:
        """A linear combination; it keeps names and blocks if all terms have the same parameters."""
        plain = super()._combined(terms)
        if not all(isinstance(term, ParameterOperator) and term.shapes == self.shapes for _, term in terms):
            return plain

        def restrict(where: slice) -> Callable[[Tensor], Tensor]:
            blocks = [(factor, term._block(where)) for factor, term in terms if isinstance(term, ParameterOperator)]
            return lambda block: sum((factor * (term @ block) for factor, term in blocks), torch.zeros_like(block))

        return ParameterOperator(
            plain._product,
            self.shapes,
            restrict=restrict,
            dtype=plain.dtype,
            device=plain.device,
            backend=plain.backend,
            convention=plain.convention,
        )
