"""What one cell of `liang2026-locality` computes: the part of the study that needs torch.

Networks train in float32; everything is measured in float64 on an exact copy. Losses are means of half squares, so that
a step of the papers' code, which leaves the ½ out, is twice as long here, and a bound on the gradient half as large.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from steppe.activations import activation_weight, depth_area, half_space_depth_bound, outward_depth_bound
from steppe.core import SquaredLoss, derived_seed, generator
from steppe.curvature import SharpnessTracker
from steppe.data import image_patches, noise
from steppe.harness import Absent, Cell, Diverged
from steppe.networks import PatchReLU, ShallowReLU, patch_indices, patch_sphere_interpolator
from steppe.norms import path_norm
from steppe.panel import check_theorems
from steppe.training import AtSteps, History, gradient_descent

Columns = dict[str, Any]
LOSS = SquaredLoss()
RECORDS = {"sphere": 12, "patch-sphere": 24, "images": 12}
DIRECTIONS = 512
SIDE, FILTER = 12, 3  # images are 3 × 12 × 12, their patches 3 × 3 × 3
LARGE_SIDE, LARGE_FILTER = 32, 4  # those whose geometry is measured
MORE = 4  # held-out samples for each training sample


def row(cell: Cell, columns: list[str]) -> Columns | Diverged:
    """Compute one cell."""
    experiments: dict[str, Callable[[Cell], Columns | Diverged]] = {
        "sphere": _trained,
        "patch-sphere": _trained,
        "images": _trained,
        "vocabulary": _vocabulary,
        "geometry": _geometry,
        "tail": _tail,
        "construction": _construction,
        "inequality": _inequality,
    }
    found = experiments[cell["experiment"]](cell)
    if isinstance(found, Diverged):
        return found
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | found


# --- training ---


class Problem(NamedTuple):
    """Training inputs with clean and noisy targets, held-out inputs with clean targets, and the patches."""

    x: Tensor
    clean: Tensor
    y: Tensor
    fresh: Tensor
    fresh_clean: Tensor
    patches: Tensor


def _trained(cell: Cell) -> Columns | Diverged:
    at = _problem(cell)
    network = cell.parts["network"](at.patches, at.x.shape[1], 1, cell["width"], seed=cell["seed"]).float()
    start = _active_share(network, at.x.float())
    steps = cell["steps"]
    history = gradient_descent(
        network, at.x.float(), at.y.float(), step_size=cell["step_size"], steps=steps, clip=cell["clip"],
        observers=[AtSteps(_trace_steps(steps, RECORDS[cell["experiment"]]), _Trace(at))],
    )  # fmt: skip
    if history.state == "diverged":
        return Diverged(history.reason)
    return _measured(cell, network.double(), at) | _traces(cell, history) | {"first_activation": start}


def _problem(cell: Cell) -> Problem:
    n, seed = cell["n"], cell["seed"]
    held_out = derived_seed("study.holdout", seed)
    if cell["experiment"] == "images":
        patches = patch_indices(SIDE, SIDE, 3, FILTER, scheme=cell["scheme"], seed=seed)
        pictures = images((1 + MORE) * n, seed=seed)
        x, fresh = pictures[:n], pictures[n:]
        target = teacher(patches, 20, inputs=x.shape[1], plain=True, seed=seed)
    else:
        patches = torch.arange(cell["d"]).view(-1, cell["patch"])
        draw = {"sphere": _sphere, "patch-sphere": _patch_sphere}[cell["experiment"]]
        x, fresh = draw(cell, n, seed), draw(cell, MORE * n, held_out)
        target = teacher(patches, 20, inputs=cell["d"], plain=False, seed=seed)
    with torch.no_grad():
        clean, fresh_clean = target(x), target(fresh)
    return Problem(x, clean, clean + noise((n, 1), sigma=cell["noise"], seed=seed), fresh, fresh_clean, patches)


def _sphere(cell: Cell, n: int, seed: int) -> Tensor:
    rng = generator("data.uniform_sphere", seed)
    return nn.functional.normalize(torch.randn(n, cell["d"], generator=rng, dtype=torch.float64), dim=1)


def _patch_sphere(cell: Cell, n: int, seed: int) -> Tensor:
    """Every patch uniform on the unit sphere of its own."""
    rng = generator("data.uniform_sphere", seed)
    x = torch.randn(n, cell["d"] // cell["patch"], cell["patch"], generator=rng, dtype=torch.float64)
    return nn.functional.normalize(x, dim=2).flatten(1)


def images(n: int, *, side: int = SIDE, seed: int) -> Tensor:
    """Square pieces of scikit-learn's two photographs in three colours, every pixel of mean 0, all of variance 1."""
    x = image_patches(n, size=side, seed=seed).x
    return (x / x.std()).view(n, side, side, 3).permute(0, 3, 1, 2).flatten(1)


def teacher(patches: Tensor, width: int, *, inputs: int, plain: bool, seed: int) -> PatchReLU:
    """A shared network of few filters; `plain` is that of the experiment on images, without biases."""
    rng = generator("study.extra", seed)
    size = patches.shape[1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=rng, dtype=torch.float64) - 1

    w, v, b, beta = normal(width, size), normal(1, width), 0.5 * uniform(width), uniform(1)
    if plain:
        w, v, b, beta = w / math.sqrt(size), v / math.sqrt(width), 0 * b, 0 * beta
    return PatchReLU.from_weights(patches, w, b, v, beta, inputs=inputs)


def _trace_steps(steps: int, records: int) -> list[int]:
    """Dense at the start, where the transient is, and evenly spaced after, for the plateau."""
    early = np.unique(np.geomspace(1, max(steps, 1), records // 2).astype(int)).tolist()
    return sorted({0, *early, *np.linspace(0, steps, records).astype(int).tolist()})


class _Trace:
    """Observes sharpness, held-out error and activation of one network while it trains."""

    def __init__(self, at: Problem) -> None:
        self._at = at
        self._tracker: SharpnessTracker | None = None

    def __call__(self, step: int, network: nn.Module) -> Mapping[str, float]:
        exact = copy.deepcopy(network).double()
        self._tracker = self._tracker or SharpnessTracker(exact, LOSS, (self._at.x, self._at.y))
        found = self._tracker(step, exact)
        assert found is not None
        with torch.no_grad():
            excess = float((exact(self._at.fresh) - self._at.fresh_clean).square().mean())
        return {
            "sharpness": found["sharpness"],
            "excess": excess,
            "activation": _active_share(network, self._at.x.float()),
        }


def _traces(cell: Cell, history: History) -> Columns:
    step, values = history.column("sharpness")
    late = [value for at, value in zip(step, values, strict=True) if at >= 0.75 * history.steps]
    loss = dict(zip(history.step, history.loss, strict=True))
    return {
        "trace_step": step,
        "trace_sharpness": values,
        "trace_excess": history.column("excess")[1],
        "trace_activation": history.column("activation")[1],
        "trace_error": [2 * loss[at] for at in step],
        "plateau_sharpness": float(np.median(late)),
        "stability_limit": 2 / cell["step_size"],
        "clipped": history.clipped,
    }


def _active_share(network: nn.Module, x: Tensor) -> float:
    """The mean over neurons of the share of patches (or inputs) on which they are active."""
    assert isinstance(network, ShallowReLU | PatchReLU)
    with torch.no_grad():
        return float(sum(network.mask(block).double().mean() * len(block) for block in x.split(64)) / len(x))


def _measured(cell: Cell, network: nn.Module, at: Problem) -> Columns:
    with torch.no_grad():
        outputs, fresh = network(at.x), network(at.fresh)
    training = float((outputs - at.y).square().mean())
    excess = float((fresh - at.fresh_clean).square().mean())
    variance = cell["noise"] ** 2
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_error": training,
        "excess": excess,
        "null_excess": float((at.fresh_clean - at.y.mean()).square().mean()),
        "gap": abs(excess + variance - training),
        "noise_variance": float((at.y - at.clean).square().mean()),
        "last_activation": _active_share(network, at.x),
        "path_norm": _path_norm(network),
        **_theorems(network, at.x, at.y),
    }


def _path_norm(network: nn.Module) -> float:
    if isinstance(network, ShallowReLU):
        return float(path_norm(network))
    assert isinstance(network, PatchReLU)
    size = network.w.detach().norm(dim=-1)
    return float((network.v.detach().norm(dim=0) * (size if network.shared else size.mean(dim=0))).sum())


def _theorems(network: Any, x: Tensor, y: Tensor) -> Columns:
    """Both sides of the flatness inequality, and of the chain of its proof."""
    paper, sharp, mean_gradient, top = check_theorems(network, x, y)
    return {
        "sharpness": paper.terms["sharpness"],
        "weighted_sum": sharp.left,
        "flatness_bound": paper.right,
        "flatness_bound_sharper": sharp.right,
        "flatness_error": max(paper.error, sharp.error),
        "residual_term": math.sqrt(2 * paper.terms["training_loss"]),
        "radius": paper.terms["radius"],
        "mean_gradient_squared": mean_gradient.right,
        "gauss_newton_sharpness": top.right,
        "gauss_newton_error": top.error,
    }


# --- a vocabulary ---


def _vocabulary(cell: Cell) -> Columns | Diverged:
    """One random patch holds a word and noise, the others noise alone; the label is the word."""
    n, size, positions, seed = cell["n"], cell["patch"], cell["positions"], cell["seed"]
    rng = generator("study.extra", seed)
    words = nn.functional.normalize(torch.randn(cell["words"], size, generator=rng, dtype=torch.float64), dim=1)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, positions, size, generator=rng, dtype=torch.float64) / math.sqrt(positions * size)
        which = torch.randint(cell["words"], (count,), generator=rng)
        place = torch.randint(positions, (count,), generator=rng)
        x[torch.arange(count), place] += words[which]
        return x.flatten(1), words[which]

    (x, y), (fresh, wanted) = draw(n), draw(10 * n)
    patches = torch.arange(positions * size).view(positions, size)
    network = cell.parts["network"](patches, positions * size, size, cell["width"], seed=seed).float()
    history = gradient_descent(
        network, x.float(), y.float(), step_size=cell["step_size"], steps=cell["steps"], clip=cell["clip"]
    )
    if history.state == "diverged":
        return Diverged(history.reason)
    with torch.no_grad():
        network.double()
        return {
            "parameters": sum(p.numel() for p in network.parameters()),
            "word_training_error": float((network(x) - y).square().mean()),
            "word_error": float((network(fresh) - wanted).square().mean()),
            "word_null_error": float((y.mean(dim=0) - wanted).square().mean()),
            "clipped": history.clipped,
        }


# --- geometry of patches ---


def _geometry(cell: Cell) -> Columns:
    """Depth and principal components of patches of real images: one patch of every image, so many in every scheme."""
    n, seed = cell["n"], cell["seed"]
    x = images(n, side=LARGE_SIDE, seed=seed)
    patches = patch_indices(LARGE_SIDE, LARGE_SIDE, 3, LARGE_FILTER, stride=2, scheme=cell["scheme"], seed=seed)
    which = torch.randint(len(patches), (n,), generator=generator("study.extra", seed))
    chosen = x.gather(1, patches[which])
    left, size, _ = torch.linalg.svd(chosen - chosen.mean(dim=0), full_matrices=False)
    shares = size.square().cumsum(0) / size.square().sum()
    points = left * size  # the same points in coordinates of their span, where random directions are as uniform
    depth = half_space_depth_bound(points, points, directions=DIRECTIONS, seed=seed)
    return {
        "depth_area": float(depth_area(depth)),
        "depth_area_outward": float(depth_area(torch.minimum(depth, outward_depth_bound(points, points)))),
        "components": int((shares < 0.9).sum()) + 1,
        "top_share": float(shares[0]),
        "patch_dimension": patches.shape[1],
    }


def _tail(cell: Cell) -> Columns:
    """How far from the sphere the patches of uniform points on the sphere lie."""
    from scipy.stats import beta

    d, size, n = cell["d"], cell["patch"], cell["n"]
    norms = _sphere(cell, n, cell["seed"])[:, :size].norm(dim=1)
    delta = cell["delta"]
    exact = float(beta.sf((1 - delta) ** 2, size / 2, (d - size) / 2))
    found = float((norms > 1 - delta).double().mean())
    whole = float(beta.sf((1 - delta) ** 2, size / 2, d / 2))
    error = math.sqrt(exact * (1 - exact) / n)
    return {
        "tail": exact,
        "tail_deviation": abs(found - exact) / error,
        "tail_deviation_whole": abs(found - whole) / error,
        "mean_square_deviation": abs(float(norms.square().mean()) - size / d)
        / math.sqrt(2 * size * (d - size) / (d**2 * (d + 2)) / n),
    }


def _construction(cell: Cell) -> Columns:
    """The flat network that memorises labels on patch-wise spheres, and the same with one patch as one sample."""
    x = _patch_sphere(cell, cell["n"], cell["seed"])
    y = noise((cell["n"], 1), sigma=1.0, seed=cell["seed"]).sign()
    patches = torch.arange(cell["d"]).view(-1, cell["patch"])
    found = patch_sphere_interpolator(x, y, patches)
    return {
        "interpolation_error": found.error,
        "construction_sharpness": float(found.sharpness),
        "construction_formula": 1 + 2 * math.sqrt(2) / (cell["n"] * len(patches)),
        "construction_formula_unpooled": 1 + 2 * math.sqrt(2) / cell["n"],
        **_theorems(found.network, x, y),
    }


# --- the inequality ---


def _inequality(cell: Cell) -> Columns:
    """Networks that attain the patch inequality: every sample is one point, seen by `seen` of the positions.

    The other positions see its mirror image, where no neuron is active. Filters are rescaled so that arithmetic and
    geometric mean agree; a constant residual against the sign of the output lowers the sharpness.
    """
    d, positions, m, seed = cell["patch"], cell["positions"], cell["width"], cell["seed"]
    rng = generator("study.extra", seed)
    centre = torch.ones(d, dtype=torch.float64) / math.sqrt(d)
    side = torch.ones(positions, dtype=torch.float64)
    side[cell["seen"] :] = -1
    x = (side[:, None] * centre).flatten().repeat(6, 1)
    w = torch.randn(m, d, generator=rng, dtype=torch.float64)
    w = w / w.norm(dim=1, keepdim=True) * (w @ centre).sign()[:, None]
    size = 4.0 * (0.5 + torch.rand(m, generator=rng, dtype=torch.float64))
    seen = cell["seen"]
    slope = math.sqrt(2) * (seen if cell["shared"] else math.sqrt(seen)) / positions
    scale = (size * slope / ((w @ centre).abs() * seen / positions)).sqrt()
    w = w * scale[:, None]
    own = () if cell["shared"] else (positions,)
    network = PatchReLU.from_weights(
        torch.arange(positions * d).view(positions, d), w.expand(*own, m, d), w.new_zeros(*own, m), (size / scale)[None]
    )
    y = network(x).detach() + cell["residual"]
    found = _theorems(network, x, y)
    # The weight that a fully connected network would have whose neurons look at the first position.
    unit, norms = w / w.norm(dim=1, keepdim=True), w.norm(dim=1)
    weight = activation_weight(x[:, :d], unit, w.new_zeros(m), sides="one")
    return found | {"connected_sum": float((network.v.detach()[0].abs() * norms * weight).sum())}
