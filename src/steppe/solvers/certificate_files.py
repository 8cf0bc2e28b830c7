"""Certificates as JSON: a documented format, floats with all their digits, and nothing believed on reading."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steppe._version import __version__
from steppe.core import InputError

from .fits import Fit, fit_named
from .solution import Solution

if TYPE_CHECKING:
    from .certificate import Certificate

FORMAT, VERSION = "steppe certificate", 1
_LARGEST = 1 << 30  # bytes; a file beyond this is refused unread
_CHOICES = {"kind": ("exact", "bound", "heuristic"), "bias": ("free", "penalized")}


def write_certificate(certificate: "Certificate", path: str | os.PathLike[str]) -> None:
    """Write a certificate as JSON."""
    Path(path).write_text(json.dumps(document(certificate), allow_nan=False) + "\n", encoding="utf-8")


def document(certificate: "Certificate") -> dict[str, Any]:
    """The certificate as plain values, in the order of the file."""
    statements = _statements(certificate)
    arrays = {name: None if array is None else array.tolist() for name, array in _arrays(certificate).items()}
    theta = arrays.pop("theta")
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"steppe {__version__}",
        "method": certificate.method,
        "work": certificate.work,
        "problem": statements["problem"],
        "network": arrays,
        "dual": {"theta": theta},
        "claim": statements["claim"],
        "digest": certificate.digest,
    }


def _statements(certificate: "Certificate") -> dict[str, Any]:
    """Problem and claim: all that is no long array."""
    c = 1 if certificate.theta.ndim == 1 else certificate.theta.shape[1]
    return {
        "problem": {
            "fit": certificate.fit.name,
            "fit_parameters": dict(certificate.fit.parameters),
            "bias": certificate.bias,
            "skip": certificate.skip,
            "alpha": certificate.alpha,
            "samples": len(certificate.theta),
            "inputs": certificate.solution.u.shape[1] - 1,
            "outputs": c,
            "input_center": certificate.columns[0].tolist(),
            "input_spread": certificate.columns[1].tolist(),
        },
        "claim": {
            "kind": certificate.kind,
            "primal": certificate.primal,
            "dual": certificate.dual,
            "upper": certificate.upper,
            "relative_gap": certificate.claim,
            "floor": certificate.floor,
        },
    }


def _arrays(certificate: "Certificate") -> dict[str, np.ndarray | None]:
    """The long arrays, as they stand in the file."""
    solution, d = certificate.solution, certificate.solution.u.shape[1] - 1
    beta = solution.beta if solution.beta is not None and len(solution.beta) else None
    return {
        "w": solution.u[:, :d],
        "b": solution.u[:, d],
        "v": _columns(solution.v),
        "slope": None if beta is None else _columns(beta)[:d],
        "constant": None if beta is None else _columns(beta)[d],
        "theta": _columns(certificate.theta),
    }


def _columns(values: np.ndarray) -> np.ndarray:
    return values[:, None] if values.ndim == 1 else values


def seal(certificate: "Certificate") -> str:
    """SHA-256 of all numbers: it shows edits, it is no signature.

    Of problem and claim as JSON with sorted keys and without spaces, then of w, b, v, slope, constant and theta as
    little-endian float64, row by row.
    """
    canonical = json.dumps(_statements(certificate), sort_keys=True, separators=(",", ":"), allow_nan=True)
    digest = hashlib.sha256(canonical.encode())
    for array in _arrays(certificate).values():
        if array is not None:
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


def read_certificate(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of a `Certificate` from a file, with every shape, type and choice checked.

    Raises:
        InputError: There is no such file, or it is no certificate of this version.
    """
    reader = _Reader(Path(path))
    top = reader.top
    problem, network = reader.table(top, "problem"), reader.table(top, "network")
    claim = reader.table(top, "claim")
    n, d, c = (reader.count(problem, name) for name in ("samples", "inputs", "outputs"))
    fit = reader.fit(problem)
    skip = reader.flag(problem, "skip")
    w = reader.numbers(network, "w", (None, d))
    u = np.column_stack([w, reader.numbers(network, "b", (len(w),))])
    v = reader.numbers(network, "v", (len(w), c))
    beta = None
    if skip:
        beta = np.vstack([reader.numbers(network, "slope", (d, c)), reader.numbers(network, "constant", (c,))])
    elif network.get("slope") is not None or network.get("constant") is not None:
        reader.refuse("`slope` and `constant` must be null without skip")
    theta = reader.numbers(reader.table(top, "dual"), "theta", (n, c))
    if c == 1:
        v, theta, beta = v[:, 0], theta[:, 0], None if beta is None else beta[:, 0]
    center, spread = (reader.numbers(problem, f"input_{name}", (d,)) for name in ("center", "spread"))
    return {
        **{name: reader.number(claim, name) for name in ("primal", "dual", "upper", "floor")},
        "claim": reader.number(claim, "relative_gap"),
        "kind": reader.choice(claim, "kind"),
        "method": reader.text(top, "method"),
        "alpha": reader.number(problem, "alpha"),
        "fit": fit,
        "bias": reader.choice(problem, "bias"),
        "skip": skip,
        "solution": Solution(u, v, beta),
        "theta": theta,
        "columns": np.stack([center, spread]),
        "work": reader.count(top, "work", least=0),
        "digest": reader.text(top, "digest"),
    }


class _Reader:
    """One file; every complaint names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InputError(f"`certificate` {str(path)!r} is no file; pass a .json that `Certificate.save` wrote")
        if path.stat().st_size > _LARGEST:
            self.refuse(f"it is larger than {_LARGEST >> 20} MB")
        try:
            self.top = json.loads(path.read_text(encoding="utf-8"), parse_constant=self._constant)
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            self.refuse(f"it is not JSON ({str(error)[:200]})")
        if not isinstance(self.top, dict) or self.top.get("format") != FORMAT:
            self.refuse(f'its "format" is not "{FORMAT}"')
        if self.top.get("version") != VERSION or isinstance(self.top["version"], bool):
            self.refuse(f"its version is {str(self.top.get('version'))[:20]}, and this steppe reads {VERSION}")

    def refuse(self, why: str) -> None:
        raise InputError(f"{self.path} is not a certificate: {why}; pass a .json that `Certificate.save` wrote")

    def _constant(self, name: str) -> float:
        self.refuse(f"it holds {name}")
        return math.nan

    def table(self, above: dict[str, Any], name: str) -> dict[str, Any]:
        value = above.get(name)
        if not isinstance(value, dict):
            self.refuse(f"`{name}` must be an object, got {type(value).__name__}")
        return dict(value or {})

    def number(self, above: dict[str, Any], name: str) -> float:
        value = above.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            self.refuse(f"`{name}` must be a finite number, got {str(value)[:40]}")
        return float(value)  # type: ignore[arg-type]  # refused above, if it is none

    def count(self, above: dict[str, Any], name: str, *, least: int = 1) -> int:
        value = above.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 62:
            self.refuse(f"`{name}` must be a whole number ≥ {least}, got {str(value)[:40]}")
        return int(value or 0)

    def flag(self, above: dict[str, Any], name: str) -> bool:
        value = above.get(name)
        if not isinstance(value, bool):
            self.refuse(f"`{name}` must be true or false, got {str(value)[:40]}")
        return bool(value)

    def text(self, above: dict[str, Any], name: str) -> str:
        value = above.get(name)
        if not isinstance(value, str) or len(value) > 1000:
            self.refuse(f"`{name}` must be a short text, got {str(value)[:40]}")
        return str(value)

    def choice(self, above: dict[str, Any], name: str) -> str:
        value = above.get(name)
        if value not in _CHOICES[name]:
            self.refuse(f"`{name}` must be one of {', '.join(_CHOICES[name])}, got {str(value)[:40]}")
        return str(value)

    def fit(self, above: dict[str, Any]) -> Fit:
        name, parameters = self.text(above, "fit"), self.table(above, "fit_parameters")
        try:
            return fit_named(name, **{key: self.number(parameters, key) for key in parameters})
        except (InputError, TypeError) as error:
            self.refuse(str(error))
            raise

    def numbers(self, above: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array of finite numbers; an empty list has the shape that is asked for."""
        value = above.get(name)
        if value == [] and shape[0] in (None, 0):
            return np.zeros((0, *(size or 0 for size in shape[1:])))
        if not _is_nested(value, len(shape)):
            self.refuse(f"`{name}` must be lists of numbers")
        try:
            array = np.array(value, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            self.refuse(f"`{name}` must have rows of one length")
            raise
        wanted = " × ".join("k" if size is None else str(size) for size in shape)
        if array.ndim != len(shape) or any(s not in (None, a) for s, a in zip(shape, array.shape, strict=True)):
            self.refuse(f"`{name}` must be {wanted}, got {' × '.join(map(str, array.shape))}")
        if not np.isfinite(array).all():
            self.refuse(f"`{name}` must be finite")
        return array


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _is_nested(value: Any, depth: int) -> bool:
    """Whether `value` is lists in lists of numbers, `depth` deep; booleans and strings are no numbers."""
    if depth == 0:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list) and all(_is_nested(entry, depth - 1) for entry in value)
