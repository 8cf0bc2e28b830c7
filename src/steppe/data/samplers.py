"""Laws of inputs in the unit ball, and label noise. No sampler has a default seed."""

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import check_integer, check_number, generator


def _sizes(n: int, d: int) -> tuple[int, int]:
    return check_integer("n", n, minimum=1), check_integer("d", d, minimum=1)


def _directions(rng: torch.Generator, *shape: int) -> Tensor:
    """Uniform unit vectors along the last axis."""
    gaussian = torch.randn(*shape, generator=rng, dtype=torch.float64)
    return gaussian / gaussian.norm(dim=-1, keepdim=True)


def _ball(rng: torch.Generator, n: int, d: int) -> Tensor:
    radius = torch.rand(n, 1, generator=rng, dtype=torch.float64) ** (1 / d)
    return radius * _directions(rng, n, d)


def uniform_ball(n: int, d: int, *, seed: int) -> Float[Tensor, "n d"]:
    """Independent points, uniform in the unit ball of R^d.

    The radius has law P(‖X‖ ≤ ρ) = ρ^d, E‖X‖² = d/(d + 2) and the covariance is I/(d + 2).

    Args:
        n: Number of samples ≥ 1.
        d: Dimension ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: n or d is below one, or the seed negative.

    Example:
        >>> uniform_ball(3, 2, seed=0).shape
        torch.Size([3, 2])
    """
    n, d = _sizes(n, d)
    return _ball(generator("data.uniform_ball", seed), n, d)


def uniform_sphere(n: int, d: int, *, seed: int) -> Float[Tensor, "n d"]:
    """Independent points, uniform on the unit sphere of R^d ({−1, 1} for d = 1). Covariance I/d.

    Args:
        n: Number of samples ≥ 1.
        d: Dimension ≥ 1.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: n or d is below one, or the seed negative.
    """
    n, d = _sizes(n, d)
    return _directions(generator("data.uniform_sphere", seed), n, d)


def radial(n: int, d: int, *, alpha: float | int, seed: int) -> Float[Tensor, "n d"]:
    """Independent points of the isotropic radial family, whose outer shell has mass P(‖X‖ > 1 − δ) = δ^α.

    X = h(R) U with R uniform in [0, 1], U uniform on the sphere and h(r) = 1 − (1 − r)^(1/α). Large α puts the mass
    near the centre, α → 0 on the sphere. α = 1 has a uniform radius and is not the uniform ball.

    Args:
        n: Number of samples ≥ 1.
        d: Dimension ≥ 1.
        alpha: Tail exponent α > 0.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: n or d is below one, α is not positive, or the seed negative.

    Source:
        Liang, Cloninger, Parhi, Wang, Generalization Below the Edge of Stability (2026), arXiv 2510.18120.
    """
    n, d = _sizes(n, d)
    alpha = check_number("alpha", alpha, above=0)
    rng = generator("data.radial", seed)
    depth = torch.rand(n, 1, generator=rng, dtype=torch.float64) ** (1 / alpha)  # 1 − R is uniform as R is
    return (1 - depth) * _directions(rng, n, d)


def mixture_of_subspaces(
    n: int, d: int, *, pieces: int, dim: int, seed: int, subspace_seed: int | None = None
) -> Float[Tensor, "n d"]:
    """Independent points of a mixture, with equal weights, of unit balls of random linear subspaces of R^d.

    Each of the `pieces` subspaces is uniform among those of dimension `dim`; within one the law is uniform in its unit
    ball. `dim=1` is a union of lines through the origin.

    Args:
        n: Number of samples ≥ 1.
        d: Ambient dimension ≥ 1.
        pieces: Number of subspaces ≥ 1.
        dim: Their dimension, 1 ≤ dim ≤ d.
        seed: Any integer ≥ 0.
        subspace_seed: Seed of the subspaces, `seed` if None. Held-out points of the same mixture have another `seed`
            and the same `subspace_seed`.

    Raises:
        ParameterError: A number is out of range.

    Source:
        Liang, Cloninger, Parhi, Wang, Generalization Below the Edge of Stability (2026), arXiv 2510.18120.
    """
    n, d = _sizes(n, d)
    pieces = check_integer("pieces", pieces, minimum=1)
    dim = check_integer("dim", dim, minimum=1, maximum=d)
    subspaces = generator("data.mixture_of_subspaces.bases", seed if subspace_seed is None else subspace_seed)
    bases = torch.linalg.qr(torch.randn(pieces, d, dim, generator=subspaces, dtype=torch.float64)).Q
    rng = generator("data.mixture_of_subspaces", seed)
    piece = torch.randint(pieces, (n,), generator=rng)
    return torch.einsum("ndm,nm->nd", bases[piece], _ball(rng, n, dim))


def noise(shape: int | tuple[int, ...], *, sigma: float | int, seed: int) -> Float[Tensor, "..."]:
    """Independent Gaussian noise N(0, σ²).

    Args:
        shape: n for a column [n, 1] that can be added to targets, or any shape.
        sigma: Standard deviation σ ≥ 0.
        seed: Any integer ≥ 0.

    Raises:
        ParameterError: A size is below one, σ or the seed negative.
    """
    sizes = shape if isinstance(shape, tuple | list) else (shape, 1)
    sizes = tuple(check_integer("shape", size, minimum=1) for size in sizes)
    sigma = check_number("sigma", sigma, minimum=0)
    return sigma * torch.randn(*sizes, generator=generator("data.noise", seed), dtype=torch.float64)
