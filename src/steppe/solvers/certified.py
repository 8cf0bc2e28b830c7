"""What every solver hands over: a solution with its certificate."""

from dataclasses import dataclass
from typing import Any

from .certificate import Certificate
from .maximum import Maximum
from .solution import Solution


@dataclass(frozen=True, eq=False)
class Certified:
    """A solution, how far from the optimum it is at most, and how it was reached.

    Args:
        solution: Neurons, sizes and free part.
        certificate: Primal and dual value with what shows them.
        maximum: The dual maximum at the residual of the solution, from which the certificate was made.
        history: One record per iteration.
        converged: Whether the relative gap is at most `tol`.
        reason: Why the solver stopped, in words.
        iterations: How many iterations it took.
    """

    solution: Solution
    certificate: Certificate
    maximum: Maximum
    history: tuple[dict[str, Any], ...] = ()
    converged: bool = True
    reason: str = ""
    iterations: int = 0
