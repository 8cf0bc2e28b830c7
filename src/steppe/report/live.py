"""What a page says of a run that is still going on, or that was stopped."""

import datetime
import re
from dataclasses import dataclass
from typing import Literal

from steppe.core import duration
from steppe.harness import Standing

from .words import count, counted

_SILENCE = 120.0  # seconds without news after which a page no longer claims that its run goes on
_BEATS = 4  # the same in periods, where one period is long
_BANNER = re.compile(r'<aside id="live".*?</aside>', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Live:
    """A page written before its run has ended.

    Args:
        standing: Where the run stands.
        written: When the page is written, with a time zone.
        period: Seconds until the next page.
        rows: How many rows the page judges.
        state: Whether the run goes on, or was stopped.
        why: What stopped it, as a sentence.
    """

    standing: Standing
    written: datetime.datetime
    period: float
    rows: int
    state: Literal["running", "stopped"] = "running"
    why: str = ""

    @property
    def silence(self) -> float:
        """The age in seconds at which the page stops claiming that its run goes on."""
        return max(_SILENCE, _BEATS * self.period)

    @property
    def time(self) -> str:
        """When it was written, as the driver's clock shows it."""
        return f"{self.written:%H:%M:%S} {self.written.tzname() or ''}".rstrip()

    @property
    def milliseconds(self) -> int:
        """When it was written, as a browser counts."""
        return round(self.written.timestamp() * 1000)

    @property
    def share(self) -> str:
        """`312 of 964`."""
        return f"{count(self.standing.ended)} of {count(self.standing.total)}"

    @property
    def counts(self) -> str:
        """`312 of 964 cells, 2 failed, 1 diverged`."""
        words = [f"{self.share} cells"]
        words += [f"{count(self.standing.failed)} failed"] if self.standing.failed else []
        words += [f"{count(self.standing.diverged)} diverged"] if self.standing.diverged else []
        return ", ".join(words)

    @property
    def left(self) -> str:
        """`about 4 min left`."""
        seconds = self.standing.seconds_left
        if seconds is None:
            return "time left unknown"
        return f"about {_rounded(seconds)} left"

    @property
    def judged(self) -> str:
        """What the verdicts are worth so far."""
        if not self.rows:
            return "No row is there yet, so nothing is judged."
        rows = "the row that was" if self.rows == 1 else f"the {counted(self.rows, 'row')} that were"
        end = " and may still change" if self.state == "running" else ""
        return f"Verdicts and figures are made from {rows} there{end}."

    @property
    def worst(self) -> list[tuple[str, str]]:
        """The worst so far: a word, and the cell with what is bad about it."""
        crash, slowest = self.standing.crash, self.standing.slowest
        lines = []
        if crash is not None:
            lines.append((f"Latest {crash.status}", f"{crash.reason or 'no reason was recorded'} ({crash.label})"))
        if slowest is not None:
            lines.append(("Slowest", f"{duration(slowest.seconds)} ({slowest.label})"))
        return lines


def _rounded(seconds: float) -> str:
    """No more digits than such a promise deserves."""
    if seconds < 100:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def restamp(page: str, banner: str) -> str:
    """The same page under another banner, without rendering it again.

    Args:
        page: What `render` returned for a run that had not ended.
        banner: What `banner` returned.
    """
    return _BANNER.sub(lambda _: banner, page, count=1)
