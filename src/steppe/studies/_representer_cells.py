"""What one cell of `parhi2020-representer` computes."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize_scalar

from steppe.core import ComputationError, InputError, check_choice, derived_seed
from steppe.harness import Absent, Cell
from steppe.solvers import VariationProblem, interpolate_one_dimension, solve
from steppe.theory import free_polynomials, ridge_spline_width

from ._representer_interpolation import smallest_variation
from ._representer_training import Decayed, trained

Array = NDArray[np.float64]
Columns = dict[str, Any]
DICTIONARY = 300  # random ridge splines in the linear programs of higher order


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "interpolation": _interpolation,
        "xor": _xor,
        "knots": _knots,
        "decay": _decay,
        "splines": _splines,
        "scaling": _scaling,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


def sample(cell: Cell) -> tuple[Array, Array]:
    """The points and values of a cell."""
    x, y = cell.parts["data"](cell["n"], cell["d"], seed=cell["seed"])
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != (cell["n"], cell["d"]) or y.shape != (cell["n"],) or not np.isfinite(x).all() & np.isfinite(y).all():
        raise InputError(
            f"a part of the slot `data` must give finite x [{cell['n']}, {cell['d']}] and y [{cell['n']}], got "
            f"{list(x.shape)} and {list(y.shape)}; return two arrays of these shapes"
        )
    return x, y


def _interpolation(cell: Cell) -> Columns:
    return _interpolated(*sample(cell), seed=cell["seed"])


def _interpolated(x: Array, y: Array, *, seed: int) -> Columns:
    n, d = x.shape
    found = smallest_variation(x, y, seed=seed)
    return {
        "variation": found.value,
        "lower_bound": found.value / max(found.maximum, 1.0),
        "neurons": len(found.neurons),
        "merged_width": found.width,
        "width_bound": int(ridge_spline_width(n, d)),
    }


def _xor(cell: Cell) -> Columns:
    x = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    return _interpolated(x, np.array([0.0, 0.0, 1.0, 1.0]), seed=0)


_SHAPES: dict[str, tuple[list[float], list[float]]] = {
    "tent": ([0, 1, 2], [0, 1, 0]),
    "reference": ([0, 1, 2, 3.5, 4, 6], [0, 1, -0.5, 2, 2.5, 1]),
}


def _line(cell: Cell) -> tuple[Array, Array]:
    """Data on a line by name: fixed, alternating, convex, or random."""
    if cell["shape"] in _SHAPES:
        points, values = _SHAPES[cell["shape"]]
        return np.array(points, dtype=np.float64), np.array(values, dtype=np.float64)
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    x = np.cumsum(rng.uniform(0.2, 1.0, cell["n"]))
    shapes = {"alternating": (-1.0) ** np.arange(cell["n"]), "convex": np.square(x), "random": rng.normal(size=x.size)}
    check_choice("shape", cell["shape"], [*_SHAPES, *shapes])
    return x, shapes[cell["shape"]]


def _knots(cell: Cell) -> Columns:
    x, y = _line(cell)
    slopes = np.diff(y) / np.diff(x)
    sparse, polygon = interpolate_one_dimension(x, y), interpolate_one_dimension(x, y, sparse=False)
    program = smallest_variation(x[:, None], y, seed=cell["seed"])
    return {
        "variation": program.value,
        "lower_bound": program.value / max(program.maximum, 1.0),
        "exact_variation": sparse.variation,
        "slope_changes": float(np.abs(np.diff(slopes)).sum()),
        "counted_from_zero": float(np.abs(slopes[0]) + np.abs(np.diff(slopes)).sum()),
        "second_differences": float(np.abs(np.diff(y, 2)).sum()),
        "knots": sparse.knots.size,
        "polygon_knots": polygon.knots.size,
        "width_bound": int(ridge_spline_width(x.size, 1)),
        "misfit": float(np.abs(sparse.predict(x) - y).max()),
    }


def _decay(cell: Cell) -> Columns:
    x, y = sample(cell)
    alpha = cell["strength"] / len(y)
    problem = VariationProblem(x, y, alpha=alpha)
    best = solve(problem, tol=1e-8)
    run: Decayed = trained(x, y, alpha, width=cell["width"], steps=cell["steps"], seed=cell["seed"])
    forgotten = solve(problem.with_alpha(2 * alpha), tol=1e-8)
    certificate = best.certificate
    optimum = certificate.primal * len(y)
    return {
        "optimum": optimum,
        "optimum_gap": certificate.relative_gap,
        "optimum_proved": certificate.kind != "heuristic",
        "optimum_width": best.solution.width,
        "balanced_optimum": _balanced(problem, best.solution) * len(y),
        "optimum_without_half": forgotten.certificate.primal * len(y),
        "decay_objective": run.decay * len(y),
        "path_objective": run.path * len(y),
        "excess": run.decay * len(y) / optimum - 1,
        "imbalance": run.imbalance,
        "live_neurons": run.live,
        "width_bound": int(ridge_spline_width(*x.shape)),
    }


def _balanced(problem: VariationProblem, solution: Any) -> float:
    """Loss plus alpha/2·Σ(‖w‖² + v²) of the balanced network of the optimum."""
    network = solution.network(problem)
    weights = float(network.w.detach().square().sum() + network.v.detach().square().sum())
    return problem.loss(problem.evaluate(solution)) + 0.5 * problem.alpha * weights


def monomials(x: Array, degree: int) -> Array:
    """All monomials of degree at most `degree`."""
    n, d = x.shape
    columns = [np.ones(n)]
    for size in range(1, degree + 1):
        subsets = itertools.combinations_with_replacement(range(d), size)
        columns += [np.prod(x[:, chosen], axis=1) for chosen in subsets]
    return np.column_stack(columns)


def _splines(cell: Cell) -> Columns:
    """A vertex of the linear program over random ridge splines of the order, polynomials free."""
    x, y = sample(cell)
    n, d = x.shape
    order = cell["order"]
    rng = np.random.default_rng(derived_seed("study.extra", 1000 + cell["seed"]))
    units = rng.standard_normal((DICTIONARY, d))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cuts = rng.uniform(-1, 1, DICTIONARY) * np.abs(x @ units.T).max(axis=0)
    ridges = np.maximum(x @ units.T - cuts, 0.0) ** (order - 1) / math.factorial(order - 1)
    free = monomials(x, order - 1)
    result = linprog(
        np.concatenate([np.ones(2 * DICTIONARY), np.zeros(free.shape[1])]),
        A_eq=np.column_stack([ridges, -ridges, free]),
        b_eq=y,
        bounds=[(0, None)] * (2 * DICTIONARY) + [(None, None)] * free.shape[1],
        method="highs-ds",
    )
    if result.status != 0:
        raise ComputationError(f"the linear program failed: {result.message}")
    v = result.x[:DICTIONARY] - result.x[DICTIONARY : 2 * DICTIONARY]
    return {
        "neurons": int(np.count_nonzero(np.abs(v) > 1e-9 * np.abs(v).max())),
        "width_bound": int(ridge_spline_width(n, d, order)),
        "polynomials": int(np.linalg.matrix_rank(free)),
        "free_dimension": int(free_polynomials(d, order)),
        "free_dimension_below": math.comb(d + order - 2, d),
    }


def _scaling(cell: Cell) -> Columns:
    """Weight decay of one ridge spline, minimized over its scale by search, against its path norm |v|·‖w‖^(m − 1)."""
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    order, v, w = cell["order"], float(np.exp(rng.normal())), float(np.exp(rng.normal()))

    def decay(logarithm: float, power: int) -> float:
        scale = math.exp(logarithm)
        return 0.5 * ((v / scale ** (order - 1)) ** 2 + (w * scale) ** power)

    least, usual = (
        float(minimize_scalar(decay, bracket=(-1.0, 1.0), args=(power,), tol=1e-12).fun) for power in (2 * order - 2, 2)
    )
    path = v * w ** (order - 1)
    return {"scaled_over_path": least / path, "usual_over_path": usual / path}
