"""The stability limit of a torch optimizer, read from its class and its parameter groups."""

import math
import re
from dataclasses import dataclass
from typing import Any

import torch

from steppe.core import Fact, InputError, KindError, ParameterError
from steppe.theory import adam_threshold, rmsprop_threshold, stability_threshold

_KNOWN = "SGD, Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad and Adadelta"
# The same update with states of fewer bits, by the name of its class.
_QUANTISED = re.compile(r"(Paged)?(AdamW|Adam)(8bit|32bit|4bit|Fp8)?")
_ALWAYS = ("mini-batch noise", "gradient clipping", "changes of the step size still to come")


@dataclass(frozen=True)
class StabilityLimit:
    """The largest curvature at which an optimizer is linearly stable, here and with its present step size.

    It converts to float. A limit is not advice: training usually sharpens until it meets it.

    Attributes:
        value: The limit, a `Fact`; infinite where the step size is 0.
        preconditioned: Whether it is a limit on λ_max(P^(-1/2) H P^(-1/2)) rather than on λ_max(H).
        statement: What it says, in one sentence.
        ignored: What the limit leaves out.
        step_size: The step size that it belongs to: the largest of the groups; if preconditioned the first that is
            not 0, by which the others are measured in P.
    """

    value: Fact
    preconditioned: bool
    statement: str
    ignored: tuple[str, ...]
    step_size: float

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        return f"{float(self):.6g} ({self.statement}; ignored: {', '.join(self.ignored)})"


def unwrapped_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The torch optimizer inside the wrappers of trainers, which hold it as `.optimizer`.

    Raises:
        KindError: There is none.
    """
    found = optimizer
    while not _plain(found) and hasattr(found, "optimizer") and found.optimizer is not found:
        found = found.optimizer
    if not hasattr(found, "param_groups") or not hasattr(found, "step"):
        raise KindError(
            f"`optimizer` must be a torch optimizer, got {type(optimizer).__name__}; pass the object whose step() "
            "updates the parameters"
        )
    return found


def stability_limit(optimizer: Any) -> StabilityLimit:
    """The stability limit of an optimizer as it stands: class, step size, momentum and decay of its groups.

    For SGD a limit on the sharpness of the loss; for the adaptive ones one on the preconditioned sharpness
    λ_max(P^(-1/2) H P^(-1/2)), with P as in `preconditioned`: (2 + 2β₁)/((1 − β₁)η) with an averaged momentum (Adam,
    AdamW, RAdam, Adamax), 2/η without (Adagrad, Adadelta), (2 + 2μ)/η for RMSprop. Coupled weight decay λ of SGD
    lowers the limit by λ; that of the others belongs to the matrix (`preconditioned` with decay=True adds λP⁻¹).
    AdamW's decay lowers the limit. Of several groups the smallest limit counts.

    Args:
        optimizer: A `torch.optim` optimizer, one with the same update in fewer bits, or a trainer's wrapper of one.

    Returns:
        The limit with its source and what it ignores.

    Raises:
        KindError: The optimizer is none, or no limit is known for its class.
        InputError: It maximizes.
        ParameterError: A number is out of range, such as a momentum of 1.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(3))
        >>> float(stability_limit(torch.optim.SGD([weight], lr=0.5, momentum=0.9)))
        7.6
    """
    inner = unwrapped_optimizer(optimizer)
    rule = _rule(inner)
    groups = [group for group in inner.param_groups if group["params"]]
    if any(group.get("maximize") for group in groups):
        raise InputError("`optimizer` must minimize, got maximize=True; negate the loss instead")
    preconditioned = rule is not _sgd
    steps = [_step_size(group) for group in groups]
    reference = next((step for step in steps if step > 0), 0.0) if preconditioned else max(steps)
    facts = [rule(group, step, reference) for group, step in zip(groups, steps, strict=True) if step > 0]
    if not facts:
        facts = [Fact(math.inf, source="a step size of 0", status="derived", statement="nothing moves")]
    value = min(facts)
    return StabilityLimit(
        value=value,
        preconditioned=preconditioned,
        statement=_statement(type(inner).__name__, groups, steps, reference, preconditioned=preconditioned),
        ignored=(*_ALWAYS, "bias correction", "drift of the preconditioner") if preconditioned else _ALWAYS,
        step_size=reference,
    )


def _plain(optimizer: Any) -> bool:
    """Whether this is an optimizer itself rather than a wrapper."""
    return isinstance(optimizer, torch.optim.Optimizer) and not hasattr(optimizer, "optimizer")


def _rule(optimizer: torch.optim.Optimizer) -> Any:
    for kind, rule in _RULES.items():
        if isinstance(optimizer, kind):
            return rule
    names = [_QUANTISED.fullmatch(kind.__name__) for kind in type(optimizer).__mro__]
    found = next((match.group(2) for match in names if match), None)
    if found is None:
        raise KindError(
            f"no stability limit is known for {type(optimizer).__name__}, only for {_KNOWN}; pass limit=…, or use "
            "critical_step, which needs none"
        )
    return _adamw if found == "AdamW" else _adam


def _step_size(group: dict[str, Any]) -> float:
    """The step size of a group now; the decay of Adagrad's belongs to its preconditioner."""
    step = float(group["lr"])
    if step < 0 or not math.isfinite(step):
        raise ParameterError(f"`lr` of every group must be ≥ 0 and finite, got {step}; set another step size")
    return step


def _sgd(group: dict[str, Any], step: float, _: float) -> Fact:
    return stability_threshold(
        step,
        momentum=float(group["momentum"]),
        nesterov=group["nesterov"],
        dampening=float(group["dampening"]) if group["momentum"] else 0.0,  # torch reads it with momentum only
        weight_decay=float(group["weight_decay"]),
    )


def _relative(fact: Fact, step: float, reference: float) -> Fact:
    """The limit on the matrix in which the group's step size is measured by the first group's."""
    return Fact(
        float(fact) * step / reference,
        source=fact.source,
        status=fact.status,
        statement=fact.statement,
        hypotheses=fact.hypotheses,
    )


def _decoupled(group: dict[str, Any], *, default: bool) -> float:
    return float(group["weight_decay"]) if group.get("decoupled_weight_decay", default) else 0.0


def _adam(group: dict[str, Any], step: float, reference: float) -> Fact:
    found = adam_threshold(step, beta1=float(group["betas"][0]), decoupled_decay=_decoupled(group, default=False))
    return _relative(found, step, reference)


def _adamw(group: dict[str, Any], step: float, reference: float) -> Fact:
    found = adam_threshold(step, beta1=float(group["betas"][0]), decoupled_decay=_decoupled(group, default=True))
    return _relative(found, step, reference)


def _nadam(group: dict[str, Any], step: float, reference: float) -> Fact:
    if _decoupled(group, default=False):
        raise KindError(
            "no stability limit is known for NAdam with decoupled decay; pass limit=…, or use critical_step"
        )
    return _relative(adam_threshold(step, beta1=float(group["betas"][0]), nesterov=True), step, reference)


def _rmsprop(group: dict[str, Any], step: float, reference: float) -> Fact:
    return _relative(rmsprop_threshold(step, momentum=float(group["momentum"])), step, reference)


def _without_momentum(_: dict[str, Any], step: float, reference: float) -> Fact:
    return _relative(rmsprop_threshold(step), step, reference)


_RULES: dict[type, Any] = {
    torch.optim.SGD: _sgd,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _without_momentum,
    torch.optim.Adadelta: _without_momentum,
    torch.optim.NAdam: _nadam,
    torch.optim.RAdam: _adam,
    torch.optim.Adamax: _adam,
}


def _statement(
    name: str, groups: list[dict[str, Any]], steps: list[float], reference: float, *, preconditioned: bool
) -> str:
    of = "preconditioned sharpness" if preconditioned else "sharpness"
    words = f"largest {of} at which {name} with step size {reference:g} is linearly stable"
    if preconditioned and any(group.get("weight_decay") and not _late(name, group) for group in groups):
        words += ", with the coupled weight decay in the matrix"
    if len(groups) > 1:
        words += f"; the smallest limit of {len(groups)} parameter groups"
        if len(set(steps)) > 1:
            words += ", whose step sizes differ" + ("" if preconditioned else ": a stricter limit than the exact one")
    return words


def _late(name: str, group: dict[str, Any]) -> bool:
    """Whether the group's weight decay is decoupled."""
    return bool(group.get("decoupled_weight_decay", "AdamW" in name))
