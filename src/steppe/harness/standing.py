"""Where a run stands: what is done, what is worst, and how long it will take."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

CRASHES = ("failed", "killed", "timeout")
_WINDOW = 32
_TOGETHER = 0.02


@dataclass(frozen=True, kw_only=True)
class Crash:
    """A cell that ended without a valid row.

    Args:
        label: The cell in words.
        status: `"failed"`, `"killed"` or `"timeout"`.
        reason: Why, in one line.
    """

    label: str
    status: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Slow:
    """The cell that took longest.

    Args:
        label: The cell in words.
        seconds: How long it took; within a group computed at once, its share.
    """

    label: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands, and the worst of it so far.

    Args:
        total: Cells asked for.
        ended: Cells that ended in whatever way, those that had a row before included.
        computed: Cells that ended in this run.
        failed: Cells of this run without a valid row: raised, killed or over the deadline.
        diverged: Cells of this run that diverged.
        seconds_left: Seconds that the rest will take, or None while nothing is known of the pace.
        crash: The latest cell without a valid row.
        slowest: The cell of this run that took longest.
    """

    total: int = 0
    ended: int = 0
    computed: int = 0
    failed: int = 0
    diverged: int = 0
    seconds_left: float | None = None
    crash: Crash | None = None
    slowest: Slow | None = None


class TimeLeft:
    """Seconds left, from a moving median of the seconds per unit of work (per cell, if a study foresees no cost).

    A median, because a sweep mixes cells of very different cost and a single slow one must not shift the promise.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._bursts: deque[list[float]] = deque(maxlen=_WINDOW)  # seconds, work

    def finished(self, work: float = 1.0) -> None:
        """Note that a cell finished; cells that finish together share the time since the ones before."""
        now = self._clock()
        gap, self._last = now - self._last, now
        if gap >= _TOGETHER or not self._bursts:
            self._bursts.append([0.0, 0.0])
        self._bursts[-1][0] += gap
        self._bursts[-1][1] += work

    def seconds(self, remaining: float) -> float | None:
        """Seconds for the remaining work; None until two groups have finished, since one says nothing of the pace."""
        if len(self._bursts) < 2:
            return None
        return statistics.median(seconds / work for seconds, work in self._bursts) * remaining


class Watch:
    """A listener that keeps count; `standing` may be asked from any thread.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._guard = clock, threading.Lock()
        self._total = self._there = self._computed = self._failed = self._diverged = 0
        self._ahead, self._left = 0.0, TimeLeft(clock)
        self._crash: Crash | None = None
        self._slowest: Slow | None = None

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins: cells asked for, how many of them have a row already, and the work ahead."""
        with self._guard:
            self._total, self._there, self._ahead, self._left = total, done, work, TimeLeft(self._clock)

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """One cell was computed and committed; arguments as in `Progress`."""
        with self._guard:
            self._computed += 1
            self._ahead = max(self._ahead - work, 0.0)
            self._left.finished(work)
            self._diverged += status == "diverged"
            if status in CRASHES:
                self._failed += 1
                self._crash = Crash(label=label, status=status, reason=reason)
            if seconds is not None and (self._slowest is None or seconds > self._slowest.seconds):
                self._slowest = Slow(label=label, seconds=seconds)

    def finish(self) -> None:
        """The run ended."""

    @property
    def standing(self) -> Standing:
        """Where the run stands now."""
        with self._guard:
            return Standing(
                total=self._total,
                ended=self._there + self._computed,
                computed=self._computed,
                failed=self._failed,
                diverged=self._diverged,
                seconds_left=self._left.seconds(self._ahead),
                crash=self._crash,
                slowest=self._slowest,
            )
