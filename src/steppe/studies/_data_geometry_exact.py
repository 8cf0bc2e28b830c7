"""What `liang2025-data-geometry` checks exactly: the construction on the sphere, inequalities of single networks."""

import math
from typing import Any

import torch
from torch import Tensor

from steppe.activations import activation_weight, half_space_depth
from steppe.core import SquaredLoss, derived_seed, generator
from steppe.curvature import sharpness
from steppe.data import radial, uniform_sphere
from steppe.harness import Cell
from steppe.networks import (
    PatchReLU,
    ShallowReLU,
    SphereInterpolation,
    patch_sphere_interpolator,
    sphere_interpolator,
)
from steppe.panel import check_flatness
from steppe.theory import flatness_bound, sphere_interpolation_bound

Columns = dict[str, Any]
_EMPTY = 1e-12  # weights below are those of a neuron that sees one side only


def theorems(network: ShallowReLU | PatchReLU, x: Tensor, y: Tensor) -> Columns:
    """Both sides of the flatness inequality, with either constant."""
    found = check_flatness(network, x, y)
    terms = found.terms
    sharper = flatness_bound(terms["sharpness"], terms["training_loss"], terms["radius"], sharper=True)
    return {
        "sharpness": terms["sharpness"],
        "weighted_norm": terms["seminorm"],
        "one_sided_sum": found.left,
        "flatness_bound": found.right,
        "flatness_bound_sharper": float(sharper),
        "flatness_error": found.error,
        "radius": terms["radius"],
        "residual_term": (2 * terms["training_loss"]) ** 0.5,
    }


def construction(cell: Cell) -> Columns:
    """The flat interpolant of labels in [−D, D] on random points of the sphere, measured by other means."""
    n, seed = cell["n"], cell["seed"]
    x = uniform_sphere(n, cell["d"], seed=seed)
    y = _labels(cell)
    found = sphere_interpolator(x, y, balanced=cell["split"] == "balanced")
    return _compared(found, x, y, cell) | {"largest_active": int(found.network.mask(x).sum(dim=1).max())}


def patch_construction(cell: Cell) -> Columns:
    """The same for a network on L patches of six coordinates, each patch on its own sphere."""
    positions = cell["patches"]
    parts = [
        uniform_sphere(cell["n"], 6, seed=derived_seed("study.extra", 100 * cell["seed"] + j)) for j in range(positions)
    ]
    x, y = torch.cat(parts, dim=1), _labels(cell)
    found = patch_sphere_interpolator(x, y, torch.arange(6 * positions).view(positions, 6))
    return _compared(found, x, y, cell) | {"largest_active": int(found.network.mask(x).sum(dim=(1, 2)).max())}


def _labels(cell: Cell) -> Tensor:
    drawn = 2 * torch.rand(cell["n"], 1, generator=generator("study.extra", cell["seed"]), dtype=torch.float64) - 1
    return float(cell["size"]) * (drawn.sign() if cell["labels"] == "signs" else drawn)


def _compared(found: SphereInterpolation, x: Tensor, y: Tensor, cell: Cell) -> Columns:
    n, size, pooled = cell["n"], float(cell["size"]), cell.get("patches", 1)
    network = found.network
    exact = sharpness(network, SquaredLoss(), (x, y), rtol=1e-9)
    with torch.no_grad():  # rescaled neurons compute the same function
        w, b, v = 1.25 * network.w, 1.25 * network.b, network.v / 1.25
        scaled = ShallowReLU.from_weights(w, b, v) if isinstance(network, ShallowReLU) else None
    return {
        "interpolation_error": found.error,
        "certified_sharpness": float(found.sharpness),
        "certified_error": found.sharpness.error + exact.error,
        "hessian_sharpness": float(exact),
        "rescaled_sharpness": float(sharpness(scaled, SquaredLoss(), (x, y), rtol=1e-9)) if scaled else float(exact),
        "promised_sharpness": float(
            sphere_interpolation_bound(n, size, balanced=cell["split"] == "balanced", patches=pooled)
        ),
        "condition": found.condition,
        **theorems(network, x, y),
        "largest_path": float((network.w.norm(dim=-1) * network.v[0].abs()).max().detach()),
    }


def shell(cell: Cell) -> Columns:
    """The share of the radial law beyond the radius 1 − δ."""
    radii = radial(cell["n"], cell["d"], alpha=cell["alpha"], seed=cell["seed"]).norm(dim=1)
    mass = cell["delta"] ** cell["alpha"]
    deviation = float((radii > 1 - cell["delta"]).double().mean()) - mass
    error = math.sqrt(mass * (1 - mass) / cell["n"])
    half = cell["delta"] ** (0.95 * cell["alpha"])
    return {"shell_deviation": abs(deviation) / error, "shell_deviation_near": abs(deviation + mass - half) / error}


def depth_and_activation(network: ShallowReLU, x: Tensor) -> Columns:
    """A neuron that fires on a share p of the data reaches no point deeper than p: exact, in the plane."""
    mask = network.mask(x)
    share, depth = mask.double().mean(dim=0), half_space_depth(x, x)
    reached = torch.where(mask, depth[:, None], 0.0).amax(dim=0)
    live = share > 0
    return {"reached_depth": reached[live].tolist(), "reached_share": share[live].tolist(), "one_sample": 1 / len(x)}


def on_each_piece(network: ShallowReLU, x: Tensor) -> Columns:
    """On line j a neuron is one of slope ‖proj u‖, and g(u, t) ≥ π_j² ‖proj u‖ g_j/√(1 + R_j²), of the line's own data.

    The ratio of right to left, largest over neurons and lines; and the same with π_j in place of π_j².
    """
    norm = network.w.norm(dim=1)
    live = norm > 0
    u, t = (network.w[live] / norm[live, None]).detach(), (network.b[live] / norm[live]).detach()
    whole = activation_weight(x, u, t)
    ratio, ratio_near = 0.0, 0.0
    for direction, on_line in pieces(x):
        share, at = len(on_line) / len(x), (on_line @ direction)[:, None]
        slope = u @ direction
        crosses = (slope.abs() > 1e-9) & (whole > _EMPTY)
        sign, height = slope.sign()[crosses, None], slope.abs()[crosses]
        own = activation_weight(at, sign, t[crosses] / height)
        inner = height * own / math.sqrt(1 + float(at.square().max())) / whole[crosses]
        if inner.numel():
            ratio = max(ratio, share**2 * float(inner.max()))
            ratio_near = max(ratio_near, share * float(inner.max()))
    return {"piece_ratio": ratio, "piece_ratio_near": ratio_near}


def pieces(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The lines through the origin on which the points lie, each with its points."""
    unit = x / x.norm(dim=1, keepdim=True)
    same = (unit @ unit.T).abs() > 1 - 1e-9
    first = same.double().argmax(dim=1)
    return [(unit[int(index)], x[first == index]) for index in first.unique()]
