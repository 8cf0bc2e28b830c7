"""The two-layer ReLU network that sees patches: locally connected, with or without shared weights, then pooled."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from steppe.core import (
    DtypeError,
    InputError,
    KindError,
    ParameterError,
    ShapeError,
    check_choice,
    check_inputs,
    check_integer,
    check_same_place,
    generator,
    refuse_unknown_keywords,
)

from .shallow_relu import ShallowReLU

PatchInit = Literal["he", "paper", "torch", "zeros"]
_BLOCK = 1 << 24  # preactivations that are held at once where no gradient is wanted


class PatchReLU(nn.Module):
    """A two-layer ReLU network on patches, pooled by their mean: f(x) = Σ_k v_k (1/l) Σ_j φ(w_kᵀx[P_j] − b_k) + β.

    The patch P_j selects s of the d inputs. With shared weights every position has the same filters w_k, b_k; otherwise
    position j has its own w_{jk}, b_{jk}. Parameters, in the order of every flat vector: `w` ([m, s], or [l, m, s] if
    not shared), `b` ([m] or [l, m]), `v` [k, m] and `output_bias` [k]. A neuron is active at a position only where
    w_kᵀx[P_j] > b_k, strictly. One patch of all inputs gives `ShallowReLU`.

    Args:
        patches: Indices [l, s] of the inputs that each patch takes, from `patch_indices` or of one's own.
        width: Number of neurons m ≥ 1.
        outputs: k ≥ 1.
        inputs: d, more than the largest index; None is the largest index plus one.
        shared: Whether the positions share their weights.
        init: `"he"`: w ~ N(0, 2/s), v ~ N(0, 2/m), everything else zero. `"paper"`: v ~ N(0, 1/m) instead, as in the
            experiments of Liang et al. (2026). `"torch"`: weights and biases uniform within 1/√fan_in. `"zeros"`.
        seed: Seed of the initialisation.
        dtype: Parameters are drawn in float64 and rounded to it.
        device: Where parameters and patches live.
        **unknown: Refused, with the keyword to use instead.

    Raises:
        ShapeError: `patches` is not a matrix with at least one row and one column.
        ParameterError: A size is below one, or a patch reaches outside the input.
        DtypeError: `patches` is not integer, or `dtype` not floating.
        UnknownNameError: `init` is not one of the four.
        KindError: A keyword is not known.

    Example:
        >>> network = PatchReLU.from_weights([[0, 1], [1, 2]], w=[[1.0, 1.0]], b=[0.0], v=[[2.0]])
        >>> network(torch.tensor([[1.0, 2.0, -5.0]], dtype=torch.float64)).item()  # 2 · (max(3, 0) + max(−3, 0)) / 2
        3.0
    """

    patches: Int[Tensor, "l s"]
    w: Float[Tensor, "*l m s"]
    b: Float[Tensor, "*l m"]
    v: Float[Tensor, "k m"]
    output_bias: Float[Tensor, " k"]

    def __init__(
        self,
        patches: Any,
        width: int,
        outputs: int = 1,
        *,
        inputs: int | None = None,
        shared: bool = True,
        init: PatchInit = "he",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        refuse_unknown_keywords("PatchReLU", unknown, ["inputs", "shared", "init", "seed", "dtype", "device"])
        indices, self.inputs = _checked(patches, inputs)
        m = check_integer("width", width, minimum=1)
        k = check_integer("outputs", outputs, minimum=1)
        check_choice("init", init, ["he", "paper", "torch", "zeros"])
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64 or torch.float32")
        (positions, s), rng = indices.shape, generator("networks.patch_relu", seed)
        own = () if shared else (positions,)

        def draw(*shape: int, variance: float, fan_in: int) -> Tensor:
            if init == "torch":
                return (2 * torch.rand(*shape, generator=rng, dtype=torch.float64) - 1) / fan_in**0.5
            if init == "zeros" or variance == 0:
                return torch.zeros(*shape, dtype=torch.float64)
            return torch.randn(*shape, generator=rng, dtype=torch.float64) * variance**0.5

        weights = (
            draw(*own, m, s, variance=2 / s, fan_in=s),
            draw(*own, m, variance=0, fan_in=s),
            draw(k, m, variance=(1 if init == "paper" else 2) / m, fan_in=m),
            draw(k, variance=0, fan_in=m),
        )
        self._set(indices, weights, dtype=dtype, device=device)

    def _set(
        self,
        patches: Tensor,
        weights: tuple[Tensor, ...],
        *,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
    ) -> None:
        self.w, self.b, self.v, self.output_bias = (
            nn.Parameter(value.detach().to(dtype=dtype, device=device).clone().contiguous()) for value in weights
        )
        self.register_buffer("patches", patches.detach().to(device=device).clone().contiguous())

    @property
    def shared(self) -> bool:
        """Whether the positions share their weights."""
        return self.w.ndim == 2

    @property
    def positions(self) -> int:
        """Number of patches l."""
        return self.patches.shape[0]

    @property
    def patch_size(self) -> int:
        """Inputs per patch s."""
        return self.patches.shape[1]

    @property
    def width(self) -> int:
        """Number of neurons m."""
        return self.v.shape[1]

    @property
    def outputs(self) -> int:
        """Output dimension k."""
        return self.v.shape[0]

    @classmethod
    def from_weights(
        cls, patches: Any, w: Any, b: Any, v: Any, output_bias: Any = None, *, inputs: int | None = None
    ) -> "PatchReLU":
        """A network with the given weights (copied). Plain lists become float64 tensors; `v` may be [m] if k = 1.

        Args:
            patches: Indices [l, s].
            w: Filters [m, s], or [l, m, s] if not shared.
            b: Thresholds [m] or [l, m], subtracted.
            v: Output weights [k, m] or [m].
            output_bias: β [k], zero if None.
            inputs: d; None is the largest index plus one.

        Raises:
            ShapeError: The shapes do not fit together.
            DtypeError: Their dtypes differ.
            ParameterError: A patch reaches outside the input.
        """
        indices, d = _checked(patches, inputs)
        w, b, v = map(_tensor, (w, b, v))
        if v.ndim == 1:
            v = v[None, :]
        output_bias = v.new_zeros(v.shape[0]) if output_bias is None else _tensor(output_bias)
        if v.ndim != 2 or 0 in v.shape:
            raise ShapeError(f"`v` must have shape [k, m] with k, m ≥ 1, got {list(v.shape)}; pass one row per output")
        (positions, s), (k, m) = indices.shape, v.shape
        own = [positions] if w.ndim == 3 else []
        for name, value, shape in (("w", w, [*own, m, s]), ("b", b, [*own, m]), ("output_bias", output_bias, [k])):
            if list(value.shape) != shape:
                raise ShapeError(
                    f"`{name}` must have shape {shape} to go with {positions} patches of {s} and v {[k, m]}, "
                    f"got {list(value.shape)}; pass filters [m, s], or [l, m, s] if positions do not share them"
                )
            if value.dtype != v.dtype:
                raise DtypeError(f"`{name}` must have the dtype of v, {v.dtype}, got {value.dtype}; convert one")
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network.inputs = d
        network._set(indices, (w, b, v, output_bias), dtype=v.dtype, device=v.device)
        return network

    @classmethod
    def from_shallow(cls, network: ShallowReLU) -> "PatchReLU":
        """The same function as a shallow network without skip connection: one patch of all inputs.

        Raises:
            InputError: The network has a skip connection.
        """
        if network.skip is not None:
            raise InputError("a network with a skip connection has no patch form; drop the skip connection first")
        patch = torch.arange(network.inputs)[None, :]
        return cls.from_weights(patch, network.w, network.b, network.v, network.output_bias)

    def copy(self, *, dtype: torch.dtype | None = None) -> "PatchReLU":
        """An independent copy, optionally in another dtype; float32 to float64 is exact."""
        dtype = self.w.dtype if dtype is None else dtype
        weights = [p.detach().to(dtype) for p in (self.w, self.b, self.v, self.output_bias)]
        return PatchReLU.from_weights(self.patches, *weights, inputs=self.inputs)

    def check(self, x: Any, *, name: str = "x") -> Float[Tensor, "n d"]:
        """`x`, if it is finite inputs [n, d] of this network's dtype and device; an error otherwise."""
        x = check_inputs(x, name=name, inputs=self.inputs)
        check_same_place(self, x, names=(name,))
        return x

    def extract(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n l s"]:
        """The patches of every sample, x_i[P_j]."""
        return x[:, self.patches]

    def preactivations(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n l m"]:
        """w_kᵀx_i[P_j] − b_k, all n·l·m of them at once."""
        if self.shared:
            return self.extract(x) @ self.w.T - self.b
        return torch.einsum("nls,lms->nlm", self.extract(x), self.w) - self.b

    def mask(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n l m"]:
        """Which neuron is active on which patch: w_kᵀx_i[P_j] > b_k, strictly."""
        return self.preactivations(x) > 0

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """f(x). Without gradients, memory is bounded by blocks of samples."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"`x` must have shape [n, {self.inputs}], got {list(x.shape)}; pass one row per sample")
        check_same_place(self, x)
        rows = len(x) if torch.is_grad_enabled() else max(1, _BLOCK // (self.positions * self.width))
        pooled = [torch.relu(self.preactivations(block)).mean(dim=1) for block in x.split(max(rows, 1))]
        return torch.addmm(self.output_bias, torch.cat(pooled), self.v.T)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        return (
            f"inputs={self.inputs}, patches={self.positions} of {self.patch_size}, width={self.width}, "
            f"outputs={self.outputs}, shared={self.shared}, dtype={self.w.dtype}"
        )


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)


def _checked(patches: Any, inputs: int | None) -> tuple[Int[Tensor, "l s"], int]:
    """Indices [l, s] that lie inside the input, and the input's dimension."""
    try:
        indices = torch.as_tensor(patches)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KindError(
            f"`patches` must be a matrix of indices, got {type(patches).__name__}; pass one row of indices per patch"
        ) from error
    if indices.ndim != 2 or 0 in indices.shape:
        raise ShapeError(
            f"`patches` must have shape [l, s] with l, s ≥ 1, got {list(indices.shape)}; pass one row per patch"
        )
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise DtypeError(f"`patches` must hold integers, got {indices.dtype}; convert it with patches.long()")
    low, high = int(indices.min()), int(indices.max())
    d = high + 1 if inputs is None else check_integer("inputs", inputs, minimum=1)
    if low < 0 or high >= d:
        row = int(((indices < 0) | (indices >= d)).any(dim=1).nonzero()[0])
        raise ParameterError(
            f"`patches` must hold indices from 0 to {d - 1} to lie inside the {d} inputs, got {low} to {high}, first "
            f"in patch {row}; drop the patches that reach outside, or pass more inputs"
        )
    return indices.long(), d
