"""What a measurement says in plain words: sizes, limits, warnings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from steppe.core import Estimate, grouped

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_FEW = 100  # samples below which curvature is mostly noise of the draw
_NEGATIVE = 0.1  # share of the sharpness beyond which negative curvature is worth a word
_DEAD = 0.5
_PLAIN, _DECIMALS = (1e-3, 1e6), 9  # sizes that are written without powers of ten, and decimals at most

IGNORED = (
    "These are limits of linear stability here, on these samples: beyond its limit a full-batch optimizer leaves along "
    "the top eigenvector, on the quadratic that the loss is nearby. Mini-batch noise, gradient clipping, warm-up and "
    "later schedules are ignored, and training usually sharpens until it meets its limit. A limit is no recommendation."
)


def size_in_words(count: float) -> str:
    """`312 bytes`, `96.0 KiB`, `1.2 GiB`."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.0f} {_UNITS[power]}" if power == 0 else f"{count:.3g} {_UNITS[power]}"


def signed(value: float, digits: int = 4) -> str:
    """A number with a true minus."""
    return f"{value:.{digits}g}".replace("-", "−")


def spoken(estimate: Estimate) -> str:
    """`2.2070 ± 0.0021`: two digits of the error, and the value as far as these."""
    value, error = estimate.value, estimate.error
    if estimate.error_kind == "none" or not error > 0 or not math.isfinite(error + value):
        return signed(value, 6)
    decimals = 1 - math.floor(math.log10(error))
    size = max(abs(value), error)
    if not _PLAIN[0] <= size < _PLAIN[1] or decimals > _DECIMALS:
        digits = 2 + max(math.floor(math.log10(size)) - math.floor(math.log10(error)), 0)
        return f"{signed(value, min(digits, _DECIMALS))} ± {error:.2g}"
    return f"{value:.{max(decimals, 0)}f} ± {error:.{max(decimals, 0)}f}".replace("-", "−")


def part_of_data(samples: int, total: int | None) -> list[str]:
    """What follows from having looked at some of the samples."""
    words = []
    if total is not None and total > samples:
        words.append(
            f"{grouped(samples)} of {grouped(total)} samples were used: sharpness on part of the data is biased "
            f"upwards. Compare with more of them, samples={min(2 * samples, total)}."
        )
    if samples < _FEW:
        words.append(f"With {samples} samples, curvature depends on which samples they are; use more where there are.")
    return words


def curvature_warnings(sharpness: Estimate | None, smallest: Estimate | None) -> list[str]:
    """What the two ends of the spectrum give to think about."""
    words = []
    for name, found in (("sharpness", sharpness), ("smallest eigenvalue", smallest)):
        if found is not None and not found.converged:
            words.append(
                f"The {name} has not converged ({found.reason}): read {spoken(found)} as a rough value, or raise the "
                "budget."
            )
    if sharpness is not None and sharpness.value <= 0:
        words.append("The largest eigenvalue is not positive: the loss has no direction of positive curvature here.")
    elif sharpness is not None and smallest is not None and -smallest.value > _NEGATIVE * sharpness.value:
        share = -smallest.value / sharpness.value
        words.append(
            f"Negative curvature is large: the smallest eigenvalue is {signed(smallest.value)}, {share:.0%} of the "
            "sharpness in size. This point is no minimum, and quadratic pictures of it are short-lived."
        )
    return words


def model_warnings(model: nn.Module, dtype: Any, *, frozen: int, measured: int, total: int) -> list[str]:
    """What about the model changes the meaning of the numbers."""
    words = []
    normalised = batch_norms(model)
    if normalised:
        words.append(
            f"Batch normalisation is in training mode ({_listed(normalised)}): the loss couples the samples of a "
            "batch, so the numbers depend on the batch size. Call model.eval() for those of the model as it predicts."
        )
    if str(dtype) in ("torch.float16", "torch.bfloat16"):
        words.append(
            f"The model is {str(dtype).removeprefix('torch.')}: rounding alone moves these numbers by percents. "
            "Measure a copy in float32."
        )
    if frozen:
        words.append(
            f"{grouped(frozen)} of {grouped(total)} parameters do not require a gradient and are held fixed; the "
            f"numbers are about the other {grouped(measured)}."
        )
    return words


def rounding_warnings(sharpness: Estimate | None, dtype: Any, loss: float) -> list[str]:
    """Whether float32 rounding is what was measured."""
    if str(dtype) != "torch.float32" or sharpness is None or "rounding" not in sharpness.reason:
        return []
    return [
        f"The sharpness {signed(sharpness.value)} is at the level of float32 rounding (loss {signed(loss)}); "
        "measure in float64: model.double() and the data too."
    ]


def activity_warnings(layers: Sequence[Any]) -> list[str]:
    """Layers most of whose units no sample activates."""
    bad = [layer for layer in layers if layer.units and layer.dead > _DEAD * layer.units]
    return [f"{layer.name}: {layer.dead} of {layer.units} units are active on none of these samples." for layer in bad]


def optimizer_warnings(model: nn.Module, *, preconditioned: bool) -> list[str]:
    """Where the optimizer's state and the model as it is now do not belong together."""
    if not preconditioned or not batch_norms(model, training=False):
        return []
    return [
        "Batch normalisation is in evaluation mode, while the optimizer gathered its state in training mode, where "
        "parameters before a normalisation have nearly no gradient: the preconditioned sharpness may be far too large. "
        "Compare with batch normalisation in training mode."
    ]


def beyond_limit(name: str, sharpness: float, limit: float, what: str) -> list[str]:
    """The optimizer's limit against what was measured."""
    if not sharpness > limit:
        return []
    return [
        f"Beyond the limit: {what} is {signed(sharpness)}, and {name} is linearly stable up to {signed(limit)} "
        f"({sharpness / limit:.3g} times the limit). With these settings on these samples the loss rises along the top "
        "eigenvector until curvature falls or the step does."
    ]


def batch_norms(model: nn.Module, *, training: bool = True) -> list[str]:
    """Names of the batch normalisations in training mode, or of those in evaluation mode."""
    return [
        name or "model"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training == training
    ]


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def blocks_in_words(share: Mapping[str, float], limit: int = 3) -> str:
    """`2.weight 71%, 0.weight 22%`."""
    largest = sorted(share.items(), key=lambda item: -item[1])[:limit]
    return ", ".join(f"{name} {value:.0%}" for name, value in largest)
