"""One call for a model, a loss and data: how large, how sharp, where, and what that means for common optimizers."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Unpack

from torch import nn

from steppe.core import (
    Estimate,
    KindError,
    Objective,
    Part,
    check_choice,
    check_integer,
    duration,
    refuse_unknown_keywords,
)
from steppe.curvature import OPTIONS, CurvatureOperator, ProblemOptions, hessian
from steppe.linalg import Pace

from . import measure_quantities as quantity
from . import measure_words as words
from .measure_plan import Budget, MeasurementPlan, check_memory, predict, probe, read_budget
from .measure_spectrum import Spectrum, spectrum
from .measurement import Measurement

QUANTITIES = (
    "sharpness", "smallest", "limits", "optimizer", "share", "trace", "density", "norms", "theorem", "activations",
)  # fmt: skip
_NEED_PRODUCTS = {"sharpness", "smallest", "limits", "optimizer", "share", "trace", "density", "theorem"}
_KEPT = 40
_SLACK = 100  # products beyond p, after which the whole matrix is known and both ends have been found
_USEFUL = 1000  # products beyond which nothing gets better
_OWN = ["optimizer", "budget", "samples", "seed", "quantities", "progress"]


def measure(
    model: nn.Module,
    loss: Any,
    data: Any,
    *,
    optimizer: Any = None,
    budget: Any = None,
    samples: int = 1024,
    seed: int = 0,
    quantities: Iterable[str] | None = None,
    progress: bool | Callable[[int, int | None, str], Any] = False,
    **options: Unpack[ProblemOptions],
) -> Measurement:
    """Measure a model: size, loss, sharpness, limits of optimizers, which layer, trace, density, norms, activations.

    Products with the Hessian are spent by priority: sharpness and the smallest eigenvalue, then density and trace from
    the rest. What does not fit into the budget is absent with its reason. Before it starts, time and memory are
    predicted from products on a small piece of the data; see `plan_measurement`. The model is left as it was found.

    Args:
        model: A module.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        optimizer: The torch optimizer that trains the model: its limit is compared with what it meets. Adam and its
            kin need their state, which is there after the first step.
        budget: Seconds, or words such as `"5 min"`, `"500 products"` or `"5 min, 500 products"`; naming one of the two
            lifts the other. None is 60 s or 200 products, whichever ends first.
        samples: At most so many samples, drawn at random; the result says of how many.
        seed: Seed of the samples and of all random directions.
        quantities: Names of fields to fill, such as `["sharpness", "share"]`; all if None. Size and loss always come.
        progress: True for a bar on stderr, or a callable (products done, expected or None, words), whose first words
            are the plan.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `hessian`.

    Returns:
        The measurement, which prints as a table.

    Raises:
        SteppeError: As `hessian`.
        ParameterError: The budget cannot be read.
        UnknownNameError: A quantity is not known.

    Cost: at most the budget, if one product fits into it; memory as planned.

    Example:
        >>> import torch
        >>> from steppe.core import SquaredLoss
        >>> model = torch.nn.Linear(2, 1).double()
        >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
        >>> found = measure(model, SquaredLoss(), (x, x[:, :1]))
        >>> round(found.sharpness.value, 6), round(found.trace.value, 6)  # the Hessian is diag(1/2, 1/2, 1)
        (1.0, 2.0)
    """
    wanted = _wanted(quantities, optimizer)
    prepared = _prepare(model, loss, data, options, budget=budget, samples=samples, seed=seed, wanted=wanted)
    return _run(prepared, optimizer, seed, progress)


def plan_measurement(
    model: nn.Module,
    loss: Any,
    data: Any,
    *,
    budget: Any = None,
    samples: int = 1024,
    seed: int = 0,
    **options: Unpack[ProblemOptions],
) -> MeasurementPlan:
    """What `measure` would cost, from a few products on a small piece of the data; arguments and errors are its own."""
    wanted = set(QUANTITIES)
    return _prepare(model, loss, data, options, budget=budget, samples=samples, seed=seed, wanted=wanted).plan


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """A measurement that can start."""

    model: nn.Module
    loss: Any
    objective: Objective
    part: Part
    options: ProblemOptions
    wanted: set[str]
    budget: Budget
    plan: MeasurementPlan
    operator: CurvatureOperator | None
    began: float
    spent: int


def _prepare(
    model: Any, loss: Any, data: Any, options: Any, *, budget: Any, samples: int, seed: int, wanted: set[str]
) -> _Prepared:
    began = time.perf_counter()
    refuse_unknown_keywords("measure", {k: v for k, v in options.items() if k not in OPTIONS}, [*_OWN, *OPTIONS])
    limits = read_budget(budget)
    check_integer("samples", samples, minimum=1)
    check_integer("seed", seed, minimum=0)
    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch module, got {type(model).__name__}; pass a module")
    objective = Objective(loss, objective=options.get("objective"))
    part = Part(data, samples, seed=seed)
    share = None if limits.seconds is None else 0.1 * limits.seconds
    found = probe(model, loss, part, seconds=share, **options)
    plan = predict(
        found,
        part,
        limits,
        spent=time.perf_counter() - began,
        memory=options.get("memory"),
        wanted=min(_USEFUL, found.operator.shape[0] + _SLACK) if wanted & _NEED_PRODUCTS else 0,
    )
    check_memory(model, part, plan)
    return _Prepared(
        model=model,
        loss=loss,
        objective=objective,
        part=part,
        options=options,
        wanted=wanted,
        budget=limits,
        plan=plan,
        operator=found.operator if found.whole else None,
        began=began,
        spent=found.products - (found.operator.products if found.whole else 0),
    )


def _wanted(quantities: Any, optimizer: Any) -> set[str]:
    if isinstance(quantities, str):
        raise KindError(f"`quantities` must be a list of names, got the text {quantities!r}; pass [{quantities!r}]")
    names = set(QUANTITIES if quantities is None else quantities)
    for name in names:
        check_choice("quantities", name, QUANTITIES)
    return names - (set() if optimizer is not None else {"optimizer"})


class _Meter:
    """Hands the products of one routine after another on to one display."""

    def __init__(self, pace: Pace) -> None:
        self._pace, self._last = pace, 0

    def __call__(self, done: int, total: int | None, text: str) -> None:
        self._pace.advance(done - self._last, text)
        self._last = done


def _run(at: _Prepared, optimizer: Any, seed: int, progress: Any) -> Measurement:
    if callable(progress):
        progress(0, at.plan.products, str(at.plan))
    absent: dict[str, str] = {}
    # An optimizer with a preconditioner asks for an eigenvalue of its own; a quarter of the products is kept for it.
    kept = min(_KEPT, at.plan.products // 4) if quantity.is_preconditioned(optimizer) else 0
    loss, layers = quantity.loss_and_activity(
        at.model, at.objective, at.part, weight=at.options.get("weight"), absent=absent
    )
    operator = hessian(at.model, at.loss, at.part, **at.options) if at.operator is None else at.operator
    with Pace(None, progress, total=at.plan.products) as pace:
        found = spectrum(
            operator,
            wanted=_spectral(at.wanted),
            products=at.plan.products - kept,
            steps=at.plan.steps,
            seconds=quantity.clock(at.budget.seconds, at.began, less=kept * at.plan.product_seconds),
            seed=seed,
            progress=_Meter(pace),
            why_not=_does_not_fit(at.plan),
        )
        absent |= found.absent
        limit = None
        if "optimizer" in at.wanted:
            limit = quantity.optimizer_limit(
                operator,
                found.largest,
                optimizer,
                problem=(at.model, at.loss, at.part, at.options),
                products=max(at.plan.products - found.products, 0),
                seconds=quantity.clock(at.budget.seconds, at.began),
                seed=seed,
                progress=_Meter(pace),
                why_not=_does_not_fit(at.plan),
                absent=absent,
            )
    return _assembled(at, operator, found, limit, loss, layers, absent)


def _spectral(wanted: set[str]) -> set[str]:
    """What the products must answer: limits, share and theorem rest on the sharpness."""
    needed = wanted & {"sharpness", "smallest", "trace", "density"}
    return needed | ({"sharpness"} if wanted & {"limits", "optimizer", "share", "theorem"} else set())


def _does_not_fit(plan: MeasurementPlan) -> str:
    if not plan.steps:
        return (
            f"the vectors of an iteration need about {words.size_in_words(plan.basis_bytes)} of memory, and "
            f"{words.size_in_words(plan.free_bytes)} are free; pass parameters=… for a part of them, or use "
            "critical_sharpness, which needs forward passes only"
        )
    if plan.budget.seconds is None:
        return f"the budget of {plan.budget} is spent on the prediction; raise the budget"
    return (
        f"one product takes about {duration(plan.product_seconds)} on {plan.samples} samples, too long for the budget "
        f"of {plan.budget}; raise the budget or lower `samples`"
    )


def _assembled(
    at: _Prepared,
    operator: CurvatureOperator,
    found: Spectrum,
    limit: Any,
    loss: float,
    layers: Any,
    absent: dict[str, str],
) -> Measurement:
    wanted, name = at.wanted, type(at.model).__name__
    size = quantity.size_of(at.model, operator.shape[0])
    shallow = quantity.shallow_form(at.model) if wanted & {"norms", "theorem"} else None
    sharpness: Estimate | None = found.largest
    fields: dict[str, Any] = {
        "limits": quantity.common_limits(sharpness, absent) if "limits" in wanted else {},
        "share": quantity.shares(operator, found.vector, absent) if "share" in wanted else {},
        "norms": quantity.norms(shallow, at.part, name, absent) if "norms" in wanted else {},
        "theorem": None,
        "activations": layers if "activations" in wanted else (),
    }
    if "theorem" in wanted:
        fields["theorem"] = quantity.theorem(shallow, at.loss, at.part, sharpness, size, absent)
    return Measurement(
        name=name,
        size=size,
        loss=loss,
        sharpness=sharpness,
        smallest=found.smallest,
        trace=found.trace,
        density=found.density,
        optimizer=limit,
        **fields,
        absent={key: reason for key, reason in absent.items() if key in wanted or key not in QUANTITIES},
        warnings=tuple(_warnings(at, operator, found, limit, loss, layers, size)),
        plan=at.plan,
        samples=at.part.samples,
        total=at.part.total,
        products=at.spent + operator.products,
        seconds=time.perf_counter() - at.began,
        backend=operator.backend,
        convention=operator.convention,
    )


def _warnings(
    at: _Prepared, operator: CurvatureOperator, found: Spectrum, limit: Any, loss: float, layers: Any, size: Any
) -> list[str]:
    """What a reader should know, the most urgent first."""
    return [
        *([] if limit is None else words.beyond_limit(limit.name, limit.curvature.value, limit.limit, limit.quantity)),
        *words.optimizer_warnings(at.model, preconditioned=limit is not None and limit.quantity != "sharpness"),
        *words.part_of_data(at.part.samples, at.part.total),
        *words.curvature_warnings(found.largest, found.smallest),
        *words.model_warnings(
            at.model, operator.dtype, frozen=size.parameters - size.trainable, measured=size.measured,
            total=size.parameters,
        ),
        *words.rounding_warnings(found.largest, operator.dtype, loss),
        *words.activity_warnings(layers),
    ]  # fmt: skip
