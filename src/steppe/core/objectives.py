"""What a measurement differentiates: a loss of outputs and targets, the model's own loss, or an objective."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .batches import inputs_of, targets_of
from .devices import check_same_place
from .errors import ComputationError, DeviceError, KindError, ShapeError


class Objective:
    """A scalar for a model and a batch.

    Args:
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        objective: `objective(model, batch) -> scalar`, for anything else; it excludes a loss.

    Attributes:
        convention: Its name in words.
        separate: Whether inputs and targets meet only inside the loss.

    Raises:
        KindError: An argument is not callable, or both are given.
    """

    def __init__(self, loss: Any = None, *, objective: Callable[..., Any] | None = None) -> None:
        if isinstance(loss, type) or not (loss is None or callable(loss)):
            got = f"the class {loss.__name__}" if isinstance(loss, type) else type(loss).__name__
            remedy = f"pass {loss.__name__}()" if isinstance(loss, type) else "pass SquaredLoss()"
            raise KindError(f"`loss` must be a callable loss(outputs, targets) -> scalar, got {got}; {remedy}")
        if objective is not None and (loss is not None or not callable(objective)):
            got = "a loss too" if loss is not None else type(objective).__name__
            raise KindError(
                f"`objective` must be a callable (model, batch) -> scalar, alone, got {got}; pass one of them"
            )
        self.loss, self.objective = loss, objective
        self.separate = loss is not None
        named = loss if objective is None else objective
        own = "the model's own loss"
        words = getattr(named, "convention", None) or getattr(named, "__name__", None) or type(named).__name__
        self.convention: str = own if named is None else words

    def value(self, model: nn.Module, batch: Any) -> Tensor:
        """The scalar.

        Raises:
            KindError: The model returns something else than was promised.
            ShapeError: Outputs and targets would broadcast, or the value is no scalar.
            DtypeError: Model and data differ in dtype.
            DeviceError: They differ in device.
            ComputationError: The value is not finite.
        """
        if self.separate:
            return self.compare(self.outputs(model, batch), batch)
        check_batch_place(model, batch)
        if self.objective is not None:
            return scalar("objective", self.objective(model, batch))
        try:
            returned = model(**batch) if isinstance(batch, dict) else model(*batch)
        except TypeError as error:
            raise KindError(
                f"without a loss the model is called with the whole batch and must return an object with `.loss`; the "
                f"call failed: {error}; pass loss=SquaredLoss() or another"
            ) from error
        value = returned.get("loss") if isinstance(returned, dict) else getattr(returned, "loss", None)
        if value is None:
            raise KindError(
                f"without a loss the model must return an object with `.loss`, got {type(returned).__name__}; "
                "pass loss=…, or labels in the batch"
            )
        return scalar("the model's loss", value)

    def outputs(self, model: nn.Module, batch: Any) -> Tensor:
        """What the model makes of the inputs: one tensor, or an object with `.logits`."""
        check_batch_place(model, batch)
        positional, named = inputs_of(batch)
        outputs = model(*positional, **named)
        if not isinstance(outputs, Tensor):
            outputs = getattr(outputs, "logits", outputs)
        if not isinstance(outputs, Tensor):
            raise KindError(
                f"`model` must return one tensor, got {type(outputs).__name__}; wrap it in a module that returns the "
                "outputs, or pass loss=None if it returns its own loss"
            )
        return outputs

    def compare(self, outputs: Tensor, batch: Any) -> Tensor:
        """The loss of outputs against the targets of the batch."""
        y = targets_of(batch)
        assert y is not None  # batches of pairs are checked to have targets
        alike = y.is_floating_point() and outputs.numel() == y.numel()
        if outputs.shape != y.shape and (alike or _is_elementwise(self.loss)):
            raise ShapeError(
                f"`y` must have the shape of the outputs, {list(outputs.shape)}, got {list(y.shape)}; "
                f"{_reshaped(outputs, y)}, or the loss would broadcast them"
            )
        return scalar("loss", self.loss(outputs, y))


_ELEMENTWISE = (
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
    nn.BCEWithLogitsLoss,
    nn.BCELoss,
    nn.SoftMarginLoss,
)
_ELEMENTWISE_FUNCTIONS = (
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
    functional.binary_cross_entropy_with_logits,
    functional.binary_cross_entropy,
)


def _is_elementwise(loss: Any) -> bool:
    """Whether the loss compares entry by entry, so that targets of another shape are a mistake."""
    return isinstance(loss, _ELEMENTWISE) or any(loss is function for function in _ELEMENTWISE_FUNCTIONS)


def _reshaped(outputs: Tensor, y: Tensor) -> str:
    if outputs.numel() == y.numel():
        return f"pass y.reshape({', '.join(map(str, outputs.shape))})"
    return "pass one target per output"


def check_batch_place(model: nn.Module, batch: Any) -> None:
    """Refuse a batch whose tensors differ from the model in dtype or device."""
    items = batch.items() if isinstance(batch, dict) else zip(("x", "y"), batch, strict=False)
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    check_same_place(model, *tensors.values(), names=tuple(tensors))


def scalar(name: str, value: Any) -> Tensor:
    """`value` as a finite scalar tensor.

    Raises:
        ShapeError: It is none.
        DeviceError: It holds no number.
        ComputationError: It is not finite.
    """
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(f"`{name}` must return a scalar tensor, got {got}; average it over samples")
    if value.is_meta:
        raise DeviceError(f"`{name}` is on the device meta, which holds no numbers; move model and data to cpu or cuda")
    if not torch.isfinite(value):
        raise ComputationError(f"the loss is {float(value.detach())} here; check parameters and data")
    return value.reshape(())
