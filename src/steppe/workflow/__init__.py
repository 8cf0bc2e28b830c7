"""From a slug or a file to rows, verdicts and a report; and theorems checked on the user's own network.

Importing this room loads neither torch nor scikit-learn.

Provisional until 1.0.
"""

from .checking import check_network, load_data, load_network
from .doctor import Finding, diagnose
from .loading import load_study
from .planning import select
from .rejudging import export, judge, load
from .result import StudyResult
from .running import Plan, plan, run, run_plan

__all__ = [
    "Finding",
    "Plan",
    "StudyResult",
    "check_network",
    "diagnose",
    "export",
    "judge",
    "load",
    "load_data",
    "load_network",
    "load_study",
    "plan",
    "run",
    "run_plan",
    "select",
]
