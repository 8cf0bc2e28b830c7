"""Tables of numbers: a few rows as HTML, all of them as CSV in a link."""

import base64
import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .words import number

# Beyond this a CSV travels compressed; the page's script unpacks it when it is clicked.
_PLAIN_CSV = 4000


@dataclass(frozen=True)
class Column:
    """A column of an HTML table: its header, and whether it holds numbers."""

    header: str
    numeric: bool


@dataclass(frozen=True)
class Table:
    """A table as the template draws it.

    Args:
        columns: The columns shown.
        rows: The first rows, as text.
        total: How many rows there are in all.
        csv: Data URI of all rows and columns.
        name: File name of the CSV.
    """

    columns: list[Column]
    rows: list[list[str]]
    total: int
    csv: str
    name: str


def table(name: str, headers: Sequence[str], rows: Sequence[Sequence[Any]], *, limit: int, hidden: str = "") -> Table:
    """A table with its CSV.

    Args:
        name: File name without suffix.
        headers: One per column.
        rows: Values; None is an empty field.
        limit: How many rows are shown; the CSV has all.
        hidden: Header of a column that only the CSV has.
    """
    kept = [index for index, header in enumerate(headers) if header != hidden]
    numeric = {i for i in kept if all(_is_number(row[i]) for row in rows) and any(row[i] is not None for row in rows)}
    shown = [["" if row[i] is None else number(row[i], 5) for i in kept] for row in rows[:limit]]
    columns = [Column(headers[i], i in numeric) for i in kept]
    return Table(columns, shown, len(rows), csv_link(headers, rows), f"{name}.csv")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def csv_link(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A data URI with all rows as CSV (RFC 4180, UTF-8), compressed by gzip if it is long."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(headers)
    writer.writerows(rows)
    raw = buffer.getvalue().encode()
    if len(raw) <= _PLAIN_CSV:
        return "data:text/csv;charset=utf-8;base64," + base64.b64encode(raw).decode()
    return "data:application/gzip;base64," + packed(raw)


def packed(raw: bytes) -> str:
    """Bytes as gzip in base64, the same for the same bytes."""
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
