"""The store of a study: one SQLite file, one writer, nothing ever deleted."""

import datetime
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import msgspec

from steppe.core import StoreError

from .canonical import canonical
from .identity import claims_digest
from .store_errors import busy, foreign, refuse_network, told

APPLICATION = 0x53745070  # "StPp"
FORMAT = 1
_COLUMNS = "key, cell, status, attempts, result, error, provenance"
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE cells (key TEXT PRIMARY KEY, cell TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, "
    "result BLOB, error TEXT, provenance TEXT NOT NULL)",
    "CREATE TABLE superseded (key TEXT NOT NULL, cell TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, "
    "result BLOB, error TEXT, provenance TEXT NOT NULL)",
)
_FINAL = ("done", "diverged")
_CHUNK = 500


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


class Store:
    """The folder of a study: `study.db`, and `study.lock` while a run writes.

    A store is open from its construction until `close`, or as a context manager. Writing takes an OS file lock that
    dies with the process. Every commit is on disk when it returns.

    Args:
        folder: The folder; made if it is not there, unless `read_only`.
        read_only: Open for reading, beside a writer.

    Raises:
        CorruptStoreError: `study.db` is damaged or not ours. It is never deleted.
        StoreBusyError: Another process writes to the folder.
        StoreError: The folder is not writable, on a network file system, or (reading) has no store.
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "study.db"
        self.read_only = read_only
        self._lock: filelock.BaseFileLock | None = None
        self._connection: sqlite3.Connection | None = None
        try:
            if read_only:
                self._open_for_reading()
            else:
                self._open_for_writing()
        except BaseException:
            self.close()
            raise

    def _open_for_reading(self) -> None:
        if not self.path.is_file():
            raise StoreError(
                f"{self.folder} must hold a study.db, got none; run the study first, or name its folder with --out"
            )
        with told(self.path, "read"):
            try:
                self._connection = self._connect("mode=ro")
                self._check()
            except sqlite3.OperationalError as error:
                if not getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                    raise
                self._connection = self._connect("mode=ro&immutable=1")  # a folder where no -shm file can be made
                self._check()

    def _open_for_writing(self) -> None:
        with told(self.path, "open"):
            self.folder.mkdir(parents=True, exist_ok=True)
            refuse_network(self.folder)
            self._lock = filelock.FileLock(self.folder / "study.lock", timeout=0, thread_local=False)
            try:
                self._lock.acquire()
            except filelock.Timeout as error:
                raise busy(self.path) from error
            if self.path.exists() and not self.path.is_file():
                raise foreign(self.path, "a folder or device")
            self._connection = self._connect("mode=rwc")
            if self._is_new():
                self._create()
            self._check()
            self._db.execute("PRAGMA journal_mode=WAL").fetchone()
            self._db.execute("PRAGMA synchronous=FULL")

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"{self.path.resolve().as_uri()}?{mode}"
        connection = sqlite3.connect(address, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema=OFF")
        return connection

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.folder} is closed; open it again with Store({str(self.folder)!r})")
        return self._connection

    def _is_new(self) -> bool:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        return bool(tables == 0 and application == 0)

    def _create(self) -> None:
        with self._transaction():
            for statement in _SCHEMA:
                self._db.execute(statement)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._db.execute("INSERT INTO meta VALUES ('created', ?)", (now,))
            self._db.execute(f"PRAGMA application_id={APPLICATION}")
            self._db.execute(f"PRAGMA user_version={FORMAT}")

    def _check(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise foreign(self.path, "a database of another program")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise StoreError(
                f"{self.path} must have format ≤ {FORMAT}, got {version}: a newer steppe wrote it; upgrade"
            )
        (state,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if state != "ok":
            raise foreign(self.path, f"a damaged database ({state})")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file and release the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- meta ---------------------------------------------------------------------------------------------------------

    def meta(self) -> dict[str, str]:
        """Names and values of the table `meta`: created, slug, claims digests by revision."""
        with told(self.path, "read"):
            return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def check_slug(self, study: Any) -> None:
        """Refuse a folder that holds another study.

        Raises:
            StoreError: It does.
        """
        slug = self.meta().get("slug", study.slug)
        if slug != study.slug:
            raise StoreError(
                f"{self.folder} must hold the study `{study.slug}`, got rows of `{slug}`; choose another --out"
            )

    def claims_changed(self, study: Any) -> bool | None:
        """Whether any claim or control changed after the first row of this revision; None if there is no row yet."""
        stored = self.meta().get(_claims_name(study))
        return None if stored is None else stored != claims_digest(study)

    # -- cells --------------------------------------------------------------------------------------------------------

    def statuses(self) -> dict[str, tuple[str, int]]:
        """Key → (status, attempts), of all cells."""
        with told(self.path, "read"):
            found = self._db.execute("SELECT key, status, attempts FROM cells").fetchall()
        return {key: (status, attempts) for key, status, attempts in found}

    def records(self, keys: Iterable[str] | None = None) -> dict[str, Record]:
        """Key → record, of these cells or of all.

        Raises:
            CorruptStoreError: A record does not match its checksum.
        """
        with told(self.path, "read"):
            if keys is None:
                found = self._db.execute(f"SELECT {_COLUMNS} FROM cells").fetchall()
            else:
                found = [line for chunk in _chunks(list(keys)) for line in self._select(chunk)]
        return {line[0]: self._record(line) for line in found}

    def _select(self, keys: Sequence[str]) -> list[Any]:
        marks = ", ".join("?" * len(keys))
        return self._db.execute(f"SELECT {_COLUMNS} FROM cells WHERE key IN ({marks})", keys).fetchall()

    def _record(self, line: tuple[Any, ...]) -> Record:
        key, cell, status, attempts, result, error, provenance = line
        try:
            stored = msgspec.json.decode(provenance)
            checksum = stored.pop("checksum")
            axes = msgspec.json.decode(cell)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as problem:
            raise foreign(self.path, f"an unreadable record (key {key}: {problem})") from problem
        record = Record(
            key=key, cell=axes, status=status, attempts=attempts, result=result, error=error, provenance=stored
        )
        if checksum != _checksum(record):
            raise foreign(self.path, f"a damaged record (key {key}: its checksum does not match)")
        return record

    def write(self, study: Any, records: Sequence[Record]) -> None:
        """Commit records in one transaction; when it returns they are on disk.

        A finished row that is computed again moves to the table `superseded`; the digest of the claims is stored with
        the first row of a revision.

        Raises:
            StoreError: The disk is full or cannot be written; nothing committed before is lost.
        """
        with told(self.path, "write to"), self._transaction():
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('slug', ?)", (study.slug,))
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (_claims_name(study), claims_digest(study)))
            for record in records:
                self._db.execute(
                    f"INSERT INTO superseded SELECT {_COLUMNS} FROM cells WHERE key = ? AND status IN (?, ?)",
                    (record.key, *_FINAL),
                )
                self._db.execute(
                    f"INSERT OR REPLACE INTO cells ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", _line(record)
                )


def _claims_name(study: Any) -> str:
    return f"claims of revision {study.revision}"


def _line(record: Record) -> tuple[Any, ...]:
    provenance = canonical({**record.provenance, "checksum": _checksum(record)}).decode()
    cell = msgspec.json.encode(dict(record.cell)).decode()
    return record.key, cell, record.status, record.attempts, record.result, record.error, provenance


def _checksum(record: Record) -> str:
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


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
