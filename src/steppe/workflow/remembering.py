"""Which cells the last run of a folder asked for, so that `judge` judges the same."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steppe.core import CorruptStoreError, StoreError
from steppe.harness import Study, canonical

_NAME = "asked.json"


def remember(folder: Path, study: Study, size: str, cells: Sequence[Mapping[str, Any]]) -> None:
    """Note the cells of a run, replacing what the run before noted.

    Raises:
        StoreError: The folder cannot be written.
    """
    said = {"study": study.slug, "revision": study.revision, "size": size, "cells": [dict(cell) for cell in cells]}
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{_NAME}.", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({**said, "checksum": _checksum(said)}, file, ensure_ascii=False)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / _NAME)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise StoreError(
            f"could not write to {folder}: {error.strerror or error}; free space or choose another folder with --out"
        ) from error


def remembered(folder: Path, study: Study) -> tuple[str, list[dict[str, Any]]] | None:
    """Size and cells that the last run of this study and revision asked for; None if there was none.

    Raises:
        CorruptStoreError: The note is damaged. It is not deleted.
    """
    path = folder / _NAME
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        checksum = said.pop("checksum", None)  # older notes have none
        if checksum is not None and checksum != _checksum(said):
            raise ValueError("its checksum does not match")
        same = (said["study"], said["revision"]) == (study.slug, study.revision)
        return (str(said["size"]), [_cell(cell) for cell in said["cells"]]) if same else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptStoreError(
            f"{path} must be the note of the last run, got something else ({type(error).__name__}); nothing was "
            "deleted. Move it away, or say which cells to judge with --quick, --full or --where"
        ) from error


def _checksum(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(said)).hexdigest()


def _cell(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or any(isinstance(axis, dict | list) for axis in value.values()):
        raise TypeError("a cell must be an object of scalars")
    return value
