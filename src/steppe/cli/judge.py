"""`steppe judge`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def judge(
    study: str,
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    full: Annotated[bool, Parameter(negative=())] = False,
    where: str | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Judge the stored rows again, without computing, and rewrite the report.

    Exit code 0 if all theorem claims hold and all controls are rejected, 1 if a theorem claim fails, 3 otherwise.

    Args:
        study: Slug, .py file, or the folder of a run of a study that steppe knows.
        quick: Judge the quick grid; without --quick and --full, the cells that the last run asked for.
        full: Judge the grid of the paper's sizes.
        where: Judge only the cells that satisfy this condition, such as 'seed<3 and d==5'.
        out: The folder of the run, if it is not ./runs/SLUG.
        json: Print JSON.
    """
    from steppe.workflow import judge as judge_rows

    from .results import note_stale, print_result

    result = judge_rows(study, size="quick" if quick else "full" if full else None, where=where, out=out)
    note_stale(result)
    print_result(result, json=json)
    return result.verdict_code()
