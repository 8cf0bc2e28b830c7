"""What every room shares: errors, results that carry their error, generators, losses and the checks at the doors.

Importing this door loads no torch; the names that need it (`generator`, the losses, the tensor checks)
arrive on first use.

Provisional until 1.0.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    ComputationError,
    CorruptStoreError,
    DataError,
    DeviceError,
    DtypeError,
    InputError,
    KindError,
    NotComputedError,
    NotDeterministicError,
    ParameterError,
    ShapeError,
    SteppeError,
    StoreBusyError,
    StoreError,
    UnknownNameError,
)
from .estimates import Estimate
from .facts import Fact, Status
from .notes import listening, note
from .seeds import PURPOSES, derived_seed
from .validation import (
    check_choice,
    check_integer,
    check_known,
    check_number,
    refuse_unknown_keywords,
)
from .words import duration, grouped

if TYPE_CHECKING:
    from .batches import Batches, samples_of, targets_of
    from .devices import check_inputs, check_same_place, check_targets
    from .generators import generator
    from .losses import CrossEntropy, Logistic, SquaredLoss
    from .objectives import Objective
    from .parts import Part, take_samples
    from .random_states import same_random_states

_LAZY = {
    "Batches": "batches",
    "Objective": "objectives",
    "CrossEntropy": "losses",
    "Logistic": "losses",
    "Part": "parts",
    "SquaredLoss": "losses",
    "check_inputs": "devices",
    "check_same_place": "devices",
    "check_targets": "devices",
    "generator": "generators",
    "same_random_states": "random_states",
    "samples_of": "batches",
    "take_samples": "parts",
    "targets_of": "batches",
}

__all__ = [
    "PURPOSES",
    "Batches",
    "ComputationError",
    "CorruptStoreError",
    "CrossEntropy",
    "DataError",
    "DeviceError",
    "DtypeError",
    "Estimate",
    "Fact",
    "InputError",
    "KindError",
    "Logistic",
    "NotComputedError",
    "NotDeterministicError",
    "Objective",
    "ParameterError",
    "Part",
    "ShapeError",
    "SquaredLoss",
    "Status",
    "SteppeError",
    "StoreBusyError",
    "StoreError",
    "UnknownNameError",
    "check_choice",
    "check_inputs",
    "check_integer",
    "check_known",
    "check_number",
    "check_same_place",
    "check_targets",
    "derived_seed",
    "duration",
    "generator",
    "grouped",
    "listening",
    "note",
    "refuse_unknown_keywords",
    "same_random_states",
    "samples_of",
    "take_samples",
    "targets_of",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
