"""A part of the data that says what it is a part of."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .batches import Batches, samples_of
from .generators import generator
from .random_states import same_random_states
from .validation import check_integer
from .words import grouped


class Part(list[Any]):
    """Some samples of the data, as batches in memory; every measurement on it says "512 of 50 000 samples".

    One batch, a list of batches and a loader over a data set of known length are drawn from at random, without
    replacement and evenly over all samples. Of any other re-iterable the first samples are taken. A data set that
    augments is read once, so that the part stays the same.

    Args:
        data: As everywhere: one batch (a tuple (x, y) or a dict), or a re-iterable of batches.
        samples: How many samples, at most; all of them if there are fewer.
        seed: Seed of the choice.

    Attributes:
        samples: How many there are.
        total: Of how many; None if that is not known.

    Raises:
        KindError, DataError: As `Batches`.
        ParameterError: `samples` is below 1.

    Example:
        >>> x = torch.arange(10.0)[:, None]
        >>> part = Part((x, x), 3)
        >>> len(part), part[0][0].shape[0], part.words
        (1, 3, '3 of 10')
    """

    def __init__(self, data: Any, samples: int, *, seed: int = 0) -> None:
        wanted = check_integer("samples", samples, minimum=1)
        rng = generator("core.part", seed)
        batches = Batches(data, pairs=False)
        self.total: int | None
        with same_random_states():
            if batches.in_memory:
                found, self.total = _from_memory(list(batches), wanted, rng)
            elif _has_items(data):
                found, self.total = _from_items(data, wanted, rng)
            else:
                found, self.total = _first(batches, wanted)
        super().__init__(found)
        self.samples = sum(map(samples_of, found))

    @property
    def words(self) -> str:
        """Such as "512 of 50 000"; "the first 512" of data of unknown length."""
        if self.total is None:
            return f"the first {grouped(self.samples)}"
        if self.samples == self.total:
            return grouped(self.total)
        return f"{grouped(self.samples)} of {grouped(self.total)}"


def take_samples(batch: Any, index: Tensor | slice) -> Any:
    """Some samples of a batch: its tensors of as many rows as there are samples are indexed, the rest is kept."""
    count = samples_of(batch)

    def of(value: Any) -> Any:
        fits = isinstance(value, Tensor) and value.ndim > 0 and len(value) == count
        if not fits:
            return value
        return value[index.to(value.device)] if isinstance(index, Tensor) else value[index]

    if isinstance(batch, Mapping):
        return {name: of(value) for name, value in batch.items()}
    return tuple(of(value) for value in batch)


def _chosen(total: int, wanted: int, rng: torch.Generator) -> Tensor:
    """`wanted` of the numbers below `total`, ascending."""
    return torch.randperm(total, generator=rng)[:wanted].sort().values


def _from_memory(batches: Sequence[Any], wanted: int, rng: torch.Generator) -> tuple[list[Any], int]:
    sizes = [samples_of(batch) for batch in batches]
    chosen, start = _chosen(sum(sizes), wanted, rng), 0
    found: list[Any] = []
    for size, batch in zip(sizes, batches, strict=True):
        mine = chosen[(chosen >= start) & (chosen < start + size)] - start
        if len(mine):
            found.append(batch if len(mine) == size else take_samples(batch, mine))
        start += size
    return found, sum(sizes)


def _has_items(data: Any) -> bool:
    """Whether this is a torch loader whose samples can be read one by one."""
    if not isinstance(data, torch.utils.data.DataLoader) or data.batch_size is None:
        return False
    dataset = data.dataset
    map_style = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    return map_style and not isinstance(dataset, torch.utils.data.IterableDataset) and _plain_sampler(data)


def _plain_sampler(loader: "torch.utils.data.DataLoader[Any]") -> bool:
    """Whether the loader visits every sample once, so that a random choice of samples stands for it."""
    plain = torch.utils.data.SequentialSampler, torch.utils.data.RandomSampler
    sampler = loader.sampler
    return type(sampler) in plain and not getattr(sampler, "replacement", False)


def _from_items(loader: "torch.utils.data.DataLoader[Any]", wanted: int, rng: torch.Generator) -> tuple[list[Any], int]:
    dataset: Any = loader.dataset
    total, size = len(dataset), loader.batch_size or 1
    chosen = _chosen(total, wanted, rng).tolist()
    found = [
        loader.collate_fn([dataset[i] for i in chosen[start : start + size]]) for start in range(0, len(chosen), size)
    ]
    return list(Batches(found, pairs=False)), total


def _first(batches: Batches, wanted: int) -> tuple[list[Any], int | None]:
    found: list[Any] = []
    left = wanted
    for batch in batches:
        if left <= 0:
            return found, None
        size = samples_of(batch)
        found.append(batch if size <= left else take_samples(batch, slice(0, left)))
        left -= size
    return found, sum(map(samples_of, found)) if left >= 0 else None
