"""Clean targets: networks, callables x [n, d] -> [n, 1] in float64 whose parameters do not ask for gradients."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import DataError, check_inputs, check_integer, generator
from steppe.networks import ShallowReLU


def _unit_vectors(rng: torch.Generator, count: int, d: int) -> Tensor:
    gaussian = torch.randn(count, d, generator=rng, dtype=torch.float64)
    return gaussian / gaussian.norm(dim=1, keepdim=True)


def _linear(u: Tensor) -> ShallowReLU:
    """uᵀx as a network: one neuron of weight zero, and a skip connection."""
    d = u.numel()
    network = ShallowReLU.from_weights(u.new_zeros(1, d), u.new_zeros(1), u.new_zeros(1, 1), skip=u.reshape(1, d))
    return network.requires_grad_(requires_grad=False)


def unit_linear_teacher(d: int, *, seed: int) -> ShallowReLU:
    """f(x) = uᵀx with u uniform on the unit sphere: a shallow network whose only live part is its skip connection.

    Its variance on the uniform ball is 1/(d + 2).

    Args:
        d: Dimension ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: d is below one, or the seed negative.
    """
    d = check_integer("d", d, minimum=1)
    return _linear(_unit_vectors(generator("data.teacher.unit_linear", seed), 1, d)[0])


def linear_teacher_on(x: Float[Tensor, "n d"], *, seed: int) -> ShallowReLU:
    """The unit linear teacher, scaled so that its variance over the given inputs is 1/(d + 2).

    Real inputs scaled into the unit ball by their longest row lie mostly near the centre, where a unit linear function
    is nearly constant and any noise drowns it. With this scale the ratio of signal to noise is that of the unit
    linear teacher on the uniform ball, so that errors on real and on uniform inputs can be compared. (Our choice.)

    Args:
        x: Inputs, n ≥ 2.
        seed: Any integer ≥ 0; the direction is that of `unit_linear_teacher(d, seed=seed)`.

    Raises:
        DataError: Fewer than two samples, or the teacher is constant on them.
    """
    check_inputs(x, minimum=2)
    d = x.shape[1]
    teacher = unit_linear_teacher(d, seed=seed)
    assert teacher.skip is not None
    deviation = float((x.double() @ teacher.skip[0]).std(correction=0))
    if deviation < 1e-12:
        raise DataError(
            f"`x` must vary along the teacher's direction, got standard deviation {deviation:.2g}; pass other x"
        )
    return _linear(teacher.skip[0] / (deviation * math.sqrt(d + 2)))


def ridge_teacher(d: int, *, seed: int) -> ShallowReLU:
    """f(x) = φ(uᵀx − t) with u uniform on the sphere and t uniform in [−1/2, 1/2]: `ridges_teacher` with one ridge.

    Args:
        d: Dimension ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: d is below one, or the seed negative.
    """
    return ridges_teacher(d, 1, seed=seed)


def ridges_teacher(d: int, count: int, *, seed: int) -> ShallowReLU:
    """f(x) = count^(−1/2) Σ_j s_j φ(u_jᵀx − t_j), u_j uniform on the sphere, t_j uniform in [−1/2, 1/2], s_j = ±1.

    The first sign is +1. The variation norm on the unit ball is √count (almost surely).

    Args:
        d: Dimension ≥ 1.
        count: Number of ridges ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: A size is below one, or the seed negative.
    """
    d, count = check_integer("d", d, minimum=1), check_integer("count", count, minimum=1)
    rng = generator("data.teacher.ridges", seed)
    u = _unit_vectors(rng, count, d)
    t = torch.rand(count, generator=rng, dtype=torch.float64) - 0.5
    signs = 2.0 * torch.randint(2, (count,), generator=rng).double() - 1
    signs[0] = 1
    return ShallowReLU.from_weights(u, t, signs / math.sqrt(count)).requires_grad_(requires_grad=False)


class HoelderTeacher(nn.Module):
    """f(x) = (1/m) Σ_j |u_jᵀx|^(1/2) + 1 for the rows u_j of `directions`: Hölder continuous of order 1/2.

    Args:
        directions: Unit vectors [m, d].
    """

    directions: Float[Tensor, "m d"]

    def __init__(self, directions: Float[Tensor, "m d"]) -> None:
        super().__init__()
        self.register_buffer("directions", directions.clone())

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
        """f(x)."""
        check_inputs(x, inputs=self.directions.shape[1])
        return (x @ self.directions.T).abs().sqrt().mean(dim=1, keepdim=True) + 1


def hoelder_teacher(d: int, *, seed: int) -> HoelderTeacher:
    """The Hölder-1/2 target (1/d) Σ_{j≤d} |u_jᵀx|^(1/2) + 1 with u_j uniform on the sphere.

    Args:
        d: Dimension ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: d is below one, or the seed negative.

    Source:
        Liang, Qiao, Wang, Parhi, Stable Minima … Neural Shattering (2025), arXiv 2506.20779, figures 13-15.
    """
    d = check_integer("d", d, minimum=1)
    return HoelderTeacher(_unit_vectors(generator("data.teacher.hoelder", seed), d, d))
