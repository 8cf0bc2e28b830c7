"""A loss along a line through the parameters, by forward passes alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch
from torch import Tensor, nn

from steppe.core import Batches, ComputationError, Objective, same_random_states

from .directions import Direction, preserved_versions


class Forwards:
    """L(θ − η d) for chosen η. A context: parameters, buffers and random states are put back on leaving, bit for bit.

    Every pass sees the same batches, buffers and random numbers, so that layers such as dropout draw the same masks
    and the values can be compared. Kernels are those that training uses: no derivative is taken.

    Args:
        model: The module, moved in place inside the context.
        objective: The loss.
        batches: The data; kept in memory.
        reduce: Sums a number over processes, each of which holds part of the data.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        batches: Batches,
        *,
        reduce: Callable[[float], float] | None = None,
    ) -> None:
        self.model, self.objective, self.weigh = model, objective, batches.weigh
        self.batches = list(batches)  # a loader may shuffle; the passes must see the same samples
        self.reduce = reduce
        self.passes = 0
        self._line: list[tuple[Tensor, Tensor, Tensor]] = []
        self._exit = ExitStack()

    @property
    def convention(self) -> str:
        """The loss and the samples it is averaged over."""
        count = sum(self.weigh(batch) for batch in self.batches)
        return f"{self.objective.convention}, mean of {count:g}"

    def gradient(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """∇L, by one backward pass over the data.

        Raises:
            ComputationError: The graph holds none of the parameters.
        """
        weights = [self.weigh(batch) for batch in self.batches]
        total = [torch.zeros_like(parameter) for parameter in parameters]
        reached = False
        with torch.inference_mode(mode=False), torch.enable_grad(), _as_found(self.model):
            for weight, batch in zip(weights, self.batches, strict=True):
                value = self.objective.value(self.model, batch)
                parts = torch.autograd.grad(value, parameters, allow_unused=True)
                for sum_, part in zip(total, parts, strict=True):
                    if part is not None:
                        reached = True
                        sum_.add_(part.to_dense() if part.is_sparse else part, alpha=weight / sum(weights))
        if not reached:
            raise ComputationError(
                "the loss reaches none of the parameters, as in a sharded model, which gathers others for its pass; "
                "call backward() and pass gradients='stored'"
            )
        return total

    def along(self, chosen: dict[str, nn.Parameter], direction: Direction) -> "Forwards":
        """Choose the line."""
        self._line = [
            (chosen[name].detach(), chosen[name].detach().clone(), part) for name, part in direction.parts.items()
        ]
        return self

    def __enter__(self) -> "Forwards":
        self._exit.enter_context(preserved_versions([parameter for parameter, _, _ in self._line]))
        self._exit.enter_context(torch.no_grad())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._move(0.0)
        self._exit.close()

    def loss(self, step: float) -> float:
        """The loss at θ − step·d; infinite where it is not finite (not at step 0: that is an error)."""
        self._move(step)
        self.passes += 1
        total, weight = 0.0, 0.0
        with _as_found(self.model):
            for batch in self.batches:
                w = self.weigh(batch)
                try:
                    value = float(self.objective.value(self.model, batch))
                except ComputationError:
                    if step == 0:
                        raise
                    value = float("inf")
                total, weight = total + w * value, weight + w
        if self.reduce is not None:
            total, weight = float(self.reduce(total)), float(self.reduce(weight))
        return total / weight

    def _move(self, step: float) -> None:
        resharded(self.model)
        with torch.no_grad():
            for parameter, origin, part in self._line:
                parameter.copy_(origin)
                if step:
                    parameter.sub_(part, alpha=step)


def resharded(model: nn.Module) -> None:
    """Let sharded modules drop the whole parameters that they gathered in the last pass: the shards are what moves."""
    for module in model.modules():
        drop = getattr(module, "reshard", None)
        if callable(drop) and hasattr(module, "unshard"):
            drop()


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Buffers and random states after the pass are those before it."""
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with same_random_states(), preserved_versions([buffer for _, _, buffer, _ in buffers]):
        try:
            yield
        finally:
            for module, name, buffer, copy in buffers:  # batch normalisation moves its own without a new version
                module._buffers[name] = buffer
                buffer.copy_(copy)
