"""Gradient descent trains at the edge of stability, and the central flow predicts where it goes on average.

Cohen, Kaur, Li, Kolter, Talwalkar, *Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability*,
ICLR 2021 (arXiv 2103.00065); for adaptive methods Cohen, Ghorbani, Krishnan et al., *Adaptive Gradient Methods at the
Edge of Stability*, 2022 (arXiv 2207.14484); for the second part Cohen, Damian, Talwalkar, Kolter, Lee,
*Understanding Optimization in Deep Learning with Central Flows*, 2025 (arXiv 2410.24206).

Provenance: the findings and formulas of all three are recalled. The limits of the optimizers, the cycle of scalar
RMSProp and the numbers of the two-parameter model are derived or checked here on quadratics; the central flow is
verified by what it predicts. The papers train on CIFAR-10; here data of the same shape come from a sampler, and
scikit-learn's digits stand for real data. Bands follow a prototype run on other random draws.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, Grid, Slot, Study

from . import _edge_of_stability_claims as claims
from . import _edge_of_stability_figures as figures
from ._edge_of_stability_controls import CONTROLS

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

MOMENTUM = 0.75  # with the usual 0.9 these small problems are solved before the sharpness has risen to the limit
CLASSES = 4
NOISE = 8.0

# --- parts: what a cell holds by name ---


def _fields(n: int, side: int, seed: int) -> "tuple[Tensor, Tensor]":
    """Images 3 × side × side: a smooth random field per class plus a smooth field per image, `NOISE` times as large.

    Fields are Gaussian with amplitude (1 + |frequency|)^(−2), as in natural images. Pixels have mean 0 over the sample
    and variance 1 over all.
    """
    import torch

    from steppe.core import generator

    rng = generator("study.extra", seed)
    frequency = torch.fft.fftfreq(side, dtype=torch.float64) * side
    amplitude = (1 + (frequency[:, None].square() + frequency.square()).sqrt()) ** -2

    def fields(count: int) -> "Tensor":
        white = torch.randn(count, 3, side, side, generator=rng, dtype=torch.float64)
        smooth = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
        return smooth / smooth.std()

    labels = torch.arange(n) % CLASSES
    x = (fields(CLASSES)[labels] + NOISE * fields(n)).flatten(1)
    return _standardised(x), labels


def _standardised(x: "Tensor") -> "Tensor":
    centered = x - x.mean(dim=0)
    return centered / centered.std()


def fields_4(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """Four classes of smooth random images 3 × 4 × 4."""
    return _fields(n, 4, seed)


def fields_8(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """Four classes of smooth random images 3 × 8 × 8."""
    return _fields(n, 8, seed)


def fields_32(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """Four classes of smooth random images of the shape of CIFAR's, 3 × 32 × 32."""
    return _fields(n, 32, seed)


def digits(n: int, *, seed: int) -> "tuple[Tensor, Tensor]":
    """So many of scikit-learn's 1797 handwritten digits, 8 × 8 pixels, ten classes."""
    import torch

    from steppe.core import generator
    from steppe.data import handwritten_digits

    x, labels = handwritten_digits()
    chosen = torch.randperm(len(labels), generator=generator("data.subset", seed))[:n]
    return _standardised(x[chosen]), labels[chosen]


def _connected(inputs: int, outputs: int, width: int, activation: "type[nn.Module]") -> "nn.Module":
    from torch import nn

    hidden: list[nn.Module] = []
    for size in (inputs, width):
        hidden += [nn.Linear(size, width), activation()]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def tanh(inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """Fully connected, two hidden layers, tanh; torch's default initialisation."""
    from torch import nn

    return _connected(inputs, outputs, width, nn.Tanh)


def relu(inputs: int, outputs: int, width: int, *, seed: int) -> "nn.Module":
    """The same with ReLU."""
    from torch import nn

    return _connected(inputs, outputs, width, nn.ReLU)


Parameters = Iterable[Any]


def gradient_descent(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """Plain gradient descent; limit 2/η."""
    from torch.optim import SGD

    return SGD(parameters, lr=step_size)


def heavy_ball(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """Polyak momentum β = ¾; limit (2 + 2β)/η = 3.5/η."""
    from torch.optim import SGD

    return SGD(parameters, lr=step_size, momentum=MOMENTUM)


def nesterov(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """Nesterov momentum β = ¾; limit (2 + 2β)/(η(1 + 2β)) = 1.4/η."""
    from torch.optim import SGD

    return SGD(parameters, lr=step_size, momentum=MOMENTUM, nesterov=True)


def moving_average(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """The momentum of Adam, m ← βm + (1 − β)g with β = 0.9, without preconditioner; limit 38/η."""
    from torch.optim import SGD

    return SGD(parameters, lr=step_size, momentum=0.9, dampening=0.9)


def adam(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """Adam with its usual constants; limit 38/η on the preconditioned sharpness."""
    from torch.optim import Adam

    return Adam(parameters, lr=step_size)


def rmsprop(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """RMSProp with its usual constants; limit 2/η on the preconditioned sharpness."""
    from torch.optim import RMSprop

    return RMSprop(parameters, lr=step_size)


def scalar_rmsprop(parameters: Parameters, step_size: float) -> "torch.optim.Optimizer":
    """RMSProp with one second moment ν for all parameters; limit 2/η on S/√ν."""
    from ._edge_of_stability_exact import ScalarRMSprop

    return ScalarRMSprop(parameters, lr=step_size)


SLOTS = {
    "inputs": Slot(
        "(n, *, seed) -> (x [n, d] float64, labels [n] int64)",
        {"fields-8": fields_8, "fields-4": fields_4, "fields-32": fields_32, "digits": digits},
        "what is classified",
    ),
    "network": Slot(
        "(inputs, outputs, width, *, seed) -> nn.Module [n, inputs] -> [n, outputs]",
        {"tanh": tanh, "relu": relu},
        "what is trained; made inside a seeded fork of torch's generator, converted to float64",
    ),
    "optimizer": Slot(
        "(parameters, step_size) -> torch.optim.Optimizer that `curvature.stability_limit` knows",
        {
            "gradient-descent": gradient_descent,
            "heavy-ball": heavy_ball,
            "nesterov": nesterov,
            "moving-average": moving_average,
            "adam": adam,
            "rmsprop": rmsprop,
            "scalar-rmsprop": scalar_rmsprop,
        },
        "how it is trained, full batch",
    ),
}

# --- cells ---

_SMALL: dict[str, Any] = {"inputs": "fields-8", "network": "tanh", "loss": "squared", "n": 256, "width": 32}
# Optimizer → step sizes at which the limit is met in time, and updates.
_OTHERS: dict[str, tuple[list[float], int]] = {
    "heavy-ball": ([0.1, 0.2], 2000),
    "nesterov": ([0.05, 0.1], 2000),
    "adam": ([0.001, 0.003], 2500),
    "rmsprop": ([1e-4, 3e-4], 2500),
    "scalar-rmsprop": ([0.003, 0.01], 2500),
}


def _descent(steps: dict[float, int], seeds: range, **axes: Any) -> Grid:
    base = {"experiment": "train", **_SMALL, "optimizer": "gradient-descent"} | axes
    grids = [Grid(**base, step_size=size, steps=count, seed=seeds) for size, count in steps.items()]
    return sum(grids[1:], start=grids[0])


def _others(seeds: range, *, sizes: slice, **axes: Any) -> Grid:
    grids = [
        Grid(experiment="train", **_SMALL | axes, optimizer=name, step_size=steps[sizes], steps=count, seed=seeds)
        for name, (steps, count) in _OTHERS.items()
    ]
    return sum(grids[1:], start=grids[0])


def _digits(seeds: range) -> Grid:
    base = {"experiment": "train", **_SMALL, "inputs": "digits", "seed": seeds}
    return (
        Grid(**base, optimizer="gradient-descent", step_size=[0.4, 0.8], steps=2500)
        + Grid(**base, optimizer="heavy-ball", step_size=0.4, steps=2000)
        + Grid(**base, optimizer="adam", step_size=0.003, steps=2500)
    )


def _contrasts(seeds: range) -> Grid:
    return (
        _descent({0.2: 2500}, seeds, loss="cross-entropy")
        + _descent({0.2: 2500}, seeds, network="relu")
        + Grid(
            experiment="below", **_SMALL, optimizer="gradient-descent", step_size=[0.01, 0.2], steps=1000, seed=seeds
        )
    )


def _flows(steps: int, seeds: range, **axes: Any) -> Grid:
    base: dict[str, Any] = {"inputs": "fields-4", "network": "tanh", "n": 64, "width": 12, "step_size": 0.2} | axes
    return Grid(experiment="flow", **base, steps=steps, seed=seeds)


_EXACT = (
    Grid(
        experiment="quadratic",
        optimizer=["gradient-descent", "heavy-ball", "nesterov", "moving-average"],
        step_size=[0.02, 0.5],
    )
    + Grid(experiment="equilibrium", curvature=[0.5, 3.0, 40.0], step_size=[0.01, 0.1])
    + Grid(experiment="two-parameters", v=2.3, w=0.1, step_size=[0.1, 0.4, 0.6])
    + Grid(experiment="two-parameters", v=[0.5, 2.5], w=[0.2, 1.9], step_size=[0.05, 0.1, 0.2, 0.4])
)
# The longest cells first, so that no core idles at the end.
GRID = (
    _flows(600, range(4))
    + _descent({0.05: 4000, 0.1: 3000, 0.2: 2500, 0.4: 2500}, range(4))
    + _others(range(3), sizes=slice(None))
    + _digits(range(3))
    + _contrasts(range(3))
    + _EXACT
)
QUICK = (
    _flows(500, range(2))
    + _descent({0.1: 2500, 0.2: 2000, 0.4: 2000}, range(2))
    + _others(range(1), sizes=slice(1, None))
    + _digits(range(1))
    + _contrasts(range(1))
    + _EXACT
)
FULL = (
    _flows(1500, range(5), step_size=[0.1, 0.2])
    + _descent({0.05: 8000, 0.1: 5000, 0.2: 4000, 0.4: 4000}, range(5))
    # Sixteen times the pixels, a sixteenth of the step.
    + _descent({0.00625: 3000, 0.0125: 2500, 0.025: 2500}, range(3), inputs="fields-32")
    + _others(range(5), sizes=slice(None))
    + _digits(range(5))
    + _contrasts(range(5))
    + _EXACT
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any] | Diverged:
    """Compute one cell."""
    from . import _edge_of_stability_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server, measurements included."""
    experiment = cell["experiment"]
    if experiment not in ("train", "below", "flow"):
        return 0.05
    inputs = {"fields-4": 48, "fields-32": 3072, "digits": 64}.get(cell["inputs"], 192)
    update = 3e-4 + 2.7e-10 * cell["n"] * cell["width"] * (inputs + cell["width"])
    # Looks at the sharpness, the second training at half the step, the eigenvectors and third derivatives of the flow.
    adaptive = cell.get("optimizer") in ("adam", "rmsprop", "scalar-rmsprop")
    factor = {"train": 2.5 if adaptive else 1.25, "below": 3.3, "flow": 80.0}[experiment]
    return float(cell["steps"] * update * factor)


COLUMNS = {
    "stability_limit": "largest curvature at which the optimizer is linearly stable (loss/parameter²; preconditioned)",
    "initial_sharpness": "sharpness at the first record (loss/parameter²)",
    "peak_sharpness": "largest sharpness of the trace (loss/parameter²)",
    "final_sharpness": "sharpness at the last record (loss/parameter²)",
    "sharpening": "largest over first sharpness",
    "late_over_peak": "last over largest sharpness",
    "peak_effective": "largest sharpness in the metric of the limit (plain, or preconditioned for adaptive methods)",
    "plateau_effective": "median of that over the last quarter of training",
    "plateau_sharpness": "median plain sharpness over the last quarter of training (loss/parameter²)",
    "initial_loss": "training loss before the first update",
    "final_loss": "training loss after the last update",
    "rise_share": "share of all updates that raised the loss",
    "edge_step": "first recorded update at which the effective sharpness had reached the limit",
    "rise_share_before": "share of the updates before that one which raised the loss",
    "rise_share_edge": "share of the updates after it which raised the loss",
    "loss_late_over_edge": "mean loss of the last twentieth of training over that of a twentieth after the edge",
    "half_step_difference": "largest |log ratio| of the losses at equal time with half the step",
    "trace_step": "curve: updates before which the next curves were measured",
    "trace_sharpness": "curve: sharpness there (loss/parameter²)",
    "trace_effective": "curve: sharpness in the metric of the limit there",
    "trace_loss": "curve: training loss there",
    "growth_below": "growth of |x| per update at 0.99 of the limit",
    "growth_above": "growth of |x| per update at 1.01 of the limit",
    "growth_above_plain": "growth of |x| per update at 1.01 of 2/η",
    "growth_below_heavy_ball": "growth of |x| per update at 0.99 of (2 + 2β)/η",
    "equilibrium_ratio": "curvature over 2√ν/η on the final cycle of scalar RMSProp",
    "equilibrium_amplitude": "|x| on that cycle over η/2",
    "settled_curvature": "v² + w² where gradient descent on ½(vw − 1)² settled",
    "settled_sharpness": "sharpness there, by Lanczos or diagonalisation (loss/parameter²)",
    "settled_largest": "the larger of v² and w² there",
    "flow_step": "curve: middles of the windows of the next curves (updates)",
    "flow_descent_loss": "curve: mean loss of gradient descent",
    "flow_predicted_loss": "curve: mean predicted by the central flow, L + ½⟨Σ, ∇²L⟩, which is L + σ²/η",
    "flow_bare_loss": "curve: loss L at the central flow",
    "flow_gradient_loss": "curve: loss along the gradient flow",
    "flow_central_sharpness": "curve: sharpness along the central flow (loss/parameter²)",
    "flow_gradient_sharpness": "curve: sharpness along the gradient flow (loss/parameter²)",
    "flow_variance": "curve: predicted variance of the oscillation, tr Σ (parameter²)",
    "flow_central_distance": "curve: distance of mean descent to the central flow over the distance gone",
    "flow_gradient_distance": "curve: distance of mean descent to the gradient flow over the distance gone",
    "flow_critical": "largest number of eigenvalues at the limit, or within 5 % of it",
    "central_peak": "largest sharpness along the central flow (loss/parameter²)",
    "gradient_flow_peak": "largest sharpness along the gradient flow (loss/parameter²)",
    "peak_over_limit": "that over 2/η",
    "central_distance": "distance of mean descent to the central flow at the end, over the distance gone",
    "gradient_distance": "distance of mean descent to the gradient flow at the end, over the distance gone",
    "predicted_loss_ratio": "mean loss of descent over the prediction, late at the edge",
    "bare_loss_ratio": "mean loss of descent over the loss at the central flow, late at the edge",
    "gradient_loss_ratio": "mean loss of descent over that of the gradient flow at the same times",
    "variance_ratio": "mean squared step over 4 tr Σ, late at the edge",
    "cubic_push": "push of a displacement ±x along the top eigenvector, in units of x²∇S (derived: ½)",
    "cubic_error": "relative difference of that push and ½x²∇S",
    "sharpness_slope": "slope of the sharpness along ∇S by finite differences, over ‖∇S‖",
}


# --- the study ---

STUDY = Study(
    slug="cohen2021-edge-of-stability",
    title="The edge of stability, and the flow through its middle",
    summary=(
        "Does full-batch training sharpen until the largest curvature meets the limit of linear stability, and stay "
        "there: for gradient descent, momentum and adaptive methods, on data like images and on digits? "
        "And does the central flow predict path and loss of the oscillating iterates on average?"
    ),
    paper="cohen2021gradient",
    reference=(
        "J. Cohen, S. Kaur, Y. Li, J. Z. Kolter, A. Talwalkar. Gradient Descent on Neural Networks Typically Occurs at "
        "the Edge of Stability. ICLR 2021. arXiv:2103.00065."
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
