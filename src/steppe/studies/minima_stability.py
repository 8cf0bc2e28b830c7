"""Minima stability in one dimension: which interpolants large steps and small batches can stay at.

Mulayoff, Michaeli, Soudry, *The Implicit Bias of Minima Stability: A View from Function Space*, NeurIPS 2021; for SGD
Wu, Ma, E, *How SGD Selects the Global Minima in Over-parameterized Learning*, NeurIPS 2018.

What was read in the first paper: setting, Theorems 1 and 2, the key lemma, what its figures show. Widths, steps and
labels of its figures were not known; those here are ours. The criterion for SGD is recalled; its closed form and the
exact second moments are derived. Bands were set after a first run of eight seeds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, FigureSpec, Grid, Slot, Study

from . import _minima_stability_claims as claims
from . import _minima_stability_figures as figures

if TYPE_CHECKING:
    from torch import Tensor

LAWS = ["uniform", "gaussian", "laplace"]

# --- parts: what a cell holds by name ---


def _standardised(x: "Tensor") -> "Tensor":
    return (x - x.mean()) / x.std(correction=0)


def _uniforms(n: int, seed: int) -> "Tensor":
    import torch

    from steppe.core import generator

    return torch.rand(n, 1, generator=generator("study.extra", seed), dtype=torch.float64)


def uniform(n: int, *, seed: int) -> "Tensor":
    """A standardised uniform sample."""
    return _standardised(_uniforms(n, seed))


def gaussian(n: int, *, seed: int) -> "Tensor":
    """A standardised Gaussian sample."""
    import torch

    return _standardised(torch.special.ndtri(_uniforms(n, seed)))


def laplace(n: int, *, seed: int) -> "Tensor":
    """A standardised Laplace sample."""
    centered = _uniforms(n, seed) - 0.5
    return _standardised(-centered.sign() * (1 - 2 * centered.abs()).log())


def sine(x: "Tensor", *, seed: int) -> "Tensor":
    """sin(3x + phase) with a random phase."""
    import torch

    from steppe.core import generator

    return torch.sin(3 * x + 2 * torch.pi * torch.rand(1, generator=generator("data.noise", seed), dtype=torch.float64))


def noise(x: "Tensor", *, seed: int) -> "Tensor":
    """Gaussian labels of deviation ½ that know nothing of x."""
    from steppe import data

    return data.noise(tuple(x.shape), sigma=0.5, seed=seed)


SLOTS = {
    "inputs": Slot(
        "(n, *, seed) -> x [n, 1] float64",
        {"gaussian": gaussian, "uniform": uniform, "laplace": laplace},
        "one-dimensional inputs",
    ),
    "labels": Slot(
        "(x, *, seed) -> y [n, 1] float64",
        {"sine": sine, "noise": noise},
        "what is interpolated",
    ),
}

# --- cells ---

_DATA: dict[str, Any] = {"inputs": "gaussian", "labels": "sine"}


def _triple(steps: int, seeds: range) -> Grid:
    return Grid(experiment="triple", **_DATA, n=10, width=200, step_size=0.05, steps=steps, seed=seeds)


def _sgd(steps: int, batch: list[int], seeds: range) -> Grid:
    base = {"experiment": "sgd", **_DATA, "n": 10, "width": 200, "step_size": 0.05, "steps": steps}
    return Grid(**base, batch=batch, seed=seeds)


def _lemma(seeds: range) -> Grid:
    return Grid(experiment="lemma", inputs=LAWS, n=[20, 80], width=[4, 32], scale=[0.1, 1.0], seed=seeds)


def _weight(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="weight", inputs=LAWS, n=n, seed=seeds)


# The longest cells first, so that no core idles at the end.
GRID = (
    _triple(400_000, range(20))
    + _sgd(200_000, [1, 2, 5, 10], range(10))
    + _weight([20, 80, 320, 1280], range(20))
    + _lemma(range(8))
)
QUICK = (
    _triple(60_000, range(5))
    + _sgd(30_000, [1, 2, 5], range(2))
    + _weight([20, 80, 320, 1280], range(8))
    + _lemma(range(2))
)
FULL = (
    _triple(2_000_000, range(40))
    + _sgd(400_000, [1, 2, 5, 10], range(30))
    + _weight([20, 80, 320, 1280, 5120], range(60))
    + _lemma(range(30))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any]:
    """Compute one cell."""
    from . import _minima_stability_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    if cell["experiment"] in ("lemma", "weight"):
        return 0.02
    trained = 1.3e-9 * cell["n"] * cell["width"] * cell["steps"]
    return float(2 * trained + 0.1 if cell["experiment"] == "triple" else trained + 0.6)


COLUMNS = {
    "loss_before": "training loss where the small step led",
    "loss_after": "training loss where the tripled step led",
    "loss_jump": "largest training loss after tripling",
    "loss_same": "largest training loss in as many updates without tripling",
    "sharpness_before": "sharpness before tripling (loss/parameter²)",
    "sharpness_after": "sharpness at the end (loss/parameter²)",
    "limit_before": "2/η of the small step (loss/parameter²)",
    "limit_after": "2/η of the tripled step (loss/parameter²)",
    "variation_before": "∫|f''| g before tripling",
    "variation_after": "∫|f''| g at the end",
    "plain_before": "∫|f''| between the samples before tripling",
    "plain_after": "∫|f''| between the samples at the end",
    "knots_before": "knots that carry 95 % of ∫|f''| between the samples, before tripling",
    "knots_after": "the same at the end",
    "bound_before": "1/η − ½ + ½ √(1+R²) √(2L) for the small step, at its loss",
    "bound_after": "the same for the tripled step, at its loss",
    "least_variation": "infimum of ∫|f''| g over all interpolants of these points",
    "least_same_values": "infimum of ∫|f''| g over all functions with the values of the last network at the samples",
    "reduction_high": "share of ∫|f''| that went where g is at least half its maximum",
    "reduction_low": "share of ∫|f''| that went elsewhere between the samples",
    "distance": "root mean square difference of the two functions between the samples (label units)",
    "distance_same": "the same after 2000 more updates with the small step (label units)",
    "updates": "curve: updates at which the loss was recorded, first with the small step, then tripled",
    "losses": "curve: training loss there",
    "sample_x": "curve: the samples",
    "sample_y": "curve: their labels",
    "grid": "curve: points between the samples",
    "function_before": "curve: the network there before tripling",
    "function_after": "curve: the network there at the end",
    "cells": "curve: middles of twelve equal intervals between the samples",
    "mass_before": "curve: ∫|f''| in each of them before tripling",
    "mass_after": "curve: the same at the end",
    "cell_weight": "curve: g in their middles",
    "weighted_variation": "∫|f''| g of a network that interpolates",
    "halved_weight_variation": "∫|f''| g/P, as if the square of P(X > t) were missing",
    "sharpness": "its sharpness (loss/parameter²)",
    "sharpness_error": "numerical error of it",
    "balanced_sharpness": "sharpness after the rescaling with the shortest mean gradient (loss/parameter²)",
    "balanced_gradient": "squared length of the mean gradient after it",
    "one_sided_sum": "Σ |v_k| |w_k| g̃, one-sided and not merged",
    "mean_gradient": "squared length of the mean gradient before the rescaling",
    "weight_grid": "curve: thresholds",
    "weight_sample": "curve: g of the sample there",
    "weight_law": "curve: g of the law there",
    "weight_ends": "largest g of the sample at its two ends",
    "weight_inside": "g of the sample at its median",
    "weight_top": "share of the samples below the maximum of g",
    "weight_distance": "largest |g of the sample − g of the law|",
    "weight_distance_other": "the same for the law of another name (uniform for Laplace, Laplace for the others)",
    "non_uniformity": "s = λ_max(Σ^½), over the per-sample Hessians (loss/parameter²)",
    "non_uniformity_limit": "(1/η) √(B(n−1)/(n−B)) at the criterion's step (loss/parameter²)",
    "step_criterion": "largest step at which SGD is stable by the criterion",
    "step_exact": "largest step at which second moments of SGD do not grow",
    "step_full": "2/a, the limit of full batches",
    "moment_deviation": "mean square of 4000 linearised runs minus its prediction, in standard errors",
    "moment_deviation_full": "the same against the prediction for full batches",
    "moment_ratio": "mean square of the 4000 runs after 8 updates over that before",
    "moment_predicted": "its prediction from second moments",
    "returned_below": "share of 32 runs of SGD that come closer, at 0.8 of the criterion's step",
    "returned_exact": "share that come closer at 0.8 of the exact step",
    "returned_full": "share that come closer at 0.8 of 2/a",
}

STUDY = Study(
    slug="mulayoff2021-minima-stability",
    title="Minima stability in one dimension: large steps and small batches want smooth interpolants",
    summary=(
        "Which of the many functions that interpolate a few points can training with a given step stay at? Theory says "
        "those whose second derivative is small where data lie on both sides. The step is tripled at a minimum, the "
        "bound is measured, and the closed criterion for SGD is compared with runs of SGD."
    ),
    paper="mulayoff2021implicit",
    reference=(
        "R. Mulayoff, T. Michaeli, D. Soudry. The Implicit Bias of Minima Stability: A View from Function Space. "
        "NeurIPS 2021."
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
    figures=(
        FigureSpec("jump", figures.jump, claims=("tripling-jumps", "tripled-settles")),
        FigureSpec("functions", figures.functions, claims=("tripled-is-smoother", "tripled-is-another")),
        FigureSpec("curvature", figures.curvature, claims=("reduced-where-weight",)),
        FigureSpec("slack", figures.slack, claims=("key-lemma", "stable-bound")),
        FigureSpec("weight", figures.weight, claims=("weight-converges", "weight-vanishes")),
        FigureSpec("sgd", figures.sgd, claims=("criterion-below-exact", "returns-below")),
    ),
    headline=figures.headline,
    cost=cost,
)
