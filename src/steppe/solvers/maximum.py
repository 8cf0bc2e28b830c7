"""The answer of an oracle: the largest correlation of a dual direction with one neuron, and how far it is proved."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Kind = Literal["exact", "bound", "heuristic"]


@dataclass(frozen=True, eq=False)
class Maximum:
    """What is known about M(ρ) = max over neurons of penalty norm one of |Σ_i ρ_i relu(z_i·u)|.

    Args:
        value: The largest value found; reached at `unit`.
        unit: The neuron u of penalty norm one where it is reached.
        upper: Never below M(ρ) for the kinds `exact` (then equal to `value`) and `bound`; for `heuristic` it equals
            `value` and proves nothing.
        kind: How far `upper` is proved.
        units: Neurons whose value exceeds the target of the search, best first.
        work: What the search counted: faces, cones or starts.
        reason: Why it stopped, in words.
    """

    value: float
    unit: Float[np.ndarray, " D"]
    upper: float
    kind: Kind
    units: Float[np.ndarray, "k D"]
    work: int = 0
    reason: str = ""
