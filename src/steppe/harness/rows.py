"""Rows: what cells turned into, as claims, figures and exports read it."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from steppe.core import KindError, NotComputedError, check_known

Status = Literal["done", "diverged", "failed", "timeout", "killed"]


class AbsentColumnError(NotComputedError, KeyError):
    """A column has no value for this cell; the message says why."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def label_of(cell: Mapping[str, Any]) -> str:
    """A cell in words: `d=5, n=512, seed=0`."""
    return ", ".join(f"{name}={value}" for name, value in cell.items())


def condition_of(cell: Mapping[str, Any]) -> str:
    """The condition that selects a cell, for `--where`."""
    words = {True: "True", False: "False", None: "None"}
    sides = (
        f"{name}=={words[value] if value is None or isinstance(value, bool) else json.dumps(value)}"
        for name, value in cell.items()
    )
    return " and ".join(sides)


def reason_of(error: str | None) -> str:
    """Why a cell has no numbers, in one line: the end of its stack; where it stood, if a deadline ended it."""
    lines = [line.strip() for line in (error or "").splitlines() if line.strip()]
    if not lines:
        return ""
    if not lines[0].startswith("Timeout ("):
        return lines[-1]
    frames = _frames(lines)
    return f"{lines[0]} It stood at {frames[0]}" if frames else lines[0]


def _frames(lines: Sequence[str]) -> list[str]:
    """The frames of the thread that computed, innermost first, in the trace of all threads that a deadline leaves."""
    threads: list[list[str]] = []
    for line in lines:
        if line.endswith("(most recent call first):"):
            threads.append([])
        elif threads and line.startswith("File "):
            threads[-1].append(line)
    computing = [frames for frames in threads if any("outcomes.py" in frame for frame in frames)]
    return (computing or threads or [[]])[-1]  # the main thread comes last


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, Any]):
    """One computed cell: a mapping over its axes and its columns.

    A column that is absent is not part of the mapping; reading it raises `AbsentColumnError` with the reason.

    Args:
        cell: The axes.
        result: The columns that have a value.
        absent: Column → why it has none.
        key: The cell's key in the store.
        status: `"done"`, `"diverged"`, `"failed"`, `"timeout"` or `"killed"`.
        error: The reason of a divergence or the last stack of a crash.
        provenance: When, where and with what it was computed.
        stale: Whether the sources changed since.
        run: The command that computes the study, to which `command` adds the cell.
    """

    cell: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    status: Status = "done"
    error: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    stale: bool = False
    run: str = "steppe run"

    @property
    def label(self) -> str:
        """The cell in words: `d=5, n=512, seed=0`."""
        return label_of(self.cell)

    @property
    def command(self) -> str:
        """The command that computes this cell again."""
        return f"{self.run} --where {shlex.quote(condition_of(self.cell))}" if self.cell else self.run

    @property
    def reason(self) -> str:
        """Why it has no numbers, in one line; empty if it has."""
        return reason_of(self.error)

    def __getitem__(self, name: str) -> Any:
        if name in self.cell:
            return self.cell[name]
        if name in self.result:
            return self.result[name]
        if name in self.absent:
            raise AbsentColumnError(f"column `{name}` has no value at {self.label}: {self.absent[name]}")
        raise KeyError(f"`{name}` is neither an axis nor a column; there are {', '.join([*self.cell, *self.result])}")

    def __iter__(self) -> Iterator[str]:
        return iter([*self.cell, *self.result])

    def __len__(self) -> int:
        return len(self.cell) + len(self.result)


class Rows(Sequence[Row]):
    """Rows of one study, in the order of the grid.

    Args:
        rows: The rows.
        slug: The study.
    """

    def __init__(self, rows: Sequence[Row] = (), slug: str = "") -> None:
        self._rows = tuple(rows)
        self.slug = slug

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> "Row | Rows":
        return Rows(self._rows[index], self.slug) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Rows({len(self)} of {self.slug or 'no study'})"

    @property
    def done(self) -> "Rows":
        """The rows with status `done`."""
        return self.with_status("done")

    @property
    def names(self) -> list[str]:
        """Axes and columns that occur in some row, absent ones included."""
        found = (name for row in self for name in (*row.cell, *row.result, *row.absent))
        return list(dict.fromkeys(found))

    def with_status(self, *statuses: str) -> "Rows":
        """The rows with one of these statuses."""
        return Rows([row for row in self if row.status in statuses], self.slug)

    def where(self, condition: Callable[[Row], bool] | None = None, **equal: Any) -> "Rows":
        """The rows that satisfy a function of the row, and whose axes or columns equal the given values.

        A value that is a list, tuple, set or range means membership. A row that lacks the name does not match.
        """
        found = [row for row in self if condition is None or condition(row)]
        return Rows([row for row in found if _matches(row, equal)], self.slug)

    def column(self, name: str) -> NDArray[np.float64]:
        """The values of an axis or column that are present, as floats, in the order of the rows.

        Raises:
            UnknownNameError: No row has such a name.
            KindError: A value is not a number.
        """
        if self:
            check_known("column", name, self.names)
        values = [row[name] for row in self if name in row and row[name] is not None]
        try:
            return np.array(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise KindError(
                f"column `{name}` must hold one number per row, got {values[:1]}; read row[{name!r}]"
            ) from error

    def by(self, *axes: str) -> "dict[tuple[Any, ...], Rows]":
        """The rows grouped by the values of axes, groups in order of first appearance; None where a row lacks one."""
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self:
            groups.setdefault(tuple(row.cell.get(axis) for axis in axes), []).append(row)
        return {values: Rows(rows, self.slug) for values, rows in groups.items()}

    def values(self, axis: str) -> list[Any]:
        """The distinct values of an axis, sorted."""
        found = list(dict.fromkeys(row[axis] for row in self if axis in row))
        return sorted(
            found, key=lambda value: (isinstance(value, str), value is None, value if value is not None else 0)
        )


def _matches(row: Row, equal: Mapping[str, Any]) -> bool:
    for name, wanted in equal.items():
        if name not in row:
            return False
        several = isinstance(wanted, list | tuple | set | frozenset | range)
        if not (row[name] in wanted if several else row[name] == wanted):
            return False
    return True
