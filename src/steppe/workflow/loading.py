"""A study from a slug, an installed package or a file that the user names."""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from steppe.core import InputError, KindError, UnknownNameError, check_known
from steppe.harness import Study
from steppe.studies import Entry, known_studies

from .places import check_path


def load_study(study: Study | str | os.PathLike[str]) -> Study:
    """The study itself, by its slug, or from a Python file that holds one in the name `STUDY`.

    A slug is looked up in the catalog and in the entry-point group `steppe.studies`. A text that ends in `.py` or
    contains a path separator is a file; it is executed under a private module name, and its folder is appended to
    `sys.path`, so that it may import its neighbours, here and in worker processes.

    Args:
        study: A `Study`, a slug, or a path.

    Raises:
        UnknownNameError: No study has this slug; the message lists them and the closest one.
        InputError: The file does not exist, does not run, or holds no study.
        KindError: `study` is none of the three.
    """
    if isinstance(study, Study):
        return study
    if isinstance(study, os.PathLike):
        return _from_file(check_path("study", study))
    if not isinstance(study, str):
        raise KindError(
            f"`study` must be a slug, a Study or the path of a .py file, got {study!r} ({type(study).__name__}); "
            "pass for example 'neural-shattering'"
        )
    if study.endswith(".py") or "/" in study or os.sep in study:
        return _from_file(check_path("study", study))
    entries = {entry.slug: entry for entry in known_studies()}
    if study not in entries:
        _refuse_slug(study, list(entries))
    return _from_entry(entries[study])


def _refuse_slug(slug: str, known: list[str]) -> None:
    beside = check_path("study", f"{slug}.py")
    if beside.is_file():
        raise UnknownNameError(f"`study` {slug!r} is not known; for the file beside you write ./{beside}")
    check_known("study", slug, known)


def _from_entry(entry: Entry) -> Study:
    name, _, attribute = entry.module.partition(":")
    try:
        found = getattr(importlib.import_module(name), attribute or "STUDY")
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"study {entry.slug!r} cannot be loaded from {entry.module}: {type(error).__name__}: {error}; "
            "reinstall the package it comes from"
        ) from error
    if not isinstance(found, Study):
        raise KindError(f"{entry.module} must be a Study, got {type(found).__name__}; correct the entry point")
    return found


def _from_file(path: Path) -> Study:
    if path.is_dir():
        raise InputError(f"`study` must be a .py file, got the folder {path}; name the file in it that holds STUDY")
    if not path.is_file():
        raise InputError(f"`study` {str(path)!r} is no file; pass the path of a .py file that holds STUDY, or a slug")
    if path.suffix != ".py":
        raise InputError(f"`study` must be a .py file, got {str(path)!r}; a study is a Python file that holds STUDY")
    module = execute_file(path)
    if not hasattr(module, "STUDY"):
        others = [name for name, value in vars(module).items() if isinstance(value, Study)]
        remedy = f"rename {others[0]} to STUDY" if others else "add `STUDY = Study(…)` or `STUDY = ….variant(…)`"
        raise InputError(f"{path} holds no STUDY; {remedy} at its top level")
    if not isinstance(module.STUDY, Study):
        raise KindError(f"STUDY in {path} must be a steppe Study, got {type(module.STUDY).__name__}; assign a Study")
    return module.STUDY


class _AlwaysFresh(SourceFileLoader):
    """Compiles the file as it is now: bytecode of an edit ago is not used, and none is left in the user's folder."""

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)


def execute_file(path: Path) -> ModuleType:
    """Execute a Python file under a private module name, as it is now; its folder is appended to `sys.path`.

    Raises:
        InputError: It does not run; the message names the line.
    """
    resolved = path.resolve()
    digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
    name = f"_steppe_study_{resolved.stem.replace('-', '_')}_{digest}"
    loader = _AlwaysFresh(name, str(resolved))
    spec = importlib.util.spec_from_file_location(name, resolved, loader=loader)
    assert spec is not None  # a loader is given
    module = importlib.util.module_from_spec(spec)
    if str(resolved.parent) not in sys.path:
        sys.path.append(str(resolved.parent))
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(_where_it_failed(path, resolved, error)) from error
    return module


def _where_it_failed(path: Path, resolved: Path, error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename == str(resolved):
        return f"{path}, line {error.lineno}: {type(error).__name__}: {error.msg}; correct the file"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(resolved)]
    if not frames:
        return f"{path} cannot be run: {said}; correct the file"
    last = frames[-1]
    return f"{path}, line {last.lineno}: {said}\n    {last.line}\ncorrect that line"
