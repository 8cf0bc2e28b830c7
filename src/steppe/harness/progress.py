"""How a run tells its listener how far it is."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """A listener. All calls come from the thread that called `run_cells`."""

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins: cells asked for, how many of them have a row already, and the work ahead."""

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """One cell was computed and committed.

        Args:
            status: What became of it.
            label: The cell in words.
            work: Its share of the work.
            seconds: Its share of the time of its task; None if its worker died.
            reason: Why it has no numbers, in one line; empty if it has.
        """

    def finish(self) -> None:
        """The run ended, also by an error or an interrupt."""


class Silent:
    """A listener that says nothing."""

    def start(self, total: int, done: int, work: float) -> None:
        """Nothing."""

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


class Both:
    """Two listeners that hear the same.

    Args:
        first: Hears first.
        second: Hears second.
    """

    def __init__(self, first: Progress, second: Progress) -> None:
        self._listeners = (first, second)

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins."""
        for listener in self._listeners:
            listener.start(total, done, work)

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """One cell was computed and committed."""
        for listener in self._listeners:
            listener.advance(status, label, work, seconds=seconds, reason=reason)

    def finish(self) -> None:
        """The run ended."""
        for listener in self._listeners:
            listener.finish()
