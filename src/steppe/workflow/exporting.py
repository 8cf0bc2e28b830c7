"""Stored rows as one table: CSV by the standard library, Parquet by pyarrow."""

import csv
import importlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from steppe.core import NotComputedError, StoreError, check_choice
from steppe.harness import Rows

Format = Literal["parquet", "csv"]
_OWN = ("key", "status", "stale", "absent")


def write_rows(rows: Rows, columns: Sequence[str], path: Path, format: Format) -> Path:
    """Write rows as one table, replacing the file only when it is complete.

    One line per row: key, status, whether it is stale, the axes, the columns, and in `absent` a JSON object of the
    reasons of columns that have no value. A curve is a list in Parquet and JSON text in CSV; an absent value is null or
    empty.

    Args:
        rows: The rows.
        columns: The declared columns.
        path: Where to.
        format: `"parquet"` or `"csv"`.

    Raises:
        NotComputedError: Parquet is asked for and pyarrow is not installed.
        StoreError: The file cannot be written.
    """
    check_choice("format", format, ("parquet", "csv"))
    axes = list(dict.fromkeys(name for row in rows for name in row.cell))
    names = [*_OWN, *axes, *columns]
    records = [_record(row, names) for row in rows]
    writer = {"parquet": _write_parquet, "csv": _write_csv}[format]
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        os.close(handle)
        writer(names, records, Path(temporary))
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


def _record(row: Any, names: Sequence[str]) -> dict[str, Any]:
    own = {
        "key": row.key,
        "status": row.status,
        "stale": row.stale,
        "absent": json.dumps(dict(row.absent), ensure_ascii=False, sort_keys=True) if row.absent else None,
    }
    return {name: own[name] if name in own else row.get(name) for name in names}


def _write_csv(names: Sequence[str], records: Sequence[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for record in records:
            writer.writerow([json.dumps(v) if isinstance(v, list) else v for v in record.values()])


def _write_parquet(names: Sequence[str], records: Sequence[dict[str, Any]], path: Path) -> None:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise NotComputedError(
            "Parquet needs pyarrow, which is not installed; pip install 'steppe[data]', or export with --format csv"
        ) from error
    columns = {name: _one_type([record[name] for record in records]) for name in names}
    parquet.write_table(
        arrow.table({name: arrow.array(values) for name, values in columns.items()}), path, compression="zstd"
    )


def _one_type(values: list[Any]) -> list[Any]:
    """Parquet columns have one type: mixed numbers become floats, anything else that is mixed becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        return [None if value is None else [float(entry) for entry in value] for value in values]
    if len(kinds) <= 1:
        return values
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values]
