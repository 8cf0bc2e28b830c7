"""Canonical JSON: the same value gives the same bytes, whatever the order of its keys."""

import hashlib
import math
import numbers
from typing import Any

import msgspec

from steppe.core import KindError, ParameterError

Scalar = bool | int | float | str | None
Value = Scalar | list[float] | list[int]

_INTEGER_LIMIT = 2**63


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and shortest floats."""
    return msgspec.json.encode(value, order="deterministic")


def digest(value: Any) -> str:
    """SHA-256 of `canonical(value)`, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def as_scalar(name: str, value: Any) -> Scalar:
    """`value` as a plain JSON scalar: NumPy scalars, one-element tensors and estimates become Python numbers.

    Raises:
        KindError: It is not a scalar.
        ParameterError: It is NaN, infinite, does not fit 64 bits, or is text that UTF-8 cannot hold.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(name, value)
    if not isinstance(value, numbers.Number) and callable(getattr(value, "item", None)):
        return as_scalar(name, value.item())
    if type(value).__name__ in ("bool_", "bool") and not isinstance(value, numbers.Number):
        return bool(value)
    if isinstance(value, numbers.Integral):
        number = int(value)
        if not -_INTEGER_LIMIT <= number < _INTEGER_LIMIT:
            raise ParameterError(f"{name} must fit 64 bits, got {number}; pass a smaller integer")
        return number
    if hasattr(value, "__float__") and not hasattr(value, "__len__"):
        real = float(value)
        if not math.isfinite(real):
            raise ParameterError(f"{name} must be finite, got {real}; return Absent(reason) or Diverged(reason)")
        return real
    raise KindError(f"{name} must be a number, bool, text or None, got {type(value).__name__}; convert it")


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ParameterError(f"{name} must be valid text, got {value[:80]!a}; remove the lone surrogates") from None
    return value


def as_value(name: str, value: Any) -> Value:
    """`value` as a JSON scalar or as a list of finite numbers (a curve).

    Raises:
        KindError: It is neither.
        ParameterError: An entry is NaN or infinite.
    """
    if isinstance(value, str) or getattr(value, "ndim", None) == 0 or not hasattr(value, "__len__"):
        return as_scalar(name, value)
    items = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(items, list | tuple | range):
        entries = [as_scalar(f"{name}[{index}]", item) for index, item in enumerate(items)]
        if all(isinstance(entry, int | float) for entry in entries):
            return entries  # type: ignore[return-value]  # just checked
    raise KindError(f"{name} must be one value or a list of numbers, got {type(value).__name__}; flatten or split it")
