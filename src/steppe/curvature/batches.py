"""Data as every measurement takes it: one batch (x, y) or a re-iterable of batches, weighted by samples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from steppe.core import DataError, KindError, ShapeError


class Batches:
    """Checked batches (x, y), detached; iterating anew gives them again.

    Args:
        data: A tuple (x, y) of tensors, or a re-iterable (list, loader) of such pairs. The weight of a batch is its
            number of samples, the length of its targets.

    Attributes:
        in_memory: Whether all batches lie in memory already (not so for a loader).

    Raises:
        KindError: It is neither, or a one-shot iterator.
        DataError: A batch is empty or not finite.
    """

    def __init__(self, data: Any) -> None:
        self._data = [data] if _is_pair_of_tensors(data) and isinstance(data, tuple) else data
        if isinstance(data, Tensor | dict | str) or not hasattr(self._data, "__iter__"):
            raise KindError(
                f"`data` must be a tuple (x, y) or a re-iterable of such batches, got {type(data).__name__}; "
                "pass (x, y)"
            )
        if isinstance(data, list) and _is_pair_of_tensors(data):
            raise KindError("`data` must be a tuple (x, y) for one batch, got a list of two tensors; pass (x, y)")
        if iter(self._data) is self._data:
            raise KindError(
                f"`data` must be re-iterable, got the one-shot {type(data).__name__}; pass list(data) or a loader"
            )
        self.in_memory = isinstance(self._data, list | tuple)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        found = False
        for index, batch in enumerate(self._data):
            found = True
            yield _checked(batch, "" if len_or_none(self._data) == 1 else f" in batch {index}")
        if not found:
            raise DataError("`data` needs at least one batch, got none; pass more data")

    def joined(self) -> tuple[Tensor, Tensor]:
        """All samples as one batch."""
        pairs = list(self)
        if len(pairs) == 1:
            return pairs[0]
        xs, ys = zip(*pairs, strict=True)
        for name, parts in (("x", xs), ("y", ys)):
            kinds = {(part.shape[1:], part.dtype, part.device) for part in parts}
            if len(kinds) > 1:
                raise ShapeError(
                    f"`{name}` must have one shape and dtype over all batches, got {sorted(map(str, kinds))}"
                )
        return torch.cat(xs), torch.cat(ys)


def len_or_none(data: Any) -> int | None:
    """The number of batches, where the container knows it."""
    return len(data) if hasattr(data, "__len__") else None


def _is_pair_of_tensors(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data)


def _checked(batch: Any, where: str) -> tuple[Tensor, Tensor]:
    if not _is_pair_of_tensors(batch):
        got = f"{type(batch).__name__}"
        raise KindError(f"`data` must hold pairs (x, y) of tensors, got {got}{where}; pass (x, y)")
    x, y = (part.detach() for part in batch)
    for name, value in (("x", x), ("y", y)):
        if value.ndim == 0 or value.shape[0] == 0:
            raise DataError(f"`{name}` needs at least 1 sample, got shape {list(value.shape)}{where}; pass more data")
        if value.is_floating_point() and not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise DataError(
                f"`{name}` must be finite, got {bad} NaN or infinite entries out of {value.numel()}{where}; "
                "remove or impute those rows"
            )
    return x, y
