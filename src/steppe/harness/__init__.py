"""Studies: grids, rows, claims and their verdicts, the store, the runner. Knows no science and imports no torch.

Provisional until 1.0.
"""

from .canonical import canonical
from .claims import Claim, Control
from .claims_levels import Settles, Within
from .claims_rowwise import AtLeast, AtMost, Equal, Invariant, Predicate, Share
from .claims_slopes import Ordered, PowerLaw, SlopesOrdered
from .engine import Place, parse_place
from .expressions import Condition
from .grid import Cell, Grid
from .identity import claims_digest, identity, keys_of
from .outcomes import Outcome, compute
from .progress import Both, Progress
from .rows import AbsentColumnError, Row, Rows, label_of, reason_of
from .runner import Summary, check_terms, load_rows, run_cells
from .slots import Absent, Diverged, Slot
from .sources import source_digest
from .standing import Crash, Slow, Standing, TimeLeft, Watch
from .store import Record, Store
from .stored import stored_rows
from .study import FigureSpec, Study
from .verdicts import ControlVerdict, Judgement, Verdict

__all__ = [
    "Absent",
    "AbsentColumnError",
    "AtLeast",
    "AtMost",
    "Both",
    "Cell",
    "Claim",
    "Condition",
    "Control",
    "ControlVerdict",
    "Crash",
    "Diverged",
    "Equal",
    "FigureSpec",
    "Grid",
    "Invariant",
    "Judgement",
    "Ordered",
    "Outcome",
    "Place",
    "PowerLaw",
    "Predicate",
    "Progress",
    "Record",
    "Row",
    "Rows",
    "Settles",
    "Share",
    "SlopesOrdered",
    "Slot",
    "Slow",
    "Standing",
    "Store",
    "Study",
    "Summary",
    "TimeLeft",
    "Verdict",
    "Watch",
    "Within",
    "canonical",
    "check_terms",
    "claims_digest",
    "compute",
    "identity",
    "keys_of",
    "label_of",
    "load_rows",
    "parse_place",
    "reason_of",
    "run_cells",
    "source_digest",
    "stored_rows",
]
