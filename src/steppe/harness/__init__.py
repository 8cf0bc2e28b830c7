"""Studies: grids, rows, claims and their verdicts, the store, the runner. Knows no science and imports no torch.

Provisional until 1.0.
"""

from .canonical import canonical
from .claims import Claim, Control
from .claims_levels import Settles, Within
from .claims_rowwise import AtLeast, AtMost, Equal, Invariant, Predicate, Share
from .claims_slopes import Ordered, PowerLaw, SlopesOrdered
from .grid import Cell, Grid
from .identity import claims_digest, identity, keys_of
from .outcomes import Outcome, compute
from .progress import Progress
from .rows import AbsentColumnError, Row, Rows
from .runner import Summary, load_rows, run_cells
from .slots import Absent, Diverged, Slot
from .sources import source_digest
from .store import Record, Store
from .study import FigureSpec, Study
from .verdicts import ControlVerdict, Judgement, Verdict

__all__ = [
    "Absent",
    "AbsentColumnError",
    "AtLeast",
    "AtMost",
    "Cell",
    "Claim",
    "Control",
    "ControlVerdict",
    "Diverged",
    "Equal",
    "FigureSpec",
    "Grid",
    "Invariant",
    "Judgement",
    "Ordered",
    "Outcome",
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
    "Store",
    "Study",
    "Summary",
    "Verdict",
    "Within",
    "canonical",
    "claims_digest",
    "compute",
    "identity",
    "keys_of",
    "load_rows",
    "run_cells",
    "source_digest",
]
