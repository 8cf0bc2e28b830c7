"""What weight decay leaves of a deep matrix factorization: one product, one spectrum, a threshold that jumps.

A. Kamber, R. Parhi, *On the Loss Landscape Geometry of Regularized Deep Matrix Factorization: Uniqueness and
Sharpness*, 2026 (arXiv 2603.27072).

Provenance: the abstract states uniqueness outside a null set, equal layer norms, the constant spectrum of the scalar
case, a lower bound of the trace and the critical weight. All formulas are derived here and checked; the trace as an
equality, the constant spectrum for matrices, the list of local minima and everything about noise and digits go beyond
it. Its figures were not available. Bands follow a prototype on other random draws.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Grid, Slot, Study

from . import _factorization_decay_claims as claims
from . import _factorization_decay_figures as figures
from ._factorization_decay_controls import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor

# --- parts: what a cell holds by name ---


def gaussian(outputs: int, inputs: int, *, seed: int) -> "Tensor":
    """Independent standard normal entries."""
    import torch

    from steppe.core import generator

    return torch.randn(outputs, inputs, generator=generator("study.extra", seed), dtype=torch.float64)


def digit_means(outputs: int, inputs: int, *, seed: int) -> "Tensor":
    """Mean images of so many classes of digits, chosen at random, in their leading principal coordinates."""
    import torch

    from steppe.core import generator
    from steppe.data import handwritten_digits

    x, labels = handwritten_digits()
    classes = torch.randperm(10, generator=generator("study.extra", seed))[:outputs]
    means = torch.stack([x[labels == int(label)].mean(dim=0) for label in classes]) / 16
    left, values, _ = torch.linalg.svd(means, full_matrices=False)
    return left[:, :inputs] * values[:inputs]


SLOTS = {
    "target": Slot(
        "(outputs, inputs, *, seed) -> M [outputs, inputs] float64",
        {"gaussian": gaussian, "digit-means": digit_means},
        "the matrix to be factorized",
    ),
}

# --- cells ---

_SHAPE: dict[str, Any] = {"outputs": 4, "inputs": 3, "width": 5}


def _minimizers(seeds: range, depths: list[int], shares: list[float], **axes: Any) -> Grid:
    base: dict[str, Any] = {"target": "gaussian", **_SHAPE, "method": "lbfgs", "restarts": 8} | axes
    return Grid(experiment="minimizers", **base, depth=depths, share=shares, seed=seeds)


def _collapses(seeds: range, **axes: Any) -> Grid:
    base: dict[str, Any] = {"target": ["gaussian", "digit-means"], **_SHAPE, "depth": [2, 3, 4, 8]} | axes
    return Grid(experiment="collapse", **base, seed=seeds) + Grid(
        experiment="zero", **base | {"depth": [2, 3, 4]} | axes, share=0.3, start=0.1, steps=3000, seed=seeds
    )


def _noise(seeds: range, **axes: Any) -> Grid:
    base: dict[str, Any] = {"n": 120, "inputs": 12, "rank": 3, "noise": [0.5, 1.0], "depth": [2, 3, 4, 6]}
    base |= {"steps": 4000} | axes
    return Grid(experiment="noise", **base, seed=seeds)


def _digits(seeds: range, depths: list[int], **axes: Any) -> Grid:
    base: dict[str, Any] = {"n": 300, "width": 32, "steps": 1500, "depth": depths, "seed": seeds}
    decayed: dict[str, Any] = base | {"activation": ["relu", "linear"], "decay": [1e-3, 1e-2]} | axes
    plain = base | axes | {"activation": "relu", "decay": 0.0}
    return Grid(experiment="digits", **decayed) + Grid(experiment="digits", **plain)


_MAP: dict[str, Any] = {"experiment": "map", "depth": [2, 3, 4, 8], "weight": [0.05, 0.2, 0.8]}
# The longest cells first, so that no core idles at the end.
GRID = (
    _digits(range(3), [2, 3, 4])
    + _noise(range(6))
    + Grid(**_MAP, points=41)
    + _minimizers(range(8), [2, 3, 4], [0.05, 0.3])
    + _minimizers(range(3), [3, 4], [0.1], target="digit-means")
    + _minimizers(range(2), [3], [0.2], method="gradient-descent", restarts=3)
    + _collapses(range(3))
)
QUICK = (
    _digits(range(1), [3], n=100, width=12, steps=800, decay=1e-2)
    + _noise(range(2), noise=1.0, depth=[2, 3], steps=700)
    + Grid(**_MAP | {"depth": [2, 3], "weight": 0.2}, points=9)
    + _minimizers(range(2), [2, 3], [0.3], restarts=6)
    + _collapses(range(1), depth=[2, 3], target="digit-means")
)
FULL = (
    _digits(range(4), [2, 3, 4, 6], n=600, width=64, steps=4000)
    + _noise(range(30))
    + Grid(**_MAP | {"depth": [2, 3, 4, 5, 8, 16]}, points=81)
    + _minimizers(range(20), [2, 3, 4, 5], [0.05, 0.3, 0.6], restarts=16)
    + _minimizers(range(5), [3, 4], [0.1, 0.5], target="digit-means")
    + _minimizers(range(4), [3], [0.2], method="gradient-descent", restarts=8)
    + _collapses(range(8))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any]:
    """Compute one cell."""
    from . import _factorization_decay_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    experiment = cell["experiment"]
    if experiment == "digits":
        return float(cell["steps"] * cell["n"] * cell["width"] * 2.5e-7)
    return {"noise": 1.5, "map": 1.0, "minimizers": 0.7, "collapse": 0.4, "zero": 0.6}[experiment]


COLUMNS = {
    "unsettled": "restarts that were not stationary when their steps were used up",
    "gap": "best objective minus the optimal value, over the objective at zero",
    "reached": "restarts at the optimal value",
    "normal_share": "share of the restarts from normal starts at the optimal value",
    "end_spread": "largest ‖W − W*‖ among these, over ‖M‖",
    "level_error": "largest distance of an end's objective to the nearest predicted local minimum, over that at zero",
    "levels": "number of predicted local minima (values)",
    "balance_error": "largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over the largest ‖W_l‖² (at least 1)",
    "trained_norm_error": "largest relative error of ‖W_l‖² at trained minimizers",
    "trained_spectrum_error": "largest error of their Hessian eigenvalues, over the largest eigenvalue",
    "ranks": "curve: rank of the product, one per restart",
    "gaps": "curve: objective above the optimum over that at zero, one per restart",
    "parameters": "number of parameters",
    "kept": "singular values kept by the minimizer",
    "spectrum_error": "largest error of Hessian eigenvalues at minimizers drawn at random, over the largest",
    "norm_error": "largest relative error of ‖W_l‖² at them",
    "trace_ratio": "curve: trace of the Hessian at them over the formula",
    "trace_over_bound": "formula over the simple lower bound",
    "trace_over_ends": "formula over its part without middle layers",
    "lowest_eigenvalue": "smallest Hessian eigenvalue over the largest",
    "unbalanced_spectrum_error": "error of Hessian eigenvalues at another factorization of W*, over the largest",
    "norm_over_target": "‖W_l‖² over Σ σ_k^(2/L) of the target's kept singular values",
    "spectrum": "curve: predicted Hessian eigenvalues, descending",
    "curve_sigma": "curve: singular value of the target",
    "curve_found": "curve: what the better of two ends leaves of it",
    "map_error": "largest difference to the formula, over the threshold",
    "soft_error": "largest difference to the soft threshold, over the threshold",
    "measured_threshold": "singular value at which keeping begins to pay, by bisection over trainings",
    "threshold": "σ_th",
    "measured_jump": "s/σ just above it",
    "curve_share": "curve: weight over the critical weight",
    "curve_best": "curve: top singular value over σ_1 at the better of kept and zero",
    "curve_balanced": "curve: the largest where balanced starts of rank one end",
    "top_below": "the former at 0.999 of the critical weight",
    "top_above": "the former at 1.001",
    "top_balanced": "the latter at 1.1",
    "zero_curvature": "smallest Hessian eigenvalue at zero over 2λ",
    "small_norm": "largest ‖W‖/‖M‖ where gradient descent from small starts ends",
    "small_gap": "its objective above the optimum over that at zero",
    "least_squares_error": "‖M̂ − M‖²/‖M‖² of the least-squares map",
    "best_error": "‖W* − M‖²/‖M‖² at the best weight",
    "best_rank": "rank of W* there",
    "curve_error": "curve: ‖W* − M‖²/‖M‖²",
    "trained_excess": "objective after gradient descent on the samples over that predicted, minus one",
    "start_norm_spread": "largest over smallest ‖W_l‖² before training, minus one",
    "norm_spread": "the same after training",
    "neuron_imbalance": "largest difference of a hidden neuron's squared norms in and out, over the largest",
    "matrix_imbalance": "largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over ‖W_l W_lᵀ‖",
    "spectrum_spread": "largest relative difference of a layer's singular values to those of the first",
    "layer_spectra": "curve: singular values of the layers, one layer after the other",
    "gradient": "norm of the gradient over that at the start",
    "training_error": "mean squared error on the training digits",
    "accuracy": "share of the training digits classified correctly",
    "layer_rank": "largest number of a layer's singular values above 1e-3 of its first",
}


# --- the study ---

STUDY = Study(
    slug="kamber2026-regularized",
    title="What weight decay leaves of a deep matrix factorization",
    summary=(
        "Is the product of the layers unique whatever the start, are layer norms and the whole Hessian spectrum the "
        "same at all minimizers, where does the singular-value map jump, and how much of this do deep ReLU networks "
        "trained on digits share?"
    ),
    paper="kamber2026regularized",
    reference=(
        "A. Kamber, R. Parhi. On the Loss Landscape Geometry of Regularized Deep Matrix Factorization: Uniqueness and "
        "Sharpness. 2026. arXiv:2603.27072."
    ),
    revision=1,
    grid=GRID,
    quick=QUICK,
    full=FULL,
    columns=COLUMNS,
    row=row,
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=CONTROLS,
    figures=figures.FIGURES,
    headline=figures.headline,
    cost=cost,
)
