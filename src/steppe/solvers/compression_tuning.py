"""Fine-tuning after compression: back to the outputs of the original, or down the user's loss."""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import Batches, ComputationError, KindError, check_integer, check_number, samples_of, targets_of

from .compression_calls import Call, in_double, output_of

Loss = Callable[[Tensor, Tensor], Tensor]


def fine_tuned(
    twin: nn.Module, reference: nn.Module, data: Batches, *, steps: int, loss: Loss | None, step_size: float
) -> nn.Module:
    """A copy of `twin` after some steps of Adam with cosine decay, or `twin` if they did not lower the loss.

    Args:
        twin: The compressed model in float64, in evaluation mode, in which it also trains.
        reference: The original in float64.
        data: The data; one step per batch, in order, as often as needed.
        steps: Number of steps.
        loss: What is minimised; None is the mean squared distance to the outputs of the original.
        step_size: Of the first step.

    Raises:
        ParameterError: A number is out of range.
        KindError: A loss was given and a batch has no targets.
        ComputationError: The loss is no longer finite.
    """
    check_integer("fine_tune", steps, minimum=1)
    check_number("step_size", step_size, above=0.0)
    tuned = copy.deepcopy(twin)
    for parameter in tuned.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    optimizer = torch.optim.Adam(tuned.parameters(), lr=step_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    endless = itertools.chain.from_iterable(itertools.repeat(data))
    with torch.random.fork_rng(), torch.enable_grad():
        before = _mean(tuned, reference, data, loss)
        for batch in itertools.islice(endless, steps):
            optimizer.zero_grad()
            value = _value(tuned, reference, batch, loss)
            if not torch.isfinite(value):
                raise ComputationError("the loss of fine-tuning is no longer finite; lower `step_size`")
            value.backward()
            optimizer.step()
            schedule.step()
        return tuned if _mean(tuned, reference, data, loss) < before else twin


def _mean(tuned: nn.Module, reference: nn.Module, data: Batches, loss: Loss | None) -> float:
    with torch.no_grad():
        values = [(float(_value(tuned, reference, batch, loss)), samples_of(batch)) for batch in data]
    return sum(value * count for value, count in values) / sum(count for _, count in values)


def _value(tuned: nn.Module, reference: nn.Module, batch: Any, loss: Loss | None) -> Tensor:
    call, targets = _parts(batch)
    outputs = output_of(tuned, call)
    if loss is None:
        with torch.no_grad():
            wanted = output_of(reference, call)
        return (outputs - wanted).square().mean()
    if targets is None:
        raise KindError("`loss` needs targets, got batches without; pass (x, y), or loss=None")
    return loss(outputs, targets.double() if targets.is_floating_point() else targets)


def _parts(batch: Any) -> tuple[Call, Tensor | None]:
    targets = targets_of(batch)
    if isinstance(batch, Mapping):
        return in_double(((), {name: value for name, value in batch.items() if value is not targets})), targets
    return in_double((tuple(batch[:1]), {})), targets
