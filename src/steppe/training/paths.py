"""Which path trains a network: decided by loss, device, dtype and sizes alone, never by a clock."""

import importlib
import importlib.util
import os
from typing import Any, Literal

import torch

from steppe.core import Logistic, SquaredLoss, check_choice, note
from steppe.networks import PatchReLU, ShallowReLU

Path = Literal["kernel", "numpy", "torch", "torch-batched", "autograd"]

# Where the compiled kernel was measured to be at least as fast as products of matrices: its work backward grows with
# outputs times inputs, that of products with their sum.
MOST_INPUTS = 64
MOST_COLUMNS = 96  # outputs · (inputs + 1), for several outputs
_LOSSES = (SquaredLoss, Logistic)
_DTYPES = (torch.float32, torch.float64)


def has_closed_form(network: Any, loss: Any) -> bool:
    """Whether the network and the loss are exactly those with closed-form gradients."""
    return (
        type(network) in (ShallowReLU, PatchReLU)
        and type(loss) in _LOSSES
        and all(p.requires_grad for p in network.parameters())
        and not (network._forward_hooks or network._forward_pre_hooks)
    )


def kernels() -> Any:
    """The module `steppe_kernels`, or None if it is not installed or `STEPPE_KERNELS=off` is set."""
    if os.environ.get("STEPPE_KERNELS") == "off" or importlib.util.find_spec("steppe_kernels") is None:
        return None
    return importlib.import_module("steppe_kernels")


def instruction_set() -> str | None:
    """The instruction set that `STEPPE_KERNELS` asks for, so that different processors give the same bits.

    Raises:
        ParameterError: This processor does not run it.
    """
    asked = os.environ.get("STEPPE_KERNELS", "")
    if asked not in ("", "off"):
        check_choice("STEPPE_KERNELS", asked, (*kernels().instruction_sets(), "off"))
    return asked or None


def path_of(network: Any, loss: Any) -> Path:
    """The path that trains this network under this loss."""
    if not has_closed_form(network, loss):
        return "autograd"
    patches = isinstance(network, PatchReLU)
    if network.w.device.type != "cpu" or network.w.dtype not in _DTYPES:
        return "torch" if patches else "torch-batched"
    inputs = network.w.shape[-1]
    small = inputs <= MOST_INPUTS and (network.outputs == 1 or network.outputs * (inputs + 1) <= MOST_COLUMNS)
    if small and kernels() is not None:
        return "kernel"
    return "torch" if patches else "numpy"


def note_path(backend: str) -> None:
    """Leave word of the path for the provenance of the row that is being computed, if one is."""
    note("training", backend)
