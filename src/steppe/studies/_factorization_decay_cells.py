"""What one cell of `kamber2026-regularized` computes on matrices; `_factorization_decay_data` has the others.

Everything is float64 on the CPU.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steppe.core import SquaredLoss, check_choice
from steppe.curvature import hessian
from steppe.harness import Absent, Cell
from steppe.networks import DeepLinear
from steppe.theory import (
    EndToEndMinimizer,
    critical_weight,
    minimizer_spectrum,
    singular_value_map,
    singular_value_threshold,
)
from steppe.training import FactorizationFit, FactorizationRun, fit_factorization

from . import _factorization_decay_data as data

Array = NDArray[np.float64]
Columns = dict[str, Any]
SAMPLES = 4  # minimizers drawn at random whose Hessians are compared
BELOW, ABOVE = 0.999, 1.001


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "minimizers": _minimizers,
        "map": _map,
        "collapse": _collapse,
        "zero": _zero,
        "noise": data.noise,
        "digits": data.digits,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


def _problem(cell: Cell) -> tuple[Array, tuple[int, ...], float]:
    """Target, sizes and the weight that is the cell's share of the critical one."""
    target = cell.parts["target"](cell["outputs"], cell["inputs"], seed=cell["seed"]).numpy()
    sizes = (cell["inputs"], *[cell["width"]] * (cell["depth"] - 1), cell["outputs"])
    limit = critical_weight(float(np.linalg.svd(target, compute_uv=False)[0]), cell["depth"])
    return target, sizes, float(limit) * cell.get("share", 1.0)


def dense_hessian(network: DeepLinear, target: Array, weight: float) -> Tensor:
    """The Hessian of ‖M − W‖² + weight · Σ ‖W_l‖²: of the house loss on identity inputs, times 2 d_0, plus decay."""
    inputs = network.inputs
    batch = torch.eye(inputs, dtype=torch.float64), torch.from_numpy(target.T.copy())
    matrix = hessian(network, SquaredLoss(), batch).to_dense()
    return 2 * inputs * matrix + 2 * weight * torch.eye(len(matrix), dtype=torch.float64)


# --- minimizers, trained and drawn ---


def _minimizers(cell: Cell) -> Columns:
    target, sizes, weight = _problem(cell)
    options: dict[str, Any] = {"weight": weight, "method": cell["method"], "restarts": cell["restarts"]}
    fits = [
        fit_factorization(target, sizes, seed=cell["seed"], start="normal", **options),
        fit_factorization(target, sizes, seed=cell["seed"], start="balanced", **options),
    ]
    return _trained(fits, target, weight) | _drawn(fits[0].optimum, target, weight)


def _trained(fits: list[FactorizationFit], target: Array, weight: float) -> Columns:
    best, levels, zero = fits[0].optimum, fits[0].local_values, fits[0].scale
    ended = [run for fit in fits for run in fit.runs]
    runs = [run for run in ended if run.state == "settled"] or ended
    reached = [run for run in runs if run.gap <= 1e-8 * zero]
    size = float(np.linalg.norm(target))
    predicted = minimizer_spectrum(target, weight, best.sizes or ())
    spectra = [torch.linalg.eigvalsh(dense_hessian(run.network, target, weight)).numpy() for run in reached[:SAMPLES]]
    starts = fits[0].runs
    at_optimum: Columns = dict.fromkeys(
        ("end_spread", "trained_norm_error", "trained_spectrum_error"), Absent("no restart reached the optimal value")
    )
    if reached:
        at_optimum = {
            "end_spread": max(run.distance for run in reached) / size,
            "trained_norm_error": max(_norm_error(run.network, best) for run in reached),
            "trained_spectrum_error": max(float(np.abs(s[::-1] - predicted).max()) for s in spectra) / predicted[0],
        }
    return at_optimum | {
        "unsettled": sum(run.state != "settled" for run in ended),
        "gap": min(run.gap for run in runs) / zero,
        "reached": len(reached),
        "normal_share": sum(run.gap <= 1e-8 * zero for run in starts) / len(starts),
        "level_error": max(float(np.abs(levels - run.value).min()) for run in runs) / zero,
        "levels": len(levels),
        "balance_error": max(map(_imbalance, runs)),
        "ranks": [float(run.rank) for run in runs],
        "gaps": [max(run.gap, 0.0) / zero for run in runs],
    }


def _imbalance(run: FactorizationRun) -> float:
    """Largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over the largest ‖W_l‖², or over 1 if that is smaller."""
    layers = [layer.detach() for layer in run.network.layers]
    errors = [float((after.T @ after - before @ before.T).norm()) for before, after in pairwise(layers)]
    return max(errors) / max(1.0, *(float(layer.square().sum()) for layer in layers))


def _norm_error(network: DeepLinear, best: EndToEndMinimizer) -> float:
    norms = np.array([float(layer.detach().square().sum()) for layer in network.layers])
    return float(np.abs(norms / best.layer_norms - 1).max())


def _drawn(best: EndToEndMinimizer, target: Array, weight: float) -> Columns:
    """Value, norms, trace and whole spectrum at minimizers drawn by the formula, and at other factorizations of W*."""
    sizes = best.sizes or ()
    predicted, depth, s = minimizer_spectrum(target, weight, sizes), best.depth, best.singular_values[: best.rank]
    errors, traces = [], []
    for seed in range(SAMPLES):
        network = DeepLinear.regularized_minimizer(target, sizes, weight=weight, seed=seed)
        matrix = dense_hessian(network, target, weight)
        spectrum = torch.linalg.eigvalsh(matrix).flip(0).numpy()
        errors.append((float(np.abs(spectrum - predicted).max()) / predicted[0], _norm_error(network, best)))
        traces.append(float(matrix.trace()) / float(best.trace))
    other = DeepLinear.random_minimizer(best.matrix, sizes, spread=0.1, seed=0)
    moved = torch.linalg.eigvalsh(dense_hessian(other, target, weight)).flip(0).numpy()
    ends = 2 * (sizes[0] + sizes[-1]) * float((s ** (2 * (depth - 1) / depth)).sum())
    decay = 2 * weight * len(predicted)
    middle = depth > 2
    targets = float((best.target_singular_values[: best.rank] ** (2 / depth)).sum())
    return {
        "parameters": len(predicted),
        "kept": best.rank,
        "spectrum_error": max(error for error, _ in errors),
        "norm_error": max(error for _, error in errors),
        "trace_ratio": traces,
        "trace_over_bound": float(best.trace) / float(best.trace_bound),
        "trace_over_ends": float(best.trace) / (ends + decay) if middle else Absent("depth 2 has no middle layer"),
        "lowest_eigenvalue": float(predicted[-1]) / float(predicted[0]),
        "unbalanced_spectrum_error": float(np.abs(moved - predicted).max()) / predicted[0],
        "norm_over_target": float(best.layer_norms[0]) / targets,
        "spectrum": predicted.tolist(),
    }


# --- the map of one singular value ---


def _map(cell: Cell) -> Columns:
    """What the better of two trainings leaves of a singular value, against the formula; and where the two tie."""
    depth, weight = cell["depth"], cell["weight"]
    limit = float(singular_value_threshold(weight, depth))
    sigma = limit * np.linspace(0.1, 2.5, cell["points"])
    sigma = sigma[np.abs(sigma - limit) > 1e-6 * limit]
    chains = [_chain(value, cell) for value in sigma]
    found = np.array([kept if value < at**2 else 0.0 for at, (kept, value) in zip(sigma, chains, strict=True)])
    expected, soft = singular_value_map(sigma, weight, depth), np.maximum(sigma - weight, 0.0)
    low, high = 0.7 * limit, 1.5 * limit
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _chain(middle, cell)[1] < middle**2 * (1 - 1e-13) else (middle, high)
    return {
        "curve_sigma": sigma.tolist(),
        "curve_found": found.tolist(),
        "map_error": float(np.abs(found - expected).max()) / limit,
        "soft_error": float(np.abs(found - soft).max()) / limit,
        "measured_threshold": high,
        "threshold": limit,
        "measured_jump": _chain(high * (1 + 1e-6), cell)[0] / high,
    }


def _chain(sigma: float, cell: Cell) -> tuple[float, float]:
    """Product and objective of factors of the 1 × 1 target σ, trained from balanced starts of several sizes."""
    sizes = (1, *[2] * (cell["depth"] - 1), 1)
    best = min(_from_balanced(np.array([[sigma]]), sizes, cell["weight"], seed=0), key=lambda run: run.value)
    return _top(best), best.value


def _from_balanced(target: Array, sizes: tuple[int, ...], weight: float, *, seed: int) -> list[FactorizationRun]:
    """Ends of L-BFGS from balanced factorizations of shares of the top singular part: a step may leap over one."""
    options: dict[str, Any] = {
        "weight": weight,
        "seed": seed,
        "restarts": 1,
        "start": "balanced",
        "start_rank": 1,
        "steps": 500,
    }
    scales = [share ** (1 / (len(sizes) - 1)) for share in (1.0, 0.85, 0.6)]
    return [fit_factorization(target, sizes, start_scale=scale, **options).runs[0] for scale in scales]


def _top(run: FactorizationRun) -> float:
    return float(torch.linalg.matrix_norm(run.network.matrix().detach(), 2))


# --- collapse, and zero as a local minimum ---


def _collapse(cell: Cell) -> Columns:
    """The top singular value over σ_1, of the global minimum and where balanced starts end, across λ_c."""
    target, sizes, limit = _problem(cell)
    top = float(np.linalg.svd(target, compute_uv=False)[0])
    shares = sorted({0.25, 0.5, 0.75, 0.9, BELOW, ABOVE, 1.1, 1.25, 1.5})
    best, kept = [], []
    for share in shares:
        runs = _from_balanced(target, sizes, share * limit, seed=cell["seed"])
        lowest = min(runs, key=lambda run: run.value)
        best.append(_top(lowest) / top if lowest.value < float((target**2).sum()) else 0.0)
        kept.append(max(map(_top, runs)) / top)
    return {
        "curve_share": shares,
        "curve_best": best,
        "curve_balanced": kept,
        "top_below": best[shares.index(BELOW)],
        "top_above": best[shares.index(ABOVE)],
        "top_balanced": kept[shares.index(1.1)],
    }


def _zero(cell: Cell) -> Columns:
    """The Hessian at zero, and where gradient descent ends from a small and from a balanced start."""
    target, sizes, weight = _problem(cell)
    lowest = torch.linalg.eigvalsh(dense_hessian(DeepLinear(sizes, init="zeros"), target, weight))[0]
    options: dict[str, Any] = {"weight": weight, "seed": cell["seed"], "restarts": 2, "method": "gradient-descent"}
    small = fit_factorization(target, sizes, start_scale=cell["start"], steps=cell["steps"], **options)
    return {
        "zero_curvature": float(lowest) / (2 * weight),
        "small_norm": max(float(run.network.matrix().detach().norm()) for run in small.runs)
        / float(np.linalg.norm(target)),
        "small_gap": small.gap / small.scale,
    }
