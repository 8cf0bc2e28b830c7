"""Deep linear networks: a matrix as a product of matrices."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    DtypeError,
    KindError,
    ShapeError,
    check_choice,
    check_inputs,
    check_integer,
    check_same_place,
    generator,
    refuse_unknown_keywords,
)


class DeepLinear(nn.Module):
    """A deep linear network f(x) = W_L ⋯ W_1 x, without biases.

    Parameters, in the order of every flat vector: `layers.0` = W_1 [d_1, d_0], …, `layers.{L−1}` = W_L [d_L, d_{L−1}],
    row-major.

    Args:
        sizes: d_0, d_1, …, d_L: inputs, hidden widths, outputs; at least two numbers ≥ 1.
        init: `"normal"`: W_l ~ N(0, 1/d_{l−1}), which keeps the variance from layer to layer. `"orthogonal"`:
            orthonormal rows or columns. `"zeros"`: all zero.
        seed: Seed of the initialisation; independent of the same integer given to a sampler.
        dtype: Parameters are drawn in float64 and rounded to it.
        device: Where the parameters live.

    Raises:
        ParameterError: A size is below one.
        ShapeError: There are fewer than two sizes.
        UnknownNameError: `init` is not one of the three.
        KindError: A keyword is not known.

    Example:
        >>> network = DeepLinear.from_layers([[[2.0]], [[3.0]]])
        >>> network(torch.tensor([[1.0]], dtype=torch.float64)).item()
        6.0
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        init: Literal["normal", "orthogonal", "zeros"] = "normal",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        refuse_unknown_keywords("DeepLinear", unknown, ["init", "seed", "dtype", "device"])
        if isinstance(sizes, str) or not isinstance(sizes, Sequence):
            raise KindError(f"`sizes` must be a list of integers, got {type(sizes).__name__}; pass [d_0, d_1, …, d_L]")
        if len(sizes) < 2:
            raise ShapeError(f"`sizes` must hold at least two numbers, got {list(sizes)}; pass [inputs, …, outputs]")
        dims = [check_integer(f"sizes[{i}]", size, minimum=1) for i, size in enumerate(sizes)]
        check_choice("init", init, ["normal", "orthogonal", "zeros"])
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64 or torch.float32")
        rng = generator("networks.deep_linear", seed)

        def weight(rows: int, columns: int) -> Tensor:
            if init == "zeros":
                return torch.zeros(rows, columns, dtype=torch.float64)
            normal = torch.randn(rows, columns, generator=rng, dtype=torch.float64)
            if init == "normal":
                return normal / math.sqrt(columns)
            q, r = torch.linalg.qr(normal if rows >= columns else normal.T)
            q = q * r.diagonal().sign()  # uniform over orthogonal matrices
            return q if rows >= columns else q.T

        self._set([weight(rows, columns) for columns, rows in pairwise(dims)], dtype, device)

    def _set(self, layers: Sequence[Tensor], dtype: torch.dtype, device: torch.device | str | None) -> None:
        self.layers = nn.ParameterList(
            nn.Parameter(layer.detach().to(dtype=dtype, device=device).clone().contiguous()) for layer in layers
        )

    @classmethod
    def from_layers(cls, layers: Sequence[Any]) -> "DeepLinear":
        """A network with the given matrices (copied), W_1 first. Plain lists become float64 tensors.

        Args:
            layers: [d_1, d_0], …, [d_L, d_{L−1}].

        Raises:
            ShapeError: They do not multiply.
            DtypeError: Their dtypes differ or are not floating.
        """
        matrices = [
            layer if isinstance(layer, Tensor) else torch.as_tensor(layer, dtype=torch.float64) for layer in layers
        ]
        if not matrices:
            raise ShapeError("`layers` must hold at least one matrix, got none; pass [W_1, …, W_L]")
        previous = None
        for index, matrix in enumerate(matrices, 1):
            if matrix.ndim != 2 or 0 in matrix.shape or (previous is not None and matrix.shape[1] != previous):
                expected = f"[d_{index}, {'d_0' if previous is None else previous}]"
                raise ShapeError(
                    f"W_{index} must have shape {expected}, got {list(matrix.shape)}; W_1 acts first: W_L … W_1 x"
                )
            if not matrix.is_floating_point() or matrix.dtype != matrices[0].dtype:
                raise DtypeError(
                    f"W_{index} must have W_1's floating dtype, {matrices[0].dtype}, got {matrix.dtype}; convert it"
                )
            previous = matrix.shape[0]
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._set(matrices, matrices[0].dtype, matrices[0].device)
        return network

    @classmethod
    def from_sequential(cls, module: nn.Sequential) -> "DeepLinear":
        """The same function as a `nn.Sequential` of `nn.Linear(bias=False)`.

        Raises:
            KindError: The module is not such a sequence.
        """
        linear = isinstance(module, nn.Sequential) and len(module) > 0
        if not linear or any(type(layer) is not nn.Linear or layer.bias is not None for layer in module):
            raise KindError(
                f"`module` must be nn.Sequential of Linear layers without bias, got {module}; convert it first"
            )
        return cls.from_layers([layer.weight for layer in module])

    def to_sequential(self) -> nn.Sequential:
        """The same function as a `nn.Sequential` of `nn.Linear(bias=False)`."""
        place: dict[str, Any] = {"dtype": self.layers[0].dtype, "device": self.layers[0].device}
        linears = [nn.Linear(layer.shape[1], layer.shape[0], bias=False, **place) for layer in self.layers]
        with torch.no_grad():
            for linear, layer in zip(linears, self.layers, strict=True):
                linear.weight.copy_(layer)
        return nn.Sequential(*linears)

    @property
    def sizes(self) -> list[int]:
        """d_0, d_1, …, d_L."""
        return [self.layers[0].shape[1], *(layer.shape[0] for layer in self.layers)]

    @property
    def inputs(self) -> int:
        """Input dimension d_0."""
        return self.layers[0].shape[1]

    @property
    def outputs(self) -> int:
        """Output dimension k = d_L."""
        return self.layers[-1].shape[0]

    @property
    def depth(self) -> int:
        """Number of layers L."""
        return len(self.layers)

    def matrix(self) -> Float[Tensor, "k d"]:
        """The end-to-end map W_L ⋯ W_1, differentiable."""
        return torch.linalg.multi_dot(list(reversed(self.layers))) if self.depth > 1 else self.layers[0] + 0

    def check(self, x: Any, *, name: str = "x") -> Float[Tensor, "n d"]:
        """`x`, if it is finite inputs [n, d_0] of this network's dtype and device; an error otherwise."""
        x = check_inputs(x, name=name, inputs=self.inputs)
        check_same_place(self, x, names=(name,))
        return x

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """f(x)."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"`x` must have shape [n, {self.inputs}], got {list(x.shape)}; pass one row per sample")
        check_same_place(self, x)
        for layer in self.layers:
            x = x @ layer.T
        return x

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return f"sizes={self.sizes}, dtype={self.layers[0].dtype}"


class DeepLinearProducts:
    """Second-derivative products of L = ½ ‖W_L ⋯ W_1 F − Z‖_F² in the layers, for fixed F [d_0, q] and Z [k, q].

    With P_l = W_l ⋯ W_1 F and the adjoints Q_l = W_{l+1}ᵀ ⋯ W_Lᵀ (P_L − Z), the gradient is Q_l P_{l−1}ᵀ. A direction V
    has the tangents Ṗ_l = W_l Ṗ_{l−1} + V_l P_{l−1} and Q̇_{l−1} = W_lᵀ Q̇_l + V_lᵀ Q_l with Q̇_L = Ṗ_L, so that
    (H V)_l = Q̇_l P_{l−1}ᵀ + Q_l Ṗ_{l−1}ᵀ; Gauss–Newton leaves the terms in Q out. The product is affine in each layer,
    so both have the same diagonal, (W_{l+1}ᵀ ⋯ W_Lᵀ W_L ⋯ W_{l+1})_aa ‖(P_{l−1})_b‖².

    Args:
        network: Copied: training it on does not change the products.
        features: F.
        targets: Z.

    Cost per product: 4 L matrix products with q columns.
    """

    def __init__(self, network: DeepLinear, features: Float[Tensor, "d q"], targets: Float[Tensor, "k q"]) -> None:
        self.layers = [layer.detach().to(features.dtype).clone() for layer in network.layers]
        self.size = sum(layer.numel() for layer in self.layers)
        self.forwards = [features]
        for layer in self.layers:
            self.forwards.append(layer @ self.forwards[-1])
        self.adjoints = [self.forwards[-1] - targets]
        for layer in reversed(self.layers[1:]):
            self.adjoints.insert(0, layer.T @ self.adjoints[0])

    def second_order(self, block: Float[Tensor, "p s"], *, residual: bool) -> Float[Tensor, "p s"]:
        """The Hessian (with `residual`) or the Gauss–Newton matrix times each column."""
        directions = [
            part.T.reshape(-1, *layer.shape)
            for part, layer in zip(block.split([layer.numel() for layer in self.layers]), self.layers, strict=True)
        ]
        tangents: list[Tensor] = [block.new_zeros(block.shape[1], *self.forwards[0].shape)]
        for layer, direction, forward in zip(self.layers, directions, self.forwards, strict=False):
            tangents.append(layer @ tangents[-1] + direction @ forward)
        adjoint = tangents[-1]
        images: list[Tensor] = []
        for index in reversed(range(len(self.layers))):
            image = adjoint @ self.forwards[index].T
            if residual:
                image = image + self.adjoints[index] @ tangents[index].mT
            images.insert(0, image.flatten(1).T)
            adjoint = self.layers[index].T @ adjoint
            if residual:
                adjoint = adjoint + directions[index].mT @ self.adjoints[index]
        return torch.cat(images)

    def diagonal(self) -> Float[Tensor, " p"]:
        """The diagonal, of both matrices."""
        after = torch.eye(len(self.forwards[-1]), dtype=self.forwards[0].dtype, device=self.forwards[0].device)
        parts: list[Tensor] = []
        for layer, forward in zip(reversed(self.layers), reversed(self.forwards[:-1]), strict=True):
            parts.insert(0, torch.outer(after.square().sum(dim=0), forward.square().sum(dim=1)).reshape(-1))
            after = after @ layer
        return torch.cat(parts)
