"""Each activation belongs to a derivative: which functions a trained network prefers.

Parhi, Nowak, *The Role of Neural Network Activation Functions*, IEEE Signal Processing Letters 27, 2020
(arXiv 1910.02333).

Provenance: that solutions are splines with fewer knots than data is the paper's; pairs of operators and activations and
matched weight decay are recalled, with constants derived and checked here. Here the objective is ½Σ(y − f)² + λ‖L f‖,
a sum and not a mean over samples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steppe.core import derived_seed
from steppe.harness import Cell, Grid, Slot, Study

from . import _activation_functions_claims as claims
from . import _activation_functions_figures as figures

Vectors = tuple[NDArray[np.float64], NDArray[np.float64]]


def reference(n: int, *, seed: int) -> Vectors:
    """Six fixed points."""
    return np.array([0, 1, 2, 3.5, 4, 6.0]), np.array([0, 1, -0.5, 2, 2.5, 1.0])


def sine(n: int, *, seed: int) -> Vectors:
    """A sine and noise at unevenly spaced points."""
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    x = np.cumsum(rng.uniform(0.5, 1.5, n)) * 6 / n
    return x, np.sin(x) + 0.5 * x + 0.3 * rng.standard_normal(n)


def alternating(n: int, *, seed: int) -> Vectors:
    """Values 1 and −1 in turn."""
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    return np.cumsum(rng.uniform(0.8, 1.2, n)), np.cos(np.pi * np.arange(n))


SLOTS = {
    "data": Slot(
        "(n, *, seed) -> (x [n], y [n]) arrays of numbers, x distinct",
        {"sine": sine, "reference": reference, "alternating": alternating},
        "what is fitted",
    ),
}


def _grid(counts: list[int], seeds: range) -> Grid:
    return (
        Grid(experiment="equivalent", data="reference", n=6, strength=[0.05, 0.2, 1], seed=0)
        + Grid(experiment="equivalent", data="sine", n=counts, strength=[0.05, 0.5], seed=seeds)
        + Grid(experiment="order", data="sine", n=counts[0], strength=[0.1, 1], order=[1, 2, 3], seed=seeds)
        + Grid(experiment="order", data="alternating", n=8, strength=0.001, order=[1, 2, 3], seed=seeds)
        + Grid(experiment="green", operator="derivative", order=[1, 1.5, 2, 2.5, 3, 4])
        + Grid(experiment="green", operator="laplacian", order=[1.5, 2, 2.5])
        + Grid(experiment="scaling", order=[1.5, 2, 3, 4], seed=seeds)
    )


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any]:
    """Compute one cell."""
    from . import _activation_functions_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    return {"equivalent": 0.1, "order": 0.05}.get(cell["experiment"], 0.01)


COLUMNS = {
    "relu_optimum": "optimum with ReLU, ½Σr² + λΣ|v|",
    "absolute_optimum": "optimum with |t|/2",
    "leaky_optimum": "optimum with leaky ReLU, slope 0.1, over 0.9",
    "absolute_unhalved_optimum": "optimum with |t|",
    "leaky_unscaled_optimum": "optimum with leaky ReLU, not divided",
    "relu_no_skip_optimum": "optimum with ReLU and no free linear part",
    "absolute_no_skip_optimum": "optimum with |t|/2 and no free linear part",
    "exact_optimum": "optimum of ½Σr² + λTV(f′) by the exact solver",
    "correlation": "largest correlation of a column with the residual, over λ",
    "absolute_difference": "largest difference of the fits with |t|/2 and ReLU, over the range of y",
    "leaky_difference": "largest difference of the fits with leaky ReLU and ReLU, over the range of y",
    "exact_difference": "largest difference of the exact fit and that with ReLU, over the range of y",
    "no_skip_difference": "the same for |t|/2 and ReLU without free linear part",
    "coefficient_difference": "largest difference of the coefficients of leaky ReLU and ReLU, relative",
    "knots": "knots of the solution",
    "knot_bound": "n − m",
    "dual_maximum": "largest partial sum of the residuals over λ",
    "roughness_between": "largest m-th difference of the solution between knots, over the range of y",
    "slope_between": "largest first difference between knots, over the range of y",
    "homogeneity_error": "largest |ρ(ct) − c^(γ − 1)ρ(t)|",
    "homogeneity_error_order": "largest |ρ(ct) − c^γ ρ(t)|",
    "composition": "(ρ_γ ∗ ρ_γ)(t) over ρ_2γ(t)",
    "composition_bare": "the same without Γ(γ)",
    "pairing": "⟨ρ, ψ⟩ over the value that L ρ = δ demands",
    "pairing_without_half": "the same without the ½ of the constant",
    "scaled_over_path": "least ½(v² + |w|^(2γ − 2)) over scales, over |v||w|^(γ − 1)",
    "usual_over_path": "least ½(v² + w²) over scales, over |v||w|^(γ − 1)",
    "curve_x": "curve: x",
    "curve_y": "curve: y at the data",
    "curve_relu": "curve: fit with ReLU at the data",
    "curve_leaky": "curve: fit with leaky ReLU at the data",
    "curve_fit": "curve: fit of this order",
}

STUDY = Study(
    slug="parhi2019-activations",
    title="Each activation belongs to a derivative",
    summary=(
        "Do ReLU, absolute value and leaky ReLU, rightly scaled and with a free affine part, lead to the same function "
        "and optimum? Does the step activation lead to piecewise constants? Which activation belongs to which operator?"
    ),
    paper="parhi2020role",
    reference=(
        "R. Parhi, R. D. Nowak. The Role of Neural Network Activation Functions. IEEE Signal Processing Letters 27, "
        "2020. arXiv:1910.02333."
    ),
    revision=1,
    grid=_grid([12, 24], range(3)),
    quick=_grid([12], range(2)),
    full=_grid([12, 24, 40], range(10)),
    columns=COLUMNS,
    row=row,
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=claims.CONTROLS,
    figures=figures.FIGURES,
    headline=figures.headline,
    cost=cost,
)
