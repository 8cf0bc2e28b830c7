"""Data cut into chunks whose derivative graphs fit into memory."""

import itertools
import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from steppe.core import Objective, samples_of, take_samples

from .graphs import GradientGraph, OutputGraph
from .untouched import private_buffers

_GROWTH = 2.5  # bytes of a gradient graph over those that the forward pass saves; 1.0 to 2.1 seen
_PROBE = 32  # samples of a large batch whose forward pass is measured
_WHOLE = 256  # batches up to this size are measured whole
_MEASURED: "weakref.WeakKeyDictionary[nn.Module, dict[Any, float]]" = weakref.WeakKeyDictionary()


@dataclass
class Chunk:
    """A part of the data with one derivative graph.

    Args:
        batch: The data.
        scale: What its loss counts in the loss.
        size: Predicted bytes of its graph.
        value: Its loss as first seen, or None.
        retained: Whether its graphs are kept.
        graphs: The graphs that are kept, by kind.
    """

    batch: Any
    scale: float
    size: float = 0.0
    value: float | None = None
    retained: bool = True
    graphs: dict[str, GradientGraph | OutputGraph] = field(default_factory=dict)


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device; infinite if that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = math.inf
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            free = min(free, float(int(limit) - used))
    except (OSError, ValueError, StopIteration):
        pass
    return free if os.name == "posix" else math.inf


def known_size(model: nn.Module, batch: Any) -> float | None:
    """Predicted bytes of the gradient graph on a batch, if batches of its kind were measured before."""
    per_sample = _MEASURED.get(model, {}).get(_signature(batch))
    return None if per_sample is None else per_sample * samples_of(batch)


def measure(model: nn.Module, objective: Objective, batch: Any) -> tuple[float, float | None]:
    """Predicted bytes of the gradient graph on a batch, and the loss if the whole batch was evaluated for it."""
    count = samples_of(batch)
    value: float | None = None
    if count > _WHOLE and can_split(batch):
        try:
            size, _ = _saved_bytes(model, objective, take_samples(batch, slice(0, _PROBE)))
        except Exception:  # a model made for one batch size; the whole batch tells
            size, value = _saved_bytes(model, objective, batch)
        else:
            size *= count / _PROBE
    else:
        size, value = _saved_bytes(model, objective, batch)
    _MEASURED.setdefault(model, {})[_signature(batch)] = _GROWTH * size / count
    return _GROWTH * size, value


def _saved_bytes(model: nn.Module, objective: Objective, batch: Any) -> tuple[float, float]:
    """Bytes that autograd saves in one forward pass, parameters and data aside, and the loss."""
    values = batch.values() if isinstance(batch, dict) else batch
    tensors = [*model.parameters(), *model.buffers(), *(value for value in values if isinstance(value, Tensor))]
    own = {_address(tensor) for tensor in tensors}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = _address(tensor)
        if address not in own:
            seen[address] = max(seen.get(address, 0), tensor.numel() * tensor.element_size())
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor), private_buffers(model):
        value = objective.value(model, batch)
        size = float(sum(seen.values()))
    return size, float(value.detach())


def can_split(batch: Any) -> bool:
    """Whether inputs and targets share their leading length, so that samples can be told apart."""
    count = samples_of(batch)
    values = batch.values() if isinstance(batch, dict) else batch
    return count > 1 and all(
        len(value) == count if isinstance(value, Tensor) and value.ndim else not hasattr(value, "__len__")
        for value in values
    )


def pieces_of(batch: Any, number: int) -> list[Any]:
    """The batch cut into `number` runs of samples of nearly one length."""
    count = samples_of(batch)
    ends = [round(i * count / number) for i in range(number + 1)]
    return [take_samples(batch, slice(start, end)) for start, end in itertools.pairwise(ends)]


def pieces_needed(chunks: Sequence[Chunk], memory: float) -> list[int]:
    """Into how many pieces each chunk should be cut so that an eighth of the memory holds the graph of one."""
    if memory <= 0 or sum(chunk.size for chunk in chunks) <= memory:
        return [1] * len(chunks)
    return [
        min(samples_of(chunk.batch), math.ceil(8 * chunk.size / memory))
        if chunk.size > memory / 4 and can_split(chunk.batch)
        else 1
        for chunk in chunks
    ]


def choose_retained(chunks: Sequence[Chunk], memory: float) -> None:
    """Mark the chunks whose graphs are kept: all if they fit, else as many as leave room for rebuilding one."""
    left = memory
    if sum(chunk.size for chunk in chunks) > memory:
        left -= max(chunk.size for chunk in chunks)
    for chunk in chunks:
        chunk.retained = chunk.size <= left
        left -= chunk.size if chunk.retained else 0


def cloned(batch: Any) -> Any:
    """The batch with tensors of its own, for a model that may write into its inputs."""
    if isinstance(batch, dict):
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in batch.items()}
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in batch)


def written(batch: Any) -> bool:
    """Whether a cloned batch was written into."""
    values = batch.values() if isinstance(batch, dict) else batch
    return any(isinstance(value, Tensor) and value._version > 0 for value in values)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else id(tensor)


def _signature(batch: Any) -> Any:
    items = batch.items() if isinstance(batch, dict) else enumerate(batch)
    return tuple((name, value.dtype, value.shape[1:]) for name, value in items if isinstance(value, Tensor))
