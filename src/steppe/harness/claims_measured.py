"""A number with an interval against a band, group by group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steppe.core import ParameterError

from .claims import Claim, worst_state
from .rows import Row, Rows, label_of
from .verdicts import Judgement

Band = int | float | Callable[[Mapping[str, Any]], float]
ALONE = "one replicate gives no interval"


@dataclass(frozen=True)
class Measured:
    """One group's number with its interval against its band."""

    group: Mapping[str, Any]
    value: float
    interval: tuple[float, float] | None
    low: float
    high: float
    rows: Rows
    note: str = ""

    @property
    def state(self) -> str:
        """Holds if the whole interval lies in the band, fails if wholly outside, else inconclusive."""
        if self.interval is None:
            return "inconclusive"
        bottom, top = self.interval
        if self.low <= bottom and top <= self.high:
            return "holds"
        return "fails" if top < self.low or bottom > self.high else "inconclusive"

    @property
    def margin(self) -> float:
        """Distance from the value's interval to the nearer end of the band: negative outside."""
        bottom, top = self.interval or (self.value, self.value)
        if self.state == "fails":
            return -max(self.low - top, bottom - self.high)
        return min(bottom - self.low, self.high - top)

    def __str__(self) -> str:
        interval = f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]" if self.interval else ""
        label = f"{label_of(self.group)}: " if self.group else ""
        return f"{label}{self.value:.4g}{interval}"


def judge_groups(found: list[Measured], note: str = "") -> Judgement:
    """All groups must hold; one that fails makes the claim fail."""
    if not found:
        return Judgement(state="not judged", note=note or "the columns are undefined in every row", rows=0)
    state = worst_state([measured.state for measured in found])
    deciding = min((m for m in found if m.state == state), key=lambda measured: measured.margin)
    notes = dict.fromkeys(n for n in (note, *(measured.note for measured in found)) if n)
    shown = "; ".join(map(str, found[:8])) + (f"; … {len(found)} groups" if len(found) > 8 else "")
    return Judgement(
        state=state,
        measured=shown,
        value=deciding.value,
        interval=deciding.interval,
        margin=deciding.margin,
        worst=label_of(deciding.group) or None,
        worst_command=_command(deciding),
        note="; ".join(notes),
        rows=sum(len(measured.rows) for measured in found),
    )


def _command(measured: Measured) -> str | None:
    if not measured.rows:
        return None
    return Row(cell=measured.group, run=measured.rows[0].run).command


def band_words(low: Any, high: Any) -> str:
    """A band in words."""
    ends = ["by group" if callable(end) else f"{end:.4g}" for end in (low, high)]
    return f"in [{ends[0]}, {ends[1]}]"


def band_at(band: Band, group: Mapping[str, Any]) -> float:
    """An end of the band for a group."""
    return float(band(group)) if callable(band) else float(band)


def check_band(claim: Claim, low: Any, high: Any) -> None:
    """Refuse a band whose ends are swapped.

    Raises:
        ParameterError: low > high.
    """
    if not callable(low) and not callable(high) and not low <= high:
        raise ParameterError(f"the band of claim `{claim.id}` must have low ≤ high, got [{low}, {high}]; swap them")


def typical(value: Any) -> float:
    """A number; of a curve, the median of its last quarter."""
    curve = np.atleast_1d(np.asarray(value, dtype=float))
    return float(np.median(curve[-max(1, curve.size // 4) :]))
