"""`steppe show`."""

from typing import Annotated

from cyclopts import Parameter

from .output import print_json


def show(study: str, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Say what a study asks, what it computes, what it claims, and what can be swapped.

    Args:
        study: Slug or .py file.
        json: Print JSON.
    """
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
