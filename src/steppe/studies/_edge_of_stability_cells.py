"""What one cell of `cohen2021-edge-of-stability` computes: the part of the study that needs torch.

Everything is float64, full batch, on the CPU; every cell is trained by itself with the optimizer of `torch.optim`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steppe.core import CrossEntropy, InputError, SquaredLoss, check_choice, derived_seed
from steppe.curvature import SharpnessTracker, StabilityLimit, preconditioned_sharpness, stability_limit
from steppe.harness import Absent, Cell, Diverged

from . import _edge_of_stability_exact as exact
from . import _edge_of_stability_flow as flow

Columns = dict[str, Any]
RTOL = 1e-2  # of the residuals of traced sharpness: the value is then right to about 10⁻³
RECORDS = 40
_BLOW_UP = 1e6  # a loss so many times the first one is called divergence


def row(cell: Cell, columns: list[str]) -> Columns | Diverged:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns | Diverged]] = {
        "train": _trained,
        "below": _below,
        "flow": _flow,
        "quadratic": exact.quadratic,
        "equilibrium": exact.equilibrium,
        "two-parameters": exact.two_parameters,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    found = functions[cell["experiment"]](cell)
    if isinstance(found, Diverged):
        return found
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | found


# --- data and network ---


@dataclass(frozen=True)
class Problem:
    """A network and what it is fitted to."""

    network: nn.Module
    loss: Any
    x: Tensor
    y: Tensor

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets."""
        return self.x, self.y


def problem(cell: Cell) -> Problem:
    """The data, the targets and the fresh network of a cell."""
    x, labels = cell.parts["inputs"](cell["n"], seed=cell["seed"])
    _check_sample(x, labels)
    classes = int(labels.max()) + 1
    # A part may draw from torch's global generator, as torch's own layers do: seed that inside a fork.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed("networks.sequential", cell["seed"]))
        network = cell.parts["network"](x.shape[1], classes, cell["width"], seed=cell["seed"]).double()
    loss = check_choice("loss", cell.get("loss", "squared"), ["squared", "cross-entropy"])
    if loss == "cross-entropy":
        return Problem(network, CrossEntropy(), x, labels)
    return Problem(network, SquaredLoss(), x, nn.functional.one_hot(labels, classes).double())


def _check_sample(x: Any, labels: Any) -> None:
    right = isinstance(x, Tensor) and isinstance(labels, Tensor) and x.ndim == 2 and labels.shape == x.shape[:1]
    if not right or x.dtype != torch.float64 or labels.dtype != torch.int64:
        raise InputError(
            "a part of the slot `inputs` must give x [n, d] in float64 and labels [n] in int64, got "
            f"{_words(x)} and {_words(labels)}; convert with x.double() and labels.long()"
        )


def _words(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


# --- training ---


@dataclass
class Descent:
    """One training: the loss before every update, and curvature at some of them."""

    limit: StabilityLimit
    losses: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)  # in the metric to which the limit refers

    @property
    def edge(self) -> int | None:
        """The first recorded update at which the effective sharpness is at the limit."""
        reached = (step for step, value in zip(self.steps, self.effective, strict=True) if value >= float(self.limit))
        return next(reached, None)


def _records(steps: int) -> list[int]:
    """About 50 steps: dense at the start, where sharpness rises, and evenly spaced after, for the plateau."""
    early = np.unique(np.geomspace(1, max(steps, 1), 14).astype(int)).tolist()
    late = np.linspace(0, steps, RECORDS + 1).astype(int).tolist()
    return sorted({0, *early, *late})


def descend(task: Problem, optimizer: torch.optim.Optimizer, steps: int, *, traced: bool = True) -> Descent | Diverged:
    """Train full batch; look at the sharpness about 50 times."""
    found = Descent(stability_limit(optimizer))
    records = set(_records(steps)) if traced else set()
    tracker = SharpnessTracker(task.network, task.loss, task.data, rtol=RTOL)
    for step in range(steps + 1):
        optimizer.zero_grad()
        value = task.loss(task.network(task.x), task.y)
        found.losses.append(value.item())
        if not found.losses[-1] <= _BLOW_UP * max(1.0, found.losses[0]):  # NaN included
            return Diverged(f"the loss was {found.losses[-1]:.3g} after {step} updates, {found.losses[0]:.3g} before")
        if step in records:
            _look(found, step, task, optimizer, tracker)
        if step < steps:
            value.backward()
            optimizer.step()
    return found


def _look(
    found: Descent, step: int, task: Problem, optimizer: torch.optim.Optimizer, tracker: SharpnessTracker
) -> None:
    if found.limit.preconditioned and step == 0:
        return  # there is no preconditioner before the first update
    plain = float(tracker.measure())
    found.steps.append(step)
    found.sharpness.append(plain)
    if not found.limit.preconditioned:
        found.effective.append(plain)
        return
    estimate = preconditioned_sharpness(
        task.network,
        task.loss,
        task.data,
        optimizer=optimizer,
        second_moment=getattr(optimizer, "second_moment", None),
        rtol=RTOL,
        seed=step,
    )
    found.effective.append(float(estimate))


def _trained(cell: Cell) -> Columns | Diverged:
    task = problem(cell)
    optimizer = cell.parts["optimizer"](task.network.parameters(), cell["step_size"])
    found = descend(task, optimizer, cell["steps"])
    return found if isinstance(found, Diverged) else _measured(found)


def _measured(found: Descent) -> Columns:
    last = found.steps[-1]
    late = [index for index, step in enumerate(found.steps) if step >= 0.75 * last]
    return {
        "stability_limit": float(found.limit),
        "initial_sharpness": found.sharpness[0],
        "peak_sharpness": max(found.sharpness),
        "final_sharpness": found.sharpness[-1],
        "sharpening": max(found.sharpness) / found.sharpness[0],
        "late_over_peak": found.sharpness[-1] / max(found.sharpness),
        "peak_effective": max(found.effective),
        "plateau_effective": float(np.median([found.effective[index] for index in late])),
        "plateau_sharpness": float(np.median([found.sharpness[index] for index in late])),
        "initial_loss": found.losses[0],
        "final_loss": found.losses[-1],
        "rise_share": _rises(found.losses),
        "trace_step": found.steps,
        "trace_sharpness": found.sharpness,
        "trace_effective": found.effective,
        "trace_loss": [found.losses[step] for step in found.steps],
        **_at_the_edge(found),
    }


def _rises(losses: list[float]) -> float:
    """Share of the updates that raised the loss."""
    values = np.asarray(losses)
    return float(np.mean(values[1:] > values[:-1])) if values.size > 1 else 0.0


def _at_the_edge(found: Descent) -> Columns:
    names = ("edge_step", "rise_share_before", "rise_share_edge", "loss_late_over_edge")
    edge, window = found.edge, max(len(found.losses) // 20, 1)
    if edge is None or edge + 2 * window > len(found.losses):
        return dict.fromkeys(names, Absent("the sharpness did not reach the limit in time"))
    return {
        "edge_step": edge,
        "rise_share_before": _rises(found.losses[: max(edge, 2)]),
        "rise_share_edge": _rises(found.losses[edge:]),
        "loss_late_over_edge": float(np.mean(found.losses[-window:]) / np.mean(found.losses[edge : edge + window])),
    }


def _below(cell: Cell) -> Columns | Diverged:
    """Two trainings with the same η·steps, at η and at η/2: far below the limit both follow the gradient flow."""
    task, finer = problem(cell), problem(cell)
    make = cell.parts["optimizer"]
    found = descend(task, make(task.network.parameters(), cell["step_size"]), cell["steps"])
    half = descend(finer, make(finer.network.parameters(), cell["step_size"] / 2), 2 * cell["steps"], traced=False)
    for descent in (found, half):
        if isinstance(descent, Diverged):
            return descent
    assert isinstance(found, Descent)
    assert isinstance(half, Descent)
    ratios = [math.log(a / b) for a, b in zip(found.losses, half.losses[::2], strict=True) if a > 0 and b > 0]
    return _measured(found) | {"half_step_difference": max(abs(ratio) for ratio in ratios)}


# --- central flows ---


def _flow(cell: Cell) -> Columns | Diverged:
    task = problem(cell)
    return flow.compared(task.network, task.loss, task.data, step_size=cell["step_size"], steps=cell["steps"])
