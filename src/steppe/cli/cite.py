"""`steppe cite`."""

from typing import Annotated

from cyclopts import Parameter

from .output import answer, print_json


def cite(study: str | None = None, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Print what to cite as BibTeX: steppe, and the paper of a study.

    Args:
        study: Slug or .py file; steppe alone if left out.
        json: Print JSON.
    """
    from steppe.workflow import citations

    found = citations(study)
    if json:
        print_json([citation._asdict() for citation in found])
    else:
        answer("\n\n".join(citation.bibtex for citation in found))
    return 0
