"""A row as it stands in the store: a line with a checksum over all that it says."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .canonical import canonical
from .store_errors import foreign

Line = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of the table `cells`.

    Args:
        key: 64 hexadecimal digits.
        cell: The axes.
        status: `"done"`, `"diverged"`, `"failed"`, `"timeout"` or `"killed"`.
        attempts: How often it was tried.
        result: Canonical JSON of the declared columns, or None.
        error: The reason of a divergence or the last stack of a crash.
        provenance: When, where and with what.
    """

    key: str
    cell: Mapping[str, Any]
    status: str
    attempts: int = 1
    result: bytes | None = None
    error: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def checksum_of(record: Record) -> str:
    """SHA-256 over all fields, in hexadecimal."""
    fields = [
        record.key,
        dict(record.cell),
        record.status,
        record.attempts,
        (record.result or b"").hex(),
        record.error,
        dict(record.provenance),
    ]
    return hashlib.sha256(canonical(fields)).hexdigest()


def line_of(record: Record, checksum: str) -> Line:
    """The values of the columns, the checksum inside the provenance."""
    provenance = canonical({**record.provenance, "checksum": checksum}).decode()
    cell = msgspec.json.encode(dict(record.cell)).decode()
    return record.key, cell, record.status, record.attempts, record.result, record.error, provenance


def stored_checksum(provenance: str) -> str:
    """The checksum that a verified line carries."""
    return str(msgspec.json.decode(provenance)["checksum"])


def verified(path: Path, line: Line) -> tuple[Record, str]:
    """The record of a line, and its checksum.

    Args:
        path: The database, named if the line is damaged.
        line: The values of the columns.

    Raises:
        CorruptStoreError: The line does not match its checksum, or cannot be read.
    """
    key, cell, status, attempts, result, error, provenance = line
    try:
        stored = msgspec.json.decode(provenance)
        checksum = stored.pop("checksum")
        axes = msgspec.json.decode(cell)
        record = Record(
            key=key, cell=axes, status=status, attempts=attempts, result=result, error=error, provenance=stored
        )
        same = checksum == checksum_of(record)
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError) as problem:
        raise foreign(path, f"an unreadable record (key {key!r}: {problem})") from problem
    if not same:
        raise foreign(path, f"a damaged record (key {key!r}: its checksum does not match)")
    return record, checksum
