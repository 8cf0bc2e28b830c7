"""Checked options of a run, and the loop that all single-network engines share."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from steppe.core import DataError, KindError, check_integer, check_number

from .history import History, Records, State
from .observers import Schedule, StopTraining

EXPLOSION = 1e8


@dataclass(frozen=True)
class Plan:
    """Checked options of one run."""

    step_size: float
    steps: int
    weight_decay: float
    clip: float | None
    log_every: int | None

    @classmethod
    def check(cls, *, step_size: Any, steps: Any, weight_decay: Any, clip: Any, log_every: Any) -> "Plan":
        """The options, or an error that names the one out of range."""
        return cls(
            step_size=check_number("step_size", step_size, above=0),
            steps=check_integer("steps", steps, minimum=0),
            weight_decay=check_number("weight_decay", weight_decay, minimum=0),
            clip=None if clip is None else check_number("clip", clip, above=0),
            log_every=None if log_every is None else check_integer("log_every", log_every, minimum=1),
        )


@runtime_checkable
class Engine(Protocol):
    """One network in training: evaluates loss and gradient, then moves the parameters."""

    backend: str
    convention: str
    dtype: torch.dtype

    def evaluate(self) -> float:
        """Loss at the present parameters; leaves the gradient, without decay, in the engine."""
        ...

    def advance(self) -> bool:
        """One update with the gradient of the last `evaluate`; True if it was clipped."""
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


def descend(engine: Engine, model: nn.Module, plan: Plan, observers: Iterable[Any]) -> History:
    """Run one engine to its end; the network holds the last recorded parameters afterwards."""
    began = time.perf_counter()
    schedule, records = Schedule(plan.steps, plan.log_every, observers), Records()
    due = iter(sorted(schedule.due))
    pending, limit, clipped, first = next(due), math.inf, 0, 0.0
    state: State = "finished"
    reason = f"all {plan.steps} steps were done"
    step = 0
    while True:
        loss = engine.evaluate()
        if step == 0:
            limit = explosion_limit(loss)
            first = engine.gradient_norm()
        if not loss <= limit:
            state, reason = "diverged", f"loss {loss:.3g} after {step} steps exceeds {limit:.3g}"
            engine.restore()
            break
        if step == pending:
            records.open(step, loss)
            engine.save()
            if len(schedule.observers_at(step)):
                engine.publish()
            stop = call_observers(schedule, step, model, records)
            if stop is not None:
                state, reason = "stopped", stop
                break
            norm = engine.gradient_norm()
            if has_settled(norm, first, engine.parameter_size(), plan.step_size, engine.dtype):
                state, reason = "settled", f"gradient norm {norm:.3g} after {step} steps"
                break
            pending = next(due, -1)
        if step == plan.steps:
            break
        clipped += engine.advance()
        step += 1
    engine.publish()
    return History(
        step=records.step, loss=records.loss, columns=records.columns, state=state, reason=reason,
        steps=records.step[-1], clipped=clipped, seconds=time.perf_counter() - began, backend=engine.backend,
        convention=engine.convention, step_size=plan.step_size, weight_decay=plan.weight_decay,
    )  # fmt: skip
