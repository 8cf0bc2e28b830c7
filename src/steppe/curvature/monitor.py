"""Where a training stands with respect to its stability limit."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import nn

from steppe.core import Estimate, InputError, KindError, check_choice, check_number
from steppe.plotting import Figure

from .critical import CriticalTracker
from .directions import Gradients
from .limits import StabilityLimit, stability_limit, unwrapped_optimizer
from .monitor_pages import curve_figure, save_page
from .options import ProblemOptions, refuse_unknown_options
from .pacing import Pacing
from .share import Blocks, Share, share
from .tracker import SharpnessTracker

State = Literal["below", "at", "beyond"]
Method = Literal["auto", "sharpness", "critical"]

_OWN = ("optimizer", "limit", "method", "within", "log", "rtol", "every", "budget", "overhead", "seed", "gradients")
_LARGE = 10**8  # parameters above which forward passes alone are the default
_CODES = {"below": -1.0, "at": 0.0, "beyond": 1.0}


@dataclass(frozen=True)
class Reading:
    """One reading of an edge monitor.

    Attributes:
        step: Step of the training.
        sharpness: The sharpness that the limit refers to: plain, preconditioned or critical.
        low: Lower end of what is known of it.
        high: Upper end.
        limit: The stability limit then; infinite where the step size was 0.
        margin: sharpness / limit.
        state: `"below"`, `"at"` (also where the error leaves it open) or `"beyond"`.
        layer: Module with the largest share of the top eigenvector; empty for the critical sharpness.
        layer_share: That share.
        seconds: Wall time of the reading.
    """

    step: int
    sharpness: Estimate
    low: float
    high: float
    limit: float
    margin: float
    state: State
    layer: str
    layer_share: float
    seconds: float


class EdgeMonitor:
    """Sharpness against the stability limit of the optimizer, as training goes on: "below", "at" or "beyond".

    The limit is read from the optimizer at every reading, so schedules of the step size are followed. For adaptive
    optimizers both sides are preconditioned. It is a limit here, on these samples, of the linearised full-batch
    dynamics: training usually sharpens until it meets it, hovers there, and spikes when the step size or the
    preconditioner puts it far beyond. Mini-batch noise lowers the sharpness that can be held; clipping and warm-up are
    not in it.

    It is an observer: `monitor(step, model)` returns the columns `sharpness`, `sharpness_residual`, `stability_limit`,
    `stability_margin` and `edge` (−1, 0, 1), or None between two readings.

    Args:
        model: The model, or a `SharpnessTracker` or `CriticalTracker` (then without loss and data).
        loss: As in `SharpnessTracker`.
        data: As in `SharpnessTracker`: a fixed probe batch.
        optimizer: The optimizer of the training; None needs `limit`.
        limit: The limit, for training loops without a torch optimizer, or for optimizers without a known one.
        method: `"sharpness"`: eigenvalues. `"critical"`: forward passes along the optimizer's next update, whose limit
            is 2 over the step size. `"auto"`: critical above 10⁸ parameters and for optimizers without a known limit.
        within: At the edge where sharpness and limit differ by at most this part of the limit.
        log: Called with the columns and the step at every reading, such as a run's `log`.
        rtol: As in `SharpnessTracker`.
        every: As in `SharpnessTracker`.
        budget: As in `SharpnessTracker`.
        overhead: As in `SharpnessTracker`.
        seed: As in `SharpnessTracker`.
        gradients: For `"critical"`, as in `critical_step`.
        **options: As in `SharpnessTracker`.

    Attributes:
        history: All readings.
        losses: (step, loss) of every call that was given a loss.

    Raises:
        KindError: The optimizer is none, or has no known limit where one is needed.
        InputError: Neither optimizer nor limit is given, or two trackers.
        ParameterError: A number is out of range.
    """

    def __init__(
        self,
        model: Any,
        loss: Any = None,
        data: Any = None,
        *,
        optimizer: Any = None,
        limit: float | None = None,
        method: Method = "auto",
        within: float = 0.05,
        log: Callable[[dict[str, float], int], Any] | None = None,
        rtol: float | None = None,
        every: int = 1,
        budget: float | None = None,
        overhead: float | None = None,
        seed: int = 0,
        gradients: Gradients = "compute",
        **options: Unpack[ProblemOptions],
    ) -> None:
        refuse_unknown_options("EdgeMonitor", options, *_OWN)
        self.within = check_number("within", within, minimum=0.0, below=1.0)
        self.log = log
        self._limit = None if limit is None else check_number("limit", limit, above=0.0)
        given = isinstance(model, SharpnessTracker | CriticalTracker)
        if optimizer is None and isinstance(model, SharpnessTracker):
            optimizer = model.optimizer
        self.optimizer = None if optimizer is None else unwrapped_optimizer(optimizer)
        if self.optimizer is None and limit is None:
            raise InputError("`optimizer` or `limit` must be given, got neither; pass the optimizer of the training")
        if given:
            self.source: SharpnessTracker | CriticalTracker = model
        elif self._method(method, model) == "critical":
            self.source = CriticalTracker(
                model,
                loss,
                data,
                direction=self.optimizer or "gradient",
                gradients=gradients,
                **({} if rtol is None else {"rtol": rtol}),
                **options,
            )
        else:
            adaptive = None if self._limit is not None and not self._adaptive() else self.optimizer
            self.source = SharpnessTracker(
                model, loss, data, rtol=1e-2 if rtol is None else rtol, optimizer=adaptive, seed=seed, **options
            )
        self.pacing = Pacing(every=every, budget=budget, overhead=overhead)
        if given and isinstance(model, SharpnessTracker):
            self.pacing = model.pacing
        self.history: list[Reading] = []
        self.losses: list[tuple[int, float]] = []

    @property
    def state(self) -> State | None:
        """The state at the last reading."""
        return self.history[-1].state if self.history else None

    @property
    def overhead(self) -> float:
        """Time of the readings as a share of the training's own; NaN if it was called but once."""
        return self.pacing.overhead

    def __call__(self, step: int, model: Any = None, loss: Any = None) -> dict[str, float] | None:
        """Look at the training after `step` updates; the loss, a number or scalar tensor, is only recorded."""
        if loss is not None:
            self.losses.append((step, float(loss.detach() if isinstance(loss, torch.Tensor) else loss)))
        if not self.pacing.due(step) or not self._ready():
            return None
        return self._columns(self.measure(step, model=model))

    def measure(self, step: int | None = None, *, model: Any = None) -> Reading:
        """Take a reading now, whatever the pacing. Errors are those of `sharpness` or `critical_step`."""
        number = len(self.history) if step is None else step
        before = self.pacing.measuring
        with self.pacing.spending():
            reading = self._read(number, model)
        reading = _timed(reading, self.pacing.measuring - before)
        self.history.append(reading)
        if self.log is not None:
            self.log(self._columns(reading), number)
        return reading

    def share(self, *, by: Blocks = "module") -> Share:
        """How the last top eigenvector is spread over the parameters.

        Raises:
            InputError: There is none: nothing was measured, or only the critical sharpness.
        """
        if not isinstance(self.source, SharpnessTracker) or self.source.eigenvalues is None:
            raise InputError("`share` needs an eigenvector, got none; measure first, with method='sharpness'")
        return share(self.source.eigenvalues, self.source.shapes(), by=by)

    def plot(self) -> Figure:
        """Sharpness against its dashed limit, the states, and the loss below if it was recorded."""
        return curve_figure(self.history, self.losses, within=self.within, overhead=self.overhead)

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write the plot with its sentence as one HTML file that needs nothing but itself.

        Raises:
            StoreError: The file cannot be written.
        """
        return save_page(path, self.plot(), self.sentence(), self.history)

    def sentence(self) -> str:
        """What was seen, in plain words."""
        if not self.history:
            return "Nothing was measured yet."
        words = [f"{len(self.history)} readings"]
        for state, said in (("at", "at its limit"), ("beyond", "beyond its limit")):
            first = next((reading for reading in self.history if reading.state == state), None)
            if first is not None:
                words.append(f"{said} first at step {first.step}{_where(first)}")
        last = self.history[-1]
        words.append(f"at the end {last.state} the limit, at {100 * last.margin:.3g} % of it{_where(last)}")
        if math.isfinite(self.overhead):
            words.append(f"{100 * self.overhead:.3g} % of the training time")
        return "; ".join(words) + "."

    def _method(self, method: Method, model: Any) -> str:
        check_choice("method", method, ["auto", "sharpness", "critical"])
        if method != "auto" or self.optimizer is None:
            return "sharpness" if method == "auto" else method
        if isinstance(model, nn.Module) and sum(p.numel() for p in model.parameters()) > _LARGE:
            return "critical"
        if self._limit is None:
            try:
                stability_limit(self.optimizer)
            except KindError:
                return "critical"
        # The preconditioner is read from torch's own optimizers only.
        return "sharpness" if type(self.optimizer).__module__.startswith("torch.optim") else "critical"

    def _adaptive(self) -> bool:
        return self.optimizer is not None and not isinstance(self.optimizer, torch.optim.SGD)

    def _ready(self) -> bool:
        return not isinstance(self.source, SharpnessTracker) or self.source.ready

    def _read(self, step: int, model: Any) -> Reading:
        target = self.source.model if model is None else model
        if isinstance(self.source, SharpnessTracker):
            found = self.source._measure(target, step)
            check = self.source.history[-1]
            low, high = found.value - check.accuracy, found.value + check.accuracy
            spread = share(self.source.eigenvalues, self.source.shapes(target), by="module")
            layer, part = spread.top, spread[spread.top]
        else:
            self.source.model = target
            found = self.source.measure()
            low, high = self.source.interval
            layer, part = "", math.nan
        limit = self._limit_now()
        return Reading(
            step=step,
            sharpness=found,
            low=low,
            high=high,
            limit=limit,
            margin=found.value / limit,
            state=_state(low, high, limit, self.within),
            layer=layer,
            layer_share=part,
            seconds=0.0,
        )

    def _limit_now(self) -> float:
        """The limit that belongs to the source's number."""
        if self._limit is not None:
            return self._limit
        if isinstance(self.source, CriticalTracker):
            rates = [float(group["lr"]) for group in self.optimizer.param_groups] if self.optimizer else []
            return 2 / max(rates) if max(rates, default=0.0) > 0 else math.inf
        found: StabilityLimit = stability_limit(self.optimizer)
        if found.preconditioned and self.source.step_size and found.step_size:
            return float(found) * found.step_size / self.source.step_size
        return float(found)

    @staticmethod
    def _columns(reading: Reading) -> dict[str, float]:
        columns = {
            "sharpness": reading.sharpness.value,
            "sharpness_residual": reading.sharpness.error,
            "stability_limit": reading.limit,
            "stability_margin": reading.margin,
            "edge": _CODES[reading.state],
        }
        return {name: value for name, value in columns.items() if math.isfinite(value)}


def _state(low: float, high: float, limit: float, within: float) -> State:
    if high < limit * (1 - within) or math.isinf(limit):
        return "below"
    return "beyond" if low > limit * (1 + within) else "at"


def _where(reading: Reading) -> str:
    """Which layer carries it."""
    share = f"{100 * reading.layer_share:.0f} % of the top eigenvector" if math.isfinite(reading.layer_share) else ""
    return f" ({share or 'most of it'} in {reading.layer})" if reading.layer else ""


def _timed(reading: Reading, seconds: float) -> Reading:
    return Reading(**{**vars(reading), "seconds": seconds})
