"""Progress on stderr: a bar on a terminal, a plain line every 30 seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from steppe.core import duration

from .output import console, note

if TYPE_CHECKING:
    from steppe.harness import Standing  # `--help` shall not pay for it

_EVERY = 30.0
_LONGEST = 160  # characters of a reason; the report has all of it


def in_words(seconds: float | None) -> str:
    """`3 min 20 s left`, `1 h 05 min left`, `12 s left`; `time left unknown` for None."""
    return "time left unknown" if seconds is None else f"{duration(round(seconds))} left"


def counts(standing: "Standing") -> str:
    """What failed, what diverged, and the time left."""
    words = [f"{standing.failed} failed"] if standing.failed else []
    words += [f"{standing.diverged} diverged"] if standing.diverged else []
    return ", ".join([*words, in_words(standing.seconds_left)])


def worst(standing: "Standing") -> list[str]:
    """The worst so far, a line each: the latest cell without a valid row, and the one that took longest."""
    lines = []
    if standing.crash is not None:
        crash = standing.crash
        reason = _shortened(crash.reason or "no reason was recorded")
        lines.append(f"{crash.status}: {reason} ({crash.label})")  # a screen may cut the end
    if standing.slowest is not None:
        lines.append(f"slowest: {standing.slowest.seconds:.1f} s, {standing.slowest.label}")
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class Progress:
    """Listens to a run and shows it on stderr; a context manager, so that the terminal is left clean.

    Args:
        title: What is running.
        clock: Seconds, monotonic.
        report: The page that is kept up to date meanwhile, as one would type it.
    """

    def __init__(self, title: str, clock: Callable[[], float] = time.monotonic, *, report: str = "") -> None:
        from steppe.harness import Watch

        self._title, self._clock, self._watch, self._report = title, clock, Watch(clock), report
        self._said = 0.0
        self._told: list[str] = []
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins: cells asked for, how many of them have a row already, and the work ahead."""
        self._watch.start(total, done, work)
        self._said = self._clock()
        if done == total:
            note(f"{self._title}: all {total} cells are there already")
            return
        if not sys.stderr.isatty():
            note(f"{self._title}: {total} cells, {done} there already")
        if self._report:
            note(f"  to watch: {self._report}, which reloads itself")
        if sys.stderr.isatty():
            self._open_bar(total, done)

    def _open_bar(self, total: int, done: int) -> None:
        from rich import progress
        from rich.text import Text

        class Bar(progress.Progress):
            """The bar, and below it the worst so far, each cut at the edge of the screen."""

            worst: tuple[str, ...] = ()

            def get_renderables(self) -> Iterator[Any]:
                yield from super().get_renderables()
                yield from (Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in self.worst)

        self._bar = Bar(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.completed:.0f} of {task.total:.0f}{task.fields[words]}"),
            console=console(error=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._title, total=total, completed=done, words="")
        self._bar.start()

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """One cell was computed and committed."""
        self._watch.advance(status, label, work, seconds=seconds, reason=reason)
        standing = self._watch.standing
        if self._bar is not None:
            self._bar.worst = tuple(worst(standing))
            self._bar.update(self._task, completed=standing.ended, words=", " + counts(standing))
        elif self._clock() - self._said >= _EVERY:
            self._said = self._clock()
            note(f"{self._title}: {standing.ended} of {standing.total}, {counts(standing)}; last: {label}")
            self._tell_worst(standing)

    def _tell_worst(self, standing: "Standing") -> None:
        """Only what is new since it was told last."""
        lines = worst(standing)
        for line in lines:
            if line not in self._told:
                note(f"  {line}")
        self._told = lines

    def finish(self) -> None:
        """The run ended, also by an error or an interrupt."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
