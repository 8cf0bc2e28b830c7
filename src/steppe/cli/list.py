"""`steppe list`."""

from typing import Annotated

from cyclopts import Parameter

from .output import answer, print_json, print_table


def list_studies(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the studies, with what they cost.

    Args:
        json: Print JSON.
    """
    from steppe.studies import known_studies

    entries = known_studies()
    if json:
        print_json([entry._asdict() for entry in entries])
        return 0
    print_table(["study", "about", "cost"], [[e.slug, e.title, e.cost] for e in entries])
    answer("`steppe show STUDY` says what it asks and claims, `steppe run STUDY` runs it.")
    return 0
