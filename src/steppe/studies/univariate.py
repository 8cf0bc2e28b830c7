"""Noisy labels in one dimension: large steps fit sparse linear splines, small ones overfit.

Qiao, Zhang, Singh, Soudry, Wang, *Stable Minima Cannot Overfit in Univariate ReLU Networks: Generalization by Large
Step Sizes*, NeurIPS 2024 (arXiv 2406.06838).

What was read: abstract and figure captions. Recalled: the n^(−2) of the step below which noise can be interpolated, and
the n^(−3/4) of linear methods. Derived: the constant of the residual's term, and the infimum of ∫|f''| g over
interpolants. Target, noise, inputs and lengths of training are ours. Bands were set after a first run of six seeds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, FigureSpec, Grid, Slot, Study

from . import _univariate_claims as claims
from . import _univariate_figures as figures

if TYPE_CHECKING:
    from torch import Tensor

REACH = 2.0  # inputs lie in [−2, 2]

# --- parts: what a cell holds by name ---


def uniform(n: int, *, seed: int) -> "Tensor":
    """Inputs uniform on [−2, 2]."""
    from steppe import data

    return REACH * data.uniform_ball(n, 1, seed=seed)


def grid(n: int, *, seed: int) -> "Tensor":
    """Equidistant inputs from −2 to 2."""
    import torch

    return torch.linspace(-REACH, REACH, n, dtype=torch.float64)[:, None]


def kink(x: "Tensor") -> "Tensor":
    """1 − |x − 0.3|: one knot, its slope of bounded variation."""
    return 1 - (x - 0.3).abs()


def zigzag(x: "Tensor") -> "Tensor":
    """A zigzag with three knots."""
    return ((x + 0.2).abs() - 0.9).abs() - 0.4


SLOTS = {
    "inputs": Slot("(n, *, seed) -> x [n, 1] float64 in [−2, 2]", {"uniform": uniform, "grid": grid}, "the inputs"),
    "target": Slot("(x) -> clean targets [n, 1]", {"kink": kink, "zigzag": zigzag}, "what noise is added to"),
}

# --- cells ---

_DATA: dict[str, Any] = {"inputs": "uniform", "target": "kink", "noise": 0.5}
STEP_SIZES = [0.01, 0.05, 0.2, 0.4, 0.8]
WIDTHS = [8, 16, 24, 30, 36, 48, 100, 300, 1000, 3000]


def _fit(time: float, seeds: range) -> Grid:
    # Equal time, step size × updates, so that small steps are not judged too early.
    base = {"experiment": "fit", **_DATA, "n": 30, "width": 100}
    grids = [Grid(**base, step_size=size, steps=round(time / size), seed=seeds) for size in STEP_SIZES]
    return sum(grids[1:], start=grids[0])


def _rate(n: list[int], time: float, seeds: range) -> Grid:
    base = {"experiment": "rate", **_DATA, "width": 100, "step_size": 0.2, "steps": round(time / 0.2)}
    return sum((Grid(**base, n=size, seed=seeds) for size in n[1:]), start=Grid(**base, n=n[0], seed=seeds))


def _limit(n: list[int], seeds: range) -> Grid:
    return Grid(
        experiment="limit", inputs=["grid", "uniform"], target="kink", noise=[0.0, 0.5], n=n, seed=seeds
    )  # fmt: skip


def _width(width: list[int], seeds: range) -> Grid:
    return Grid(experiment="width", **_DATA | {"inputs": "grid", "n": 30}, width=width, seed=seeds)


def _real(step_sizes: list[float], time: float, seeds: range) -> Grid:
    base = {"experiment": "real", "series": ["diabetes-bmi", "photo-row"], "noise": 0.5, "n": 80, "width": 100}
    grids = [Grid(**base, step_size=size, steps=round(time / size), seed=seeds) for size in step_sizes]
    return sum(grids[1:], start=grids[0])


# The longest cells first, so that no core idles at the end.
GRID = (
    _rate([480, 240, 120, 60, 30], 5000, range(20))
    + _real([0.01, 0.1, 0.4], 5000, range(10))
    + _fit(5000, range(20))
    + _width(WIDTHS, range(40))
    + _limit([10, 30, 100, 300, 1000], range(20))
)
QUICK = (
    _rate([120, 60, 30], 1500, range(4))
    + _real([0.01, 0.4], 500, range(6))
    + _fit(1500, range(6))
    + _width([30, 36, 300], range(16))
    + _limit([10, 30, 100, 300], range(6))
)
FULL = (
    _rate([1920, 960, 480, 240, 120, 60, 30], 20_000, range(30))
    + _real([0.01, 0.1, 0.4], 20_000, range(20))
    + _fit(40_000, range(60))
    + _width(WIDTHS, range(200))
    + _limit([10, 30, 100, 300, 1000, 3000], range(60))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any] | Diverged:
    """Compute one cell."""
    from . import _univariate_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    if cell["experiment"] in ("limit", "width"):
        return 0.02 + 1e-5 * cell.get("width", 0)
    return float(0.1 + 3.5e-10 * cell["n"] * cell["width"] * cell["steps"])


COLUMNS = {
    "training_error": "mean squared residual on the noisy labels, without ½ (label units²)",
    "clean_error": "mean squared error to the clean targets at the training inputs (label units²)",
    "interior_error": "the same at 801 points of the interior |x| ≤ 1.6 (label units²)",
    "interior_gap": "|training error of the samples in the interior − (interior error + σ²)| (label units²)",
    "noise_variance": "realised mean squared noise of this draw (label units²)",
    "sharpness": "largest eigenvalue of the Hessian of ½ mean squared error (loss/parameter²)",
    "stability_limit": "2/η (loss/parameter²)",
    "weighted_variation": "∫|f''| g",
    "variation": "∫|f''| between the samples",
    "effective_knots": "knots that carry 95 % of ∫|f''| between the samples",
    "all_knots": "knots between the samples",
    "bound": "1/η − ½ + ½ √(1+R²) √(2L)",
    "noisy_bound": "1/η − ½ + ½ √(1+R²) (√clean error + √noise variance)",
    "sharpness_bound": "λ/2 − ½ + ½ √(1+R²) √(2L)",
    "interpolating_step": "largest step at which any network that interpolates these labels can be stable",
    "spline_error": "interior error of the cubic smoothing spline, its penalty the best of 25 in hindsight",
    "variation_error": "interior error of the certified fit of least ∫|f''|, its penalty from theory, never tuned",
    "affine_error": "interior error of the least-squares line (label units²)",
    "error_share": "interior error of the interpolant of least output norm, over σ²",
    "worst_share": "its largest squared error in the interior, over σ²",
    "interpolant_error": "its mean squared residual on the labels (label units²)",
    "interpolant_sharpness": "sharpness of it, rescaled to the shortest mean gradient (loss/parameter²)",
    "interpolant_floor": "2/(largest step at which an interpolant can be stable) (loss/parameter²)",
    "heldout_error": "mean squared error at rows or pixels that were not used (label units²)",
    "heldout_inner": "the same between the first and last tenth of the training inputs",
    "constant_error": "the same of the mean label",
    "sample_x": "curve: the inputs",
    "sample_y": "curve: the labels",
    "grid": "curve: points between the samples",
    "function": "curve: the network there",
    "clean": "curve: the clean target there",
    "knots": "curve: the knots between the samples",
    "jumps": "curve: |change of slope| there",
    "trace_step": "curve: updates before which the next curves were measured",
    "trace_sharpness": "curve: sharpness there (loss/parameter²)",
    "trace_floor": "curve: 1 + 2 ∫|f''| g there",
}

STUDY = Study(
    slug="qiao2024-univariate",
    title="Noisy labels in one dimension: large steps give sparse linear splines",
    summary=(
        "Labels are noisy and the network is wide enough to interpolate them. Does gradient descent with a large step "
        "refuse to, and fit a linear spline with few knots? How does its error fall with the number of samples, "
        "compared with the best linear smoother, and what do interpolants of noise cost?"
    ),
    paper="qiao2024stable",
    reference=(
        "D. Qiao, K. Zhang, E. Singh, D. Soudry, Y.-X. Wang. Stable Minima Cannot Overfit in Univariate ReLU Networks: "
        "Generalization by Large Step Sizes. NeurIPS 2024. arXiv:2406.06838."
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
        FigureSpec("splines", figures.splines, claims=("few-knots", "many-knots")),
        FigureSpec("step", figures.against_step, claims=("variation-falls", "u-shape-left", "u-shape-right")),
        FigureSpec("traces", figures.traces, claims=("edge-small-step", "floor-below-sharpness")),
        FigureSpec("rate", figures.rates, claims=("interior-rate", "linear-rate")),
        FigureSpec("limit", figures.limits, claims=("interpolation-needs-small-steps",)),
        FigureSpec("width", figures.widths, claims=("tempered-when-wide", "catastrophic-near-n")),
        FigureSpec("real", figures.real, section="real data"),
    ),
    headline=figures.headline,
    cost=cost,
)
