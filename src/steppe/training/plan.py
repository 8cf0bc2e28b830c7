"""Checked options of a run, and the loop that all single-network engines share."""

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from steppe.core import DataError, KindError, check_choice, check_integer, check_number

from .history import History, Records, State
from .looks import Looks
from .observers import Schedule, StopTraining

EXPLOSION = 1e8
Decay = Literal["coupled", "decoupled"]


@dataclass(frozen=True)
class Plan:
    """Checked options of one run."""

    step_size: float
    steps: int
    weight_decay: float
    clip: float | None
    log_every: int | None
    decay: Decay = "coupled"

    @classmethod
    def check(
        cls, *, step_size: Any, steps: Any, weight_decay: Any, clip: Any, log_every: Any, decay: Any = "coupled"
    ) -> "Plan":
        """The options, or an error that names the one out of range."""
        check_choice("decay", decay, ("coupled", "decoupled"))
        return cls(
            step_size=check_number("step_size", step_size, above=0),
            steps=check_integer("steps", steps, minimum=0),
            weight_decay=check_number("weight_decay", weight_decay, minimum=0),
            clip=None if clip is None else check_number("clip", clip, above=0),
            log_every=None if log_every is None else check_integer("log_every", log_every, minimum=1),
            decay=decay,
        )

    @property
    def decay_rate(self) -> float:
        """What multiplies θ in the update θ ← θ − η (g + rate · θ)."""
        return self.weight_decay if self.decay == "coupled" else self.weight_decay / self.step_size


@runtime_checkable
class Engine(Protocol):
    """One network in training: evaluates loss and gradient, then moves the parameters."""

    backend: str
    convention: str
    dtype: torch.dtype

    def evaluate(self) -> float:
        """Loss at the present parameters; leaves the gradient, without decay, in the engine."""
        ...

    def descend(self, steps: int, limit: float) -> tuple[int, float, int]:
        """Update and evaluate `steps` times, or until the loss exceeds the limit: steps done, last loss, clipped."""
        ...

    def gradient_norm(self) -> float:
        """Norm of the last gradient, decay included."""
        ...

    def parameter_size(self) -> float:
        """Root mean square of the present parameters."""
        ...

    def publish(self) -> None:
        """Write the present parameters into the network."""
        ...

    def save(self) -> None:
        """Remember the present parameters."""
        ...

    def restore(self) -> None:
        """Return to the remembered parameters."""
        ...


def explosion_limit(first_loss: float) -> float:
    """The loss beyond which a run counts as diverged.

    Raises:
        DataError: The first loss is not finite.
    """
    if not math.isfinite(first_loss):
        raise DataError(
            f"the loss before the first step must be finite, got {first_loss}; scale the data or the weights down"
        )
    return EXPLOSION * max(1.0, first_loss)


def has_settled(norm: float, first: float, size: float, step_size: float, dtype: torch.dtype) -> bool:
    """Whether a run has come to rest.

    Args:
        norm: Norm of the gradient, decay included.
        first: The same before the first step; at most 1e-12 (float64) or 1e-6 (other dtypes) of it may be left …
        size: … or the root mean square of the parameters, if the step times the norm is lost in their rounding.
        step_size: η.
        dtype: Of the parameters.
    """
    share = 1e-12 if dtype == torch.float64 else 1e-6
    return norm <= share * first or step_size * norm <= 0.5 * torch.finfo(dtype).eps * size


def call_observers(schedule: Schedule, step: int, model: nn.Module, records: Records) -> str | None:
    """Call what is due; the reason if one of them stops the run.

    Raises:
        KindError: An observer returned something else than a dict or None.
    """
    for observer in schedule.observers_at(step):
        try:
            columns = observer(step, model)
        except StopTraining as stop:
            records.add(stop.columns)
            return stop.reason
        if columns is not None and not hasattr(columns, "items"):
            raise KindError(
                f"an observer must return a dict or None, got {type(columns).__name__}; return {{'name': value}}"
            )
        records.add(columns or {})
    return None


class Stepwise:
    """An engine that takes its steps one by one."""

    def evaluate(self) -> float:
        """Loss at the present parameters; leaves the gradient, without decay, in the engine."""
        raise NotImplementedError

    def advance(self) -> bool:
        """One update with the gradient of the last `evaluate`; True if it was clipped."""
        raise NotImplementedError

    def descend(self, steps: int, limit: float) -> tuple[int, float, int]:
        """Update and evaluate `steps` times, or until the loss exceeds the limit: steps done, last loss, clipped."""
        done, clipped, loss = 0, 0, limit
        while done < steps and loss <= limit:
            clipped += self.advance()
            loss = self.evaluate()
            done += 1
        return done, loss, clipped


class Run:
    """One network on its way: `stretch` trains up to the next record, `record` makes it, until `state` is set.

    A stretch touches the engine alone, so that several runs may stretch in threads; records are made one by one.
    """

    def __init__(
        self, engine: Engine, model: nn.Module, plan: Plan, observers: Iterable[Any], looks: Looks | None = None
    ) -> None:
        self.engine, self._model, self._plan, self._looks = engine, model, plan, looks
        self._began = time.perf_counter()
        self._schedule, self._records = Schedule(plan.steps, plan.log_every, observers), Records()
        self._due = iter(sorted(self._schedule.due))
        self._next = next(self._due)
        self._step = self._clipped = 0
        self._loss = engine.evaluate()
        self._limit = explosion_limit(self._loss)
        self._first = engine.gradient_norm()
        self.state: State | None = None
        self._reason = ""

    def stretch(self) -> None:
        """Train up to the next record, or to the divergence before it."""
        if self._next > self._step:
            done, self._loss, clipped = self.engine.descend(self._next - self._step, self._limit)
            self._step += done
            self._clipped += clipped

    def record(self) -> None:
        """Record, call observers, and see whether the run has ended."""
        if not self._loss <= self._limit:
            self.engine.restore()
            reason = f"loss {self._loss:.3g} after {self._step} steps exceeds {self._limit:.3g}"
            return self._end("diverged", reason)
        self._records.open(self._step, self._loss)
        self.engine.save()
        norm = self.engine.gradient_norm()
        self._look(norm)
        stop = call_observers(self._schedule, self._step, self._model, self._records)
        if stop is not None:
            return self._end("stopped", stop)
        if has_settled(norm, self._first, self.engine.parameter_size(), self._plan.step_size, self.engine.dtype):
            return self._end("settled", f"gradient norm {norm:.3g} after {self._step} steps")
        if self._step == self._plan.steps:
            return self._end("finished", f"all {self._plan.steps} steps were done")
        self._next = next(self._due)
        return None

    def _look(self, norm: float) -> None:
        own = getattr(self.engine, "look", None)
        observed = bool(self._schedule.observers_at(self._step))
        if observed or (self._looks and self._looks.need_parameters and own is None):
            self.engine.publish()
        if self._looks:
            self._records.add(self._looks.found(gradient_norm=norm, clipped=self._clipped, look=own))

    def _end(self, state: State, reason: str) -> None:
        self.state, self._reason = state, reason
        self.engine.publish()

    def history(self) -> History:
        """The record of a run that has ended."""
        assert self.state is not None
        records, plan = self._records, self._plan
        return History(
            step=records.step, loss=records.loss, columns=records.columns, state=self.state, reason=self._reason,
            steps=records.step[-1], clipped=self._clipped, seconds=time.perf_counter() - self._began,
            backend=self.engine.backend, convention=self.engine.convention, step_size=plan.step_size,
            weight_decay=plan.weight_decay, decay=plan.decay,
        )  # fmt: skip


def descend(run: Run) -> History:
    """One run to its end; the network holds the last recorded parameters afterwards."""
    while run.state is None:
        run.stretch()
        run.record()
    return run.history()


def descend_together(runs: Sequence[Run], threads: int) -> list[History]:
    """Runs to their ends, stretches in threads, records in turn. The numbers do not depend on the threads."""
    with ThreadPoolExecutor(threads) as pool:
        while ahead := [run for run in runs if run.state is None]:
            list(pool.map(Run.stretch, ahead))
            for run in ahead:
                run.record()
    return [run.history() for run in runs]
