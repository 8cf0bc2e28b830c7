"""A loss as a function of the outputs: its second derivative as a symmetric map, closed-form where the loss is known.

A loss is known only if it is exactly one of these: `SquaredLoss`, `CrossEntropy`, `Logistic`, `nn.MSELoss`,
`nn.CrossEntropyLoss`, `nn.BCEWithLogitsLoss` or their function in `torch.nn.functional` with its defaults. Everything
else, subclasses and modules with hooks included, goes through double backward of the loss alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from steppe.core import CrossEntropy, Logistic, Objective, SquaredLoss, targets_of

OutputMap = Callable[[Tensor], Tensor]

_CHUNK = 2**20  # entries of the outputs that are worked on at once where temporaries of their size would hurt
_FUNCTIONS: dict[Any, nn.Module] = {
    functional.mse_loss: nn.MSELoss(),
    functional.cross_entropy: nn.CrossEntropyLoss(),
    functional.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss(),
}


@dataclass(frozen=True)
class KnownLoss:
    """A loss of a batch as a weighted sum of terms from one family.

    Args:
        family: `"gaussian"`: ½(f − y)² per entry; `"categorical"`: −log softmax(f)_y per position; `"bernoulli"`:
            log(1 + e^f) − y f per entry.
        scale: Weight of each term: a number, or a tensor that broadcasts over the outputs.
        axis: The axis of classes of a categorical loss.
        unit: What one sample is: a row (first axis), a position (all axes but the classes) or an entry.
        count: How many samples the mean is over; 1 if the loss is their sum.
    """

    family: Literal["gaussian", "categorical", "bernoulli"]
    scale: float | Tensor
    axis: int = 0
    unit: Literal["row", "position", "entry"] = "row"
    count: float = 1.0


def loss_hessian(objective: Objective, outputs: Tensor, batch: Any) -> OutputMap:
    """The map u ↦ S u, with S the Hessian of the batch's loss in the outputs; u has their shape.

    Args:
        objective: A loss(outputs, targets).
        outputs: What the model made of the batch; taken detached.
        batch: The batch, for its targets.

    Cost: a few passes over the outputs. A softmax over many classes keeps one number per position and works on about a
    million entries at a time.
    """
    outputs = outputs.detach()
    known = known_loss(objective, outputs, batch)
    if known is None:
        return _double_backward(objective, outputs, batch)
    scale = known.scale
    if known.family == "gaussian":
        return lambda u: scale * u
    if known.family == "bernoulli":
        weights = torch.sigmoid(outputs) * torch.sigmoid(-outputs) * scale
        return lambda u: (weights * u).to(u.dtype)
    return softmax_hessian(outputs, known.axis, scale)


def softmax_hessian(outputs: Tensor, axis: int, scale: float | Tensor) -> OutputMap:
    """The map u ↦ scale · p·(u − ⟨p, u⟩), with p the softmax of the outputs along an axis."""
    wide = outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
    if outputs.numel() <= _CHUNK or outputs.ndim == 1:
        p = torch.softmax(wide, dim=axis)
        return lambda u: (scale * p * (u - (p * u).sum(dim=axis, keepdim=True))).to(u.dtype)
    along, starts, step = _chunks(outputs, axis)
    weights = scale.expand(outputs.shape) if isinstance(scale, Tensor) else None

    def part(tensor: Tensor, start: int) -> Tensor:
        return tensor.narrow(along, start, min(step, outputs.shape[along] - start))

    totals = torch.cat([torch.logsumexp(part(wide, start), dim=axis, keepdim=True) for start in starts], dim=along)

    def product(u: Tensor) -> Tensor:
        image = torch.empty_like(u)
        for start in starts:
            p, v = (part(wide, start) - part(totals, start)).exp_(), part(u, start)
            moved = (v - (p * v).sum(dim=axis, keepdim=True)).mul_(p)
            part(image, start).copy_(moved.mul_(scale if weights is None else part(weights, start)))
        return image

    return product


def known_loss(objective: Objective, outputs: Tensor, batch: Any) -> KnownLoss | None:
    """What the loss is, if it is exactly a known one and takes these outputs and targets; None otherwise."""
    loss, y = known_module(objective.loss), targets_of(batch)
    if y is None or outputs.ndim == 0 or not outputs.is_floating_point():
        return None
    if not is_known(loss):
        return None
    if isinstance(loss, SquaredLoss | CrossEntropy | Logistic):
        return _of_the_house(loss, outputs, y)
    if type(loss) is nn.CrossEntropyLoss:
        return _cross_entropy(loss, outputs, y)
    if outputs.shape != y.shape or not y.is_floating_point():
        return None
    mean = loss.reduction == "mean"
    if type(loss) is nn.MSELoss:
        return KnownLoss("gaussian", 2 / outputs.numel() if mean else 2.0, count=len(outputs) if mean else 1)
    return _binary(loss, outputs, y)


def is_known(loss: Any) -> bool:
    """Whether a loss is exactly a known one, reduced to a mean or a sum; its targets may still be unusual."""
    loss = known_module(loss)
    if type(loss) in (SquaredLoss, CrossEntropy, Logistic):
        return True
    if type(loss) not in (nn.MSELoss, nn.CrossEntropyLoss, nn.BCEWithLogitsLoss) or "forward" in vars(loss):
        return False
    hooks = (loss._forward_hooks, loss._forward_pre_hooks, loss._backward_hooks, loss._backward_pre_hooks)
    return loss.reduction in ("mean", "sum") and not any(hooks)


def known_module(loss: Any) -> Any:
    """The module that stands for a function of `torch.nn.functional`; any other loss itself."""
    return next((module for function, module in _FUNCTIONS.items() if loss is function), loss)


def _of_the_house(loss: SquaredLoss | CrossEntropy | Logistic, outputs: Tensor, y: Tensor) -> KnownLoss | None:
    n = len(outputs)
    if not isinstance(loss, CrossEntropy):
        return KnownLoss("gaussian" if isinstance(loss, SquaredLoss) else "bernoulli", 1 / n, count=n)
    fits = outputs.ndim == 2 and y.shape == outputs.shape[:1]
    return KnownLoss("categorical", 1 / n, axis=1, unit="position", count=n) if fits else None


def _cross_entropy(loss: nn.CrossEntropyLoss, outputs: Tensor, y: Tensor) -> KnownLoss | None:
    """Each position has the weight Σ_c t_c w_c of its smoothed target t and the class weights w."""
    axis = 1 if outputs.ndim > 1 else 0
    classes, smooth, weight = outputs.shape[axis], loss.label_smoothing, loss.weight
    soft = y.is_floating_point()
    if y.shape != (outputs.shape if soft else outputs.select(axis, 0).shape):
        return None
    share: Tensor | float
    if soft:
        targets = y * (1 - smooth) + smooth / classes
        if weight is not None:
            targets = targets * _along(weight, axis, outputs)
        share = targets.sum(dim=axis, keepdim=True)
        count = total = outputs.numel() / classes
    else:
        counted = (y != loss.ignore_index).to(outputs.dtype)
        count = float(counted.sum())
        share, total = counted.unsqueeze(axis), count
        if weight is not None:
            own = weight[torch.where(counted > 0, y, 0)] * counted
            share = ((1 - smooth) * own + smooth / classes * weight.sum() * counted).unsqueeze(axis)
            total = float(own.sum())
        elif count == y.numel():
            share = 1.0
    if loss.reduction == "sum":
        return KnownLoss("categorical", share, axis, "position")
    return KnownLoss("categorical", share / total, axis, "position", count)


def _binary(loss: nn.BCEWithLogitsLoss, outputs: Tensor, y: Tensor) -> KnownLoss:
    """Targets may be soft; `weight` and `pos_weight` broadcast over the outputs as in the loss."""
    scale: float | Tensor = 1 / outputs.numel() if loss.reduction == "mean" else 1.0
    count = outputs.numel() if loss.reduction == "mean" else 1
    if loss.weight is not None:
        scale = scale * loss.weight
    if loss.pos_weight is not None:
        scale = scale * (1 + (loss.pos_weight - 1) * y)
    return KnownLoss("bernoulli", scale, unit="entry", count=count)


def _double_backward(objective: Objective, outputs: Tensor, batch: Any) -> OutputMap:
    """Through the graph of the loss's gradient, retained; zero where the loss is linear in the outputs."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        point = outputs.clone().requires_grad_()
        value = objective.compare(point, batch)
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value, point, create_graph=True, allow_unused=True)

    def product(u: Tensor) -> Tensor:
        if slope is None or not slope.requires_grad:
            return torch.zeros_like(u)
        (image,) = torch.autograd.grad(slope, point, u, retain_graph=True, allow_unused=True)
        return torch.zeros_like(u) if image is None else image.detach()

    return product


def _along(vector: Tensor, axis: int, outputs: Tensor) -> Tensor:
    shape = [1] * outputs.ndim
    shape[axis] = -1
    return vector.reshape(shape)


def _chunks(outputs: Tensor, axis: int) -> tuple[int, range, int]:
    """The longest axis but that of the classes, where pieces of it start, and their length."""
    along = max((i for i in range(outputs.ndim) if i != axis), key=lambda i: outputs.shape[i], default=axis)
    length = outputs.shape[along]
    step = length if along == axis else max(1, _CHUNK * length // outputs.numel())
    return along, range(0, length, step), step
