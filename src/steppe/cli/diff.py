"""`steppe diff`."""

from typing import Annotated

from cyclopts import Parameter


def diff(
    a: str,
    b: str,
    *,
    study: str | None = None,
    where: str | None = None,
    over: str = "seed",
    level: float = 0.95,
    rtol: float = 1e-9,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Compare two runs: verdicts that changed, columns that moved, rows, statuses, and where they came from.

    A and B are folders or slugs (their folders below ./runs). FOLDER@2 is its revision 2, FOLDER@superseded the rows
    that were computed again since, FOLDER@commit:9f38e87 the rows computed at that commit.

    Exit code 0 if nothing of note differs, 1 if a theorem verdict changed for the worse, 3 if something else differs: a
    verdict, a status, a column beyond its interval, a missing value, cells that one side lacks.

    Args:
        a: The old side.
        b: The new side.
        study: Slug or .py file of the study, if steppe does not know it by the name in the folder.
        where: Compare only the cells that satisfy this condition, such as 'seed<3 and d==5'.
        over: The axis of replicates, over which means and intervals are taken.
        level: Coverage of the intervals.
        rtol: Relative changes up to this are rounding.
        all_: Show every claim and every column that moved, not the first ones.
        json: Print JSON.
    """
    from steppe.workflow import diff as compare

    from .differences import print_difference

    found = compare(a, b, study=study, where=where, over=over, level=level, rtol=rtol)
    print_difference(found, json=json, all=all_)
    return found.exit_code()
