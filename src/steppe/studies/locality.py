"""Locality and shared weights: what they change about flat minima, and when they do not help.

Liang, Singh, Parhi, Cloninger, Wang, *The Inductive Bias of Convolutional Neural Networks: Locality and Weight Sharing
Reshape Implicit Regularization*, 2026 (arXiv 2603.04807), renamed *Does Sparse Connectivity Improve Generalization?
Convolutional Networks Below the Edge of Stability* in version 2.

What was read: the abstracts, and set-ups and numbers of the authors' public experiments; not the paper's theorems. The
patch inequality is derived here from the proof for shallow networks and checked on every network. All experiments are
scaled down. The authors' code trains with the mean of squares, without ½: its step η is 2η here, and its bound c on the
gradient is c/2.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, Grid, Slot, Study

from . import _locality_claims as claims
from . import _locality_figures as figures
from ._locality_controls import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor, nn

# --- parts: what a cell holds by name ---


def shared(patches: "Tensor", inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """Filters shared by all patches, then the mean: m(s + 1 + k) + k parameters."""
    from steppe.networks import PatchReLU

    return PatchReLU(patches, width, outputs, inputs=inputs, init="paper", seed=seed)


def unshared(patches: "Tensor", inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """Every patch has filters of its own; the output weights are shared."""
    from steppe.networks import PatchReLU

    return PatchReLU(patches, width, outputs, inputs=inputs, shared=False, init="paper", seed=seed)


def connected(patches: "Tensor", inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """Fully connected, as wide; torch's default initialisation of linear layers."""
    from steppe.networks import ShallowReLU

    return ShallowReLU(inputs, width, outputs, init="torch", seed=seed)


def connected_small(patches: "Tensor", inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """Fully connected, of about as many parameters as the shared network of this width."""
    parameters = width * (patches.shape[1] + 1 + outputs)
    return connected(patches, inputs, outputs, max(1, round(parameters / (inputs + 1 + outputs))), seed=seed)


SLOTS = {
    "network": Slot(
        "(patches [l, s], inputs, outputs, width, *, seed) -> PatchReLU or ShallowReLU",
        {
            "shared": shared,
            "unshared": unshared,
            "connected": connected,
            "connected-small": connected_small,
        },
        "what is trained on inputs of which the patches are parts",
    ),
}

# --- cells ---

_NETWORKS = ["shared", "unshared", "connected", "connected-small"]


def _sphere(n: list[int], d: list[int], steps: int, seeds: range, networks: list[str] = _NETWORKS) -> Grid:
    base = {"experiment": "sphere", "patch": 10, "width": 64, "noise": 1.0, "step_size": 0.4, "clip": 50.0}
    return Grid(**base, network=networks, n=n, d=d, steps=steps, seed=seeds)


def _patch_sphere(n: int, width: int, steps: int, seeds: range) -> Grid:
    base = {"experiment": "patch-sphere", "patch": 10, "noise": 1.0, "step_size": 0.4, "clip": 50.0, "d": 80}
    return Grid(**base, network="shared", n=n, width=width, steps=steps, seed=seeds)


def _images(n: int, width: int, steps: int, seeds: range) -> Grid:
    base = {"experiment": "images", "n": n, "noise": 1.0, "step_size": 0.2, "clip": 1.0, "steps": steps, "seed": seeds}
    return Grid(**base, scheme="convolution", network=["shared", "connected"], width=width) + Grid(
        **base, scheme="shuffled", network="shared", width=width
    )


def _vocabulary(steps: int, seeds: range) -> Grid:
    base = {"experiment": "vocabulary", "n": 200, "positions": 20, "patch": 8, "words": 2, "clip": 50.0}
    grids = [
        Grid(**base, network=network, width=width, step_size=0.4, steps=steps, seed=seeds)
        for network, width in (("shared", 100), ("unshared", 10), ("connected-small", 100))
    ]
    return sum(grids[1:], start=grids[0])


def _geometry(n: int, seeds: range) -> Grid:
    schemes = ["convolution", "shuffled", "full"]
    return Grid(experiment="geometry", scheme=schemes, n=n, seed=seeds)


def _exact(seeds: range) -> Grid:
    return (
        Grid(experiment="tail", patch=2, d=10, delta=[0.3, 0.2, 0.1], n=200_000, seed=seeds)
        + Grid(experiment="tail", patch=10, d=[20, 40], delta=0.2, n=200_000, seed=seeds)
        + Grid(experiment="construction", n=[30, 100], d=[24, 48], patch=6, seed=seeds)
        + Grid(
            experiment="inequality", patch=3, positions=4, seen=[1, 4], shared=[True, False], residual=[0.0, 1.0],
            width=16, seed=seeds,
        )
    )  # fmt: skip


# The longest cells first, so that no core idles at the end.
GRID = (
    _patch_sphere(256, 1024, 6000, range(4))
    + _images(256, 64, 1500, range(4))
    + _sphere([512, 256, 128], [50, 100, 200], 3000, range(4))
    + _vocabulary(4000, range(5))
    + _geometry(1000, range(6))
    + _exact(range(3))
)
QUICK = (
    _patch_sphere(64, 256, 1500, range(3))
    + _sphere([256, 64], [50], 500, range(3), ["shared", "connected"])
    + _sphere([256], [50], 500, range(3), ["unshared", "connected-small"])
    + _vocabulary(500, range(3))
    + _geometry(300, range(3))
    + _exact(range(1))
)
FULL = (
    _patch_sphere(512, 1024, 20_000, range(3))
    + _images(1024, 256, 3000, range(3))
    + _sphere([1024, 512, 256, 128], [50, 100, 200, 400], 10_000, range(5))
    + _vocabulary(10_000, range(8))
    + _geometry(4000, range(6))
    + _exact(range(5))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any] | Diverged:
    """Compute one cell."""
    from . import _locality_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server, measurements included."""
    experiment = cell["experiment"]
    if experiment == "geometry":
        return 1e-3 * float(cell["n"])
    if experiment in ("tail", "construction", "inequality"):
        return 0.1
    n, width, steps = cell["n"], cell["width"], cell["steps"]
    size, positions, records = {
        "images": (27, 100, 24),
        "vocabulary": (cell.get("patch", 0), cell.get("positions", 0), 0),
    }.get(experiment, (cell.get("patch", 0), cell.get("d", 0) // max(cell.get("patch", 1), 1), 36))
    if cell["network"].startswith("connected"):
        size, positions = size * positions, 1
    pairs = n * positions * width
    return float(0.1 + 3e-11 * pairs * steps * (size + 5) + 2e-8 * pairs * records * (size + 5))


COLUMNS = {
    "parameters": "number of parameters",
    "training_error": "mean squared residual on the noisy labels, without ½ (label units²)",
    "excess": "mean squared error to the clean targets on held-out inputs (label units²)",
    "null_excess": "the same of the constant that is the mean label (label units²)",
    "gap": "|excess + noise variance − training error| (label units²)",
    "noise_variance": "realised mean squared noise of this draw (label units²)",
    "first_activation": "share of patches that activate a neuron, mean over neurons, before training",
    "last_activation": "the same after training",
    "path_norm": "Σ |v_k| ‖w_k‖; without sharing ‖w_k‖ is the mean over positions",
    "sharpness": "largest eigenvalue of the Hessian of ½ mean squared error (loss/parameter²)",
    "weighted_sum": "Σ |v_k| ‖w_k‖ g̃ with the weight of the patches, or of the inputs where there are no patches",
    "connected_sum": "the same with the weight of a fully connected network that looks at the first position",
    "flatness_bound": "λ/2 − ½ + (R+1) √(2L)",
    "flatness_bound_sharper": "λ/2 − ½ + ½ √(1+R²) √(2L)",
    "flatness_error": "numerical error of the two bounds",
    "residual_term": "√(2L) = root mean squared residual",
    "radius": "R, the largest norm of a patch, or of an input",
    "mean_gradient_squared": "‖mean over samples of ∇f(x_i)‖²",
    "gauss_newton_sharpness": "largest eigenvalue of the Gauss–Newton matrix (loss/parameter²)",
    "gauss_newton_error": "its numerical error (loss/parameter²)",
    "stability_limit": "2/η (loss/parameter²)",
    "plateau_sharpness": "median sharpness over the last quarter of training (loss/parameter²)",
    "clipped": "number of updates shortened by clipping",
    "trace_step": "curve: steps at which the next curves were measured",
    "trace_sharpness": "curve: sharpness at those steps (loss/parameter²)",
    "trace_excess": "curve: error to the clean targets on held-out inputs",
    "trace_activation": "curve: share of patches that activate a neuron, mean over neurons",
    "trace_error": "curve: training error",
    "word_training_error": "mean squared error per coordinate of the word, training samples",
    "word_error": "the same on held-out samples",
    "word_null_error": "the same of the constant that is the mean word",
    "depth_area": "area under the depth curve, smallest of 512 random directions, one patch of every image",
    "depth_area_outward": "the same, with one direction that points outward from each patch as well",
    "components": "principal components for 90 % of the variance",
    "top_share": "share of the first principal component",
    "patch_dimension": "numbers in a patch",
    "tail": "P(‖patch‖ > 1 − δ), exact",
    "tail_deviation": "distance of the observed share to it, in standard errors",
    "tail_deviation_whole": "the same if the tail had exponent d/2 instead of (d − m)/2",
    "mean_square_deviation": "distance of the observed mean of ‖patch‖² to m/d, in standard errors",
    "interpolation_error": "largest |f(x_i) − y_i| of the construction",
    "construction_sharpness": "its sharpness (loss/parameter²)",
    "construction_formula": "1 + 2√2/(n l) (loss/parameter²)",
    "construction_formula_unpooled": "1 + 2√2/n, as if there were one patch (loss/parameter²)",
}


# --- the study ---

STUDY = Study(
    slug="liang2026-locality",
    title="Locality and shared weights: when flatness prevents memorisation",
    summary=(
        "Fully connected networks memorise noise on a sphere however flat they are. Do networks that see small patches "
        "with shared filters resist, what if every patch lies on a sphere of its own, and what do real images offer?"
    ),
    paper="liang2026locality",
    reference=(
        "T. Liang, E. Singh, R. Parhi, A. Cloninger, Y.-X. Wang. Does Sparse Connectivity Improve Generalization? "
        "Convolutional Networks Below the Edge of Stability. 2026. arXiv:2603.04807."
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
