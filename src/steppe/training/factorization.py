"""Weight-decayed deep matrix factorization by gradient methods, held against its closed-form optimum."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from steppe.core import (
    ComputationError,
    KindError,
    ParameterError,
    check_choice,
    check_integer,
    check_number,
    derived_seed,
)
from steppe.networks import DeepLinear
from steppe.theory import EndToEndMinimizer, end_to_end_minimizer, local_minimum_values, minimizer_spectrum

from .descent import gradient_descent
from .history import State

Array = NDArray[np.float64]
Method = Literal["lbfgs", "gradient-descent"]
Start = Literal["normal", "balanced"]
_REACHED = 1e-8
_SETTLED = 1e-7


@dataclass(frozen=True, kw_only=True)
class FactorizationRun:
    """One restart.

    Attributes:
        network: The layers where it ended.
        value: The objective there.
        gap: Value minus the optimal value; rounding can make it slightly negative.
        rank: Singular values of the product above 1e-6 of the target's largest.
        distance: ‖W − W*‖_F.
        gradient: Largest entry of the objective's gradient.
        state: `"settled"` (that is below 1e-7 of its scale), `"finished"` (steps used up) or `"diverged"`.
        steps: Iterations.
    """

    network: DeepLinear
    value: float
    gap: float
    rank: int
    distance: float
    gradient: float
    state: State
    steps: int


@dataclass(frozen=True, kw_only=True)
class FactorizationFit:
    """Restarts of one method, best first, with the closed-form optimum beside them.

    A gradient method finds a local minimum; that it is global is not claimed but read off the gap.

    Attributes:
        runs: The restarts in ascending order of their objective.
        optimum: The minimizer in closed form.
        local_values: Objective at the local minima, by rank (`theory.local_minimum_values`).
        scale: Objective of all-zero layers, scale · ‖M‖_F², which relative gaps refer to.
        method: `"lbfgs"` or `"gradient-descent"`.
        seconds: Wall time.
    """

    runs: tuple[FactorizationRun, ...]
    optimum: EndToEndMinimizer
    local_values: Array
    scale: float
    method: str
    seconds: float

    @property
    def network(self) -> DeepLinear:
        """The layers of the best restart."""
        return self.runs[0].network

    @property
    def value(self) -> float:
        """The smallest objective reached."""
        return self.runs[0].value

    @property
    def gap(self) -> float:
        """That minus the optimal value."""
        return self.runs[0].gap

    @property
    def reached(self) -> int:
        """Restarts whose gap is below 1e-8 of the objective at zero."""
        return sum(run.gap <= _REACHED * self.scale for run in self.runs)

    def __str__(self) -> str:
        ranks = ", ".join(f"{rank} ({count})" for rank, count in sorted(Counter(run.rank for run in self.runs).items()))
        return (
            f"{self.method}: objective {self.value:.10g}, {self.gap:.2g} above the closed-form optimum; "
            f"{self.reached} of {len(self.runs)} restarts reached it, the worst ended {self.runs[-1].gap:.2g} above; "
            f"ranks {ranks}"
        )


def fit_factorization(
    target: Any,
    sizes: Sequence[int],
    *,
    weight: float | Sequence[float],
    seed: int,
    scale: float = 1.0,
    method: Method = "lbfgs",
    restarts: int = 10,
    start: Start = "normal",
    start_rank: int | None = None,
    start_scale: float = 1.0,
    steps: int = 10_000,
    step_size: float | None = None,
) -> FactorizationFit:
    """Minimize scale · ‖M − W_L ⋯ W_1‖_F² + weight · Σ_l ‖W_l‖_F² from random starts; report the gap to the optimum.

    The decay is part of the objective (coupled), in float64. At depth L ≥ 3 there are local minima that are not
    global, such as zero, where gradient descent ends from small starts.

    Args:
        target: M [d_L, d_0].
        sizes: d_0, d_1, …, d_L.
        weight: Weight > 0; with L-BFGS also one for each layer.
        seed: Seed of all starts.
        scale: Factor > 0 of ‖M − W‖_F².
        method: `"lbfgs"` (SciPy's L-BFGS-B), or `"gradient-descent"` (`training.gradient_descent`).
        restarts: Number of starts ≥ 1.
        start: `"normal"`: entries N(0, 1/d_{l−1}), as in `DeepLinear`. `"balanced"`: a balanced factorization of M in
            random bases, which needs hidden widths ≥ the rank of M.
        start_rank: Balanced starts from so many of M's largest singular values; None is all of them.
        start_scale: Factor > 0 of all layers at the start.
        steps: Iterations per restart at most.
        step_size: Step of gradient descent on the objective; None is one over the largest eigenvalue at the minimizer.

    Raises:
        DataError: The target is empty or not finite.
        ShapeError: The sizes do not fit it.
        ParameterError: A number is out of range, or gradient descent was given one weight per layer.
        UnknownNameError: `method` or `start` is not one of the names.
        ComputationError: Every restart diverged.

    Example:
        >>> fit = fit_factorization([[3.0, 0.0], [0.0, 1.0]], [2, 2, 2, 2], weight=0.1, restarts=4, seed=0)
        >>> fit.reached > 0 and fit.gap < 1e-10
        True
    """
    began = perf_counter()
    best = end_to_end_minimizer(target, weight, sizes, scale=scale)
    if best.sizes is None:
        raise KindError(f"`sizes` must be the list d_0, …, d_L, got {sizes!r}; pass one number per width")
    check_choice("method", method, ("lbfgs", "gradient-descent"))
    check_choice("start", start, ("normal", "balanced"))
    count = check_integer("restarts", restarts, minimum=1)
    most = check_integer("steps", steps, minimum=1)
    factor = check_number("start_scale", start_scale, above=0.0)
    matrix, first = np.array(target, dtype=np.float64), derived_seed("training.factorization", seed)
    problem, begin = _Problem(matrix, best), matrix
    if start_rank is not None:
        kept = check_integer("start_rank", start_rank, minimum=1)
        begin = (best.left[:, :kept] * best.target_singular_values[:kept]) @ best.right[:, :kept].T
    starts = [_start(begin, sizes, start, factor, first + index) for index in range(count)]
    if method == "lbfgs":
        if step_size is not None:
            raise ParameterError(f"`step_size` belongs to gradient descent, got {step_size!r} with L-BFGS; omit it")
        runs = [_lbfgs(problem, network, most) for network in starts]
    else:
        size = _step_size(problem, step_size)
        runs = [_descended(problem, network, size, most) for network in starts]
    if all(run.state == "diverged" for run in runs):
        raise ComputationError(f"all {count} restarts diverged; pass a smaller `step_size`")
    return FactorizationFit(
        runs=tuple(sorted(runs, key=lambda run: run.value)),
        optimum=best,
        local_values=local_minimum_values(matrix, weight, best.sizes, scale=scale),
        scale=problem.at_zero,
        method=method,
        seconds=perf_counter() - began,
    )


class _Problem:
    """The objective and its gradient in the flat vector of all layers."""

    def __init__(self, target: Array, best: EndToEndMinimizer) -> None:
        assert best.sizes is not None
        self.target, self.best, self.sizes = target, best, best.sizes
        self.shapes = [(rows, columns) for columns, rows in pairwise(best.sizes)]
        self.at_zero = best.scale * float((target**2).sum())

    def layers(self, flat: Array) -> list[Array]:
        ends = np.cumsum([rows * columns for rows, columns in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), self.shapes, strict=True)]

    def __call__(self, flat: Array) -> tuple[float, Array]:
        layers, scale = self.layers(flat), self.best.scale
        forwards = [np.eye(self.sizes[0])]
        for layer in layers:
            forwards.append(layer @ forwards[-1])
        error = forwards.pop() - self.target
        value, adjoint, gradients = scale * float((error**2).sum()), 2 * scale * error, []
        for layer, forward, weight in zip(layers[::-1], forwards[::-1], self.best.weights[::-1], strict=True):
            value += weight * float((layer**2).sum())
            gradients.append(adjoint @ forward.T + 2 * weight * layer)
            adjoint = layer.T @ adjoint
        return value, np.concatenate([gradient.ravel() for gradient in gradients[::-1]])

    def run(self, network: DeepLinear, steps: int, *, diverged: bool = False) -> FactorizationRun:
        """What there is to say about the layers where a restart ended."""
        flat = np.concatenate([layer.detach().numpy().ravel() for layer in network.layers])
        product = network.matrix().detach().numpy()
        value, gradient = self(flat)
        values, top = np.linalg.svd(product, compute_uv=False), float(self.best.target_singular_values[0])
        largest = float(np.abs(gradient).max())
        settled = largest <= _SETTLED * max(self.best.scale * top, self.best.weight)
        return FactorizationRun(
            network=network,
            value=value,
            gap=value - float(self.best.value),
            rank=int((values > 1e-6 * top).sum()),
            distance=float(np.linalg.norm(product - self.best.matrix)),
            gradient=largest,
            state="diverged" if diverged else "settled" if settled else "finished",
            steps=steps,
        )


def _start(target: Array, sizes: Sequence[int], start: str, factor: float, seed: int) -> DeepLinear:
    network = DeepLinear.balanced(target, sizes, seed=seed) if start == "balanced" else DeepLinear(sizes, seed=seed)
    with torch.no_grad():
        for layer in network.layers:
            layer *= factor
    return network


def _lbfgs(problem: _Problem, network: DeepLinear, steps: int) -> FactorizationRun:
    from scipy.optimize import minimize  # SciPy's optimizers take a moment to import

    flat = np.concatenate([layer.detach().numpy().ravel() for layer in network.layers])
    options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 20, "ftol": 0.0, "gtol": 1e-12}
    found = minimize(problem, flat, jac=True, method="L-BFGS-B", options=options)
    return problem.run(DeepLinear.from_layers(problem.layers(found.x)), int(found.nit))


def _step_size(problem: _Problem, step_size: float | None) -> float:
    best = problem.best
    if len(set(best.weights)) > 1:
        raise ParameterError(f"`weight` must be one number for gradient descent, got {best.weights}; use L-BFGS")
    if step_size is not None:
        return check_number("step_size", step_size, above=0.0)
    if best.ties:
        raise KindError("`step_size` is needed where the minimizer is not unique, got none; pass a number")
    return 1.0 / float(minimizer_spectrum(problem.target, best.weight, problem.sizes, scale=best.scale)[0])


def _descended(problem: _Problem, network: DeepLinear, step_size: float, steps: int) -> FactorizationRun:
    """By `gradient_descent` on identity inputs, whose loss (1/2n) ‖W − M‖² is the objective's over 2 n · scale."""
    inputs, scale = problem.sizes[0], problem.best.scale
    history = gradient_descent(
        network,
        torch.eye(inputs, dtype=torch.float64),
        torch.from_numpy(problem.target.T.copy()),
        step_size=2 * inputs * scale * step_size,
        steps=steps,
        weight_decay=problem.best.weight / (inputs * scale),
    )
    return problem.run(network, history.steps, diverged=history.state == "diverged")
