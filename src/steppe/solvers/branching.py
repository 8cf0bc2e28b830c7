"""Branch and bound for the maximum of |Σ_i ρ_i relu(z_i·w)| over the unit sphere, where enumeration is too much.

The sphere is cut into simplicial cones. On a cone with corners v_j and for one sign of the function, a row that raises
it adds at most what its values at the corners say, a row that lowers it at most −l_i |ρ_i| z_i·w for any l_i in [0, 1];
what is left is linear, and bounded by ‖u‖ + max_j (r_j − u·v_j)₊ / (v_j·c) for any u, c the centroid. l and u come from
a few steps of FISTA, so that neurons on kinks, which optimal networks have, can be pruned. Cones above the target are
cut in two at their longest edge, worst first. Whenever it ends, the largest bound of a cone is an upper bound of the
maximum, up to rounding, which is charged (numerically certified: no step rounds outward).
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from steppe.core import ParameterError, check_integer, check_number

from .branching_numpy import Listed, bound_cones
from .enumeration import maximum_on_sphere
from .homogeneous import Found, Homogeneous, answer, kernels, rank_of, reduced, threads, unbounded
from .maximum import Maximum
from .problem import VariationProblem

MOST_DIMENSIONS = 7
_STEPS = 12  # of FISTA


def bounded_maximum(
    problem: VariationProblem,
    rho: Float[np.ndarray, " n"],
    *,
    target: float,
    max_cones: int = 1_000_000,
    known: Float[np.ndarray, "k D"] | None = None,
    precision: float = 1e-6,
    early: bool = True,
) -> Maximum:
    """An upper bound of M(ρ), at most `target` if M(ρ) is below it and the work suffices.

    Args:
        problem: Of one output and `boundable`.
        rho: As `problem.rho` returns it.
        target: Cones are cut until none can exceed it; neurons above it are handed back in `units`.
        max_cones: Limit of the work.
        known: Neurons that are evaluated first, brought to penalty norm one.
        precision: Where M(ρ) exceeds the target: stop at (1 + precision) times the best neuron.
        early: Stop soon after a neuron above the target was found. `upper` is a bound then too, but a coarse one.

    Returns:
        A Maximum of kind `"bound"`; `work` counts cones. `upper` is infinite where the bias is free and ρ is
        nothing but rounding noise.

    Raises:
        ParameterError: The problem is not `boundable`, or a number is out of range.

    Cost: 3 to 10 µs per cone at n = 200, compiled. Cones grow by a factor of ten and more per dimension.
    """
    free = problem.bias == "free"
    if problem.outputs > 1:
        raise ParameterError(f"`problem` must have one output, got {problem.outputs}; bound its outputs one by one")
    if free and (nothing := unbounded(problem.X, rho)):
        return nothing
    best, start = None, 0.0
    if known is not None and len(known):
        known = known / problem.penalty_norms(known)[:, None]
        values = np.abs(np.asarray(rho) @ problem.features(known))
        best, start = known[values.argmax()], float(values.max())
    found = bounded_on_sphere(
        problem.X if free else problem.Z, rho, target=target, max_cones=max_cones, centred=free, known=start,
        precision=precision, early=early, unit=problem.unit,
    )  # fmt: skip
    if best is None or start <= found.value:
        return found
    return dataclasses.replace(found, value=start, unit=best, upper=max(start, found.upper))


def boundable(problem: VariationProblem) -> bool:
    """Whether `bounded_maximum` serves this problem: one output, two to seven dimensions that matter.

    Cost: O(n D²).
    """
    free = problem.bias == "free"
    rank = rank_of(problem.X if free else problem.Z, centred=free)
    return problem.outputs == 1 and rank <= MOST_DIMENSIONS


def bounded_on_sphere(
    Z: Float[np.ndarray, "n D"],
    rho: Float[np.ndarray, " n"],
    *,
    target: float,
    max_cones: int = 1_000_000,
    centred: bool = False,
    known: float = 0.0,
    precision: float = 1e-6,
    early: bool = True,
    unit: float = 1.0,
) -> Maximum:
    """The same for arrays: an upper bound of the largest |Σ_i ρ_i relu(z_i·w)| over unit vectors w.

    Args:
        Z: Rows that span at most seven dimensions. With `centred`, the inputs X.
        rho: Weights.
        target: What is to be proved.
        max_cones: Limit of the work.
        centred: Whether the bias is free; see `maximum_on_sphere`.
        known: A value known to be reached.
        precision: Where the target cannot be proved: how close the bound must come to the best value.
        early: Stop soon after a point above the target was found.
        unit: What multiplies the bias, with `centred`.

    Returns:
        A Maximum of kind `"bound"`; its value is the best that was met above `known`, if any.

    Raises:
        ParameterError: More than seven dimensions, or a number out of range.
        DataError: Entries are not finite, or `rho` is not orthogonal to [X, 1] with `centred`.
    """
    check_integer("max_cones", max_cones, minimum=1)
    check_number("target", target)
    check_number("precision", precision, above=0.0)
    Z, rho = np.asarray(Z, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    small = reduced(Z, rho, centred=centred)
    if small.rank > MOST_DIMENSIONS:
        raise ParameterError(
            f"`Z` must span at most {MOST_DIMENSIONS} dimensions, got {small.rank}; no bound is served beyond, "
            "use the heuristic oracle"
        )
    if small.rank <= 1 or small.scale == 0:
        exact = maximum_on_sphere(Z, rho, centred=centred, target=target, unit=unit)
        return dataclasses.replace(exact, kind="bound")
    goal = max(0.0, target / small.scale - small.slack - (small.drift if small.even else 0.0)) * (1 - 1e-15)
    _, upper, cones, finished, points = _bounded(
        small, goal, known / small.scale, precision, early=early, most_cones=max_cones
    )
    found = [Found(value, centre, tuple(w)) for value, centre, w in points]
    result = answer(small, Z, rho, found, bound=upper, kind="bound", target=target, work=cones, reason="", unit=unit)
    reason = _reason(bool(result.upper <= target), finished=finished, cones=cones, most=max_cones)
    return dataclasses.replace(result, reason=reason)


def _bounded(
    small: Homogeneous, goal: float, known: float, precision: float, *, early: bool, most_cones: int
) -> tuple[float, float, int, bool, Listed]:
    """Best value, bound, cones, whether every cone was pruned, and points."""
    module = kernels()
    n = len(small.rows)
    if module is None:
        return bound_cones(
            small.rows, small.rho, centred=small.centred, target=goal, precision=precision, known=known,
            halves=small.even, early=early, most_cones=most_cones, steps=_STEPS,
        )  # fmt: skip
    return module.bound_cones(
        small.rows, small.rho, centred=small.centred, target=goal, precision=precision, known=known,
        halves=small.even, early=early, most_cones=most_cones, threads=threads(n * most_cones), steps=_STEPS,
    )  # fmt: skip


def _reason(proved: bool, *, finished: bool, cones: int, most: int) -> str:  # noqa: FBT001 - the one fact
    if proved:
        return "no cone can exceed the target"
    if finished:
        return "the target is not met; the best neuron is bounded to the precision asked for"
    return f"{cones:,} cones were seen, the limit" if cones >= most else "neurons above the target were found"
