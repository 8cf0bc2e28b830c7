"""From cells to outcomes, in this process: the one place where a study's function is called."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from steppe.core import CorruptStoreError, InputError, KindError, check_known

from .canonical import as_value, canonical
from .grid import Cell
from .rows import label_of
from .slots import Absent, Diverged, Slot
from .study import RowsFunction, Study, cell_of

_LONGEST_STACK = 8000


@dataclass(frozen=True)
class Workload:
    """The part of a study that computes: what travels to a worker. Fields as in `Study`."""

    slug: str
    columns: Mapping[str, str]
    slots: Mapping[str, Slot]
    row: Callable[..., Any] | None
    rows: RowsFunction | None


Computable = Study | Workload


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Args:
        cell: The axes.
        status: `"done"`, `"diverged"` or `"failed"`.
        result: Canonical JSON of the declared columns; an absent one is `{"absent": reason}`. None if it failed.
        error: The reason of a divergence, or the last stack of a crash.
    """

    cell: dict[str, Any]
    status: Literal["done", "diverged", "failed"]
    result: bytes | None = None
    error: str | None = None


def compute(study: Computable, cells: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Compute one group of cells here and now.

    Args:
        study: The study.
        cells: Cells that agree in the axes of `together`; with `row`, any cells.

    Returns:
        One outcome per cell, in their order. A crash is an outcome; only an interrupt passes through.
    """
    prepared = [cell_of(cell, study.slots) for cell in cells]
    if study.row is not None:
        return [_one(study, cell) for cell in prepared]
    return _many(study, prepared)


def _one(study: Computable, cell: Cell) -> Outcome:
    assert study.row is not None
    extra = {"parts": dict(cell.parts)} if study.slots else {}
    try:
        return _outcome(study, cell, study.row(**cell, **extra))
    except (Exception, SystemExit):
        return Outcome(dict(cell), "failed", error=_stack())


def _many(study: Computable, cells: list[Cell]) -> list[Outcome]:
    assert study.rows is not None
    asked = {canonical(cell): cell for cell in cells}
    found: dict[bytes, Outcome] = {}
    error = f"`rows` of study `{study.slug}` ended without yielding this cell"
    try:
        for cell, record in study.rows(list(cells)):
            place = canonical(dict(cell))
            if place not in asked or place in found:
                problem = "twice" if place in found else "though it was not asked for"
                raise InputError(
                    f"`rows` must yield each cell once, got {label_of(cell)} {problem}; yield what came in"
                )
            try:
                found[place] = _outcome(study, cell, record)
            except Exception:
                found[place] = Outcome(dict(cell), "failed", error=_stack())
    except (Exception, SystemExit):
        error = _stack()
    return [found.get(place) or Outcome(dict(cell), "failed", error=error) for place, cell in asked.items()]


def _stack() -> str:
    return valid_text(traceback.format_exc()[-_LONGEST_STACK:])


def valid_text(text: str) -> str:
    """`text` as UTF-8 can hold it: lone surrogates (of undecodable file names, say) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _outcome(study: Computable, cell: Mapping[str, Any], record: Any) -> Outcome:
    if isinstance(record, Diverged):
        said = valid_text(str(record.reason))
        reason = f"diverged: {said}"
        missing = {column: Absent(reason) for column in study.columns if column not in record.columns}
        return Outcome(dict(cell), "diverged", _encode(study, {**record.columns, **missing}), said)
    if not isinstance(record, Mapping):
        raise KindError(f"a row must be a dict or Diverged, got {type(record).__name__}; return column → value")
    return Outcome(dict(cell), "done", _encode(study, record))


def _encode(study: Computable, record: Mapping[str, Any]) -> bytes:
    for column in record:
        check_known("column", column, study.columns)
    missing = [column for column in study.columns if column not in record]
    if missing:
        raise InputError(f"a row must have every declared column, got none for {missing}; return Absent(reason) there")
    return canonical({column: _encoded(column, record[column]) for column in study.columns})


def _encoded(column: str, value: Any) -> Any:
    return (
        {"absent": valid_text(str(value.reason))}
        if isinstance(value, Absent)
        else as_value(f"column `{column}`", value)
    )


def decode(result: bytes | None, key: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """The columns with a value, and column → reason for the absent ones.

    Args:
        result: What a row holds.
        key: Its key, for the message.

    Raises:
        CorruptStoreError: It is not a JSON object of columns.
    """
    try:
        columns = msgspec.json.decode(result, type=dict[str, Any]) if result else {}
        absent = {name: str(value["absent"]) for name, value in columns.items() if isinstance(value, dict)}
    except (ValueError, RecursionError, KeyError) as error:  # msgspec's errors are ValueErrors
        raise CorruptStoreError(
            f"the row {key} must hold a JSON object of columns, got something else ({type(error).__name__}: {error}); "
            "nothing was changed or deleted. Move the folder away, or choose another with --out"
        ) from error
    return {name: value for name, value in columns.items() if name not in absent}, absent


def failed(cells: Iterable[Mapping[str, Any]], error: str) -> list[Outcome]:
    """All these cells failed with one error."""
    return [Outcome(dict(cell), "failed", error=error) for cell in cells]
