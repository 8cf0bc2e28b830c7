"""Where gradient descent on a quadratic stops being stable."""

from steppe.core import Fact, check_number

_SOURCE = "Cohen, Kaur, Li, Kolter, Talwalkar (ICLR 2021), Section 2"


def stability_threshold(step_size: float, *, momentum: float = 0.0, nesterov: bool = False) -> Fact:
    """The largest curvature at which full-batch gradient descent is linearly stable.

    2/η without momentum, (2 + 2β)/η with heavy-ball momentum β, (2 + 2β)/(η(1 + 2β)) with Nesterov momentum, in the
    update of `torch.optim.SGD` (no dampening): an eigen-direction of curvature S converges iff 0 < S < threshold. The
    step η refers to the loss in use: with (1/n) Σ r² in place of (1/2n) Σ r², both η and S change by a factor 2.
    The formula is recalled from the paper and follows from the roots of the characteristic polynomial.

    Args:
        step_size: η > 0.
        momentum: β in [0, 1).
        nesterov: Whether the momentum is Nesterov's.

    Raises:
        ParameterError: The step is not positive or β is not in [0, 1).

    Example:
        >>> float(stability_threshold(0.5, momentum=0.9))
        7.6
    """
    step = check_number("step_size", step_size, above=0.0)
    return _fact(_product(momentum, nesterov=nesterov) / step, f"largest curvature that is stable for step {step:g}")


def largest_stable_step(sharpness: float, *, momentum: float = 0.0, nesterov: bool = False) -> Fact:
    """The largest step at which full-batch gradient descent is linearly stable at this sharpness.

    The inverse of `stability_threshold`: 2/S, (2 + 2β)/S or (2 + 2β)/(S(1 + 2β)). A limit, not advice: a step just
    below it converges slowly, and far from a minimum the quadratic picture need not apply.

    Args:
        sharpness: λ_max of the Hessian of the loss in use, > 0.
        momentum: β in [0, 1).
        nesterov: Whether the momentum is Nesterov's.

    Raises:
        ParameterError: The sharpness is not positive or β is not in [0, 1).
    """
    curvature = check_number("sharpness", sharpness, above=0.0)
    value = _product(momentum, nesterov=nesterov) / curvature
    return _fact(value, f"largest step that is stable at sharpness {curvature:g}")


def _product(momentum: float, *, nesterov: bool) -> float:
    beta = check_number("momentum", momentum, minimum=0.0, below=1.0)
    return (2 + 2 * beta) / (1 + 2 * beta) if nesterov else 2 + 2 * beta


def _fact(value: float, statement: str) -> Fact:
    hypotheses = ("full-batch gradient descent", "the loss is quadratic near the point (linear stability)")
    return Fact(value, source=_SOURCE, status="recalled", statement=statement, hypotheses=hypotheses)
