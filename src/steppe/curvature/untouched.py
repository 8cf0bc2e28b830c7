"""Leave a user's module as it was found, whatever happens."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from steppe.core import same_random_states

from .twice import twice_differentiable


@contextmanager
def untouched(model: nn.Module, *, second_order: bool = True) -> Iterator[None]:
    """A context for derivatives of a user's module that leaves no trace.

    Training flags, `requires_grad`, `.grad`, the random generators (torch on CPU and on used CUDA devices, NumPy,
    `random`), the default dtype and the number of threads are put back on leaving, also by an exception. While inside,
    gradients are on, ambient autocast is off, `.grad` is None and hooks on gradients rest. Buffers: see
    `private_buffers`.

    Args:
        model: The module.
        second_order: Run attention, embeddings, weight normalisation and compiled parts in the form that has second
            derivatives.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    parameters = list(model.parameters())
    flags = [(parameter.requires_grad, parameter.grad, parameter._backward_hooks) for parameter in parameters]
    settings = torch.get_default_dtype(), torch.get_num_threads()
    try:
        with same_random_states(), ExitStack() as stack:
            stack.enter_context(torch.inference_mode(mode=False))
            stack.enter_context(torch.enable_grad())
            _without_autocast(stack)
            _without_gradient_hooks(modules, stack)
            if second_order:
                twice_differentiable(modules, stack)
            for parameter, (_, grad, hooks) in zip(parameters, flags, strict=True):
                if grad is not None:  # a checkpointed layer would add to it in place
                    parameter.grad = None
                if hooks is not None:
                    parameter._backward_hooks = None
            yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training
        for parameter, (requires_grad, grad, hooks) in zip(parameters, flags, strict=True):
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad
            if parameter._backward_hooks is not hooks:
                parameter._backward_hooks = hooks
        if torch.get_default_dtype() != settings[0]:
            torch.set_default_dtype(settings[0])
        if torch.get_num_threads() != settings[1]:
            torch.set_num_threads(settings[1])


def stir() -> None:
    """Move every random generator on, so that a second forward pass in another context draws other numbers."""
    torch.rand(1)
    random.random()
    np.random.random()  # noqa: NPY002 - the global state is what we protect
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.rand(1, device="cuda")


@contextmanager
def private_buffers(model: nn.Module) -> Iterator[None]:
    """A context in which a forward pass works on copies of the buffers, which its graph may keep.

    Every pass sees the buffers as the user left them, whatever passes came before.
    """
    tables = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    copies: dict[int, Tensor] = {}  # a buffer that two modules share stays shared
    try:
        for module, buffers in tables:
            for name, buffer in buffers.items():
                if buffer is not None:
                    if id(buffer) not in copies:
                        copies[id(buffer)] = buffer.detach().clone()
                    module._buffers[name] = copies[id(buffer)]
        yield
    finally:
        for module, buffers in tables:
            module._buffers.clear()
            module._buffers.update(buffers)


def _without_autocast(stack: ExitStack) -> None:
    """The user's surrounding autocast would halve the digits of every product."""
    for device in {"cpu", "cuda"}:
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))


def _without_gradient_hooks(modules: list[nn.Module], stack: ExitStack) -> None:
    """What hooks make of gradients is no property of the loss."""
    for module in modules:
        for name in ("_backward_hooks", "_backward_pre_hooks"):
            hooks = getattr(module, name)
            if hooks:
                setattr(module, name, type(hooks)())
                stack.callback(setattr, module, name, hooks)
