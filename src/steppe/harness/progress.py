"""How a run tells its listener how far it is."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """A listener. All calls come from the thread that called `run_cells`."""

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins: cells asked for, how many of them have a row already, and the work ahead."""

    def advance(self, status: str, label: str, work: float) -> None:
        """One cell was computed and committed: its status, its label and its share of the work."""

    def finish(self) -> None:
        """The run ended, also by an error or an interrupt."""


class Silent:
    """A listener that says nothing."""

    def start(self, total: int, done: int, work: float) -> None:
        """Nothing."""

    def advance(self, status: str, label: str, work: float) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
