"""What goes wrong with a file, told in words: SQLite's and the system's errors as ours."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from steppe.core import CorruptStoreError, StoreBusyError, StoreError

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
    "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "pvfs2", "smb2", "smb3", "smbfs",
}  # fmt: skip
_KEPT = "all rows committed so far are kept"


def foreign(path: Path, reason: str) -> CorruptStoreError:
    """The error for a file that is damaged or not ours."""
    return CorruptStoreError(
        f"{path} must be a store written by steppe, got {reason}; nothing was changed or deleted. "
        "Move the file away, or choose another folder with --out"
    )


def newer(path: Path, known: int, found: int) -> StoreError:
    """The error for a store that a later steppe wrote."""
    return StoreError(f"{path} must have format ≤ {known}, got {found}: a newer steppe wrote it; upgrade")


def nothing_here(folder: Path) -> StoreError:
    """The error for a folder from which nothing can be read yet."""
    return StoreError(
        f"{folder} must hold a study.db with rows, got none; run the study first, or name its folder with --out"
    )


@contextmanager
def told(path: Path, doing: str) -> Iterator[None]:
    """Turn errors of SQLite and of the system into ours, with a remedy.

    Raises:
        CorruptStoreError: The file is damaged or no database.
        StoreBusyError: Another process holds it.
        StoreError: The disk is full, the folder is not writable, or reading and writing failed.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _of_sqlite(error, path, doing) from error
    except OSError as error:
        raise _of_system(error, path, doing) from error


def _of_sqlite(error: sqlite3.Error, path: Path, doing: str) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")) or "malformed" in str(error):
        return foreign(path, f"a damaged or foreign file ({error})")
    if name.startswith("SQLITE_FULL"):
        return _full(path, doing)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return busy(path)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return _forbidden(path, doing, str(error))
    if isinstance(error, sqlite3.OperationalError) and "no such" in str(error):
        return foreign(path, f"a database with other tables ({error})")
    if "decode to UTF-8" in str(error):
        return foreign(path, f"a damaged text ({error})")
    return StoreError(f"could not {doing} {path}: {error} ({name or 'SQLite'}); {_KEPT}; check the disk and run again")


def _of_system(error: OSError, path: Path, doing: str) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path, doing)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return _forbidden(path, doing, error.strerror or str(error))
    return StoreError(f"could not {doing} {path}: {error}; {_KEPT}; check the disk and run again")


def _full(path: Path, doing: str) -> StoreError:
    return StoreError(
        f"could not {doing} {path}: the disk is full; {_KEPT}. Free some space and run the same command again, it goes "
        "on where it stopped; or choose another disk with --out"
    )


def _forbidden(path: Path, doing: str, reason: str) -> StoreError:
    needed = "the file and its folder must be readable" if doing == "read" else "the folder must be writable"
    return StoreError(
        f"could not {doing} {path}: {needed}, got {reason!r}; change its permissions or choose another folder with "
        "--out"
    )


def busy(path: Path) -> StoreBusyError:
    """The error for a folder that another process writes to."""
    return StoreBusyError(
        f"{path.parent} must have one writer, got a second one: another run is writing there; "
        "wait until it ends, or choose another folder with --out"
    )


def refuse_network(folder: Path) -> None:
    """Refuse a folder on a network file system, where locks and full sync cannot be relied on.

    Raises:
        StoreError: It is on one.
    """
    place = folder.resolve()
    kind, longest = "", -1
    for mount in psutil.disk_partitions(all=True):
        point = Path(mount.mountpoint)
        if place.is_relative_to(point) and len(point.parts) > longest:
            kind, longest = mount.fstype.lower(), len(point.parts)
    if kind in _NETWORK:
        raise StoreError(
            f"the folder of a study must be on a local disk, got {folder} on a network file system ({kind}), where "
            "file locks and full sync cannot be relied on; choose a local folder with --out, such as --out /tmp/steppe"
        )
