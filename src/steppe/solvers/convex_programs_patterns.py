"""Activation patterns: which samples a neuron sees. Sampled by random hyperplanes, or all of them in low dimension."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steppe.core import ParameterError, check_integer, derived_seed

Array = NDArray[np.float64]
Masks = NDArray[np.bool_]
_BATCH = 64  # hyperplanes drawn at once; the same whatever the count, so that patterns are nested
_STALE = 50  # batches without a new pattern after which there are taken to be no more
_MOST_CELLS = 20_000
_PARALLEL = 1e-12


def activation_patterns(
    z: Array, patterns: int | Literal["all"], *, seed: int = 0, bias: Literal["free", "penalized"] = "penalized"
) -> Masks:
    """Distinct activation patterns 1[Z g > 0] with at least one active sample.

    Args:
        z: Inputs with their last column −1 [n, D].
        patterns: How many, drawn by random hyperplanes; or `"all"` of them, for D ≤ 3. A smaller number gives the
            first patterns of a larger one.
        seed: Seed of the hyperplanes.
        bias: `"penalized"`: g is Gaussian in all D coordinates. `"free"`: its direction is Gaussian and its threshold
            falls between two neighbouring samples along that direction, each gap as likely as the others.

    Returns:
        Masks [n, P], one column each; fewer than asked for if 3200 hyperplanes in a row gave no new one.

    Raises:
        ParameterError: `patterns` is below one, or all are wanted where there are too many.
        KindError: `patterns` is neither an integer nor "all".
    """
    if patterns == "all":
        return all_patterns(z)
    count = check_integer("patterns", patterns, minimum=1)
    rng = np.random.default_rng(derived_seed("solvers.patterns", seed))
    found: dict[bytes, Array] = {}
    stale = 0
    while stale < _STALE:
        before = len(found)
        normals = rng.standard_normal((_BATCH, z.shape[1]))
        masks = _free_masks(z, normals, rng) if bias == "free" else z @ normals.T > 0
        for mask in masks.T:
            if mask.any():
                found.setdefault(np.packbits(mask).tobytes(), mask)
            if len(found) == count:
                return np.stack(list(found.values()), axis=1)
        stale = stale + 1 if len(found) == before else 0
    if not found:
        return np.ones((len(z), 1), dtype=bool)
    return np.stack(list(found.values()), axis=1)


def _free_masks(z: Array, normals: Array, rng: np.random.Generator) -> Masks:
    """Half-spaces whose threshold is equally likely to lie in each gap between samples."""
    along = z[:, :-1] @ normals[:, :-1].T
    least = np.take_along_axis(np.sort(along, axis=0), rng.integers(len(z), size=(1, len(normals))), axis=0)
    return along >= least


def all_patterns(z: Array) -> Masks:
    """Every activation pattern of a full-dimensional cone of directions, for D ≤ 3.

    In three dimensions each cone has an arc of some great circle z_iᵀg = 0 on its boundary, so the middles of all arcs
    and the two sides of each find every cone, in O(n²) arcs of O(n) work.

    Raises:
        ParameterError: D is above three, or there are more than 20 000 arcs.
    """
    n, size = z.shape
    if size > 3 or (size == 3 and 4 * n * n > _MOST_CELLS):
        raise ParameterError(
            f"`patterns` must be a number for n = {n} samples in {size - 1} dimensions, got 'all', which serves one "
            f"dimension, and two up to {int((_MOST_CELLS / 4) ** 0.5)} samples; pass patterns=100"
        )
    normals = z[np.linalg.norm(z, axis=1) > 0]
    found = [_both_sides(z, normal, middle) for normal in normals for middle in _middles(normals, normal)]
    masks = np.unique(np.concatenate(found), axis=0)
    return masks[masks.any(axis=1)].T


def _both_sides(z: Array, normal: Array, middle: Array) -> Masks:
    """The patterns on the two sides of the hyperplane with this normal, next to a point on it [2, n]."""
    values = z @ middle
    on = np.abs(values) <= _PARALLEL * np.linalg.norm(z, axis=1)
    side = z @ normal
    return np.stack([np.where(on, sign * side > 0, values > 0) for sign in (1, -1)])


def _middles(normals: Array, normal: Array) -> list[Array]:
    """A unit vector in every face of the other hyperplanes within the hyperplane of `normal`."""
    if len(normal) == 1:
        return [np.zeros(1)]
    basis = np.linalg.svd(normal[None, :])[2][1:]  # orthonormal, orthogonal to the normal
    if len(normal) == 2:
        return [basis[0], -basis[0]]
    flat = normals @ basis.T
    lengths = np.linalg.norm(flat, axis=1)
    flat = flat[lengths > 1e-9 * np.linalg.norm(normals, axis=1)]
    angles = np.arctan2(flat[:, 1], flat[:, 0])
    breaks = np.unique(np.mod(np.concatenate([angles + np.pi / 2, angles - np.pi / 2]), 2 * np.pi))
    if not len(breaks):
        return [basis[0]]
    ends = np.append(breaks[1:], breaks[0] + 2 * np.pi)
    middle = (breaks + ends) / 2
    return list(np.stack([np.cos(middle), np.sin(middle)], axis=1) @ basis)
