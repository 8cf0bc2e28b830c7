"""The rigorous stage: turning what the local search believes into what is proved, as far as the dimension allows."""

from dataclasses import dataclass, replace

from .branching import boundable, bounded_maximum
from .enumeration import enumerable, exact_maximum
from .homogeneous import rank_of
from .maximum import Maximum
from .neuron_set import Array
from .problem import VariationProblem

_ARCS = 40  # arcs of the enumeration that take about as long as one cone
_WORTH = 1.1  # a proved bound above this share of the largest value found says less than the local search


@dataclass(frozen=True)
class Proof:
    """How much work a proof may take.

    Args:
        max_cones: Cones of the branch and bound, about 5 µs each at n = 200, and the like for an enumeration; 0 for no
            proof at all.
        dimensions: Dimensions up to which a proof is tried: they cost a factor of ten and more each.
    """

    max_cones: int = 100_000
    dimensions: int = 5


def prove(problem: VariationProblem, rho: Array, maximum: Maximum, tol: float, proof: Proof) -> Maximum:
    """The best statement about M(ρ) that the dimension and the work allow; the local answer if there is none.

    Args:
        problem: The problem, of ordinary scale.
        rho: As `problem.rho` returns it.
        maximum: What the local search found.
        tol: Relative gap that is aimed at.
        proof: How much work is allowed.
    """
    if proof.max_cones == 0 or problem.outputs > 1:
        return maximum
    target = problem.alpha * (1 + tol / 2)
    free = problem.bias == "free"
    rank = rank_of(problem.X if free else problem.Z, centred=free)
    arcs = problem.n ** max(0, rank - 1) * (problem.n if free and rank > 1 else 1)
    if arcs <= _ARCS * proof.max_cones and enumerable(problem):
        return exact_maximum(problem, rho, target=target)
    if rank > proof.dimensions or not boundable(problem):
        return maximum
    proved = bounded_maximum(problem, rho, target=target, max_cones=proof.max_cones, known=maximum.units)
    best = max(proved.value, maximum.value)
    if len(proved.units) or proved.upper <= _WORTH * best:
        return proved
    return replace(
        maximum, reason=f"{maximum.reason}; the proof ran out of cones at {proved.upper / best:.2g} times it"
    )
