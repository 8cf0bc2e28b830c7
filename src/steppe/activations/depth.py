"""Half-space (Tukey) depth: how deep a point lies in the data, the geometry that decides what can be shattered."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steppe.core import ShapeError, check_inputs, check_integer, check_same_place, generator

_T = TypeVar("_T")
_BLOCK = 1 << 22  # numbers held at once per array
_PLANE = 1 << 17  # the same per thread, for the sweep in the plane
_DRAWN = 64  # directions per draw: the first 100 of 1000 are the 100
_SAME_ANGLE = 1e-12
_LAST = 10.0  # beyond every angle: data at the point itself


def half_space_depth(points: Float[Tensor, "q d"], x: Float[Tensor, "n d"]) -> Float[Tensor, " q"]:
    """Exact half-space depth of each point in the data, for d ≤ 2: inf_u (1/n) #{i : uᵀ(x_i − point) ≥ 0}.

    d = 1: the smaller of the two closed tails. d = 2: a sweep over the angles of x_i − point, with directions that
    differ by less than 1e-12 taken as equal. A neuron whose hyperplane passes through a point of depth T leaves at
    least the fraction T of the data on each closed side.

    Args:
        points: Where to evaluate.
        x: The data.

    Raises:
        ShapeError: d > 2; use `half_space_depth_bound`.
        DtypeError: Points and data differ in dtype.

    Cost: O((n + q) log n) in one dimension, O(q n log n) in the plane: some seconds for 10⁴ points in 10⁴ data.
    """
    _check(points, x)
    if x.shape[1] > 2:
        raise ShapeError(
            f"`x` must have 1 or 2 columns for the exact depth, got {x.shape[1]}; "
            "use half_space_depth_bound, which searches random directions"
        )
    q, data = points.detach().double().cpu().numpy(), x.detach().double().cpu().numpy()
    depth = _line(q[:, 0], data[:, 0]) if x.shape[1] == 1 else _plane(q, data)
    return torch.from_numpy(depth.reshape(len(q)).astype(np.float64)).to(points.device)


def half_space_depth_bound(
    points: Float[Tensor, "q d"],
    x: Float[Tensor, "n d"],
    *,
    directions: int | Float[Tensor, "k d"] = 1000,
    seed: int = 0,
) -> Float[Tensor, " q"]:
    """An upper bound on the half-space depth: the least closed half-space among random directions and their opposites.

    Exact for its directions; projections that differ by no more than rounding count as equal, so that rounding never
    makes the bound too small. A minimum over fewer half-spaces than all of them over-estimates, increasingly so in high
    dimension: compare values only at an equal number of directions. With one seed more directions never raise it.

    Args:
        points: Where to evaluate; pass `x` itself for the depth of the data in the data.
        x: The data.
        directions: Number of random directions ≥ 1, uniform on the sphere; or the directions, one per row.
        seed: Seed of the random ones.

    Raises:
        ShapeError: Points, data and directions differ in dimension.
        DtypeError: Points and data differ in dtype.

    Cost: O(directions · (n + q) (d + log(n + q))), memory of a few hundred MiB: 10⁵ points, d = 50 and 1000 directions
    take a few seconds on two cores. On CUDA tensors everything but the draw happens there.
    """
    _check(points, x)
    u = _directions(directions, seed, x)
    n, same = len(x), _same(points, x)
    # Around the mean, where rounding is least; equal rows stay equal.
    data, mean = _centered(x)
    rows = data if same else torch.cat([data, points.detach().double() - mean])
    tie = _tie(rows)
    least = rows.new_full((len(rows),), n, dtype=torch.int64)
    for some in u.split(max(_BLOCK // len(rows), 1)):
        least = torch.minimum(least, _smaller_sides(some @ rows.T, n, tie).amin(dim=0))
    return least[0 if same else n :].double() / n


def outward_depth_bound(points: Float[Tensor, "q d"], x: Float[Tensor, "n d"]) -> Float[Tensor, " q"]:
    """An upper bound on the half-space depth from one direction per point: away from the centre, S⁺(point − mean).

    S⁺ is the pseudo-inverse of the covariance, which makes the bound invariant under affine maps. For elliptical laws
    (Gaussian, uniform ball, sphere) this is the direction of the population depth, which random directions miss in high
    dimension; for other laws it may be the worse bound. Both are upper bounds: take the smaller.

    Args:
        points: Where to evaluate.
        x: The data.

    Raises:
        ShapeError: Points and data differ in dimension.
        DtypeError: Points and data differ in dtype.

    Cost: O(q n d), memory of some hundred MiB.
    """
    _check(points, x)
    data, mean = _centered(x)
    eigenvalues, vectors = torch.linalg.eigh(data.T @ data)
    kept = eigenvalues > 1e-12 * eigenvalues[-1]
    inverse = (vectors[:, kept] / eigenvalues[kept]) @ vectors[:, kept].T
    q = points.detach().double() - mean
    outward = torch.nn.functional.normalize(q @ inverse, eps=torch.finfo(q.dtype).tiny)
    tie = _tie(torch.cat([data, q]))
    parts = []
    for u, point in zip(outward.split(size := max(_BLOCK // len(x), 1)), q.split(size), strict=True):
        beyond = u @ data.T - (u * point).sum(dim=1, keepdim=True)
        parts.append(torch.minimum((beyond >= -tie).sum(dim=1), (beyond <= tie).sum(dim=1)))
    return torch.cat(parts).double() / len(x)


def _check(points: Tensor, x: Tensor) -> None:
    check_inputs(x)
    check_inputs(points, name="points", inputs=x.shape[1])
    check_same_place(x, points, names=("points",))


def _same(points: Tensor, x: Tensor) -> bool:
    return points is x or (points.shape == x.shape and torch.equal(points, x))


def _centered(x: Tensor) -> tuple[Tensor, Tensor]:
    data = x.detach().double()
    mean = data.mean(dim=0)
    return data - mean, mean


def _tie(rows: Tensor) -> float:
    """How far apart rounding may put the projections of one row on one unit vector, computed twice."""
    return 4 * math.sqrt(rows.shape[1]) * torch.finfo(rows.dtype).eps * float(rows.norm(dim=1).max())


def _directions(directions: int | Tensor, seed: int, x: Tensor) -> Tensor:
    """Unit vectors, one per row."""
    d = x.shape[1]
    if isinstance(directions, Tensor):
        check_inputs(directions, name="directions", inputs=d)
        given = directions.detach().double().to(x.device)
    else:
        count = check_integer("directions", directions, minimum=1)
        rng = generator("activations.directions", seed)
        draws = [torch.randn(_DRAWN, d, generator=rng, dtype=torch.float64) for _ in range(-(-count // _DRAWN))]
        given = torch.cat(draws)[:count].to(x.device)
    return torch.nn.functional.normalize(given, eps=torch.finfo(given.dtype).tiny)


def _smaller_sides(z: Float[Tensor, "k m"], n: int, tie: float) -> Int[Tensor, "k m"]:
    """For each projection, the number of data (the first n) in the smaller of the two closed half-lines it bounds."""
    order = _sorting(z)
    places = torch.arange(1, z.shape[1] + 1, device=z.device)
    apart = z.gather(1, order).diff(dim=1) > tie
    upto = places.expand_as(order) if n == z.shape[1] else (order < n).cumsum(dim=1)  # data among the first of the sort
    before = torch.nn.functional.pad(upto[:, :-1], (1, 0))
    if not bool(apart.all()):  # a run of equal projections: all see the data up to its end, and from its beginning
        last = torch.where(torch.nn.functional.pad(apart, (0, 1), value=True), places, z.shape[1])
        upto = upto.gather(1, last.flip(1).cummin(dim=1).values.flip(1) - 1)
        first = torch.where(torch.nn.functional.pad(apart, (1, 0), value=True), places, 1)
        before = before.gather(1, first.cummax(dim=1).values - 1)
    return torch.empty_like(order).scatter_(1, order, torch.minimum(upto, n - before))


def _sorting(z: Tensor) -> Tensor:
    """The order that sorts each row; on the CPU by NumPy, whose vectorised sort is faster than torch's."""
    if z.device.type != "cpu":
        return z.argsort(dim=1)
    order = torch.empty(z.shape, dtype=torch.int64)
    rows, places = z.numpy(), order.numpy()

    def sort(row: int) -> None:
        places[row] = np.argsort(rows[row])

    _in_threads(sort, range(len(rows)))
    return order


def _in_threads(function: Callable[[int], _T], items: range) -> list[_T]:
    """NumPy leaves the interpreter free while it sorts: as many threads as torch uses."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, items))


def _line(q: np.ndarray, x: np.ndarray) -> np.ndarray:
    z = np.sort(x)
    below, above = np.searchsorted(z, q, side="right"), len(z) - np.searchsorted(z, q, side="left")
    return np.minimum(below, above) / len(z)


def _plane(q: np.ndarray, x: np.ndarray) -> np.ndarray:
    size = max(_PLANE // len(x), 1)
    return np.concatenate(_in_threads(lambda at: _sweep(q[at : at + size], x), range(0, len(q), size)))


def _sweep(q: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The least half-plane whose boundary, turned about the point, has no datum on it but those at the point.

    A closed half-plane with more data on its boundary can be turned until it has fewer. With the angle of the boundary
    between two neighbouring angles of data, taken modulo π, an open half-plane holds #{upper} − #{upper passed} +
    #{lower passed}. Whether a datum is upper travels through the sort in the last bit of its angle.
    """
    v, w = x[:, 0] - q[:, :1], x[:, 1] - q[:, 1:]
    angle = np.arctan2(w, v)
    below, left, here = angle < 0, angle == math.pi, (v == 0) & (w == 0)
    angle = np.where(below, angle + math.pi, angle + 0.0)  # −0 becomes 0
    angle[left], angle[here] = 0.0, _LAST
    key = angle.view(np.int64)
    key &= -2
    key |= ~(below | left | here)
    angle.sort(axis=1)
    count = len(x) - here.sum(axis=1, keepdims=True)
    upper = key & 1
    inside = upper.sum(axis=1, keepdims=True) - np.cumsum(2 * upper - 1, axis=1)
    gap = np.diff(angle, axis=1, append=_LAST)
    last = np.maximum(count - 1, 0)  # the gap after the last angle is closed by the first one, half a turn on
    np.put_along_axis(gap, last, angle[:, :1] + math.pi - np.take_along_axis(angle, last, axis=1), axis=1)
    smaller = np.where(gap > _SAME_ANGLE, np.minimum(inside, count - inside), count).min(axis=1)
    return (smaller.clip(min=0) + len(x) - count[:, 0]) / len(x)
