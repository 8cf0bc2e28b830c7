"""How deep the patches of images lie, scheme by scheme: one call for a folder, a file or an array of images."""

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steppe.activations import concentration_curve, depth_area, half_space_depth_bound
from steppe.core import InputError, ParameterError, check_choice, check_integer, generator, refuse_unknown_keywords
from steppe.data import Images, images_from_array, read_images
from steppe.networks import PATCH_SCHEMES, patch_indices

from .patch_geometry_report import LEVELS, PatchGeometry, SchemeGeometry

_SCHEMES = ("convolution", "shuffled", "full")
_KNOWN = [
    "size", "stride", "schemes", "directions", "references", "queries",
    "tile", "shrink", "crop", "color", "limit", "seed",
]  # fmt: skip
_NUMBERS = 30_000_000  # of patches that are held at once: 240 MB
_EXAMPLES = 9  # patches drawn in the picture of a scheme
_SHOWN = 12  # patches in the pictures of the shallowest and the deepest


def patch_geometry(
    source: Any,
    *,
    size: int = 4,
    stride: int = 2,
    schemes: str | Sequence[str] = _SCHEMES,
    directions: int = 512,
    references: int = 20_000,
    queries: int = 2000,
    tile: int | None = 32,
    shrink: int = 1,
    crop: int | None = None,
    color: Literal["rgb", "grey"] = "rgb",
    limit: int = 20_000,
    seed: int = 0,
    **unknown: Any,
) -> PatchGeometry:
    """How deep the patches of images lie, and how few directions they vary in, for each way of taking patches.

    A flat network pays for a neuron by the data on its smaller side. A network with local, shared filters sees patches
    instead of images; where patches lie deep in the cloud of all patches, flatness keeps it from memorising. For each
    scheme of `patch_indices`: the depth area E depth (an upper bound, by random directions), the curve Ψ(T), and the
    principal components that hold 90 % of the variance. Channels are standardised over all images.

    Depths of all schemes are measured with the same numbers of directions, reference patches and query patches, the
    most that every scheme has; both are drawn at random, and queries come from different images as far as there are
    enough. Memory is bounded by blocks and by fewer references where a patch is large; the numbers are in the result.

    Args:
        source: A folder, a file or a list of files, read by `read_images`; an array or a .npy file of one, read by
            `images_from_array`; or `Images`.
        size: Side of the window in pixels.
        stride: Distance between windows.
        schemes: One or more names from `PATCH_SCHEMES`, or `"all"`.
        directions: Random directions of the depth.
        references: At most so many patches make up the cloud.
        queries: At most so many of them have their depth measured.
        tile: Files are cut into tiles of this side; None takes them whole.
        shrink: Files are first reduced by this factor.
        crop: The middle square of every file is taken first; None takes all.
        color: Of files.
        limit: At most so many images or tiles from files.
        seed: Of everything that is drawn.
        **unknown: Refused, with the keyword to use instead.

    Raises:
        InputError: As `read_images` and `images_from_array`.
        UnknownNameError: There is no such scheme.
        ParameterError: A number is out of range, the patch is larger than the image, or there are too few images.

    Cost: some seconds per scheme at the default numbers; 50,000 images of 32 × 32 colours take 14 s of CPU time and
    1.6 GiB, for the three schemes together.
    """
    refuse_unknown_keywords("patch_geometry", unknown, _KNOWN)
    names = [schemes] if isinstance(schemes, str) else list(schemes)
    names = list(PATCH_SCHEMES) if "all" in names else names
    for name in names:
        check_choice("schemes", name, PATCH_SCHEMES)
    if not names:
        raise ParameterError(
            "`schemes` must name at least one scheme, got none; pass for example ('convolution', 'full')"
        )
    numbers = {"directions": (directions, 1), "references": (references, 10), "queries": (queries, 2)}
    directions, references, queries = (check_integer(k, value, minimum=low) for k, (value, low) in numbers.items())
    images = _images(source, tile=tile, shrink=shrink, crop=crop, color=color, limit=limit, seed=seed)
    shape = images.height, images.width, images.channels
    patches = {name: patch_indices(*shape, size, stride=stride, scheme=name, seed=seed) for name in names}
    most = min(min(references, _most(len(images), p)) for p in patches.values())
    if most < 10:
        raise ParameterError(
            f"`source` must hold at least 10 patches of every scheme, got {most} from {len(images)} image"
            f"{'' if len(images) == 1 else 's'}; pass more images, a smaller tile, or schemes without 'full'"
        )
    found = [_measured(name, images, patches[name], most, references, queries, directions, seed) for name in names]
    return PatchGeometry(
        images=len(images), shape=shape, rule=images.rule, size=size, stride=stride, directions=directions,
        references=most, queries=min(queries, most), seed=seed, schemes=tuple(found),
    )  # fmt: skip


def _images(source: Any, *, seed: int, **reading: Any) -> Images:
    if isinstance(source, Images):
        return source
    paths = isinstance(source, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in source)
    if not paths and not isinstance(source, (str, os.PathLike)):
        return images_from_array(source)
    if not paths and os.fspath(source).endswith(".npy"):
        return images_from_array(_loaded(source))
    return read_images(source, seed=seed, **reading)


def _loaded(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{os.fspath(path)} cannot be read as an array: {error}; write it with numpy.save") from error


def _most(images: int, patches: Int[Tensor, "l s"]) -> int:
    """Patches there are, or that fit into memory."""
    return min(images * patches.shape[0], max(_NUMBERS // patches.shape[1], 10))


def _measured(
    name: str,
    images: Images,
    patches: Int[Tensor, "l s"],
    most: int,
    references: int,
    queries: int,
    directions: int,
    seed: int,
) -> SchemeGeometry:
    cloud = _drawn(images, patches, min(references, _most(len(images), patches)), seed)
    shares = principal_shares(cloud)
    points = cloud[: min(queries, most)]
    depth = half_space_depth_bound(points, cloud[:most], directions=directions, seed=seed)
    order = depth.argsort(stable=True)
    shown = torch.cat([order[:_SHOWN], order[-_SHOWN:].flip(0)])
    return SchemeGeometry(
        name=name,
        positions=len(patches),
        inputs=patches.shape[1],
        sample=len(cloud),
        components=int((shares.cumsum(0) < 0.9 - 1e-12).sum()) + 1,
        top=float(shares[0]),
        area=depth_area(depth),
        curve=tuple(concentration_curve(depth, torch.tensor(LEVELS, dtype=torch.float64)).tolist()),
        pixels=_pixels(patches, images.height * images.width),
        extremes=tuple(map(tuple, points[shown].reshape(len(shown), images.channels, -1).mean(dim=1).tolist())),
    )


def _drawn(images: Images, patches: Int[Tensor, "l s"], count: int, seed: int) -> Float[Tensor, "r s"]:
    """Standardised patches at random: every image once before any comes twice, each at a random position."""
    rng, n = generator("panel.patch_geometry", seed), len(images)
    image = torch.cat([torch.randperm(n, generator=rng) for _ in range(math.ceil(count / n))])[:count]
    position = torch.randint(len(patches), (count,), generator=rng)
    rows = images.pixels.flatten(1)
    means, deviations = (value[:, None] for value in images.moments)
    cloud = rows.new_empty(count, patches.shape[1], dtype=torch.float64)
    for target, some, at in zip(cloud.split(1024), image.split(1024), position.split(1024), strict=True):
        drawn = rows[some[:, None], patches[at]].double().unflatten(1, (images.channels, -1))
        target.copy_(((drawn - means) / deviations).flatten(1))
    return cloud


def principal_shares(x: Float[Tensor, "n d"]) -> Float[Tensor, " k"]:
    """Shares of the variance of the principal components, the largest first; of constant data the first is 1."""
    centred = x.double() - x.double().mean(dim=0)
    wide = centred.shape[1] > centred.shape[0]
    values = torch.linalg.eigvalsh(centred @ centred.T if wide else centred.T @ centred).flip(0).clamp(min=0)
    total = values.sum()
    return values / total if total > 0 else torch.eye(len(values), dtype=torch.float64)[0]


def _pixels(patches: Tensor, area: int) -> tuple[tuple[int, ...], ...]:
    """The pixels of a few patches, spread over the positions, for the picture of the scheme."""
    places = torch.linspace(0, len(patches) - 1, min(_EXAMPLES, len(patches))).round().long().unique()
    return tuple(tuple(sorted({index % area for index in patches[place].tolist()})) for place in places.tolist())
