"""Follow sharpness inside the Hugging Face Trainer: `Trainer(..., callbacks=[SharpnessCallback(every=50)])`."""

import inspect
import math
import sys
import weakref
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Unpack

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from steppe.core import InputError

from .following import Follower, Following
from .surroundings import kept, takes

try:
    _transformers: Any = import_module("transformers")
except ImportError as error:
    raise ImportError(
        "steppe.integrations.huggingface needs transformers and accelerate; pip install 'steppe[hf]'"
    ) from error

_NAMES = ("sharpness", "limit", "margin", "state", "layer")
_TRAINERS_ONLY = ("num_items_in_batch",)  # what the Trainer adds to a batch; the loss is then a mean over the batch


class SharpnessCallback(_transformers.TrainerCallback):  # type: ignore[misc]  # an optional package, Any to the checker
    """Sharpness of the model in training against the limit of its optimizer, at every n-th step.

    The model, its attention and its data stay as they are. The first training batch is kept as the probe (with
    gradient accumulation, the first micro-batch), and the loss is the model's own on it, a mean over its tokens,
    without dropout and outside of autocast. For Adam and its kin sharpness is preconditioned; the learning rate is
    read when a check is made, which is that of the coming step.

    Every check logs `sharpness`, `limit`, `margin` = sharpness/limit, `state` ("below", "at", "beyond") and `layer`,
    the module with the largest share of the top direction, through `Trainer.log`, so that they are in
    `trainer.state.log_history` and wherever the Trainer reports to. Only the first process measures, on its own
    probe, with nothing sent between processes; the others wait at the next step. The weights, the order of the data
    and the states of the random generators are the same as without the callback.

    After a resume the curve goes on from the checkpoint. Give a fixed `probe` then: the first batch of the resumed
    run is another one.

    Args:
        **options: See `steppe.integrations.following.Following`.

    Attributes:
        rows: One dict per check.
        convention: What is measured, in words.
        stopped: Why there are no further checks, or empty.

    Raises:
        KindError: A keyword is not known.
        ParameterError: A number is out of range.
    """

    def __init__(self, **options: Unpack[Following]) -> None:
        self._follower = Follower("SharpnessCallback", options)
        self._hook: RemovableHandle | None = None
        self._trainer: Any = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dict per check: `step`, `sharpness`, `limit`, `margin`, `state`, `layer`, `layer_share` and more."""
        return self._follower.rows

    @property
    def convention(self) -> str:
        """What is measured, in words; empty before the first check."""
        return self._follower.convention

    @property
    def stopped(self) -> str:
        """Why there are no further checks, or empty."""
        return self._follower.stopped

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        """Wait for the first training batch."""
        trainer = _trainer_above()
        self._trainer = None if trainer is None else weakref.ref(trainer)
        if state.is_world_process_zero:
            losses = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
            self._follower.resume(_rows_of(state.log_history, self._follower.prefix), losses)
            if self._follower.wants and isinstance(model, nn.Module):
                self._hook = model.register_forward_pre_hook(self._seen, with_kwargs=True)

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **more: Any
    ) -> None:
        """Measure, if it is time."""
        if not state.is_world_process_zero:
            return
        row = self._follower.measure(state.global_step, model, optimizer)
        if row is None:
            return
        asked = control.should_log  # reporting our numbers must not cancel the Trainer's own report
        self._report(state, self._follower.numbers(row, _NAMES))
        control.should_log = asked

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Take down the training loss, for the page."""
        if logs and isinstance(logs.get("loss"), int | float):
            self._follower.losses.append((state.global_step, float(logs["loss"])))

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Write the page, if one is asked for."""
        self._unhook()
        if state.is_world_process_zero:
            self._follower.finish()

    def _report(self, state: Any, numbers: dict[str, Any]) -> None:
        trainer = None if self._trainer is None else self._trainer()
        if trainer is not None:
            trainer.log(numbers)
        else:  # called by something else than a Trainer
            state.log_history.append({**numbers, "step": state.global_step})

    def _seen(self, model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A forward pass begins; keep its batch if it trains."""
        if not model.training or not self._follower.wants:
            return
        try:
            self._follower.keep(_batch_of(model, positional, named, self._follower.options.get("samples")))
        except Exception as error:
            self._follower.give_up(error)
        if not self._follower.wants:
            self._unhook()

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def _batch_of(model: nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any], samples: int | None) -> Any:
    """What the model was called with, as a batch for measurements."""
    if positional and not named:
        return kept(positional, samples)
    named = {**dict(zip(inspect.signature(model.forward).parameters, positional, strict=False)), **named}
    batch = {key: kept(value, samples) for key, value in named.items() if key not in _TRAINERS_ONLY}
    if not any(isinstance(value, Tensor) for value in batch.values()):
        raise InputError("the first training batch must hold a tensor, got none; pass probe=")
    if takes(model.forward, "use_cache"):
        batch.setdefault("use_cache", False)  # a cache of keys and values is of no use here, and large
    return batch


def _rows_of(history: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """The rows that an earlier part of this run has logged."""
    rows = []
    for entry in history:
        found = {name: entry[prefix + name] for name in _NAMES if prefix + name in entry}
        if found.keys() >= {"sharpness", "margin", "state"}:
            rows.append({"limit": math.inf, "layer": "", **found, "step": entry["step"]})
    return rows


def _trainer_above() -> Any:
    """The Trainer that called; it hands its callbacks everything but itself, and only it can report numbers."""
    frame = sys._getframe(1)
    for _ in range(12):
        found = frame.f_locals.get("self")
        if isinstance(found, _transformers.Trainer):
            return found
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
