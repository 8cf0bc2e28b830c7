"""Where a trainer leaves its model, and what a measurement needs instead; everything is put back afterwards."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import InputError

_SHARDED = ("FullyShardedDataParallel", "DeepSpeedEngine")


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """No dropout, no autocast, no compiled code, gradients on, for the time of a check.

    Dropout would make the loss random, so modules are in evaluation mode, flag by flag. BatchNorm stays as it is in
    training, with the statistics of the probe: in evaluation mode a bias before it has curvature that the optimizer
    never meets, and for Adam, whose second moment of it is zero, a huge one. Across processes (SyncBatchNorm) it
    would wait for the others, so there it takes its running statistics. Mixed precision keeps parameters in full
    precision and rounds inside the forward pass: the loss is measured without that rounding, in the dtype of the
    parameters.
    """
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for device in {parameter.device.type for parameter in model.parameters()} | {"cpu"}:
            stack.enter_context(torch.autocast(device, enabled=False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_plain_forward(model))
        try:
            for module, training in modes:
                module.training = training and _statistics_of_batch(module)
            yield
        finally:
            for module, training in modes:
                module.training = training


def _statistics_of_batch(module: nn.Module) -> bool:
    """Whether it is BatchNorm that needs no other process."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm)


@contextmanager
def _plain_forward(model: nn.Module) -> Iterator[None]:
    """The forward pass without the mixed precision that accelerate wraps around it on the object itself."""
    own = vars(model)
    if "_original_forward" not in own or "forward" not in own:
        yield
        return
    wrapped = own["forward"]
    own["forward"] = own["_original_forward"]
    try:
        yield
    finally:
        own["forward"] = wrapped


def refuse_sharded(model: nn.Module) -> None:
    """Raise if this process holds only a part of the parameters.

    Raises:
        InputError: The parameters are spread over processes.
    """
    name = next((type(m).__name__ for m in model.modules() if type(m).__name__ in _SHARDED), None)
    if name is None and any(hasattr(p, "ds_id") or type(p.data).__name__ == "DTensor" for p in model.parameters()):
        name = "parameters in shards"
    if name is not None:
        raise InputError(
            f"`model` must hold all its parameters on this process, got {name}; measure saved checkpoints instead"
        )


def kept(value: Any, samples: int | None = None) -> Any:
    """A detached copy of a batch, of its first samples only if asked."""
    if isinstance(value, Tensor):
        part = value if samples is None or value.ndim == 0 else value[:samples]
        return part.detach().clone()
    return _mapped(value, lambda item: kept(item, samples))


def on_device_of(model: nn.Module, value: Any) -> Any:
    """A batch, or batches, on the device of the model."""
    device = next(model.parameters()).device
    if isinstance(value, Tensor):
        return value.to(device)
    return _mapped(value, lambda item: on_device_of(model, item))


def _mapped(value: Any, change: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    if isinstance(value, list | tuple):
        return type(value)(map(change, value))
    return value


def takes(function: Any, name: str) -> bool:
    """Whether a callable has a parameter of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def words(model: nn.Module) -> str:
    """How `measuring` measures this model, for a convention."""
    kinds = [isinstance(m, nn.SyncBatchNorm) for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    running = "; BatchNorm with its running statistics" if any(kinds) else ""
    own = "; BatchNorm with the statistics of the probe" if kinds and not all(kinds) else ""
    return f"without dropout and outside of autocast{own}{running}"
