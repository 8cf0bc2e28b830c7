"""What a training run leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["settled", "finished", "diverged", "stopped"]


@dataclass(frozen=True)
class History:
    """The record of one run of gradient descent.

    Attributes:
        step: Numbers of updates done before each record, ascending; the first is 0.
        loss: Training loss at those steps, always finite, without the weight-decay term.
        columns: What was recorded besides the loss and what the observers returned, by name, aligned with `step`; None
            where nothing was measured.
        state: `"finished"`: all steps were done. `"settled"`: the gradient (decay included) fell below 1e-12
            (float64) or 1e-6 (other dtypes) of its first norm at a record, or the update below the rounding of the
            parameters, and the run ended there. `"diverged"`: the loss was not finite or exceeded
            10⁸ · max(1, first loss); the parameters are those of the last record. `"stopped"`: an observer raised
            `StopTraining`.
        reason: The state in words.
        steps: Updates that were done and kept; after divergence those up to the last record.
        clipped: How many updates (of those done, kept or not) the clipping shortened.
        seconds: Wall time, observers included. Of a batched run, that of the whole batch.
        backend: `"kernel-avx512"`, `"kernel-avx2"` or `"kernel-plain"` (closed form on the CPU, compiled), `"numpy"`
            (closed form on the CPU), `"torch"` (closed form of patches), `"torch-batched"` (closed form, one launch for
            many networks) or `"autograd"`.
        convention: The loss in words.
        step_size: η.
        weight_decay: λ.
        decay: `"coupled"` (λθ added to the gradient) or `"decoupled"` (θ shrinks by λ per step).
    """

    step: list[int]
    loss: list[float]
    columns: Mapping[str, list[float | None]]
    state: State
    reason: str
    steps: int
    clipped: int
    seconds: float
    backend: str
    convention: str
    step_size: float
    weight_decay: float = 0.0
    decay: str = "coupled"

    @property
    def final_loss(self) -> float:
        """Training loss at the last record, which belongs to the parameters that the network holds now."""
        return self.loss[-1]

    def column(self, name: str) -> tuple[list[int], list[float]]:
        """Steps at which an observer measured `name`, and the values."""
        pairs = [(s, value) for s, value in zip(self.step, self.columns[name], strict=True) if value is not None]
        return [s for s, _ in pairs], [value for _, value in pairs]

    def __str__(self) -> str:
        return (
            f"{self.state} after {self.steps} steps of {self.step_size:g}: loss {self.final_loss:.4g} "
            f"({self.convention}; weight decay {self.weight_decay:g}; {self.clipped} clipped; "
            f"{self.seconds:.2f} s, {self.backend})"
        )


@dataclass
class Records:
    """A history in the making."""

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    columns: dict[str, list[float | None]] = field(default_factory=dict)

    def open(self, step: int, loss: float) -> None:
        """Begin the record of a step."""
        self.step.append(step)
        self.loss.append(loss)
        for values in self.columns.values():
            values.append(None)

    def add(self, columns: Mapping[str, float]) -> None:
        """Enter columns into the last record."""
        for name, value in columns.items():
            empty: list[float | None] = [None] * len(self.step)
            self.columns.setdefault(name, empty)[-1] = float(value)
