"""Networks with several outputs share neurons, and their layers need no more of them than ranks allow.

Shenouda, Parhi, Lee, Nowak, *Variation Spaces for Multi-Output Neural Networks: Insights on Multi-Task Learning and
Network Compression*, JMLR 25(231), 2024.

Provenance: setting and experiments from public text and the authors' public code; the proof of the width bound by
reduction, and its refinement, are derived here. The authors compress AlexNet and VGG-19 on CIFAR-10; here networks
trained on scikit-learn's digits and on image patches stand for them. Bands follow a prototype on other random draws.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Grid, Slot, Study

from . import _multi_output_claims as claims
from . import _multi_output_figures as figures
from ._multi_output_controls import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIDE = 8

# --- parts: what a cell holds by name ---


def digits(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """So many of scikit-learn's handwritten digits, pixels 0 to 1, and their classes as 0 and 1 in ten columns."""
    import torch

    from steppe.core import generator
    from steppe.data import handwritten_digits

    x, labels = handwritten_digits()
    chosen = torch.randperm(len(labels), generator=generator("data.subset", seed))[:n]
    return x[chosen] / 16, torch.nn.functional.one_hot(labels[chosen], 10).double()


def patches(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """Colour patches 3 × 8 × 8 of scikit-learn's sample photographs, and the brightness of the next pixel."""
    from steppe.data import image_patches

    found = image_patches(n, size=_SIDE, seed=seed)
    x = found.x.reshape(n, _SIDE, _SIDE, 3).permute(0, 3, 1, 2).flatten(1)
    return x / x.std(), found.y


def connected(inputs: int, outputs: int, width: int) -> "nn.Module":
    """One hidden ReLU layer; torch's default initialisation."""
    from torch import nn

    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def convolutional(inputs: int, outputs: int, width: int) -> "nn.Module":
    """Two ReLU convolutions with `width` channels each on patches 3 × 8 × 8, pooling between them, one linear layer."""
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (3, _SIDE, _SIDE)),
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * width, outputs),
    )


SLOTS = {
    "inputs": Slot(
        "(n, *, seed) -> (x [n, d] float64, y [n, k] float64)",
        {"digits": digits, "patches": patches},
        "what the compressed network was trained on",
    ),
    "network": Slot(
        "(inputs, outputs, width) -> nn.Sequential that ends in a linear layer",
        {"connected": connected, "convolutional": convolutional},
        "what is trained and compressed",
    ),
}

# --- cells ---


def _widths(trials: int, seeds: range) -> Grid:
    return Grid(experiment="width", n=[10, 20, 30, 40], width=500, outputs=10, trials=trials, seed=seeds)


def _ranks(trials: int, seeds: range) -> Grid:
    return Grid(experiment="rank", n=20, rank=[2, 5, 10, 20], width=200, outputs=10, trials=trials, seed=seeds)


def _compressed(seeds: range, *, steps: int) -> Grid:
    base: dict[str, Any] = {"experiment": "compression", "steps": steps, "seed": seeds, "held_out": 200}
    longer = base | {"steps": max(steps, 300)}  # until the features have grown apart
    return (
        Grid(**base, inputs="digits", network="connected", n=80, width=1000)
        + Grid(**longer, inputs="digits", network="connected", n=600, width=200)
        + Grid(**base, inputs="patches", network="connected", n=200, width=200)
        + Grid(**base, inputs="patches", network="convolutional", n=200, width=16)
    )


_SHARED = {"experiment": "sharing", "penalty": ["group", "entry", "none"]}
_OPTIMUM = Grid(experiment="sharing", penalty="optimum", steps=0)
_DUPLICATES = Grid(experiment="duplicates", copies=12, outputs=3, seed=range(4))
# The longest cells first, so that no core idles at the end.
GRID = (
    Grid(**_SHARED, steps=1_000_000)
    + _OPTIMUM
    + _compressed(range(3), steps=1000)
    + _widths(25, range(4))
    + _ranks(25, range(4))
    + _DUPLICATES
)
QUICK = (
    Grid(**_SHARED, steps=20_000)
    + _OPTIMUM
    + _compressed(range(1), steps=100)
    + _widths(5, range(2))
    + _ranks(10, range(2))
    + _DUPLICATES
)
FULL = (
    Grid(**_SHARED, steps=1_000_000)
    + _OPTIMUM
    + _compressed(range(6), steps=3000)
    + _widths(100, range(4))
    + _ranks(100, range(4))
    + _DUPLICATES
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any]:
    """Compute one cell."""
    from . import _multi_output_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    experiment = cell["experiment"]
    if experiment == "sharing":
        return float(4e-5 * cell["steps"] + 0.5)
    if experiment == "compression":
        update = 8e-3 if cell["network"] == "convolutional" else 1e-7 * cell["n"] * cell["width"] ** 0.8
        return float(cell["steps"] * update + 1.5)
    return float(0.06 * cell.get("trials", 1))


COLUMNS = {
    "active": "curve: active neurons of the minimum-norm solution, one per trial",
    "mean_active": "mean of these",
    "fewest_active": "least of these",
    "most_active": "largest of these",
    "most_reduced": "largest number of active neurons after the reduction",
    "mean_penalty": "mean of the minimum norm, Σ‖v_k‖",
    "largest_gap": "largest duality gap over the norm",
    "largest_slip": "largest change of the outputs by the reduction, relative",
    "norm_rise": "largest relative rise of Σ‖w_k‖‖v_k‖ (of the reduction, or of compression by smallest norm)",
    "bound": "rank of the features times rank of the targets, summed over layers",
    "refined_bound": "r_Φ r_Ψ − r_Ψ(r_Ψ − 1)/2",
    "dropped_slip": "change of the outputs if the neurons that stay keep their old weights, relative",
    "teacher_norm": "Σ‖(w_k, b_k)‖‖v_k‖ of the teacher",
    "label_square": "mean squared label",
    "initial_error": "mean squared error of the student before training",
    "final_error": "mean squared error after training",
    "norm": "Σ‖(w_k, b_k)‖‖v_k‖ of the student after training",
    "objective": "mean squared error + 5e-5 times that norm",
    "lower_bound": "certified lower bound of that objective over networks of any width (kind heuristic)",
    "used": "neurons with ‖(w_k, b_k)‖‖v_k‖ above 1e-3",
    "shared": "share of these that serve both outputs (the smaller weight above 1 % of the larger)",
    "neuron_angle": "curve: direction of their input weights (radian)",
    "neuron_bias": "curve: their bias over the norm of the input weights",
    "neuron_size": "curve: their ‖(w_k, b_k)‖‖v_k‖",
    "training_loss": "mean squared error of the network to be compressed",
    "neurons_before": "neurons (channels) of its hidden layers",
    "neurons_exact": "neurons left at a relative change of the training outputs of at most 1e-6",
    "neurons_loose": "neurons left at 0.1",
    "feature_ranks": "ranks of what the layers take in, summed",
    "change_exact": "relative change of the training outputs at tolerance 1e-6, end to end",
    "change_loose": "the same at 0.1",
    "curve_tolerance": "curve: tolerances",
    "curve_neurons": "curve: neurons left",
    "curve_change": "curve: relative change of the training outputs",
    "curve_held_out": "curve: relative change on data that were not used",
    "size_share": "parameters left at tolerance 0.1, share",
    "neurons_normed": "neurons left by smallest norm and reduction at 1e-6",
    "change_normed": "relative change of the training outputs then",
    "change_one_fewer": "change by the last layer if one neuron fewer than at 1e-6 is kept, best of the orders",
    "change_random": "change by the last layer with as many random neurons as at 0.1, weights refitted",
    "change_magnitude": "change by the last layer with as many neurons of the largest outgoing weights, not refitted",
}


# --- the study ---

STUDY = Study(
    slug="shenouda2023-multi-output",
    title="Several outputs: shared neurons, width bounds, compression",
    summary=(
        "How many neurons does a network with several outputs need at the smallest norm, do its outputs share them, "
        "and how far does that compress networks trained on digits and on image patches without changing their outputs?"
    ),
    paper="shenouda2024variation",
    reference=(
        "J. Shenouda, R. Parhi, K. Lee, R. D. Nowak. Variation Spaces for Multi-Output Neural Networks: Insights on "
        "Multi-Task Learning and Network Compression. JMLR 25(231), 2024."
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
