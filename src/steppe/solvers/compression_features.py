"""What a layer reads and makes on all data, as a triangular factor: float64, bounded memory, no squared condition."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from steppe.core import Batches

from .compression_calls import calls_of, in_double, output_of
from .compression_operations import CONVOLUTIONS
from .compression_structure import Link

_ENTRIES = 1 << 24  # entries of one block of rows


def layer_factor(reference: nn.Module, link: Link, data: Batches) -> tuple[Float[Tensor, "m c"], int]:
    """The triangular factor of [1, Φ, Ψ] over all data, and its number of rows before.

    Φ holds what the reading layer takes in, one row per sample (and position, for convolutions), one column per entry
    of its weight matrix; Ψ what it gives out. Cost: one forward pass, and 4Nc² operations for N rows and c columns.

    Args:
        reference: The model in float64, in evaluation mode.
        link: Which layers.
        data: The data.
    """
    reader: Any = reference.get_submodule(link.reader)
    factor = _Factor()

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        step = max(1, _ENTRIES // max(1, _per_sample(module, output)))
        for start in range(0, len(output), step):
            factor.add(_rows(module, inputs[0][start : start + step], output[start : start + step]))

    handle = reader.register_forward_hook(hook)
    try:
        for call in calls_of(data):
            output_of(reference, in_double(call))
    finally:
        handle.remove()
    return factor.result(), factor.rows


def _per_sample(reader: Any, output: Tensor) -> int:
    columns = reader.weight[0].numel() + reader.weight.shape[0]
    return int(columns * output[0].numel() // reader.weight.shape[0])


def _rows(reader: Any, inputs: Tensor, output: Tensor) -> Tensor:
    """[1, Φ, Ψ] of some samples."""
    if isinstance(reader, CONVOLUTIONS):
        features, targets = _patches(reader, inputs), output.flatten(2).transpose(1, 2).reshape(-1, output.shape[1])
    else:
        features, targets = inputs.reshape(-1, inputs.shape[-1]), output.reshape(-1, output.shape[-1])
    return torch.cat([torch.ones_like(features[:, :1]), features, targets], dim=1)


def _patches(reader: Any, inputs: Tensor) -> Tensor:
    """What a convolution multiplies with its kernels: a row per position, the columns of a channel side by side."""
    mode = "constant" if reader.padding_mode == "zeros" else reader.padding_mode
    padded = F.pad(inputs, reader._reversed_padding_repeated_twice, mode=mode)
    kernel, dilation, stride = reader.kernel_size, reader.dilation, reader.stride
    if padded.ndim == 3:  # one axis of positions: an image of height one
        padded, kernel, dilation, stride = padded.unsqueeze(2), (1, *kernel), (1, *dilation), (1, *stride)
    unfolded = F.unfold(padded, kernel, dilation=dilation, stride=stride)
    return unfolded.transpose(1, 2).reshape(-1, unfolded.shape[1])


class _Factor:
    """The triangular factor of the rows seen so far; rows wait until there are twice as many as columns."""

    def __init__(self) -> None:
        self.rows = 0
        self._waiting: list[Tensor] = []
        self._count = 0

    def add(self, rows: Tensor) -> None:
        self.rows += len(rows)
        self._waiting.append(rows)
        self._count += len(rows)
        if self._count >= 3 * rows.shape[1]:
            self._reduce()

    def _reduce(self) -> None:
        stacked = torch.cat(self._waiting)
        self._waiting = [torch.linalg.qr(stacked, mode="r").R]
        self._count = len(self._waiting[0])

    def result(self) -> Tensor:
        self._reduce()
        return self._waiting[0]
