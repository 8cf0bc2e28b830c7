"""The cells of `kamber2025-sharpness` that start gradient descent next to a minimizer."""

import math
from typing import Any

import numpy as np

from steppe.curvature import deep_linear_sharpness_bounds, flattest_sharpness
from steppe.harness import Absent, Cell
from steppe.panel import Escape, EscapeRun, escape_experiment

from ._factorization_sharpness_cells import Columns, layers_of, product

START = 1e-9
_MAP = 41  # points of the map along either side
_MAP_FACTORS = (1.9, 2.1, 2.5)
_SHOWN = 120  # updates of a run that the map shows


def escape(cell: Cell) -> Columns:
    """One run from next to a minimizer."""
    layers = layers_of(cell)
    found = escape_experiment(layers, [cell["factor"]], start=START, radius=cell["radius"], steps=cell["steps"])
    least = float(flattest_sharpness(product(layers), len(layers)))
    products = float(deep_linear_sharpness_bounds(layers)[1]) / found.sharpness
    return {
        "sharpness": found.sharpness,
        "flattest": least,
        "flattest_factor": cell["factor"] * least / found.sharpness,
        **outcome(found.runs[0], cell["radius"]),
        "predicted_from_norm_products": steps_until(cell["factor"] * products, cell["radius"]),
    }


def steps_until(factor: float, radius: float) -> Any:
    """Updates until the radius at growth factor − 1."""
    if factor <= 2:
        return Absent("linear stability: it never leaves")
    return math.log(radius / START) / math.log(factor - 1)


def outcome(run: EscapeRun, radius: float) -> Columns:
    """When it left and where it ended."""
    never, restless = Absent("it did not leave"), Absent("it did not settle")
    settled = run.state == "settled"
    left = run.escape_step is not None
    assert run.escape_step is not None or not left
    return {
        "left": int(left),
        "escape_step": run.escape_step if left else never,
        "predicted_step": float(run.predicted) if left else never,
        "escape_error": abs(run.escape_step - float(run.predicted)) if run.escape_step is not None else never,
        "settled": int(settled),
        "final_factor": run.final_factor if settled else restless,
        "final_sharpness": run.final_sharpness if settled else restless,
        "final_loss": run.loss if math.isfinite(run.loss) else Absent("it diverged"),
        "distance_step": run.recorded.tolist(),
        "distance": np.maximum(run.distance, 1e-300).tolist(),
    }


def mapped(cell: Cell) -> Columns:
    """The loss on the plane of the top eigenvector and the drift, with a few runs seen in it."""
    found = escape_experiment(layers_of(cell), _MAP_FACTORS, start=START, radius=cell["radius"], steps=cell["steps"])
    paths = [_path(run) for run in found.runs]
    a, b = (_span([value for path in paths for value in path[i]]) for i in (1, 2))
    losses = found.losses_on_plane(a, b)
    return {
        "sharpness": found.sharpness,
        "map_top": a,
        "map_drift": b,
        "map_loss": np.log10(np.maximum(losses, 1e-12)).reshape(-1).tolist(),
        "path_factor": [run.factor for run, path in zip(found.runs, paths, strict=True) for _ in path[0]],
        "path_top": [value for path in paths for value in path[1]],
        "path_drift": [value for path in paths for value in path[2]],
        "in_plane": _share_in_plane(found),
    }


def _path(run: EscapeRun) -> tuple[list[int], list[float], list[float]]:
    """The updates from shortly before the escape on."""
    first = max((run.escape_step or 0) - 40, 0)
    chosen = (run.recorded >= first) & (run.recorded <= first + _SHOWN)
    return run.recorded[chosen].tolist(), run.along_top[chosen].tolist(), run.along_drift[chosen].tolist()


def _span(values: list[float]) -> list[float]:
    """Points across all values, with a margin, and at least across ±0.05."""
    low, high = min(*values, -0.05), max(*values, 0.05)
    margin = 0.15 * (high - low)
    return [float(v) for v in np.linspace(low - margin, high + margin, _MAP)]


def _share_in_plane(found: Escape) -> float:
    """Least share of its distance from the minimizer that the plane shows, over the records of all runs."""
    shares = [
        float(np.min(np.hypot(run.along_top, run.along_drift)[run.distance > 0] / run.distance[run.distance > 0]))
        for run in found.runs
    ]
    return min(shares)
