"""The step at which the loss stops falling, by forward passes alone."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Unpack

import torch
from torch import nn

from steppe.core import (
    Batches,
    ComputationError,
    Estimate,
    KindError,
    Objective,
    check_choice,
    check_integer,
    check_number,
)

from .bracket import Bracket
from .directions import Direction, Gradients, find_direction
from .forwards import Forwards, resharded
from .options import ProblemOptions, refuse_unknown_options
from .selection import select_parameters

_OWN = ("direction", "gradients", "max_forwards", "rtol", "start", "reduce")
_SOURCE = "Critical sharpness, arXiv:2601.16979"


def critical_step(
    model: Any,
    loss: Any,
    data: Any,
    *,
    direction: Any = "gradient",
    gradients: Gradients = "compute",
    max_forwards: int = 10,
    rtol: float = 1e-2,
    start: float | None = None,
    reduce: Callable[[float], float] | None = None,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The smallest step η > 0 at which the loss rises: L(θ − ηd) > L(θ), by at most ten forward passes.

    On a quadratic it is 2 ∇L·d / d·Hd, along an eigenvector 2/λ, so that 2/η is a sharpness: the critical sharpness.
    Only the loss is evaluated, by the kernels that training uses (flash attention, compiled, sharded, quantised
    optimizers), so it works where second derivatives do not exist, and costs the memory of two copies of the
    parameters. The loss is without decay terms.

    The step is bracketed and the bracket closed by interpolation and bisection. Between two evaluated steps the loss
    is not seen: a rise and fall between them is missed.

    Args:
        model: A module; its parameters are moved and put back bit for bit, and nothing else of it changes.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, or a re-iterable of batches, which are held in memory.
        direction: d: `"gradient"`; a torch optimizer, whose next update from its present state is −ηd with η the step
            size (the largest of its groups); or tensors by name or in the order of the parameters.
        gradients: `"compute"`: the gradient that `"gradient"` and an optimizer need comes from one backward pass over
            `data`. `"stored"`: it is what `.grad` holds, such as between backward() and step(); no backward pass.
            Sharded models need it.
        max_forwards: Passes over the data allowed, ≥ 3.
        rtol: Converged when half the bracket is at most this part of its middle.
        start: A first guess, such as the last critical step; four or five passes then suffice. None is the optimizer's
            step size, or twice Polyak's step.
        reduce: Sums a number over processes that hold parts of the data and go through this together.
        **options: `parameters`, `weight`, `objective`, as in `ProblemOptions`; the others are held fixed.

    Returns:
        The middle of the bracket and half its width: the loss does not exceed L(θ) at its lower end and does at its
        upper end. Where the loss never rose, the largest step tried, not converged.

    Raises:
        SteppeError: As `hessian`; the direction is of another kind or zero.
        ComputationError: The loss does not change when the parameters move.

    Example:
        >>> model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        >>> x = torch.full((4, 1), 2.0, dtype=torch.float64)
        >>> found = critical_step(model, nn.MSELoss(), (x, 0 * x))  # L = 4 w², λ = 8
        >>> abs(found.value - 2 / 8) <= found.error <= 0.01 / 4
        True
    """
    refuse_unknown_options("critical_step", dict(options), *_OWN)
    began = time.perf_counter()
    check_choice("gradients", gradients, ["compute", "stored"])
    limit = check_integer("max_forwards", max_forwards, minimum=3)
    rtol = check_number("rtol", rtol, above=0.0, below=1.0)
    first = None if start is None else check_number("start", start, above=0.0)
    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch module, got {type(model).__name__}; pass a module")
    objective = Objective(loss, objective=options.get("objective"))
    forwards = Forwards(
        model, objective, Batches(data, weight=options.get("weight"), pairs=objective.separate), reduce=reduce
    )
    resharded(model)
    chosen = select_parameters(model, options.get("parameters"))
    line = find_direction(direction, chosen, lambda: forwards.gradient(list(chosen.values())), gradients=gradients)
    with forwards.along(chosen, line):
        origin = forwards.loss(0.0)
        eps = torch.finfo(next(iter(chosen.values())).dtype).eps
        bracket = Bracket(
            lambda step: forwards.loss(step) - origin, slope=line.slope, noise=2 * eps * abs(origin), rtol=rtol
        )
        if line.slope is None or line.slope > 0:
            bracket.search(_first(first, line, origin), limit - 1)
    steps = [quotient for step, quotient in bracket.quotients.items() if step > 0]
    if steps and not any(steps):
        raise ComputationError(
            "the loss does not change at all when the parameters move; a wrapper may hold copies of them, or the loss "
            "does not depend on them: pass the module that owns the parameters"
        )
    return replace(_estimate(bracket, forwards, line), seconds=time.perf_counter() - began)


def critical_sharpness(model: Any, loss: Any = None, data: Any = None, **keywords: Any) -> Estimate:
    """Critical sharpness 2/η: a sharpness along the direction of training, by at most ten forward passes.

    η is `critical_step` with the same arguments. For a quadratic along an eigenvector it is that eigenvalue; along the
    gradient it is dᵀHd/dᵀd, at most the sharpness. Training with step size η₀ stops descending where it exceeds 2/η₀.

    Args:
        model: As in `critical_step`.
        loss: As in `critical_step`.
        data: As in `critical_step`.
        **keywords: Those of `critical_step`.

    Returns:
        The middle of the interval from 2 over the upper to 2 over the lower end of the bracket, and half its width.

    Raises:
        SteppeError: As `critical_step`.
    """
    refuse_unknown_options("critical_sharpness", _foreign(keywords), *_OWN)
    return as_sharpness(critical_step(model, loss, data, **keywords))


def as_sharpness(step: Estimate) -> Estimate:
    """2 over a critical step, with the interval that follows from its bracket."""
    low, high = step.interval()
    kind: Literal["bound", "none"]
    if step.error_kind == "none" or low <= 0:
        largest = max(high, step.value)  # 0 where the direction does not descend: no step is small enough
        value, error, kind = 2 / largest if largest > 0 else math.inf, math.nan, "none"
    else:
        value, error, kind = 1 / low + 1 / high, 1 / low - 1 / high, "bound"
    return replace(step, value=value, error=error, error_kind=kind, quantity="critical sharpness")


def sharpness_interval(step: Estimate) -> tuple[float, float]:
    """Where the critical sharpness lies that belongs to a critical step; ends may be 0 and infinite."""
    if step.error_kind == "none":  # the loss never rose
        return 0.0, 2 / step.value if step.value > 0 else math.inf
    low, high = step.interval()
    return 2 / high if high > 0 else math.inf, 2 / low if low > 0 else math.inf


class CriticalTracker:
    """Critical sharpness again and again while a model trains, by forward passes; each call starts from the last step.

    For models whose second derivatives cost too much or do not exist. A warm call takes four to five passes.

    Args:
        model: The module.
        loss: As in `critical_step`.
        data: A fixed batch, or a few.
        direction: As in `critical_step`; the optimizer of the training, usually.
        **keywords: Those of `critical_step`.

    Attributes:
        last: The last critical sharpness, or None.
        interval: Where it lies; (value, inf) where the loss rose at every step tried, (0, value) where it never rose.
    """

    def __init__(self, model: Any, loss: Any, data: Any, *, direction: Any = "gradient", **keywords: Any) -> None:
        refuse_unknown_options("CriticalTracker", _foreign(keywords), *_OWN)
        self.model, self.loss, self.data = model, loss, data
        self.direction, self._keywords = direction, keywords
        self.last: Estimate | None = None
        self.interval = (0.0, math.inf)
        self._step: float | None = None

    def measure(self) -> Estimate:
        """Critical sharpness now. Errors are those of `critical_step`."""
        step = critical_step(
            self.model, self.loss, self.data, direction=self.direction, **{"start": self._step} | self._keywords
        )
        self._step = step.value if step.value > 0 and math.isfinite(step.value) else None
        self.last, self.interval = as_sharpness(step), sharpness_interval(step)
        return self.last


def _foreign(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keywords.items() if name not in _OWN}


def _first(start: float | None, line: Direction, origin: float) -> float:
    """The first step: the caller's, the optimizer's, or where a quadratic with minimum 0 along the line would rise."""
    if start is not None:
        return start
    if line.step_size:
        return line.step_size
    if line.slope is not None and line.slope > 0 and origin > 0:
        return 4 * origin / line.slope
    return 1.0


def _estimate(bracket: Bracket, forwards: Forwards, line: Direction) -> Estimate:
    low, high = bracket.below, bracket.above
    passes = f"{forwards.passes} forward passes"
    kind: Literal["bound", "none"]
    if not math.isfinite(high):
        value, error, kind = low, math.nan, "none"
        reason = f"the loss did not rise up to step {low:.3g} ({passes}); the critical step is larger"
        if line.slope is not None and line.slope <= 0:
            value, error, kind = 0.0, 0.0, "bound"
            reason = "the loss rises from the first: not a direction of descent"
    else:
        value, error, kind = 0.5 * (low + high), 0.5 * (high - low), "bound"
        reason = f"bracket [{low:.6g}, {high:.6g}] by {passes}"
        if low == 0:
            reason = f"the loss rises at every step tried, down to {high:.3g} ({passes})"
        elif not bracket.closed:
            reason += "; raise `max_forwards` or pass `start`"
    return Estimate(
        value=value,
        error=error,
        error_kind=kind,
        converged=bracket.closed,
        reason=reason,
        backend="forward passes",
        convention=f"{forwards.convention}, {line.words}",
        source=_SOURCE,
        quantity="critical step",
    )
