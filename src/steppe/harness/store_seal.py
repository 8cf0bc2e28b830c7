"""How a store notices that committed rows are gone: a seal in the database, and a mark beside it.

The checksum of a row shows that the row is unchanged; it cannot show that a row is missing. The *seal*, a line of the
table `meta`, holds how many rows there are and the sum of their checksums, and changes in the same transaction as the
rows. The *mark*, a small file beside the database, holds how many commits were acknowledged, so that a damaged or
deleted write-ahead log, which SQLite passes over in silence, is noticed too.
"""

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from steppe.core import CorruptStoreError

from .canonical import digest

SEAL = "seal"
_MODULUS = 2**256
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a link would lead elsewhere, a pipe would wait for ever
_LONGEST = 200
_MARK = re.compile(rb"([0-9a-f]{32}) ([0-9]{20}) ([0-9a-f]{16})\n")


@dataclass(frozen=True, kw_only=True)
class Seal:
    """What a store holds, in one line.

    Args:
        store: A random name, given when the store was made.
        commits: How many transactions wrote rows.
        rows: How many rows there are, replaced ones included.
        total: Sum of their checksums, modulo 2^256, in hexadecimal.
        meta: Digest of the other lines of `meta`.
    """

    store: str
    commits: int = 0
    rows: int = 0
    total: str = "0"
    meta: str = ""

    def changed(self, added: Iterable[str], removed: Iterable[str] = ()) -> "Seal":
        """The seal with more rows, told by their checksums, and without others."""
        more, less = [int(checksum, 16) for checksum in added], [int(checksum, 16) for checksum in removed]
        total = (int(self.total, 16) + sum(more) - sum(less)) % _MODULUS
        return replace(self, rows=self.rows + len(more) - len(less), total=f"{total:x}")

    def closed(self, meta: Mapping[str, str]) -> "Seal":
        """The seal after one more commit, over these lines of `meta`."""
        return replace(self, commits=self.commits + 1, meta=_digest(meta))

    def text(self) -> str:
        """The line that is stored."""
        fields = asdict(self)
        return msgspec.json.encode({**fields, "check": digest(fields)}).decode()

    def covers(self, found: "Seal", meta: Mapping[str, str]) -> bool:
        """Whether the rows found, and these lines of `meta`, are exactly what was sealed."""
        return (self.rows, self.total, self.meta) == (found.rows, found.total, _digest(meta))


def new_seal() -> Seal:
    """The seal of an empty store."""
    return Seal(store=secrets.token_hex(16))


def read_seal(text: str | None) -> Seal | None:
    """The seal from its line; None if it is not there or does not match its own checksum."""
    try:
        fields: dict[str, Any] = msgspec.json.decode(text or "")
        check = fields.pop("check")
        return Seal(**fields) if check == digest(fields) else None
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None


def _digest(meta: Mapping[str, str]) -> str:
    return digest({name: value for name, value in meta.items() if name != SEAL})


class Mark:
    """The file `study.mark`: store and number of the last acknowledged commit.

    It is written after the commit is on disk and not synced itself: after a loss of power it may lag, never lead. What
    cannot be written or read counts as no mark; it is a witness, not data.

    Args:
        folder: The folder of the store.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "study.mark"
        self._file: int | None = None

    def read(self) -> tuple[str, int] | None:
        """Store and commits; None if there is no readable mark."""
        with contextlib.suppress(OSError):
            file = os.open(self.path, os.O_RDONLY | _SAFELY)
            try:
                found = _MARK.fullmatch(os.read(file, _LONGEST))
            finally:
                os.close(file)
            if found and found[3].decode() == _short(found[1].decode(), int(found[2])):
                return found[1].decode(), int(found[2])
        return None

    def write(self, seal: Seal) -> None:
        """Note that the commits of this seal are acknowledged."""
        text = f"{seal.store} {seal.commits:020d} {_short(seal.store, seal.commits)}\n"
        with contextlib.suppress(OSError):
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o644)
                os.ftruncate(self._file, len(text))
            os.pwrite(self._file, text.encode(), 0)

    def forget(self) -> None:
        """Remove the mark of a store that is gone."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _short(store: str, commits: int) -> str:
    return hashlib.sha256(f"{store} {commits}".encode()).hexdigest()[:16]


def has_log(path: Path) -> bool:
    """Whether committed rows may stand in the write-ahead log beside the database: the last writer was killed."""
    return _size(path.with_name(f"{path.name}-wal")) > 0


def copied(path: Path, folder: Path) -> Path:
    """A copy of the database and of its log."""
    for name in (path.name, f"{path.name}-wal"):
        shutil.copyfile(path.with_name(name), folder / name)
    return folder / path.name


def check_present(path: Path, mark: Mark) -> None:
    """Refuse an emptied database before SQLite sees it: SQLite would take it for a new one and delete its log.

    Raises:
        CorruptStoreError: Rows were here.
    """
    if _size(path) > 1:  # SQLite takes one byte for none
        return
    if has_log(path):
        raise lost(path, "an empty file beside a log of changes that belong into it")
    known = mark.read()
    if path.exists() and known is not None and known[1]:
        raise lost(path, f"an empty file, though {known[1]} commits were written")


def check_mark(path: Path, seal: Seal, known: tuple[str, int] | None) -> None:
    """Refuse a store that holds less than what was acknowledged.

    Args:
        path: The database.
        seal: Its seal.
        known: What the mark said before the database was read.

    Raises:
        CorruptStoreError: Commits are missing.
    """
    if known is not None and known[0] == seal.store and seal.commits < known[1]:
        raise lost(path, f"{seal.commits} commits of {known[1]} (was its -wal file damaged or deleted?)")


def lost(path: Path, found: str) -> CorruptStoreError:
    """The error for a store from which rows are gone."""
    return CorruptStoreError(
        f"{path} must hold every row that was committed, got {found}; nothing was changed or deleted. Restore the "
        f"folder from a copy, or delete {path.with_name('study.mark')} (and an empty study.db) to go on with what is "
        "left: what is missing is computed again"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
