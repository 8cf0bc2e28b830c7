"""From a study to its report: plan and run."""

import json
import os
import shlex
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from steppe.core import ParameterError, check_choice
from steppe.harness import (
    Both,
    Cell,
    Grid,
    Progress,
    Store,
    Study,
    canonical,
    check_terms,
    load_rows,
    parse_place,
    run_cells,
)

from .concluding import conclude
from .live import LiveReport
from .loading import load_study
from .places import check_path
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
        on: Where to compute.
        workers: Cells at once, None for one per core.
        deadline: Seconds for one cell, or None.
        retries: How often a cell whose worker died is tried again.
        stack: At most so many cells of a group in one call, None for whole groups.
        refresh: Which finished rows are computed again.
        command: The command line that gives the same rows; where they are computed does not matter for them.
        row_command: The command line to which a row adds its own condition.
    """

    study: Study
    size: Size
    grid: Grid
    folder: Path
    on: str | Executor = "local"
    workers: int | None
    deadline: int | float | None = None
    retries: int = 1
    stack: int | None = 1
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
    on: str | Executor = "local",
    deadline: int | float | None = None,
    retries: int = 1,
    stack: int | None = 1,
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
        workers: Cells at once, with one thread each; one per core if None.
        out: The folder; `./runs/<slug>` if None.
        on: Where to compute: `"local"`, `"local:N"`, `"dask"`, `"dask://host:port"`, `"ray"`, `"ray://host:port"`,
            `"slurm:partition"`, or any `concurrent.futures.Executor`. The rows are the same.
        deadline: Seconds that one cell may take; then it ends with status `timeout` and its stack.
        retries: How often a cell whose worker died is tried again.
        stack: At most so many cells of one group are computed in one call; None for whole groups.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` every row.

    Raises:
        UnknownNameError: The study, an axis, a part or a size is not known.
        ParameterError: `on`, `workers`, `deadline`, `retries`, `stack` or `refresh` cannot be used.
        InputError: The file of the study does not work, no cell is left, or the extra behind `on` is not installed.
    """
    found = load_study(study)
    size = _size(size, quick=quick)
    if refresh is not None:
        check_choice("refresh", refresh, ("stale", "all"))
    spot, terms = parse_place(on, workers), check_terms(deadline, retries, stack)
    chosen = select(found, size=size, grid=grid, extend=extend, where=where)
    options = [f"--{size}"] if size != "default" else []
    if isinstance(grid, Mapping):
        options += _settings("--set", grid)
    options += _settings("--add", extend or {})
    place = [] if out is None else ["--out", os.fspath(out)]
    condition = ["--where", where] if isinstance(where, str) else []
    limits = [] if deadline is None else ["--deadline", f"{deadline:g}"]
    limits += [] if retries == 1 else ["--retries", str(retries)]
    start = ["steppe", "run", found.slug if isinstance(study, Study) else os.fspath(study)]
    return Plan(
        study=found,
        size=size,
        grid=chosen,
        folder=default_folder(found) if out is None else check_path("out", out),
        on=on,
        workers=spot.workers,
        deadline=terms.deadline,
        retries=terms.retries,
        stack=stack,
        refresh=refresh,
        command=shlex.join([*start, *options, *condition, *place, *limits]),
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


def run_plan(planned: Plan, *, progress: Progress | None = None, live: float | None = 30.0) -> StudyResult:
    """Compute the missing cells, judge all that were asked for, write the report.

    Every finished cell is on disk at once. Cells that crash are recorded with their stack and do not stop the others;
    the report is written in any case, and rewritten while the run goes on.

    Args:
        planned: What `plan` returned.
        progress: Who hears of finished cells.
        live: Seconds between two versions of the report while the run goes on; None writes it at the end only.

    Raises:
        ParameterError: `live` is not above zero.
        KeyboardInterrupt: On Ctrl-C; finished cells are kept and the same call goes on.
        StoreBusyError: Another run writes to the folder.
        CorruptStoreError: The store is damaged or not ours; nothing is deleted.
        StoreError: The folder or the disk cannot be used.
    """
    study, cells = planned.study, planned.cells
    with Store(planned.folder) as store, LiveReport(planned, live) as page:
        store.check_slug(study)
        remember(planned.folder, study, planned.size, cells)
        summary = run_cells(
            study,
            cells,
            store,
            on=planned.on,
            workers=planned.workers,
            deadline=planned.deadline,
            retries=planned.retries,
            stack=planned.stack,
            progress=page if progress is None else Both(progress, page),
            refresh=planned.refresh or "none",
        )
        rows = load_rows(study, cells, store, command=planned.row_command)
        changed = store.claims_changed(study)
    result = conclude(
        study,
        rows,
        planned.folder,
        missing=len(cells) - len(rows),
        size=planned.size,
        command=planned.command,
        claims_changed=changed,
        summary=summary,
    )
    return replace(result, problems={**result.problems, **page.problems})


def run(
    study: Study | str | os.PathLike[str],
    *,
    size: Size = "default",
    quick: bool = False,
    grid: Grid | Mapping[str, Any] | None = None,
    where: Any = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on: str | Executor = "local",
    deadline: int | float | None = None,
    retries: int = 1,
    stack: int | None = 1,
    refresh: Refresh | None = None,
    progress: Progress | None = None,
    live: float | None = 30.0,
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
        workers: Cells at once, with one thread each; one per core if None.
        out: The folder; `./runs/<slug>` if None.
        on: Where to compute: `"local"`, `"local:N"`, `"dask"`, `"dask://host:port"`, `"ray"`, `"ray://host:port"`,
            `"slurm:partition"`, or any `concurrent.futures.Executor`. The rows are the same.
        deadline: Seconds that one cell may take; then it ends with status `timeout` and its stack.
        retries: How often a cell whose worker died is tried again.
        stack: At most so many cells of one group are computed in one call; None for whole groups.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` every row.
        progress: Who hears of finished cells.
        live: Seconds between two versions of the report while the run goes on; None writes it at the end only.

    Returns:
        Rows, verdicts, figures, and the path of the report.

    Raises:
        InputError, KindError: An argument cannot be used; the message says which and what to do.
        StoreError: The folder is busy, damaged, not writable, full or on a network.
        ComputationError: The workers cannot be reached, are gone for good, or run another version.
        KeyboardInterrupt: On Ctrl-C; finished cells are kept.

    Example:
        >>> result = run("neural-shattering", quick=True)  # doctest: +SKIP
        >>> result.verdicts["flatness-inequality"].state  # doctest: +SKIP
        'holds'
    """
    planned = plan(
        study,
        size=size,
        quick=quick,
        grid=grid,
        where=where,
        workers=workers,
        out=out,
        on=on,
        deadline=deadline,
        retries=retries,
        stack=stack,
        refresh=refresh,
    )
    return run_plan(planned, progress=progress, live=live)
