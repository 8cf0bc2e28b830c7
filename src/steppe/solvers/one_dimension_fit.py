"""One input, free bias and affine part, squared loss: the exact fit, on plain arrays.

minimize ½·Σ s_i (y_i − f(x_i))² + alpha·TV(f′) over all functions, s_i = sample_weight_i / Σ sample_weight.
A minimizer is piecewise linear with knots at data points, so the dual maximum is that of n numbers: with ρ = s(y − f),
g(t) = Σ ρ_i relu(x_i − t) is piecewise linear between data points, and two running sums give it at all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steppe.core import check_integer, check_number

from .one_dimension_master import Master
from .one_dimension_mesh import Indices, Mesh, Vector, steps
from .one_dimension_samples import Samples, as_samples
from .one_dimension_sparsest import Broken, sparsest

TOL = 1e-12
MAX_ITER = 500
_MARGIN = 0.25  # of `tol`: how far above alpha the dual function may lie where no knot is added
_PATIENCE = 4  # rounds with neither a smaller gap nor a smaller objective after which rounding is called the limit
_EPS = 4 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class OneDimensionalFit:
    """A piecewise linear function, and how near it is to the optimum.

    Args:
        positions: Ends of the pieces: smallest x, knots, largest x.
        values: The function there; beyond the ends it is continued linearly.
        knots: Where the slope changes.
        changes: By how much.
        slope: Slope left of all knots.
        intercept: Value at x = 0 of the line left of all knots; with a large offset of x prefer `predict`.
        alpha: Weight of the penalty.
        objective: ½·weighted squares + alpha·TV(f′).
        gap: Objective minus dual value, computed without cancellation; the true excess is not larger, up to rounding.
        maximum: max |g| over alpha at the returned fit (1 at the optimum with knots).
        iterations: Rounds of adding knots.
        converged: Whether gap ≤ tol·objective.
        reason: Why it stopped.
    """

    positions: Vector
    values: Vector
    knots: Vector
    changes: Vector
    slope: float
    intercept: float
    alpha: float
    objective: float
    gap: float
    maximum: float
    iterations: int
    converged: bool
    reason: str

    @property
    def variation(self) -> float:
        """TV(f′) = Σ |change of slope|."""
        return float(np.abs(self.changes).sum())

    @property
    def relative_gap(self) -> float:
        """Gap over objective, 0 where both are 0."""
        return 0.0 if self.gap == 0 else self.gap / self.objective

    def predict(self, x: ArrayLike) -> Vector:
        """The function at x, accurate to rounding whatever the offset of x."""
        return Broken(self.positions, self.values)(np.asarray(x, dtype=np.float64))


def fit_one_dimension(
    x: ArrayLike,
    y: ArrayLike,
    alpha: float,
    *,
    sample_weight: ArrayLike | None = None,
    tol: float = TOL,
    max_iter: int = MAX_ITER,
    sparse: bool = True,
) -> OneDimensionalFit:
    """The global minimizer of ½·Σ s_i (y_i − f(x_i))² + alpha·TV(f′).

    Args:
        x: n positions, in any order; equal ones are allowed.
        y: n values.
        alpha: At least 0; 0 interpolates the means at equal x.
        sample_weight: Nonnegative; only ratios matter. Default 1.
        tol: Relative gap at which it stops.
        max_iter: Rounds of adding knots.
        sparse: Whether to hand over a minimizer with fewest knots, between data points where that saves knots, rather
            than the one with knots at data points.

    Raises:
        DataError: Lengths differ, there is no sample, or an entry is not finite.
        ParameterError: Alpha is negative or not finite, or `tol` or `max_iter` is out of range.

    Cost: One sort, then about ten passes over the data per round; about ten rounds at 10⁵ samples.
    """
    return fit_one_dimension_path(
        x, y, [alpha], sample_weight=sample_weight, tol=tol, max_iter=max_iter, sparse=sparse
    )[0]


def fit_one_dimension_path(
    x: ArrayLike,
    y: ArrayLike,
    alphas: Sequence[float],
    *,
    sample_weight: ArrayLike | None = None,
    tol: float = TOL,
    max_iter: int = MAX_ITER,
    sparse: bool = True,
    knots: ArrayLike | None = None,
) -> list[OneDimensionalFit]:
    """`fit_one_dimension` for several alphas in the given order, each from the knots of the one before.

    Decreasing alphas are fastest. `knots` are where the first one begins. Other arguments and errors: as there.
    """
    check_number("tol", tol, minimum=0)
    check_integer("max_iter", max_iter, minimum=1)
    for alpha in alphas:
        check_number("alpha", alpha, minimum=0)
    samples = as_samples(x, y, sample_weight)
    fits: list[OneDimensionalFit] = []
    state = None if knots is None or samples.x.size < 3 else _started(samples, np.asarray(knots, dtype=np.float64))
    for alpha in alphas:
        if samples.x.size < 3 or alpha == 0:
            fits.append(_interpolant(samples, float(alpha), sparse=sparse))
            continue
        state = _optimized(samples, samples.scaled_alpha(alpha), state, tol, max_iter)
        fits.append(_handed_over(samples, state, float(alpha), sparse=sparse))
    return fits


def interpolate_one_dimension(x: ArrayLike, y: ArrayLike, *, sparse: bool = True) -> OneDimensionalFit:
    """A function with f(x_i) = y_i and the smallest TV(f′), the limit alpha → 0; equal x get the mean of their y.

    Its `variation` is Σ |change of slope| of the polygon through the data. With `sparse` no interpolant of that
    variation has fewer knots; there are at most n − 2.
    """
    return _interpolant(as_samples(x, y), 0.0, sparse=sparse)


def one_dimension_alpha_max(x: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """The smallest alpha for which the least-squares line is optimal: max_j |Σ_i s_i r_i relu(x_i − x_j)|.

    Cost: One sort.
    """
    samples = as_samples(x, y, sample_weight)
    if samples.x.size < 3:
        return 0.0
    line = _line(samples)
    dual = dual_function(samples.weights * _residual(samples, line), samples.gaps)
    return float(np.abs(dual).max()) * samples.span * samples.scale


def dual_function(rho: Vector, gaps: Vector) -> Vector:
    """The numbers g_j = Σ_i ρ_i relu(x_i − x_j) for ρ orthogonal to affine functions, from the gaps of sorted x.

    For such ρ they equal Σ_i ρ_i relu(x_j − x_i): two running sums. Nothing is multiplied by x itself, so that a large
    offset cancels nothing.
    """
    found = np.empty(rho.size)
    found[0] = 0.0
    np.cumsum(gaps * np.cumsum(rho[:-1]), out=found[1:])
    return found


@dataclass(frozen=True)
class _State:
    """A fit of the scaled problem by its residuals at nodes, which stay accurate however small they are."""

    mesh: Mesh
    slack: Vector
    objective: float = np.inf
    gap: float = np.inf
    maximum: float = np.inf
    iterations: int = 0
    converged: bool = False
    reason: str = ""


def _line(samples: Samples) -> _State:
    """The least-squares line."""
    mesh = Mesh(samples.x, np.array([0, samples.x.size - 1]))
    elements = mesh.elements(samples.weights)
    state = _State(mesh, np.zeros(2))
    for _ in range(2):
        move = elements.solve(mesh.restrict(samples.weights * _residual(samples, state)))
        state = _State(mesh, state.slack - move)
    return state


def _residual(samples: Samples, state: _State) -> Vector:
    """Y − f at all points: that of the polygon through the data at the nodes, plus the residuals there."""
    found = samples.y - state.mesh.expand(samples.y[state.mesh.nodes])
    found += state.mesh.expand(state.slack)
    return found


def _changes(samples: Samples, state: _State) -> Vector:
    """Slope changes at the inner nodes."""
    nodes = state.mesh.nodes
    widths = steps(samples.x[nodes]) / samples.span
    return steps((steps(samples.y[nodes]) - steps(state.slack)) / widths)


def _started(samples: Samples, knots: Vector) -> _State:
    """The least-squares line with nodes at the data points next to the given knots."""
    line, last = _line(samples), samples.x.size - 1
    after = np.clip(np.searchsorted(samples.x, knots), 1, last)
    nodes = np.unique(np.concatenate([[0], after - 1, after, [last]]))
    return _State(Mesh(samples.x, nodes), _residual(samples, line)[nodes])


def _optimized(samples: Samples, alpha: float, start: _State | None, tol: float, max_iter: int) -> _State:
    state = _line(samples) if start is None else start
    best, lowest, since = replace(state, gap=np.inf), np.inf, 0
    for iteration in range(max_iter + 1):
        residual = _residual(samples, state)
        rho = samples.weights * residual
        dual = dual_function(rho, samples.gaps)
        state = _judged(replace(state, iterations=iteration), samples, alpha, float(rho @ residual), dual)
        # The objective falls from round to round, the gap need not.
        better = state.gap < best.gap or state.objective < lowest * (1 - _EPS)
        since, lowest = (0 if better else since + 1), min(lowest, state.objective)
        best = state if state.gap < best.gap else best
        if best.gap <= tol * (samples.within + best.objective):
            return replace(best, converged=True, reason="the gap is below tol")
        if since >= _PATIENCE:
            return replace(best, reason="rounding allows no smaller gap")
        if iteration < max_iter:
            state = _round(state, samples, alpha, residual, dual, alpha * (1 + _MARGIN * tol))
    return replace(best, reason=f"max_iter = {max_iter} rounds are used up")


def _judged(state: _State, samples: Samples, alpha: float, squares: float, dual: Vector) -> _State:
    """Objective and gap. With θ = cρ, c = min(1, alpha/M): gap = ½(1 − c)²Σρr + alpha·TV − cΣρf, and Σρf = Σ v g."""
    changes = _changes(samples, state)
    at_knots = dual[state.mesh.nodes[1:-1]]
    maximum = float(np.abs(dual).max()) / alpha
    share = min(1.0, 1.0 / maximum) if maximum > 0 else 1.0
    gap = 0.5 * squares * (1 - share) ** 2 + float(np.sum(alpha * np.abs(changes) - share * changes * at_knots))
    objective = 0.5 * squares + alpha * float(np.abs(changes).sum())
    return replace(state, objective=objective, gap=max(gap, 0.0), maximum=maximum)


def _round(state: _State, samples: Samples, alpha: float, residual: Vector, dual: Vector, limit: float) -> _State:
    """Add the peaks of |g| above the limit, then solve with these knots."""
    nodes = np.unique(np.concatenate([state.mesh.nodes, peaks(dual, limit)]))
    changes = np.zeros(nodes.size)
    changes[np.searchsorted(nodes, state.mesh.nodes[1:-1])] = _changes(samples, state)
    signs = np.where(changes != 0, np.sign(changes), np.sign(dual[nodes]))
    mesh = Mesh(samples.x, nodes) if nodes.size > state.mesh.nodes.size else state.mesh
    master = Master(
        positions=samples.x[nodes],
        elements=mesh.elements(samples.weights),
        pull=mesh.restrict(samples.weights * residual),
        values=samples.y[nodes] - residual[nodes],
        changes=changes[1:-1],
        signs=signs[1:-1],
        alpha=alpha,
        unit=samples.span,
    )
    kept, moves = master.solve()
    mesh = mesh if kept.size == nodes.size else Mesh(samples.x, nodes[kept])
    return _State(mesh, residual[mesh.nodes] - moves)


def peaks(dual: Vector, limit: float) -> Indices:
    """Where |g| is largest in each run of neighbours with |g| above the limit and one sign."""
    size = np.abs(dual)
    above = np.flatnonzero(size > limit)
    if above.size == 0:
        return above
    size, negative = size[above], np.signbit(dual[above])
    new = np.ones(above.size, dtype=bool)
    new[1:] = (above[1:] > above[:-1] + 1) | (negative[1:] != negative[:-1])
    runs = np.cumsum(new) - 1
    largest = np.maximum.reduceat(size, np.flatnonzero(new))
    at = np.flatnonzero(size == largest[runs])
    first = np.ones(at.size, dtype=bool)
    first[1:] = runs[at[1:]] > runs[at[:-1]]
    return above[at[first]]


def _handed_over(samples: Samples, state: _State, alpha: float, *, sparse: bool) -> OneDimensionalFit:
    nodes = state.mesh.nodes
    return _fit(samples, Broken(samples.x[nodes], samples.y[nodes] - state.slack), nodes, alpha, state, sparse=sparse)


def _interpolant(samples: Samples, alpha: float, *, sparse: bool) -> OneDimensionalFit:
    """The polygon through the data without its straight corners; with one or two x it is the fit for every alpha."""
    polygon = Broken(samples.x, samples.y)
    nodes = np.arange(samples.x.size)
    if nodes.size > 2:
        noise = 4 * _EPS * (1 + abs(samples.center) / samples.scale)  # of the values given, in units of the scale
        nodes = nodes[_ends_and(np.abs(polygon.changes) > 0)]
        bent = np.abs(polygon.changes) > noise * samples.span / np.minimum(steps(samples.x)[1:], steps(samples.x)[:-1])
        fewer = np.flatnonzero(_ends_and(bent))
        misfit = np.abs(Broken(samples.x[fewer], samples.y[fewer])(samples.x) - samples.y).max()
        nodes = fewer if misfit <= noise else nodes  # many small bends may add up to a large one
    state = _State(
        mesh=Mesh(samples.x, nodes),
        slack=np.zeros(nodes.size),
        objective=0.0,
        gap=0.0,
        maximum=0.0,
        converged=True,
        reason="the means at equal x are met",
    )
    return _fit(samples, Broken(samples.x[nodes], samples.y[nodes]), nodes, alpha, state, sparse=sparse)


def _ends_and(inner: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([[True], inner, [True]])


def _fit(
    samples: Samples, broken: Broken, nodes: Indices, alpha: float, state: _State, *, sparse: bool
) -> OneDimensionalFit:
    """In the units of the data; slopes come from scaled values, where an offset of y costs nothing."""
    broken = sparsest(broken, nodes) if sparse else broken
    values = samples.center + samples.scale * broken.values
    slope = samples.scale * float(broken.slopes[0]) if broken.positions.size > 1 else 0.0
    return OneDimensionalFit(
        positions=broken.positions,
        values=values,
        knots=broken.positions[1:-1],
        changes=samples.scale * broken.changes,
        slope=slope,
        intercept=float(values[0] - slope * broken.positions[0]),
        alpha=alpha,
        objective=samples.objective(state.objective),
        gap=state.gap * samples.scale * samples.scale,
        maximum=state.maximum,
        iterations=state.iterations,
        converged=state.converged,
        reason=state.reason,
    )
