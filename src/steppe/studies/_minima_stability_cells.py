"""What one cell of `mulayoff2021-minima-stability` computes: the part that needs torch. Everything is float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steppe.activations import activation_weight_profile, half_space_moments
from steppe.core import SquaredLoss, check_choice, generator
from steppe.curvature import sgd_stability, sharpness
from steppe.harness import Absent, Cell
from steppe.networks import ShallowReLU
from steppe.norms import LinearSpline, balance_mean_gradient, univariate_knots, weighted_variation_norm
from steppe.theory import flatness_bound, least_interpolating_variation, univariate_weight
from steppe.training import History, gradient_descent

from ._minima_stability_sgd import moment_columns, returned

Columns = dict[str, Any]
LOSS = SquaredLoss()
CLIP = 20.0  # without it the jump after tripling often kills every neuron, and nothing is learned any more
CELLS = 12
SAME = 2000  # updates at which the loss is watched after tripling, or without it
RTOL = 1e-8


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "triple": _triple,
        "lemma": _lemma,
        "weight": _weight,
        "sgd": _sgd,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


# --- the tripled step ---


def _trained(cell: Cell) -> tuple[Tensor, Tensor, ShallowReLU, History]:
    x = cell.parts["inputs"](cell["n"], seed=cell["seed"])
    y = cell.parts["labels"](x, seed=cell["seed"])
    network = ShallowReLU(1, cell["width"], seed=cell["seed"])
    history = gradient_descent(network, x, y, step_size=cell["step_size"], steps=cell["steps"], clip=CLIP)
    return x, y, network, history


def _triple(cell: Cell) -> Columns:
    x, y, network, first = _trained(cell)
    before = _point(network, x, y, cell["step_size"], "before")
    spline = univariate_knots(network).inside(x)
    same = network.copy()
    watched: dict[str, Any] = {"steps": SAME, "clip": CLIP, "log_every": 1}
    calm = gradient_descent(same, x, y, step_size=cell["step_size"], **watched)
    jump = gradient_descent(network, x, y, step_size=3 * cell["step_size"], **watched)
    last = gradient_descent(network, x, y, step_size=3 * cell["step_size"], steps=cell["steps"], clip=CLIP)
    after = _point(network, x, y, 3 * cell["step_size"], "after")
    rest = univariate_knots(network).inside(x)
    thinned = slice(None, None, 20)
    offsets = first.step, [first.steps + s for s in jump.step[thinned]], [first.steps + SAME + s for s in last.step[1:]]
    return {
        **before,
        **after,
        "loss_jump": max(jump.loss),
        "loss_same": max(calm.loss),
        "distance_same": _distance(spline, univariate_knots(same).inside(x), x),
        "least_variation": float(least_interpolating_variation(x.numpy(), y.numpy())),
        "least_same_values": float(least_interpolating_variation(x.numpy(), rest(x[:, 0]).numpy())),
        "updates": [float(s) for part in offsets for s in part],
        "losses": [*first.loss, *jump.loss[thinned], *last.loss[1:]],
        **_compared(spline, rest, x, y),
    }


def _point(network: ShallowReLU, x: Tensor, y: Tensor, step_size: float, name: str) -> Columns:
    with torch.no_grad():
        loss = float(LOSS(network(x), y))
    spline = univariate_knots(network)
    limit = 2 / step_size
    return {
        f"loss_{name}": loss,
        f"sharpness_{name}": sharpness(network, LOSS, (x, y), rtol=RTOL).value,
        f"limit_{name}": limit,
        f"variation_{name}": spline.weighted_variation(x),
        f"plain_{name}": spline.inside(x).variation,
        f"knots_{name}": spline.effective_knots(x),
        f"bound_{name}": float(flatness_bound(limit, loss, float(x.abs().max()), sharper=True)),
    }


def _distance(one: LinearSpline, other: LinearSpline, x: Tensor) -> float:
    grid = torch.linspace(float(x.min()), float(x.max()), 101, dtype=torch.float64)
    return float((one(grid) - other(grid)).square().mean().sqrt())


def _compared(before: LinearSpline, after: LinearSpline, x: Tensor, y: Tensor) -> Columns:
    low, high = float(x.min()), float(x.max())
    grid = torch.linspace(low, high, 101, dtype=torch.float64)
    edges = torch.linspace(low, high, CELLS + 1, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    top = float(_weight_at(x, grid).max())
    masses = {}
    for name, spline in (("before", before), ("after", after)):
        where = torch.bucketize(spline.knots, edges[1:-1])
        masses[name] = torch.zeros(CELLS, dtype=torch.float64).index_add_(0, where, spline.jumps.abs())
    heavy = [
        (float(size[weights >= top / 2].sum()), float(size[weights < top / 2].sum()))
        for size, weights in ((spline.jumps.abs(), spline.weights(x)) for spline in (before, after))
    ]
    order = x[:, 0].argsort()
    return {
        "reduction_high": _reduction(heavy[0][0], heavy[1][0]),
        "reduction_low": _reduction(heavy[0][1], heavy[1][1]),
        "distance": _distance(before, after, x),
        "sample_x": x[order, 0].tolist(),
        "sample_y": y[order, 0].tolist(),
        "grid": grid.tolist(),
        "function_before": before(grid).tolist(),
        "function_after": after(grid).tolist(),
        "cells": middles.tolist(),
        "mass_before": masses["before"].tolist(),
        "mass_after": masses["after"].tolist(),
        "cell_weight": _weight_at(x, middles).tolist(),
    }


def _reduction(before: float, after: float) -> float | Absent:
    return 1 - after / before if before else Absent("there was no knot there before tripling")


def _weight_at(x: Tensor, t: Tensor) -> Tensor:
    return activation_weight_profile(x, x.new_ones(1), t)


# --- the key lemma ---


def _lemma(cell: Cell) -> Columns:
    x = cell.parts["inputs"](cell["n"], seed=cell["seed"])
    network = ShallowReLU(1, cell["width"], init="torch", seed=cell["seed"])
    with torch.no_grad():
        network.v.mul_(cell["scale"])
        y = network(x)
    balanced = balance_mean_gradient(network, x)
    top = sharpness(network, LOSS, (x, y), rtol=RTOL)
    spline = univariate_knots(network).inside(x)
    active, passive = half_space_moments(x, x.new_ones(len(spline.knots), 1), spline.knots)
    share = torch.where(active.weight <= passive.weight, active.fraction, passive.fraction)
    return {
        "weighted_variation": spline.weighted_variation(x),
        "halved_weight_variation": float((spline.jumps.abs() * spline.weights(x) / share).sum()),
        "sharpness": top.value,
        "sharpness_error": top.error,
        "balanced_sharpness": sharpness(balanced, LOSS, (x, y), rtol=RTOL).value,
        "balanced_gradient": _mean_gradient_square(balanced, x),
        "mean_gradient": _mean_gradient_square(network, x),
        "one_sided_sum": weighted_variation_norm(network, x, reduced=False),
    }


def _mean_gradient_square(network: ShallowReLU, x: Tensor) -> float:
    """By autograd, so that the rescaling is judged by something it does not use."""
    gradients = torch.autograd.grad(network(x).mean(), list(network.parameters()))
    return float(torch.stack([g.square().sum() for g in gradients]).sum())


# --- the weight ---


def _weight(cell: Cell) -> Columns:
    law = cell["inputs"]
    x = cell.parts["inputs"](cell["n"], seed=cell["seed"])
    grid = torch.linspace(-3, 3, 241, dtype=torch.float64)
    found = _weight_at(x, grid).numpy()
    at = x[:, 0].sort().values
    inside = torch.linspace(float(at[0]), float(at[-1]), 2001, dtype=torch.float64)
    best = inside[int(_weight_at(x, inside).argmax())]
    columns: Columns = {
        "weight_ends": float(_weight_at(x, at[[0, -1]]).max()),
        "weight_inside": float(_weight_at(x, at.median()[None])[0]),
        "weight_top": float((at < best).double().mean()),
    }
    if law in ("uniform", "gaussian", "laplace"):
        other = "uniform" if law == "laplace" else "laplace"
        columns |= {
            name: float(np.abs(found - univariate_weight(grid.numpy(), which)).max())
            for name, which in (("weight_distance", law), ("weight_distance_other", other))
        }
        columns["weight_law"] = univariate_weight(grid.numpy(), law).tolist()
    return columns | {"weight_grid": grid.tolist(), "weight_sample": found.tolist()}


# --- SGD ---


def _sgd(cell: Cell) -> Columns:
    x, _, network, _ = _trained(cell)
    with torch.no_grad():
        y = network(x)  # its own outputs: a minimum that interpolates exactly
    found, batch, n = sgd_stability(network, x, y), cell["batch"], cell["n"]
    criterion = found.largest_step(batch_size=batch).value
    exact = found.largest_step(batch_size=batch, exact=True).value
    full = 2 / found.sharpness.value
    rng = generator("study.extra", 1000 * cell["seed"] + batch)
    noise: Any = Absent("full batches carry no noise")
    if batch < n:
        noise = (batch * (n - 1) / (n - batch)) ** 0.5 / criterion
    return {
        "step_criterion": criterion,
        "step_exact": exact,
        "step_full": full,
        "non_uniformity": found.non_uniformity.value,
        "non_uniformity_limit": noise,
        **moment_columns(found.gram, step=exact, batch=batch, rng=rng),
        **{
            name: returned(network, x, y, step=0.8 * step, batch=batch, rng=rng)
            for name, step in (("returned_below", criterion), ("returned_exact", exact), ("returned_full", full))
        },
    }
