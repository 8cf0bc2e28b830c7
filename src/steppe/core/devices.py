"""Checks of tensors at the doors: shape, dtype, device, finiteness."""

from typing import Any

import torch
from torch import Tensor, nn

from .errors import DataError, DeviceError, DtypeError, KindError, ShapeError


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(str(size) for size in tensor.shape)}]"


def _check_tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise KindError(
            f"`{name}` must be a torch tensor, got {type(value).__name__}; convert it with torch.as_tensor({name})"
        )
    if not value.is_floating_point():
        raise DtypeError(f"`{name}` must have a floating dtype, got {value.dtype}; convert it with {name}.double()")
    return value


def _check_finite(name: str, value: Tensor) -> None:
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise DataError(
            f"`{name}` must be finite, got {bad} NaN or infinite entries out of {value.numel()}; "
            "remove or impute those rows"
        )


def check_inputs(x: Any, *, name: str = "x", inputs: int | None = None, minimum: int = 1) -> Tensor:
    """`x` as finite floating inputs [n, d] with n ≥ minimum and d ≥ 1.

    Args:
        x: The tensor.
        name: How the caller names it.
        inputs: The expected d, or None for any.
        minimum: The least number of samples.

    Raises:
        KindError: It is not a tensor.
        DtypeError: It is not floating.
        ShapeError: It is not [n, d].
        DataError: It is empty, too short or not finite.
    """
    _check_tensor(name, x)
    expected = f"[n, {'d' if inputs is None else inputs}]"
    if x.ndim != 2:
        remedy = f"; for one input per sample pass {name}[:, None]" if x.ndim == 1 else ""
        raise ShapeError(f"`{name}` must have shape {expected}, got {_shape(x)}{remedy or '; pass a matrix'}")
    if x.shape[1] == 0:
        raise ShapeError(f"`{name}` must have at least one input column, got {_shape(x)}; pass d ≥ 1 columns")
    if inputs is not None and x.shape[1] != inputs:
        raise ShapeError(
            f"`{name}` must have shape {expected}, got {_shape(x)}; the network takes {inputs} inputs per sample"
        )
    if x.shape[0] < minimum:
        samples = "1 sample" if minimum == 1 else f"{minimum} samples"
        raise DataError(f"`{name}` needs at least {samples}, got {x.shape[0]}; pass more data")
    _check_finite(name, x)
    return x


def check_targets(y: Any, outputs: Tensor | tuple[int, ...], *, name: str = "y") -> Tensor:
    """`y` as finite floating targets of exactly the shape of the outputs.

    Nothing broadcasts: outputs [n, 1] against targets [n] would silently form n × n residuals.

    Args:
        y: The tensor.
        outputs: The outputs, or their shape [n, k].
        name: How the caller names the targets.

    Raises:
        KindError: It is not a tensor.
        DtypeError: It is not floating.
        ShapeError: The shapes differ.
        DataError: It is not finite.
    """
    y = _check_tensor(name, y)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else tuple(outputs)
    if tuple(y.shape) != shape:
        numel = 1
        for size in shape:
            numel *= size
        remedy = (
            f"pass {name}.reshape({', '.join(map(str, shape))})"
            if y.numel() == numel
            else "pass one row of targets per sample"
        )
        raise ShapeError(
            f"`{name}` must have the shape of the outputs, [{', '.join(map(str, shape))}], got {_shape(y)}; {remedy}"
        )
    _check_finite(name, y)
    return y


def check_same_place(model: nn.Module | Tensor, *tensors: Tensor, names: tuple[str, ...] = ("x", "y")) -> None:
    """Refuse a model and data that differ in dtype or device; nothing is promoted silently.

    Args:
        model: A module, judged by its first floating parameter, or a tensor.
        *tensors: The data; integer tensors (class labels, tokens) are compared by device alone.
        names: How the caller names the tensors.

    Raises:
        DtypeError: Their dtypes differ.
        DeviceError: Their devices differ.
    """
    reference = model
    if isinstance(model, nn.Module):
        reference = next((p for p in model.parameters() if p.is_floating_point()), None)  # type: ignore[assignment]  # None is handled next
    if not isinstance(reference, Tensor):
        return
    for name, tensor in zip(names, tensors, strict=False):
        if tensor.is_floating_point() and tensor.dtype != reference.dtype:
            raise DtypeError(
                f"model and `{name}` must have the same dtype, got {reference.dtype} and {tensor.dtype}; "
                f"convert one: {name} = {name}.to({reference.dtype}) or model.to({tensor.dtype})"
            )
        if tensor.device != reference.device:
            raise DeviceError(
                f"model and `{name}` must be on the same device, got model on {reference.device} and `{name}` on "
                f"{tensor.device}; move one: {name} = {name}.to({str(reference.device)!r})"
            )
