"""What one cell of `parhi2021-near-minimax` computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steppe.core import check_choice, generator
from steppe.data import uniform_ball
from steppe.harness import Absent, Cell
from steppe.solvers import Certified, VariationProblem, solve
from steppe.theory import rates

from ._near_minimax_kernel import best_ridge, kernel_ridge

Array = NDArray[np.float64]
Columns = dict[str, Any]
FRESH = 4000
LARGEST_KERNEL = 1500  # samples; beyond, an eigenvalue problem takes too long
TOLERANCE = 1e-3  # relative gap; in units of the error it is far below the noise


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "error": _error,
        "kernel": _kernel,
        "certificate": _certificate,
        "linearity": _linearity,
        "rates": _rates,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


def linear_exponent(d: int) -> float:
    """3/(d+3): 2s/(2s+d) at s = 3/2, the smoothness that a kink has for linear methods (recalled)."""
    return 3.0 / (d + 3)


def theory_alpha(n: int, d: int, noise: float) -> float:
    """½ (σ²/n)^((d+3)/(2d+3)): the scale at which bias and variance balance for variation one; constants left out."""
    return float(0.5 * (noise**2 / n) ** float(rates.low_norm_mse(d)))


def _sample(cell: Cell) -> tuple[Array, Array, Array]:
    """Inputs, clean and noisy targets."""
    n, d, seed = cell["n"], cell["d"], cell["seed"]
    x = uniform_ball(n, d, seed=seed)
    clean = cell.parts["target"](x, seed=seed)
    noise = torch.randn(n, generator=generator("data.noise", seed), dtype=torch.float64)
    return x.numpy(), clean[:, 0].numpy(), (clean[:, 0] + cell["noise"] * noise).numpy()


def _fit(cell: Cell, x: Array, y: Array) -> tuple[VariationProblem, Certified]:
    problem = VariationProblem(x, y, alpha=theory_alpha(cell["n"], cell["d"], cell["noise"]))
    return problem, solve(problem, tol=TOLERANCE, seed=cell["seed"])


def _fresh(cell: Cell) -> tuple[Array, Array]:
    """Inputs that were not fitted, and their clean targets."""
    fresh = uniform_ball(FRESH, cell["d"], seed=1_000_000 + cell["seed"])
    return fresh.numpy(), cell.parts["target"](fresh, seed=cell["seed"])[:, 0].numpy()


def _kernel(cell: Cell) -> Columns:
    """The linear methods alone, which are cheap: more samples and seeds than the network is given."""
    x, _, y = _sample(cell)
    fresh, clean = _fresh(cell)
    problem = VariationProblem(x, y, alpha=1.0)
    there = VariationProblem(fresh, clean, alpha=1.0)
    kernel: Any = Absent(f"kernel ridge regression is not run beyond {LARGEST_KERNEL} samples")
    if cell["n"] <= LARGEST_KERNEL:
        kernel = best_ridge(x, y, fresh, clean)
    return {
        "kernel_error": kernel,
        "affine_error": float(np.mean((there.free @ problem.affine_start() - clean) ** 2)),
    }


def _error(cell: Cell) -> Columns:
    x, _, y = _sample(cell)
    fresh, clean = _fresh(cell)
    problem, found = _fit(cell, x, y)
    there = VariationProblem(fresh, clean, alpha=problem.alpha)
    return _kernel(cell) | {
        "network_error": float(np.mean((there.evaluate(found.solution) - clean) ** 2)),
        "alpha": problem.alpha,
        "neurons": found.solution.width,
        "variation": found.solution.penalty,
        "relative_gap": found.certificate.relative_gap,
    }


def _certificate(cell: Cell) -> Columns:
    x, clean, y = _sample(cell)
    problem, found = _fit(cell, x, y)
    certificate = found.certificate
    flipped = y.copy()
    worst = int(np.argmax(np.abs(y)))
    flipped[worst] = -flipped[worst]
    return {
        "objective": certificate.primal,
        "dual": certificate.dual,
        "target_objective": problem.loss(clean) + problem.alpha,
        "relative_gap": certificate.relative_gap,
        "verified": float(certificate.verify(x, y)),
        "verified_flipped": float(certificate.verify(x, flipped)),
        "alpha": problem.alpha,
        "neurons": found.solution.width,
        "variation": found.solution.penalty,
    }


def _linearity(cell: Cell) -> Columns:
    x, _, y = _sample(cell)
    problem, once = _fit(cell, x, y)
    _, twice = _fit(cell, x, 2 * y)

    def change(one: Array, two: Array) -> float:
        return float(np.abs(two - 2 * one).max() / np.abs(2 * one).max())

    return {
        "kernel_nonlinearity": change(kernel_ridge(x, y, x, 1e-3), kernel_ridge(x, 2 * y, x, 1e-3)),
        "network_nonlinearity": change(problem.evaluate(once.solution), problem.evaluate(twice.solution)),
    }


def _rates(cell: Cell) -> Columns:
    d = cell["d"]
    return {"network_exponent": float(rates.low_norm_mse(d)), "linear_exponent": linear_exponent(d)}
