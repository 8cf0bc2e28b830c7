"""Layers whose fastest form in PyTorch has no second derivative, or a wrong one, made to run in one that has."""

import sys
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.weight_norm import WeightNorm


def twice_differentiable(modules: list[nn.Module], stack: ExitStack) -> None:
    """Switch attention, recurrence, embeddings, weight normalisation and compiled code; the stack switches back."""
    stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fused kernels have no second derivative
    recurrent = any(isinstance(module, nn.RNNBase) for module in modules)
    if recurrent and torch.backends.cudnn.is_available():
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # nor has cuDNN's recurrence
    if "torch._dynamo" in sys.modules:
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # nor has compiled code
    for module in modules:
        if getattr(module, "sparse", None) is True:  # sparse gradients cannot be laid flat
            stack.callback(setattr, module, "sparse", module.sparse)
            module.sparse = False  # type: ignore[assignment]  # an attribute of embeddings
        if type(module).__name__ == "_WeightNorm":  # the parametrization; torch's fused form is wrong at second order
            _replace(module, "forward", partial(_normalised, dim=getattr(module, "dim", 0)), stack)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                _replace(hook, "compute_weight", partial(_weight_of, hook), stack)


def _normalised(length: Tensor, direction: Tensor, dim: int) -> Tensor:
    """Length times direction over its norm: one norm for each entry along `dim`, or one for all if it is −1."""
    return direction * (length / torch.norm_except_dim(direction, 2, dim))


def _weight_of(hook: Any, module: nn.Module) -> Tensor:
    return _normalised(getattr(module, f"{hook.name}_g"), getattr(module, f"{hook.name}_v"), hook.dim)


def _replace(owner: Any, name: str, function: Any, stack: ExitStack) -> None:
    """Set an attribute of an instance, for the time being."""
    own = vars(owner)
    if name in own:
        return  # the user has replaced it already
    own[name] = function
    stack.callback(own.pop, name, None)
