"""Sharpness along a training."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from steppe.core import Estimate, check_integer, check_number, refuse_unknown_keywords
from steppe.linalg import extreme_eigenvalues

from .extremes import sharpness_estimate
from .operators import build

_CONFIRM_EVERY = 10  # warm checks between two that are joined by a random companion


class SharpnessTracker:
    """Sharpness measured again and again while a model trains; each check starts from the last eigenvector.

    A warm check costs about two products. Because a warm start alone could follow an eigenvalue that has been
    overtaken, every tenth check is joined by a random vector (about six products more). The first check is cold.

    It is an observer: `tracker(step, model)` returns `{"sharpness": …, "sharpness_residual": …}`.

    Args:
        model: The model, measured at its parameters at the time.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        rtol: Converged when the residual is at most rtol·|value|; at 10⁻² the value is right to 10⁻³ if the gap to the
            next eigenvalue is at least a tenth of it (Kato–Temple).
        every: As an observer, measure at steps divisible by this and return None otherwise.
        seed: Seed of the random directions.
        weight: As in `hessian`.
        objective: As in `hessian`.

    Attributes:
        last: The last estimate, or None.

    Raises:
        ParameterError: A number is out of range.
        KindError: A keyword is not known.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        data: Any,
        *,
        rtol: float = 1e-2,
        every: int = 1,
        seed: int = 0,
        weight: Any = None,
        objective: Callable[..., Any] | None = None,
        **unknown: Any,
    ) -> None:
        refuse_unknown_keywords("SharpnessTracker", unknown, ["rtol", "every", "seed", "weight", "objective"])
        self.rtol = check_number("rtol", rtol, above=0.0)
        self.every = check_integer("every", every, minimum=1)
        self.seed = check_integer("seed", seed, minimum=0)
        self.model, self.loss, self.data = model, loss, data
        self._options = {"weight": weight, "objective": objective}
        self.last: Estimate | None = None
        self._vector: Tensor | None = None
        self._checks = 0

    def measure(self) -> Estimate:
        """Sharpness now. Errors are those of `sharpness`."""
        return self._measure(self.model)

    def __call__(self, step: int, model: Any) -> dict[str, float] | None:
        """Sharpness of `model` as columns of a history, or None between two checks."""
        if step % self.every:
            return None
        found = self._measure(model)
        return {"sharpness": found.value, "sharpness_residual": found.error}

    def _measure(self, model: Any) -> Estimate:
        began = time.perf_counter()
        # Two evaluations are compared at the first check only.
        operator = build(model, self.loss, self.data, kind="Hessian", check=self._checks == 0, **self._options)
        fits = self._vector is not None and self._vector.shape[0] == operator.shape[0]
        confirm = None if not fits or self._checks % _CONFIRM_EVERY == 0 else False
        found = extreme_eigenvalues(
            operator,
            rtol=self.rtol,
            start=self._vector if fits else None,
            seed=self.seed + self._checks,
            confirm=confirm,
        )
        self._checks += 1
        self._vector = found.vectors[:, 0] if found.residuals.isfinite().all() else None
        self.last = replace(sharpness_estimate(found, "Hessian"), seconds=time.perf_counter() - began)
        return self.last
