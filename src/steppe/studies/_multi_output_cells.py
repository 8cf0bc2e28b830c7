"""What one cell of `shenouda2023-multi-output` computes: the part of the study that needs torch.

Everything is float64 on the CPU. Random matrices come from NumPy's generator, seeded by purpose; the network of the
sharing experiment is drawn as the authors' code draws it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor, nn

from steppe.core import check_choice, derived_seed
from steppe.harness import Absent, Cell
from steppe.solvers import (
    Compression,
    VariationProblem,
    compress,
    compression_curve,
    minimum_group_norm,
    reduce_columns,
    solve,
)

Columns = dict[str, Any]
ACTIVE = 1e-7  # the authors' threshold on the norm of outgoing weights
SHARING = 1e-3  # the same in their neuron-sharing experiment
EXACT = 1e-6
STEP, DECAY = 0.2, 5e-5  # of that experiment


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "width": _width,
        "rank": _rank,
        "duplicates": _duplicates,
        "sharing": _sharing,
        "compression": _compression,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


# --- widths of minimum-norm solutions ---


def _width(cell: Cell) -> Columns:
    """Gaussian features and targets."""
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))

    def draw() -> tuple[np.ndarray, np.ndarray]:
        return rng.standard_normal((cell["n"], cell["width"])), rng.standard_normal((cell["n"], cell["outputs"]))

    return _counted(draw() for _ in range(cell["trials"]))


def _rank(cell: Cell) -> Columns:
    """Features of low rank, and targets that a Gaussian layer makes of them."""
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))

    def draw() -> tuple[np.ndarray, np.ndarray]:
        features = rng.standard_normal((cell["n"], cell["rank"])) @ rng.standard_normal((cell["rank"], cell["width"]))
        return features, features @ rng.standard_normal((cell["width"], cell["outputs"]))

    return _counted(draw() for _ in range(cell["trials"]))


def _counted(draws: Iterator[tuple[np.ndarray, np.ndarray]]) -> Columns:
    """Active neurons of the minimum-norm solution, before and after the reduction, with the bounds."""
    found: dict[str, list[float]] = {name: [] for name in ("active", "reduced", "penalty", "gap", "slip", "rise")}
    bound = refined = 0
    for features, targets in draws:
        fit = minimum_group_norm(features, targets)
        lengths = np.linalg.norm(fit.weights, axis=1)
        reduction = reduce_columns(features, fit.weights)
        again = np.linalg.norm(reduction.weights, axis=1)
        found["active"].append(int((lengths > ACTIVE).sum()))
        found["reduced"].append(len(reduction.active))
        found["penalty"].append(float(lengths.sum()))
        found["gap"].append(fit.gap / fit.primal)
        found["slip"].append(float(np.linalg.norm(features @ reduction.weights - targets) / np.linalg.norm(targets)))
        found["rise"].append(float(again.sum() / lengths.sum()) - 1.0)
        bound, outputs = reduction.bound, reduction.output_rank
        refined = bound - outputs * (outputs - 1) // 2
    return {
        "active": found["active"],
        "mean_active": float(np.mean(found["active"])),
        "fewest_active": min(found["active"]),
        "most_active": max(found["active"]),
        "most_reduced": max(found["reduced"]),
        "mean_penalty": float(np.mean(found["penalty"])),
        "largest_gap": max(found["gap"]),
        "largest_slip": max(found["slip"]),
        "norm_rise": max(found["rise"]),
        "bound": bound,
        "refined_bound": refined,
    }


def _duplicates(cell: Cell) -> Columns:
    """The same few features many times over, equal weights on all copies: what the reduction leaves."""
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    few = rng.standard_normal((4, 5))
    fit = minimum_group_norm(few, few @ rng.standard_normal((5, cell["outputs"])))
    features, weights = np.tile(few, cell["copies"]), np.tile(fit.weights, (cell["copies"], 1)) / cell["copies"]
    reduction = reduce_columns(features, weights)
    # Near miss: the neurons that stay keep the weights they had.
    kept = np.zeros_like(weights)
    kept[reduction.active] = weights[reduction.active]
    outputs = features @ weights
    size, scale = np.linalg.norm(weights, axis=1).sum(), np.linalg.norm(outputs)
    return {
        "active": [int((np.linalg.norm(weights, axis=1) > ACTIVE).sum())],
        "most_reduced": len(reduction.active),
        "largest_slip": float(np.linalg.norm(features @ reduction.weights - outputs) / scale),
        "dropped_slip": float(np.linalg.norm(features @ kept - outputs) / scale),
        "norm_rise": float(np.linalg.norm(reduction.weights, axis=1).sum() / size) - 1.0,
        "bound": reduction.bound,
    }


# --- neuron sharing ---


def _sharing(cell: Cell) -> Columns:
    """A wide student of a teacher with five neurons, trained as by the authors; and the certified optimum.

    With two outputs the mean over all entries is the ½ squared error, mean over samples, of `VariationProblem`.
    """
    x, y, teacher, w, v = _authors_draw()
    start = _mean_square(x, y, w, v)
    best = solve(VariationProblem(x[:, :2], y, alpha=DECAY, bias="penalized", skip=False), tol=1e-3)
    if cell["penalty"] == "optimum":  # u = (w, b), and b is subtracted
        w, v = best.solution.u * np.array([1.0, 1.0, -1.0]), best.solution.v
    else:
        w, v = _trained(x, y, w, v, cell["steps"], cell["penalty"])
    lengths = np.linalg.norm(w, axis=1)
    sizes = np.abs(v) * lengths[:, None]
    active = np.linalg.norm(sizes, axis=1) > SHARING
    both = (sizes[active].min(axis=1) > 0.01 * sizes[active].max(axis=1)) if active.any() else np.zeros(1)
    used = sizes[active]
    return {
        "teacher_norm": teacher,
        "label_square": float((y**2).mean()),
        "initial_error": start,
        "final_error": _mean_square(x, y, w, v),
        "norm": float(np.linalg.norm(sizes, axis=1).sum()),
        "objective": _mean_square(x, y, w, v) + DECAY * float(np.linalg.norm(sizes, axis=1).sum()),
        "lower_bound": best.certificate.dual,
        "used": int(active.sum()),
        "shared": float(both.mean()),
        "neuron_angle": [float(a) for a in np.arctan2(w[active, 1], w[active, 0]) % (2 * np.pi)],
        "neuron_bias": [float(b) for b in w[active, 2] / np.linalg.norm(w[active, :2], axis=1)],
        "neuron_size": [float(s) for s in np.linalg.norm(used, axis=1)],
    }


def _authors_draw() -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray]:
    """Data, teacher norm and student of the authors' script: torch's default layers after seeds 43 and 49."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(43)
        x = torch.randn(50, 2)
        teacher = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))
        y = teacher(x)
        torch.manual_seed(49)
        student = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 2, bias=False))
    extended = np.hstack([x.double().numpy(), np.ones((50, 1))])
    (tw, tv), (w, v) = _weights(teacher), _weights(student)
    norm = float((np.linalg.norm(tw, axis=1) * np.linalg.norm(tv, axis=1)).sum())
    return extended, y.double().numpy(), norm, w, v


def _weights(network: Any) -> tuple[np.ndarray, np.ndarray]:
    first, last = network[0], network[2]
    w = torch.cat([first.weight, first.bias[:, None]], dim=1)
    return w.detach().double().numpy(), last.weight.detach().double().numpy().T.copy()


def _mean_square(x: np.ndarray, y: np.ndarray, w: np.ndarray, v: np.ndarray) -> float:
    """Mean over all entries."""
    return float(((np.maximum(x @ w.T, 0.0) @ v - y) ** 2).mean())


def _trained(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, v: np.ndarray, steps: int, penalty: str
) -> tuple[np.ndarray, np.ndarray]:
    """Full-batch gradient steps; PathProx also normalises (w, b) and shrinks v, by neuron or by entry."""
    w, v, scale, shrink = w.copy(), v.copy(), 2.0 / y.size, STEP * DECAY
    for _ in range(steps):
        inputs = x @ w.T
        hidden = np.maximum(inputs, 0.0)
        error = (hidden @ v - y) * scale
        back = ((error @ v.T) * (inputs > 0)).T @ x
        v -= STEP * (hidden.T @ error)
        w -= STEP * back
        if penalty == "none":
            continue
        w /= np.maximum(np.sqrt((w * w).sum(axis=1)), 1e-6)[:, None]
        if penalty == "group":
            lengths = np.sqrt((v * v).sum(axis=1))
            v *= np.maximum(0.0, 1.0 - shrink / np.maximum(lengths, 1e-300))[:, None]
        else:
            v = np.sign(v) * np.maximum(np.abs(v) - shrink, 0.0)
    return w, v


# --- compression of trained networks ---


def _compression(cell: Cell) -> Columns:
    """Train, then compress: exactly, along a curve of tolerances, and by two cheaper ways with as many neurons."""
    x, y = cell.parts["inputs"](cell["n"] + cell["held_out"], seed=cell["seed"])
    used, held = (x[: cell["n"]], y[: cell["n"]]), (x[cell["n"] :], y[cell["n"] :])
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed("networks.sequential", cell["seed"]) % 2**32)
        model = cell.parts["network"](x.shape[1], y.shape[1], cell["width"]).double()
    loss = _fit(model, *used, cell["steps"])
    curve = compression_curve(model, used, TOLERANCES, held_out=held)
    exact = next(found for found in curve.compressions if found.tolerance == EXACT)
    loose = next(found for found in curve.compressions if found.tolerance == LOOSE)
    normed = compress(model, used, tolerance=EXACT, method="smallest-norm")
    return {
        "training_loss": loss,
        "neurons_before": exact.neurons_before,
        "neurons_exact": exact.neurons_after,
        "neurons_loose": loose.neurons_after,
        "feature_ranks": sum(line.feature_rank for line in exact.layers),
        "change_exact": exact.change.relative,
        "change_loose": loose.change.relative,
        "curve_tolerance": curve.tolerances,
        "curve_neurons": curve.neurons,
        "curve_change": [max(found.change.relative, 1e-17) for found in curve.compressions],
        "curve_held_out": [max(_held(found), 1e-17) for found in curve.compressions],
        "size_share": loose.parameters_after / loose.parameters_before,
        "neurons_normed": normed.neurons_after,
        "bound": sum(line.bound for line in normed.layers),
        "change_normed": normed.change.relative,
        "norm_rise": max((line.norm_after / line.norm_before for line in normed.layers), default=1.0) - 1.0,
        **_near_misses(model, used, exact, loose, cell["seed"]),
    }


TOLERANCES = (EXACT, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2)
LOOSE = 0.1


def _held(found: Compression) -> float:
    return found.held_out.relative if found.held_out is not None else 0.0


def _fit(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    """Adam with weight decay on the mean square, full batch; the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def _near_misses(model: Any, used: tuple[Tensor, Tensor], exact: Compression, loose: Compression, seed: int) -> Columns:
    """What the last layer changes with one neuron fewer, and with as many random or largest neurons."""
    last = [module for module in model if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        features, outputs = model[: list(model).index(last)](used[0]).numpy(), model(used[0]).numpy()
    weight, neurons = last.weight.detach().numpy(), exact.layers[-1].before
    features = (features - features.mean(axis=0)).reshape(len(features), neurons, -1)
    scale, targets = float(np.linalg.norm(outputs)), outputs - outputs.mean(axis=0)

    def refitted(kept: Any) -> float:
        chosen = features[:, kept].reshape(len(features), -1)
        fit = linalg.lstsq(chosen, targets, cond=1e-12, lapack_driver="gelsd")[0]
        return float(np.linalg.norm(targets - chosen @ fit)) / scale

    few, count = list(exact.layers[-1].kept), loose.layers[-1].after
    chosen = np.random.default_rng(derived_seed("study.control", seed)).permutation(neurons)[:count]
    blocks = weight.reshape(len(weight), neurons, -1)
    largest = np.argsort(-np.linalg.norm(blocks, axis=(0, 2)), kind="stable")[:count]
    left = targets - np.einsum("nki,oki->no", features[:, largest], blocks[:, largest])
    fewer: Any = Absent("only where a layer can be compressed exactly")
    if len(few) < neurons:
        fewer = min(refitted(few[:place] + few[place + 1 :]) for place in range(len(few)))
    return {
        "change_one_fewer": fewer,
        "change_random": refitted(np.sort(chosen)),
        "change_magnitude": float(np.linalg.norm(left)) / scale,
    }
