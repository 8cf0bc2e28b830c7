"""Sharpness of a shallow network when samples lie on its activation hyperplanes: one Hessian per activation mode."""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    Estimate,
    KindError,
    ParameterError,
    SquaredLoss,
    check_integer,
    check_number,
    check_same_place,
    check_targets,
)
from steppe.networks import ShallowReLU

_SOURCE = "Mulayoff, Michaeli, Soudry (NeurIPS 2021), switching systems"


@dataclass(frozen=True, eq=False)
class SwitchingSharpness:
    """The sharpness of every activation mode around a point where the loss is not twice differentiable.

    Args:
        sharpness: Largest eigenvalue of the Hessian of each of the 2^r modes.
        pairs: The r pairs (sample, neuron) with the sample on the neuron's hyperplane.
    """

    sharpness: Float[Tensor, " modes"]
    pairs: tuple[tuple[int, int], ...]

    @property
    def largest(self) -> Estimate:
        """The largest over all modes; without a sample on a hyperplane the sharpness."""
        return Estimate(
            value=float(self.sharpness.max()),
            backend="dense, every mode",
            convention=f"{SquaredLoss().convention}; {len(self.sharpness)} activation modes",
            source=_SOURCE,
            quantity="largest sharpness of a mode",
        )

    def stable(self, step_size: float) -> bool:
        """Whether every mode has λ_max ≤ 2/η: sufficient for gradient descent to be stable at a minimum.

        Args:
            step_size: η > 0.

        Raises:
            ParameterError: The step is not positive.
        """
        return self.largest.value <= 2 / check_number("step_size", step_size, above=0.0)


def switching_sharpness(
    network: ShallowReLU,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n k"],
    *,
    tolerance: float = 1e-12,
    max_pairs: int = 12,
) -> SwitchingSharpness:
    """The sharpness of the squared loss (1/2n) Σ ‖f(x_i) − y_i‖² in all activation modes, exactly.

    A pair (sample, neuron) with |w_kᵀx_i − b_k| ≤ tolerance · (‖w_k‖ ‖x_i‖ + |b_k|) may be active or not close to the
    point; with r such pairs there are 2^r modes, not all of which a neighbour need have. Source: Mulayoff, Michaeli,
    Soudry (NeurIPS 2021); there for one input.

    Args:
        network: A shallow ReLU network.
        x: Inputs.
        y: Targets.
        tolerance: What counts as lying on the hyperplane.
        max_pairs: Most pairs that are enumerated.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: The data do not fit it.
        ParameterError: There are more pairs than `max_pairs`.

    Cost: 2^r dense symmetric p × p eigenvalue problems.
    """
    if not isinstance(network, ShallowReLU):
        raise KindError(f"`network` must be a ShallowReLU, got {type(network).__name__}; only it has these modes")
    network.check(x)
    check_targets(y, (len(x), network.outputs))
    check_same_place(network, y, names=("y",))
    limit = check_integer("max_pairs", max_pairs, minimum=0, maximum=20)
    exact, data, targets = network.copy(dtype=torch.float64).cpu(), x.detach().double().cpu(), y.detach().double().cpu()
    with torch.no_grad():
        z = exact.preactivations(data)
        norms = torch.linalg.vector_norm(exact.w, dim=1), torch.linalg.vector_norm(data, dim=1)
        scale = norms[1][:, None] * norms[0] + exact.b.abs()
        on = (z.abs() <= check_number("tolerance", tolerance, minimum=0.0) * scale).nonzero().tolist()
        if len(on) > limit:
            raise ParameterError(
                f"`max_pairs` must be at least the number of samples on hyperplanes, {len(on)}, got {limit}; 2^r modes "
                "are enumerated: raise it, or move the knots"
            )
        found = []
        for mode in itertools.product([False, True], repeat=len(on)):
            mask = z > 0
            for (sample, neuron), active in zip(on, mode, strict=True):
                mask[sample, neuron] = active
            found.append(torch.linalg.eigvalsh(_hessian(exact, data, targets, mask, z))[-1])
    return SwitchingSharpness(torch.stack(found), tuple((sample, neuron) for sample, neuron in on))


def _hessian(network: ShallowReLU, x: Tensor, y: Tensor, mask: Tensor, z: Tensor) -> Tensor:
    """The Hessian if every neuron were linear on the samples of its mask; parameters grouped (w, b) | v | rest."""
    n, k = y.shape
    d, ones = mask.double(), torch.ones_like(z[:, :1])
    inputs = torch.cat([x, -ones], dim=1)  # derivative of the preactivation in (w, b)
    m, e = network.width, inputs.shape[1]
    hidden, affine = d * z, ones if network.skip is None else torch.cat([ones, x], dim=1)
    residual = network(x) - y
    total: Tensor | float = 0.0
    cross = torch.zeros(m, e, k, m, dtype=z.dtype)
    for a in range(k):
        first = ((network.v[a] * d)[:, :, None] * inputs[:, None, :]).reshape(n, m * e)
        selected = torch.zeros(k, dtype=z.dtype)
        selected[a] = 1.0
        rest = [torch.kron(selected, block) for block in (hidden, affine)]
        jacobian = torch.cat([first, *rest], dim=1)
        total = total + jacobian.T @ jacobian / n
        each = torch.arange(m)
        cross[each, :, a, each] = (d * residual[:, a : a + 1]).T @ inputs / n
    assert isinstance(total, Tensor)
    total[: m * e, m * e : m * e + k * m] += cross.reshape(m * e, k * m)
    total[m * e : m * e + k * m, : m * e] += cross.reshape(m * e, k * m).T
    return total
