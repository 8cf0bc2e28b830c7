"""A compressed model on disk: weights as safetensors, the report as JSON beside it."""

import copy
import json
import os
from pathlib import Path

from torch import nn

from steppe.core import InputError, KindError, StoreError

from .compression_report import Compression
from .compression_surgery import resize_like


def save_compression(found: Compression, path: str | os.PathLike[str]) -> Path:
    """Write the weights to `path` and the report to the same name with `.json`.

    Args:
        found: What `compress` returned.
        path: A file name that ends in `.safetensors`.

    Returns:
        The path of the weights.

    Raises:
        InputError: The name has another ending.
        StoreError: The files cannot be written.
    """
    from safetensors.torch import save_file

    target = Path(path)
    if target.suffix != ".safetensors":
        raise InputError(f"`path` must end in .safetensors, got {str(target)!r}; rename it")
    # Tensors that two names share are written twice, which safetensors asks for.
    state = {name: value.detach().cpu().contiguous().clone() for name, value in found.model.state_dict().items()}
    try:
        save_file(state, target, metadata={"format": "pt"})
        target.with_suffix(".json").write_text(json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n", "utf-8")
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error}); choose another folder") from error
    return target


def load_compressed(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """A smaller copy of `model` with the weights that `save_compression` wrote.

    Args:
        model: The model as it was before compression, with any weights; it is not touched.
        path: The `.safetensors` file.

    Raises:
        KindError: `model` is no module.
        InputError: The file is not there, not safetensors, or of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch.nn.Module, got {type(model).__name__}; pass a module")
    if not Path(path).is_file():
        raise InputError(f"`path` {os.fspath(path)!r} is no file; pass what `save_compression` wrote")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{os.fspath(path)} is not a safetensors file ({error}); pass another") from error
    small = copy.deepcopy(model)
    resize_like(small, state)
    try:
        small.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{os.fspath(path)} does not belong to this {type(model).__name__}: {error}") from error
    return small
