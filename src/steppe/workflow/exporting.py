"""Stored rows as one table: CSV by the standard library, Parquet by pyarrow."""

import csv
import importlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from steppe.core import InputError, NotComputedError, StoreError, check_choice
from steppe.harness import Row, Rows

from .places import check_target

Format = Literal["parquet", "csv"]
_OWN = ("key", "status", "reason", "stale", "absent")
_PREFIX = "row_"  # of our own columns, where a study has taken their names
_EXACT = 2**53  # integers up to here are floats without loss


def format_of(path: Path | None, asked: Format | None) -> Format:
    """The format to write: what is asked for, else by the file's ending, else CSV.

    Raises:
        UnknownNameError: `asked` is neither.
        InputError: The file's ending is that of the other format.
    """
    if asked is not None:
        check_choice("format", asked, ("parquet", "csv"))
    endings: dict[str, Format] = {".parquet": "parquet", ".csv": "csv"}
    ending = endings.get(path.suffix.lower()) if path is not None else None
    if asked and ending and asked != ending:
        raise InputError(f"`to` {str(path)!r} and `format` {asked!r} contradict each other; give one of them")
    return asked or ending or "csv"


def write_rows(rows: Rows, columns: Sequence[str], path: Path, format: Format) -> Path:
    """Write rows as one table, replacing the file only when it is complete and on disk.

    One line per row: key, status, the reason of a status other than done (the last line of a stack), whether it is
    stale, in `absent` a JSON object of the reasons of columns that have no value; then the axes and the columns. Where
    a study has an axis or column of one of these names, ours is called `row_key`, `row_status`, … instead.

    An absent value is null in Parquet and empty in CSV. A curve is a list in Parquet and JSON text in CSV. A Parquet
    column has one type: integers and floats together become floats (as text where an integer would lose digits);
    anything else that is mixed becomes text; a column without any value is of floats. In CSV, text that is empty
    cannot be told from no value.

    Args:
        rows: The rows.
        columns: The declared columns.
        path: Where to. If it is a link, the link is replaced, and what it leads to stays as it is.
        format: `"parquet"` (zstd) or `"csv"`.

    Raises:
        NotComputedError: Parquet is asked for and pyarrow is not installed.
        InputError: The path has the name of a file that a run keeps.
        StoreError: The file cannot be written.
    """
    check_choice("format", format, ("parquet", "csv"))
    path = check_target("to", path)
    table = _table(rows, columns)
    writer = {"parquet": _write_parquet, "csv": _write_csv}[format]
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".exported-")
        os.close(handle)
        writer(table, Path(temporary))
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}); pass --to a file in another folder"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path


def _table(rows: Rows, columns: Sequence[str]) -> dict[str, list[Any]]:
    """Name → values, ours first."""
    names = list(dict.fromkeys([*(name for row in rows for name in row.cell), *columns]))
    own = [_own(row) for row in rows]
    table = {(_PREFIX + name if name in names else name): [facts[name] for facts in own] for name in _OWN}
    return table | {name: [row.get(name) for row in rows] for name in names}


def _own(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "status": row.status,
        "reason": row.reason or None,
        "stale": row.stale,
        "absent": json.dumps(dict(row.absent), ensure_ascii=False, sort_keys=True) if row.absent else None,
    }


def _write_csv(table: dict[str, list[Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for line in zip(*table.values(), strict=True):
            writer.writerow([json.dumps(value) if isinstance(value, list) else value for value in line])


def _write_parquet(table: dict[str, list[Any]], path: Path) -> None:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotComputedError(
            "Parquet needs pyarrow, which is not installed; pip install 'steppe[data]', or export with --format csv"
        ) from error
    types = {"text": arrow.string(), "bool": arrow.bool_(), "integer": arrow.int64(), "float": arrow.float64()}
    types |= {f"list of {name}": arrow.list_(types[name]) for name in ("integer", "float")}
    arrays = {}
    for name, values in table.items():
        kind, converted = _typed(values, text=name.removeprefix(_PREFIX) in ("reason", "absent"))
        arrays[name] = arrow.array(converted, type=types[kind])
    parquet.write_table(arrow.table(arrays), path, compression="zstd")


def _typed(values: list[Any], *, text: bool = False) -> tuple[str, list[Any]]:
    """The one type of a column, and its values in it."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {list}:
        entries = [entry for value in present for entry in value]
        kind = _numbers(entries)
        if kind != "text":
            number: Any = int if kind == "integer" else float
            return f"list of {kind}", [None if v is None else [number(entry) for entry in v] for v in values]
    if kinds == {bool}:
        return "bool", values
    if not kinds:
        return ("text" if text else "float"), values
    kind = _numbers(present) if kinds <= {int, float} else "text"
    if kind == "text":
        return kind, [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return kind, [None if v is None else float(v) if kind == "float" else v for v in values]


def _numbers(values: list[Any]) -> str:
    """The type that holds these numbers without loss."""
    kinds = {type(value) for value in values}
    if kinds == {int}:
        return "integer"
    exact = all(-_EXACT <= value <= _EXACT for value in values if type(value) is int)
    return "float" if kinds <= {int, float} and exact else "text"
