"""What is stored, judged again without computing: judge, load, export."""

import os
from collections.abc import Mapping
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from steppe.core import InputError, NotComputedError, UnknownNameError
from steppe.harness import Grid, Rows, Slot, Store, Study, load_rows
from steppe.studies import known_studies

from .concluding import conclude
from .exporting import Format, format_of, write_rows
from .loading import load_study
from .places import check_path, check_target
from .planning import Size, select
from .remembering import remembered
from .result import StudyResult
from .running import default_folder


def judge(
    study: Study | str | os.PathLike[str],
    *,
    size: Size | None = None,
    grid: Grid | Mapping[str, Any] | None = None,
    where: Any = None,
    out: str | os.PathLike[str] | None = None,
) -> StudyResult:
    """Judge the stored rows again, without computing, and rewrite the report.

    Args:
        study: A slug, a `Study`, the path of a .py file, or the folder of a run of a study that steppe knows.
        size: Judge the grid of this size. With neither `size` nor `grid`: the cells that the last run asked for.
        grid: Judge this grid, or the size's grid with these axes replaced.
        where: Judge only cells that satisfy this condition.
        out: The folder of the run; `./runs/<slug>` if None.

    Returns:
        The result; `result.stale` says how many rows were computed with other sources than today's.

    Raises:
        NotComputedError: None of these cells has a row.
        StoreError: There is no store, or it is damaged.
        UnknownNameError: The folder holds a study that steppe does not know.
    """
    return _again(study, size, grid, where, out, report=True)


def load(
    study: Study | str | os.PathLike[str],
    *,
    size: Size | None = None,
    grid: Grid | Mapping[str, Any] | None = None,
    where: Any = None,
    out: str | os.PathLike[str] | None = None,
) -> StudyResult:
    """The stored rows, judged, without touching the folder; arguments and errors are those of `judge`."""
    return _again(study, size, grid, where, out, report=False)


def export(
    study: Study | str | os.PathLike[str],
    *,
    to: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write every stored row of this revision as one table.

    Axes and columns are columns; `key`, `status`, `reason`, `stale` and `absent` (reasons, as JSON) come first. A curve
    is a list in Parquet (zstd) and JSON text in CSV; an absent value is null or empty.

    Args:
        study: As for `judge`.
        to: The file; `<slug>.csv` or `<slug>.parquet` beside the store if None.
        format: `"csv"` or `"parquet"` (which needs pyarrow); by the ending of `to` if None, else CSV.
        out: The folder of the run; `./runs/<slug>` if None.

    Returns:
        The file.

    Raises:
        NotComputedError: There is no row, or pyarrow is not installed.
        InputError: `to` is a folder or a file that a run keeps, or contradicts `format`.
        StoreError: There is no store, it is damaged, or the file cannot be written.
    """
    target = None if to is None else check_target("to", to)
    kind = format_of(target, format)
    found, folder = locate(study, out)
    with Store(folder, read_only=True) as store:
        rows = load_rows(found, _stored(found, store), store)
    _refuse_nothing(rows, found, folder, found.slug if isinstance(study, Study) else os.fspath(study))
    return write_rows(rows, list(found.columns), target or folder / f"{found.slug}.{kind}", kind)


def locate(study: Study | str | os.PathLike[str], out: str | os.PathLike[str] | None) -> tuple[Study, Path]:
    """A study and the folder of its runs, from either.

    Raises:
        UnknownNameError: The folder holds a study that steppe does not know.
        InputError: `study` and `out` are both folders.
        StoreError: The folder holds no store.
    """
    slugs = {entry.slug for entry in known_studies()}
    known = not isinstance(study, Study) and str(study) in slugs
    place = None if out is None else check_path("out", out)
    if isinstance(study, Study) or known or not check_path("study", study).is_dir():
        found = load_study(study)
        return found, default_folder(found) if place is None else place
    if out is not None:
        raise InputError(
            f"`study` {os.fspath(study)!r} and `out` are both folders; give the study's slug or file first"
        )
    folder = Path(study)
    with Store(folder, read_only=True) as store:
        slug = store.meta().get("slug", "")
    if slug not in slugs:  # a store names its study; a path in that place is not followed
        raise UnknownNameError(
            f"{folder} holds rows of {slug or 'no study'!r}, which steppe does not know by that name; name its file: "
            f"steppe judge ./yours.py --out {folder}"
        )
    return load_study(slug), folder


def _again(study: Any, size: Any, grid: Any, where: Any, out: Any, *, report: bool) -> StudyResult:
    found, folder = locate(study, out)
    with Store(folder, read_only=True) as store:
        word, cells = _asked(found, folder, store, size, grid, where)
        named = found.slug if isinstance(study, Study) or Path(study).is_dir() else os.fspath(study)
        place = "" if out is None and folder == default_folder(found) else f" --out {folder}"
        rows = load_rows(found, cells, store, command=f"steppe run {named}{place}")
        changed = store.claims_changed(found)
    _refuse_nothing(rows, found, folder, f"{named}{place}")
    return conclude(
        found,
        rows,
        folder,
        missing=len(cells) - len(rows),
        size=word,
        command=f"steppe judge {named}{place}",
        claims_changed=changed,
        report=report,
    )


def _asked(
    study: Study, folder: Path, store: Store, size: Any, grid: Any, where: Any
) -> tuple[str, list[dict[str, Any]]]:
    if size is not None or grid is not None:
        chosen = select(study, size=size or "default", grid=grid, where=where)
        return size or "default", chosen.cells()
    word, cells = remembered(folder, study) or ("stored", _stored(study, store))
    if where is not None and cells:
        cells = reduce(add, (Grid(**cell) for cell in cells)).where(where).cells()
    return word, cells


def _stored(study: Study, store: Store) -> list[dict[str, Any]]:
    """Every cell in the store whose parts the study has; those of its grids first, in their order."""
    cells = [cell for size in ("quick", "default", "full") for cell in study.grid_of(size).cells()]
    cells += [dict(record.cell) for record in store.records().values()]
    return [cell for cell in cells if all(_is_part(cell[s], slot) for s, slot in study.slots.items() if s in cell)]


def _is_part(name: Any, slot: Slot) -> bool:
    return isinstance(name, str) and name in slot.parts


def _refuse_nothing(rows: Rows, study: Study, folder: Path, named: str) -> None:
    if not len(rows):
        raise NotComputedError(
            f"{folder} holds no row of {study.slug}, revision {study.revision}, for these cells; run it first: "
            f"steppe run {named}"
        )
