"""The quantities of a measurement, each a number or a reason."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from steppe.activations import activation_fraction
from steppe.core import Batches, Estimate, Fact, InputError, KindError, Objective, Part, SquaredLoss, SteppeError
from steppe.curvature import (
    CurvatureOperator,
    ProblemOptions,
    largest_stable_step,
    preconditioned,
    private_buffers,
    share,
    stability_limit,
    untouched,
    unwrapped,
)
from steppe.linalg import extreme_eigenvalues
from steppe.networks import PatchReLU, ShallowReLU
from steppe.norms import patch_weighted_norm, path_norm, variation_norm, weighted_variation_norm

from .measure_activations import Activity, activities, activity, counting
from .measurement import OptimizerLimit, Size
from .theorems import check_flatness

_COMMON: Mapping[str, dict[str, Any]] = {
    "gradient descent": {},
    "heavy ball 0.9": {"momentum": 0.9},
    "Nesterov 0.9": {"momentum": 0.9, "nesterov": True},
}
Absent = dict[str, str]


def size_of(model: nn.Module, measured: int) -> Size:
    """How large the model is; tied parameters count once."""
    parameters = list(model.parameters())
    return Size(
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        measured=measured,
        layers=sum(1 for module in model.modules() if next(module.parameters(recurse=False), None) is not None),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
    )


def loss_and_activity(
    model: nn.Module, objective: Objective, part: Part, *, weight: Any, absent: Absent
) -> tuple[float, tuple[Activity, ...]]:
    """One forward pass: the loss over all batches, and how each nonlinearity responds."""
    inner = unwrapped(model)
    batches = Batches(part, weight=weight, pairs=objective.separate)
    total, weights = 0.0, 0.0
    with untouched(inner), torch.no_grad(), counting(inner) as counters:
        for batch in batches:
            with private_buffers(inner):
                value = float(objective.value(inner, batch))
            weights += (w := batches.weigh(batch))
            total += w * value
    found = activities(inner, counters)
    if isinstance(inner, ShallowReLU) and not found:
        x = batches.joined()[0]
        found = (activity("hidden layer", "ReLU", activation_fraction(inner, x)),)
    if not found:
        absent["activations"] = "no nonlinearity that is a module of its own; functional calls are not seen"
    return total / weights, found


def _needs(absent: Absent) -> str:
    """Why what rests on the sharpness is absent."""
    return f"needs the sharpness: {absent['sharpness']}" if "sharpness" in absent else "needs the sharpness"


def common_limits(sharpness: Estimate | None, absent: Absent) -> dict[str, Fact]:
    """The largest linearly stable step of common optimizers."""
    if sharpness is None or sharpness.value <= 0:
        absent["limits"] = _needs(absent) if sharpness is None else "the sharpness is not positive"
        return {}
    return {name: largest_stable_step(sharpness.value, **settings) for name, settings in _COMMON.items()}


def optimizer_limit(
    operator: CurvatureOperator,
    found: Estimate | None,
    optimizer: Any,
    *,
    problem: tuple[nn.Module, Any, Part, ProblemOptions],
    products: int,
    seconds: float | None,
    seed: int,
    progress: Callable[[int, int | None, str], Any],
    why_not: str,
    absent: Absent,
) -> OptimizerLimit | None:
    """The limit of the user's optimizer against the curvature that it meets, preconditioned where it is."""
    try:
        limit = stability_limit(optimizer)
        seen = _preconditioned(operator, problem, optimizer) if limit.preconditioned else operator
    except (InputError, KindError) as error:
        absent["optimizer"] = str(error)
        return None
    quantity = "sharpness"
    if limit.preconditioned:
        quantity, found = "preconditioned sharpness", None
        if products >= 2:
            found = extreme_eigenvalues(
                seen, rtol=1e-2, seed=seed, budget=seconds, max_products=products, progress=progress
            ).estimate(quantity=quantity)
    if found is None:
        absent["optimizer"] = (
            f"needs the preconditioned sharpness: {why_not}" if limit.preconditioned else _needs(absent)
        )
        return None
    return OptimizerLimit(
        name=optimizer_name(optimizer),
        limit=float(limit),
        curvature=found,
        quantity=quantity,
        source=limit.value.source,
        statement=limit.statement,
        ignored=limit.ignored,
    )


def _preconditioned(
    operator: CurvatureOperator, problem: tuple[nn.Module, Any, Part, ProblemOptions], optimizer: Any
) -> Any:
    """On the same products where the operator knows its parameters; closed forms, which do not, are cheap to redo."""
    if getattr(operator.source, "parameters", None) is not None:
        return preconditioned(operator, optimizer=optimizer, decay=True)
    model, loss, part, options = problem
    return preconditioned(model, loss, part, optimizer=optimizer, decay=True, **options)


def is_preconditioned(optimizer: Any) -> bool:
    """Whether the optimizer's limit is one on preconditioned curvature; False where no limit is known."""
    try:
        return optimizer is not None and stability_limit(optimizer).preconditioned
    except (InputError, KindError):
        return False


def optimizer_name(optimizer: Any) -> str:
    """`SGD(lr=0.1, momentum=0.9)`."""
    group = optimizer.param_groups[0]
    settings = [f"lr={float(group['lr']):g}"]
    settings += [f"momentum={group['momentum']:g}"] if group.get("momentum") else []
    settings += ["nesterov"] if group.get("nesterov") else []
    settings += [f"betas={tuple(group['betas'])}"] if "betas" in group else []
    return f"{type(optimizer).__name__}({', '.join(settings)})"


def shares(operator: CurvatureOperator, vector: Tensor | None, absent: Absent) -> dict[str, float]:
    """Squared mass of the top eigenvector per parameter, in the order of the model."""
    if vector is None:
        absent["share"] = _needs(absent)
        return {}
    found = share(vector, operator, by="parameter").shares
    return {name: found[name] for name in operator.names}


def shallow_form(model: nn.Module) -> ShallowReLU | PatchReLU | None:
    """The model as a shallow ReLU network, of whole inputs or of patches, if it is one."""
    inner = unwrapped(model)
    if isinstance(inner, ShallowReLU | PatchReLU):
        return inner
    if type(inner) is nn.Sequential and [type(module) for module in inner] == [nn.Linear, nn.ReLU, nn.Linear]:
        return ShallowReLU.from_sequential(inner)
    return None


def norms(network: ShallowReLU | PatchReLU | None, part: Part, name: str, absent: Absent) -> dict[str, float]:
    """Function-space norms, where the architecture has them."""
    if network is None:
        absent["norms"] = f"defined here for one hidden ReLU layer; this model is a {name}"
        return {}
    found: dict[str, float] = {}
    if isinstance(network, ShallowReLU):
        found = {"path norm": path_norm(network), "variation norm": variation_norm(network)}
    try:
        x = Batches(part).joined()[0].to(network.w.dtype)
        if isinstance(network, PatchReLU):
            found["patch-weighted norm"] = patch_weighted_norm(network, x)
        else:
            found["weighted variation norm"] = weighted_variation_norm(network, x)
    except SteppeError as error:
        absent["weighted_variation_norm"] = str(error)
    return found


def theorem(
    network: ShallowReLU | PatchReLU | None,
    loss: Any,
    part: Part,
    sharpness: Estimate | None,
    size: Size,
    absent: Absent,
) -> str | None:
    """What the flatness theorem says about this network on these samples, in a sentence."""
    if sharpness is None:
        absent["theorem"] = _needs(absent)
        return None
    if network is None or network.outputs != 1 or not isinstance(loss, SquaredLoss) or size.measured < size.parameters:
        absent["theorem"] = "about all parameters of a shallow ReLU network with one output under SquaredLoss"
        return None
    try:
        checked = check_flatness(network, *Batches(part).joined(), sharpness=sharpness)
    except SteppeError as error:
        absent["theorem"] = str(error)
        return None
    sides = f"{checked.left:.4g} ≤ {checked.right:.4g}"
    if not checked.applies:
        broken = "; ".join(h.statement for h in checked.hypotheses if h.state == "violated")
        return f"does not apply here: not so that {broken} ({sides} {'holds' if checked.holds else 'does not hold'})"
    return f"applies: weighted norm {sides}, {'holds' if checked.holds else 'fails'}"


def clock(budget: float | None, began: float, *, less: float = 0.0) -> float | None:
    """Seconds left of a budget; a moment at least, so that what was begun may say how far it came."""
    return None if budget is None else max(budget - less - (time.perf_counter() - began), 1e-3)
