"""What a record of a run holds besides the loss."""

from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steppe.core import DataError, KindError, ShapeError, check_choice
from steppe.networks import PatchReLU, ShallowReLU

Column = Literal["gradient_norm", "clipped", "live_neurons"]
COLUMNS: tuple[Column, ...] = ("gradient_norm", "clipped", "live_neurons")
_KNOWN = (ShallowReLU, PatchReLU)
_AT_ONCE = 256  # samples


class Looks:
    """The columns asked for, and how to fill them.

    Args:
        columns: Of `COLUMNS`.
        network: The network in training.
        x: Its inputs.
        clean: Noiseless targets of the shape of the outputs, or None.

    Raises:
        UnknownNameError: There is no such column.
        KindError: Neurons of something else than a `ShallowReLU` or a `PatchReLU` are asked for.
        ShapeError: `clean` has not the shape of the outputs.
        DataError: `clean` is not finite.
    """

    def __init__(self, columns: Sequence[str], network: nn.Module, x: Tensor, clean: Tensor | None) -> None:
        columns = [columns] if isinstance(columns, str) else list(columns)
        for column in columns:
            check_choice("columns", column, COLUMNS)
        if "live_neurons" in columns and not isinstance(network, _KNOWN):
            raise KindError(
                f"live neurons are those of a ShallowReLU or a PatchReLU, got {type(network).__name__}; leave "
                "'live_neurons' out of `columns`, or pass an observer that counts yours"
            )
        if clean is not None:
            _check_clean(clean, network, x)
        self._columns, self._network, self._x, self._clean = columns, network, x, clean

    def __bool__(self) -> bool:
        return bool(self._columns) or self._clean is not None

    @property
    def need_parameters(self) -> bool:
        """Whether the outputs or the neurons must be looked at."""
        return "live_neurons" in self._columns or self._clean is not None

    def found(self, *, gradient_norm: float, clipped: int, look: Any = None) -> dict[str, float]:
        """The columns of one record.

        Args:
            gradient_norm: Of the loss, decay included.
            clipped: Updates shortened so far.
            look: `clean → (clean error, live neurons)`; None looks at the network itself.
        """
        values: dict[str, float] = {"gradient_norm": gradient_norm, "clipped": clipped}
        if self.need_parameters:
            error, values["live_neurons"] = (look or self._look)(self._clean)
            if self._clean is not None:
                values["clean_error"] = error
        wanted = [*self._columns, "clean_error"]
        return {name: value for name, value in values.items() if name in wanted}

    @torch.no_grad()
    def _look(self, clean: Tensor | None) -> tuple[float, int]:
        error, live = 0.0, 0
        if clean is not None:
            error = float((self._network(self._x) - clean).double().square().sum()) / self._x.shape[0]
        if isinstance(self._network, _KNOWN):
            live = _live(self._network, self._x)
        return error, live


def _live(network: ShallowReLU | PatchReLU, x: Tensor) -> int:
    """Neurons active on any sample, and any position that shares them."""
    over = (0, 1) if isinstance(network, PatchReLU) and network.shared else (0,)
    masks = (network.mask(block).any(dim=over) for block in x.split(_AT_ONCE))
    return int(reduce(torch.logical_or, masks).sum())


def _check_clean(clean: Any, network: nn.Module, x: Tensor) -> None:
    if not isinstance(clean, Tensor):
        raise KindError(f"`clean` must be a torch tensor, got {type(clean).__name__}; convert it with torch.as_tensor")
    if isinstance(network, _KNOWN) and tuple(clean.shape) != (x.shape[0], network.outputs):
        raise ShapeError(
            f"`clean` must have shape [{x.shape[0]}, {network.outputs}], one row per sample, got {list(clean.shape)}"
        )
    if not torch.isfinite(clean).all():
        raise DataError("`clean` must be finite, got NaN or infinite entries; remove those rows")
