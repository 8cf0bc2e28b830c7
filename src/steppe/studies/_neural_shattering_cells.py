"""What one cell of `neural-shattering` computes: the part of the study that needs torch.

Networks train in float32, which changes errors by less than their spread over seeds; everything is measured in float64
on an exact copy.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steppe import theory
from steppe.activations import activation_weight
from steppe.core import InputError, SquaredLoss, derived_seed, generator
from steppe.curvature import SharpnessTracker, sharpness
from steppe.data import (
    HardFamily,
    hard_family,
    image_patches,
    linear_teacher_on,
    noise,
    smooth_label_map,
    tabular,
    uniform_ball,
)
from steppe.harness import Absent, Cell, Diverged
from steppe.networks import ShallowReLU
from steppe.norms import path_norm
from steppe.panel import check_theorems
from steppe.training import AtSteps, History, train_stacked

Columns = dict[str, Any]
LOSS = SquaredLoss()
CLIP = 50.0
RARE = 0.1
HELD_OUT = 4000
DIRECTIONS = 64


def rows(cells: list[Cell], columns: list[str]) -> Iterator[tuple[Cell, Columns | Diverged]]:
    """Compute cells that agree in the study's `together` axes."""
    experiment = cells[0]["experiment"]
    alone: dict[str, Callable[[Cell], Columns]] = {"inequality": _inequality, "weight": _weight, "hard": _hard}
    found = ((cell, alone[experiment](cell)) for cell in cells) if experiment in alone else _trained(cells)
    for cell, result in found:
        if isinstance(result, Diverged):
            yield cell, result
        else:
            reason = f"not measured in the experiment '{experiment}'"
            yield cell, {name: Absent(reason) for name in columns} | result


# --- trained networks ---


def _trained(cells: list[Cell]) -> Iterator[tuple[Cell, Columns | Diverged]]:
    samples = [_sample(cell) for cell in cells]
    networks = [_network(cell, x.shape[1]) for cell, (x, _, _) in zip(cells, samples, strict=True)]
    recipes = [cell.parts["recipe"]() for cell in cells]
    steps = cells[0]["steps"]
    traced = cells[0]["experiment"] != "sweep"
    histories = train_stacked(
        networks,
        torch.stack([x for x, _, _ in samples]).float(),
        torch.stack([y for _, _, y in samples]).float(),
        step_size=[recipe["step_size"] for recipe in recipes],
        weight_decay=[recipe["weight_decay"] for recipe in recipes],
        steps=steps,
        clip=CLIP,
        observers=[[AtSteps(_trace_steps(steps), _Trace(*sample))] if traced else [] for sample in samples],
    )
    for cell, sample, network, recipe, history in zip(cells, samples, networks, recipes, histories, strict=True):
        if history.state == "diverged":
            yield cell, Diverged(history.reason)
            continue
        result = _measure(cell, network.double(), *sample, recipe) | {"clipped": history.clipped}
        yield cell, result | (_traces(history) if traced else {})


def _sample(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, clean targets, noisy targets."""
    seed = cell["seed"]
    if cell["experiment"] == "real":
        x, clean = _real_sample(cell)
    else:
        x = cell.parts["inputs"](cell["n"], cell["d"], seed=seed)
        clean = cell.parts["target"](x, seed=seed).detach()
    return x, clean, clean + noise(tuple(clean.shape), sigma=cell["noise"], seed=seed)


def _real_sample(cell: Cell) -> tuple[Tensor, Tensor]:
    name, n, seed = cell["dataset"], cell["n"], cell["seed"]
    table = image_patches(n, size=4, seed=seed) if name == "patches" else tabular(name, rows=n, seed=seed)
    if cell["labels"] == "smooth":
        return table.x, smooth_label_map(table.x, table.y)
    return table.x, linear_teacher_on(table.x, seed=seed).forward(table.x)


def _network(cell: Cell, inputs: int) -> nn.Module:
    # A user's part may draw from torch's global generator: seed that inside a fork, so that it repeats.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed("networks.sequential", cell["seed"]))
        network = cell.parts["network"](inputs, cell["width"], seed=cell["seed"])
    _hidden(network)
    return network.float()


def _hidden(network: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights [m, d], thresholds [m] and output weights [k, m] of a two-layer network."""
    if isinstance(network, ShallowReLU):
        return network.w.detach(), network.b.detach(), network.v.detach()
    layers: list[Any] = list(network) if isinstance(network, nn.Sequential) else []
    if len(layers) != 3 or not (isinstance(layers[0], nn.Linear) and isinstance(layers[2], nn.Linear)):
        raise InputError(
            "a part of the slot `network` must give a ShallowReLU or nn.Sequential(Linear, activation, Linear), got "
            f"{type(network).__name__}; wrap it in one"
        )
    first, _, second = layers
    bias = torch.zeros_like(first.weight[:, 0]) if first.bias is None else first.bias
    return first.weight.detach(), -bias.detach(), second.weight.detach()


def _trace_steps(steps: int) -> list[int]:
    """About 50 steps: dense at the start, where the transient is, and evenly spaced after, for the plateau."""
    early = np.unique(np.geomspace(1, max(steps, 1), 18).astype(int)).tolist()
    late = np.linspace(0, steps, 37).astype(int).tolist()
    return sorted({0, *early, *late})


class _Trace:
    """Observes sharpness and clean error of one network while it trains."""

    def __init__(self, x: Tensor, clean: Tensor, y: Tensor) -> None:
        self._x, self._clean, self._y = x, clean, y
        self._tracker: SharpnessTracker | None = None

    def __call__(self, step: int, network: nn.Module) -> Mapping[str, float]:
        exact = copy.deepcopy(network).double()
        self._tracker = self._tracker or SharpnessTracker(exact, LOSS, (self._x, self._y))
        found = self._tracker(step, exact)
        assert found is not None
        with torch.no_grad():
            error = (exact(self._x) - self._clean).square().mean()
        return {"sharpness": found["sharpness"], "clean_error": float(error)}


def _traces(history: History) -> Columns:
    step, values = history.column("sharpness")
    _, errors = history.column("clean_error")
    late = [value for at, value in zip(step, values, strict=True) if at >= 0.75 * history.steps]
    return {
        "trace_step": step,
        "trace_sharpness": values,
        "trace_clean_error": errors,
        "plateau_sharpness": float(np.median(late)),
    }


def _measure(
    cell: Cell, network: nn.Module, x: Tensor, clean: Tensor, y: Tensor, recipe: Mapping[str, float]
) -> Columns:
    with torch.no_grad():
        outputs = network(x)
    noise_variance = float((y - clean).square().mean())
    clean_error = float((outputs - clean).square().mean())
    return {
        "clean_error": clean_error,
        "training_error": float((outputs - y).square().mean()),
        "noise_variance": noise_variance,
        "memorised_share": clean_error / noise_variance if noise_variance else Absent("the labels carry no noise"),
        "heldout_error": _heldout(cell, network),
        "stability_limit": 2 / recipe["step_size"],
        **_neurons(network, x, curves=cell["experiment"] != "sweep"),
        **_flatness(network, x, y),
    }


def _heldout(cell: Cell, network: nn.Module) -> float | Absent:
    if cell["experiment"] == "real":
        return Absent("all rows of the table are used for training")
    x = cell.parts["inputs"](HELD_OUT, cell["d"], seed=derived_seed("study.holdout", cell["seed"]))
    with torch.no_grad():
        return float((network(x) - cell.parts["target"](x, seed=cell["seed"])).square().mean())


def _neurons(network: nn.Module, x: Tensor, *, curves: bool) -> Columns:
    """Activation is the sign of the preactivation, for every activation function."""
    w, b, v = _hidden(network)
    fraction = (x @ w.T > b).double().mean(dim=0)
    size = w.norm(dim=1) * v.norm(dim=0)
    live = fraction > 0
    shown: Columns = {}
    if curves:
        shown = {"neuron_fraction": _short(fraction[live]), "neuron_norm": _short(size[live])}
    none = Absent("no neuron is active on any sample")
    some = bool(live.any())
    return shown | {
        "live_fraction": float(live.double().mean()),
        "rare_share": float((fraction[live] <= RARE).double().mean()) if some else none,
        "median_activation": float(fraction[live].median()) if some else none,
        "path_norm": float(size.sum()),
    }


def _short(values: Tensor) -> list[float]:
    """Six digits are enough for a picture of thousands of neurons."""
    return [float(f"{value:.6g}") for value in values.tolist()]


# --- flatness ---


_RELU_ONLY = (
    "weighted_norm",
    "one_sided_sum",
    "flatness_bound",
    "flatness_bound_sharper",
    "flatness_error",
    "residual_term",
    "radius",
    "mean_gradient_squared",
    "gauss_newton_sharpness",
    "gauss_newton_error",
)


def _flatness(network: nn.Module, x: Tensor, y: Tensor) -> Columns:
    """Both sides of the theorems about a single network."""
    if not isinstance(network, ShallowReLU):
        found = sharpness(network, LOSS, (x, y))
        reason = Absent("defined for ReLU networks only")
        return dict.fromkeys(_RELU_ONLY, reason) | {"sharpness": found.value, "sharpness_residual": found.error}
    paper, sharp, mean_gradient, top = check_theorems(network, x, y)
    return {
        "sharpness": paper.terms["sharpness"],
        "sharpness_residual": paper.terms["sharpness_error"],
        "weighted_norm": paper.terms["seminorm"],
        "one_sided_sum": paper.left,
        "flatness_bound": paper.right,
        "flatness_bound_sharper": sharp.right,
        "flatness_error": max(paper.error, sharp.error),
        "residual_term": math.sqrt(2 * paper.terms["training_loss"]),
        "radius": paper.terms["radius"],
        "mean_gradient_squared": mean_gradient.right,
        "gauss_newton_sharpness": top.right,
        "gauss_newton_error": top.error,
    }


# --- random and extremal networks ---


def _inequality(cell: Cell) -> Columns:
    make = _random if cell["construction"] == "random" else _extremal
    network, x, y = make(cell)
    return _flatness(network, x, y) | {"path_norm": float(path_norm(network))}


def _random(cell: Cell) -> tuple[ShallowReLU, Tensor, Tensor]:
    n, d, seed = cell["n"], cell["d"], cell["seed"]
    network = ShallowReLU(d, cell["width"], init="torch" if seed % 2 else "he", seed=seed)
    return network, uniform_ball(n, d, seed=seed), noise((n, 1), sigma=1.0, seed=seed)


def _extremal(cell: Cell) -> tuple[ShallowReLU, Tensor, Tensor]:
    """A network on which every step of the proof is an equality, or nearly so.

    Two-sided: half of the data lie at a point x₀ and half at −x₀, thresholds are zero, output weights positive, and
    every neuron has a mirrored twin, so that the gradients at both points make the same angle with their mean. It
    attains the bound on the seminorm. One-sided: all data lie at x₀ and every neuron is active there; constant
    residuals against the sign of the outputs then lower the sharpness by nearly √(1+R²) times their size, which makes
    the sharper constant nearly tight. Neurons are rescaled so that arithmetic and geometric mean agree.
    """
    d, m, seed = cell["d"], cell["width"], cell["seed"]
    rng = generator("study.extra", seed)
    centre = torch.ones(d, dtype=torch.float64) / math.sqrt(d)
    w = torch.randn(m // 2, d, generator=rng, dtype=torch.float64)
    w = w / w.norm(dim=1, keepdim=True) * (w @ centre).sign()[:, None]
    size = 4.0 * (0.5 + torch.rand(m // 2, generator=rng, dtype=torch.float64))
    if cell["construction"] == "two-sided":
        x, w, size = torch.stack([centre, -centre]).repeat(4, 1), torch.cat([w, -w]), size.repeat(2)
    else:
        x = centre.repeat(8, 1)
    # |wᵀx₀| on the active part equals |v| √(1+R²) after rescaling by c with c² = size·√(1+R²)/|wᵀx₀|.
    scale = (size * math.sqrt(2) / (w @ centre).abs()).sqrt()
    zeros = torch.zeros(len(w), dtype=torch.float64)
    network = ShallowReLU.from_weights(w * scale[:, None], zeros, size / scale)
    return network, x, network(x).detach() + cell["residual"]


# --- the weight ---


def _weight(cell: Cell) -> Columns:
    n, d, seed = cell["n"], cell["d"], cell["seed"]
    x = uniform_ball(n, d, seed=seed)
    rng = generator("study.extra", seed)
    directions = torch.randn(DIRECTIONS, d, generator=rng, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    t = torch.linspace(-1, 1, 41, dtype=torch.float64)
    u, level = directions.repeat_interleave(len(t), 0), t.repeat(len(directions))
    empirical = activation_weight(x, u, level).reshape(DIRECTIONS, -1)
    population = torch.as_tensor(np.asarray(theory.ball_weight(d, t.numpy())))
    distance = np.geomspace(0.02, 1.0, 25)
    near = torch.as_tensor(1 - distance).repeat(DIRECTIONS)
    curve = activation_weight(x, directions.repeat_interleave(25, 0), near).reshape(DIRECTIONS, 25).mean(0)
    active = (x @ directions.T > 0.3).double()
    p, s = active.mean(0), torch.relu(x @ directions.T - 0.3).mean(0)
    radius = float(x.norm(dim=1).max())
    one_sided = activation_weight(x, directions, torch.full((DIRECTIONS,), 0.3, dtype=torch.float64), sides="one")
    return {
        "weight_supremum": float((empirical - population).abs().max()),
        "weight_distance": distance.tolist(),
        "weight_empirical": curve.tolist(),
        "weight_population": np.asarray(theory.ball_weight(d, 1 - distance)).tolist(),
        "weight_lower": (p * s).tolist(),
        "weight_one_sided": one_sided.tolist(),
        "weight_upper": (math.sqrt(1 + radius**2) * p * s).tolist(),
        "weight_limit_ratio": float(theory.ball_weight(d, 1 - 1e-5))
        / 1e-5 ** (d + 2)
        / float(theory.ball_weight_limit(d)),
    }


# --- hard functions ---


def _hard(cell: Cell) -> Columns:
    n, d, seed = cell["n"], cell["d"], cell["seed"]
    epsilon = n ** (-1 / (d + 1))
    family = hard_family(d, epsilon, seed=seed)
    x = uniform_ball(n, d, seed=seed)
    y = torch.zeros(n, 1, dtype=torch.float64)
    empty = family.empty(x)
    network = family.empty_cap_network(x)
    occupied = HardFamily(torch.cat([family.centres[empty], family.centres[~empty][:1]]), epsilon).network(1.0)
    twice_as_high = HardFamily(family.centres, math.sqrt(2) * epsilon).network(1.0)
    atom = float(theory.atom_energy(d, epsilon))
    energy, error, overlap = _sampled(network, d, seed)
    return {
        "caps": family.size,
        "empty_caps": int(empty.sum()),
        "hard_sharpness": float(sharpness(network, LOSS, (x, y))),
        "hard_sharpness_occupied": float(sharpness(occupied, LOSS, (x, y))),
        "hard_training_error": float(network(x).detach().square().mean()),
        "hard_training_error_occupied": float(occupied(x).square().mean()),
        "hard_energy": int(empty.sum()) * atom,
        "hard_energy_deviation": abs(energy - int(empty.sum()) * atom) / error,
        "hard_energy_deviation_all": abs(energy - family.size * atom) / error,
        "hard_overlap": overlap,
        "hard_overlap_twice": _sampled(twice_as_high, d, seed, parts=2)[2],
    }


def _sampled(network: ShallowReLU, d: int, seed: int, *, parts: int = 20) -> tuple[float, float, int]:
    """From 50 000 uniform inputs a part: E f², its standard error, and the largest number of neurons active at once."""
    squares, overlap, total = [], 0, 50_000 * parts
    for part in range(parts):
        fresh = uniform_ball(50_000, d, seed=derived_seed("study.holdout", 1000 * seed + part))
        # Only points outside the inner ball can meet a cap.
        fresh = fresh[fresh.norm(dim=1) > network.b.min()]
        with torch.no_grad():
            squares.append(network(fresh).square().flatten())
            overlap = max(overlap, int(network.mask(fresh).sum(1).max()))
    values = torch.cat(squares)
    mean = float(values.sum()) / total
    variance = float(values.square().sum()) / total - mean**2
    return mean, math.sqrt(variance / total), overlap
