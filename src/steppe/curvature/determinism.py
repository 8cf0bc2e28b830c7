"""Why two evaluations of the same loss differ."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import Batches

_RANDOM = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def cause_of_difference(model: nn.Module, batches: Batches, values: Sequence[float]) -> str:
    """A sentence for the error: what was seen, what probably made it, what to do."""
    seen = f"two evaluations of the loss must agree, got {' and '.join(f'{value:.10g}' for value in values)}"
    layers = _random_layers(model)
    if layers:
        return f"{seen}; random in training mode: `{'`, `'.join(layers)}`; call model.eval()"
    found = _of_the_data(batches)
    if found:
        return f"{seen}; {found}"
    return (
        f"{seen}; no random layer was found in training mode and the data are the same both times; a stateful module, "
        "or one that draws random numbers in its forward pass, may be the cause"
    )


def uses_batch_statistics(model: nn.Module) -> bool:
    """Whether a normalisation in training mode makes each sample's output depend on its batch."""
    return any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None)
        for module in model.modules()
    )


def _random_layers(model: nn.Module) -> list[str]:
    return [
        f"{name or 'model'}: {type(module).__name__}"
        for name, module in model.named_modules()
        if module.training and (_drops(module) or isinstance(module, _RANDOM[1:]))
    ]


def _drops(module: nn.Module) -> bool:
    if isinstance(module, _RANDOM[0]):
        return module.p > 0
    rate = getattr(module, "dropout", 0.0)  # attention and recurrent layers carry a rate
    return isinstance(rate, int | float) and rate > 0


def _of_the_data(batches: Batches) -> str:
    """What a loader does, judged by its sampler and by reading its first batch twice."""
    data: Any = batches.data
    if isinstance(data, torch.utils.data.DataLoader):
        sampler = data.sampler
        if not isinstance(sampler, torch.utils.data.SequentialSampler):
            return (
                f"the data come from a loader that shuffles ({type(sampler).__name__}); pass shuffle=False, or "
                "steppe.core.Part(loader, samples)"
            )
    if batches.in_memory:
        return ""
    first, second = next(iter(batches)), next(iter(batches))
    if not _same(first, second):
        return (
            "its first batch differs when read again: a loader that shuffles, drops samples or augments them; pass a "
            "list of batches, or steppe.core.Part(data, samples)"
        )
    return ""


def _same(first: Any, second: Any) -> bool:
    pairs = zip(*(batch.values() if isinstance(batch, dict) else batch for batch in (first, second)), strict=False)
    return all(
        a.shape == b.shape and torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)
    )
