"""Names that users and files give to folders and files, checked before anything is touched."""

import os
from pathlib import Path
from typing import Any

from steppe.core import InputError, KindError

_LONGEST_PATH, _LONGEST_NAME = 4000, 255
# What a run keeps in its folder; an export must not take the place of any of it.
RESERVED = (
    "study.db", "study.db-wal", "study.db-shm", "study.db-journal", "study.lock", "study.mark", "asked.json",
    "report.html",
)  # fmt: skip


def check_path(name: str, path: Any) -> Path:
    """`path` as a path that the system can hold.

    Args:
        name: What it is called in the message.
        path: The path.

    Raises:
        KindError: It is neither text nor a path.
        InputError: It is empty, has a NUL or an unreadable character, or is too long.
    """
    if not isinstance(path, str | os.PathLike):
        raise KindError(f"`{name}` must be a path, got {type(path).__name__}; pass text or a Path")
    text = os.fspath(path)
    problem = _problem(text) if isinstance(text, str) else "bytes"
    if problem:
        raise InputError(f"`{name}` must be a path, got {problem}; pass a shorter or plainer one")
    return Path(text)


def _problem(text: str) -> str:
    if not text:
        return "an empty text"
    if "\0" in text:
        return "one with a NUL character"
    try:
        content = os.fsencode(text)
    except UnicodeEncodeError:
        return f"one that the file system cannot hold ({text[:40]!a}…)"
    if len(content) > _LONGEST_PATH:
        return f"one of {len(content)} bytes (at most {_LONGEST_PATH})"
    longest = max(content.split(b"/"), key=len)
    return f"one with a name of {len(longest)} bytes (at most {_LONGEST_NAME})" if len(longest) > _LONGEST_NAME else ""


def check_target(name: str, path: Any) -> Path:
    """`path` as the place of a new file: none of the files that a run keeps, and no folder.

    Raises:
        KindError, InputError: It cannot be used; the message says why and what to do.
    """
    target = check_path(name, path)
    if target.name.casefold() in RESERVED:
        raise InputError(f"`{name}` must not be called {target.name!r}, which a run keeps; choose another name")
    if target.is_dir():
        raise InputError(f"`{name}` must be a file, got the folder {target}; add a file name")
    return target
