"""Values as they are typed on a command line: `width=64,128`, `1,2,5`."""

import json
from collections.abc import Iterable
from typing import Any

from steppe.core import InputError, ParameterError


def axis_values(option: str, settings: Iterable[str]) -> dict[str, list[Any]]:
    """`["width=64,128", "inputs=donut"]` as `{"width": [64, 128], "inputs": ["donut"]}`.

    A value that reads as JSON (64, 0.5, true, null, "64") is that, anything else is a string.

    Raises:
        InputError: A setting has no `=`, no name or no value.
    """
    values: dict[str, list[Any]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        parts = [part.strip() for part in text.split(",")]
        if not equals or not name.strip() or not all(parts):
            raise InputError(
                f"`{option}` must be axis=value[,value…], got {setting!r}; write for example {option} seed=0,1"
            )
        values.setdefault(name.strip(), []).extend(_scalar(part) for part in parts)
    return values


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, list | dict) else value


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def numbers(option: str, text: str, *, integer: bool = False) -> list[float]:
    """`"1,2,5"` as numbers; an empty text is none.

    Raises:
        ParameterError: A part is no number (no integer).
    """
    kind = int if integer else float
    values: list[float] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            values.append(kind(part))
        except ValueError:
            wanted = "integers" if integer else "numbers"
            raise ParameterError(
                f"`--{option}` must be {wanted} separated by commas, got {part!r}; write for example --{option} 1,2,5"
            ) from None
    return values
