"""What one cell of `bai2022-global-optimization` computes: the part of the study that needs the solvers."""

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np

from steppe.core import derived_seed
from steppe.harness import Absent, Cell
from steppe.solvers import (
    Certified,
    VariationProblem,
    activation_patterns,
    alpha_max,
    robust_accuracy,
    sampled_program,
    sampled_program_by_admm,
    solve,
    solve_gated,
    solve_pathprox,
    solve_robust,
    solve_sampled_convex,
    solve_weight_decay,
)

Array = np.ndarray
Columns = dict[str, Any]
TOL = 1e-6
SAMPLED = 100  # patterns of the sampled program that first-order runs are compared with
EARLY = 50  # iterations after which ADMM is cut short for the control
TRAINING, HELD_OUT = 60, 100
RADII = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45]


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    experiment = cell["experiment"]
    found = _EXPERIMENTS[experiment](cell)
    return {name: Absent(f"not measured in the experiment '{experiment}'") for name in columns} | found


def _problem(cell: Cell) -> VariationProblem:
    """The problem of a cell, biases penalized, α relative to its largest useful value."""
    X, y = cell.parts["inputs"](cell["n"], cell["d"], seed=cell["seed"])
    stated = VariationProblem(X, y, alpha=1.0, bias="penalized", skip=False)
    return stated.with_alpha(cell["alpha_ratio"] * float(alpha_max(stated, seed=cell["seed"])))


def _optimum(problem: VariationProblem, seed: int) -> tuple[Certified, Columns]:
    best = solve(problem, tol=TOL, seed=seed)
    certificate = best.certificate
    return best, {
        "certified": certificate.primal,
        "certified_bound": certificate.dual,
        "certified_gap": certificate.relative_gap,
        "proof": certificate.kind,
        "neurons": best.solution.width,
    }


def _descent(cell: Cell) -> Columns:
    """A first-order run beside the certified optimum and the sampled program."""
    problem, seed = _problem(cell), cell["seed"]
    best, columns = _optimum(problem, seed)
    run = _first_order(problem, cell["method"], cell["steps"], seed)
    sampled = solve_sampled_convex(problem, patterns=SAMPLED, seed=seed).certificate.primal
    return columns | {
        "objective": run.certificate.primal,
        "excess": run.certificate.primal / best.certificate.primal - 1,
        "own_gap": run.certificate.relative_gap,
        "own_bound": run.certificate.dual,
        "own_neurons": run.solution.width,
        "sampled": sampled,
        "trace_step": [entry["iteration"] for entry in run.history],
        "trace_excess": [entry["primal"] / best.certificate.primal - 1 for entry in run.history],
    }


def _first_order(problem: VariationProblem, method: str, steps: int, seed: int) -> Certified:
    if method == "pathprox":
        return solve_pathprox(problem, max_iter=steps, seed=seed)
    optimizer: Any = method
    return solve_weight_decay(problem, optimizer=optimizer, max_iter=steps, seed=seed)


def _patterns(cell: Cell) -> Columns:
    """Sampled programs and gated relaxations for a growing number of patterns, nested and fresh."""
    problem, seed, counts = _problem(cell), cell["seed"], _counts(cell["patterns"])
    best, columns = _optimum(problem, seed)
    masks = activation_patterns(problem.Z, counts[-1], seed=seed)
    nested = [sampled_program(problem, masks[:, :count]).value for count in counts]
    gates = [sampled_program(problem, masks[:, :count], cones=False).value for count in counts]
    fresh = [
        sampled_program(problem, activation_patterns(problem.Z, count, seed=1000 * (i + 1) + seed))
        for i, count in enumerate(counts)
    ]
    found = solve_sampled_convex(problem, patterns=counts[0], seed=seed)
    split = solve_gated(problem, patterns=counts[-1], seed=seed)
    optimum = best.certificate.primal
    return columns | {
        "pattern_count": [min(count, masks.shape[1]) for count in counts],
        "pattern_value": nested,
        "pattern_excess": [value / optimum - 1 for value in nested],
        "gated_value": gates,
        "gated_excess": [value / optimum - 1 for value in gates],
        "gated_network": split.certificate.primal,
        "largest_rise": _largest_rise(nested),
        "largest_rise_fresh": _largest_rise([answer.value for answer in fresh]),
        "sampled_bound": found.certificate.dual,
        "unscaled_bound": problem.dual_value(problem.rho(problem.evaluate(found.solution))),
    }


def _counts(largest: int) -> list[int]:
    """Up to eight numbers of patterns from five up, each about the same factor above the one before."""
    return sorted({round(count) for count in np.geomspace(min(5, largest), largest, 8)})


def _largest_rise(values: list[float]) -> float:
    """Largest relative rise from one number of patterns to the next."""
    return max(after / before - 1 for before, after in pairwise(values))


def _admm(cell: Cell) -> Columns:
    """ADMM and the interior point on the same patterns."""
    problem = _problem(cell)
    masks = activation_patterns(problem.Z, cell["patterns"], seed=cell["seed"])
    exact = sampled_program(problem, masks)
    found = sampled_program_by_admm(problem, masks, tol=1e-5)
    early = sampled_program_by_admm(problem, masks, max_iter=EARLY)
    return {
        "admm_ratio": found.value / exact.value,
        "admm_ratio_early": early.value / exact.value,
        "admm_iterations": found.iterations,
    }


def _everything(cell: Cell) -> Columns:
    """The sampled program with all patterns, which is the problem itself."""
    problem = _problem(cell)
    _, columns = _optimum(problem, cell["seed"])
    masks = activation_patterns(problem.Z, "all")
    return columns | {
        "all_patterns": masks.shape[1],
        "all_value": sampled_program(problem, masks).value,
        "all_gated": sampled_program(problem, masks, cones=False).value,
    }


def _robust(cell: Cell) -> Columns:
    """Robust and plain training on the same patterns, both attacked on fresh samples."""
    radius = cell["radius"]
    options = {name: cell[name] for name in ("alpha", "fit", "seed", "patterns")}
    X, y = cell.parts["clusters"](TRAINING, seed=derived_seed("study.extra", cell["seed"]))
    fresh = cell.parts["clusters"](HELD_OUT, seed=derived_seed("study.holdout", cell["seed"]))
    plain, robust = (solve_robust(X, y, radius=size, **options) for size in (0.0, radius))
    found = {"plain": robust_accuracy(plain.network, *fresh, radius=radius)}
    found["robust"] = robust_accuracy(robust.network, *fresh, radius=radius)
    worst = _worst_over_corners(robust.network, X, y, radius, cell["fit"])
    columns: Columns = {}
    for name, accuracy in found.items():
        columns[f"{name}_clean"] = accuracy.clean
        columns[f"{name}_certified"] = accuracy.certified
        columns[f"{name}_attacked"] = accuracy.attacked
        network = (plain if name == "plain" else robust).network
        columns[f"{name}_curve"] = [robust_accuracy(network, *fresh, radius=size).certified for size in RADII]
    return columns | {
        "robust_loss": float(robust.worst.mean()),
        "corner_loss": float(worst.mean()),
        "unmoved_loss": float(_loss(_outputs(robust.network, X), y, cell["fit"]).mean()),
        "curve_radius": RADII,
        "robust_value": robust.value,
        "plain_value": plain.value,
    }


def _outputs(network: Any, X: Array) -> Array:
    import torch

    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(X)).numpy()[:, 0])


def _loss(f: Array, y: Array, fit: str) -> Array:
    if fit == "squared":
        return np.asarray(0.5 * np.square(f - y))
    return np.asarray(np.maximum(1 - y * f, 0) if fit == "hinge" else np.logaddexp(0, -y * f))


def _worst_over_corners(network: Any, X: Array, y: Array, radius: float, fit: str) -> Array:
    """Largest loss over the 2^d corners of every box: exact where the network is affine on it."""
    corners = (radius * np.array(signs) for signs in product((-1.0, 1.0), repeat=X.shape[1]))
    return np.asarray(np.max([_loss(_outputs(network, X + corner), y, fit) for corner in corners], axis=0))


_EXPERIMENTS: dict[str, Callable[[Cell], Columns]] = {
    "descent": _descent,
    "patterns": _patterns,
    "admm": _admm,
    "all-patterns": _everything,
    "robust": _robust,
}
