"""Which files of steppe a study's numbers depend on, found by reading, not by importing."""

import ast
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .canonical import digest
from .identity import identity, normalized

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = __name__.split(".", maxsplit=1)[0]
_OTHER_ROOMS = ("harness/", "plotting/")  # no number of a row depends on them


def source_digest(study: Any) -> str:
    """SHA-256 of the study's own files and of every file of this package that they import, directly or not.

    Imports inside functions count; a name taken from a room's door counts as the file that defines it. Rooms that only
    describe, judge or draw (harness, plotting) do not count, nor do comments, docstrings and layout. Nothing is
    imported.

    Args:
        study: The study; its files are those of its row function and of its parts.

    Cost: parses some dozens of files once per process.
    """
    return digest(source_hashes(study))


def source_hashes(study: Any) -> dict[str, str]:
    """File → hash of its normalized source; functions without a file stand under their identity."""
    functions = [study.row or study.rows, *(part for slot in study.slots.values() for part in slot.parts.values())]
    found: dict[str, str] = {}
    for function in functions:
        path = _file_of(function)
        if path is None:
            if function is (study.row or study.rows):
                found["row"] = identity(function)
        else:
            _visit(path, found)
    return found


def source_file(study: Any) -> Path | None:
    """The file that holds the study's row function, or None (standard input, a notebook)."""
    return _file_of(study.row or study.rows)


def _file_of(function: Callable[..., Any]) -> Path | None:
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(function)) or "")
    except TypeError:
        return None
    return path.resolve() if path.suffix == ".py" and path.is_file() else None


def _visit(path: Path, found: dict[str, str]) -> None:
    inside = path.is_relative_to(_ROOT)
    name = path.relative_to(_ROOT).as_posix() if inside else path.name
    if name in found or (inside and name.startswith(_OTHER_ROOMS)):
        return
    stamp = path.stat()
    found[name] = _hash(path, stamp.st_mtime_ns, stamp.st_size)
    for imported in _imported(path, _tree(path, stamp.st_mtime_ns, stamp.st_size)):
        _visit(imported, found)


@functools.cache
def _hash(path: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(normalized(path.read_text(encoding="utf-8")).encode()).hexdigest()


@functools.cache
def _tree(path: Path, _changed: int, _size: int) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def _file(module: str) -> Path | None:
    """The file of a module of this package."""
    names = module.split(".")
    if names[0] != _PACKAGE:
        return None
    base = _ROOT.joinpath(*names[1:])
    candidates = [base / "__init__.py"] if len(names) == 1 else [base.with_suffix(".py"), base / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def _module(path: Path) -> str:
    """The package that relative imports in a file start from."""
    if not path.is_relative_to(_ROOT):
        return ""
    return ".".join([_PACKAGE, *path.relative_to(_ROOT).parent.parts])


def _imported(path: Path, tree: ast.Module) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = _absolute(node, path)
            for alias in node.names:
                yield from _reached(module, alias.name)
        elif isinstance(node, ast.Import):
            files = (_file(alias.name) for alias in node.names if alias.name != _PACKAGE)
            yield from (file for file in files if file is not None)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == _PACKAGE:
            yield from _reached(_PACKAGE, node.attr)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = _module(path).split(".")
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _reached(module: str, name: str) -> Iterator[Path]:
    """The files behind `from module import name`."""
    submodule, file = _file(f"{module}.{name}"), _file(module)
    if submodule is not None:
        yield submodule
    elif file is not None and file.name == "__init__.py" and name != "*":
        yield from _through_door(file, name)
    elif file is not None:
        yield file


def _through_door(door: Path, name: str) -> Iterator[Path]:
    stamp = door.stat()
    for node in ast.walk(_tree(door, stamp.st_mtime_ns, stamp.st_size)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield from _reached(_absolute(node, door), alias.name)
                    return
    yield door
