"""Follow sharpness inside Lightning's Trainer: `Trainer(..., callbacks=[SharpnessCallback(every=50)])`."""

import sys
from importlib import import_module
from typing import Any, Unpack

import torch
from torch import Tensor

from steppe.core import InputError

from .following import Follower, Following
from .lightning_loss import closed, loss_of
from .surroundings import kept


def _package() -> Any:
    """Lightning under the name that the program uses; the two names hold different classes."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError("steppe.integrations.lightning needs lightning; pip install 'steppe[lightning]'")


_lightning: Any = _package()
_NAMES = ("sharpness", "limit", "margin", "edge", "layer_share")
_EDGE = {"below": -1.0, "at": 0.0, "beyond": 1.0}


class SharpnessCallback(_lightning.Callback):  # type: ignore[misc]  # an optional package, Any to the checker
    """Sharpness of the module in training against the limit of its optimizer, at every n-th step.

    The module and its data stay as they are. The first training batch is kept as the probe, and the loss is what
    `training_step` returns on it, called on a shadow of the module: what it logs, counts or collects is thrown away.
    It runs without dropout and outside of autocast. For Adam and its kin sharpness is preconditioned; the learning
    rate is read when a check is made, which is that of the coming step. Steps are optimizer steps: accumulated
    batches count once.

    Every check logs numbers to the Trainer's loggers and to `trainer.callback_metrics`: `sharpness`, `limit`, `margin`
    = sharpness/limit, `edge` (−1 below, 0 at, 1 beyond the limit) and `layer_share`. Words cannot be logged there: the
    state and the layer, the module with the largest share of the top direction, are in `rows`, in `log(dict, step)` and
    on the page. Only the first process measures, on its own probe, with nothing sent between processes; the others wait
    at the next step. The weights, the order of the data and the states of the random generators are the same as
    without the callback.

    After a resume the curve goes on from the checkpoint. Give a fixed `probe` then: the first batch of the resumed
    run is another one.

    Args:
        **options: See `steppe.integrations.following.Following`. Manual optimization needs `loss` or `objective`.

    Attributes:
        rows: One dict per check.
        convention: What is measured, in words.
        stopped: Why there are no further checks, or empty.

    Raises:
        KindError: A keyword is not known.
        ParameterError: A number is out of range.
    """

    def __init__(self, **options: Unpack[Following]) -> None:
        super().__init__()
        self._follower = Follower("SharpnessCallback", options)
        self._last = -1

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

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget an earlier training, unless this one goes on with it."""
        if trainer.global_step == 0:
            self._follower.resume([], [])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keep the first training batch."""
        if not trainer.is_global_zero or not self._follower.wants:
            return
        try:
            self._follower.keep(closed(kept(batch, self._follower.options.get("samples"))))
        except Exception as error:
            self._follower.give_up(error)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure, if a step of the optimizer has been made and it is time."""
        step = trainer.global_step
        if not trainer.is_global_zero or step == self._last or self._follower.stopped:
            return
        self._last = step
        self._note(trainer, step, outputs)
        if len(trainer.optimizers) != 1:
            self._follower.give_up(
                InputError(f"`optimizers` must be one, got {len(trainer.optimizers)}; train the parts separately")
            )
            return
        row = self._follower.measure(step, pl_module, trainer.optimizers[0], objective=loss_of(pl_module))
        if row is not None:
            self._report(trainer, row)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the page, if one is asked for."""
        if trainer.is_global_zero:
            self._follower.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write the page of a training that was interrupted, too."""
        self.on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for a checkpoint."""
        return {"rows": [dict(row) for row in self._follower.rows], "losses": list(map(list, self._follower.losses))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of a checkpoint."""
        self._follower.resume(state_dict.get("rows", []), state_dict.get("losses", []))

    def _report(self, trainer: Any, row: dict[str, Any]) -> None:
        """To the loggers themselves, as Lightning's own monitors do: `log` would repeat a number until the next one."""
        named = self._follower.numbers({**row, "edge": _EDGE[row["state"]]}, _NAMES)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in named.items()})
        for logger in trainer.loggers:
            logger.log_metrics(named, step=trainer.global_step - 1)  # where the loss of this batch is

    def _note(self, trainer: Any, step: int, outputs: Any) -> None:
        """Take down the training loss for the page, as often as Lightning logs."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1 and step % max(1, trainer.log_every_n_steps) == 0:
            whole = float(loss.detach()) * trainer.accumulate_grad_batches  # Lightning has divided it
            self._follower.losses.append((step, whole))
