"""Which inputs of an image a patch takes: index schemes for locally connected networks and for patch geometry."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import unfold

from steppe.core import ParameterError, check_choice, check_integer, generator

PATCH_SCHEMES: dict[str, str] = {
    "convolution": "square windows on a grid of the stride",
    "non-overlapping": "square windows side by side, whatever the stride",
    "jittered": "the grid, each window moved at random by at most half a stride",
    "random": "as many square windows as the grid has, at random places",
    "hexagonal": "square windows on a triangular lattice of the stride",
    "radial": "square windows on rings around the centre, a stride apart",
    "voronoi": "the pixels nearest to random sites, those of the site's own cell first",
    "multi-scale": "windows of one, two and four times the side, as far as they fit, sampled at as many pixels",
    "cross": "a plus sign of as many pixels as the square, on the grid",
    "random-local": "as many random pixels of a window of twice the side, drawn anew at each place of the grid",
    "large-sparse": "every fourth pixel of a window of four times the side (or every third or second if that fits)",
    "shuffled": "the grid after one random permutation of all pixels, the same for every image",
    "full": "one patch of the whole image",
}


class _Grid(NamedTuple):
    """The image and the window."""

    height: int
    width: int
    channels: int
    size: int
    stride: int
    seed: int

    @property
    def image(self) -> Int[Tensor, "c h w"]:
        """The index of every input, laid out as the image."""
        return torch.arange(self.channels * self.height * self.width).reshape(self.channels, self.height, self.width)

    @property
    def room(self) -> tuple[int, int]:
        """The last row and column at which a window can start."""
        return self.height - self.size, self.width - self.size

    @property
    def generator(self) -> torch.Generator:
        """A fresh generator of this seed."""
        return generator("networks.patches", self.seed)

    def unfolded(self, *, stride: int | None = None, dilation: int = 1) -> Int[Tensor, "l s"]:
        """Square windows of the index image, by torch's unfold; float64 holds the indices exactly."""
        windows = unfold(self.image[None].double(), self.size, dilation=dilation, stride=stride or self.stride)
        return windows[0].T.long().contiguous()

    def corners(self) -> Int[Tensor, "l 2"]:
        """Rows and columns at which the windows of the grid start."""
        rows, columns = (torch.arange(0, last + 1, self.stride) for last in self.room)
        return torch.cartesian_prod(rows, columns)

    def windows(self, corners: Tensor) -> Int[Tensor, "l s"]:
        """Square windows that start at these places, rounded to pixels and moved inside the image."""
        places = corners.round().long().clamp(min=0)
        places = torch.minimum(places, places.new_tensor(self.room))
        first = self.image[:, : self.size, : self.size].reshape(1, -1)
        return first + (places[:, :1] * self.width + places[:, 1:])

    def pixels(self, places: Int[Tensor, "l q"]) -> Int[Tensor, "l s"]:
        """The inputs of these pixels (row · width + column) in all channels, channel by channel."""
        layers = torch.arange(self.channels) * (self.height * self.width)
        return (layers[:, None] + places[:, None, :]).flatten(1)


def patch_indices(
    height: int,
    width: int,
    channels: int,
    size: int,
    *,
    stride: int = 1,
    scheme: str = "convolution",
    seed: int = 0,
) -> Int[Tensor, "l s"]:
    """The indices of the inputs that each patch of an image takes, one row per patch.

    An image is flattened as torch does it, (channel, row, column). Every scheme but `"full"` takes s = channels · size²
    inputs; those of a square window come in the order of torch's `unfold`, (channel, row, column), so that the filters
    of `nn.Conv2d` are rows of `PatchReLU.w`. What each scheme does stands in `PATCH_SCHEMES`; patches never reach
    outside the image, and nothing is padded. The definitions beyond the grid are ours: the source names the schemes.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        channels: 1 for grey, 3 for colours.
        size: Side of the window in pixels.
        stride: Distance between neighbouring windows in pixels.
        scheme: Which pixels: a name in `PATCH_SCHEMES`.
        seed: Seed of the schemes that draw.

    Returns:
        Integers [l, s].

    Raises:
        ParameterError: A number is below one, or the patch is larger than the image.
        UnknownNameError: There is no such scheme.

    Example:
        >>> patch_indices(2, 3, 1, 2).tolist()
        [[0, 1, 3, 4], [1, 2, 4, 5]]
    """
    numbers = {"height": height, "width": width, "channels": channels, "size": size, "stride": stride}
    checked = {name: check_integer(name, value, minimum=1) for name, value in numbers.items()}
    check_choice("scheme", scheme, PATCH_SCHEMES)
    grid = _Grid(**checked, seed=seed)
    if scheme != "full" and grid.size > min(grid.height, grid.width):
        raise ParameterError(
            f"`size` must be at most {min(grid.height, grid.width)} to fit into an image of {height} × {width} pixels, "
            f"got {size}; patches may not reach outside the image"
        )
    return _SCHEMES[scheme](grid)


def _jittered(grid: _Grid) -> Tensor:
    corners = grid.corners()
    moves = torch.rand(corners.shape, generator=grid.generator, dtype=torch.float64) - 0.5
    return grid.windows(corners + moves * grid.stride)


def _random(grid: _Grid) -> Tensor:
    return grid.windows(_places(grid, grid.room))


def _places(grid: _Grid, room: tuple[int, int]) -> Float[Tensor, "l 2"]:
    """As many random pixels as the grid has windows."""
    unit = torch.rand(len(grid.corners()), 2, generator=grid.generator, dtype=torch.float64)
    return (unit * (unit.new_tensor(room) + 1)).floor()


def _hexagonal(grid: _Grid) -> Tensor:
    (bottom, right), step = grid.room, grid.stride * math.sqrt(3) / 2
    rows = torch.arange(int(bottom / step) + 1) * step
    lines = [
        torch.cartesian_prod(row[None], torch.arange((index % 2) * grid.stride / 2, right + 1e-9, grid.stride).double())
        for index, row in enumerate(rows.double())
    ]
    return grid.windows(torch.cat([line.reshape(-1, 2) for line in lines])).unique(dim=0)


def _radial(grid: _Grid) -> Tensor:
    middle = torch.tensor(grid.room, dtype=torch.float64) / 2
    rings = [middle[None]]
    for ring in range(1, int(float(middle.norm()) / grid.stride) + 1):
        count = round(2 * math.pi * ring)  # so that neighbours on a ring are a stride apart
        angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
        rings.append(middle + ring * grid.stride * torch.stack([angles.sin(), angles.cos()], dim=1))
    corners = torch.cat(rings)
    inside = ((corners >= 0) & (corners <= corners.new_tensor(grid.room))).all(dim=1)
    return grid.windows(corners[inside]).unique(dim=0)


def _voronoi(grid: _Grid) -> Tensor:
    """The size² pixels nearest to each site; the site's own cell goes before the pixels of its neighbours."""
    sites = _places(grid, (grid.height - 1, grid.width - 1)).unique(dim=0)
    lattice = torch.cartesian_prod(torch.arange(grid.height), torch.arange(grid.width))
    owner = torch.from_numpy(cKDTree(sites.numpy()).query(lattice.numpy())[1])
    reach = min(2 * grid.size, grid.height, grid.width)  # a window around the site; larger cells are cut off
    corners = (sites - (reach - 1) // 2).long().clamp(min=0)
    corners = torch.minimum(corners, corners.new_tensor([grid.height - reach, grid.width - reach]))
    steps = torch.cartesian_prod(torch.arange(reach), torch.arange(reach))
    near = corners[:, None, :] + steps
    places = near[..., 0] * grid.width + near[..., 1]
    distance = (near - sites[:, None, :]).square().sum(dim=2)
    foreign = owner[places] != torch.arange(len(sites))[:, None]
    order = torch.argsort(distance + foreign * 1e9, dim=1, stable=True)[:, : grid.size**2]
    return grid.pixels(places.gather(1, order.sort(dim=1).values))


def _multi_scale(grid: _Grid) -> Tensor:
    """Windows of the same number of pixels, one, two and four pixels apart."""
    spans = {dilation: dilation * (grid.size - 1) + 1 for dilation in (1, 2, 4)}
    fitting = [dilation for dilation, span in spans.items() if span <= min(grid.height, grid.width)]
    return torch.cat([grid.unfolded(dilation=dilation) for dilation in fitting]).unique(dim=0)


def _cross(grid: _Grid) -> Tensor:
    """The centre, then one pixel after the other on the four arms in turn."""
    arms = [(0, 0), *((a * k, b * k) for k in range(1, grid.size**2) for a, b in ((-1, 0), (0, 1), (1, 0), (0, -1)))]
    shape = sorted(arms[: grid.size**2])
    top, left = -min(row for row, _ in shape), -min(column for _, column in shape)
    return _shaped(grid, [(row + top, column + left) for row, column in shape], "cross")


def _shaped(grid: _Grid, shape: list[tuple[int, int]], name: str) -> Tensor:
    """A set of pixels moved over the grid."""
    tall, wide = (1 + max(axis) for axis in zip(*shape, strict=True))
    if tall > grid.height or wide > grid.width:
        raise ParameterError(
            f"`size` {grid.size} makes a {name} of {tall} × {wide} pixels, which must fit into the image of "
            f"{grid.height} × {grid.width}; choose a smaller size"
        )
    first = torch.tensor([row * grid.width + column for row, column in shape])
    rows = torch.arange(0, grid.height - tall + 1, grid.stride)
    columns = torch.arange(0, grid.width - wide + 1, grid.stride)
    return grid.pixels((rows[:, None] * grid.width + columns).reshape(-1, 1) + first)


def _random_local(grid: _Grid) -> Tensor:
    reach = min(2 * grid.size, grid.height, grid.width)
    wide = grid._replace(size=reach, channels=1).unfolded()
    scores = torch.rand(wide.shape, generator=grid.generator, dtype=torch.float64)
    chosen = scores.argsort(dim=1)[:, : grid.size**2].sort(dim=1).values
    return grid.pixels(wide.gather(1, chosen))


def _large_sparse(grid: _Grid) -> Tensor:
    for dilation in (4, 3, 2, 1):
        if dilation * (grid.size - 1) < min(grid.height, grid.width):
            return grid.unfolded(dilation=dilation)
    raise AssertionError("a window of the size itself fits")


def _shuffled(grid: _Grid) -> Tensor:
    places = torch.randperm(grid.height * grid.width, generator=grid.generator)
    return grid.pixels(places[grid._replace(channels=1).unfolded()])


_SCHEMES: dict[str, Callable[[_Grid], Tensor]] = {
    "convolution": lambda grid: grid.unfolded(),
    "non-overlapping": lambda grid: grid.unfolded(stride=grid.size),
    "jittered": _jittered,
    "random": _random,
    "hexagonal": _hexagonal,
    "radial": _radial,
    "voronoi": _voronoi,
    "multi-scale": _multi_scale,
    "cross": _cross,
    "random-local": _random_local,
    "large-sparse": _large_sparse,
    "shuffled": _shuffled,
    "full": lambda grid: grid.image.reshape(1, -1),
}
