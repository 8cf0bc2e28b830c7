"""Data as every measurement takes it: one batch or a re-iterable of batches, combined by weight."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import DataError, KindError, ParameterError, ShapeError
from .validation import check_choice

Weight = Literal["samples", "tokens"] | Callable[[Any], float]
_TARGETS = ("labels", "targets", "y")
_IGNORED = -100  # PyTorch's label of tokens that do not count


class Batches:
    """Checked batches, detached; iterating anew gives them again.

    A batch is a tuple (x, y) of tensors or a dict, whose targets are its entry `labels`, `targets` or `y`. Batches
    combine by weight: the loss is Σ_b w_b L_b / Σ_b w_b.

    Args:
        data: One batch, or a re-iterable (list, loader) of batches.
        weight: `"samples"`: the length of the targets. `"tokens"`: how many labels differ from −100. Or a callable
            batch → number > 0. None is `"samples"`, and `"tokens"` where the model computes its own loss from labels.
        pairs: Whether every batch must have inputs and targets apart, for a loss(outputs, targets).

    Attributes:
        data: What is iterated over.
        weight: How batches are to be weighed, None if that was left open.
        in_memory: Whether all batches lie in memory already (not so for a loader).
        part_words: Of a `Part` of the data, which samples these are, such as "512 of 50 000"; None otherwise.

    Raises:
        KindError: It is neither, or a one-shot iterator.
        UnknownNameError: The weight is not known.
        ParameterError: A weight is not a positive number.
        DataError: A batch is empty or not finite.
    """

    def __init__(self, data: Any, *, weight: Weight | None = None, pairs: bool = True) -> None:
        if weight is not None and not callable(weight):
            check_choice("weight", weight, ["samples", "tokens"])
        single = isinstance(data, Mapping) or (isinstance(data, tuple) and _tensors(data))
        if isinstance(data, list) and len(data) == 2 and _tensors(data):
            raise KindError("`data` must be a tuple (x, y) for one batch, got a list of two tensors; pass (x, y)")
        if isinstance(data, Tensor | str) or not (single or hasattr(data, "__iter__")):
            raise KindError(
                f"`data` must be a tuple (x, y), a dict or a re-iterable of such batches, got {type(data).__name__}; "
                "pass (x, y)"
            )
        self.data = [data] if single else data
        self.part_words: str | None = getattr(data, "words", None) if isinstance(data, list) else None
        if hasattr(self.data, "__next__"):
            raise KindError(
                f"`data` must be re-iterable, got the one-shot {type(data).__name__}; pass list(data) or a loader"
            )
        self.weight, self._pairs = weight, pairs
        self.in_memory = isinstance(self.data, list | tuple)

    def __iter__(self) -> Iterator[Any]:
        found = False
        known = _length(self.data)
        for index, batch in enumerate(self.data):
            found = True
            yield self._checked(batch, "" if known == 1 else f" in batch {index}")
        if not found:
            raise DataError("`data` needs at least one batch, got none; pass more data")

    def weighing(self, batch: Any) -> Weight:
        """How batches like this one are weighed."""
        if self.weight is not None:
            return self.weight
        return "tokens" if not self._pairs and isinstance(batch, dict) and "labels" in batch else "samples"

    def weigh(self, batch: Any) -> float:
        """The weight w_b of a batch."""
        weighing = self.weighing(batch)
        if callable(weighing):
            weight = weighing(batch)
        elif weighing == "tokens":
            targets = targets_of(batch)
            if targets is None or targets.is_floating_point():
                raise KindError(
                    "`weight` 'tokens' needs a batch with integer labels, got none; pass weight='samples' or a callable"
                )
            weight = int((targets != _IGNORED).sum())
        else:
            weight = samples_of(batch)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ParameterError(f"the weight of a batch must be a number > 0, got {weight!r}; drop empty batches")
        return weight

    def joined(self) -> tuple[Tensor, Tensor]:
        """All samples of batches (x, y) as one batch.

        Raises:
            ShapeError: Batches differ in shape, dtype or device.
        """
        pairs: list[tuple[Tensor, Tensor]] = list(self)
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

    def _checked(self, batch: Any, where: str) -> Any:
        if isinstance(batch, Mapping):
            if self._pairs and targets_of(batch) is None:
                raise KindError(
                    f"a dict batch must have its targets under one of {', '.join(map(repr, _TARGETS))}, got the keys "
                    f"{', '.join(map(repr, batch)) or 'none'}{where}; rename them, or pass loss=None or objective="
                )
            return {name: _detached(f"data[{name!r}]", value, where) for name, value in batch.items()}
        if not isinstance(batch, tuple | list) or not _tensors(batch) or (self._pairs and len(batch) != 2):
            got = f"{type(batch).__name__}{where}"
            raise KindError(f"`data` must hold pairs (x, y) of tensors, or dicts, got {got}; pass (x, y)")
        names = ("x", "y") if len(batch) == 2 else tuple(f"data[{i}]" for i in range(len(batch)))
        return tuple(_detached(name, value, where) for name, value in zip(names, batch, strict=True))


def targets_of(batch: Any) -> Tensor | None:
    """The targets of a batch, or None if it has none apart."""
    if not isinstance(batch, dict):
        return batch[1] if len(batch) == 2 else None
    found = next((batch[name] for name in _TARGETS if name in batch), None)
    return found if isinstance(found, Tensor) else None


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the model is called with, positional and by keyword, when the targets meet it only inside the loss."""
    if not isinstance(batch, dict):
        return batch[:1], {}
    name = next(name for name in _TARGETS if name in batch)
    return (), {key: value for key, value in batch.items() if key != name}


def samples_of(batch: Any) -> int:
    """The number of samples: the length of the targets, else of the first tensor."""
    tensors = batch.values() if isinstance(batch, dict) else batch
    counted = targets_of(batch)
    if counted is None:
        counted = next((value for value in tensors if isinstance(value, Tensor) and value.ndim), None)
    if counted is None:
        raise KindError("a batch must hold a tensor, got none; pass weight=callable(batch)")
    return len(counted)


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # a loader over a stream has a length that it cannot tell
        return None


def _tensors(values: Any) -> bool:
    return len(values) > 0 and all(isinstance(value, Tensor) for value in values)


def _detached(name: str, value: Any, where: str) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    if value.is_inference() and not torch.is_inference_mode_enabled():
        value = value.clone()  # autograd cannot save the original
    if value.ndim == 0 or value.shape[0] == 0:
        raise DataError(f"`{name}` needs at least 1 sample, got shape {list(value.shape)}{where}; pass more data")
    if value.is_floating_point() and not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise DataError(
            f"`{name}` must be finite, got {bad} NaN or infinite entries out of {value.numel()}{where}; "
            "remove or impute those rows"
        )
    return value
