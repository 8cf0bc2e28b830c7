"""`steppe shatter`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from steppe.core import InputError

from .output import OK, answer, note, print_json, print_table

_Flag = Annotated[bool, Parameter(negative=())]
_Names = Annotated[tuple[str, ...], Parameter(negative=())]


def shatter(
    data: Path,
    *,
    target: str | None = None,
    drop: _Names = (),
    missing: Literal["refuse", "drop"] = "refuse",
    scaling: Literal["columns", "none"] = "columns",
    shallow: float = 0.05,
    samples: int = 5000,
    size: int = 4,
    stride: int = 2,
    scheme: _Names = (),
    tile: int = 32,
    shrink: int = 1,
    crop: int | None = None,
    color: Literal["rgb", "grey"] = "rgb",
    directions: int | None = None,
    seed: int = 0,
    html: Path | None = None,
    json: _Flag = False,
) -> int:
    """What of your data could flat networks memorise for free: depth of a table's rows, or of the patches of images.

    Args:
        data: A .csv, .tsv, .npy or .parquet file of numbers, one row per sample; or a folder of images, one image, or
            a .npy file of images with three or four axes.
        target: Table: the column that is the label, no input; its relation to depth is reported.
        drop: Table: a column to leave out; may be repeated.
        missing: Table: refuse rows that lack a value, or drop them.
        scaling: Table: standardise each column, or take the numbers as they are.
        shallow: Table: depth up to which a row is called shallow.
        samples: Table: at most so many rows, drawn at random.
        size: Images: side of a patch in pixels.
        stride: Images: distance between patches.
        scheme: Images: how patches are taken, such as convolution or shuffled; may be repeated; "all" is all.
        tile: Images: side of the tiles that files are cut into.
        shrink: Images: files are first reduced by this factor.
        crop: Images: only the middle square of this side of every file.
        color: Images: colours or grey values of files.
        directions: Random directions of the depth bound; 1000 for tables and 512 for patches if not given.
        seed: Seed of everything that is drawn.
        html: Also write a page with figures.
        json: Print JSON.
    """
    from steppe.workflow import check_target

    place = None if html is None else check_target("html", html)
    many: dict[str, Any] = {} if directions is None else {"directions": directions}
    if _is_table(data):
        from steppe.panel import shatterability

        found: Any = shatterability(
            data,
            target=target,
            drop=drop,
            missing=missing,
            scaling=scaling,
            shallow=shallow,
            samples=samples,
            seed=seed,
            **many,
        )
    else:
        if target is not None or drop:
            raise InputError(
                f"`--target` and `--drop` name columns of a table, got images in {str(data)!r}; leave them out"
            )
        from steppe.panel import patch_geometry

        if scheme:
            many["schemes"] = scheme
        found = patch_geometry(
            data, size=size, stride=stride, tile=tile, shrink=shrink, crop=crop, color=color, seed=seed, **many
        )
    _tell(found, place, json=json)
    return OK


def _is_table(data: Path) -> bool:
    """Whether it is rows of numbers rather than images; what cannot be read is left to the reader of tables."""
    import numpy as np
    from PIL import Image

    suffix = data.suffix.lower()
    try:
        if suffix == ".npy":
            return bool(np.load(data, mmap_mode="r", allow_pickle=False).ndim <= 2)
        return not data.is_dir() and suffix not in Image.registered_extensions()
    except (OSError, ValueError, EOFError):
        return True


def _tell(found: Any, place: Path | None, *, json: bool) -> None:
    """Print an answer with a headline, a table and notes, or its JSON; write its page."""
    if json:
        print_json(found.to_dict())
    else:
        answer(found.headline)
        answer()
        print_table(found.headers, found.lines())
        for line in found.notes():
            answer(line)
    if place is not None:
        written = found.save(place)
        note(f"page: {written}") if json else answer(f"page: {written}")
