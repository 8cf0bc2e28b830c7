"""The loss that a `training_step` computes, without what else it does."""

import collections
import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from steppe.core import InputError

from .surroundings import takes

_COLLECTIONS = (list, dict, set, collections.deque)
_CLOSED = "the whole batch"


def loss_of(module: Any) -> Callable[[nn.Module, Any], Tensor]:
    """`objective(module, batch)`: the loss of `training_step`, of a shadow of the module.

    Args:
        module: The LightningModule.

    Returns:
        The objective. It raises InputError where `training_step` steps optimizers itself, takes an iterator, or
        returns no loss.
    """

    def objective(model: nn.Module, batch: Any) -> Tensor:
        if not module.automatic_optimization:
            raise InputError(
                "`training_step` must leave the optimization to Lightning, got manual optimization; pass loss= or "
                "objective="
            )
        if takes(module.training_step, "dataloader_iter"):
            raise InputError("`training_step` must take a batch, got dataloader_iter; pass loss= or objective=")
        more = {"batch_idx": 0} if takes(module.training_step, "batch_idx") else {}
        returned = type(module).training_step(_shadow(model), opened(batch), **more)
        loss = returned.get("loss") if isinstance(returned, dict) else returned
        if not isinstance(loss, Tensor):
            raise InputError(f"`training_step` must return a loss, got {type(loss).__name__}; pass loss= or objective=")
        return loss

    objective.__name__ = "loss of training_step"
    return objective


def closed(batch: Any) -> Any:
    """A batch of any shape as measurements take one: as it is, or as an entry beside its first tensor."""
    if isinstance(batch, dict) or (isinstance(batch, tuple | list) and all(isinstance(v, Tensor) for v in batch)):
        return batch
    first = next(_tensors(batch), None)
    if first is None:
        raise InputError(f"the first training batch must hold a tensor, got {type(batch).__name__}; pass probe=")
    return {_CLOSED: batch, "samples": first}


def opened(batch: Any) -> Any:
    """What `closed` was given."""
    return batch[_CLOSED] if isinstance(batch, dict) and _CLOSED in batch else batch


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.ndim:
            yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _shadow(module: nn.Module) -> Any:
    """The module again, over the same parameters and layers, whose own attributes and metrics are copies.

    `training_step` may count, collect outputs in lists and update metrics on it; nothing of that reaches the module.
    """
    shadow: Any = object.__new__(type(module))
    own = vars(shadow)
    for name, value in vars(module).items():  # tables of parameters, buffers and layers are among the copies
        own[name] = copy.copy(value) if isinstance(value, _COLLECTIONS) else value
    for name, layer in module._modules.items():
        if layer is not None and _is_metric(layer):
            shadow._modules[name] = copy.deepcopy(layer)
    for name in ("log", "log_dict", "print"):
        own[name] = _silence
    return shadow


def _silence(*_: Any, **__: Any) -> None:
    """Log nothing."""


def _is_metric(layer: nn.Module) -> bool:
    """Whether it is a metric of torchmetrics, or a collection of them."""
    torchmetrics = sys.modules.get("torchmetrics")
    return torchmetrics is not None and isinstance(layer, torchmetrics.Metric | torchmetrics.MetricCollection)
