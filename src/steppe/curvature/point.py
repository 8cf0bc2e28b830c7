"""Whether a model still is at the point where an operator was built."""

import torch
from torch import Tensor, nn

_ENTRIES = 16  # of each parameter that are compared


class Point:
    """The parameters of a model at one moment.

    Autograd counts changes, except those made through `.data`, which old training loops use; a few entries of every
    parameter tell those.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._versions, self._sample = _versions(model), _sample(model)

    def left(self, model: nn.Module) -> bool:
        """Whether the model's parameters were changed or replaced since."""
        if _versions(model) != self._versions:
            return True
        now = _sample(model)
        same = now.dtype == self._sample.dtype and now.device == self._sample.device
        return not (same and torch.equal(now, self._sample))


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    return [(id(parameter), parameter._version) for parameter in model.parameters()]


def _sample(model: nn.Module) -> Tensor:
    entries = [
        parameter.detach().reshape(-1)[:: max(1, parameter.numel() // _ENTRIES)]
        for parameter in model.parameters()
        if parameter.is_floating_point() and not parameter.is_meta
    ]
    if not entries:
        return torch.zeros(0)
    if len({entry.device for entry in entries}) > 1:
        entries = [entry.cpu() for entry in entries]
    return torch.cat(entries).nan_to_num()
