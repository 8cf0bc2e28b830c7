"""The two-layer ReLU network."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from steppe.core import (
    DtypeError,
    InputError,
    KindError,
    ShapeError,
    check_choice,
    check_inputs,
    check_integer,
    check_same_place,
    generator,
    refuse_unknown_keywords,
)

Init = Literal["he", "torch", "zeros"]


class ShallowReLU(nn.Module):
    """A two-layer ReLU network f(x) = Σ_k v_k φ(w_kᵀx − b_k) [+ C x] + β, with a minus before b.

    Parameters, in the order of every flat vector: `w [m, d]`, `b [m]`, `v [k, m]`, `output_bias [k]` and, if
    `skip`, the matrix `skip [k, d]`; there are m(d + 1 + k) + k [+ kd] of them. φ(z) = max(z, 0), and a neuron is
    active only where w_kᵀx > b_k, strictly.

    Args:
        inputs: d ≥ 1.
        width: Number of neurons m ≥ 1.
        outputs: k ≥ 1.
        skip: Whether a linear term C x is added.
        init: `"he"`: w ~ N(0, 2/d), v ~ N(0, 2/m), everything else zero. `"torch"`: all weights and biases uniform
            within 1/√fan_in, as `nn.Linear` does; the skip matrix too. `"zeros"`: all zero.
        seed: Seed of the initialisation; independent of the same integer given to a sampler.
        dtype: Parameters are drawn in float64 and rounded to it.
        device: Where the parameters live.

    Raises:
        ParameterError: A size is below one.
        UnknownNameError: `init` is not one of the three.
        KindError: A keyword is not known.

    Example:
        >>> network = ShallowReLU.from_weights(w=[[2.0]], b=[1.0], v=[[3.0]])
        >>> network(torch.tensor([[1.0]], dtype=torch.float64)).item()  # 3 · max(2·1 − 1, 0)
        3.0
    """

    w: Float[Tensor, "m d"]
    b: Float[Tensor, " m"]
    v: Float[Tensor, "k m"]
    output_bias: Float[Tensor, " k"]
    skip: Float[Tensor, "k d"] | None

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int = 1,
        *,
        skip: bool = False,
        init: Init = "he",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        refuse_unknown_keywords("ShallowReLU", unknown, ["skip", "init", "seed", "dtype", "device"])
        d = check_integer("inputs", inputs, minimum=1)
        m = check_integer("width", width, minimum=1)
        k = check_integer("outputs", outputs, minimum=1)
        check_choice("init", init, ["he", "torch", "zeros"])
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64 or torch.float32")
        rng = generator("networks.shallow_relu", seed)

        def normal(*shape: int, fan_in: int) -> Tensor:
            return torch.randn(*shape, generator=rng, dtype=torch.float64) * math.sqrt(2 / fan_in)

        def uniform(*shape: int, fan_in: int) -> Tensor:
            return (2 * torch.rand(*shape, generator=rng, dtype=torch.float64) - 1) / math.sqrt(fan_in)

        def zeros(*shape: int, fan_in: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        weight = {"he": normal, "torch": uniform, "zeros": zeros}[init]
        bias = uniform if init == "torch" else zeros
        self._set(
            weight(m, d, fan_in=d),
            bias(m, fan_in=d),
            weight(k, m, fan_in=m),
            bias(k, fan_in=m),
            bias(k, d, fan_in=d) if skip else None,
            dtype=dtype,
            device=device,
        )

    def _set(
        self,
        w: Tensor,
        b: Tensor,
        v: Tensor,
        output_bias: Tensor,
        skip: Tensor | None,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
    ) -> None:
        def parameter(value: Tensor) -> nn.Parameter:
            return nn.Parameter(value.detach().to(dtype=dtype, device=device).clone().contiguous())

        self.w, self.b, self.v, self.output_bias = map(parameter, (w, b, v, output_bias))
        self.register_parameter("skip", None if skip is None else parameter(skip))

    @property
    def inputs(self) -> int:
        """Input dimension d."""
        return self.w.shape[1]

    @property
    def width(self) -> int:
        """Number of neurons m."""
        return self.w.shape[0]

    @property
    def outputs(self) -> int:
        """Output dimension k."""
        return self.v.shape[0]

    @classmethod
    def from_weights(
        cls,
        w: Any,
        b: Any,
        v: Any,
        output_bias: Any = None,
        skip: Any = None,
    ) -> "ShallowReLU":
        """A network with the given weights (copied). Plain lists become float64 tensors; `v` may be [m] if k = 1.

        Args:
            w: Input weights [m, d].
            b: Thresholds [m], subtracted.
            v: Output weights [k, m] or [m].
            output_bias: β [k], zero if None.
            skip: C [k, d], absent if None.

        Raises:
            ShapeError: The shapes do not fit together.
            DtypeError: Their dtypes differ.
        """

        def tensor(value: Any) -> Tensor:
            return value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)

        w, b, v = tensor(w), tensor(b), tensor(v)
        if v.ndim == 1:
            v = v[None, :]
        output_bias = v.new_zeros(v.shape[0]) if output_bias is None else tensor(output_bias)
        skip = None if skip is None else tensor(skip)
        if w.ndim != 2 or 0 in w.shape:
            raise ShapeError(f"`w` must have shape [m, d] with m, d ≥ 1, got {list(w.shape)}; pass one row per neuron")
        (m, d), k = w.shape, v.shape[0]
        expected: dict[str, tuple[Tensor | None, list[int]]] = {
            "b": (b, [m]),
            "v": (v, [k, m]),
            "output_bias": (output_bias, [k]),
            "skip": (skip, [k, d]),
        }
        for name, (value, shape) in expected.items():
            if value is not None and list(value.shape) != shape:
                raise ShapeError(
                    f"`{name}` must have shape {shape} to go with w {[m, d]} and v {list(v.shape)}, "
                    f"got {list(value.shape)}; reshape it"
                )
            if value is not None and value.dtype != w.dtype:
                raise DtypeError(
                    f"`{name}` must have the dtype of w, {w.dtype}, got {value.dtype}; convert one of them"
                )
        network = cls.__new__(cls)
        nn.Module.__init__(network)
        network._set(w, b, v, output_bias, skip, dtype=w.dtype, device=w.device)
        return network

    @classmethod
    def from_sequential(cls, module: nn.Sequential) -> "ShallowReLU":
        """The same function as `nn.Sequential(Linear, ReLU, Linear)`, exactly (the first bias changes sign).

        Raises:
            KindError: The module is not such a sequence.
        """
        layers: list[Any] = list(module) if isinstance(module, nn.Sequential) else []
        if [type(layer) for layer in layers] != [nn.Linear, nn.ReLU, nn.Linear]:
            got = ", ".join(type(layer).__name__ for layer in layers) or type(module).__name__
            raise KindError(f"`module` must be nn.Sequential(Linear, ReLU, Linear), got {got}; convert it first")
        first, _, second = layers
        zeros = first.weight.new_zeros(first.out_features)
        b = zeros if first.bias is None else -first.bias
        return cls.from_weights(first.weight, b, second.weight, second.bias)

    def to_sequential(self) -> nn.Sequential:
        """The same function as `nn.Sequential(Linear, ReLU, Linear)`, exactly (the first bias changes sign).

        Raises:
            InputError: The network has a skip connection, which a sequence cannot hold.
        """
        if self.skip is not None:
            raise InputError("a network with a skip connection is no nn.Sequential; use the network itself as a module")
        place: dict[str, Any] = {"dtype": self.w.dtype, "device": self.w.device}
        first = nn.Linear(self.inputs, self.width, **place)
        second = nn.Linear(self.width, self.outputs, **place)
        with torch.no_grad():
            first.weight.copy_(self.w)
            first.bias.copy_(-self.b)
            second.weight.copy_(self.v)
            second.bias.copy_(self.output_bias)
        return nn.Sequential(first, nn.ReLU(), second)

    def copy(self, *, dtype: torch.dtype | None = None) -> "ShallowReLU":
        """An independent copy, optionally in another dtype; float32 to float64 is exact."""
        network = ShallowReLU.__new__(ShallowReLU)
        nn.Module.__init__(network)
        dtype = self.w.dtype if dtype is None else dtype
        network._set(self.w, self.b, self.v, self.output_bias, self.skip, dtype=dtype, device=self.w.device)
        return network

    def check(self, x: Any, *, name: str = "x") -> Float[Tensor, "n d"]:
        """`x`, if it is finite inputs [n, d] of this network's dtype and device; an error otherwise."""
        x = check_inputs(x, name=name, inputs=self.inputs)
        check_same_place(self, x, names=(name,))
        return x

    def preactivations(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n m"]:
        """w_kᵀx_i − b_k."""
        return torch.addmm(-self.b, x, self.w.T)

    def mask(self, x: Float[Tensor, "n d"]) -> Bool[Tensor, "n m"]:
        """Which neuron is active on which sample: w_kᵀx_i > b_k, strictly."""
        return self.preactivations(x) > 0

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """f(x)."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ShapeError(f"`x` must have shape [n, {self.inputs}], got {list(x.shape)}; pass one row per sample")
        check_same_place(self, x)
        out = torch.addmm(self.output_bias, torch.relu(self.preactivations(x)), self.v.T)
        return out if self.skip is None else out + x @ self.skip.T

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        skip = "" if self.skip is None else ", skip=True"
        return f"inputs={self.inputs}, width={self.width}, outputs={self.outputs}{skip}, dtype={self.w.dtype}"
