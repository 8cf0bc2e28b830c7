"""Smaller networks with the same outputs on the data: neurons that a layer can do without are taken out."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from steppe.core import ParameterError, check_choice, check_integer, check_number

from .compression_methods import METHODS, Method
from .compression_report import Compression, CompressionCurve
from .compression_surgery import as_given
from .compression_tuning import fine_tuned
from .compression_work import Work

_MEMORY = 2 << 30


def compress(
    model: nn.Module,
    data: Any,
    *,
    tolerance: float = 1e-6,
    layers: str | Sequence[str] | None = None,
    method: Method = "fewest-neurons",
    fine_tune: int = 0,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    step_size: float = 1e-3,
    held_out: Any = None,
    memory: int = _MEMORY,
) -> Compression:
    """A smaller copy of a trained model whose outputs on the data stay within a tolerance.

    Layer by layer, from the last to the first: with Φ what the next layer takes in and Ψ what it gives out over all
    data, new weights V with few non-zero rows are found such that ΦV ≈ Ψ; neurons that lose all their outgoing weights
    are taken out. A bias is fitted again. The tolerance is on the outputs of the whole model, measured after every
    layer, in the dtype of the model; each layer may use an equal share of it, and what one leaves the next may use.

    `"fewest-neurons"` looks for the shortest list of neurons; at most rank(Φ) are left. `"smallest-norm"` solves the
    multi-task lasso min Σ ‖w_k‖‖V_k‖_F at that residual, V_k being all outgoing weights of neuron or channel k, and
    reduces the groups; at most rank(Φ) · rank(Ψ) are left, and with ReLU, whose neurons can be balanced, weight decay
    does not rise (for convolutions up to the gap of 1e-3 at which the lasso is stopped).

    Served: `Linear`, `Conv1d`, `Conv2d` with nonlinearities, dropout, pooling, flattening and batch normalisation
    between them. Everything is done in evaluation mode. Where neurons meet others (residual additions), and where
    modules are shared, layers are left as they are; the report says why. Cost: one forward pass per layer and per
    tolerance tried, 4Nc² operations for N rows (samples × positions) and c columns of a layer, and c³ for the choice.

    Args:
        model: Any module; it is not touched.
        data: One batch (x, y) or a dict, or a re-iterable of batches, all of whose samples count. Targets are ignored
            unless `loss` is given.
        tolerance: Largest ‖f_new − f‖_F / ‖f‖_F over the data.
        layers: Names or patterns such as `"blocks.*.fc1"` of the layers whose neurons may go; None is all.
        method: How neurons are chosen.
        fine_tune: Steps of Adam afterwards, each on one batch.
        loss: What fine-tuning minimises, `loss(outputs, targets)`; None brings the outputs back to the original ones.
        step_size: Of fine-tuning.
        held_out: Other data, on which the change is measured too.
        memory: Bytes that the factor of one layer may take; larger layers are left as they are.

    Returns:
        A `Compression`: the new model and the report.

    Raises:
        KindError, DataError: Model or data are not what they should be.
        DtypeError, DeviceError: They do not fit together.
        ParameterError, UnknownNameError: A number or a name is out of range.
        NotDeterministicError: Two forward passes in evaluation mode differ.
        InputError: The forward pass cannot be followed.
        ComputationError: It fails.

    Reference:
        Shenouda, Parhi, Lee, Nowak, *Variation Spaces for Multi-Output Neural Networks*, JMLR 25(231), 2024.
    """
    tolerance = check_number("tolerance", tolerance, above=0.0, below=1.0)
    check_choice("method", method, METHODS)
    work = Work(model, data, layers, memory)
    twin, lines, seconds = work.compressed(tolerance, method)
    start = time.perf_counter()
    untuned = None
    if check_integer("fine_tune", fine_tune, minimum=0):
        untuned = work.change(twin)
        twin = fine_tuned(twin, work.reference, work.data, steps=fine_tune, loss=loss, step_size=step_size)
    found = as_given(twin, model)
    return work.report(found, lines, tolerance, method, untuned, held_out, seconds + time.perf_counter() - start)


def compression_curve(
    model: nn.Module,
    data: Any,
    tolerances: Sequence[float] = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 0.2),
    *,
    layers: str | Sequence[str] | None = None,
    method: Method = "fewest-neurons",
    held_out: Any = None,
    memory: int = _MEMORY,
) -> CompressionCurve:
    """Size against tolerance: `compress` at several tolerances, with the features collected once.

    Args:
        model: As for `compress`.
        data: As for `compress`.
        tolerances: Relative changes of the outputs that are allowed.
        layers: As for `compress`.
        method: As for `compress`.
        held_out: As for `compress`.
        memory: As for `compress`.

    Raises:
        ParameterError: There is no tolerance, or one is out of range.
        SteppeError: As for `compress`.
    """
    checked = sorted({check_number("tolerances", value, above=0.0, below=1.0) for value in tolerances})
    if not checked:
        raise ParameterError("`tolerances` needs at least one number, got none; pass for example (1e-3, 1e-2)")
    check_choice("method", method, METHODS)
    work = Work(model, data, layers, memory)
    found = []
    for tolerance in checked:
        twin, lines, seconds = work.compressed(tolerance, method)
        found.append(work.report(as_given(twin, model), lines, tolerance, method, None, held_out, seconds))
    return CompressionCurve(compressions=tuple(found))
