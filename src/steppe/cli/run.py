"""`steppe run`."""

import webbrowser
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from steppe.core import InputError

from .output import INTERRUPTED, complain
from .progress import Progress
from .values import axis_values

_Flag = Annotated[bool, Parameter(negative=())]
_Settings = Annotated[tuple[str, ...], Parameter(negative=())]


def run(
    study: str,
    *,
    quick: _Flag = False,
    full: _Flag = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    add: _Settings = (),
    where: str | None = None,
    workers: int | None = None,
    out: Path | None = None,
    on: str = "local",
    strict: _Flag = False,
    dry_run: _Flag = False,
    refresh: Literal["stale", "all"] | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative=())] = False,
    json: _Flag = False,
) -> int:
    """Run a study: compute the cells that are missing, judge the claims, write the report.

    Finished cells are stored at once, so that an interrupted run goes on where it stopped when it is started again.

    Args:
        study: Slug, or a .py file that holds STUDY.
        quick: The quick grid.
        full: The paper's sizes.
        set_: Replace the values of an axis, as axis=value,value; may be repeated.
        add: Add values to an axis, as axis=value,value; may be repeated.
        where: Only the cells that satisfy this condition, such as 'seed<3 and d==5'.
        workers: Worker processes; one per core if left out.
        out: The folder of the run; ./runs/SLUG if left out.
        on: Where to compute: local, or local:N for N workers.
        strict: Let the exit code tell the verdicts too: 1 a theorem claim fails, 3 inconclusive.
        dry_run: Say what would be computed, and compute nothing.
        refresh: Compute rows again whose sources changed (stale), or all of them.
        open_: Open the report in a browser at the end.
        json: Print JSON.
    """
    from steppe.workflow import plan, run_plan

    from .results import print_plan, print_result

    if quick and full:
        raise InputError("`--quick` and `--full` exclude each other; give one of them")
    planned = plan(
        study,
        size="quick" if quick else "full" if full else "default",
        grid=axis_values("--set", set_),
        extend=axis_values("--add", add),
        where=where,
        workers=workers,
        out=out,
        on=on,
        refresh=refresh,
    )
    if dry_run:
        print_plan(planned, json=json)
        return 0
    try:
        with Progress(planned.study.slug) as progress:
            result = run_plan(planned, progress=progress)
    except KeyboardInterrupt as error:
        complain(str(error) or f"stopped; finished cells are kept in {planned.folder}. The same command goes on there.")
        return INTERRUPTED
    print_result(result, json=json)
    if open_:
        webbrowser.open(result.report.resolve().as_uri())
    return result.exit_code(strict=strict)
