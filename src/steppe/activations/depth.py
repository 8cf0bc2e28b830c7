"""Half-space (Tukey) depth: how deep a point lies in the data, the geometry that decides what can be shattered."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import ShapeError, check_inputs, check_integer, check_same_place, generator


def half_space_depth(points: Float[Tensor, "q d"], x: Float[Tensor, "n d"]) -> Float[Tensor, " q"]:
    """Exact half-space depth of each point in the data, for d ≤ 2: inf_u (1/n) #{i : uᵀ(x_i − point) ≥ 0}.

    d = 1: the smaller of the two closed tails. d = 2: a sweep over the angles of x_i − point, O(n log n) per point,
    with directions that differ by less than 1e-12 taken as equal. A neuron whose hyperplane passes through a point of
    depth T leaves at least the fraction T of the data on each closed side.

    Args:
        points: Where to evaluate.
        x: The data.

    Raises:
        ShapeError: d > 2; use `half_space_depth_bound`.
        DtypeError: Points and data differ in dtype.
    """
    _check(points, x)
    if x.shape[1] > 2:
        raise ShapeError(
            f"`x` must have 1 or 2 columns for the exact depth, got {x.shape[1]}; "
            "use half_space_depth_bound, which searches random directions"
        )
    q, data = points.detach().double().cpu().numpy(), x.detach().double().cpu().numpy()
    depth = _line(q[:, 0], data[:, 0]) if x.shape[1] == 1 else np.array([_plane(point, data) for point in q])
    return torch.from_numpy(depth.reshape(len(q)).astype(np.float64)).to(points.device)


def half_space_depth_bound(
    points: Float[Tensor, "q d"], x: Float[Tensor, "n d"], *, directions: int = 1000, seed: int = 0
) -> Float[Tensor, " q"]:
    """An upper bound on the half-space depth: the least closed half-space among random directions and their opposites.

    A minimum over fewer half-spaces than all of them over-estimates, increasingly so in high dimension: compare values
    only at an equal number of directions. Cost O(directions · (nd + (n + q) log n)).

    Args:
        points: Where to evaluate.
        x: The data.
        directions: Number of random directions ≥ 1.
        seed: Seed of the directions.

    Raises:
        ShapeError: Points and data differ in dimension.
        DtypeError: Points and data differ in dtype.
    """
    _check(points, x)
    check_integer("directions", directions, minimum=1)
    rng = generator("activations.directions", seed)
    q, data = points.detach().double(), x.detach().double()
    n, d = data.shape
    depth = q.new_ones(len(q))
    for _ in range(directions):
        u = torch.randn(d, generator=rng, dtype=torch.float64).to(q.device)
        z, at = torch.sort(data @ u).values, q @ u
        below = torch.searchsorted(z, at, right=True)  # uᵀx ≤ uᵀq
        above = n - torch.searchsorted(z, at)  # uᵀx ≥ uᵀq
        depth = torch.minimum(depth, torch.minimum(below, above).double() / n)
    return depth


def _check(points: Tensor, x: Tensor) -> None:
    check_inputs(x)
    check_inputs(points, name="points", inputs=x.shape[1])
    check_same_place(x, points, names=("points",))


def _line(q: np.ndarray, x: np.ndarray) -> np.ndarray:
    z = np.sort(x)
    below, above = np.searchsorted(z, q, side="right"), len(z) - np.searchsorted(z, q, side="left")
    return np.minimum(below, above) / len(z)


def _plane(point: np.ndarray, x: np.ndarray) -> float:
    """1 − the largest fraction in an open half-plane: the most angles in a half-open arc [a, a + π)."""
    v = x - point
    v = v[(v != 0).any(axis=1)]
    if len(v) == 0:
        return 1.0
    angles = np.sort(np.arctan2(v[:, 1], v[:, 0]))
    twice = np.concatenate([angles, angles + 2 * math.pi])
    in_arc = np.searchsorted(twice, angles + math.pi - 1e-12) - np.arange(len(angles))
    return float(1 - in_arc.max() / len(x))
