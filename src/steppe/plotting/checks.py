"""What every layer refuses at construction: unequal lengths, numbers that are not finite, texts that do not fit."""

import math
import numbers
from collections.abc import Sequence, Sized
from typing import Any

from numpy.typing import NDArray

from steppe.core import DataError, KindError, ShapeError

Numbers = Sequence[Any] | NDArray[Any]
Texts = str | Sequence[str] | None


def as_text(where: str, value: Any) -> str:
    """`value`, if it is a string.

    Raises:
        KindError: It is not.
    """
    if not isinstance(value, str):
        raise KindError(f"{where} must be a string, got {value!r} ({type(value).__name__}); pass a str")
    return value


def as_numbers(where: str, values: Any) -> tuple[float, ...]:
    """`values` as a tuple of finite floats.

    Args:
        where: How messages name them, such as "`x` of Scatter 'large step'".
        values: A one-dimensional sequence or array of numbers.

    Raises:
        KindError: They are not numbers.
        ShapeError: They are not one-dimensional.
        DataError: One is NaN or infinite; the message says which.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise KindError(f"{where} must be a sequence of numbers, got {values!r}; pass a list or an array")
    if getattr(values, "ndim", 1) != 1:
        raise ShapeError(f"{where} must be one-dimensional, got shape {tuple(values.shape)}; pass one column")
    result = []
    for index, value in enumerate(values):
        # bool is an Integral; torch scalars and Estimates convert through __float__
        if isinstance(value, str) or not (isinstance(value, numbers.Real) or hasattr(value, "__float__")):
            raise KindError(f"{where} must hold numbers, got {value!r} at position {index}; drop or convert it")
        number = float(value)
        if not math.isfinite(number):
            raise DataError(f"{where} must be finite, got {number} at position {index}; drop that point")
        result.append(number)
    return tuple(result)


def check_lengths(where: str, **columns: Sized) -> None:
    """Refuse columns of different lengths.

    Raises:
        ShapeError: The lengths differ; the message lists them.
    """
    if len({len(column) for column in columns.values()}) > 1:
        found = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise ShapeError(f"{where} needs columns of equal length, got {found}; pass one value per point")


def as_texts(where: str, name: str, texts: Texts, count: int) -> tuple[str, ...]:
    """One text per point: a string is repeated, None means no texts (an empty tuple).

    Raises:
        ShapeError: There is not one text per point.
        KindError: One is not a string.
    """
    if texts is None:
        return ()
    if isinstance(texts, str):
        return (texts,) * count
    result = tuple(as_text(f"`{name}` of {where}", text) for text in texts)
    if len(result) != count:
        raise ShapeError(f"`{name}` of {where} needs one text per point, got {len(result)} for {count} points; fill in")
    return result


def as_matrix(where: str, rows: Any, shape: tuple[int, int]) -> tuple[tuple[float | None, ...], ...]:
    """A matrix of finite numbers or None (no value there) of exactly `shape`.

    Raises:
        ShapeError: It has another shape.
        DataError: An entry is NaN or infinite.
        KindError: An entry is not a number.
    """
    result = []
    for index, row in enumerate(rows):
        present = iter(as_numbers(f"row {index} of {where}", [value for value in row if value is not None]))
        result.append(tuple(None if value is None else next(present) for value in row))
    found = (len(result), len(result[0]) if result else 0)
    if found != shape or any(len(row) != shape[1] for row in result):
        raise ShapeError(
            f"{where} must be [{shape[0]}, {shape[1]}], one row per y and one column per x, got {found}; transpose it"
        )
    return tuple(result)
