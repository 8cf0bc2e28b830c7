"""Rows as a store holds them, whether the study that wrote them is known here or not."""

from collections.abc import Iterable, Mapping
from typing import Any

from steppe.core import CorruptStoreError

from .outcomes import decode
from .rows import Row, Rows
from .store import Record


def stored_rows(records: Iterable[Record], slug: str = "") -> Rows:
    """The rows of these records, in their order; none is called stale, since today's sources are not asked.

    Args:
        records: What `Store.records` or `Store.superseded` returned.
        slug: The study.

    Raises:
        CorruptStoreError: A result is no JSON object of columns.
    """
    return Rows([_checked(record, slug) for record in records], slug)


def _checked(record: Record, slug: str) -> Row:
    if not isinstance(record.cell, dict):
        raise CorruptStoreError(
            f"the row {record.key} must hold a cell of axes, got {type(record.cell).__name__}; nothing was changed or "
            "deleted. Move the folder away, or choose another with --out"
        )
    return row_of(record, record.cell, run=f"steppe run {slug}".rstrip())


def row_of(record: Record, cell: Mapping[str, Any], *, run: str, stale: bool = False) -> Row:
    """A record as a row.

    Args:
        record: The record.
        cell: Its axes, as the caller writes them.
        run: The command that computes the study.
        stale: Whether it was computed with other sources than today's.

    Raises:
        CorruptStoreError: The result is no JSON object of columns.
    """
    columns, absent = decode(record.result, record.key)
    return Row(
        cell=cell,
        result=columns,
        absent=absent,
        key=record.key,
        status=record.status,  # type: ignore[arg-type]  # what the runner wrote
        error=record.error or "",
        provenance=record.provenance,
        stale=stale,
        run=run,
    )
