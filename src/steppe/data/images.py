"""Images from a folder, a file or an array, all of one size: whole, cropped, or cut into tiles by a stated rule."""

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d

from steppe.core import (
    DataError,
    DtypeError,
    InputError,
    KindError,
    ShapeError,
    check_choice,
    check_integer,
    generator,
)

Color = Literal["rgb", "grey"]
_LIMIT = 20_000
_BLOCK = 1024  # images at a time


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size.

    Attributes:
        pixels: [n, c, h, w]; uint8 from files, as given from an array.
        names: Where each image comes from.
        rule: How they were made.
    """

    pixels: Tensor
    names: tuple[str, ...]
    rule: str

    def __len__(self) -> int:
        return self.pixels.shape[0]

    @property
    def channels(self) -> int:
        """Colours per pixel."""
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        """Rows."""
        return self.pixels.shape[2]

    @property
    def width(self) -> int:
        """Columns."""
        return self.pixels.shape[3]

    @cached_property
    def moments(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and deviation of each channel over all pixels of all images, float64; a constant channel has 1."""
        found = []
        for layer in self.pixels.unbind(1):
            mean = sum(float(block.double().sum()) for block in layer.split(_BLOCK)) / layer.numel()
            square = sum(float((block.double() - mean).square().sum()) for block in layer.split(_BLOCK)) / layer.numel()
            found.append((mean, math.sqrt(square) if square > 0 else 1.0))
        means, deviations = torch.tensor(found, dtype=torch.float64).unbind(1)
        return means, deviations

    def standardized(self) -> Float[Tensor, "n d"]:
        """One row per image, (channel, row, column), float32; each channel minus its mean, over its deviation."""
        means, deviations = (value.float()[:, None, None] for value in self.moments)
        rows = torch.empty(self.pixels.shape, dtype=torch.float32)
        for target, block in zip(rows.split(_BLOCK), self.pixels.split(_BLOCK), strict=True):
            target.copy_((block - means) / deviations)
        return rows.flatten(1)


def read_images(
    source: Any,
    *,
    color: Color = "rgb",
    shrink: int = 1,
    crop: int | None = None,
    tile: int | None = None,
    limit: int = _LIMIT,
    seed: int = 0,
) -> Images:
    """Read every image of a folder and its subfolders, or one file, or a list of files.

    Files are taken in the order of their names; those whose suffix no image has, and hidden ones, are passed over and
    counted in the rule. Of an animation the first picture is taken; the orientation that a camera noted is applied;
    transparency is dropped; 16-bit values are divided by 257. Needs Pillow.

    All images must have one size, unless they are cropped or cut. To `shrink` takes means over squares of so many
    pixels, so that a tile shows more of the scene. A `crop` takes the middle square. A `tile` cuts each
    image into squares side by side, the rest left at the edges; if every image has one size and no side is longer than
    the tile, they are taken whole.

    Args:
        source: A folder, a file, or a list of files.
        color: `"rgb"` or `"grey"`; images are converted.
        shrink: Side of the squares of pixels that become one pixel, first of all.
        crop: Side of the middle square in pixels, or None.
        tile: Side of the tiles in pixels, or None.
        limit: At most so many images or tiles; with more files, `limit` of them are drawn, and with more tiles, as many
            from every file.
        seed: Which.

    Raises:
        InputError: A path does not exist or cannot be opened, or a file is no image; the message names it.
        DataError: The folder holds no image.
        ShapeError: Sizes differ, or an image is too small; the message names it.
    """
    check_choice("color", color, ["rgb", "grey"])
    sides = {"crop": crop, "tile": tile}
    crop, tile = (None if side is None else check_integer(name, side, minimum=1) for name, side in sides.items())
    limit, shrink = check_integer("limit", limit, minimum=1), check_integer("shrink", shrink, minimum=1)
    files, passed = _files(source)
    rng = generator("data.images", seed)
    rules = [f"{len(files)} image files" if len(files) > 1 else "1 image file"]
    rules += [f"{passed} other file{'' if passed == 1 else 's'} passed over"] if passed else []
    if len(files) > limit:
        chosen = torch.randperm(len(files), generator=rng)[:limit].sort().values.tolist()
        files = [files[index] for index in chosen]
        rules.append(f"{limit} drawn at random")
    pictures = ((file, _cropped(_shrunk(_picture(file, color), file, shrink), file, crop)) for file in files)
    rules += [f"shrunk by {shrink}"] if shrink > 1 else []
    rules += [f"the middle {crop} × {crop} pixels of each"] if crop is not None else []
    if tile is not None:
        pixels, names, rule = _tiled(pictures, tile, limit // len(files), rng)
        rules += [rule] if rule else []
    else:
        pixels, names = _whole(pictures)
    return Images(pixels, tuple(names), ", ".join([*rules, "colours" if color == "rgb" else "grey values"]))


def images_from_array(array: Any, *, channels: Literal["first", "last"] | None = None) -> Images:
    """Images that are in memory: [n, h, w], [n, c, h, w] or [n, h, w, c] with 1 or 3 channels.

    Args:
        array: A tensor or a NumPy array of numbers or booleans.
        channels: Where the channels are in four axes; None finds the axis of 1 or 3 entries, if only one of the second
            and the last is.

    Raises:
        KindError: It is no array of numbers.
        ShapeError: It is not of one of the three shapes, or the channels are not clear.
        DataError: It is empty or not finite.
    """
    try:
        pixels = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KindError(
            f"`array` must hold images as numbers, got {type(array).__name__}; pass [n, h, w, c]"
        ) from error
    if pixels.is_complex():
        raise DtypeError(f"`array` must hold real numbers, got {pixels.dtype}; pass its absolute value or real part")
    shape = list(pixels.shape)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim != 4:
        raise ShapeError(f"`array` must have shape [n, h, w], [n, c, h, w] or [n, h, w, c], got {shape}; reshape it")
    elif _last(shape, channels):
        pixels = pixels.permute(0, 3, 1, 2)
    if 0 in pixels.shape:
        raise DataError(f"`array` must hold at least one image and one pixel, got {shape}; pass more data")
    if pixels.dtype == torch.bool:
        pixels = pixels.to(torch.uint8)
    if pixels.is_floating_point() and not torch.isfinite(pixels).all():
        raise DataError("`array` must be finite, got NaN or infinite pixels; remove or impute those images")
    return Images(pixels, tuple(map(str, range(len(pixels)))), f"an array {shape}")


def _last(shape: list[int], channels: str | None) -> bool:
    if channels is not None:
        return check_choice("channels", channels, ["first", "last"]) == "last"
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        raise ShapeError(
            f"`array` {shape} {'could have channels first or last' if first else 'has no axis of 1 or 3 channels'}; "
            "pass channels='first' for [n, c, h, w] or channels='last' for [n, h, w, c]"
        )
    return last


def _files(source: Any) -> tuple[list[Path], int]:
    """Image files in the order of their names, and how many others there are."""
    if isinstance(source, (list, tuple)):
        files = [Path(_path(item)) for item in source]
        if not files:
            raise DataError("`source` names no image, got an empty list; pass at least one file")
        return files, 0
    path = Path(_path(source))
    if not path.is_dir():
        return [path], 0
    from PIL import Image

    suffixes = set(Image.registered_extensions())
    found: list[Path] = []
    others = 0

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; make the folder readable") from error

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen = [name for name in sorted(names) if not name.startswith(".")]
        images = [Path(folder, name) for name in seen if Path(name).suffix.lower() in suffixes]
        found += images
        others += len(seen) - len(images)
    if not found:
        held = f", only {others} file{'' if others == 1 else 's'} of other kinds" if others else ""
        raise DataError(f"the folder {path} holds no image{held}; name a folder with .png or .jpg files")
    return found, others


def _path(source: Any) -> str:
    if not isinstance(source, (str, os.PathLike)):
        raise KindError(
            f"`source` must be a folder, a file or a list of files, got {type(source).__name__}; "
            "for pixels in memory use images_from_array"
        )
    return os.fspath(source)


def _picture(file: Path, color: Color) -> Tensor:
    """One image as uint8 [c, h, w]."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata; what matters raises
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                picture = ImageOps.exif_transpose(opened)
                deep = picture.mode.startswith(("I", "F"))  # Pillow would cut such values off at 255
                pixels = np.array(picture if deep else picture.convert("RGB" if color == "rgb" else "L"))
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist; pass a folder or image files that do") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{file} is too large to be opened safely: {error}; make it smaller or take it out") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        raise InputError(f"{file} cannot be read as an image: {error}; repair it or take it out") from error
    if deep:
        return _eight_bits(pixels, file, sixteen=picture.mode != "I").expand(3 if color == "rgb" else 1, -1, -1)
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def _eight_bits(values: np.ndarray, file: Path, *, sixteen: bool) -> Tensor:
    """Deep grey values as uint8 [1, h, w]."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"{file} holds numbers that are no 8- or 16-bit grey values; read it yourself and use images_from_array"
        )
    scaled = values // 257 if sixteen or values.max() > 255 else values
    return torch.from_numpy(scaled.astype(np.uint8))[None]


def _shrunk(picture: Tensor, file: Path, shrink: int) -> Tensor:
    if shrink == 1:
        return picture
    _margins(picture, file, shrink, "shrink")
    return avg_pool2d(picture.float(), shrink).round().to(torch.uint8)


def _cropped(picture: Tensor, file: Path, crop: int | None) -> Tensor:
    if crop is None:
        return picture
    (top, left), _ = _margins(picture, file, crop, "crop")
    return picture[:, top : top + crop, left : left + crop]


def _margins(picture: Tensor, file: Path, side: int, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the middle square or the tiles begin, and how many tiles fit."""
    height, width = picture.shape[1:]
    if min(height, width) < side:
        raise ShapeError(
            f"{file} has {height} × {width} pixels, fewer than {name}={side}; "
            f"pass {name}={min(height, width)} or take the file out"
        )
    fits = (1, 1) if name == "crop" else (height // side, width // side)
    return ((height - fits[0] * side) // 2, (width - fits[1] * side) // 2), fits


def _whole(pictures: Iterable[tuple[Path, Tensor]]) -> tuple[Tensor, list[str]]:
    kept: list[Tensor] = []
    names: list[str] = []
    for file, picture in pictures:
        if kept and picture.shape != kept[0].shape:
            (a, b), (c, d) = kept[0].shape[1:], picture.shape[1:]
            raise ShapeError(
                f"images must have one size, got {a} × {b} pixels in {names[0]} and {c} × {d} in {file}; "
                "pass crop=… for the middle squares or tile=… to cut them up"
            )
        kept.append(picture)
        names.append(str(file))
    return torch.stack(kept), names


def _tiled(
    pictures: Iterator[tuple[Path, Tensor]], side: int, most: int, rng: torch.Generator
) -> tuple[Tensor, list[str], str]:
    """Tiles of every picture, at most so many of each; small pictures of one size stay whole."""
    first = next(pictures)
    pictures = _chained(first, pictures)
    if max(first[1].shape[1:]) <= side:
        return *_whole(pictures), ""
    tiles: list[Tensor] = []
    names: list[str] = []
    drawn = False
    for file, picture in pictures:
        (top, left), (rows, columns) = _margins(picture, file, side, "tile")
        count = rows * columns
        chosen = torch.arange(count) if count <= most else torch.randperm(count, generator=rng)[:most].sort().values
        drawn = drawn or count > most
        windows = picture[:, top : top + rows * side, left : left + columns * side]
        cut = windows.unfold(1, side, side).unfold(2, side, side).flatten(1, 2).transpose(0, 1)
        tiles.append(cut[chosen].contiguous())
        names += [f"{file} tile {index // columns + 1}, {index % columns + 1}" for index in chosen.tolist()]
    rule = f"cut into {len(names)} tiles of {side} × {side} pixels"
    return torch.cat(tiles), names, rule + (f", at most {most} of each file, drawn at random" if drawn else "")


def _chained(first: tuple[Path, Tensor], rest: Iterator[tuple[Path, Tensor]]) -> Iterator[tuple[Path, Tensor]]:
    yield first
    yield from rest
