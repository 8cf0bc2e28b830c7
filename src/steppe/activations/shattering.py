"""How many samples activate each neuron, and what that neuron weighs: the shattering of a network by its data."""

from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steppe.core import KindError, check_choice, check_number
from steppe.networks import ShallowReLU
from steppe.plotting import Axis, Figure, Panel, Scatter

from .weights import HalfSpaceMoments, half_space_moments

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def activation_fraction(network: ShallowReLU, x: Float[Tensor, "n d"]) -> Float[Tensor, " m"]:
    """The fraction of samples with w_kᵀx > b_k, strictly, for every neuron; float64, exact.

    Invariant under rescaling (w, b, v) → (cw, cb, v/c). Cost O(nmd).

    Args:
        network: A shallow ReLU network; float32 weights are taken exactly into float64.
        x: Inputs.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
    """
    return _moments(network, x)[0].fraction


def live_fraction(network: ShallowReLU, x: Float[Tensor, "n d"]) -> float:
    """The fraction of neurons that at least one sample activates.

    Args:
        network: A shallow ReLU network.
        x: Inputs.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
    """
    return float((activation_fraction(network, x) > 0).double().mean())


@dataclass(frozen=True, eq=False)
class Shattering:
    """One row per neuron: on which part of the data it is active and how large it is. Prints a summary.

    Args:
        fraction: Fraction of samples that activate it.
        input_norm: ‖w_k‖.
        output_norm: ‖v_k‖.
        path_norm: ‖v_k‖ ‖w_k‖, invariant under rescaling.
        threshold: t_k = b_k/‖w_k‖, the signed distance of its hyperplane from the origin; a neuron with w_k = 0 is
            constant and has −∞ if it is active, +∞ if not.
        weight_active: g̃(u_k, t_k), the side on which it is active; 0 if w_k = 0.
        weight_inactive: g̃(−u_k, −t_k), the other side; 0 if w_k = 0.
        samples: Number of samples n.
    """

    fraction: Float[Tensor, " m"]
    input_norm: Float[Tensor, " m"]
    output_norm: Float[Tensor, " m"]
    path_norm: Float[Tensor, " m"]
    threshold: Float[Tensor, " m"]
    weight_active: Float[Tensor, " m"]
    weight_inactive: Float[Tensor, " m"]
    samples: int

    @property
    def weight(self) -> Float[Tensor, " m"]:
        """g(u_k, t_k), the smaller of the two sides."""
        return torch.minimum(self.weight_active, self.weight_inactive)

    @property
    def live(self) -> Bool[Tensor, " m"]:
        """Whether at least one sample activates the neuron."""
        return self.fraction > 0

    @property
    def live_fraction(self) -> float:
        """Fraction of neurons that are live."""
        return float(self.live.double().mean())

    def rare_fraction(self, at_most: float = 0.1) -> float:
        """Among the live neurons, the fraction that is active on at most this fraction of the samples.

        Args:
            at_most: A fraction in [0, 1].

        Returns:
            The fraction; 0 if no neuron is live.
        """
        check_number("at_most", at_most, minimum=0.0, maximum=1.0)
        live = self.fraction[self.live]
        return float((live <= at_most).double().mean()) if len(live) else 0.0

    @property
    def columns(self) -> dict[str, Float[Tensor, " m"]]:
        """Every column by name, g included."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "samples"}
        return {**named, "weight": self.weight}

    def to_dict(self) -> dict[str, list[float]]:
        """Every column as a plain list, ready for a data frame."""
        return {name: column.tolist() for name, column in self.columns.items()}

    def quantiles(self, column: str) -> list[float]:
        """The 5, 25, 50, 75, 95 and 100 % quantiles of a column over the live neurons; empty if none is live.

        Args:
            column: A name of `columns`.
        """
        values = self.columns[column][self.live & (self.input_norm > 0)]
        return torch.quantile(values, values.new_tensor(_QUANTILES)).tolist() if len(values) else []

    def plot(self, *, norm: Literal["path_norm", "input_norm", "output_norm"] = "path_norm") -> Figure:
        """One point per live neuron: its norm against the fraction of samples that activate it.

        A shattered network fills the left edge far up; neurons that no sample activates are counted in the caption.

        Args:
            norm: Which norm, ‖v‖‖w‖ if not given.

        Returns:
            A figure, which saves itself with `.save("shattering.pdf")`.

        Raises:
            UnknownNameError: It is none of the three norms.
        """
        check_choice("norm", norm, list(_NORMS))
        shown = (self.live & (self.input_norm > 0)).nonzero()[:, 0]
        points = Scatter(
            "neurons",
            self.fraction[shown].tolist(),
            self.columns[norm][shown].tolist(),
            hover=[f"neuron {k}" for k in shown.tolist()],
        )
        axes = Axis("fraction of samples that activate the neuron", range=(0.0, 1.0)), Axis(_NORMS[norm])
        caption = (
            f"{len(shown)} live neurons; {len(self) - len(shown)} that are active nowhere, or constant, are not drawn."
        )
        panel = Panel("", *axes, [points])
        title = f"{self.rare_fraction():.0%} of the live neurons are active on at most 10% of the samples"
        return Figure("shattering", title, [panel], caption=caption, columns=1)

    def __len__(self) -> int:
        return len(self.fraction)

    def __str__(self) -> str:
        head = f"{len(self)} neurons on {self.samples} samples: {self.live_fraction:.1%} live"
        if not self.live.any():
            return f"{head}; no sample activates any neuron"
        lines = [
            f"{head}; of the live ones {self.rare_fraction():.1%} are active on at most 10% of the samples",
            f"Σ|v|‖w‖ = {float(self.path_norm.sum()):.6g}, "
            f"Σ|v|‖w‖g = {float((self.path_norm * self.weight).sum()):.6g}",
            " " * 22 + "".join(f"{f'{q:.0%}':>11}" for q in _QUANTILES),
        ]
        for name, label in _LABELS.items():
            lines.append(f"{label:<22}" + "".join(f"{value:>11.4g}" for value in self.quantiles(name)))
        return "\n".join(lines)

    __repr__ = __str__


_NORMS = {"path_norm": "‖v‖ ‖w‖", "input_norm": "‖w‖", "output_norm": "‖v‖"}
_LABELS = {
    "fraction": "activation fraction",
    "path_norm": "|v|‖w‖",
    "threshold": "threshold t",
    "weight": "weight g",
}


def shattering(network: ShallowReLU, x: Float[Tensor, "n d"]) -> Shattering:
    """Activation fraction, norms, threshold and weight of every neuron of a shallow network, in float64.

    A network is *shattered* by its data if most live neurons are active on few samples while their norms are large:
    there the weight g is small, and flatness does not see them. Everything but the two single norms is invariant under
    rescaling. Cost O(nmd). Source: Liang et al. (NeurIPS 2025), Section 4 and Figure 3.

    Args:
        network: A shallow ReLU network, any number of outputs.
        x: Inputs.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
    """
    active, inactive = _moments(network, x)
    w, b, v = (p.detach().double() for p in (network.w, network.b, network.v))
    norm, size = torch.linalg.vector_norm(w, dim=1), torch.linalg.vector_norm(v, dim=0)
    proper = norm > 0
    divisor = torch.where(proper, norm, 1.0)
    constant = torch.where(b < 0, -torch.inf, torch.inf)

    def per_unit(side: HalfSpaceMoments) -> Tensor:
        return torch.where(proper, side.weight / divisor, 0.0)

    return Shattering(
        fraction=active.fraction,
        input_norm=norm,
        output_norm=size,
        path_norm=norm * size,
        threshold=torch.where(proper, b / divisor, constant),
        weight_active=per_unit(active),
        weight_inactive=per_unit(inactive),
        samples=len(x),
    )


def _moments(network: Any, x: Tensor) -> tuple[HalfSpaceMoments, HalfSpaceMoments]:
    if not isinstance(network, ShallowReLU):
        raise KindError(
            f"`network` must be a ShallowReLU, got {type(network).__name__}; "
            "convert nn.Sequential(Linear, ReLU, Linear) with ShallowReLU.from_sequential"
        )
    network.check(x)
    return half_space_moments(x, network.w, network.b)
