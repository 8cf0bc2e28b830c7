"""TOML and JSON documents as plain values, with limits that hold before the parser sees them."""

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from steppe.core import InputError

from .places import check_path

_LARGEST = 65_536  # bytes
_DEEPEST = 8  # brackets inside brackets
_LONGEST_KEY = 8  # pieces of a dotted key; the parser takes time quadratic in them
_LONGEST_INTEGER = 1000  # digits; Python itself refuses above 4300, without saying where
_INTEGER_LIMIT = 2**63
_DIGITS = re.compile(r"[0-9_]+")
_BARE = re.compile(r"[A-Za-z0-9_-]{1,60}")
_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*+"""', re.DOTALL),
    "'''": re.compile(r"'''(?:[^']|'(?!''))*+'''"),
    '"': re.compile(r'"(?:[^"\\\n]|\\.)*+"'),
    "'": re.compile(r"'[^'\n]*+'"),
}
_REST_OF_LINE = re.compile(r"[^\n]*")
_PLAIN = re.compile(r"[^\"'#\[\]{}=,.\n]+")


def read_document(path: Any) -> dict[str, Any]:
    """The table in a `.toml` file or the object in a `.json` file.

    Args:
        path: The file, of at most 64 KiB and 8 nested brackets.

    Raises:
        InputError: There is no such file, it is too large or too deep, it is not of its format, a key stands twice, or
            a value is none that a configuration can hold; the message names the line or the place in the document.
    """
    file = check_path("config", path)
    readers = {".toml": _toml, ".json": _json}
    if file.suffix.lower() not in readers:
        raise InputError(f"`config` must be a .toml or .json file, got {str(path)!r}; rename it, or write one")
    if not file.is_file():
        raise InputError(f"`config` {str(path)!r} is no file; write one, for example with the line: study = 'toy'")
    with file.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{file} must have at most {_LARGEST} bytes, got more; shorten the lists of values")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}, byte {error.start}: not UTF-8 ({error.reason}); save it as UTF-8 text") from None
    _refuse_bombs(file, text, toml=file.suffix.lower() == ".toml")
    try:
        found = readers[file.suffix.lower()](text)
    except RecursionError:
        raise InputError(f"{file} is nested too deep; use at most {_DEEPEST} levels of brackets") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{file}, {place}: no JSON ({error.msg}); correct that line") from None
    except ValueError as error:
        raise InputError(f"{file}: no {file.suffix[1:].upper()} ({_shortened(str(error), 200)}); correct it") from None
    if not isinstance(found, dict):
        raise InputError(f'{file} must hold an object, got a {type(found).__name__}; write {{"study": …}}')
    for place, problem in _problems(found, ""):
        raise InputError(f"{file}: `{place}` {problem}")
    return found


def _toml(text: str) -> Any:
    return tomllib.loads(text)


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=float)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key `{member('', twice)}` stands twice in one object")
    return found


def _refuse_bombs(file: Path, text: str, *, toml: bool) -> None:
    """Refuse what would cost the parser its stack or its time.

    Reads tokens as the parser does, strings and comments aside, and stops where the parser would: at a string without
    an end.
    """
    for digits in _DIGITS.finditer(text):
        if len(digits.group()) > _LONGEST_INTEGER:
            line = text.count("\n", 0, digits.start()) + 1
            raise InputError(f"{file}, line {line}: a number of {len(digits.group())} digits; write one of 64 bits")
    depth, pieces = 0, 1
    for token in _tokens(text, toml=toml):
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        pieces = pieces + 1 if token == "." else 1
        if depth > _DEEPEST:
            raise InputError(f"{file} is nested too deep; use at most {_DEEPEST} levels of brackets")
        if toml and pieces > _LONGEST_KEY:
            raise InputError(f"{file} has a dotted key of more than {_LONGEST_KEY} pieces; use fewer")


def _tokens(text: str, *, toml: bool) -> Iterator[str]:
    """Brackets, dots, and whatever ends a dotted key."""
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == '"' or (toml and sign == "'"):
            triple = sign * 3
            kind = triple if toml and text.startswith(triple, at) else sign
            found = _STRINGS[kind].match(text, at)
            if found is None:
                return
            at = found.end()
        elif toml and sign == "#":
            at = _REST_OF_LINE.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text
        elif (plain := _PLAIN.match(text, at)) is not None:
            at = plain.end()
        else:
            yield sign
            at += 1


def _problems(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Place and problem of every value that no configuration can hold."""
    if isinstance(value, dict):
        for name, inner in value.items():
            below = member(place, name)
            if not _encodable(name):
                yield below, "has a name that is no valid text; write it in plain letters"
            yield from _problems(inner, below)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _problems(inner, f"{place}[{index}]")
    elif isinstance(value, str):
        if not _encodable(value):
            yield place, f"must be valid text, got {value[:40]!a}; remove the lone surrogate"
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, f"must be finite, got {value}; write a finite number"
    elif isinstance(value, int) and not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        yield place, "must fit 64 bits, got a larger integer; write a smaller one"
    elif value is not None and not isinstance(value, bool | int | float):
        yield place, f"must be a number, a text, true or false, got a {type(value).__name__}; put it in quotes"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def member(place: str, name: str) -> str:
    """The place of a member in a document: `set.seed`, or `set."odd name"`."""
    shown = name if _BARE.fullmatch(name) else ascii(_shortened(name))
    return f"{place}.{shown}" if place else shown


def _shortened(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
