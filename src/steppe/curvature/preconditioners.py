"""The diagonal matrix P by which an optimizer divides its steps, read from its state."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, optim

from steppe.core import InputError, KindError, ParameterError, ShapeError, check_number

from .limits import unwrapped_optimizer

_Group = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """P of an update θ ← θ − η P⁻¹ m, as it was at the optimizer's last step.

    Args:
        inverse: The diagonal of P⁻¹, float64; zero where the optimizer does not move a parameter.
        step_size: η, the learning rate of the first group with a variable whose rate is not zero; the rates of other
            groups are folded into P. 0 if all are zero, as in warm-up: ratios are then those of `initial_lr`.
        decay: The coupled weight decay λ of every entry, which the optimizer adds to the gradient as λθ.
        words: What it is, for conventions.
    """

    inverse: Float[Tensor, " p"]
    step_size: float
    decay: Float[Tensor, " p"]
    words: str


def preconditioner(
    optimizer: Any,
    parameters: Mapping[str, Tensor],
    *,
    second_moment: Mapping[Any, Tensor] | None = None,
) -> Preconditioner:
    """Read P from an optimizer.

    Args:
        optimizer: One of `torch.optim`: SGD (P is the identity), Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad
            or Adadelta; or a wrapper that holds one as `.optimizer`; or any other with `second_moment`.
        parameters: The variables by name, in flat order.
        second_moment: For other optimizers, v̂ by parameter or by name: P = √v̂ + ε, with the `eps` of the group or 1e-8.

    Raises:
        KindError: The optimizer is not known, or knows none of the parameters.
        InputError: It has taken no step yet, or lacks a parameter.
        ParameterError: A learning rate is negative, or the optimizer maximizes.
        ShapeError: A second moment does not fit.
    """
    optimizer = unwrapped_optimizer(optimizer)
    read = None if second_moment is not None else _READERS.get(type(optimizer))
    if read is None and second_moment is None:
        raise KindError(
            f"`optimizer` must be one of {', '.join(c.__name__ for c in _READERS)} of torch.optim, got "
            f"{_path(type(optimizer))}; pass second_moment={{name: tensor}}, the bias-corrected second moment it "
            "divides by"
        )
    groups = _groups(optimizer, parameters)
    rates = _rates(groups)
    step_size = next((_rate(group) for group in groups.values() if _rate(group) > 0), 0.0)
    unit = next(rate for rate in rates.values() if rate > 0)
    inverse, decay, moved = [], [], 0
    for name, parameter in parameters.items():
        group = groups[name]
        if second_moment is not None:
            p: Tensor | None = _given(second_moment, name, parameter, group)
        else:
            assert read is not None
            state = optimizer.state.get(parameter, {})
            p = read(state, group, parameter) if state.get("step", 1) and (state or _stateless(optimizer)) else None
        moved += p is not None
        flat = torch.zeros(parameter.numel(), dtype=torch.float64, device=parameter.device)
        inverse.append(flat if p is None else (rates[name] / unit) / p.detach().double().reshape(-1))
        decay.append(torch.full_like(flat, 0.0 if p is None else _coupled_decay(optimizer, group)))
    if not moved:
        raise InputError(
            f"`optimizer` ({type(optimizer).__name__}) has no state for these parameters; take a step with it first"
        )
    return Preconditioner(torch.cat(inverse), step_size, torch.cat(decay), _words(optimizer, rates, unit))


def _adam(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """√v̂ + ε with v̂ = v / (1 − β₂ᵗ); amsgrad takes the largest v met."""
    v = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
    return (v.double() / _correction(state, group)).sqrt() + group["eps"]


def _radam(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """(√v + ε) / (√(1 − β₂ᵗ) r) once the rectification r exists, and 1 before."""
    beta, step, correction = group["betas"][1], float(state["step"]), _correction(state, group)
    limit = 2 / (1 - beta) - 1
    length = limit - 2 * step * beta**step / correction
    if length <= 5:
        return torch.ones_like(parameter)
    rectified = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    root: Tensor = state["exp_avg_sq"].double().sqrt()
    return (root + group["eps"]) / (math.sqrt(correction) * rectified)


def _adamax(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """The running maximum, which has ε in it."""
    return state["exp_inf"]


def _rmsprop(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """√v + ε; centered: √(v − ḡ²) + ε."""
    v = state["square_avg"].double()
    return (v - state["grad_avg"].double().square() if group["centered"] else v).sqrt() + group["eps"]


def _adagrad(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """√(Σ g²) + ε, over the decay of the learning rate at the last step."""
    root: Tensor = state["sum"].double().sqrt()
    return (root + group["eps"]) * (1 + (float(state["step"]) - 1) * group["lr_decay"])


def _adadelta(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    """√(v + ε) / √(u + ε), with u the running mean of squared steps."""
    v, u = state["square_avg"].double(), state["acc_delta"].double()
    return ((v + group["eps"]) / (u + group["eps"])).sqrt()


def _sgd(state: _Group, group: _Group, parameter: Tensor) -> Tensor:
    return torch.ones_like(parameter)


_READERS: dict[type, Callable[[_Group, _Group, Tensor], Tensor]] = {
    optim.SGD: _sgd,
    optim.Adam: _adam,
    optim.AdamW: _adam,
    optim.NAdam: _adam,
    optim.RAdam: _radam,
    optim.Adamax: _adamax,
    optim.RMSprop: _rmsprop,
    optim.Adagrad: _adagrad,
    optim.Adadelta: _adadelta,
}


def _groups(optimizer: Any, parameters: Mapping[str, Tensor]) -> dict[str, _Group]:
    """The group of every variable, in the order of the optimizer's groups."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    found = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"] if id(p) in names}
    missing = [name for name in parameters if name not in found]
    if not found:
        raise KindError(
            "`optimizer` must hold the model's parameters, got one that holds none of them; pass the one that trains it"
        )
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"`optimizer` must hold all variables, got none of {missing[0]!r}{more}; choose the others with parameters="
        )
    if any(group.get("maximize") for group in found.values()):
        raise ParameterError("`optimizer` must minimize, got maximize=True; change the sign of the loss")
    return found


def _given(second_moment: Mapping[Any, Tensor], name: str, parameter: Tensor, group: _Group) -> Tensor:
    v = second_moment.get(name, second_moment.get(parameter))
    if v is None:
        raise InputError(f"`second_moment` must have an entry for every variable, got none for {name!r}; add it")
    if not isinstance(v, Tensor) or v.shape != parameter.shape:
        got = list(v.shape) if isinstance(v, Tensor) else type(v).__name__
        raise ShapeError(
            f"`second_moment[{name!r}]` must have the parameter's shape, {list(parameter.shape)}, got {got}; reshape it"
        )
    if not bool((v >= 0).all()):
        raise ParameterError(f"`second_moment[{name!r}]` must be ≥ 0, got negative or NaN entries; pass v̂, not √v̂")
    return v.to(parameter.device).double().sqrt() + float(group.get("eps", 1e-8))


def _rate(group: _Group) -> float:
    return check_number("lr", float(group["lr"]), minimum=0.0)


def _correction(state: _Group, group: _Group) -> float:
    return 1.0 - float(group["betas"][1]) ** float(state["step"])


def _stateless(optimizer: Any) -> bool:
    """SGD keeps no state without momentum, and its P is known before any step."""
    return isinstance(optimizer, optim.SGD)


def _coupled_decay(optimizer: Any, group: _Group) -> float:
    decoupled = isinstance(optimizer, optim.AdamW) or group.get("decoupled_weight_decay", False)
    return 0.0 if decoupled else float(group.get("weight_decay", 0.0))


def _rates(groups: Mapping[str, _Group]) -> dict[str, float]:
    """Learning rates by variable; where a schedule has them all at zero, their initial ones, or equal ones."""
    rates = {name: _rate(group) for name, group in groups.items()}
    if any(rates.values()):
        return rates
    initial = {name: float(group.get("initial_lr", 0.0)) for name, group in groups.items()}
    return initial if any(initial.values()) else dict.fromkeys(rates, 1.0)


def _words(optimizer: Any, rates: Mapping[str, float], unit: float) -> str:
    ratio = f", learning rates of other groups scaled to {unit:g}" if len(set(rates.values())) > 1 else ""
    return f"preconditioned by {type(optimizer).__name__}{ratio}"


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
