"""Gradient descent on one network, and on many of one shape."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from steppe.core import (
    DataError,
    DeviceError,
    DtypeError,
    KindError,
    ShapeError,
    SquaredLoss,
    check_inputs,
    check_same_place,
    check_targets,
    refuse_unknown_keywords,
)
from steppe.networks import PatchReLU, ShallowReLU

from .autograd import AutogradEngine
from .batched import BatchedEngine, descend_batched
from .closed_form import ClosedFormEngine
from .compiled import CompiledEngine
from .history import History
from .looks import Column, Looks
from .observers import Observer
from .patches import PatchEngine
from .paths import has_closed_form, note_path, path_of
from .plan import Decay, Engine, Plan, Run, descend, descend_together

_KEYWORDS = [
    "step_size",
    "steps",
    "weight_decay",
    "decay",
    "clip",
    "loss",
    "observers",
    "log_every",
    "columns",
    "clean",
]


def gradient_descent(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    step_size: float | int | None = None,
    steps: int | None = None,
    weight_decay: float | int = 0.0,
    clip: float | int | None = None,
    loss: Any = SquaredLoss(),  # noqa: B008 - a frozen value
    observers: Iterable[Observer] = (),
    log_every: int | None = None,
    decay: Decay = "coupled",
    columns: Sequence[Column] = (),
    clean: Tensor | None = None,
    **unknown: Any,
) -> History:
    """Full-batch gradient descent θ ← θ − η (∇L(θ) + λθ), in place.

    A `ShallowReLU` with `SquaredLoss` or `Logistic` uses closed-form gradients: on the CPU the compiled kernel of the
    package `steppe-kernels` (at most 64 inputs, and outputs · (inputs + 1) ≤ 96 if there are several outputs) or else
    NumPy, elsewhere batched products. A `PatchReLU` likewise, with the inputs of a patch in the place of the inputs:
    the kernel, or else blocks of samples in torch on any device. Frozen parameters, forward hooks, other losses and
    other modules go through autograd. The path depends on the kind of model, loss, dtype, device and sizes alone, and
    `History.backend` names it; paths agree to rounding. On one machine with a fixed number of threads the result is the
    same bit for bit on every run.

    Args:
        network: Any module [n, …] → [n, k]; `.grad`, `training` flags and frozen parameters are left alone.
        x: Inputs, n ≥ 1 rows ([n, d] for a `ShallowReLU`). One sample is a legitimate problem here.
        y: Targets of the shape of the outputs, or whatever a foreign loss takes.
        step_size: η > 0.
        steps: Number of updates ≥ 0.
        weight_decay: λ ≥ 0. λθ is added to the gradient of all parameters, biases included, as SGD optimisers do.
        clip: Bound c > 0 of the global norm of the loss gradient. A longer gradient is scaled to norm c before the
            decay term is added; how often is counted in `History.clipped`.
        loss: Callable (outputs, targets) -> scalar.
        observers: Callables (step, model) -> dict of numbers or None, called at the records of the loss, or as
            `Every` and `AtSteps` say, with the parameters after `step` updates. They only look: what they change may be
            lost. Raising `StopTraining` ends the run.
        log_every: Period of the records; None records at most 200 steps, evenly on a logarithmic scale, and every
            step of a run shorter than 200.
        decay: `"coupled"`: λθ is added to the gradient, so a step shrinks θ by ηλ. `"decoupled"`: a step shrinks θ by λ
            whatever η (Loshchilov & Hutter 2019); for a constant step the same as coupled decay of λ/η.
        columns: What to record besides the loss: `"gradient_norm"` (decay included), `"clipped"` (updates so far),
            `"live_neurons"` (active on at least one sample; of a `ShallowReLU` or a `PatchReLU`, where each position
            with weights of its own counts its neurons).
        clean: Noiseless targets of the shape of the outputs; records `"clean_error"`, the mean over samples of
            ‖f(x) − clean‖².
        **unknown: Refused, with the keyword to use instead.

    Returns:
        The history. It never holds NaN: a diverged run keeps its finite records and returns to the parameters of the
        last one.

    Raises:
        KindError: The wrong kind of object, or a keyword that is not known, such as `lr`.
        ShapeError: Shapes that do not fit; nothing broadcasts.
        DtypeError: Model and data differ in dtype; nothing is promoted.
        DeviceError: Model and data live on different devices.
        DataError: Data or parameters are empty or not finite.
        ParameterError: A number is out of range.

    Example:
        >>> network = ShallowReLU(1, 8, seed=0)
        >>> x = torch.linspace(-1, 1, 16, dtype=torch.float64)[:, None]
        >>> gradient_descent(network, x, x.abs(), step_size=0.1, steps=500).state
        'finished'
    """
    refuse_unknown_keywords("gradient_descent", unknown, _KEYWORDS)
    _require("gradient_descent", step_size=step_size, steps=steps)
    _check_network(network)
    plan = Plan.check(
        step_size=step_size, steps=steps, weight_decay=weight_decay, clip=clip, log_every=log_every, decay=decay
    )
    _check_data(network, x, y, loss)
    return _trained([network], [x], [y], [plan], loss, [list(observers)], [Looks(columns, network, x, clean)])[0]


def train_stacked(
    networks: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    step_size: Any = None,
    steps: int | None = None,
    weight_decay: Any = 0.0,
    clip: Any = None,
    loss: Any = SquaredLoss(),  # noqa: B008 - a frozen value
    observers: Sequence[Any] = (),
    log_every: int | None = None,
    decay: Decay = "coupled",
    columns: Sequence[Column] = (),
    clean: Tensor | None = None,
    **unknown: Any,
) -> list[History]:
    """`gradient_descent` on r networks of one shape in one call, each in place.

    On the CPU every network is trained by itself, with all its arrays in the cache, which is faster than batched
    products; with the compiled kernel as many at a time as torch has threads, and observers are still called one by
    one. The numbers of a network do not depend on its companions, their order or the threads, bit for bit. On other
    devices all take a step together in batched products; there a run is judged diverged or settled at records only.

    Args:
        networks: r ≥ 1 networks of one class, shape, dtype and device.
        x: Inputs shared by all, [n, d], or one set each, [r, n, d].
        y: Targets shared by all, [n, k], or [r, n, k].
        step_size: η > 0, one number or r of them.
        steps: Number of updates ≥ 0, the same for all.
        weight_decay: λ ≥ 0, one number or r of them.
        clip: None, one bound, or r bounds of the global norm of each network's gradient.
        loss: As in `gradient_descent`.
        observers: As in `gradient_descent`, called for every network as (step, network); or r such sequences, one
            for each network, for observers that keep state.
        log_every: As in `gradient_descent`.
        decay: As in `gradient_descent`.
        columns: As in `gradient_descent`.
        clean: Noiseless targets shared by all, [n, k], or [r, n, k]; as in `gradient_descent`.
        **unknown: Refused, with the keyword to use instead.

    Returns:
        r histories, in the order of the networks.

    Raises:
        KindError: The wrong kind of object, or a keyword that is not known, such as `lr`.
        ShapeError: Networks of different shapes, or data or options whose length is not r.
        DtypeError: Networks, or networks and data, differ in dtype.
        DeviceError: Networks, or networks and data, live on different devices.
        DataError: Data or parameters are empty or not finite.
        ParameterError: A number is out of range.
    """
    refuse_unknown_keywords("train_stacked", unknown, _KEYWORDS)
    _require("train_stacked", step_size=step_size, steps=steps)
    networks = _check_stack(networks)
    r = len(networks)
    options = {
        "step_size": _per_run("step_size", step_size, r),
        "weight_decay": _per_run("weight_decay", weight_decay, r),
        "clip": _per_run("clip", clip, r),
    }
    plans = [
        Plan.check(steps=steps, log_every=log_every, decay=decay, **{k: values[i] for k, values in options.items()})
        for i in range(r)
    ]
    xs, ys = _per_run_data("x", x, r), _per_run_data("y", y, r)
    cleans = [None] * r if clean is None else _per_run_data("clean", clean, r)
    for network, own_x, own_y in zip(networks, xs, ys, strict=True):
        _check_data(network, own_x, own_y, loss)
    looks = [Looks(columns, *own) for own in zip(networks, xs, cleans, strict=True)]
    return _trained(networks, xs, ys, plans, loss, _per_run_observers(observers, r), looks)


def _trained(
    networks: Sequence[Any], xs: Sequence[Tensor], ys: Sequence[Tensor], plans: Sequence[Plan], loss: Any,
    observers: Sequence[Sequence[Observer]], looks: Sequence[Looks],
) -> list[History]:  # fmt: skip
    """Networks of one shape, by the path that suits them all."""
    paths = {path_of(network, loss) for network in networks}
    if paths == {"torch-batched"}:
        engine = BatchedEngine(networks, torch.stack(list(xs)), torch.stack(list(ys)), plans, loss)
        note_path(engine.backend)
        return descend_batched(engine, observers, looks)
    each = list(zip(networks, xs, ys, plans, observers, looks, [loss] * len(networks), strict=True))
    threads = min(torch.get_num_threads(), len(each))
    if paths == {"kernel"} and threads > 1:
        return descend_together([_run(*own) for own in each], threads)
    with np.errstate(over="ignore", invalid="ignore"):
        return [descend(_run(*own)) for own in each]


def _run(
    network: nn.Module, x: Tensor, y: Tensor, plan: Plan, observers: Sequence[Observer], looks: Looks, loss: Any
) -> Run:
    path = path_of(network, loss)
    engine: Engine
    if path == "kernel":
        assert isinstance(network, ShallowReLU | PatchReLU)
        engine = CompiledEngine(network, x, y, plan, loss)
    elif isinstance(network, ShallowReLU) and path == "numpy":
        engine = ClosedFormEngine(network, x, y, plan, loss)
    elif isinstance(network, PatchReLU) and path == "torch":
        engine = PatchEngine(network, x, y, plan, loss)
    else:
        engine = AutogradEngine(network, x, y, plan, loss)
    note_path(engine.backend)
    return Run(engine, network, plan, observers, looks)


def _require(function: str, **values: Any) -> None:
    for name, value in values.items():
        if value is None:
            raise KindError(f"`{function}` needs `{name}`, got none; pass {name}=…")


def _check_network(network: Any, name: str = "network") -> None:
    if not isinstance(network, nn.Module):
        raise KindError(f"`{name}` must be a torch module, got {type(network).__name__}; wrap it in an nn.Module")
    for parameter, value in network.named_parameters():
        if not torch.isfinite(value).all():
            raise DataError(
                f"`{name}` must have finite parameters, got NaN or infinity in {parameter}; initialise it anew"
            )


def _check_data(network: nn.Module, x: Any, y: Any, loss: Any) -> None:
    """Everything about one network and its data that can be known before the first step."""
    if isinstance(network, ShallowReLU | PatchReLU):
        check_inputs(x, inputs=network.inputs)
    else:
        if not isinstance(x, Tensor):
            raise KindError(f"`x` must be a torch tensor, got {type(x).__name__}; convert it with torch.as_tensor(x)")
        if x.ndim == 0 or 0 in x.shape:
            raise DataError(
                f"`x` must hold at least one sample and one input, got shape {list(x.shape)}; pass more data"
            )
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise DataError("`x` must be finite, got NaN or infinite entries; remove or impute those rows")
    if not isinstance(y, Tensor):
        raise KindError(f"`y` must be a torch tensor, got {type(y).__name__}; convert it with torch.as_tensor(y)")
    if has_closed_form(network, loss):
        check_targets(y, (x.shape[0], network.outputs))  # type: ignore[arg-type]  # a ShallowReLU or a PatchReLU
        if loss.__class__.__name__ == "Logistic":
            loss(torch.zeros_like(y), y)
    elif y.is_floating_point() and not torch.isfinite(y).all():
        raise DataError("`y` must be finite, got NaN or infinite entries; remove those rows")
    if y.ndim and y.shape[0] != x.shape[0]:
        raise ShapeError(f"`y` must have one row per sample, {x.shape[0]}, got {y.shape[0]}; pass matching x and y")
    check_same_place(network, x, y)


def _check_stack(networks: Any) -> list[Any]:
    networks = [networks] if isinstance(networks, nn.Module) else list(networks)
    if not networks:
        raise DataError("`networks` needs at least one network, got an empty list; pass [network, …]")
    shapes = []
    for index, network in enumerate(networks):
        _check_network(network, f"networks[{index}]")
        shapes.append([(name, tuple(p.shape)) for name, p in network.named_parameters()])
    first, reference = networks[0], next(networks[0].parameters(), None)
    for index, network in enumerate(networks):
        if type(network) is not type(first) or shapes[index] != shapes[0]:
            raise ShapeError(
                f"`networks` must have one class and shape, got {type(first).__name__} {dict(shapes[0])} and, at "
                f"{index}, {type(network).__name__} {dict(shapes[index])}; train each shape in its own call"
            )
        parameter = next(network.parameters(), None)
        if parameter is None or reference is None:
            continue
        if parameter.dtype != reference.dtype:
            raise DtypeError(
                f"`networks` must have one dtype, got {reference.dtype} and, at {index}, {parameter.dtype}; convert one"
            )
        if parameter.device != reference.device:
            raise DeviceError(
                f"`networks` must be on one device, got {reference.device} and {parameter.device} at {index}; move one"
            )
    if len({id(network) for network in networks}) != len(networks):
        raise DataError("`networks` must be different objects, got one twice; pass network.copy()")
    return networks


def _per_run(name: str, value: Any, r: int) -> list[Any]:
    """One value per network."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [value] * r
    if len(value) != r:
        raise ShapeError(f"`{name}` must be a number or {r} of them, one per network, got {len(value)}")
    return list(value)


def _per_run_data(name: str, value: Any, r: int) -> list[Tensor]:
    """One tensor per network; [r, n, …] is split, [n, …] shared."""
    if not isinstance(value, Tensor):
        raise KindError(f"`{name}` must be a torch tensor, got {type(value).__name__}; convert it with torch.as_tensor")
    if value.ndim < 3:
        return [value] * r
    if value.ndim > 3 or value.shape[0] != r:
        raise ShapeError(
            f"`{name}` must have shape [n, …] or [{r}, n, …], one set per network, got {list(value.shape)}; "
            "stack one set per network, or call gradient_descent for each"
        )
    return list(value.unbind(0))


def _per_run_observers(observers: Any, r: int) -> list[list[Any]]:
    """One list of observers per network."""
    observers = list(observers)
    nested = [isinstance(o, list | tuple) for o in observers]
    if not any(nested):
        return [observers] * r
    if not all(nested) or len(observers) != r:
        raise ShapeError(
            f"`observers` must be callables, or {r} lists of callables, one per network, got {len(observers)} entries; "
            "pass one list per network"
        )
    return [list(own) for own in observers]
