"""The store of a study: one SQLite file, one writer, nothing ever deleted."""

import datetime
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock

from steppe.core import StoreError

from .identity import claims_digest
from .store_errors import busy, foreign, newer, nothing_here, refuse_network, told
from .store_lines import Line, checksum_of, line_of, stored_checksum, verified
from .store_lines import Record as Record
from .store_seal import SEAL, Mark, Seal, check_mark, check_present, copied, has_log, new_seal, read_seal

APPLICATION = 0x53745070  # "StPp"
FORMAT = 2
_UNSEALED = 1  # the format before there were seals; still read, and sealed by the next run
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


class Store:
    """The folder of a study: `study.db`, `study.lock` while a run writes, and `study.mark`, which counts the commits.

    A store is open from its construction until `close`, or as a context manager. Writing takes an OS file lock that
    dies with the process. Every commit is on disk when it returns. Opening verifies everything: each row against its
    checksum, and all rows together against what was sealed with the last commit, so that no row changes or vanishes in
    silence.

    Args:
        folder: The folder; made if it is not there, unless `read_only`.
        read_only: Open for reading, beside a writer.

    Raises:
        CorruptStoreError: `study.db` is damaged, lacks rows that were committed, or is not ours. It is never deleted.
        StoreBusyError: Another process writes to the folder.
        StoreError: The folder is not writable, on a network file system, or (reading) has no store.

    Cost: Opening reads every row, about 15 µs each.
    """

    def __init__(self, folder: str | Path, *, read_only: bool = False) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "study.db"
        self.read_only = read_only
        self._lock: filelock.BaseFileLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._mark = Mark(self.folder)
        self._seal = new_seal()
        try:
            with told(self.path, "read" if read_only else "open"):
                if read_only:
                    self._open_for_reading()
                else:
                    self._open_for_writing()
        except BaseException:
            self.close()
            raise

    def _open_for_reading(self) -> None:
        if self.path.is_symlink():  # SQLite makes its -shm file beside what a link leads to
            raise foreign(self.path, "a link")
        if not self.path.is_file():
            raise nothing_here(self.folder)
        check_present(self.path, self._mark)
        try:
            self._connection = _connect(self.path, "mode=ro")
            self._check()
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
            self._open_where_nothing_can_be_made()

    def _open_where_nothing_can_be_made(self) -> None:
        """In a folder without room for SQLite's -shm file; there, rows in the log are read from a copy."""
        if self._connection is not None:
            self._connection.close()
        if has_log(self.path):
            self._copy = tempfile.TemporaryDirectory(prefix="steppe-")
            self._connection = _connect(copied(self.path, Path(self._copy.name)), "mode=rw")
        else:
            self._connection = _connect(self.path, "mode=ro&immutable=1")
        self._check()

    def _open_for_writing(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        refuse_network(self.folder)
        self._lock = filelock.FileLock(self.folder / "study.lock", timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise busy(self.path) from error
        if self.path.is_symlink():  # rows would be written wherever it leads
            raise foreign(self.path, "a link")
        if self.path.exists() and not self.path.is_file():
            raise foreign(self.path, "a folder or device")
        check_present(self.path, self._mark)
        if not self.path.exists():
            self._mark.forget()
        if has_log(self.path):  # a writer that finds damage would still merge and delete the log; a reader cannot
            with closing(_connect(self.path, "mode=ro")) as self._connection:
                self._check()
        self._connection = _connect(self.path, "mode=rwc")
        if self._is_new():
            self._create()
        self._check()
        self._db.execute("PRAGMA journal_mode=WAL").fetchone()
        self._db.execute("PRAGMA synchronous=FULL")
        if self._version() == _UNSEALED:
            self._seal_now()
        self._mark.write(self._seal)

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.folder} is closed; open it again with Store({str(self.folder)!r})")
        return self._connection

    def _is_new(self) -> bool:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # undoes a half-made beginning
        return not tables and not self.path.stat().st_size

    def _version(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _create(self) -> None:
        with self._transaction():
            for statement in _SCHEMA:
                self._db.execute(statement)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._db.execute("INSERT INTO meta VALUES ('created', ?)", (now,))
            self._db.execute(f"PRAGMA application_id={APPLICATION}")
            self._db.execute(f"PRAGMA user_version={FORMAT}")
            self._close_seal(self._seal)

    def _seal_now(self) -> None:
        """Seal the rows of a store that has no seal yet; they have just been verified."""
        with self._transaction():
            seal = self._seal.changed(stored_checksum(line[-1]) for line in self._lines())
            self._db.execute(f"PRAGMA user_version={FORMAT}")
            self._seal = self._close_seal(seal)

    def _close_seal(self, seal: Seal) -> Seal:
        """Write the seal over everything that this transaction did."""
        seal = seal.closed(self._meta())
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SEAL, seal.text()))
        return seal

    def _check(self) -> None:
        """Verify all that is there, in one snapshot."""
        known = self._mark.read()  # before the database: a writer beside us may add to it, never take away
        with self._transaction("BEGIN"):
            self._check_kind()
            (state,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
            if state != "ok":
                raise foreign(self.path, f"a damaged database ({state})")
            found = new_seal().changed(verified(self.path, line)[1] for line in self._lines())
            meta = self._meta()
            if self._version() == _UNSEALED and SEAL not in meta:
                return
            sealed = read_seal(meta.get(SEAL))
        if sealed is None:
            raise foreign(self.path, "a damaged seal")
        check_mark(self.path, sealed, known)
        if not sealed.covers(found, meta):
            raise foreign(self.path, f"{found.rows} rows that differ from the {sealed.rows} that were sealed")
        self._seal = sealed

    def _check_kind(self) -> None:
        if self.read_only and self._is_new():
            raise nothing_here(self.folder)
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION:
            raise foreign(self.path, "a database of another program")
        version = self._version()
        if version > FORMAT:
            raise newer(self.path, FORMAT, version)
        if version < _UNSEALED:
            raise foreign(self.path, f"a damaged header (format {version})")

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        self._db.execute(begin)
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
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None
        self._mark.close()
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
            return {name: value for name, value in self._meta().items() if name != SEAL}

    def _meta(self) -> dict[str, str]:
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
        return {line[0]: verified(self.path, line)[0] for line in found}

    def superseded(self) -> list[Record]:
        """The finished rows that were computed again since, oldest first.

        Raises:
            CorruptStoreError: A record does not match its checksum.
        """
        with told(self.path, "read"):
            found = self._db.execute(f"SELECT {_COLUMNS} FROM superseded ORDER BY rowid").fetchall()
        return [verified(self.path, line)[0] for line in found]

    def _select(self, keys: Sequence[str]) -> list[Line]:
        marks = ", ".join("?" * len(keys))
        return self._db.execute(f"SELECT {_COLUMNS} FROM cells WHERE key IN ({marks})", keys).fetchall()

    def _lines(self) -> Iterator[Line]:
        return self._db.execute(f"SELECT {_COLUMNS} FROM cells UNION ALL SELECT {_COLUMNS} FROM superseded")

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
            added, removed = [], []
            for record in records:
                added.append(checksum_of(record))
                removed += self._put_aside(record.key)
                line = line_of(record, added[-1])
                self._db.execute(f"INSERT OR REPLACE INTO cells ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", line)
            seal = self._close_seal(self._seal.changed(added, removed))
        self._seal = seal
        self._mark.write(seal)

    def _put_aside(self, key: str) -> list[str]:
        """Make room for a row: a finished one moves to `superseded`; of one that crashed, the checksum is returned."""
        found = self._db.execute("SELECT status, provenance FROM cells WHERE key = ?", (key,)).fetchone()
        if found is None:
            return []
        if found[0] in _FINAL:
            self._db.execute(f"INSERT INTO superseded SELECT {_COLUMNS} FROM cells WHERE key = ?", (key,))
            return []
        return [stored_checksum(found[1])]


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.resolve().as_uri()}?{mode}"
    connection = sqlite3.connect(address, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _claims_name(study: Any) -> str:
    return f"claims of revision {study.revision}"


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
