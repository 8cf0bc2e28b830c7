"""What a model is called with, and what it gives out."""

import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import Batches, ComputationError, KindError, SteppeError, targets_of

_ROWS = 512  # samples of one forward pass

Call = tuple[tuple[Any, ...], dict[str, Any]]


def calls_of(data: Batches) -> Iterator[Call]:
    """What the model is called with, in pieces of at most some thousand samples; targets are left out."""
    for batch in data:
        if isinstance(batch, Mapping):
            targets = targets_of(batch)
            inputs = {name: value for name, value in batch.items() if value is not targets}
            for piece in _pieces(list(inputs.values())):
                yield (), dict(zip(inputs, piece, strict=True))
        else:
            for piece in _pieces(list(batch[:1])):
                yield tuple(piece), {}


def _pieces(values: list[Any]) -> Iterator[list[Any]]:
    lengths = {len(value) for value in values if isinstance(value, Tensor)}
    length = max(lengths, default=0)
    if len(lengths) != 1 or length <= _ROWS:
        yield values
        return
    for start in range(0, length, _ROWS):
        yield [value[start : start + _ROWS] if isinstance(value, Tensor) else value for value in values]


def in_double(call: Call) -> Call:
    """The same call with floating-point tensors in float64."""

    def double(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(map(double, call[0])), {name: double(value) for name, value in call[1].items()}


def output_of(model: nn.Module, call: Call) -> Tensor:
    """The output tensor of a model, [n, …].

    Raises:
        KindError: It returns something else than a tensor or an object with `.logits`.
        ComputationError: The forward pass fails, or the output is not finite.
    """
    try:
        returned = model(*call[0], **call[1])
    except SteppeError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ComputationError(
            f"a forward pass of `model` failed at {last.filename}, line {last.lineno}: {type(error).__name__}: {error}"
            "; check that it runs on these data after model.eval(), and after model.double() on them in float64"
        ) from error
    found = returned if isinstance(returned, Tensor) else getattr(returned, "logits", None)
    if not isinstance(found, Tensor) or not found.is_floating_point():
        raise KindError(
            f"`model` must return a tensor of floats, or an object with `.logits`, got {type(returned).__name__}; wrap "
            "it in a module that returns the tensor to be kept"
        )
    if not torch.isfinite(found).all():
        raise ComputationError("the outputs of `model` must be finite, got NaN or infinity; compress a trained model")
    return found
