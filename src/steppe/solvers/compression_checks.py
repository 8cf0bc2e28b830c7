"""What `compress` asks of model and data before it starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import (
    DataError,
    DeviceError,
    DtypeError,
    InputError,
    KindError,
    NotDeterministicError,
)

from .compression_calls import Call, output_of
from .compression_operations import SERVED

_PROBE = 8  # samples of the forward passes that read the structure


@contextmanager
def quiet() -> Iterator[None]:
    """No graph, no autocast, and random generators put back."""
    with torch.random.fork_rng(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield


def check_model(model: nn.Module) -> None:
    """Refuse modules without layers, without values or with values that are not finite.

    Raises:
        KindError: It is compiled or scripted.
        InputError: It has no served layer, or lazy ones.
        DataError: A parameter is not finite.
    """
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        raise KindError(f"`model` must be a plain module, got {type(model).__name__}; pass it as it was before")
    if not any(isinstance(module, SERVED) for module in model.modules()):
        named = ", ".join(kind.__name__ for kind in SERVED)
        raise InputError(
            f"`model` ({type(model).__name__}) has no layer of {named}; of a ShallowReLU pass .to_sequential()"
        )
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(f"`model` has no values in {name} yet; run it once on data")
        if parameter.is_floating_point() and not torch.isfinite(parameter).all():
            raise DataError(f"`{name}` of `model` must be finite, got NaN or infinity; compress a trained model")


def check_fit(model: nn.Module, call: Call) -> None:
    """Refuse inputs of another dtype or device than the model.

    Raises:
        DtypeError, DeviceError: They differ.
    """
    parameter = next(model.parameters())
    for value in (*call[0], *call[1].values()):
        if not isinstance(value, Tensor):
            continue
        if value.is_floating_point() and value.dtype != parameter.dtype:
            raise DtypeError(
                f"`model` is in {parameter.dtype} and `data` in {value.dtype}; convert one, as x.to({parameter.dtype})"
            )
        if value.device != parameter.device:
            raise DeviceError(f"`model` is on {parameter.device} and `data` on {value.device}; move one of them")


def shortened(call: Call) -> Call:
    """The first few samples of a call."""

    def short(value: Any) -> Any:
        return value[:_PROBE] if isinstance(value, Tensor) and value.ndim else value

    return tuple(map(short, call[0])), {name: short(value) for name, value in call[1].items()}


def check_repeats(model: nn.Module, call: Call) -> None:
    """Refuse a model that gives other outputs when it is run again.

    Raises:
        NotDeterministicError: It does.
    """
    first = output_of(model, call)
    if not torch.equal(first, output_of(model, call)):
        raise NotDeterministicError(
            "two forward passes of `model` in evaluation mode must agree, got different outputs; switch off what draws "
            "random numbers or keeps a state in its forward pass"
        )
