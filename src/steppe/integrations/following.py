"""What the callbacks of all trainers share: when to measure, on what, and what happens to the numbers."""

import logging
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

from torch import nn

from steppe.core import Estimate, check_choice, check_integer, check_number, refuse_unknown_keywords
from steppe.curvature import EdgeMonitor, Reading

from .surroundings import measuring, on_device_of, refuse_sharded, words

_LOG = logging.getLogger("steppe.integrations")
_PASSED_ON = (
    "parameters", "weight", "memory", "limit", "rtol", "within", "method", "seed", "budget", "overhead",
)  # fmt: skip
_SHARE = 0.05  # of the training time, where neither a period nor a share is asked for


class Following(TypedDict, total=False):
    """How a training is followed: the keywords of every callback.

    Args:
        every: Measure at optimizer steps divisible by this.
        overhead: Share of the training time that measuring may take, such as 0.05: a check waits until it can be
            afforded. 0.05 if neither this nor `every` is given.
        budget: Seconds that all checks may take.
        probe: A fixed batch, or a list of batches, to measure on; or how many of the first training batches to keep
            for that (1).
        samples: Keep only the first samples of each training batch that is kept.
        loss: `loss(outputs, targets) -> scalar`; None is the trainer's own loss.
        objective: `objective(model, batch) -> scalar`, for anything else.
        parameters: Names or globs of the parameters to follow; None is all that require a gradient.
        weight: Of a batch, as in `steppe.curvature.hessian`.
        memory: Bytes that the graphs of a check may take; None is half of what is free.
        limit: The stability limit, for an optimizer without a known one.
        method: `"sharpness"`, `"critical"` (forward passes only) or `"auto"`: critical above 10^8 parameters.
        rtol: Relative residual at which a check has converged.
        within: How far from the limit, relative to it, the state is still "at".
        log: `log(dict, step)` for the numbers, beside the trainer's own logger.
        prefix: Put before the names of the numbers in the trainer's logger, such as `"edge/"`.
        html: Where to write a page with the curve when the training ends.
        strict: Whether an error while measuring ends the training. It is a warning otherwise, once, and the training
            goes on without further checks.
        seed: Seed of the random directions.
    """

    every: int | None
    overhead: float | None
    budget: float | None
    probe: Any
    samples: int | None
    loss: Callable[..., Any] | None
    objective: Callable[..., Any] | None
    parameters: str | Sequence[str] | None
    weight: Any
    memory: int | None
    limit: float | None
    method: Literal["auto", "sharpness", "critical"]
    rtol: float
    within: float
    log: Callable[[dict[str, Any], int], Any] | None
    prefix: str
    html: str | os.PathLike[str] | None
    strict: bool
    seed: int


class Follower:
    """Measures a model in training on a fixed probe, again and again, and never lets an error end the training.

    Args:
        name: What warnings call it.
        options: See `Following`.

    Attributes:
        rows: One dict per check: `step`, `sharpness`, `limit`, `margin` = sharpness/limit, `state`, `layer` and more.
        losses: Pairs (step, training loss) that the trainer reported.
        convention: What is measured, in words; empty before the first check.
        stopped: Why there are no further checks, or empty.
        monitor: What measures; None before the probe is there.
    """

    def __init__(self, name: str, options: Following) -> None:
        known = Following.__annotations__
        refuse_unknown_keywords(name, {key: value for key, value in options.items() if key not in known}, [*known])
        self.name, self.options = name, _checked(options)
        self.rows: list[dict[str, Any]] = []
        self.losses: list[tuple[int, float]] = []
        self.convention = self.stopped = ""
        self.monitor: EdgeMonitor | None = None
        self._kept: list[Any] = []
        self._of: tuple[int, int] = (0, 0)

    @property
    def prefix(self) -> str:
        """Put before the names of numbers in a logger."""
        return self.options.get("prefix", "")

    @property
    def wants(self) -> bool:
        """Whether a training batch is still to be kept."""
        probe = self.options.get("probe", 1)
        return isinstance(probe, int) and len(self._kept) < probe and not self.stopped

    def keep(self, batch: Any) -> None:
        """Keep a copy of a training batch."""
        self._kept.append(batch)

    def resume(self, rows: Sequence[dict[str, Any]], losses: Sequence[Sequence[float]]) -> None:
        """Go on after the rows and losses of an earlier part of the run; there are none in a new run."""
        self.rows[:] = [dict(row) for row in rows]
        self.losses[:] = [(int(step), float(loss)) for step, loss in losses]
        self.monitor = None

    def measure(
        self, step: int, model: nn.Module, optimizer: Any, *, objective: Callable[..., Any] | None = None
    ) -> dict[str, Any] | None:
        """The row of this step if it is time, else None; called after every step of the optimizer.

        Args:
            step: Optimizer steps done.
            model: The module that trains.
            optimizer: The optimizer that trains it.
            objective: The trainer's own loss, if the model does not return it.
        """
        if self.stopped or self.wants:
            return None
        try:
            monitor = self._ready(model, optimizer, objective)
            if not monitor.pacing.due(step):
                return None
            with measuring(model):
                if monitor(step, model) is None:
                    return None
            row = _row(monitor.history[-1], monitor.overhead)
            self.convention = f"{monitor.history[-1].sharpness.convention}; {words(model)}"
            self._tell(row)
        except Exception as error:
            self.give_up(error)
            return None
        return row

    def give_up(self, error: Exception) -> None:
        """Say why there will be no further checks, or raise it if errors are to end the training."""
        if self.options.get("strict", False):
            raise error
        self.stopped = f"{type(error).__name__}: {error}"
        self._kept.clear()
        warnings.warn(
            f"{self.name} stopped measuring, and the training goes on: {self.stopped}", RuntimeWarning, stacklevel=3
        )

    def finish(self) -> None:
        """Write the page, if one is asked for and there is something on it."""
        path = self.options.get("html")
        if path is None or self.monitor is None or not self.monitor.history:
            return
        try:
            self.monitor.losses[:] = self.losses
            self.monitor.save_html(path)
        except Exception as error:
            self.give_up(error)

    def _ready(self, model: nn.Module, optimizer: Any, objective: Callable[..., Any] | None) -> EdgeMonitor:
        """The monitor of this model and optimizer."""
        if self.monitor is None or self._of != (id(model), id(optimizer)):
            refuse_sharded(model)
            options = self.options
            probe = options.get("probe", 1)
            own = options.get("loss") is None and options.get("objective") is None
            more: dict[str, Any] = {
                key: options[key]  # type: ignore[literal-required]  # a table of its keys
                for key in _PASSED_ON
                if key in options
            }
            self.monitor = EdgeMonitor(
                model,
                options.get("loss"),
                on_device_of(model, self._kept if isinstance(probe, int) else probe),
                optimizer=optimizer,
                objective=objective if own else options.get("objective"),
                every=options.get("every") or 1,
                **more,
            )
            self.monitor.history.extend(_reading(row) for row in self.rows)
            self._of = (id(model), id(optimizer))
        return self.monitor

    def numbers(self, row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Those of a row under their names in a logger; an infinite limit is left out, since JSON cannot hold it."""
        known = {name: row[name] for name in names if not isinstance(row[name], float) or math.isfinite(row[name])}
        return {self.prefix + name: value for name, value in known.items()}

    def _tell(self, row: dict[str, Any]) -> None:
        before = self.rows[-1]["state"] if self.rows else "below"
        self.rows.append(row)
        if row["state"] == "beyond" and before != "beyond":
            where = (
                f"; {100 * row['layer_share']:.0f} % of its direction lies in {row['layer']}" if row["layer"] else ""
            )
            _LOG.warning(
                "step %d: sharpness %.3g is beyond its limit %.3g (margin %.2f)%s",
                *(row[name] for name in ("step", "sharpness", "limit", "margin")), where,
            )  # fmt: skip
        log = self.options.get("log")
        if log is not None:
            log({key: value for key, value in row.items() if key != "step"}, row["step"])


def _row(reading: Reading, overhead: float) -> dict[str, Any]:
    return {
        "step": reading.step,
        "sharpness": reading.sharpness.value,
        "limit": reading.limit,
        "margin": reading.margin,
        "state": reading.state,
        "layer": reading.layer,
        "layer_share": reading.layer_share,
        "error": reading.sharpness.error,
        "seconds": reading.seconds,
        "overhead": overhead,
    }


def _reading(row: dict[str, Any]) -> Reading:
    """A row of an earlier part of the run, for the page."""
    return Reading(
        step=row["step"],
        sharpness=Estimate(value=row["sharpness"], quantity="sharpness"),
        low=row["sharpness"],
        high=row["sharpness"],
        limit=row["limit"],
        margin=row["margin"],
        state=row["state"],
        layer=row["layer"],
        layer_share=row.get("layer_share", math.nan),
        seconds=math.nan,
    )


def _checked(options: Following) -> Following:
    checked: Following = {**options}
    for name in ("every", "samples"):
        if options.get(name) is not None:
            check_integer(name, options[name], minimum=1)
    for name in ("overhead", "budget", "rtol", "within", "limit"):
        if options.get(name) is not None:
            check_number(name, options[name], above=0.0)  # type: ignore[literal-required]  # one of its keys
    if isinstance(options.get("probe"), int):
        check_integer("probe", options["probe"], minimum=1)
    check_choice("method", options.get("method", "auto"), ["auto", "sharpness", "critical"])
    if options.get("every") is None and options.get("overhead") is None:
        checked["overhead"] = _SHARE
    return checked
