"""How a run tells its listener how far it is."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """A listener. All calls come from the thread that called `run_cells`."""

    def start(self, total: int, done: int) -> None:
        """A run begins: cells asked for, and how many of them have a row already."""

    def advance(self, status: str, label: str) -> None:
        """One cell was computed and committed: its status and its label."""

    def finish(self) -> None:
        """The run ended, also by an error or an interrupt."""


class Silent:
    """A listener that says nothing."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, status: str, label: str) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
