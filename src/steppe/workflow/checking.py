"""Theorems as checks on the user's own network, from files."""

import csv
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from steppe.core import DataError, InputError, ShapeError, UnknownNameError

_NAMED = ("w", "b", "v")
_OPTIONAL = ("output_bias", "skip")
_SEQUENTIAL = ("0.weight", "2.weight")
_SEQUENTIAL_BIASES = ("0.bias", "2.bias")
_FLOATS = ("F64", "F32", "F16")
_INDICES = ("I64", "I32")  # of `patches` alone


def load_network(path: str | os.PathLike[str], *, inputs: int | None = None) -> Any:
    """A shallow ReLU network from a safetensors file, in float64 (exactly, from any shorter float).

    The file holds `w [m, d]`, `b [m]` (subtracted), `v [k, m]` and optionally `output_bias [k]` and `skip [k, d]`; or
    the state of `nn.Sequential(Linear, ReLU, Linear)`: `0.weight`, `2.weight` and optionally `0.bias` (added, so its
    sign changes) and `2.bias`; or the state of a `PatchReLU`: `patches [l, s]`, `w`, `b`, `v` and `output_bias`.

    Args:
        path: The file.
        inputs: How many inputs there are, for patches that need not reach the last.

    Returns:
        A `steppe.networks.ShallowReLU` or `PatchReLU`.

    Raises:
        InputError: There is no such file, or it is not safetensors.
        UnknownNameError: Its tensors are none of the three sets.
        DtypeError, ShapeError: The tensors do not fit together.
    """
    from steppe.networks import PatchReLU, ShallowReLU

    tensors = _read_safetensors(Path(path))
    names = set(tensors)
    if names >= {"patches", *_NAMED} and names <= {"patches", *_NAMED, "output_bias"}:
        patches, (w, b, v) = tensors["patches"].astype(np.int64), (tensors[name] for name in _NAMED)
        return PatchReLU.from_weights(patches, w, b, v, tensors.get("output_bias"), inputs=inputs)
    if names >= set(_NAMED) and names <= {*_NAMED, *_OPTIONAL}:
        return ShallowReLU.from_weights(
            *(tensors[n] for n in _NAMED), **{n: tensors[n] for n in _OPTIONAL if n in names}
        )
    if names >= set(_SEQUENTIAL) and names <= {*_SEQUENTIAL, *_SEQUENTIAL_BIASES}:
        first, second = (tensors[name] for name in _SEQUENTIAL)
        bias = tensors.get("0.bias", np.zeros(len(first)))
        return ShallowReLU.from_weights(first, -bias, second, tensors.get("2.bias"))
    raise UnknownNameError(
        f"{path} must hold w, b, v (and optionally output_bias, skip) or 0.weight, 0.bias, 2.weight, 2.bias, got "
        f"{', '.join(sorted(names)) or 'nothing'}; save ShallowReLU(…).state_dict() or that of Linear, ReLU, Linear"
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        raise InputError(f"`network` {str(path)!r} is no file; pass a .safetensors file")
    content = path.read_bytes()
    try:
        _refuse_other_dtypes(path, content)
        tensors = load(content)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a safetensors file ({error}); save it with safetensors.torch.save_file"
        ) from error
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise DataError(
                f"`{name}` in {path} must be finite, got NaN or infinite entries; save a network that has converged"
            )
    return {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}


def _refuse_other_dtypes(path: Path, content: bytes) -> None:
    """NumPy knows no bfloat16, and an integer weight is a mistake: say so by name."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length]) if length <= len(content) else {}
    for name, entry in header.items():
        allowed = _INDICES if name == "patches" else _FLOATS
        if name != "__metadata__" and entry["dtype"] not in allowed:
            raise InputError(
                f"`{name}` in {path} must be one of {', '.join(allowed)}, got {entry['dtype']}; "
                f"convert with {'.long()' if name == 'patches' else '.float()'}"
            )


def load_data(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [n, d] and targets [n, k] in float64 from an `.npz` with `x` and `y`, or a CSV whose last column is y.

    The CSV may have one header line. Targets [n] of an `.npz` become [n, 1].

    Raises:
        InputError: There is no such file, it has another ending, or it cannot be read.
        DataError: It is empty, or an entry is no number (with its line).
        ShapeError: x is not [n, d], or y has another length.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"`data` {str(path)!r} is no file; pass an .npz with x and y, or a .csv whose last column is y"
        )
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"`data` must be an .npz or a .csv, got {str(path)!r}; save it with np.savez(path, x=x, y=y)")
    x, y = readers[path.suffix.lower()](path)
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
        raise ShapeError(
            f"{path} must hold x [n, d] and y [n] or [n, k], got {list(x.shape)} and {list(y.shape)}; reshape them"
        )
    return x, y.reshape(len(x), -1)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # np.load leaves a bad file open
            missing = [name for name in ("x", "y") if name not in arrays]
            if missing:
                raise UnknownNameError(
                    f"{path} must hold x and y, got {', '.join(arrays) or 'nothing'}; write np.savez(path, x=x, y=y)"
                )
            return np.asarray(arrays["x"], dtype=np.float64), np.asarray(arrays["y"], dtype=np.float64)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as .npz of numbers ({error}); save it with np.savez(path, x=x, y=y)"
        ) from error


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows: list[list[float]] = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for number, fields in enumerate(_lines(path, file), start=1):
            if not fields:
                continue
            try:
                values = [float(field) for field in fields]
            except ValueError as error:
                if number == 1:
                    continue  # the header
                raise DataError(f"{path}, line {number}: {error}; every field must be a number") from None
            if rows and len(values) != len(rows[0]):
                raise DataError(
                    f"{path}, line {number}: {len(values)} fields, expected {len(rows[0])}; complete the line"
                )
            rows.append(values)
    table = np.array(rows, dtype=np.float64)
    if table.size == 0 or table.shape[1] < 2:
        raise DataError(f"{path} must have at least one line of numbers with x and y, got {table.shape}; add columns")
    return table[:, :-1], table[:, -1]


def _lines(path: Path, file: TextIO) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file)
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as CSV ({error}); write plain numbers separated by commas") from None


def check_network(
    network: str | os.PathLike[str], data: str | os.PathLike[str], *, step_size: float | None = None
) -> tuple[Any, ...]:
    """Every theorem of `steppe.panel` about one shallow network, checked on the network and data in two files.

    Args:
        network: As `load_network` reads it.
        data: As `load_data` reads it.
        step_size: Also check what stability of gradient descent with this step implies.

    Returns:
        `steppe.panel.Inequality` values, those of `panel.check_theorems`.

    Raises:
        InputError: A file cannot be used, or network and data do not fit together.
    """
    from torch import from_numpy

    from steppe.panel import check_theorems

    x, y = (from_numpy(values) for values in load_data(data))
    return check_theorems(load_network(network, inputs=x.shape[1]), x, y, step_size=step_size)
