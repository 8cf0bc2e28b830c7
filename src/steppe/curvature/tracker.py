"""Sharpness along a training."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor

from steppe.core import Estimate, InputError, check_integer
from steppe.linalg import Eigenvalues, SymmetricOperator, Warm

from .extremes import sharpness_estimate
from .limits import unwrapped_optimizer
from .operators import build
from .options import ProblemOptions, refuse_unknown_options
from .pacing import Pacing
from .preconditioned import preconditioned
from .selection import select_parameters, unwrapped

_OWN = ("rtol", "every", "budget", "overhead", "optimizer", "seed")


@dataclass(frozen=True)
class Check:
    """One check of a tracker.

    Attributes:
        step: The step of the training, or the number of the check.
        value: The largest Ritz value, from which the sharpness can only differ upwards.
        residual: ‖H y − value·y‖: some eigenvalue lies within it.
        gap: Estimated distance to the next eigenvalue, NaN if unknown.
        accuracy: Error that is claimed: residual²/gap (Kato–Temple) where the gap allows it, else the residual.
        products: Operator–vector products.
        seconds: Wall time, building the operator included.
        converged: Whether the residual met the tolerance.
        reason: Why the check stopped.
    """

    step: int
    value: float
    residual: float
    gap: float
    accuracy: float
    products: int
    seconds: float
    converged: bool
    reason: str

    def claims(self, rtol: float = 1e-3) -> bool:
        """Whether the claimed accuracy is at most rtol·|value|."""
        return self.accuracy <= rtol * abs(self.value)


class SharpnessTracker:
    """Sharpness measured again and again while a model trains; each check starts from the last eigenvector.

    A warm check costs about two products. Because a warm start alone could follow an eigenvalue that has been
    overtaken, a challenger is kept and moved whenever there are products to spare. The first check is cold. Use a
    fixed probe batch: on another batch at every check the curve shows the noise of the batches.

    It is an observer: `tracker(step, model)` returns `{"sharpness": …, "sharpness_residual": …}`, or None.

    Args:
        model: The model, measured at its parameters at the time.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        rtol: Converged when the residual is at most rtol·|value|; at 10⁻² the value is right to 10⁻³ if the gap to the
            next eigenvalue is at least a tenth of it (Kato–Temple).
        every: As an observer, measure at steps divisible by this and return None otherwise.
        budget: Seconds that an observer may measure in all; then it returns None.
        overhead: Share of the training's time that an observer may take, such as 0.05; checks become rarer.
        optimizer: The optimizer of the training. If it is adaptive, the preconditioned sharpness is followed: the
            largest eigenvalue of P^(-1/2) (H + D) P^(-1/2), with D its coupled weight decay. As an observer it returns
            None before the optimizer's first step.
        seed: Seed of the random directions.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`.

    Attributes:
        last: The last estimate, or None.
        history: One `Check` per measurement.
        pacing: What was spent on measuring, and what on training.

    Raises:
        ParameterError: A number is out of range.
        KindError: A keyword is not known, or the optimizer is none.

    Example:
        >>> from steppe.core import SquaredLoss
        >>> from steppe.networks import ShallowReLU
        >>> network, x = ShallowReLU(3, 2, init="zeros"), torch.ones(4, 3, dtype=torch.float64)
        >>> tracker = SharpnessTracker(network, SquaredLoss(), (x, 0 * x[:, :1]))
        >>> round(float(tracker.measure()), 12), tracker.history[0].converged
        (1.0, True)
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        data: Any,
        *,
        rtol: float = 1e-2,
        every: int = 1,
        budget: float | None = None,
        overhead: float | None = None,
        optimizer: Any = None,
        seed: int = 0,
        **options: Unpack[ProblemOptions],
    ) -> None:
        refuse_unknown_options("SharpnessTracker", options, *_OWN)
        self.pacing = Pacing(every=every, budget=budget, overhead=overhead)
        self._warm = Warm(rtol, seed=check_integer("seed", seed, minimum=0))
        self.model, self.loss, self.data = model, loss, data
        self.optimizer = None if optimizer is None else unwrapped_optimizer(optimizer)
        self._options = options
        self.last: Estimate | None = None
        self.eigenvalues: Eigenvalues | None = None
        self.history: list[Check] = []
        self.step_size: float | None = None  # that the preconditioner refers to

    @property
    def preconditioned(self) -> bool:
        """Whether the preconditioned sharpness is followed."""
        return self.optimizer is not None and not isinstance(self.optimizer, torch.optim.SGD)

    @property
    def ready(self) -> bool:
        """Whether there is something to measure: an adaptive optimizer has no preconditioner before its first step."""
        return not self.preconditioned or bool(self.optimizer is not None and self.optimizer.state)

    @property
    def vector(self) -> Tensor | None:
        """The last eigenvector [p], of the preconditioned matrix if that is followed."""
        return None if self.eigenvalues is None else self.eigenvalues.vectors[:, 0]

    def shapes(self, model: Any = None) -> dict[str, torch.Size]:
        """Shapes of the variables by name, in the order of the eigenvector's entries."""
        chosen = select_parameters(unwrapped(self.model if model is None else model), self._options.get("parameters"))
        return {name: parameter.shape for name, parameter in chosen.items()}

    def measure(self, step: int | None = None) -> Estimate:
        """Sharpness now, whatever the pacing; `step` is noted in the history. Errors are those of `sharpness`."""
        with self.pacing.spending():
            return self._measure(self.model, step)

    def __call__(self, step: int, model: Any) -> dict[str, float] | None:
        """Sharpness of `model` as columns of a history, or None between two checks."""
        if not self.pacing.due(step) or not self.ready:
            return None
        with self.pacing.spending():
            found = self._measure(model, step)
        return {"sharpness": found.value, "sharpness_residual": found.error}

    def _measure(self, model: Any, step: int | None) -> Estimate:
        began = time.perf_counter()
        operator = self._operator(model)
        try:
            found = self._warm.update(operator)
        except Exception:
            self._warm.reset()  # vectors of a point that failed are no start for the next one
            raise
        self.eigenvalues = found
        seconds = time.perf_counter() - began
        quantity = "preconditioned sharpness" if self.preconditioned else "sharpness"
        self.last = replace(sharpness_estimate(found, "Hessian"), seconds=seconds, quantity=quantity)
        self.history.append(_check(found, len(self.history) if step is None else step, seconds))
        return self.last

    def _operator(self, model: Any) -> SymmetricOperator:
        """The operator at the parameters of now; two evaluations are compared at the first check only."""
        first = not self.history
        if not self.preconditioned:
            return build(model, self.loss, self.data, kind="Hessian", check=first, **self._options)
        if not self.ready:
            raise InputError(
                "`optimizer` must have taken a step before its preconditioned sharpness is measured, got an optimizer "
                "without state; call step() first"
            )
        operator = preconditioned(
            model, self.loss, self.data, optimizer=self.optimizer, decay=True, check=first, **self._options
        )
        self.step_size = operator.step_size
        return operator

    def __iter__(self) -> Iterator[Check]:
        return iter(self.history)


def _check(found: Eigenvalues, step: int, seconds: float) -> Check:
    residual, gap = float(found.residuals[0]), float(found.gaps[0])
    sharper = float(found.kato_temple[0])
    return Check(
        step=step,
        value=float(found.values[0]),
        residual=residual,
        gap=gap,
        accuracy=min(residual, sharper) if math.isfinite(sharper) else residual,
        products=found.products,
        seconds=seconds,
        converged=found.converged,
        reason=found.reason,
    )
