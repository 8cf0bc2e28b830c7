"""From a study to its report: plan and run."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from steppe.core import ParameterError, check_choice, check_integer
from steppe.harness import Cell, Grid, Progress, Store, Study, canonical, load_rows, run_cells

from .concluding import conclude
from .loading import load_study
from .planning import Size, select
from .remembering import remember
from .result import StudyResult

Refresh = Literal["stale", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a run will do; nothing has happened yet.

    Args:
        study: The study.
        size: The size that was asked for.
        grid: The cells that were asked for.
        folder: Where the store and the report go.
        workers: Worker processes, None for one per core.
        refresh: Which finished rows are computed again.
        command: The command line that does the same.
        row_command: The command line to which a row adds its own condition.
    """

    study: Study
    size: Size
    grid: Grid
    folder: Path
    workers: int | None
    refresh: Refresh | None
    command: str
    row_command: str

    @property
    def cells(self) -> list[Cell]:
        """The cells that were asked for, in order."""
        return self.study.cells(self.grid)

    def todo(self) -> list[dict[str, Any]]:
        """The cells that have no valid row yet, or whose row is to be computed again.

        Raises:
            CorruptStoreError: The store in the folder is damaged or not ours.
        """
        cells = [dict(cell) for cell in self.cells]
        if self.refresh == "all" or not (self.folder / "study.db").exists():
            return cells
        with Store(self.folder, read_only=True) as store:
            rows = load_rows(self.study, cells, store)
        kept = rows.with_status("done", "diverged").where(lambda row: not (self.refresh and row.stale))
        valid = {canonical(dict(row.cell)) for row in kept}
        return [cell for cell in cells if canonical(cell) not in valid]


def plan(
    study: Study | str | os.PathLike[str],
    *,
    size: Size = "default",
    quick: bool = False,
    grid: Grid | Mapping[str, Any] | None = None,
    extend: Mapping[str, Any] | None = None,
    where: Any = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on: str = "local",
    refresh: Refresh | None = None,
) -> Plan:
    """Check everything that can be checked before computing.

    Args:
        study: A slug, a `Study`, or the path of a .py file that holds `STUDY`.
        size: Which grid of the study: `"default"`, `"quick"` or `"full"`. All sizes share the folder and the store.
        quick: The same as `size="quick"`.
        grid: A grid instead of it, or a dict of axes whose values replace those of the grid.
        extend: Axes to which values are added.
        where: A condition such as `"seed<3 and d==5"`, or a function of the cell.
        workers: Worker processes with one thread each; one per core if None.
        out: The folder; `./runs/<slug>` if None.
        on: Where to compute: `"local"`, or `"local:N"` for N workers.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` every row.

    Raises:
        UnknownNameError: The study, an axis, a part or a size is not known.
        ParameterError: `on`, `workers` or `refresh` cannot be used.
        InputError: The file of the study does not work, or no cell is left.
    """
    found = load_study(study)
    size = _size(size, quick=quick)
    if refresh is not None:
        check_choice("refresh", refresh, ("stale", "all"))
    chosen = select(found, size=size, grid=grid, extend=extend, where=where)
    options = [f"--{size}"] if size != "default" else []
    if isinstance(grid, Mapping):
        options += _settings("--set", grid)
    options += _settings("--add", extend or {})
    place = [] if out is None else ["--out", os.fspath(out)]
    condition = ["--where", where] if isinstance(where, str) else []
    start = ["steppe", "run", found.slug if isinstance(study, Study) else os.fspath(study)]
    return Plan(
        study=found,
        size=size,
        grid=chosen,
        folder=default_folder(found) if out is None else Path(out),
        workers=_workers(on, workers),
        refresh=refresh,
        command=shlex.join([*start, *options, *condition, *place]),
        row_command=shlex.join([*start, *options, *place]),
    )


def default_folder(study: Study) -> Path:
    """`runs/<slug>` below the current folder."""
    return Path("runs") / study.slug


def _size(size: Size, *, quick: bool) -> Size:
    check_choice("size", size, ("default", "quick", "full"))
    if quick and size == "full":
        raise ParameterError("`quick=True` and `size='full'` exclude each other; give one of them")
    return "quick" if quick else size


def _settings(option: str, axes: Mapping[str, Any]) -> list[str]:
    words = []
    for name, values in axes.items():
        listed = values if isinstance(values, list | tuple | range) else [values]
        texts = [value if isinstance(value, str) else json.dumps(value, default=str) for value in listed]
        words += [option, f"{name}={','.join(texts)}"]
    return words


def _workers(on: str, workers: int | None) -> int | None:
    kind, colon, count = str(on).partition(":")
    if kind != "local" or (colon and not count.isdigit()) or (colon and int(count) < 1):
        raise ParameterError(
            f"`on` must be 'local' or 'local:N' with N ≥ 1, got {on!r}; cells run on this machine only"
        )
    asked = int(count) if colon else None
    if workers is not None:
        check_integer("workers", workers, minimum=1)
        if asked not in (None, workers):
            raise ParameterError(f"`on` {on!r} and `workers` {workers} contradict each other; give one of them")
    return asked if workers is None else workers


def run_plan(planned: Plan, *, progress: Progress | None = None) -> StudyResult:
    """Compute the missing cells, judge all that were asked for, write the report.

    Every finished cell is on disk at once. Cells that crash are recorded with their stack and do not stop the others;
    the report is written in any case.

    Args:
        planned: What `plan` returned.
        progress: Who hears of finished cells.

    Raises:
        KeyboardInterrupt: On Ctrl-C; finished cells are kept and the same call goes on.
        StoreBusyError: Another run writes to the folder.
        CorruptStoreError: The store is damaged or not ours; nothing is deleted.
        StoreError: The folder or the disk cannot be used.
    """
    study, cells = planned.study, planned.cells
    with Store(planned.folder) as store:
        store.check_slug(study)
        remember(planned.folder, study, planned.size, cells)
        summary = run_cells(
            study, cells, store, workers=planned.workers, progress=progress, refresh=planned.refresh or "none"
        )
        rows = load_rows(study, cells, store, command=planned.row_command)
        changed = store.claims_changed(study)
    return conclude(
        study,
        rows,
        planned.folder,
        missing=len(cells) - len(rows),
        size=planned.size,
        command=planned.command,
        claims_changed=changed,
        summary=summary,
    )


def run(
    study: Study | str | os.PathLike[str],
    *,
    size: Size = "default",
    quick: bool = False,
    grid: Grid | Mapping[str, Any] | None = None,
    where: Any = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on: str = "local",
    refresh: Refresh | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """Run a study: compute the cells that are missing, judge the claims, write the report.

    Works from a script without a `__main__` guard, from a notebook and from standard input. An interrupted run goes on
    where it stopped.

    Args:
        study: A slug, a `Study`, or the path of a .py file that holds `STUDY`.
        size: Which grid of the study: `"default"`, `"quick"` or `"full"`; verdicts judge the cells asked for.
        quick: The same as `size="quick"`.
        grid: A grid instead of it, or a dict of axes whose values replace those of the grid.
        where: A condition such as `"seed<3 and d==5"`, or a function of the cell.
        workers: Worker processes with one thread each; one per core if None.
        out: The folder; `./runs/<slug>` if None.
        on: Where to compute: `"local"`, or `"local:N"` for N workers.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` every row.
        progress: Who hears of finished cells.

    Returns:
        Rows, verdicts, figures, and the path of the report.

    Raises:
        InputError, KindError: An argument cannot be used; the message says which and what to do.
        StoreError: The folder is busy, damaged, not writable, full or on a network.
        KeyboardInterrupt: On Ctrl-C; finished cells are kept.

    Example:
        >>> result = run("neural-shattering", quick=True)  # doctest: +SKIP
        >>> result.verdicts["flatness-inequality"].state  # doctest: +SKIP
        'holds'
    """
    planned = plan(
        study, size=size, quick=quick, grid=grid, where=where, workers=workers, out=out, on=on, refresh=refresh
    )
    return run_plan(planned, progress=progress)
