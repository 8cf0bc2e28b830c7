"""The gradient-noise scale: at which batch size noise and signal of a gradient are equal."""

import math
import time
from collections.abc import Iterator
from typing import Any, Unpack

import torch
from torch import Tensor

from steppe.core import DataError, Estimate, InputError, ParameterError, check_integer, samples_of, take_samples

from .determinism import uses_batch_statistics
from .nearby import Nearby
from .options import ProblemOptions, refuse_unknown_options

_MEMORY = 2**29  # bytes of gradients that are kept; more are computed twice
_FEWEST = 3  # blocks below which there is no standard error


def gradient_noise_scale(
    model: Any, loss: Any, data: Any, *, blocks: int = 256, **options: Unpack[ProblemOptions]
) -> Estimate:
    """The simple gradient-noise scale B = tr Σ / |G|², in samples.

    G is the mean gradient and Σ the covariance of the gradients of single samples, both of the distribution that the
    data are a sample of: tr Σ = n/(n − 1) (mean |g_i|² − |ḡ|²) and |G|² = |ḡ|² − tr Σ / n are unbiased. A batch much
    smaller than B is mostly noise, one much larger wastes samples. B does not depend on the batch size of training,
    nor on the scale of the loss; it does on the scale of the parameters (rescaled neurons).

    A sample is a row of the batch (for tokens: a sequence with the mean loss of its tokens). If there are more samples
    than `blocks`, gradients of blocks of consecutive samples stand for them, Σ being the block's times its size; the
    data should come in random order then.

    Args:
        model: The module.
        loss: As in `hessian`, a mean over samples.
        data: As in `hessian`, kept in memory; at least 3 samples.
        blocks: Gradients to compute, ≥ 3; single ones if there are no more samples than that.
        **options: As in `hessian`.

    Returns:
        The estimate with its jackknife standard error; infinite, and not converged, where the mean gradient cannot be
        told from zero.

    Raises:
        InputError: Samples have no gradients of their own (batch statistics).
        ParameterError: The loss is a sum.
        SteppeError: As `hessian`.

    Cost: one gradient of each block, twice if they do not fit into 512 MiB together.
    Source: McCandlish, Kaplan, Amodei et al. 2018, arXiv 1812.06162, equation 2.9 (recalled).
    """
    refuse_unknown_options("gradient_noise_scale", options, "blocks")
    wanted = check_integer("blocks", blocks, minimum=_FEWEST)
    began = time.perf_counter()
    near = Nearby("gradient_noise_scale", model, loss, data, **options)
    if getattr(loss, "reduction", None) == "sum":
        raise ParameterError("`loss` must be a mean over samples, got reduction='sum'; pass reduction='mean'")
    if uses_batch_statistics(near.model):
        raise InputError("single samples have no gradient under batch statistics; call model.eval()")
    size, parts = _cut(near.batches, wanted)
    with near.session():
        squares, dots = _moments(near, parts)
    value = _ratio(squares.mean(), dots.mean(), size, len(parts))
    left_out = torch.stack([_without(squares, dots, size, k) for k in range(len(parts))])
    spread = (left_out - left_out.mean()).square().sum() * (len(parts) - 1) / len(parts)
    known = math.isfinite(float(value)) and bool(torch.isfinite(left_out).all())
    used = "" if len(parts) * size == sum(map(samples_of, near.batches)) else f" ({len(parts) * size} samples used)"
    blockwise = "single gradients" if size == 1 else f"{len(parts)} blocks of {size}"
    return Estimate(
        value=float(value),
        error=math.sqrt(float(spread)) if known else math.inf,
        error_kind="standard error",
        converged=math.isfinite(float(value)),
        reason=blockwise
        if math.isfinite(float(value))
        else "the mean gradient cannot be told from zero on these samples",
        seconds=time.perf_counter() - began,
        backend=f"{near.evaluations} gradients",
        convention=f"{blockwise}{used}; {near.convention}",
        source="McCandlish et al. 2018",
        quantity="gradient-noise scale",
    )


def _cut(batches: list[Any], blocks: int) -> tuple[int, list[Any]]:
    """Blocks of equal size, near the wanted number; rests are left out."""
    samples = list(map(samples_of, batches))
    if sum(samples) < _FEWEST:
        raise DataError(f"`data` needs at least {_FEWEST} samples, got {sum(samples)}; pass more")
    size = min(max(1, sum(samples) // blocks), max(samples))
    while sum(count // size for count in samples) < _FEWEST:
        size -= 1
    parts = [
        take_samples(batch, slice(start, start + size))
        for batch, count in zip(batches, samples, strict=True)
        for start in range(0, count - size + 1, size)
    ]
    return size, parts


def _moments(near: Nearby, parts: list[Any]) -> tuple[Tensor, Tensor]:
    """|g_k|² and ⟨g_k, ḡ⟩ of every block."""
    kept: list[Tensor] | None = [] if len(parts) * near.size * near.parameters[0].element_size() <= _MEMORY else None
    mean, squares = None, []
    for g in _gradients(near, parts):
        squares.append(float(g @ g))
        mean = g / len(parts) if mean is None else mean.add_(g, alpha=1 / len(parts))
        if kept is not None:
            kept.append(g.to(near.parameters[0].dtype))
    assert mean is not None  # there are at least three
    again = _gradients(near, parts) if kept is None else (g.double() for g in kept)
    dots = [float(g @ mean) for g in again]
    return torch.tensor(squares, dtype=torch.float64), torch.tensor(dots, dtype=torch.float64)


def _gradients(near: Nearby, parts: list[Any]) -> Iterator[Tensor]:
    for part in parts:
        yield torch.cat([piece.reshape(-1) for piece in near.gradient(None, [part])[1]]).double()


def _ratio(square: Tensor, mean_square: Tensor, size: int, count: int) -> Tensor:
    """B from mean |g_k|² and |ḡ|² of so many blocks."""
    noise = size * count / (count - 1) * (square - mean_square)
    signal = mean_square - noise / (size * count)
    return torch.where(signal > 0, noise / signal, torch.inf)


def _without(squares: Tensor, dots: Tensor, size: int, k: int) -> Tensor:
    """B without block k."""
    count = len(squares)
    rest = count - 1
    mean_square = (count**2 * dots.mean() - 2 * count * dots[k] + squares[k]) / rest**2
    return _ratio((squares.sum() - squares[k]) / rest, mean_square, size, rest)
