"""`steppe doctor`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .output import UNUSABLE, answer, print_json, print_table


def doctor(*, out: Path = Path("runs"), json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Say what is installed, what works, and what to do about the rest.

    Args:
        out: The folder where runs would be stored.
        json: Print JSON.
    """
    from steppe.workflow import diagnose

    findings = diagnose(out)
    broken = [finding for finding in findings if finding.state == "broken"]
    if json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(["", "state", "found"], [[f.name, f.state, f.found] for f in findings])
        for finding in findings:
            if finding.remedy:
                answer(f"  {finding.name}: {finding.remedy}")
        answer("steppe is broken here." if broken else "steppe works here.")
    return UNUSABLE if broken else 0
