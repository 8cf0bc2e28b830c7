"""What one cell of `liang2025-data-geometry` computes by training: the part of the study that needs torch.

Networks train in float32; everything is measured in float64 on an exact copy. Inputs that fill only a subspace are
turned into it first: gradient descent never moves the weights across it, so nothing changes but the cost.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from steppe.activations import depth_area, half_space_depth, half_space_depth_bound
from steppe.core import InputError, SquaredLoss, generator
from steppe.curvature import SharpnessTracker
from steppe.data import linear_teacher_on, noise, unit_linear_teacher
from steppe.harness import Absent, Cell, Diverged
from steppe.networks import ShallowReLU
from steppe.training import AtSteps, History, train_stacked

from . import _data_geometry_exact as exact

Columns = dict[str, Any]
LOSS = SquaredLoss()
CLIP = 50.0
RARE = 0.1
DIRECTIONS = 200  # of the depth bound: areas compare only at one number


def rows(cells: list[Cell], columns: list[str]) -> Iterator[tuple[Cell, Columns | Diverged]]:
    """Compute cells that agree in the study's `together` axes."""
    experiment = cells[0]["experiment"]
    alone: dict[str, Callable[[Cell], Columns]] = {
        "construction": exact.construction,
        "patch-construction": exact.patch_construction,
        "shell": exact.shell,
    }
    found = ((cell, alone[experiment](cell)) for cell in cells) if experiment in alone else _trained(cells)
    for cell, result in found:
        if isinstance(result, Diverged):
            yield cell, result
        else:
            reason = f"not measured in the experiment '{experiment}'"
            yield cell, {name: Absent(reason) for name in columns} | result


# --- problems ---


@dataclass(frozen=True)
class Problem:
    """Inputs, clean and noisy targets and the fresh network of a cell."""

    x: Tensor
    clean: Tensor
    y: Tensor
    network: ShallowReLU


def problem(cell: Cell) -> Problem:
    """What is trained in a cell."""
    seed = cell["seed"]
    if cell["experiment"] == "table":
        x = _table(cell)
        clean = linear_teacher_on(x, seed=seed).forward(x).detach()
    else:
        x = cell.parts["law"](cell["n"], cell["d"], seed=seed, **({"alpha": cell["alpha"]} if "alpha" in cell else {}))
        clean = unit_linear_teacher(cell["d"], seed=seed).forward(x).detach()
    network = ShallowReLU(x.shape[1], cell["width"], seed=seed)
    y = clean + noise(tuple(clean.shape), sigma=1.0, seed=seed)
    return _within_span(Problem(x, clean, y, network))


def _table(cell: Cell) -> Tensor:
    """Rows of a table around their mean, divided by the longest; or Gaussian rows in their place."""
    x = cell.parts["table"](cell["n"], seed=cell["seed"])
    if not isinstance(x, Tensor) or x.ndim != 2 or x.dtype != torch.float64 or len(x) < 2:
        got = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            f"a part of the slot `table` must give x [n, d] in float64, got {got}; convert with x.double()"
        )
    x = x - x.mean(dim=0)
    x = x / x.norm(dim=1).max()
    rng = generator("study.extra", cell["seed"])
    white = torch.randn(*x.shape, generator=rng, dtype=torch.float64)
    if cell["inputs"] == "gaussian":
        return white * (x.square().sum() / x.numel()).sqrt()
    if cell["inputs"] == "gaussian-covariance":
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        return (white * values.clamp(min=0).sqrt()) @ vectors.T
    return x


def _within_span(task: Problem) -> Problem:
    """The same problem in coordinates of the subspace that the inputs span, if it is smaller."""
    rank = int(torch.linalg.matrix_rank(task.x))
    if rank == task.x.shape[1]:
        return task
    basis = torch.linalg.svd(task.x, full_matrices=False).Vh[:rank].T
    w, b, v = (p.detach() for p in (task.network.w, task.network.b, task.network.v))
    return replace(task, x=task.x @ basis, network=ShallowReLU.from_weights(w @ basis, b, v))


# --- training ---


def _trained(cells: list[Cell]) -> Iterator[tuple[Cell, Columns | Diverged]]:
    """Cells of one size; those whose inputs fill subspaces of different dimension are trained apart."""
    tasks = [problem(cell) for cell in cells]
    for shape in dict.fromkeys(task.x.shape for task in tasks):
        group = [(cell, task) for cell, task in zip(cells, tasks, strict=True) if task.x.shape == shape]
        yield from _trained_together([cell for cell, _ in group], [task for _, task in group])


def _trained_together(cells: list[Cell], tasks: list[Problem]) -> Iterator[tuple[Cell, Columns | Diverged]]:
    traced, steps = cells[0]["experiment"] == "sphere", cells[0]["steps"]
    due = np.unique([0, *np.geomspace(1, steps, 12).astype(int), *np.linspace(0, steps, 17).astype(int)]).tolist()
    networks = [task.network.float() for task in tasks]
    histories = train_stacked(
        networks,
        torch.stack([task.x for task in tasks]).float(),
        torch.stack([task.y for task in tasks]).float(),
        step_size=cells[0]["step_size"],
        steps=steps,
        clip=CLIP,
        log_every=None if traced else max(steps, 1),
        observers=[[AtSteps(due, _sharpness_of(task))] if traced else [] for task in tasks],
    )
    for cell, task, network, history in zip(cells, tasks, networks, histories, strict=True):
        if history.state == "diverged":
            yield cell, Diverged(history.reason)
        else:
            yield cell, _measured(cell, task, network.double()) | (_traced(history, cell) if traced else {})


def _sharpness_of(task: Problem) -> Callable[[int, Any], Mapping[str, float]]:
    trackers: list[SharpnessTracker] = []

    def observe(step: int, network: Any) -> Mapping[str, float]:
        now = network.copy(dtype=torch.float64)
        if not trackers:
            trackers.append(SharpnessTracker(now, LOSS, (task.x, task.y)))
        return trackers[0](step, now) or {}

    return observe


def _traced(history: History, cell: Cell) -> Columns:
    step, values = history.column("sharpness")
    loss = dict(zip(history.step, history.loss, strict=True))
    return {
        "trace_step": step,
        "trace_sharpness": values,
        "trace_training_error": [2 * loss[at] for at in step],
        "plateau_sharpness": float(np.median([v for at, v in zip(step, values, strict=True) if at >= 0.75 * step[-1]])),
    }


# --- what is measured ---


def _measured(cell: Cell, task: Problem, network: ShallowReLU) -> Columns:
    x, clean, y = task.x, task.clean, task.y
    with torch.no_grad():
        outputs = network(x)
    variance = float((y - clean).square().mean())
    error = (outputs - clean).square()
    found = {
        "clean_error": float(error.mean()),
        "training_error": float((outputs - y).square().mean()),
        "noise_variance": variance,
        "memorised_share": float(error.mean()) / variance,
        "stability_limit": 2 / cell["step_size"],
        "radius_mean": float(x.norm(dim=1).mean()),
        **_neurons(network, x),
        **exact.theorems(network, x, y),
        **_depths(cell, x, error[:, 0].sqrt()),
    }
    if cell["experiment"] == "plane":
        found |= exact.depth_and_activation(network, x)
    if cell.get("law") == "lines":
        found |= exact.on_each_piece(network, x)
    return found


def _neurons(network: ShallowReLU, x: Tensor) -> Columns:
    fraction = network.mask(x).double().mean(dim=0)
    live = fraction[fraction > 0]
    none = Absent("no neuron is active on any sample")
    size = network.w.norm(dim=1) * network.v[0].abs()
    return {
        "live_fraction": len(live) / len(fraction),
        "rare_share": float((live <= RARE).double().mean()) if len(live) else none,
        "median_activation": float(live.median()) if len(live) else none,
        "path_norm": float(size.detach().sum()),
        "neuron_fraction": [round(value, 6) for value in live.tolist()],
    }


def _depths(cell: Cell, x: Tensor, error: Tensor) -> Columns:
    """How deep the points lie, and whether the shallow ones carry the larger error."""
    exactly = x.shape[1] <= 2
    depth = half_space_depth(x, x) if exactly else half_space_depth_bound(x, x, directions=DIRECTIONS)
    constant = float(depth.max()) == float(depth.min())
    rank = stats.spearmanr(depth.numpy(), error.numpy()).statistic if not constant else 0.0
    order = torch.randperm(len(x), generator=generator("study.extra", cell["seed"]))[:200]
    return {
        "depth_area": float(depth_area(depth)),
        "depth_rank_correlation": Absent("all points are equally deep") if constant else float(rank),
        "point_depth": depth[order].tolist(),
        "point_error": [float(f"{value:.6g}") for value in error[order].tolist()],
    }
