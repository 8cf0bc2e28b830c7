"""First-order training of the same problem: plain weight decay and PathProx.

Full-batch, in NumPy on balanced weights, because the free columns must stay without decay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from steppe.core import ComputationError, check_choice, check_integer, check_number, derived_seed
from steppe.linalg import Pace

from .solution import Solution, row_norms

if TYPE_CHECKING:
    from .problem import VariationProblem

Array = np.ndarray
Schedule = Literal["cosine", "constant"]
Optimizer = Literal["adam", "gradient-descent"]
_NEGLIGIBLE = 1e-9  # neurons below this share of the penalty are left out of the solution
LOOKS = 20


@dataclass(frozen=True, eq=False)
class Trained:
    """Where training ended.

    Args:
        solution: The network in the problem's coordinates.
        value: Its objective P.
        objectives: P along training, at evenly spaced steps; the last one is `value`.
        seed: Seed of the initialisation that won.
    """

    solution: Solution
    value: float
    objectives: list[float]
    seed: int


def train_weight_decay(
    problem: "VariationProblem",
    *,
    width: int = 200,
    optimizer: Optimizer = "adam",
    step_size: float | None = None,
    steps: int = 20_000,
    schedule: Schedule = "cosine",
    restarts: int = 1,
    seed: int = 0,
    start: Solution | None = None,
    pace: Pace | None = None,
) -> Trained:
    """Minimise the loss with weight decay α/2 (‖W‖² + ‖v‖²), thresholds included where they are penalized.

    Args:
        problem: The problem.
        width: Number of neurons.
        optimizer: `"adam"` with its usual constants, or `"gradient-descent"`.
        step_size: Largest step; 0.01 for Adam, and half the inverse of the largest curvature in the output weights at
            the start for gradient descent.
        steps: Full-batch updates.
        schedule: `"cosine"` lets the step fall to zero along half a cosine; `"constant"`.
        restarts: Initialisations, of which the one with the least P is returned.
        seed: Seed of the first initialisation; the next ones follow from it.
        start: A solution whose neurons replace the first ones of every initialisation.
        pace: Limit on time, and progress.

    Raises:
        ComputationError: Training diverged from every initialisation.

    Cost:
        Two products of an n × D and a D × width matrix for each step.
    """
    check_choice("optimizer", optimizer, ["adam", "gradient-descent"])

    def run(weights: "_Weights") -> list[float]:
        weights.balance()
        step = step_size if step_size is not None else (0.01 if optimizer == "adam" else weights.safe_step())
        decay = weights.decay()
        update = _Adam(weights.flat) if optimizer == "adam" else None

        def advance(size: float) -> None:
            gradient = weights.gradient() + decay * weights.flat
            weights.flat -= size * (update(gradient) if update else gradient)

        return _descend(weights, advance, step, steps, schedule, pace or Pace())

    _check(width, steps, schedule, restarts, step_size)
    return _best_of(problem, run, width, restarts, seed, start)


def train_pathprox(
    problem: "VariationProblem",
    *,
    width: int = 200,
    step_size: float | None = None,
    steps: int = 20_000,
    schedule: Schedule = "constant",
    restarts: int = 1,
    seed: int = 0,
    start: Solution | None = None,
    pace: Pace | None = None,
) -> Trained:
    """PathProx (Yang et al. 2022): a step on the loss, neurons put back to norm one, output weights thresholded.

    The threshold is α times the step. Neurons are put back without compensation in the output weights, as in the
    authors' code; with one group of neurons their layerwise balance does nothing.

    Args:
        problem: The problem.
        width: Number of neurons.
        step_size: The step γ; by default half the inverse of the largest curvature in the output weights at the start.
        steps: Full-batch updates.
        schedule: `"constant"`, as published, or `"cosine"`.
        restarts: Initialisations, of which the one with the least P is returned.
        seed: Seed of the first initialisation; the next ones follow from it.
        start: A solution whose neurons replace the first ones of every initialisation.
        pace: Limit on time, and progress.

    Raises:
        ComputationError: Training diverged from every initialisation.
    """

    def run(weights: "_Weights") -> list[float]:
        weights.normalise()
        step = step_size if step_size is not None else weights.safe_step()

        def advance(size: float) -> None:
            weights.flat -= size * weights.gradient()
            weights.normalise(keep=False)
            weights.v[...] = group_soft_threshold(weights.v, problem.alpha * size)

        return _descend(weights, advance, step, steps, schedule, pace or Pace())

    _check(width, steps, schedule, restarts, step_size)
    return _best_of(problem, run, width, restarts, seed, start)


def group_soft_threshold(v: Float[np.ndarray, "k c"], level: float) -> Float[np.ndarray, "k c"]:
    """Every row shortened by `level`, or zero if it is not longer: the proximal map of level · Σ ‖v_k‖₂.

    Example:
        >>> group_soft_threshold(np.array([[3.0, 4.0]]), 0.5).tolist()
        [[2.7, 3.6]]
    """
    norms = row_norms(v)
    return np.asarray(v * np.maximum(1.0 - level / np.maximum(norms, 1e-300), 0.0)[:, None])


class _Weights:
    """All weights of one network in one flat array, with views: u [m, D], v [m, c], beta [q, c]."""

    def __init__(self, problem: "VariationProblem", width: int, rng: np.random.Generator) -> None:
        self.problem = problem
        self.y = problem.y.reshape(problem.n, -1)
        size, outputs, free = problem.Z.shape[1], self.y.shape[1], problem.free.shape[1]
        self.flat = np.zeros(width * (size + outputs) + free * outputs)
        ends = np.cumsum([width * size, width * outputs])
        self.u = self.flat[: ends[0]].reshape(width, size)
        self.v = self.flat[ends[0] : ends[1]].reshape(width, outputs)
        self.beta = self.flat[ends[1] :].reshape(free, outputs)
        self.u[...] = rng.standard_normal(self.u.shape) * np.sqrt(2.0 / size)
        self.v[...] = rng.standard_normal(self.v.shape) * np.sqrt(2.0 / width)
        if problem.bias == "free":  # thresholds where the data are, else most neurons are affine on them
            first, second = (problem.X[rng.integers(problem.n, size=width)] for _ in range(2))
            middle = first + rng.random((width, 1)) * (second - first)
            self.u[:, -1] = np.einsum("kj,kj->k", self.u[:, :-1], middle)
        self.weights = problem.weights[:, None]

    def take(self, start: Solution) -> None:
        """Put the neurons of a solution, largest first, in the place of the first ones, and its free part."""
        v = start.v.reshape(len(start.v), -1)
        first = np.argsort(-row_norms(v), kind="stable")[: len(self.u)]
        self.u[: len(first)], self.v[: len(first)] = start.u[first], v[first]
        if start.beta is not None and len(self.beta):
            self.beta[...] = start.beta.reshape(self.beta.shape)

    def gradient(self) -> Array:
        """Gradient of the loss, flat."""
        problem = self.problem
        along = problem.Z @ self.u.T
        hidden = np.maximum(along, 0.0)
        f = hidden @ self.v
        if len(self.beta):
            f += problem.free @ self.beta
        slope = self.weights * problem.fit.gradient(f, self.y)
        backward = (slope @ self.v.T) * (along > 0)
        parts = [(backward.T @ problem.Z).ravel(), (hidden.T @ slope).ravel(), (problem.free.T @ slope).ravel()]
        return np.concatenate(parts)

    def decay(self) -> Array:
        """The factor of every weight in the gradient of the decay."""
        factor = np.full(self.flat.shape, self.problem.alpha)
        if self.problem.bias == "free":
            factor[: self.u.size].reshape(self.u.shape)[:, -1] = 0.0
        factor[self.u.size + self.v.size :] = 0.0
        return factor

    def balance(self) -> None:
        """Make the norm of every neuron equal to that of its output weights; the function stays."""
        norms, sizes = self.problem.penalty_norms(self.u), row_norms(self.v)
        factor = np.sqrt(np.maximum(sizes, 1e-300) / np.maximum(norms, 1e-300))[:, None]
        self.u *= factor
        self.v /= factor

    def normalise(self, *, keep: bool = True) -> None:
        """Give every neuron penalty norm one; with `keep` the output weights make up for it."""
        norms = np.maximum(self.problem.penalty_norms(self.u), 1e-6)[:, None]
        self.u /= norms
        if keep:
            self.v *= norms

    def safe_step(self) -> float:
        """Half the inverse of the largest curvature of the loss in the output weights and free coefficients."""
        features = np.hstack([np.maximum(self.problem.Z @ self.u.T, 0.0), self.problem.free])
        largest = np.linalg.norm(features * np.sqrt(self.weights), 2) ** 2 * self.problem.fit.curvature
        return 0.5 / max(float(largest), 1e-300)

    def solution(self) -> Solution:
        """The network in the problem's coordinates, without neurons of negligible size."""
        norms = self.problem.penalty_norms(self.u)
        sizes = norms * row_norms(self.v)
        kept = sizes > _NEGLIGIBLE * max(float(sizes.sum()), 1e-300)
        v = self.v[kept] * norms[kept, None]
        flat = self.problem.y.ndim == 1
        beta = (self.beta[:, 0] if flat else self.beta).copy() if len(self.beta) else None
        return Solution(self.u[kept] / norms[kept, None], v[:, 0].copy() if flat else v, beta)


class _Adam:
    """The direction of Adam with its usual constants."""

    def __init__(self, flat: Array) -> None:
        self.mean, self.square, self.count = np.zeros_like(flat), np.zeros_like(flat), 0

    def __call__(self, gradient: Array) -> Array:
        self.count += 1
        self.mean += 0.1 * (gradient - self.mean)
        self.square += 0.001 * (gradient * gradient - self.square)
        first, second = 1 - 0.9**self.count, 1 - 0.999**self.count
        return (self.mean / first) / (np.sqrt(self.square / second) + 1e-8)


def _descend(
    weights: _Weights, advance: Callable[[float], None], step: float, steps: int, schedule: Schedule, pace: Pace
) -> list[float]:
    """Take the steps; P at evenly spaced ones. Stops where a weight is not finite."""
    looks = set(np.linspace(0, steps, LOOKS + 1).astype(int).tolist())
    objectives: list[float] = []
    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            if t in looks:
                if not np.isfinite(weights.flat).all():
                    return [*objectives, np.inf]
                objectives.append(weights.problem.primal(weights.solution()))
                if pace.over:
                    break
            if t < steps:
                pace.advance(1, "")
                advance(step * 0.5 * (1 + np.cos(np.pi * t / steps)) if schedule == "cosine" else step)
    return objectives


def _check(width: int, steps: int, schedule: str, restarts: int, step_size: float | None) -> None:
    for name, value in (("width", width), ("steps", steps), ("restarts", restarts)):
        check_integer(name, value, minimum=1)
    check_choice("schedule", schedule, ["cosine", "constant"])
    if step_size is not None:
        check_number("step_size", step_size, above=0.0)


def _best_of(
    problem: "VariationProblem",
    run: Callable[[_Weights], list[float]],
    width: int,
    restarts: int,
    seed: int,
    start: Solution | None,
) -> Trained:
    """The best of several initialisations."""
    best: Trained | None = None
    for own in range(seed, seed + restarts):
        weights = _Weights(problem, width, np.random.default_rng(derived_seed("solvers.first_order", own)))
        if start is not None:
            weights.take(start)
        objectives = run(weights)
        if np.isfinite(objectives[-1]) and (best is None or objectives[-1] < best.value):
            best = Trained(weights.solution(), objectives[-1], objectives, own)
    if best is None:
        raise ComputationError(
            f"training diverged from all {restarts} initialisations; pass a smaller `step_size`, or scale the data"
        )
    return best
