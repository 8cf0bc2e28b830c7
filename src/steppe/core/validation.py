"""Checks at the doors: what was expected, what came, what to do. No torch here."""

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import KindError, ParameterError, UnknownNameError

_LONGEST = 200  # characters of a value in a message


def check_integer(name: str, value: Any, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """`value` as an int in [minimum, maximum].

    Raises:
        KindError: It is not an integer (a bool is none).
        ParameterError: It is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise KindError(f"`{name}` must be an integer, got {value!r} ({type(value).__name__}); pass an int")
    number = int(value)
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise ParameterError(
            f"`{name}` must be {_interval(minimum, maximum)}, got {number}; pass an integer in that range"
        )
    return number


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """`value` as a finite float with minimum ≤ value ≤ maximum and above < value < below.

    Raises:
        KindError: It is not a real number (a bool is none).
        ParameterError: It is not finite or out of range.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        raise KindError(f"`{name}` must be a number, got {value!r} ({type(value).__name__}); pass a float")
    number = float(value)
    if not math.isfinite(number):
        raise ParameterError(f"`{name}` must be finite, got {number}; pass a finite number")
    outside = (
        (minimum is not None and number < minimum)
        or (maximum is not None and number > maximum)
        or (above is not None and number <= above)
        or (below is not None and number >= below)
    )
    if outside:
        raise ParameterError(
            f"`{name}` must be {_interval(minimum, maximum, above, below)}, got {number:g}; pass a number in that range"
        )
    return number


def _interval(
    minimum: float | None, maximum: float | None, above: float | None = None, below: float | None = None
) -> str:
    words = ((">", above), ("≥", minimum), ("<", below), ("≤", maximum))
    return " and ".join(f"{sign} {limit:g}" for sign, limit in words if limit is not None)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value`, if it is one of a few fixed `choices`.

    Raises:
        UnknownNameError: It is not; the message lists them and the closest one.
    """
    names = list(choices)
    if value not in names:
        listed = ", ".join(map(repr, names))
        remedy = _closest(value, names) or "; pass one of them"
        raise UnknownNameError(f"`{name}` must be one of {listed}, got {_shown(value)}{remedy}")
    return str(value)


def check_known(name: str, value: Any, known: Iterable[str]) -> str:
    """`value`, if it is among the `known` names (studies, axes, columns, parts).

    Raises:
        UnknownNameError: It is not; the message lists them and the closest one.
    """
    names = list(known)
    if value not in names:
        listed = ", ".join(map(repr, names)) or "none"
        raise UnknownNameError(f"unknown `{name}` {_shown(value)}{_closest(value, names)}; known: {listed}")
    return str(value)


def _shown(value: Any) -> str:
    """A value as typed; letters that only look like those of a known name are told apart by their codes."""
    text = repr(value)
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
    return shown if text.isascii() or not isinstance(value, str) else f"{shown} ({value[:_LONGEST]!a})"


def _closest(value: Any, names: list[str]) -> str:
    close = difflib.get_close_matches(str(value), names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


# What users of other libraries write, and what it is called here.
_SYNONYMS: Mapping[str, str] = {
    "epochs": "steps",
    "eta": "step_size",
    "gamma": "step_size",
    "iterations": "steps",
    "learning_rate": "step_size",
    "lr": "step_size",
    "max_grad_norm": "clip",
    "n_steps": "steps",
    "num_steps": "steps",
    "random_state": "seed",
    "tol": "rtol",
    "wd": "weight_decay",
}


def refuse_unknown_keywords(function: str, unknown: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise a helpful error if `unknown` is not empty.

    Raises:
        KindError: A keyword is not known; the message names the value and the keyword to use instead.
    """
    names = list(known)
    for name, value in unknown.items():
        synonym = _SYNONYMS.get(name, "")
        close = [synonym] if synonym in names else difflib.get_close_matches(name, names, n=1)
        remedy = f"pass `{close[0]}={value!r}` instead" if close else f"known: {', '.join(names)}"
        raise KindError(f"`{function}` does not know the keyword `{name}` (got {name}={value!r}); {remedy}")
