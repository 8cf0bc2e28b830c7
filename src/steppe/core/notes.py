"""Words that a computation leaves for the provenance of its row, without knowing whether anybody keeps one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NOTES: ContextVar[dict[str, set[str]] | None] = ContextVar("notes", default=None)


def note(name: str, value: str) -> None:
    """Leave word, such as `note("training", "numpy")`; nothing happens where nobody listens."""
    notes = _NOTES.get()
    if notes is not None:
        notes.setdefault(name, set()).add(value)


@contextmanager
def listening() -> Iterator[dict[str, set[str]]]:
    """Collect what is noted inside the block: name → values."""
    notes: dict[str, set[str]] = {}
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)
