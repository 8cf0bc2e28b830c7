"""What a function or claim is, as a text that changes when its source does."""

import ast
import dataclasses
import functools
import hashlib
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from steppe.core import KindError

from .canonical import digest

_SHORT = 32


def normalized(source: str) -> str:
    """Source without comments, docstrings and layout; the text itself if it does not parse alone (a lambda's lines)."""
    text = textwrap.dedent(source)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def identity(value: Any) -> str:
    """A callable's qualified name and a hash of its source, its defaults and what it closes over.

    Comments, docstrings and layout do not count. What has no source (a cell typed into an interpreter, code read from
    standard input) is known by its byte code; instances by their class and state.

    Cost: reads the source file.
    """
    return _identity(value, ())


def _identity(value: Any, above: tuple[int, ...]) -> str:
    inner = inspect.unwrap(value) if callable(value) else value
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    text = _described(inner, (*above, id(value), id(inner)))
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:_SHORT]}"


def _described(value: Any, above: tuple[int, ...]) -> str:
    def described(*values: Any) -> str:
        return digest([_plain(inner, above) for inner in values])

    if isinstance(value, functools.partial):
        return f"partial({described(value.func, value.args, value.keywords)})"
    if isinstance(value, MethodType):
        return f"method({described(value.__func__, value.__self__)})"
    if isinstance(value, FunctionType):
        closed = [_cell_content(cell) for cell in value.__closure__ or ()]
        source = _source(value) or _code(value.__code__)
        return f"{source}|{described(value.__defaults__, value.__kwdefaults__, closed)}"
    if isinstance(value, type):
        return _source(value) or _namespace(value)
    if not hasattr(value, "__dict__"):
        name = getattr(value, "__qualname__", None)
        return (
            f"{value.__module__}.{name}" if name else f"{_described(type(value), above)}|{digest(_made(value, above))}"
        )
    return f"{_described(type(value), above)}|{described(vars(value))}"


def _cell_content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet: a function that refers to itself
        return None


def _source(value: Any) -> str:
    linecache.checkcache()
    try:
        return normalized(inspect.getsource(value))
    except (OSError, TypeError, IndentationError):
        return ""


def _code(code: CodeType) -> str:
    def constant(value: Any) -> str:
        if isinstance(value, CodeType):
            return _code(value)
        return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)

    constants = [constant(value) for value in code.co_consts]
    return repr((code.co_code, constants, code.co_names, code.co_varnames))


def _namespace(kind: type) -> str:
    """A class without source: its functions' code and its plain attributes."""
    found = {}
    for name, value in sorted(vars(kind).items()):
        if isinstance(value, FunctionType):
            found[name] = _code(value.__code__)
        elif not name.startswith("__"):
            found[name] = (
                repr(value) if isinstance(value, int | float | str | bool | None) else type(value).__qualname__
            )
    return repr(([base.__qualname__ for base in kind.__bases__], found))


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """Any value as JSON, equal for equal values in every process: by content, never by pickled bytes or addresses."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if isinstance(value, bytes | bytearray):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if id(value) in above:
        return "itself"
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        return {_named(key, inside): _plain(item, inside) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(item, inside) for item in value]
        return sorted(items, key=repr) if isinstance(value, set | frozenset) else items
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name), inside) for field in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, ModuleType):
        return {"module": value.__name__}
    if callable(value):
        return _identity(value, inside)
    return _tensor(value) or _made(value, inside)


def _named(key: Any, above: tuple[int, ...]) -> str:
    return str(key) if key is None or isinstance(key, str | int | float) else repr(_plain(key, above))


def _tensor(value: Any) -> dict[str, Any] | None:
    """A tensor by dtype, shape and content; None if it is something else."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
    content = dense.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {"tensor": str(value.dtype), "shape": list(value.shape), "bytes": hashlib.sha256(content).hexdigest()}


def _made(value: Any, above: tuple[int, ...]) -> dict[str, Any]:
    """Any other object by its class and by what it would be made from again.

    Raises:
        KindError: Nothing says what it is made from (a generator, an open file).
    """
    name = type(value).__qualname__
    try:
        recipe = value.__reduce_ex__(4)
    except Exception as error:
        raise KindError(
            f"what a part closes over must be plain data, got {name}, which cannot be told from another; make it "
            "inside the part, or pass numbers from which it is made"
        ) from error
    if isinstance(recipe, str):
        return {"class": name, "name": recipe}
    arguments = [piece for piece in recipe[1] if not isinstance(piece, type)]
    state = [list(piece) if isinstance(piece, Iterator) else piece for piece in recipe[2:]]
    return {"class": name, "made": _plain(arguments, above), "state": _plain(state, above)}


def keys_of(study: Any, cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """The key of each cell: SHA-256 of the study's slug and revision, the cell and the identities of its parts.

    Args:
        study: The study.
        cells: Its cells.

    Returns:
        64 hexadecimal digits per cell.
    """
    known: dict[int, str] = {}
    keys = []
    for axes in cells:
        cell = study.cell(axes)
        for part in cell.parts.values():
            if id(part) not in known:
                known[id(part)] = identity(part)
        parts = {slot: known[id(part)] for slot, part in cell.parts.items()}
        keys.append(digest({"study": study.slug, "revision": study.revision, "cell": dict(cell), "parts": parts}))
    return keys


def claims_digest(study: Any) -> str:
    """SHA-256 of all claims and controls: ids, statements, sources, bands, scopes and the source of their functions."""
    return digest(
        {"claims": [_plain(c, ()) for c in study.claims], "controls": [_plain(c, ()) for c in study.controls]}
    )
