"""What a cell can hold by name, and the two values a column can have besides a number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from steppe.core import InputError, KindError


@dataclass(frozen=True)
class Slot:
    """A place in a study for named functions (parts); an axis of the slot's name chooses among them.

    Args:
        signature: What a part takes and gives, as text: `"(n, d, *, seed) -> x [n, d] float64"`.
        parts: Name → callable.
        doc: What the slot is for.

    Raises:
        KindError: A part is not callable.
        InputError: There is no part.
    """

    signature: str
    parts: Mapping[str, Callable[..., Any]]
    doc: str = ""

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(f"a slot must have at least one part, got none for {self.signature!r}; give one")
        for name, part in self.parts.items():
            if not callable(part):
                raise KindError(f"part `{name}` must be callable, got {type(part).__name__}; expected {self.signature}")
        object.__setattr__(self, "parts", dict(self.parts))

    def extended(self, parts: Mapping[str, Callable[..., Any]]) -> "Slot":
        """The slot with more parts.

        Raises:
            InputError: A name is taken.
        """
        for name in parts:
            if name in self.parts:
                raise InputError(f"part `{name}` exists already in the slot {self.signature!r}; choose another name")
        return Slot(self.signature, {**self.parts, **parts}, self.doc)


@dataclass(frozen=True)
class Absent:
    """The value of a column that is undefined for a cell.

    Args:
        reason: Why, in words.
    """

    reason: str


@dataclass(frozen=True)
class Diverged:
    """What a row is when its computation diverged: a recorded status, not a crash.

    Args:
        reason: What happened, in words.
        columns: The columns known before; the others are absent.
    """

    reason: str
    columns: Mapping[str, Any] = field(default_factory=dict)
