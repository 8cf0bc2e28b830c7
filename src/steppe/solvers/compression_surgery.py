"""Taking neurons out of a copy of the user's model."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steppe.core import InputError

from .compression_operations import CONVOLUTIONS, NORMS
from .compression_structure import Link


def private_copy(model: nn.Module) -> nn.Module:
    """A deep copy in float64 and evaluation mode.

    Raises:
        InputError: The model cannot be copied.
    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise InputError(
            f"`model` ({type(model).__name__}) cannot be copied ({type(error).__name__}: {error}); remove what "
            "hangs on it besides parameters, buffers and plain values"
        ) from error
    return twin.double().eval()


def as_given(twin: nn.Module, model: nn.Module) -> nn.Module:
    """A copy of `twin` with dtypes, training flags and `requires_grad` of the user's model."""
    twin = copy.deepcopy(twin)
    dtypes = {name: value.dtype for name, value in [*model.named_parameters(), *model.named_buffers()]}
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    for name, parameter in twin.named_parameters():
        parameter.data = parameter.data.to(dtypes[name])
        parameter.requires_grad_(flags[name])
        parameter.grad = None
    for name, buffer in twin.named_buffers():
        buffer.data = buffer.data.to(dtypes[name])
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in twin.named_modules():
        module.training = modes[name]
    return twin


def keep_neurons(
    model: nn.Module,
    link: Link,
    neurons: Int[Tensor, " k"],
    weights: Float[Tensor, "c o"],
    bias: Float[Tensor, " o"] | None,
) -> None:
    """Keep some neurons of a layer, in place, and give the layer that reads them new weights.

    Args:
        model: Ours.
        link: Which layers.
        neurons: Indices of the neurons that stay, ascending.
        weights: One row per column of the reader's new weight matrix.
        bias: The reader's new bias, or None to leave it.
    """
    shrink(model, link.layer, neurons)
    for name in link.between:
        shrink(model, name, neurons)
    reader: Any = model.get_submodule(link.reader)
    shape = (weights.shape[1], len(neurons), *reader.weight.shape[2:])
    matrix = weights.T.reshape(shape) if isinstance(reader, CONVOLUTIONS) else weights.T
    reader.weight = nn.Parameter(matrix.to(reader.weight).contiguous(), reader.weight.requires_grad)
    set_inputs(reader, matrix.shape[1])
    if bias is not None:
        reader.bias = nn.Parameter(bias.to(reader.bias), reader.bias.requires_grad)


def shrink(model: nn.Module, name: str, neurons: Int[Tensor, " k"]) -> None:
    """Keep some entries of the first axis of everything that a module holds per neuron, in place."""
    module: Any = model.get_submodule(name)
    for key, parameter in list(module.named_parameters(recurse=False)):
        kept = parameter.detach()[neurons.to(parameter.device)].clone()
        setattr(module, key, nn.Parameter(kept, parameter.requires_grad))
    for key, buffer in list(module.named_buffers(recurse=False)):
        if buffer.ndim:
            setattr(module, key, buffer[neurons.to(buffer.device)].clone())
    set_outputs(module, len(neurons))


def set_inputs(module: Any, count: int) -> None:
    """Write down the new number of inputs."""
    if isinstance(module, CONVOLUTIONS):
        module.in_channels = count
    else:
        module.in_features = count


def set_outputs(module: Any, count: int) -> None:
    """Write down the new number of neurons."""
    if isinstance(module, CONVOLUTIONS):
        module.out_channels = count
    elif isinstance(module, NORMS):
        module.num_features = count
    elif isinstance(module, nn.PReLU):
        module.num_parameters = count
    else:
        module.out_features = count


def resize_like(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give plain layers of `model` the sizes that a state of a compressed model has, in place."""
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Linear, nn.PReLU, *CONVOLUTIONS, *NORMS)):
            continue
        for key, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            saved = state.get(f"{name}.{key}" if name else key)
            if saved is None or saved.shape == value.shape or saved.ndim != value.ndim:
                continue
            empty = torch.empty(saved.shape, dtype=value.dtype, device=value.device)
            new = nn.Parameter(empty, value.requires_grad) if isinstance(value, nn.Parameter) else empty
            setattr(module, key, new)
            if key == "weight" and saved.ndim > 1:
                set_inputs(module, saved.shape[1])
            if key == "weight":
                set_outputs(module, saved.shape[0])
