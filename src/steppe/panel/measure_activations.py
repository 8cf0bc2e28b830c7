"""One forward pass over the data that also looks at what the nonlinearities of a model let through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

# Nonlinearities that switch a unit on where their input is positive, by class name, so that those of other libraries
# count too (transformers: GELUActivation, NewGELUActivation, SiLUActivation, …).
_GATES = {
    "CELU", "ELU", "GELU", "Hardswish", "LeakyReLU", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU",
}  # fmt: skip
_RARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Activity:
    """How one nonlinearity responds to the data: a unit is active where its input is positive, strictly.

    Args:
        name: Name of the module.
        kind: Its class.
        fraction: Fraction of (sample, unit) pairs that are active, positions counted as samples.
        units: Number of units: channels of images, features otherwise.
        dead: Units that no sample activates.
        rare: Units, not dead, that are active on at most a tenth.
        unit_fractions: Fraction of samples that activate each unit.
    """

    name: str
    kind: str
    fraction: float
    units: int
    dead: int
    rare: int
    unit_fractions: tuple[float, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the fraction of each unit."""
        return {name: value for name, value in vars(self).items() if name != "unit_fractions"}


def activity(name: str, kind: str, fractions: Tensor) -> Activity:
    """From the fraction of samples that activate each unit."""
    values = fractions.double().cpu()
    return Activity(
        name=name,
        kind=kind,
        fraction=float(values.mean()),
        units=len(values),
        dead=int((values == 0).sum()),
        rare=int(((values > 0) & (values <= _RARE)).sum()),
        unit_fractions=tuple(values.tolist()),
    )


class _Counter:
    """Counts of positive inputs per unit, over all calls of one module."""

    def __init__(self, dimension: Callable[[Tensor], int]) -> None:
        self.dimension = dimension
        self.counts: Tensor | None = None
        self.seen = 0
        self.uneven = False

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """As a forward pre-hook: the input before an in-place operation changes it."""
        if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].ndim < 2:
            return
        x = arguments[0].detach()
        unit = self.dimension(x)
        counts = (x > 0).sum(dim=[d for d in range(x.ndim) if d != unit])
        if self.counts is not None and self.counts.shape != counts.shape:
            self.uneven = True
            return
        self.counts = counts if self.counts is None else self.counts + counts
        self.seen += x.numel() // x.shape[unit]


@contextmanager
def counting(model: nn.Module) -> Iterator[dict[str, _Counter]]:
    """Hooks on every nonlinearity that is a module of its own, removed on leaving, also by an exception."""
    by_line = any(isinstance(module, nn.Conv1d) for module in model.modules())

    def dimension(x: Tensor) -> int:
        """Where the units are: [n, units], [n, positions, units], or [n, units, ...] of convolutions."""
        return 1 if x.ndim != 3 or by_line else 2

    counters: dict[str, _Counter] = {}
    handles = []
    try:
        for name, module in model.named_modules():
            kind = type(module).__name__
            if kind in _GATES or kind.endswith("Activation"):
                counters[name or "model"] = counter = _Counter(dimension)
                handles.append(module.register_forward_pre_hook(counter))
        yield counters
    finally:
        for handle in handles:
            handle.remove()


def activities(model: nn.Module, counters: dict[str, _Counter]) -> tuple[Activity, ...]:
    """What the counters saw; modules that were never called, or with several widths, are left out."""
    kinds = {name or "model": type(module).__name__ for name, module in model.named_modules()}
    return tuple(
        activity(name, kinds[name], counter.counts.double() / counter.seen)
        for name, counter in counters.items()
        if counter.counts is not None and counter.seen and not counter.uneven
    )
