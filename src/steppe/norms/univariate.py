"""A network of one input as what it is: a linear spline with knots and jumps of slope."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.activations import activation_weight_profile
from steppe.core import ShapeError, check_inputs, check_number
from steppe.networks import ShallowReLU

from .canonical import canonicalize, check_network


@dataclass(frozen=True, eq=False)
class LinearSpline:
    """f(x) = intercept + slope · x + Σ_j jumps_j φ(x − knots_j), float64; f'' is the measure Σ_j jumps_j δ(knots_j).

    Args:
        knots: Where the slope changes, ascending, all different.
        jumps: By how much, none zero.
        slope: Slope left of all knots.
        intercept: Value at 0 of the line left of all knots.
    """

    knots: Float[Tensor, " q"]
    jumps: Float[Tensor, " q"]
    slope: float
    intercept: float

    def __call__(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """f(x)."""
        return self.intercept + self.slope * x + (x[:, None] - self.knots).clamp(min=0) @ self.jumps

    def inside(self, x: Float[Tensor, "n 1"]) -> "LinearSpline":
        """The same function between the smallest and the largest sample, with the knots strictly between them only."""
        low, high = (float(end) for end in check_inputs(x, inputs=1).detach().double().aminmax())
        left, kept = self.knots <= low, (self.knots > low) & (self.knots < high)
        return LinearSpline(
            knots=self.knots[kept],
            jumps=self.jumps[kept],
            slope=self.slope + float(self.jumps[left].sum()),
            intercept=self.intercept - float(self.jumps[left] @ self.knots[left]),
        )

    @property
    def variation(self) -> float:
        """∫|f''| = Σ |jump|, the total variation of the slope."""
        return float(self.jumps.abs().sum())

    def weights(self, x: Float[Tensor, "n 1"]) -> Float[Tensor, " q"]:
        """The weight g of the data at every knot: 0 outside of them, and at samples as the strict inequality says."""
        data = check_inputs(x, inputs=1).detach().double()
        return activation_weight_profile(data, data.new_ones(1), self.knots)

    def weighted_variation(self, x: Float[Tensor, "n 1"]) -> float:
        """∫|f''| g = Σ |jump| g(knot), the left side of the theorems; equal to `weighted_variation_norm`."""
        return float(self.jumps.abs() @ self.weights(x))

    def effective_knots(self, x: Float[Tensor, "n 1"], *, share: float = 0.95) -> int:
        """The least number of knots between the samples that carry this share of ∫|f''| there.

        Args:
            x: The samples.
            share: In (0, 1].

        Raises:
            ParameterError: The share is out of range.
        """
        part = check_number("share", share, above=0.0, maximum=1.0)
        sizes = self.inside(x).jumps.abs().sort(descending=True).values
        if not len(sizes):
            return 0
        reached = sizes.cumsum(0) >= part * sizes.sum() * (1 - 1e-12)
        return int(reached.double().argmax()) + 1


def univariate_knots(network: ShallowReLU, *, tolerance: float = 1e-12) -> LinearSpline:
    """The knots b_k/w_k of a network of one input and their jumps |w_k| v_k, each knot once.

    Neurons of one knot merge whatever their orientation: their jumps add, and a knot whose jumps cancel goes. With
    tolerance 0 knots merge only where b_k/w_k are the same float64 number.

    Args:
        network: With one input and one output; a skip connection is allowed.
        tolerance: Of `canonicalize`: what counts as one knot, relative to max(1, |knot|).

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: It has several inputs or outputs.

    Example:
        >>> hat = ShallowReLU.from_weights([[2.0], [-1.0]], [1.0, -0.5], [3.0, 1.0])  # both neurons kink at ½
        >>> spline = univariate_knots(hat)
        >>> spline.knots.tolist(), spline.jumps.tolist(), spline.slope
        ([0.5], [7.0], -1.0)
    """
    check_network(network)
    if (network.inputs, network.outputs) != (1, 1):
        raise ShapeError(
            f"`network` must have one input and one output, got {network.inputs} and {network.outputs}; in several "
            "dimensions use canonicalize and weighted_variation_norm"
        )
    form = canonicalize(network, tolerance=tolerance)
    w, b, v = form.w.detach()[:, 0], form.b.detach(), form.v.detach()[0]
    knots, order = torch.sort(b[w != 0])
    assert form.skip is not None  # the canonical form has one
    return LinearSpline(knots, v[w != 0][order], float(form.skip.detach()), float(form.output_bias.detach()))
