"""Faster ways to the same products, taken only where they were seen to agree with double backward and to be faster."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from steppe.core import CrossEntropy, Logistic, Objective, SquaredLoss, targets_of

from .untouched import private_buffers

Linear = Callable[[Sequence[Tensor]], Any]

_SETUP = 40  # forward passes that setting up a linearisation costs; 25 to 50 seen


class _Outputs(nn.Module):
    """The outputs on one batch as a function of the parameters alone."""

    def __init__(self, model: nn.Module, objective: Objective, batch: Any) -> None:
        super().__init__()
        self.inner, self.of, self.batch = model, objective, batch

    def forward(self) -> Tensor:
        return self.of.outputs(self.inner, self.batch)


def forward_mode(model: nn.Module, objective: Objective, batch: Any, names: Sequence[str]) -> Linear:
    """J δ by one forward pass with dual numbers: nothing to set up, nothing kept."""
    outputs = _Outputs(model, objective, batch)
    named = dict(model.named_parameters())
    points = [named[name].detach() for name in names]

    def product(direction: Sequence[Tensor]) -> Tensor:
        with torch.no_grad(), forward_ad.dual_level(), private_buffers(model):
            duals = [forward_ad.make_dual(point, move) for point, move in zip(points, direction, strict=True)]
            state = {f"inner.{name}": dual for name, dual in zip(names, duals, strict=True)}
            found = forward_ad.unpack_dual(torch.func.functional_call(outputs, state, ()))
            return torch.zeros_like(found.primal) if found.tangent is None else found.tangent

    return product


def linearised_outputs(model: nn.Module, objective: Objective, batch: Any, names: Sequence[str]) -> Linear:
    """J δ by replaying the linearised forward pass, recorded once."""
    outputs = _Outputs(model, objective, batch)

    def function(*values: Tensor) -> Tensor:
        state = {f"inner.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(outputs, state, ())

    return _linearised(model, function, names)


def linearised_gradient(model: nn.Module, objective: Objective, batch: Any, names: Sequence[str]) -> Linear | None:
    """H δ by replaying the linearised gradient, recorded once; None where that is not known to be safe.

    `torch.func.linearize` of a gradient can crash the process. What it records is run eagerly first, where the same
    trouble is an ordinary error.
    """
    formula = _formula(objective.loss)
    targets = targets_of(batch)
    if formula is None or targets is None:
        return None
    outputs = _Outputs(model, objective, batch)

    def value(*values: Tensor) -> Tensor:
        state = {f"inner.{name}": value for name, value in zip(names, values, strict=True)}
        found = torch.func.functional_call(outputs, state, ())
        return formula(found, targets)

    gradient = torch.func.grad(value, argnums=tuple(range(len(names))))
    points = _points(model, names)
    with private_buffers(model):
        torch.func.jvp(gradient, points, tuple(torch.ones_like(point) for point in points))
    return _linearised(model, gradient, names)


def _formula(loss: Any) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The loss without its checks, if replaying it is known to be safe; nn.MSELoss itself crashes the process."""
    if getattr(loss, "_forward_hooks", None) or getattr(loss, "_forward_pre_hooks", None):
        return None
    if type(loss) is SquaredLoss:
        return lambda f, y: 0.5 * (f - y).square().sum() / f.shape[0]
    if type(loss) is Logistic:
        return lambda f, y: functional.softplus(-y * f).sum() / f.shape[0]
    if type(loss) is nn.MSELoss:
        return lambda f, y: (f - y).square().mean() if loss.reduction == "mean" else (f - y).square().sum()
    if type(loss) is CrossEntropy:
        return functional.cross_entropy
    return loss if type(loss) in (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss) else None


def _linearised(model: nn.Module, function: Callable[..., Any], names: Sequence[str]) -> Linear:
    with private_buffers(model):
        _, replay = torch.func.linearize(function, *_points(model, names))

    def product(direction: Sequence[Tensor]) -> Any:
        with torch.no_grad():
            return replay(*direction)

    return product


def _points(model: nn.Module, names: Sequence[str]) -> tuple[Tensor, ...]:
    named = dict(model.named_parameters())
    return tuple(named[name].detach() for name in names)


def agree(found: Sequence[Tensor], reference: Sequence[Tensor]) -> bool:
    """Whether two images are the same to rounding, and not both zero, which would say nothing."""
    length = float(torch.stack([part.double().norm() for part in reference]).norm())
    apart = float(torch.stack([(a.double() - b.double()).norm() for a, b in zip(found, reference, strict=True)]).norm())
    return length > 0 and apart <= torch.finfo(reference[0].dtype).eps ** 0.6 * length


def seconds(function: Linear, direction: Sequence[Tensor]) -> tuple[float, Any]:
    """Wall time of one call, and its result."""
    device = direction[0].device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    result = function(direction)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began, result


class Choice:
    """Which way to a product is the fastest that agrees, found out when enough products are made to pay for it.

    Args:
        eager: Makes a way that needs no setting up, or None.
        record: Makes a replay, or gives None.
        names: What the two are called in results.
        after: Products, made or announced, before anything is tried.
        forward_seconds: Of one forward pass, from which the cost of a recording is predicted.

    Attributes:
        chosen: The fastest way so far; None is double backward.
        backend: Its name, "" for double backward.
    """

    def __init__(
        self,
        *,
        eager: Callable[[], Linear] | None = None,
        record: Callable[[], Linear | None],
        names: tuple[str, str] = ("", ""),
        after: float,
        forward_seconds: float = 0.0,
    ) -> None:
        self.eager, self.record, self.names = eager, record, names
        self.after, self.forward_seconds = after, forward_seconds
        self.chosen: Linear | None = None
        self.backend = ""

    def consider(self, reference: Linear, products: int, direction: Sequence[Tensor]) -> None:
        """Try the next way, if by now it would have paid.

        Args:
            reference: The product by double backward.
            products: How many are made or announced.
            direction: What the ways are compared on.
        """
        if products < self.after or not any(bool(part.any()) for part in direction):
            return
        self.after = math.inf
        now, truth = seconds(reference, direction)
        if self.eager is None:
            best = now if self.chosen is None else seconds(self.chosen, direction)[0]
            self._try(self.record, best, truth, direction, self.names[1])
            return
        way, self.eager = self.eager, None
        taken = self._try(way, now, truth, direction, self.names[0])
        if taken is not None:  # a replay saves its forward pass
            gain = min(now, taken) - max(taken - self.forward_seconds, 0.4 * taken)
            self.after = max(3.0, _SETUP * self.forward_seconds / gain) if gain > 0 else math.inf

    def _try(
        self, make: Callable[[], Linear | None], now: float, truth: Any, direction: Sequence[Tensor], name: str
    ) -> float | None:
        """Seconds of another way, which is adopted if it agrees and saves a tenth; None if it fails."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what the tracer says is not for the user
                way = make()
                if way is None:
                    return None
                way(direction)  # what the first call allocates is not counted
                taken, found = seconds(way, direction)
            if not agree(_parts(found), _parts(truth)):
                return None
        except Exception:  # whatever it stumbles over, double backward works
            return None
        if taken < 0.9 * now:
            self.chosen, self.backend = way, name
        return taken


def _parts(image: Any) -> Sequence[Tensor]:
    return [image] if isinstance(image, Tensor) else list(image)
