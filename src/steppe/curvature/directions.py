"""The direction in which parameters are about to move: the gradient, an optimizer's next update, given tensors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from steppe.core import ComputationError, InputError, KindError, ShapeError, UnknownNameError

from .limits import unwrapped_optimizer

Gradients = Literal["compute", "stored"]


class Direction:
    """A step: θ ← θ − η d for the parameters that move.

    Args:
        parts: d by parameter name.
        slope: ∇L·d where it is known without further work, else None.
        step_size: The η that the optimizer would take, or None.
        words: What d is, for results.
    """

    def __init__(
        self, parts: dict[str, Tensor], *, slope: float | None, step_size: float | None = None, words: str
    ) -> None:
        self.parts, self.slope, self.step_size, self.words = parts, slope, step_size, words


def find_direction(
    direction: Any,
    chosen: Mapping[str, nn.Parameter],
    gradient_of: Callable[[], list[Tensor]],
    *,
    gradients: Gradients,
) -> Direction:
    """The direction that `critical_step` was asked for.

    Args:
        direction: `"gradient"`, an optimizer, or tensors by name or in the order of the parameters.
        chosen: The parameters that may move.
        gradient_of: Computes the gradient in them.
        gradients: Whether to call it, or to take what `.grad` holds.

    Raises:
        KindError: It is none of these.
        InputError: A stored gradient is missing, the tensors are zero, or the optimizer is of another model.
        ComputationError: The gradient or the optimizer's next update is zero.
    """
    if isinstance(direction, str):
        if direction != "gradient":
            raise UnknownNameError(f"`direction` must be 'gradient', an optimizer or tensors, got {direction!r}")
        found = _gradient(chosen, gradient_of, gradients)
        if not any(bool(part.any()) for part in found):
            raise ComputationError("the gradient is zero here, which is no direction; pass another one")
        return Direction(dict(zip(chosen, found, strict=True)), slope=_dot(found, found), words="along the gradient")
    if isinstance(direction, Mapping | Sequence):
        return _given(direction, chosen)
    optimizer = unwrapped_optimizer(direction)
    found = _gradient(chosen, gradient_of, gradients)
    return _next_update(optimizer, chosen, found)


def _gradient(
    chosen: Mapping[str, nn.Parameter], gradient_of: Callable[[], list[Tensor]], gradients: Gradients
) -> list[Tensor]:
    if gradients == "compute":
        return gradient_of()
    missing = [name for name, parameter in chosen.items() if parameter.grad is None]
    if missing:
        raise InputError(
            f"`gradients`='stored' needs the .grad of every parameter, got none on {missing[0]!r}; call backward() "
            "first, or pass gradients='compute'"
        )
    return [parameter.grad.detach() for parameter in chosen.values() if parameter.grad is not None]


def _given(direction: Any, chosen: Mapping[str, nn.Parameter]) -> Direction:
    if isinstance(direction, Mapping):
        unknown = [name for name in direction if name not in chosen]
        if unknown:
            raise UnknownNameError(f"`direction` names {unknown[0]!r}, which is no parameter that may move; drop it")
        named = dict(direction)
    else:
        if len(direction) != len(chosen):
            raise ShapeError(
                f"`direction` must hold one tensor per parameter, {len(chosen)}, got {len(direction)}; pass a dict"
            )
        named = dict(zip(chosen, direction, strict=True))
    for name, part in named.items():
        if not isinstance(part, Tensor):
            raise KindError(f"`direction` must hold tensors, got {type(part).__name__} for {name!r}; pass tensors")
        if part.shape != chosen[name].shape:
            raise ShapeError(
                f"`direction` of {name!r} must have shape {list(chosen[name].shape)}, got {list(part.shape)}; reshape"
            )
    parts = {name: part.detach().to(chosen[name]) for name, part in named.items()}
    if not any(bool(part.any()) for part in parts.values()):
        raise InputError("`direction` must not be zero, got zeros only; pass the update that is to come")
    return Direction(parts, slope=None, words="along given tensors")


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float | None:
    """Their inner product; None for tensors of subclasses, which may be parts of a whole on other processes."""
    if any(type(part) not in (Tensor, nn.Parameter) or part.is_sparse for part in (*first, *second)):
        return None
    return sum(float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True))


def _next_update(
    optimizer: torch.optim.Optimizer, chosen: Mapping[str, nn.Parameter], gradient: list[Tensor]
) -> Direction:
    """What `optimizer.step()` would do with this gradient, per unit of step size; everything is put back."""
    rates = [float(group["lr"]) for group in optimizer.param_groups if group["params"] and "lr" in group]
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not owned & {id(parameter) for parameter in chosen.values()}:
        raise InputError(
            "`direction` must be an optimizer of the model's parameters, got one that holds none of them; rebuild it "
            "after moving or compiling the model"
        )
    unit = max(rates, default=1.0)
    with untouched_optimizer(optimizer) as before:
        if unit == 0:  # the first step of a warm-up: the direction is that of any other step size
            unit = 1.0
            for group in optimizer.param_groups:
                group["lr"] = 1.0
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        for parameter, part in zip(chosen.values(), gradient, strict=True):
            parameter.grad = part.clone()  # the update may work on the gradient in place
        try:
            optimizer.step()
        except TypeError as error:
            raise KindError(
                f"`direction` must be an optimizer whose step() needs no closure, got {type(optimizer).__name__}; "
                "pass 'gradient' or tensors"
            ) from error
        parts = {
            name: (before[id(parameter)] - parameter.detach()) / unit
            for name, parameter in chosen.items()
            if id(parameter) in before
        }
    if not any(bool(part.any()) for part in parts.values()):
        raise ComputationError(
            "the optimizer's next update is zero; its gradients vanish, or the update is below the parameters' rounding"
        )
    slope = _dot(
        [part for name, part in zip(chosen, gradient, strict=True) if name in parts],
        list(parts.values()),
    )
    words = f"along the next update of {type(optimizer).__name__}"
    return Direction(parts, slope=slope, step_size=max(rates, default=None), words=words)


@contextmanager
def untouched_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[dict[int, Tensor]]:
    """A context in which an optimizer may step: parameters, gradients, state and counters are put back bit for bit.

    Hooks of the optimizer do not run inside. It costs a copy of the parameters and of the optimizer's state, and
    yields these copies by the identity of what they are copies of.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    grads = [parameter.grad for parameter in parameters]
    tensors: dict[int, tuple[Tensor, Tensor]] = {}
    thaw = _frozen(vars(optimizer), tensors)
    with torch.no_grad(), preserved_versions([tensor for tensor, _ in tensors.values()]):
        try:
            for name, value in vars(optimizer).items():
                if name.endswith("_hooks") and isinstance(value, dict):
                    value.clear()
            yield {key: copy for key, (_, copy) in tensors.items()}
        finally:
            thaw()
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad


@contextmanager
def preserved_versions(tensors: Sequence[Tensor]) -> Iterator[None]:
    """A context after which autograd takes these tensors for unchanged, because bit for bit they are."""
    kept = [tensor for tensor in tensors if not tensor.is_inference()]
    with _unsafe_preserve_version_counter(tuple(kept)):
        yield


def _frozen(value: Any, tensors: dict[int, tuple[Tensor, Tensor]]) -> Callable[[], Any]:
    """What puts `value` back as it is now: containers and tensors in place, other objects by reference."""
    if isinstance(value, Tensor):
        if id(value) in tensors:
            return lambda: value
        copy, flag = value.detach().clone(), value.requires_grad
        tensors[id(value)] = value, copy
        return lambda: _restored(value, copy, requires_grad=flag)
    if isinstance(value, dict):
        entries = {key: _frozen(entry, tensors) for key, entry in value.items()}
        return lambda: _refilled(value, entries)
    if isinstance(value, list):
        items = [_frozen(item, tensors) for item in value]
        return lambda: _relisted(value, items)
    if isinstance(value, tuple):
        parts = [_frozen(item, tensors) for item in value]
        return lambda: ([thaw() for thaw in parts], value)[1]
    return lambda: value


def _restored(value: Tensor, copy: Tensor, *, requires_grad: bool) -> Tensor:
    if value.shape != copy.shape:
        value.data = copy
    else:
        value.detach().copy_(copy)
    return value.requires_grad_(requires_grad) if value.is_leaf and value.is_floating_point() else value


def _refilled(value: dict[Any, Any], entries: dict[Any, Callable[[], Any]]) -> dict[Any, Any]:
    restored = {key: thaw() for key, thaw in entries.items()}
    value.clear()
    value.update(restored)
    return value


def _relisted(value: list[Any], items: list[Callable[[], Any]]) -> list[Any]:
    value[:] = [thaw() for thaw in items]
    return value
