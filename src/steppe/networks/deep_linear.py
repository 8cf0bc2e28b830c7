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

from .factorizations import balanced_layers, check_matrices, regularized_layers, spread_layers


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
            KindError: It is no list of matrices.
            ShapeError: They do not multiply.
            DtypeError: Their dtypes differ or are not floating.
        """
        matrices = check_matrices(layers)
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._set(matrices, matrices[0].dtype, matrices[0].device)
        return network

    @classmethod
    def balanced(cls, target: Any, sizes: Sequence[int], *, seed: int = 0) -> "DeepLinear":
        """A balanced factorization of `target`: W_l = Q_l Σ^{1/L} Q_{l−1}ᵀ for M = U Σ Vᵀ, Q_0 = V, Q_L = U.

        It satisfies W_{l+1}ᵀ W_{l+1} = W_l W_lᵀ, and no factorization is flatter.

        Args:
            target: M [d_L, d_0]. Singular values at rounding level are taken as zero.
            sizes: d_0, d_1, …, d_L; hidden widths at least the rank of M.
            seed: Seed of the random orthonormal columns Q_1, …, Q_{L−1}.

        Raises:
            ShapeError: `sizes` do not fit the target.
            ParameterError: A hidden layer is too narrow.
            DataError: The target is not finite.

        Example:
            >>> [layer.abs().max().item() for layer in DeepLinear.balanced([[16.0]], [1, 1, 1, 1, 1]).layers]
            [2.0, 2.0, 2.0, 2.0]
        """
        return cls.from_layers(balanced_layers(target, sizes, seed=seed))

    @classmethod
    def random_minimizer(cls, target: Any, sizes: Sequence[int], *, spread: float = 1.0, seed: int = 0) -> "DeepLinear":
        """A factorization of `target` drawn at random, the less flat the larger `spread`.

        The balanced one of the same seed, with idle units: paths through what its hidden layers leave free, of size
        spread · σ_1^{1/L}, which some layer interrupts. Then W_l → G_l W_l G_{l−1}⁻¹ with random G_l, whose
        logarithms of singular values are N(0, spread²).

        Args:
            target: M [d_L, d_0].
            sizes: d_0, d_1, …, d_L; hidden widths at least the rank of M.
            spread: ≥ 0; 0 gives the balanced one. The product differs from M by rounding, which the condition
                numbers of the G_l magnify.
            seed: Seed of everything that is random.

        Raises:
            SteppeError: As `balanced`; ParameterError for a negative spread.
        """
        return cls.from_layers(spread_layers(target, sizes, spread=spread, seed=seed))

    @classmethod
    def regularized_minimizer(
        cls,
        target: Any,
        sizes: Sequence[int],
        *,
        weight: float | Sequence[float],
        scale: float = 1.0,
        seed: int = 0,
    ) -> "DeepLinear":
        """A global minimizer of scale · ‖M − W_L ⋯ W_1‖_F² + weight · Σ_l ‖W_l‖_F², drawn at random.

        W_l = Q_l S^{1/L} Q_{l−1}ᵀ with the singular values S that `theory.singular_value_map` leaves of M.

        Args:
            target: M [d_L, d_0].
            sizes: d_0, d_1, …, d_L; a narrow layer keeps the largest singular values only.
            weight: λ > 0, or one for each layer.
            scale: Factor > 0 of the squared error.
            seed: Seed of the random orthonormal columns Q_1, …, Q_{L−1}.

        Raises:
            SteppeError: As `theory.end_to_end_minimizer`.
        """
        return cls.from_layers(regularized_layers(target, sizes, weight=weight, scale=scale, seed=seed))

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
        network: A network or its matrices; copied: training it on does not change the products.
        features: F.
        targets: Z.

    Cost per product: 4 L matrix products with q columns.
    """

    def __init__(
        self, network: DeepLinear | Sequence[Tensor], features: Float[Tensor, "d q"], targets: Float[Tensor, "k q"]
    ) -> None:
        layers = network.layers if isinstance(network, DeepLinear) else network
        self.layers = [layer.detach().to(features.dtype).clone() for layer in layers]
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
