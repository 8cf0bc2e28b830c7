"""What to cite: steppe, and the paper that a study puts to the test, as BibTeX."""

import os
import re
from importlib.resources import files
from typing import NamedTuple

from steppe._version import __version__
from steppe.harness import Study

from .loading import load_study

_STEPPE = f"""@software{{steppe,
  author = {{{{The steppe authors}}}},
  title = {{{{steppe}}: flatness, function-space norms and generalization of neural networks}},
  version = {{{__version__}}},
  url = {{https://github.com/steppe-dev/steppe}}
}}"""


class Citation(NamedTuple):
    """One work.

    Args:
        key: Its BibTeX key.
        bibtex: The entry.
    """

    key: str
    bibtex: str


def citations(study: Study | str | os.PathLike[str] | None = None) -> list[Citation]:
    """Entries for steppe itself and, with a study, for its paper.

    A paper that is not in steppe's bibliography is cited by the study's own `reference`; a study without one adds
    nothing.

    Args:
        study: Slug, path to a .py file with STUDY, or the study.

    Raises:
        InputError: There is no such study.
    """
    found = [Citation("steppe", _STEPPE)]
    if study is None:
        return found
    chosen = load_study(study)
    if chosen.paper in (known := bibliography()):
        found.append(Citation(chosen.paper, known[chosen.paper]))
    elif chosen.reference:
        key = chosen.paper or chosen.slug
        found.append(Citation(key, f"@misc{{{key},\n  note = {{{chosen.reference}}}\n}}"))
    return found


def bibliography() -> dict[str, str]:
    """Key → BibTeX entry of every paper that steppe's studies, docstrings and pages rest on."""
    text = (files("steppe.studies") / "references.bib").read_text(encoding="utf-8")
    entries = re.finditer(r"^@\w+\{([^,]+),.*?^\}", text, re.MULTILINE | re.DOTALL)
    return {entry[1]: entry[0] for entry in entries}
