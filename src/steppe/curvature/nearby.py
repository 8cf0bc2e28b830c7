"""The loss and its gradient at points near the parameters."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from steppe.core import (
    Batches,
    ComputationError,
    KindError,
    NotDeterministicError,
    Objective,
    grouped,
    same_random_states,
)

from .chunks import cloned
from .determinism import cause_of_difference
from .directions import preserved_versions
from .options import ProblemOptions
from .selection import select_parameters, unwrapped
from .untouched import private_buffers, stir, untouched
from .weighing import Weighing


class Nearby:
    """L(θ + ε) and ∇L(θ + ε) for chosen ε; a context that leaves the model bit for bit as it was.

    The same batches are seen at every point. Inside, the parameters are moved in place.

    Args:
        function: Who asks, for errors.
        model: The module.
        loss: As in `hessian`.
        data: As in `hessian`; kept in memory.
        **options: As in `hessian`.

    Attributes:
        parameters: The variables.
        evaluations: Passes over the data so far.

    Raises:
        SteppeError: As `hessian`.
    """

    def __init__(self, function: str, model: Any, loss: Any, data: Any, **options: Unpack[ProblemOptions]) -> None:
        if not isinstance(model, nn.Module):
            raise KindError(
                f"`{function}` takes (model, loss, data), got {type(model).__name__} as model; products are not enough"
            )
        if data is None:
            raise KindError(f"`{function}` needs (model, loss, data), got no data; pass data=(x, y)")
        self.model = unwrapped(model)
        self.objective = Objective(loss, objective=options.get("objective"))
        self._source = Batches(data, weight=options.get("weight"), pairs=self.objective.separate)
        self._weighing = Weighing(self._source, self.objective)
        with same_random_states():  # a loader draws a seed when it is iterated
            self.batches = list(self._source)
        self._weights = {id(batch): self._weighing.add(batch) for batch in self.batches}
        chosen = select_parameters(self.model, options.get("parameters"))
        self.names, self.parameters = list(chosen), list(chosen.values())
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self._total = sum(parameter.numel() for parameter in self.model.parameters())
        self.origin = [parameter.detach().clone() for parameter in self.parameters]
        self.evaluations = 0

    @property
    def convention(self) -> str:
        """Loss, samples and parameters."""
        of = f"all {grouped(self.size)}"
        if self.size != self._total:
            of = f"{grouped(self.size)} of {grouped(self._total)}"
        return f"{self.objective.convention}, {self._weighing.words}, {of} parameters"

    @contextmanager
    def session(self) -> Iterator[float]:
        """Where points may be visited; gives L(θ), evaluated twice."""
        with ExitStack() as stack:
            stack.enter_context(untouched(self.model, second_order=False))
            stack.enter_context(preserved_versions(self.parameters))
            stack.callback(self._move, None)
            values = [self.value(None)]
            stir()
            values.append(self.value(None))
            if not math.isclose(*values, rel_tol=100 * torch.finfo(self.parameters[0].dtype).eps):
                raise NotDeterministicError(cause_of_difference(self.model, self._source, values))
            yield values[0]

    def value(self, offset: Sequence[Tensor] | None, batches: Sequence[Any] | None = None) -> float:
        """L(θ + ε), on all batches or some; infinite where it is not finite."""
        self._move(offset)
        total = 0.0
        with torch.no_grad():
            for scale, batch in self._scaled(batches):
                try:
                    total += scale * float(self._loss(batch))
                except ComputationError:
                    if offset is None:
                        raise
                    return math.inf
        self.evaluations += 1
        return total

    def gradient(
        self, offset: Sequence[Tensor] | None, batches: Sequence[Any] | None = None
    ) -> tuple[float, list[Tensor]]:
        """L and its gradient at θ + ε, one tensor per parameter."""
        self._move(offset)
        value, total = 0.0, [torch.zeros_like(parameter) for parameter in self.parameters]
        for scale, batch in self._scaled(batches):
            loss = self._loss(batch)
            value += scale * float(loss.detach())
            parts = torch.autograd.grad(loss, self.parameters, allow_unused=True) if loss.requires_grad else ()
            for whole, part in zip(total, parts, strict=False):
                if part is not None:
                    whole.add_(part.to_dense() if part.is_sparse else part, alpha=scale)
        self.evaluations += 1
        return value, total

    def outputs_doubled(self) -> Iterator[tuple[float, Tensor, Tensor, Any]]:
        """For every batch its share, the outputs at θ and at 2θ, and itself."""
        for scale, batch in self._scaled(None):
            found = []
            for offset in (None, self.origin):
                self._move(offset)
                with private_buffers(self.model):
                    found.append(self.objective.outputs(self.model, cloned(batch)))
            yield scale, found[0], found[1], batch

    def weigh(self, batch: Any) -> float:
        """The weight of a batch or of a part of one; 1 where the loss is a sum."""
        if self._weighing.sums:
            return 1.0
        known = self._weights.get(id(batch))
        return self._source.weigh(batch) if known is None else known

    def _scaled(self, batches: Sequence[Any] | None) -> Iterator[tuple[float, Any]]:
        chosen = self.batches if batches is None else batches
        weights = [self.weigh(batch) for batch in chosen]
        total = 1.0 if self._weighing.sums else sum(weights)
        return ((weight / total, batch) for weight, batch in zip(weights, chosen, strict=True))

    def _loss(self, batch: Any) -> Tensor:
        with private_buffers(self.model):
            return self.objective.value(self.model, cloned(batch))  # a model may write into its inputs

    def _move(self, offset: Sequence[Tensor] | None) -> None:
        with torch.no_grad():
            for index, (parameter, origin) in enumerate(zip(self.parameters, self.origin, strict=True)):
                parameter.copy_(origin if offset is None else origin + offset[index])


def normal_like(parameters: Sequence[Tensor], rng: torch.Generator) -> list[Tensor]:
    """Standard normal numbers, drawn on the CPU in float64 so that every device and dtype gets the same."""
    return [torch.randn(parameter.shape, generator=rng, dtype=torch.float64).to(parameter) for parameter in parameters]


def norm_of(parts: Sequence[Tensor]) -> float:
    """The Euclidean norm of all of them together."""
    return math.sqrt(sum(float(part.double().square().sum()) for part in parts))
