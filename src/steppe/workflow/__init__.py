"""From a slug or a file to rows, verdicts and a report; and theorems checked on the user's own network.

Importing this room loads neither torch nor scikit-learn.

Provisional until 1.0.
"""

from .checking import check_network, load_data, load_network
from .citing import Citation, bibliography, citations
from .compressing import compress_problem, compress_problem_curve
from .configuring import Configuration, plan_configured, read_configuration
from .costing import CostEstimate, Probe, estimate_cost
from .diffing import Difference, StatusChange, VerdictPair, diff
from .doctor import Finding, diagnose
from .loading import load_study
from .measuring import Problem, load_problem, measure_problem, plan_problem, track_problem
from .moving import Compared, Movement
from .places import check_target
from .planning import select
from .rejudging import export, judge, load
from .result import StudyResult
from .running import Plan, plan, run, run_plan
from .sides import Side
from .verifying import verify_certificate

__all__ = [
    "Citation",
    "Compared",
    "Configuration",
    "CostEstimate",
    "Difference",
    "Finding",
    "Movement",
    "Plan",
    "Probe",
    "Problem",
    "Side",
    "StatusChange",
    "StudyResult",
    "VerdictPair",
    "bibliography",
    "check_network",
    "check_target",
    "citations",
    "compress_problem",
    "compress_problem_curve",
    "diagnose",
    "diff",
    "estimate_cost",
    "export",
    "judge",
    "load",
    "load_data",
    "load_network",
    "load_problem",
    "load_study",
    "measure_problem",
    "plan",
    "plan_configured",
    "plan_problem",
    "read_configuration",
    "run",
    "run_plan",
    "select",
    "track_problem",
    "verify_certificate",
]
