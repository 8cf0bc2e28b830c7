"""Rows as a store holds them, whether the study that wrote them is known here or not."""

from collections.abc import Iterable

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
    return Rows([_row(record, slug) for record in records], slug)


def _row(record: Record, slug: str) -> Row:
    columns, absent = decode(record.result, record.key)
    if not isinstance(record.cell, dict):
        raise CorruptStoreError(
            f"the row {record.key} must hold a cell of axes, got {type(record.cell).__name__}; nothing was changed or "
            "deleted. Move the folder away, or choose another with --out"
        )
    return Row(
        cell=record.cell,
        result=columns,
        absent=absent,
        key=record.key,
        status=record.status,  # type: ignore[arg-type]  # what the runner wrote
        error=record.error or "",
        provenance=record.provenance,
        run=f"steppe run {slug}".rstrip(),
    )
