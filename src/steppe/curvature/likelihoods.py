"""Losses as negative log-likelihoods: the Fisher matrix of a batch in the space of outputs, and drawn labels.

What one sample is follows the loss, so that each is one negative log-likelihood of the mean: a row for squared losses
and `Logistic`, a position (a token) for cross-entropy, an entry for `nn.BCEWithLogitsLoss`. For any other loss it is a
row, and the loss must be a mean over rows.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steppe.core import DataError, KindError, Objective, derived_seed, targets_of

from .output_space import KnownLoss, OutputMap, known_loss, known_module, loss_hessian

FisherKind = Literal["true", "empirical", "sampled"]

_WORDS = "SquaredLoss, CrossEntropy, Logistic, nn.MSELoss, nn.CrossEntropyLoss or nn.BCEWithLogitsLoss"
GOLDEN = -7046029254386353131  # 2⁶⁴ over the golden ratio, as a signed number
_MIX = (-4658895280553007687, -7723592293110705685)  # the multipliers of SplitMix64


def fisher_map(objective: Objective, outputs: Tensor, batch: Any, *, kind: FisherKind, seed: int = 0) -> OutputMap:
    """The map u ↦ F u in the space of outputs, for the loss of this batch.

    Args:
        objective: A loss(outputs, targets).
        outputs: What the model made of the batch.
        batch: The batch.
        kind: As in `fisher`.
        seed: Seed of the labels of kind `"sampled"`.

    Raises:
        KindError: The loss is no negative log-likelihood that is known, or (kind `"empirical"`) no mean over rows.
    """
    outputs = outputs.detach()
    known = known_loss(objective, outputs, batch)
    if kind == "empirical":
        scores = _gradient(objective, outputs, batch)
        if known is None:
            _check_rows(objective, outputs, batch)
            known = KnownLoss("gaussian", 1 / len(outputs), count=len(outputs))
        return _outer(scores, known)
    if known is None or (reason := unlikely(objective.loss)):
        raise no_likelihood(objective.loss, "" if known is None else reason)
    if kind == "true":
        return loss_hessian(objective, outputs, batch)
    return _outer(drawn_scores(known, outputs, batch, seed), known)


def unlikely(loss: Any) -> str:
    """Why a known loss is not the negative log-likelihood of its family; empty if it is."""
    loss = known_module(loss)
    words = (
        ("label smoothing", getattr(loss, "label_smoothing", 0) > 0),
        ("`weight`", getattr(loss, "weight", None) is not None),
        ("`pos_weight`", getattr(loss, "pos_weight", None) is not None),
    )
    return " and ".join(word for word, there in words if there) if isinstance(loss, nn.Module) else ""


def no_likelihood(loss: Any, reason: str) -> KindError:
    """The error about a loss whose predictive distribution is not known."""
    got = f"{type(loss).__name__} with {reason}" if reason else getattr(loss, "__name__", type(loss).__name__)
    return KindError(
        f"`loss` must be a negative log-likelihood that is known, {_WORDS}, got {got}; pass kind='empirical', which "
        "needs none, or use `gauss_newton`"
    )


def drawn_scores(known: KnownLoss, outputs: Tensor, batch: Any, seed: int) -> Tensor:
    """Gradient of the batch's loss in the outputs, at labels drawn from the model's own prediction."""
    uniforms = uniforms_of(batch, outputs, seed, axis=known.axis if known.family == "categorical" else None)
    if known.family == "gaussian":
        # Each row's loss is c/2 ‖f − y‖² with c = scale · count: unit normal noise of variance 1/c.
        return torch.special.ndtri(uniforms).mul_(math.sqrt(float(known.scale) / known.count)).to(outputs.dtype)
    if known.family == "bernoulli":
        p = torch.sigmoid(outputs)
        return ((p - (uniforms < p).to(p.dtype)) * known.scale).to(outputs.dtype)
    p = torch.softmax(outputs.double(), dim=known.axis)
    below = p.cumsum(dim=known.axis) <= uniforms.unsqueeze(known.axis) * p.sum(dim=known.axis, keepdim=True)
    labels = below.sum(dim=known.axis, keepdim=True).clamp_(max=outputs.shape[known.axis] - 1)
    return (p.scatter_add_(known.axis, labels, -torch.ones_like(p)) * known.scale).to(outputs.dtype)


def uniforms_of(batch: Any, outputs: Tensor, seed: int, *, axis: int | None) -> Tensor:
    """Uniform numbers in (0, 1), float64, one per entry of the outputs, or one per position if `axis` is dropped.

    They depend on the seed and on the sample itself (its bits in the batch), not on its place in the data: batches of
    other sizes, another order and shards over processes draw the same labels. Equal samples draw equal ones. Numbers
    come from SplitMix64, whose states are hashes of samples, because a generator would go by place.
    """
    shape = list(outputs.shape)
    if axis is not None:
        del shape[axis]
    per_row = math.prod(shape[1:]) if shape else 1
    rows = shape[0] if shape else 1
    keys = _row_keys(batch, rows, outputs.device) + derived_seed("curvature.fisher", seed)
    steps = torch.arange(1, per_row + 1, device=outputs.device) * GOLDEN
    bits = mixed(mixed(keys)[:, None] + steps)
    return ((bits >> 11 & (1 << 53) - 1).double() + 0.5).mul_(2.0**-53).reshape(shape)


def _row_keys(batch: Any, rows: int, device: torch.device) -> Tensor:
    """A 64-bit hash of every row of the batch; where rows are not those of the batch, of the batch and the place."""
    tensors = [value for value in (batch.values() if isinstance(batch, dict) else batch) if isinstance(value, Tensor)]
    aligned = [tensor for tensor in tensors if tensor.ndim and len(tensor) == rows]
    keys = torch.zeros(rows, dtype=torch.int64, device=device)
    if not aligned:
        keys = torch.arange(rows, device=device)
    for tensor in aligned or [tensor.reshape(1, -1) for tensor in tensors]:
        bits = bits_of(tensor.to(device).reshape(len(tensor), -1))
        places = torch.arange(1, bits.shape[1] + 1, device=device) * GOLDEN
        keys = mixed(keys + mixed(bits + places).sum(dim=1))
    return keys


def bits_of(tensor: Tensor) -> Tensor:
    """Every entry as a 64-bit integer that says its bits, the same on every device."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor).flatten(1)
    if tensor.is_floating_point():
        width = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
        tensor = tensor.contiguous().view(width)
    return tensor.long()


def mixed(x: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele, Lea, Flood 2014; recalled), with signed 64-bit integers."""
    for shift, factor in zip((30, 27), _MIX, strict=True):
        x = (x ^ (x >> shift & (1 << 64 - shift) - 1)) * factor
    return x ^ (x >> 31 & (1 << 33) - 1)


def _gradient(objective: Objective, outputs: Tensor, batch: Any) -> Tensor:
    """Gradient of the batch's loss in the outputs; its rows are those of single samples over their count."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        point = outputs.clone().requires_grad_()
        value = objective.compare(point, batch)
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value, point, allow_unused=True)
    return torch.zeros_like(outputs) if slope is None else slope.detach()


def _outer(scores: Tensor, known: KnownLoss) -> OutputMap:
    """Sum over samples of count · s ⟨s, u⟩, which is the mean of g gᵀ for a mean loss and their sum for a sum."""
    axes = {"row": tuple(range(1, scores.ndim)), "position": (known.axis,), "entry": ()}[known.unit]

    def product(u: Tensor) -> Tensor:
        along = scores * u
        if axes:
            along = along.sum(dim=axes, keepdim=True)
        return (scores * along).mul_(known.count)

    return product


def _check_rows(objective: Objective, outputs: Tensor, batch: Any) -> None:
    """Refuse a loss that is no mean over rows: its rows have no gradients of their own."""
    y, n = targets_of(batch), len(outputs)
    if y is None or len(y) != n:
        raise DataError(
            f"outputs and targets must have one row per sample, got {n} and {0 if y is None else len(y)} rows; "
            "let the model return one row per sample"
        )
    if n == 1:
        return
    half = n // 2
    parts = [(outputs[:half], y[:half]), (outputs[half:], y[half:])]
    with torch.no_grad():
        whole = float(objective.compare(outputs, batch))
        values = [float(objective.compare(f, (t, t))) for f, t in parts]
    apart = (half * values[0] + (n - half) * values[1]) / n
    size = max(abs(whole), abs(values[0]), abs(values[1]))
    if abs(whole - apart) > 1e3 * torch.finfo(outputs.dtype).eps * max(size, 1e-30):
        raise KindError(
            f"`loss` must be a mean over rows, so that every sample has a gradient, got {whole:.6g} for {n} rows and "
            f"{apart:.6g} from its two halves; average over samples, or pass one of {_WORDS}"
        )
