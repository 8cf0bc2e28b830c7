"""Progress on stderr: a bar on a terminal, a plain line every 30 seconds elsewhere."""

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .output import console, note

_WINDOW = 32
_EVERY = 30.0
_TOGETHER = 0.02


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


def in_words(seconds: float | None) -> str:
    """`3 min 20 s`, `1 h 05 min`, `12 s`; `time left unknown` for None."""
    if seconds is None:
        return "time left unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s left"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s left"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min left"


class Progress:
    """Listens to a run and shows it on stderr; a context manager, so that the terminal is left clean.

    Args:
        title: What is running.
        clock: Seconds, monotonic.
    """

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._title, self._clock = title, clock
        self._total = self._done = self._bad = self._diverged = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins: cells asked for, how many of them have a row already, and the work ahead."""
        self._total, self._done, self._ahead = total, done, work
        self._left, self._said = TimeLeft(self._clock), self._clock()
        if done == total:
            note(f"{self._title}: all {total} cells are there already")
        elif sys.stderr.isatty():
            self._open_bar()
        else:
            note(f"{self._title}: {total} cells, {done} there already")

    def _open_bar(self) -> None:
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f} of {task.total:.0f}{task.fields[words]}"),
            console=console(error=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=self._total, completed=self._done, words="")
        self._bar.start()

    def advance(self, status: str, label: str, work: float) -> None:
        """One cell was computed and committed."""
        self._done += 1
        self._ahead = max(self._ahead - work, 0.0)
        self._bad += status in ("failed", "killed", "timeout")
        self._diverged += status == "diverged"
        self._left.finished(work)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, words=", " + self._words())
        elif self._clock() - self._said >= _EVERY:
            self._said = self._clock()
            note(f"{self._title}: {self._done} of {self._total}, {self._words()}; last: {label}")

    def _words(self) -> str:
        counts = [f"{self._bad} failed"] if self._bad else []
        counts += [f"{self._diverged} diverged"] if self._diverged else []
        return ", ".join([*counts, in_words(self._left.seconds(self._ahead))])

    def finish(self) -> None:
        """The run ended, also by an error or an interrupt."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
