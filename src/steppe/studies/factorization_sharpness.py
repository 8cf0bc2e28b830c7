"""How sharp are the minimizers of deep matrix factorization, and which of them does gradient descent leave?

Kamber, Parhi, *Sharpness of Minima in Deep Matrix Factorization: Exact Expressions*, arXiv 2509.25783 (2025).

Provenance: the findings are those of the abstract and of a figure's caption; the theorems' texts were not available.
Closed forms, bounds, the flattest value, the formula for escapes and the bound with data are derived; what verifies
them is automatic differentiation and the runs themselves. The recorded numbers come from an independent computation.
The paper's seeds and step sizes were not available; here starts, widths and steps are ours.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, Grid, Slot, Study

from . import _factorization_sharpness_claims as claims
from . import _factorization_sharpness_figures as figures
from ._factorization_sharpness_controls import CONTROLS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# --- parts: what a cell holds by name ---


def gaussian(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """Independent Gaussian matrices, all scaled alike so that the product has spectral norm 1."""
    from torch.linalg import matrix_norm

    from steppe.networks import DeepLinear

    network = DeepLinear(sizes, seed=seed)
    scale = float(matrix_norm(network.matrix().detach(), 2)) ** (-1 / network.depth)
    return [scale * layer.detach() for layer in network.layers]


def low_rank(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """Gaussian matrices, the first of them of rank one."""
    layers = gaussian(sizes, seed=seed)
    layers[0] = layers[0][:, :1] @ layers[0][:1]
    return layers


def graded(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """Random singular vectors, singular values from 1 down to 10⁻³ in every layer."""
    import torch

    layers = []
    for layer in gaussian(sizes, seed=seed):
        u, s, v = torch.linalg.svd(layer, full_matrices=False)
        layers.append((u * torch.logspace(0, -3, len(s), dtype=torch.float64)) @ v)
    return layers


def crossed(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """Diagonals (2, 1, …), (1, 3, …), (2, 1, …), …: the largest entries of neighbours do not meet. No randomness."""
    import torch

    layers = []
    for index, (columns, rows) in enumerate(pairwise(sizes)):
        layer = torch.eye(rows, columns, dtype=torch.float64)
        place, value = ((0, 2.0), (1, 3.0))[index % 2]
        if place < min(rows, columns):
            layer[place, place] = value
        layers.append(layer)
    return layers


def _chain(sizes: list[int], target: float) -> "list[Tensor]":
    import math

    import torch

    numbers = [0.8 + 0.03 * index for index in range(1, len(sizes) - 1)]
    numbers.append(target / math.prod(numbers))
    return [torch.full((rows, columns), w, dtype=torch.float64) for w, (columns, rows) in
            zip(numbers, pairwise(sizes), strict=True)]  # fmt: skip


def chain_1(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """Numbers w_i = 0.8 + 0.03 i, the last one such that the product is 1; for sizes 1-1-…-1. No randomness."""
    return _chain(sizes, 1.0)


def chain_2(sizes: list[int], *, seed: int) -> "list[Tensor]":
    """The same with product 2."""
    return _chain(sizes, 2.0)


def digits(n: int, *, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """So many of scikit-learn's handwritten digits, centred, pixels of variance 1 over all."""
    import torch

    from steppe.core import generator
    from steppe.data import handwritten_digits

    x, labels = handwritten_digits()
    chosen = torch.randperm(len(labels), generator=generator("data.subset", seed))[:n]
    x = x[chosen] - x[chosen].mean(dim=0)
    return x / x.std(), labels[chosen]


SLOTS = {
    "layers": Slot(
        "(sizes, *, seed) -> [W_1 [d_1, d_0], …, W_L [d_L, d_(L−1)]] float64",
        {"gaussian": gaussian, "low-rank": low_rank, "graded": graded, "crossed": crossed,
         "chain-1": chain_1, "chain-2": chain_2},
        "the minimizer whose Hessian is computed, or from next to which gradient descent starts",
    ),
    "images": Slot(
        "(n, *, seed) -> (x [n, d] float64, labels [n] int64)", {"digits": digits}, "what ReLU networks are trained on"
    ),
}  # fmt: skip

# --- cells ---

DEEP = "-".join(["1"] * 16)
WIDE_CHAINS = ["1-3-5-3-4-2-5-2-3-3-5-1-1-5-4-1", "1-4-4-4-4-4-4-4-4-4-4-4-4-4-4-1"]
_SHAPES = [
    "3-3", "2-4", "4-2-3", "3-5-2", "2-3-2-2", "3-2-4-3", "4-1-4", "1-3-2-1", "5-1", "2-3-3-3-2", "1-2-2-2-2-2-1",
]  # fmt: skip
_MATRICES = ["3-4-2", "3-5-3-2", "2-3-4-3", "3-4-3-5-3-2"]


def _spectra(shapes: list[str], seeds: range) -> Grid:
    base: dict[str, Any] = {"experiment": "spectrum"}
    return (
        Grid(**base, layers=["gaussian", "low-rank", "graded"], sizes=shapes, n=0, scale=1.0, seed=seeds)
        + Grid(**base, layers=["gaussian", "graded"], sizes=shapes, n=[2, 12], scale=0.5, seed=seeds)
        + Grid(**base, layers="crossed", sizes=["2-2-2-2", "3-3-3-3-3"], n=0, scale=1.0, seed=0)
    )


def _minimizers(seeds: range) -> Grid:
    return Grid(
        experiment="minimizers", sizes=["3-4-2", "3-5-4-2", "4-4-4-4-4", "1-3-3-1"], spread=[0.03, 0.3, 1.0], seed=seeds
    ) + Grid(
        experiment="two-layers", kind=["spectral", "frobenius", "both", "inflated", "scaled"], seed=seeds
    )  # fmt: skip


def _escapes(sizes: list[str], factors: list[float], seeds: range, *, steps: int) -> Grid:
    return Grid(
        experiment="escape",
        factor=factors,
        seed=seeds,
        steps=steps,
        layers="gaussian",
        sizes=sizes,
        radius=[1e-6, 1e-3],
    )


def _recorded(short: int, long: int) -> Grid:
    base: dict[str, Any] = {"experiment": "escape", "radius": 1e-3, "seed": 0}
    factors = [1.9, 1.99, 2.01, 2.1, 2.5, 3.0]
    return (
        Grid(**base, layers="chain-1", sizes="1-1-1", factor=factors, steps=short)
        + Grid(**base, layers="chain-2", sizes="1-1-1-1", factor=factors, steps=short)
        + Grid(**base, layers="chain-1", sizes=DEEP, factor=factors, steps=long)
    )


def _maps(steps: int) -> Grid:
    base: dict[str, Any] = {"experiment": "map", "radius": 1e-3, "steps": steps}
    return Grid(**base, layers=["chain-1"], sizes=["1-1-1", DEEP], seed=0) + Grid(
        **base, layers="gaussian", sizes=[WIDE_CHAINS[0], "3-5-3-2"], seed=0
    )


def _noise(levels: list[float], seeds: range, *, steps: int) -> Grid:
    return Grid(
        experiment="noise", sizes=["4-5-3", "4-4-4-3", "4-2-3", "4-3-2-3"], n=40, noise=levels, steps=steps,
        seed=seeds,
    )  # fmt: skip


def _relu(depths: list[int], step_sizes: list[float], seeds: range, *, n: int, width: int, steps: int) -> Grid:
    base: dict[str, Any] = {"experiment": "relu", "images": "digits", "seed": seeds}
    return Grid(**base, depth=depths, n=n, width=width, step_size=step_sizes, steps=steps)


def _relu_escapes(depths: list[int], factors: list[float], seeds: range) -> Grid:
    base: dict[str, Any] = {"experiment": "relu-escape", "images": "digits", "seed": seeds}
    return Grid(**base, depth=depths, n=16, width=24, factor=factors, radius=1e-6, steps=1000)


# The longest cells first, so that no core idles at the end.
GRID = (
    _recorded(20_000, 200_000)
    + _relu([2, 3, 4], [0.05, 0.1, 0.2], range(3), n=200, width=24, steps=1500)
    + _escapes([*WIDE_CHAINS, *_MATRICES], [1.9, 2.01, 2.1, 2.5, 3.0], range(3), steps=4000)
    + _relu_escapes([2, 3, 4], [1.9, 2.1, 2.5, 3.0], range(3))
    + _maps(4000)
    + _noise([0.0, 0.5, 2.0], range(3), steps=3000)
    + _spectra(_SHAPES, range(4))
    + _minimizers(range(20))
)
QUICK = (
    _recorded(6000, 2000)
    + _relu([3], [0.05, 0.2], range(1), n=100, width=16, steps=200)
    + _escapes([WIDE_CHAINS[0], *_MATRICES[1:]], [1.9, 2.1, 3.0], range(1), steps=500)
    + _relu_escapes([3], [2.5], range(1))
    + _maps(1000)
    + _noise([2.0], range(1), steps=500)
    + _spectra(_SHAPES[:8], range(1))
    + _minimizers(range(5))
)
FULL = (
    _recorded(20_000, 400_000)
    + _relu([2, 3, 4], [0.02, 0.05, 0.1, 0.2, 0.4], range(5), n=500, width=64, steps=4000)
    + _escapes([*WIDE_CHAINS, *_MATRICES], [1.9, 1.99, 2.01, 2.1, 2.5, 3.0], range(10), steps=20_000)
    + _relu_escapes([2, 3, 4], [1.9, 2.1, 2.5, 3.0], range(10))
    + _maps(20_000)
    + _noise([0.0, 0.5, 2.0], range(10), steps=5000)
    + _spectra([*_SHAPES, "6-8-6", "5-5-5-5-5"], range(10))
    + _minimizers(range(100))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any] | Diverged:
    """Compute one cell."""
    from . import _factorization_sharpness_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    experiment = cell["experiment"]
    if experiment in ("escape", "map"):
        scalar = set(cell["sizes"].split("-")) == {"1"}
        return 0.05 + float(cell["steps"]) * (2e-5 if scalar else 6e-6 * (len(cell["sizes"]) + 1))
    if experiment == "relu":
        return 2e-3 * float(cell["steps"])
    return {"relu-escape": 3.0, "noise": 1.0}.get(experiment, 0.05)


COLUMNS = {
    "parameters": "number of parameters p",
    "samples": "number of samples",
    "sharpness": "largest Hessian eigenvalue (loss/parameter²), in closed form where there is one",
    "autograd_sharpness": "the same by automatic differentiation and diagonalisation",
    "spectrum_error": "largest difference between all eigenvalues and those of autograd, over the sharpness",
    "spectrum_error_without_residual": "the same if the residual is taken for zero",
    "nonzero": "eigenvalues above 10⁻⁹ of the largest, closed form",
    "autograd_nonzero": "the same by autograd",
    "trace_error": "relative difference of the traces",
    "lower_over_sharpness": "2 max ‖A_i‖²‖B_i‖² over the sharpness",
    "norm_products_over_sharpness": "2 Σ ‖A_i‖²‖B_i‖² over the sharpness",
    "flat_ratio": "sharpness over the least sharpness of any factorization (with data: over its lower bound)",
    "balanced_ratio": "the same for a balanced factorization",
    "residual": "largest entry of product minus target, over the largest of the target",
    "unevenness": "largest over least ‖A_i‖‖B_i‖, minus 1",
    "product_error": "Hessian product at nonzero residual against autograd, relative",
    "product_error_without_residual": "the same if the residual is taken for zero",
    "two_layer_ratio": "(‖W_1‖² + ‖W_2‖²)/(2σ_1)",
    "spectral_norms_ratio": "larger over smaller spectral norm of the two layers",
    "frobenius_norms_ratio": "larger over smaller Frobenius norm of the two layers",
    "flattest": "least sharpness of any factorization of the product",
    "flattest_factor": "step · least sharpness of any factorization",
    "left": "1 if the run left the radius, else 0",
    "escape_step": "first update beyond the radius",
    "predicted_step": "ln(radius/start)/ln(step · sharpness − 1)",
    "escape_error": "difference of the two (updates)",
    "predicted_from_norm_products": "the formula with the sum of norm products for the sharpness",
    "settled": "1 if the run settled, else 0",
    "final_factor": "step · sharpness where the run settled",
    "final_sharpness": "sharpness there (loss/parameter²)",
    "final_loss": "loss after the last update",
    "distance_step": "curve: updates at which the distance was recorded",
    "distance": "curve: distance from the minimizer there",
    "map_top": "curve: coordinates of the map along the top eigenvector",
    "map_drift": "curve: coordinates of the map along the drift",
    "map_loss": "curve: log10 of the loss on the map, row after row along the drift",
    "path_factor": "curve: step · sharpness of the run to which the next two belong",
    "path_top": "curve: its coordinate along the top eigenvector, update by update",
    "path_drift": "curve: its coordinate along the drift",
    "in_plane": "least share of the distance from the minimizer that the map shows",
    "unfitted": "squared residual at the minimizer over the squared labels",
    "fit_distance": "distance of the trained product from the least-squares fit, over its norm",
    "stability_limit": "2/step (loss/parameter²)",
    "gauss_newton_ratio": "largest eigenvalue of the Gauss–Newton matrix over the sharpness",
    "mean_mask_ratio": "deep linear formula with every neuron scaled by how often it is active, over the sharpness",
    "activation_ratio": "the same with the network's own activations for B_i X, over the sharpness",
    "mean_mask_bound_ratio": "lower bound of the sharpness of any factorization of that linear map, over the sharpness",
    "imbalance_start": "largest over least ‖W_l‖_F² minus 1, before training",
    "imbalance": "the same after training",
}

STUDY = Study(
    slug="kamber2025-sharpness",
    title="How sharp the minimizers of deep matrix factorization are",
    summary=(
        "Is the sharpness of every minimizer of a deep linear network what the closed form says; which minimizers are "
        "flattest; does gradient descent leave the sharp ones when the formula says so, and where does it settle? And "
        "how much of this is left with noisy data, and with ReLU networks on digits?"
    ),
    paper="kamber2025sharpness",
    reference=(
        "A. Kamber, R. Parhi. Sharpness of Minima in Deep Matrix Factorization: Exact Expressions. 2025. "
        "arXiv:2509.25783."
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
