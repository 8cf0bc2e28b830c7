"""A user's table as numbers: arrays, data frames and files, with every column that cannot be used named."""

import csv
import importlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from steppe.core import DataError, InputError, KindError, ShapeError, check_choice, check_known, grouped

Missing = Literal["refuse", "drop"]
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
_FILES = (".csv", ".tsv", ".npy", ".parquet")
_NAMED = 4  # columns named in a message


@dataclass(frozen=True, kw_only=True, eq=False)
class InputTable:
    """Numbers with names.

    Args:
        name: What the table is called.
        x: The inputs [n, d], float64, finite.
        columns: Their names.
        target: One label per row, or None.
        target_name: What the label is called.
        left_out: Rows left out because a value is missing.
    """

    name: str
    x: np.ndarray
    columns: tuple[str, ...]
    target: np.ndarray | None = None
    target_name: str = ""
    left_out: int = 0


def read_table(
    data: Any, *, target: Any = None, drop: Iterable[str] = (), missing: Missing = "refuse", name: str | None = None
) -> InputTable:
    """Inputs and label from an array, a data frame or a file, refusing what is no number.

    Args:
        data: A tensor or array [n, d], a data frame, or the path of a .csv or .tsv with a header line or without, a
            .npy, or (with pandas) a .parquet file.
        target: Name of the label's column, or one label per row. It is no input.
        drop: Columns to leave out.
        missing: What to do with rows that lack a value: `"refuse"` or `"drop"` them.
        name: What to call the table.

    Raises:
        InputError: The file does not exist or cannot be read.
        KindError: `data` is none of these.
        UnknownNameError: There is no column of that name.
        DataError: A column is text, a value is missing or infinite, or nothing is left.
        ShapeError: It is no matrix, or the target has another length.
    """
    check_choice("missing", missing, ("refuse", "drop"))
    found_name, columns = _columns(data)
    where = name or found_name
    for column in (dropped := [drop] if isinstance(drop, str) else list(drop)):
        check_known(f"column of {where}", column, columns)
    columns = {key: values for key, values in columns.items() if key not in dropped}
    label, label_name = None, ""
    if isinstance(target, str):
        check_known(f"column of {where}", target, columns)
        label, label_name = np.asarray(columns.pop(target)), target
    elif target is not None:
        label, label_name = _array(target), "target"
    if not columns:
        raise DataError(f"{where} must have a column of numbers, got none that is left; drop fewer columns")
    x = _numbers(where, columns)
    if label is not None and (label.ndim != 1 or len(label) != len(x)):
        raise ShapeError(f"`target` must have one label per row, {len(x)}, got shape {list(label.shape)}; align them")
    complete = _complete(where, x, tuple(columns), missing)
    if label is not None:
        blank = np.array([cell is None or str(cell).strip().lower() in ("", "nan") for cell in label], dtype=bool)
        if missing == "refuse" and blank.any():
            raise DataError(
                f"`target` {label_name} must be complete, got {grouped(int(blank.sum()))} rows without a label; leave "
                "those out with missing='drop' (--missing drop)"
            )
        complete = complete & ~blank
    return InputTable(
        name=where,
        x=x[complete],
        columns=tuple(columns),
        target=None if label is None else label[complete],
        target_name=label_name,
        left_out=int((~complete).sum()),
    )


def _columns(data: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(data, str | os.PathLike):
        return _from_file(Path(data))
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return "the table", {str(name): np.asarray(data[name]) for name in data.columns}
    return "the table", _from_matrix(_array(data))


def _array(data: Any) -> np.ndarray:
    if isinstance(data, Tensor):
        data = data.detach().cpu().numpy()
    try:
        return np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"the table must be a matrix [n, d], got rows of different lengths ({error})") from error


def _from_matrix(values: np.ndarray) -> dict[str, Any]:
    if values.ndim == 0 or values.dtype.kind not in "fiubOUS":
        raise KindError(
            f"the table must be an array of numbers, a data frame or a path, got {values.dtype} of shape "
            f"{list(values.shape)}; pass a matrix [n, d]"
        )
    if values.ndim != 2:
        remedy = "pass x[:, None] for one input" if values.ndim == 1 else "flatten each sample into a row"
        raise ShapeError(f"the table must be a matrix [n, d], got shape {list(values.shape)}; {remedy}")
    return {f"column {index + 1}": values[:, index] for index in range(values.shape[1])}


def _from_file(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        there = path.is_file()
    except OSError as error:
        raise InputError(f"`data` cannot be looked up ({error.strerror}); pass a shorter or plainer path") from error
    if not there:
        raise InputError(f"`data` {str(path)!r} is no file; pass a {', '.join(_FILES)} file")
    kind = path.suffix.lower()
    if kind not in _FILES:
        raise InputError(f"`data` must be one of {', '.join(_FILES)}, got {str(path)!r}; convert it")
    try:
        if kind == ".npy":
            return path.name, _from_matrix(np.load(path, allow_pickle=False))
        if kind == ".parquet":
            return path.name, _from_parquet(path)
        return path.name, _from_text(path)
    except (InputError, KindError):
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as {kind} ({type(error).__name__}: {error}); write it again"
        ) from error


def _from_parquet(path: Path) -> dict[str, Any]:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise InputError(f"{path} needs pandas and pyarrow: pip install 'steppe[data]', or write a .csv") from error
    return _columns(pandas.read_parquet(path))[1]


def _from_text(path: Path) -> dict[str, Any]:
    """Columns of text; a first line without any number is the header."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
        lines = [(number, line) for number, line in enumerate(csv.reader(file, delimiter=delimiter), 1) if line]
    if not lines:
        raise DataError(f"{path} must hold rows of numbers, got an empty file; write one row per line")
    first_cells = lines[0][1]
    headed = all(_number(cell) is None or math.isnan(_number(cell) or 0.0) for cell in first_cells)
    names = [(cell.strip() if headed else "") or f"column {i}" for i, cell in enumerate(first_cells, 1)]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path} must have a different name for each column, got {_listed(twice)} twice; rename them")
    rows = lines[1:] if headed else lines
    for number, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}, line {number}: {len(row)} fields, expected {len(names)}; complete the line")
    return {name: np.array([row[index] for _, row in rows], dtype=object) for index, name in enumerate(names)}


def _number(cell: Any) -> float | None:
    """A cell as a number; NaN where it is missing, None where it is text."""
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _MISSING):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan if type(cell).__name__ in ("NAType", "NaTType") else None


def _numbers(where: str, columns: Mapping[str, Any]) -> np.ndarray:
    """The columns as one matrix, missing values NaN."""
    text: dict[str, Any] = {}
    numbers = []
    for name, values in columns.items():
        if np.asarray(values).dtype.kind in "fiub":
            numbers.append(np.asarray(values, dtype=np.float64))
            continue
        cells = [_number(cell) for cell in values]
        bad = next((index for index, cell in enumerate(cells) if cell is None), None)
        if bad is not None:
            text[name] = values[bad]
        numbers.append(np.array([math.nan if cell is None else cell for cell in cells], dtype=np.float64))
    if text:
        example, many = next(iter(text)), "columns" if len(text) > 1 else "column"
        such = f"(such as {str(text[example])[:40]!r} in {example!r})"
        raise DataError(
            f"{where} must hold numbers, got text in the {many} {_listed(list(text))} {such}; leave out what is no "
            f"input with drop=[{example!r}] (--drop {example}), encode it as numbers, or name the label with "
            f"target={example!r}"
        )
    return np.column_stack(numbers)


def _complete(where: str, x: np.ndarray, columns: Sequence[str], missing: Missing) -> np.ndarray:
    """Which rows have every value."""
    infinite = np.isinf(x)
    if infinite.any():
        named = _listed([columns[index] for index in np.flatnonzero(infinite.any(axis=0)).tolist()])
        raise DataError(
            f"{where} must be finite, got {int(infinite.sum())} infinite values in {named}; remove those rows"
        )
    absent = np.isnan(x)
    complete: np.ndarray = ~absent.any(axis=1)
    if missing == "refuse" and absent.any():
        named = _listed([columns[index] for index in np.flatnonzero(absent.any(axis=0)).tolist()])
        rows = f"{grouped(int((~complete).sum()))} of {grouped(len(x))} rows"
        raise DataError(
            f"{where} must be complete, got {grouped(int(absent.sum()))} missing values in {rows} ({named}); impute "
            "them, or leave those rows out with missing='drop' (--missing drop)"
        )
    return complete


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
