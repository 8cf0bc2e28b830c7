"""`steppe show`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from steppe.core import InputError

from .output import print_json

_Flag = Annotated[bool, Parameter(negative=())]


def show(
    study: str,
    *,
    cost: _Flag = False,
    quick: _Flag = False,
    full: _Flag = False,
    where: str | None = None,
    workers: int | None = None,
    on: str | None = None,
    out: Path | None = None,
    json: _Flag = False,
) -> int:
    """Say what a study asks, what it computes, what it claims, and what can be swapped; or what a run of it will cost.

    Args:
        study: Slug or .py file.
        cost: Compute two cells, throw them away, and foretell time, memory and disk of the run.
        quick: With --cost: of the quick grid.
        full: With --cost: of the paper's sizes.
        where: With --cost: of the cells that satisfy this condition.
        workers: With --cost: with so many cells at once; one per core if left out.
        on: With --cost: where the run would compute. The two cells are computed here.
        out: With --cost: the folder whose rows count as there; ./runs/SLUG if left out.
        json: Print JSON.
    """
    if quick and full:
        raise InputError("`--quick` and `--full` exclude each other; give one of them")
    options = {"--quick": quick, "--full": full, "--where": where, "--workers": workers, "--on": on, "--out": out}
    given = [name for name, value in options.items() if value not in (None, False)]
    if cost:
        return _cost(study, "quick" if quick else "full" if full else "default", where, workers, on, out, json=json)
    if given:
        raise InputError(f"`{given[0]}` goes with `--cost`, got it alone; add --cost, or leave it out")
    return _description(study, json=json)


def _cost(
    study: str, size: str, where: str | None, workers: int | None, on: str | None, out: Path | None, *, json: bool
) -> int:
    from steppe.workflow import estimate_cost

    from .costs import as_dict, print_cost

    found = estimate_cost(study, size=size, where=where, workers=workers, on=on or "local", out=out)  # type: ignore[arg-type]  # one of the three
    if json:
        print_json(as_dict(found))
    else:
        print_cost(found)
    return 0


def _description(study: str, *, json: bool) -> int:
    from steppe.studies import known_studies
    from steppe.workflow import load_study

    from .description import as_dict, print_study

    found = load_study(study)
    cost = next((entry.cost for entry in known_studies() if entry.slug == found.slug), "not stated")
    if json:
        print_json(as_dict(found, cost))
    else:
        print_study(found, cost)
    return 0
