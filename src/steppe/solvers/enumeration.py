"""The exact maximum of |Σ_i ρ_i relu(z_i·w)| by enumeration of the cells that the data cut, up to three dimensions.

On a cell the function is linear, so that its maximum is at q/‖q‖ inside the cell, on an arc of a great circle w ⊥ z_i,
or at a vertex. In the plane a walk past the sorted breakpoints meets every cell; on the sphere a walk along every great
circle meets every arc and the cells on both sides. A free bias makes n such problems, one per bias b = w·x_j. The best
points are evaluated on the data in extended precision; `upper` adds a bound on rounding (numerically certified).
"""

import numpy as np
from jaxtyping import Float

from steppe.core import ParameterError

from .enumeration_numpy import enumerate_arcs
from .homogeneous import Found, Homogeneous, answer, kernels, rank_of, reduced, threads, unbounded
from .maximum import Maximum
from .problem import VariationProblem

MOST_WORK = 20_000_000  # arcs; some seconds of compiled code
_PARALLEL = 2e-12  # what rows within 1e-12 of one another may hide


def exact_maximum(problem: VariationProblem, rho: Float[np.ndarray, " n"], *, target: float | None = None) -> Maximum:
    """M(ρ), exactly up to rounding: the largest |Σ_i ρ_i relu(z_i·u)| over neurons of penalty norm one.

    Args:
        problem: Of one output.
        rho: As `problem.rho` returns it.
        target: Neurons above it are handed back in `units`; all that were met if None.

    Returns:
        A Maximum of kind `"exact"`; `upper` exceeds `value` by the rounding that it is charged. Where the bias is free
        and ρ is nothing but rounding noise, M = ∞: kind `"bound"`, `upper` infinite.

    Raises:
        ParameterError: The problem is not `enumerable`.

    Cost: O(n log n) in two dimensions, O(n² log n) in three; times n if the bias is free.
    """
    free = problem.bias == "free"
    rows = problem.X if free else problem.Z
    if free and (nothing := unbounded(rows, rho)):
        return nothing
    return maximum_on_sphere(rows, rho, centred=free, target=target, unit=problem.unit)


def enumerable(problem: VariationProblem) -> bool:
    """Whether `exact_maximum` serves this problem: one output, at most 3 dimensions that matter, at most 2·10⁷ arcs.

    Cost: O(n D²).
    """
    free = problem.bias == "free"
    rows = problem.X if free else problem.Z
    return problem.outputs == 1 and _served(len(rows), rank_of(rows, centred=free), centred=free)


def _served(n: int, rank: int, *, centred: bool) -> bool:
    return rank <= 3 and n ** max(0, rank - 1) * (n if centred and rank > 1 else 1) <= MOST_WORK


def maximum_on_sphere(
    Z: Float[np.ndarray, "n D"],
    rho: Float[np.ndarray, " n"],
    *,
    centred: bool = False,
    target: float | None = None,
    unit: float = 1.0,
) -> Maximum:
    """The largest |Σ_i ρ_i relu(z_i·w)| over unit vectors w, for arrays.

    Args:
        Z: Rows that span at most three dimensions. With `centred`, the inputs X.
        rho: Weights.
        centred: Whether the bias is free: the largest |Σ_i ρ_i relu(w·x_i − b)| over ‖w‖ = 1 and all b. Then `rho` must
            be orthogonal to [X, 1], else there is no largest, and units are (w, b).
        target: Points above it are handed back in `units`.
        unit: What multiplies the bias, with `centred`.

    Raises:
        ParameterError: More than three dimensions, or more than 2·10⁷ arcs.
        DataError: Entries are not finite, or `rho` is not orthogonal to [X, 1] with `centred`.
    """
    Z, rho = np.asarray(Z, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    small = reduced(Z, rho, centred=centred)
    if not _served(len(small.rows), small.rank, centred=centred):
        raise ParameterError(
            f"`Z` must span at most 3 dimensions and cut at most {MOST_WORK:,} arcs, got {small.rank} dimensions and "
            f"{len(small.rows)} rows; use bounded_on_sphere"
        )
    goal = np.inf if target is None or small.scale == 0 else target / small.scale
    value, found, work = _enumerated(small, goal)
    bound = value + (_PARALLEL * small.size if small.rank == 3 else 0.0)
    floor = -np.inf if target is None else target
    return answer(
        small,
        Z,
        rho,
        found,
        bound=bound,
        kind="exact",
        target=floor,
        work=work,
        reason="every cell was seen",
        unit=unit,
    )


def _enumerated(small: Homogeneous, goal: float) -> tuple[float, list[Found], int]:
    """Value, points and number of arcs."""
    n = len(small.rows)
    if small.rank == 0:
        return 0.0, [], 0
    if small.rank == 1:
        found = _on_line(small)
        return (found[0].value if found else 0.0), found, n
    module = kernels()
    if module is None:
        value, points = enumerate_arcs(small.rows, small.rho, centred=small.centred, target=goal)
    else:
        value, points = module.enumerate_arcs(
            small.rows, small.rho, centred=small.centred, target=goal, threads=threads(n**2)
        )
    work = n ** (small.rank - 1) * (n if small.centred else 1)
    return value, [Found(size, centre, tuple(w)) for size, centre, w in points], work


def _on_line(small: Homogeneous) -> list[Found]:
    """One dimension: w = ±1, and with a free bias every knot, by sums from either end."""
    x, rho = small.rows[:, 0], small.rho
    if not small.centred:
        values = [(float(rho @ np.maximum(side * x, 0.0)), -1, side) for side in (1.0, -1.0)]
    else:
        values = []
        for side in (1.0, -1.0):
            order = np.argsort(side * x, kind="stable")[::-1]
            t, weight = side * x[order], rho[order]
            sums = np.cumsum(weight * t) - t * np.cumsum(weight)
            best = np.argsort(-np.abs(sums), kind="stable")[:64]
            values += [(float(sums[k]), int(order[k]), side) for k in best]
    found = [Found(abs(value), centre, (side,)) for value, centre, side in values if value != 0]
    return sorted(found, key=lambda point: -point.value)
