"""Gradient descent started next to a minimizer: when it escapes, and where it settles."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from steppe.core import DataError, Fact, KindError, ParameterError, check_integer, check_number
from steppe.theory import escape_steps

Array = NDArray[np.float64]
State = Literal["settled", "finished", "diverged"]
_SETTLED = 1e-2  # a run ends when it has come so much nearer to a minimizer than it started
_FAR = 1e8  # a distance from the minimizer, over 1 + its norm, at which a run counts as diverged
_EVERY_STEP = 200  # updates that are all recorded
_RECORDS = 200  # records after those, evenly on a logarithmic scale


@runtime_checkable
class Landscape(Protocol):
    """A loss, a minimizer of it and what is known about the Hessian there; parameters are flat float64 vectors."""

    minimizer: Array
    top: Array
    drift: Array
    sharpness: float

    def slopes(self, points: Array) -> tuple[Array, Array]:
        """Losses [r] and gradients [r, p] at points [r, p]."""

    def sharpness_at(self, point: Array) -> float:
        """The largest eigenvalue of the Hessian at a point where descent has settled."""


@dataclass(frozen=True, eq=False)
class EscapeRun:
    """One run of gradient descent.

    Args:
        factor: c = step · sharpness at the minimizer; linear stability is c ≤ 2.
        step_size: The step.
        escape_step: The first update after which the distance exceeds the radius, or None.
        predicted: What `theory.escape_steps` says, infinite for c ≤ 2.
        state: "settled" (updates have become negligible), "finished" (out of updates) or "diverged".
        steps: Updates made.
        loss: Loss after them.
        final_sharpness: Largest eigenvalue of the Hessian where the run settled, or None.
        recorded: The updates at which the next four were recorded: all of the first 200, then fewer.
        distance: Distance from the minimizer.
        along_top: Coordinate along the top eigenvector.
        along_drift: Coordinate along the drift.
        losses: The loss.
        point: Parameters at the end, flat.
    """

    factor: float
    step_size: float
    escape_step: int | None
    predicted: Fact
    state: State
    steps: int
    loss: float
    final_sharpness: float | None
    recorded: NDArray[np.int64]
    distance: Array
    along_top: Array
    along_drift: Array
    losses: Array
    point: Array

    @property
    def final_factor(self) -> float | None:
        """Step · sharpness where the run settled: at most 2, up to rounding."""
        return None if self.final_sharpness is None else self.step_size * self.final_sharpness

    def __str__(self) -> str:
        left = "did not leave" if self.escape_step is None else f"left after {self.escape_step} updates"
        end = f"{self.state} after {self.steps}"
        if self.final_factor is not None:
            end += f" at step · sharpness {self.final_factor:.6g}"
        return f"step · sharpness {self.factor:g}: {left} (theory {float(self.predicted):.2f}); {end}"


@dataclass(frozen=True, eq=False)
class Escape:
    """What an escape experiment found: one run per factor, and the plane in which to look at them.

    Args:
        sharpness: Largest eigenvalue of the Hessian at the minimizer.
        minimizer: Its parameters, flat.
        top: Unit eigenvector of the largest eigenvalue.
        drift: Unit vector in the kernel of the Hessian along which the sharpness falls fastest.
        runs: The runs, in the order of the factors.
        landscape: The loss.
    """

    sharpness: float
    minimizer: Array
    top: Array
    drift: Array
    runs: tuple[EscapeRun, ...]
    landscape: Landscape

    def losses_on_plane(self, along_top: ArrayLike, along_drift: ArrayLike) -> Float[Array, "b a"]:
        """The loss at minimizer + a·top + b·drift: one row per b, one column per a, for a map under the runs.

        Args:
            along_top: Values of a.
            along_drift: Values of b.
        """
        a, b = np.meshgrid(np.asarray(along_top, dtype=float), np.asarray(along_drift, dtype=float))
        points = self.minimizer + a.reshape(-1, 1) * self.top + b.reshape(-1, 1) * self.drift
        losses: Array = self.landscape.slopes(points)[0].reshape(a.shape)
        return losses

    def __str__(self) -> str:
        return "\n".join([f"sharpness at the minimizer {self.sharpness:.10g}", *map(str, self.runs)])


def descend(
    landscape: Landscape, factors: Sequence[float], *, start: float, radius: float, steps: int, log_every: int | None
) -> Escape:
    """Run every factor from minimizer + start · top; see `escape_experiment`.

    Raises:
        KindError: The factors are no list of numbers.
        ParameterError: A number is out of range, or the point is no minimizer to within the start.
        DataError: There is no factor, or the Hessian vanishes.
    """
    if isinstance(factors, str) or not isinstance(factors, Iterable):
        raise KindError(f"`factors` must be a list of numbers, got {type(factors).__name__}; pass [1.9, 2.1]")
    chosen = [check_number("factors", factor, above=0.0) for factor in factors]
    if not chosen:
        raise DataError("`factors` needs at least one number, got none; pass step · sharpness, such as [1.9, 2.1]")
    check_number("start", start, above=0.0)
    check_number("radius", radius, above=start)
    check_integer("steps", steps, minimum=1)
    if not landscape.sharpness > 0:
        raise DataError(f"the sharpness must be positive, got {landscape.sharpness:g}; there is nothing to escape from")
    etas = np.array(chosen) / landscape.sharpness
    slope = float(np.linalg.norm(landscape.slopes(landscape.minimizer[None])[1]))
    if not etas.max() * slope <= 0.1 * start:
        raise ParameterError(
            f"the point must be a minimizer to within a tenth of `start` = {start:g}, got updates of length "
            f"{etas.max() * slope:.2g} there; train it further or start farther away"
        )
    records = _Records(landscape, _recorded(steps, log_every), radius)
    states, last, points = _run(landscape, records, etas, start=start, steps=steps)
    losses = landscape.slopes(points)[0]
    runs = []
    for i, factor in enumerate(chosen):
        settled = states[i] == "settled"
        runs.append(
            EscapeRun(
                factor, float(etas[i]), records.escapes.get(i),
                escape_steps(float(etas[i]), landscape.sharpness, start=start, radius=radius),
                states[i], last[i], float(losses[i]), landscape.sharpness_at(points[i]) if settled else None,
                *records.of(i), points[i],
            )
        )  # fmt: skip
    return Escape(landscape.sharpness, landscape.minimizer, landscape.top, landscape.drift, tuple(runs), landscape)


def _recorded(steps: int, log_every: int | None) -> set[int]:
    if log_every is not None:
        return set(range(0, steps + 1, check_integer("log_every", log_every, minimum=1)))
    late = np.geomspace(_EVERY_STEP, max(steps, _EVERY_STEP), _RECORDS).astype(int).tolist()
    return {*range(_EVERY_STEP), *late}


class _Records:
    """What is written down along the way, per run."""

    def __init__(self, landscape: Landscape, at: set[int], radius: float) -> None:
        self.landscape, self.at, self.radius = landscape, at, radius
        self.rows: dict[int, list[tuple[float, ...]]] = {}
        self.escapes: dict[int, int] = {}

    def look(self, step: int, runs: NDArray[np.int64], points: Array, losses: Array) -> Array:
        """Note escapes and, where it is due, coordinates; return the distances."""
        away = points - self.landscape.minimizer
        distances: Array = np.sqrt(np.einsum("rp,rp->r", away, away))
        for i in np.flatnonzero(distances > self.radius).tolist():
            self.escapes.setdefault(int(runs[i]), step)
        if step in self.at:
            top, drift = ((away * axis).sum(axis=1) for axis in (self.landscape.top, self.landscape.drift))
            columns = (distances, top, drift, losses)
            for i, run in enumerate(runs):
                if all(math.isfinite(column[i]) for column in columns):
                    row = (step, *(float(column[i]) for column in columns))
                    self.rows.setdefault(int(run), []).append(row)
        return distances

    def of(self, run: int) -> tuple[NDArray[np.int64], Array, Array, Array, Array]:
        """Steps, distances, both coordinates and losses of a run."""
        step, distance, top, drift, loss = np.array(self.rows[run]).T
        return step.astype(np.int64), distance, top, drift, loss


def _run(
    landscape: Landscape, records: _Records, etas: Array, *, start: float, steps: int
) -> tuple[list[State], list[int], Array]:
    """All runs side by side; those that have settled or diverged drop out."""
    calm = _SETTLED * start * np.minimum(etas * landscape.sharpness, 1)  # small steps are short from the beginning
    far = _FAR * (1 + float(np.linalg.norm(landscape.minimizer)))
    points = np.tile(landscape.minimizer + start * landscape.top, (len(etas), 1))
    states: list[State] = ["finished"] * len(etas)
    last, ends, runs = [steps] * len(etas), points.copy(), np.arange(len(etas))
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(steps + 1):
            losses, slopes = landscape.slopes(points)
            distances = records.look(step, runs, points, losses)
            updates = etas[runs, None] * slopes
            lost = ~(distances <= far) | ~np.isfinite(losses)
            still = np.einsum("rp,rp->r", updates, updates) <= calm[runs] ** 2
            for i in np.flatnonzero(lost | still).tolist():
                states[runs[i]], last[runs[i]] = "diverged" if lost[i] else "settled", step
            ends[runs[~lost]] = points[~lost]
            keep = ~(lost | still)
            if not keep.any() or step == steps:
                break
            runs = runs[keep]
            points = points[keep] - updates[keep]
    return states, last, ends
