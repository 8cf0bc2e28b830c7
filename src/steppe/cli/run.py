"""`steppe run`."""

import webbrowser
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from steppe.core import InputError

from .output import INTERRUPTED, complain
from .progress import Progress
from .values import axis_values

_Flag = Annotated[bool, Parameter(negative=())]
_Settings = Annotated[tuple[str, ...], Parameter(negative=())]


def run(
    study: str | None = None,
    *,
    config: Path | None = None,
    quick: _Flag = False,
    full: _Flag = False,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    add: _Settings = (),
    where: str | None = None,
    workers: int | None = None,
    out: Path | None = None,
    on: str | None = None,
    deadline: float | None = None,
    retries: int | None = None,
    stack: int | Literal["all"] | None = None,
    strict: _Flag = False,
    dry_run: _Flag = False,
    refresh: Literal["stale", "all"] | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative=())] = False,
    json: _Flag = False,
) -> int:
    """Run a study: compute the cells that are missing, judge the claims, write the report.

    Finished cells are stored at once, so that an interrupted run goes on where it stopped when it is started again.

    Args:
        study: Slug, or a .py file that holds STUDY. Needed unless --config names the slug.
        config: A .toml or .json file with study, size, set, add, where, on, workers, deadline, retries, stack, out or
            refresh; options given here count more.
        quick: The quick grid.
        full: The paper's sizes.
        set_: Replace the values of an axis, as axis=value,value; may be repeated.
        add: Add values to an axis, as axis=value,value; may be repeated.
        where: Only the cells that satisfy this condition, such as 'seed<3 and d==5'.
        workers: Cells at once; one per core if left out.
        out: The folder of the run; ./runs/SLUG if left out.
        on: Where to compute: local, local:N for N workers, dask, dask://host:port, ray, ray://host:port, or
            slurm:partition. The rows are the same.
        deadline: Seconds that one cell may take; then it ends as a timeout, with its stack.
        retries: How often a cell whose worker died is tried again; 1 if left out.
        stack: At most so many cells of one group are computed in one call, or all; 1 if left out.
        strict: Let the exit code tell the verdicts too: 1 a theorem claim fails, 3 inconclusive.
        dry_run: Say what would be computed, and compute nothing.
        refresh: Compute rows again whose sources changed (stale), or all of them.
        open_: Open the report in a browser at the end.
        json: Print JSON.
    """
    from steppe.workflow import plan, plan_configured, run_plan

    from .results import note_stale, print_plan, print_result, relative

    if quick and full:
        raise InputError("`--quick` and `--full` exclude each other; give one of them")
    options: dict[str, Any] = {
        "size": "quick" if quick else "full" if full else None,
        "grid": axis_values("--set", set_),
        "extend": axis_values("--add", add),
        "where": where,
        "workers": workers,
        "out": out,
        "on": on,
        "deadline": deadline,
        "retries": retries,
        "refresh": refresh,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if stack is not None:
        given["stack"] = None if stack == "all" else stack
    if config is not None:
        planned = plan_configured(config, study, **given)
    elif study is not None:
        planned = plan(study, **given)
    else:
        raise InputError("`run` requires an argument: a study, or --config FILE; steppe list lists the studies")
    if dry_run:
        print_plan(planned, json=json)
        return 0
    try:
        with Progress(planned.study.slug, report=relative(planned.folder / "report.html")) as progress:
            result = run_plan(planned, progress=progress)
    except KeyboardInterrupt as error:
        complain(str(error) or f"stopped; finished cells are kept in {planned.folder}. The same command goes on there.")
        return INTERRUPTED
    note_stale(result)
    print_result(result, json=json)
    if open_:
        webbrowser.open(result.report.resolve().as_uri())
    return result.exit_code(strict=strict)
