"""A run from a file: what `steppe run` can be told, as TOML or JSON. Reading one imports and executes nothing."""

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from steppe.core import InputError, KindError, check_choice, check_known
from steppe.harness import Study

from .loading import load_study
from .places import check_path
from .planning import LARGEST, Size, like_axes, select
from .reading import member, read_document
from .running import Plan, plan

_CHOICES = {"size": ("default", "quick", "full"), "refresh": ("stale", "all"), "stack": ("all",)}
_EXAMPLES = {
    "study": 'study = "neural-shattering"',
    "size": 'size = "quick"',
    "set": "[set] with lines such as seed = [0, 1]",
    "add": "[add] with lines such as seed = [5, 6]",
    "where": 'where = "seed<3 and d==5"',
    "on": 'on = "local:4"',
    "workers": "workers = 4",
    "deadline": "deadline = 600",
    "retries": "retries = 1",
    "stack": "stack = 8",
    "out": 'out = "runs/mine"',
    "refresh": 'refresh = "stale"',
}
_AT = re.compile(r"(?P<what>.*) - at `\$\.?(?P<place>.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected `(?P<expected>.*)`, got `(?P<got>.*)`")
_WORDS = {"str": "a text", "int": "an integer", "float": "a number", "bool": "true or false", "object": "a table",
          "array": "a list", "null": "nothing"}  # fmt: skip


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a configuration file can say; every field is optional and has the meaning of the option of `steppe run`.

    Args:
        study: A slug. A file is named on the command line, never here: configuration never imports.
        size: `"default"`, `"quick"` or `"full"`.
        set: Axis → value or values that replace those of the grid.
        add: Axis → value or values that are added.
        where: A condition such as `"seed<3 and d==5"`.
        on: Where to compute.
        workers: Worker processes.
        deadline: Seconds that a cell may take.
        retries: How often a cell is tried again whose worker died.
        stack: At most so many cells of one group in one call, or `"all"`.
        out: The folder of the run, from the current folder.
        refresh: `"stale"` or `"all"`.
    """

    study: str | None = None
    size: Literal["default", "quick", "full"] | None = None
    set: dict[str, Any] = {}
    add: dict[str, Any] = {}
    where: str | None = None
    on: str | None = None
    workers: int | None = None
    deadline: float | None = None
    retries: int | None = None
    stack: int | Literal["all"] | None = None
    out: str | None = None
    refresh: Literal["stale", "all"] | None = None


def read_configuration(path: str | os.PathLike[str]) -> Configuration:
    """The configuration in a `.toml` or `.json` file.

    Args:
        path: The file, of at most 64 KiB. In it, `set` and `add` are tables of axes.

    Raises:
        InputError: It cannot be read or used; the message names the place in the document, such as `set.seed[2]`, and
            what to write instead.
    """
    found = read_document(path)
    try:
        for name in found:
            check_known("option", name, Configuration.__struct_fields__)
        for name, choices in _CHOICES.items():
            if isinstance(found.get(name), str):
                check_choice(name, found[name], choices)
        read = msgspec.convert(found, Configuration, strict=True)
        for section in ("set", "add"):
            for axis, values in getattr(read, section).items():
                _check_axis(member(section, axis), values)
        if read.study is not None:
            _check_slug(read.study)
        if read.out is not None:
            check_path("out", read.out)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {_told(str(error))}") from None
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    return read


def _told(message: str) -> str:
    """What msgspec says, with the place first and an example last."""
    at = _AT.fullmatch(message)
    what, place = (at["what"], at["place"]) if at else (message, "")
    expected = _EXPECTED.fullmatch(what)
    if expected:
        kinds = [kind for kind in expected["expected"].split(" | ") if kind != "null"]
        got = _WORDS.get(expected["got"], "something else")
        what = f"must be {' or '.join(_WORDS.get(kind, kind) for kind in kinds)}, got {got}"
    name = re.match(r"\w*", place)
    example = _EXAMPLES.get(name[0] if name else "", "one of " + ", ".join(_EXAMPLES))
    return f"`{place or 'the document'}` {what}; write {example}"


def _check_axis(place: str, values: Any) -> None:
    listed = values if isinstance(values, list) else [values]
    if not listed:
        raise InputError(f"`{place}` must have at least one value, got none; leave it out or give a value")
    for index, value in enumerate(listed):
        if isinstance(value, dict | list):
            where = f"{place}[{index}]" if listed is values else place
            kind = "table" if isinstance(value, dict) else "list in a list"
            raise InputError(f"`{where}` must be a number, a text, true or false, got a {kind}; write [0, 1]")


def _check_slug(slug: str) -> None:
    if slug.endswith(".py") or "/" in slug or os.sep in slug:
        raise InputError(
            f"`study` must be a slug, got {slug[:80]!r}; a configuration imports no file, name it on the command line: "
            "steppe run ./yours.py --config …"
        )


def plan_configured(
    path: str | os.PathLike[str],
    study: Study | str | os.PathLike[str] | None = None,
    **options: Any,
) -> Plan:
    """Plan a run from a file and from options, which count more than the file.

    Args:
        path: The `.toml` or `.json` file.
        study: Instead of the file's study: a slug, a `Study`, or the path of a .py file.
        **options: Options of `plan`; None and empty ones leave the word to the file. Axes of `grid` and `extend`
            replace the file's axes of the same name in `set` and `add`.

    Raises:
        InputError, KindError: The file or an option cannot be used; the message names the place in the document.
    """
    said = read_configuration(path)
    given = {name: value for name, value in options.items() if name == "stack" or (value is not None and value != {})}
    plain = {name: getattr(said, name) for name in _EXAMPLES if name not in ("study", "set", "add")}
    merged = {name: value for name, value in plain.items() if value is not None} | given
    if merged.get("stack") == "all":
        merged["stack"] = None
    axes = {"set": dict(given.get("grid", {})), "add": dict(given.get("extend", {}))}
    own = {section: {a: v for a, v in getattr(said, section).items() if a not in axes[section]} for section in axes}
    merged |= {"grid": {**own["set"], **axes["set"]}, "extend": {**own["add"], **axes["add"]}}
    if study is None and said.study is None:
        raise InputError(f"{path}: `study` must be given, got none; write {_EXAMPLES['study']}, or steppe run STUDY …")
    try:
        found = load_study(said.study if study is None else study)  # type: ignore[arg-type]  # one is given
    except InputError as error:
        raise error if study is not None else type(error)(f"{path}: {error}") from None
    try:
        planned = plan(found if study is None else study, **merged)
    except (InputError, KindError) as error:
        place = _place(found, merged, own, where="where" in merged and "where" not in given)
        raise type(error)(f"{path}: {place}{error}") from None
    return planned


def _place(study: Study, merged: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], *, where: bool) -> str:
    """Which of the document's axes or its condition cannot be used; nothing if the message names the option itself."""
    size: Size = merged.get("size", "default")
    for section, keyword in (("set", "grid"), ("add", "extend")):
        for axis, values in own[section].items():
            index = _first_bad(study, size, keyword, axis, values)
            if index is not None:
                inside = f"[{index}]" if isinstance(values, list) and index >= 0 else ""
                return f"`{member(section, axis)}{inside}`: "
    axes = {"grid": merged["grid"], "extend": merged["extend"]}
    blamed = where and _works(study, size, **axes) and not _works(study, size, **axes, where=merged["where"])
    return "`where`: " if blamed else ""


def _first_bad(study: Study, size: Size, keyword: str, axis: str, values: Any) -> int | None:
    """The index of the first value that cannot be used alone; −1 if it is all of them together; None if they work."""
    listed = values if isinstance(values, list) else [values]
    grid = study.grid_of(size)

    def usable(chosen: list[Any]) -> bool:
        try:
            axes = like_axes(grid, {axis: chosen})
            changed = grid.override(axes) if keyword == "grid" else grid.extend(axes)
            for name in chosen if axis in study.slots else ():
                check_known(axis, name, study.slots[axis].parts)
        except (InputError, KindError):
            return False
        return changed.bound <= LARGEST

    if usable(listed):
        return None
    low, high = 0, len(listed)  # the first `low` values can be used, the first `high` cannot
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if usable(listed[:middle]) else (low, middle)
    return low if axis in grid.names and not usable([listed[low]]) else -1


def _works(study: Study, size: Size, **choice: Any) -> bool:
    try:
        select(study, size=size, **choice)
    except (InputError, KindError):
        return False
    return True
