"""Finite networks solve the function-space problem: widths, knots, the exclusive or, and weight decay.

Parhi, Nowak, *Banach Space Representer Theorems for Neural Networks and Ridge Splines*, JMLR 22(43), 2021
(arXiv 2006.05626).

Provenance: theorem 1 and its width bound are the paper's; theorem 8 is recalled. The optimum 2√2 of the exclusive or,
the formula on a line and the duals are derived and checked here. Networks have a free bias and a free affine part
(polynomial of degree < m for order m), as in the paper.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steppe.core import derived_seed
from steppe.harness import Cell, Grid, Slot, Study

from . import _representer_claims as claims
from . import _representer_figures as figures


def normal(n: int, d: int, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard normal points and values."""
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    return rng.standard_normal((n, d)), rng.standard_normal(n)


def ridge(n: int, d: int, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Uniform points in a cube, values of one sine of the first coordinate plus noise."""
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    x = rng.uniform(-1, 1, (n, d))
    return x, np.sin(3 * x[:, 0]) + 0.2 * rng.standard_normal(n)


def reference(n: int, d: int, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Six fixed points on a line."""
    x = np.array([0, 1, 2, 3.5, 4, 6.0])
    return x[:, None], np.array([0, 1, -0.5, 2, 2.5, 1.0])


SLOTS = {
    "data": Slot(
        "(n, d, *, seed) -> (x [n, d], y [n]) arrays of numbers, points distinct and in general position",
        {"normal": normal, "ridge": ridge, "reference": reference},
        "what is fitted",
    ),
}


def _interpolation(sizes: Mapping[int, list[int]], seeds: range) -> Grid:
    grids = [
        Grid(experiment="interpolation", data=["normal", "ridge"], d=d, n=counts, seed=seeds)
        for d, counts in sizes.items()
    ]
    return sum(grids[1:], start=grids[0])


def _knots(counts: list[int], seeds: range) -> Grid:
    named = Grid(experiment="knots", shape=["tent", "reference"], n=0, seed=0)
    return named + Grid(experiment="knots", shape=["alternating", "convex", "random"], n=counts, seed=seeds)


def _decay(steps: int, seeds: range, strengths: list[float]) -> Grid:
    line = {"experiment": "decay", "data": "reference", "d": 1, "n": 6, "strength": strengths, "steps": steps}
    plane = {"experiment": "decay", "data": "normal", "d": 2, "n": 8, "strength": 0.1, "steps": steps}
    return (
        Grid(**plane, width=200, seed=seeds)
        + Grid(**line, width=60, seed=seeds)
        + Grid(**line | {"strength": 0.2}, width=2, seed=seeds)
    )


def _splines(seeds: range) -> Grid:
    base: dict[str, Any] = {"experiment": "splines", "data": "normal", "seed": seeds}
    scaling = Grid(experiment="scaling", order=[2, 3, 4], seed=seeds)
    return Grid(**base, order=[2, 3, 4], d=[1, 2], n=16) + Grid(**base, order=[3, 4], d=3, n=24) + scaling


GRID = (
    _decay(20_000, range(3), [0.05, 0.2, 1.0])
    + _interpolation({3: [6, 8], 2: [4, 6, 8, 12], 1: [4, 8, 12]}, range(3))
    + _knots([5, 8, 12], range(3))
    + _splines(range(3))
    + Grid(experiment="xor")
)
QUICK = (
    _decay(6000, range(2), [0.2])
    + _interpolation({3: [6], 2: [4, 6, 8], 1: [6]}, range(2))
    + _knots([5, 8], range(2))
    + _splines(range(1))
    + Grid(experiment="xor")
)
FULL = (
    _decay(40_000, range(5), [0.05, 0.2, 1.0])
    + _interpolation({3: [6, 8, 10], 2: [4, 6, 8, 12, 16, 24], 1: [4, 8, 12]}, range(5))
    + _knots([5, 8, 12], range(5))
    + _splines(range(5))
    + Grid(experiment="xor")
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any]:
    """Compute one cell."""
    from . import _representer_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    if cell["experiment"] == "decay":
        return 0.2 + float(cell["steps"]) * (3e-5 + 3e-8 * cell["width"] * cell["n"])
    if cell["experiment"] == "interpolation":
        return float({1: 0.02, 2: 2e-3 * cell["n"] ** 2, 3: 4e-4 * cell["n"] ** 4}[cell["d"]])
    return 0.05


COLUMNS = {
    "variation": "Σ |v| of the interpolant found by the linear program (change of slope)",
    "lower_bound": "dual lower bound of the smallest variation",
    "neurons": "neurons of the vertex found",
    "merged_width": "neurons after those of one sign in one cone of activation are added up",
    "width_bound": "n − dimension of the free polynomials",
    "exact_variation": "TV(f′) of the interpolant with fewest knots",
    "slope_changes": "Σ |slope changes| of the polygon through the data",
    "counted_from_zero": "that plus |first slope|",
    "second_differences": "Σ |second differences| of the values",
    "knots": "knots of the interpolant with fewest knots",
    "polygon_knots": "corners of the polygon through the data",
    "misfit": "largest |f(x) − y| of the interpolant with fewest knots",
    "optimum": "certified optimum of ½Σr² + λ·variation",
    "optimum_gap": "relative gap of its certificate",
    "optimum_proved": "whether the certificate is proved (exact or bound), not heuristic",
    "optimum_width": "neurons of the certified optimum",
    "balanced_optimum": "½Σr² + (λ/2)Σ(‖w‖² + v²) at the balanced certified network",
    "optimum_without_half": "certified optimum at 2λ, what λΣ(‖w‖² + v²) would minimize",
    "decay_objective": "½Σr² + (λ/2)Σ(‖w‖² + v²) after training",
    "path_objective": "½Σr² + λΣ‖w‖|v| after training",
    "excess": "decay objective over the optimum, minus 1",
    "imbalance": "Σ(‖w‖ − |v|)² over Σ(‖w‖² + v²) after training",
    "live_neurons": "neurons with ‖w‖|v| above 1e-3 of the largest",
    "polynomials": "rank of the monomials of degree < m at the data",
    "free_dimension": "C(d + m − 1, d)",
    "free_dimension_below": "C(d + m − 2, d)",
    "scaled_over_path": "least ½(v² + ‖w‖^(2m − 2)) over scales, over |v|‖w‖^(m − 1)",
    "usual_over_path": "least ½(v² + ‖w‖²) over scales, over |v|‖w‖^(m − 1)",
}

STUDY = Study(
    slug="parhi2020-representer",
    title="Finite networks solve the function-space problem: how many neurons are enough",
    summary=(
        "Is the optimum over all functions attained by a network with fewer neurons than data, n − (d + 1) for ReLU? "
        "Does weight decay, on wide networks, reach the optimum of the variation problem, and never go below it?"
    ),
    paper="parhi2021banach",
    reference=(
        "R. Parhi, R. D. Nowak. Banach Space Representer Theorems for Neural Networks and Ridge Splines. Journal of "
        "Machine Learning Research 22(43), 2021. arXiv:2006.05626."
    ),
    revision=1,
    grid=GRID,
    quick=QUICK,
    full=FULL,
    columns=COLUMNS,
    row=row,
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=claims.CONTROLS,
    figures=figures.FIGURES,
    headline=figures.headline,
    cost=cost,
)
