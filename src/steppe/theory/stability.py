"""Where optimizers on a quadratic stop being stable."""

from steppe.core import Fact, ParameterError, check_number

_COHEN = "Cohen, Kaur, Li, Kolter, Talwalkar (ICLR 2021), Section 2"
_ADAPTIVE = "Cohen, Ghorbani, Krishnan et al. (2022), Adaptive Gradient Methods at the Edge of Stability, Section 2"
_FULL_BATCH = ("full-batch gradients, no clipping", "the loss is quadratic near the point (linear stability)")
_FROZEN = ("the preconditioner is frozen", "bias correction of the momentum has died out", *_FULL_BATCH)


def stability_threshold(
    step_size: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    decoupled_decay: float = 0.0,
) -> Fact:
    """The largest curvature at which full-batch gradient descent is linearly stable.

    2/η without momentum, (2 + 2β)/η with heavy-ball momentum β, (2 + 2β)/(η(1 + 2β)) with Nesterov momentum, in the
    update of `torch.optim.SGD`: an eigen-direction of curvature S converges iff 0 < S < threshold. The
    step η refers to the loss in use: with (1/n) Σ r² in place of (1/2n) Σ r², both η and S change by a factor 2.
    These formulas are recalled from the paper. With dampening d, weight decay λ (added to the gradient) or decoupled
    decay δ (θ shrinks by ηδ per step), our own derivation from the characteristic polynomial gives

        (1 + β)(2 − ηδ) / (η(1 − d)) − λ,   Nesterov: (1 + β)(2 − ηδ) / (η(1 − d)(1 + 2β)) − λ  (δ = 0 only),

    as a limit on the sharpness of the loss without the decay term.

    Args:
        step_size: η > 0.
        momentum: β in [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        dampening: d in [0, 1). A moving average m ← βm + (1 − β)g, as in Adam, is dampening d = β.
        weight_decay: λ ≥ 0, coupled.
        decoupled_decay: δ ≥ 0 with ηδ < 2; not with Nesterov momentum.

    Raises:
        ParameterError: The step is not positive, β or d is not in [0, 1), or a decay is out of range.

    Example:
        >>> float(stability_threshold(0.5, momentum=0.9))
        7.6
    """
    step = check_number("step_size", step_size, above=0.0)
    factor, decoupled = _factor(momentum, dampening, decoupled_decay, nesterov=nesterov)
    decay = check_number("weight_decay", weight_decay, minimum=0.0)
    if step * decoupled >= 2:
        raise ParameterError(
            f"`decoupled_decay` must be below 2/step_size = {2 / step:g}, got {decoupled:g}; the decay alone diverges"
        )
    value = factor * (2 - step * decoupled) / (2 * step) - decay
    plain = dampening == decoupled == decay == 0
    return _fact(value, f"largest curvature that is stable for step {step:g}", plain=plain)


def largest_stable_step(
    sharpness: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    decoupled_decay: float = 0.0,
) -> Fact:
    """The largest step at which full-batch gradient descent is linearly stable at this sharpness.

    The inverse of `stability_threshold`: 2/S, (2 + 2β)/S or (2 + 2β)/(S(1 + 2β)) in the plain cases. A limit, not
    advice: a step just below it converges slowly, and far from a minimum the quadratic picture need not apply.

    Args:
        sharpness: λ_max of the Hessian of the loss in use (without the decay term), > 0.
        momentum: β in [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        dampening: d in [0, 1).
        weight_decay: λ ≥ 0, coupled.
        decoupled_decay: δ ≥ 0; not with Nesterov momentum.

    Raises:
        ParameterError: The sharpness is not positive, β or d is not in [0, 1), or a decay is negative.
    """
    curvature = check_number("sharpness", sharpness, above=0.0)
    factor, decoupled = _factor(momentum, dampening, decoupled_decay, nesterov=nesterov)
    decay = check_number("weight_decay", weight_decay, minimum=0.0)
    value = factor / (curvature + decay + factor * decoupled / 2)
    plain = dampening == decoupled == decay == 0
    return _fact(value, f"largest step that is stable at sharpness {curvature:g}", plain=plain)


def adam_threshold(
    step_size: float, *, beta1: float = 0.9, decoupled_decay: float = 0.0, nesterov: bool = False
) -> Fact:
    """The largest preconditioned sharpness λ_max(P^(-1/2) H P^(-1/2)) at which Adam-type updates are linearly stable.

    (2 + 2β₁)/((1 − β₁)η), which is 38/η at β₁ = 0.9, for the update θ ← θ − η P⁻¹ m with the moving average
    m ← β₁m + (1 − β₁)g and a frozen P = diag(√v̂ + ε). AdamW's decay θ ← (1 − ηδ)θ lowers it to
    (1 + β₁)(2 − ηδ)/((1 − β₁)η) (our derivation). With NAdam's momentum (`nesterov`) in its late phase it is
    (2 + 2β₁)/((1 − β₁)(1 + 2β₁)η) (ours). Adam's coupled weight decay λ belongs to the matrix:
    P^(-1/2) (H + λI) P^(-1/2).

    Args:
        step_size: η > 0.
        beta1: β₁ in [0, 1).
        decoupled_decay: δ ≥ 0, the `weight_decay` of `torch.optim.AdamW`.
        nesterov: Whether the momentum is NAdam's.

    Raises:
        ParameterError: The step is not positive, β₁ is not in [0, 1) or the decay is out of range.

    Example:
        >>> round(float(adam_threshold(0.001)))
        38000
    """
    beta = check_number("beta1", beta1, minimum=0.0, below=1.0)
    found = stability_threshold(
        step_size, momentum=beta, dampening=beta, decoupled_decay=decoupled_decay, nesterov=nesterov
    )
    return _preconditioned(found, plain=decoupled_decay == 0 and not nesterov)


def rmsprop_threshold(step_size: float, *, momentum: float = 0.0) -> Fact:
    """The largest preconditioned sharpness λ_max(P^(-1/2) H P^(-1/2)) at which RMSprop is linearly stable.

    2/η, with momentum μ (of the preconditioned gradients, as in `torch.optim.RMSprop`) (2 + 2μ)/η, for a frozen
    P = diag(√v + ε). The same holds for Adagrad, which has no momentum.

    Args:
        step_size: η > 0.
        momentum: μ in [0, 1).

    Raises:
        ParameterError: The step is not positive or μ is not in [0, 1).

    Example:
        >>> float(rmsprop_threshold(0.5))
        4.0
    """
    return _preconditioned(stability_threshold(step_size, momentum=momentum), plain=momentum == 0)


def _factor(momentum: float, dampening: float, decoupled: float, *, nesterov: bool) -> tuple[float, float]:
    """Limit of step · curvature without decay, and the checked decoupled decay."""
    beta = check_number("momentum", momentum, minimum=0.0, below=1.0)
    damped = check_number("dampening", dampening, minimum=0.0, below=1.0)
    decay = check_number("decoupled_decay", decoupled, minimum=0.0)
    if nesterov and decay:
        raise ParameterError(f"`decoupled_decay` must be 0 with Nesterov momentum, got {decay:g}; no formula is known")
    return (2 + 2 * beta) / ((1 - damped) * (1 + 2 * beta if nesterov else 1)), decay


def _fact(value: float, statement: str, *, plain: bool) -> Fact:
    hypotheses = ("full-batch gradient descent", "the loss is quadratic near the point (linear stability)")
    source = _COHEN if plain else f"extends {_COHEN}"
    return Fact(
        value, source=source, status="recalled" if plain else "derived", statement=statement, hypotheses=hypotheses
    )


def _preconditioned(found: Fact, *, plain: bool) -> Fact:
    return Fact(
        float(found),
        source=_ADAPTIVE if plain else f"extends {_ADAPTIVE}",
        status="recalled" if plain else "derived",
        statement=found.statement.replace("curvature", "preconditioned curvature"),
        hypotheses=_FROZEN,
    )
