"""Leave a user's module as it was found, whatever happens."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """A context for second derivatives: gradients on, twice differentiable attention, and no trace afterwards.

    Training flags, `requires_grad`, `.grad` and the states of the random generators (torch on CPU and on used CUDA
    devices, `random`) are put back on leaving, also by an exception. Buffers: see `private_buffers`.
    """
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    states = (torch.get_rng_state(), random.getstate(), _cuda_states())
    try:
        # The fused attention kernels have no second derivative; the plain one has.
        with torch.inference_mode(mode=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        if states[2]:
            torch.cuda.set_rng_state_all(states[2])
        for module, training in modes:
            module.training = training
        for parameter, requires_grad, grad in flags:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


@contextmanager
def private_buffers(model: nn.Module) -> Iterator[None]:
    """A context in which a forward pass works on copies of the buffers, which its graph may keep.

    Every pass sees the buffers as the user left them, whatever passes came before.
    """
    buffers = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        for module, name, buffer in buffers:
            module._buffers[name] = buffer.detach().clone()
        yield
    finally:
        for module, name, buffer in buffers:
            module._buffers[name] = buffer


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
