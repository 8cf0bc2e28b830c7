"""Certificates checked on data in files."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from steppe.core import InputError

from .checking import load_data


def verify_certificate(certificate: str | os.PathLike[str], data: str | os.PathLike[str]) -> tuple[Any, Any]:
    """A certificate from a file, and whether it holds on the data in another.

    Args:
        certificate: A .json that `Certificate.save` wrote.
        data: As `load_data` reads it; an .npz may also hold `sample_weight`.

    Returns:
        The `steppe.solvers.Certificate` and its `Verification`.

    Raises:
        InputError: A file cannot be used.
    """
    from steppe.solvers import Certificate

    found = Certificate.load(certificate)
    x, y = load_data(data)
    return found, found.check(x, y, _sample_weight(Path(data)))


def _sample_weight(path: Path) -> np.ndarray | None:
    if path.suffix.lower() != ".npz":
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays["sample_weight"]) if "sample_weight" in arrays else None
    except ValueError as error:  # an array of objects
        raise InputError(f"`sample_weight` in {path} must hold numbers ({error}); save it as floats") from error
