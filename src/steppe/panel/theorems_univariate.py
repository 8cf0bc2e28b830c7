"""Theorems about networks of one input, checked on the network in hand."""

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, ShapeError, check_number
from steppe.networks import ShallowReLU
from steppe.norms import LinearSpline, univariate_knots
from steppe.theory import (
    flatness_bound,
    least_univariate_sharpness,
    stability_threshold,
    stable_variation_bound,
)

from .inequality import Hypothesis, Inequality
from .setting import Setting, setting

_INTERPOLATES = 1e-6  # root mean squared residual over that of the labels


def check_univariate_sharpness(
    network: ShallowReLU,
    x: Float[Tensor, "n 1"],
    y: Float[Tensor, "n 1"],
    *,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
) -> Inequality:
    """The key lemma: 1 + 2 ∫|f''| g ≤ λ_max(∇²L) at a network that interpolates, whatever its parametrisation.

    L = (1/2n) Σ (f(x_i) − y_i)². Away from interpolation the lemma promises nothing; `check_univariate_stability` has
    the term for the residual.

    Args:
        network: A shallow ReLU network with one input and one output.
        x: Inputs.
        y: Targets.
        sharpness: λ_max(∇²L) if it is known, else it is measured.
        rtol: Relative tolerance of that measurement.

    Returns:
        The inequality with its hypotheses.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: It has several inputs or outputs, or the data do not fit it.
        DtypeError: Network and data differ in dtype.
        DataError: Data or weights are not finite.
    """
    at, spline = _setting(network, x, y, rtol=rtol, sharpness=sharpness)
    variation = spline.weighted_variation(at.x)
    least = least_univariate_sharpness(variation)
    return _inequality(
        at,
        "univariate sharpness",
        "1 + 2∫|f''|g ≤ λ_max(∇²L)",
        least,
        at.sharpness.value,
        (least.source, least.status),
        hypotheses=(*at.hypotheses, _interpolates(at)),
        terms={"weighted_variation": variation},
    )


def check_univariate_stability(
    network: ShallowReLU,
    x: Float[Tensor, "n 1"],
    y: Float[Tensor, "n 1"],
    *,
    step_size: float,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
) -> Inequality:
    """Stable minima are smooth: ∫|f''| g ≤ 1/η − 1/2 + ½ √(1 + R²) √(2L) if λ_max(∇²L) ≤ 2/η.

    At interpolation it is Theorem 1 of Mulayoff, Michaeli, Soudry; the last term is that of noisy labels (Qiao et al.,
    its constant derived).

    Args:
        network: A shallow ReLU network with one input and one output.
        x: Inputs.
        y: Targets.
        step_size: η > 0 of full-batch gradient descent.
        sharpness: As in `check_univariate_sharpness`.
        rtol: As there.

    Raises:
        SteppeError: As `check_univariate_sharpness`; ParameterError if the step is not positive.
    """
    at, spline = _setting(network, x, y, rtol=rtol, sharpness=sharpness)
    return _stability(at, spline, step_size)


def check_univariate_knots(
    network: ShallowReLU,
    x: Float[Tensor, "n 1"],
    y: Float[Tensor, "n 1"],
    *,
    step_size: float,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
) -> Inequality:
    """Theorem 2, knots at samples allowed: ∫|f''| g ≤ (1/η) / (1 − 2√3 √((1 + k − L)/n)) − 1/2.

    k is the width and L the number of knots. Strong stability is assumed. Where 12(1 + k − L) ≥ n the theorem says
    nothing: the right side is infinite and the hypothesis violated.

    Args:
        network: A shallow ReLU network with one input and one output.
        x: Inputs.
        y: Targets.
        step_size: η > 0.
        sharpness: As in `check_univariate_sharpness`.
        rtol: As there.

    Raises:
        SteppeError: As `check_univariate_stability`.
    """
    at, spline = _setting(network, x, y, rtol=rtol, sharpness=sharpness)
    return _knots(at, spline, step_size)


def check_univariate_theorems(
    network: ShallowReLU,
    x: Float[Tensor, "n 1"],
    y: Float[Tensor, "n 1"],
    *,
    step_size: float,
    rtol: float = 1e-3,
) -> tuple[Inequality, ...]:
    """All of these on one network; the sharpness is measured once.

    Args:
        network: A shallow ReLU network with one input and one output.
        x: Inputs.
        y: Targets.
        step_size: η > 0.
        rtol: As in `check_univariate_sharpness`.

    Raises:
        SteppeError: As `check_univariate_stability`.
    """
    at, spline = _setting(network, x, y, rtol=rtol, sharpness=None)
    first = check_univariate_sharpness(network, x, y, sharpness=at.sharpness)
    return first, _stability(at, spline, step_size), _knots(at, spline, step_size)


def _stability(at: Setting, spline: LinearSpline, step_size: float) -> Inequality:
    step = check_number("step_size", step_size, above=0.0)
    limit = stability_threshold(step)
    bound = flatness_bound(float(limit), at.training_loss, at.radius, sharper=True)
    plain = stable_variation_bound(step)
    exact = at.training_loss == 0
    return _inequality(
        at,
        "univariate stability",
        "∫|f''|g ≤ 1/η − 1/2 + ½√(1+R²)√(2L)",
        spline.weighted_variation(at.x),
        float(bound),
        (plain.source if exact else f"{plain.source}; noisy labels: Qiao et al. (NeurIPS 2024), constant derived",
         plain.status if exact else "derived"),
        hypotheses=(*at.hypotheses, _stable(at, float(limit))),
        terms={"step_size": step},
    )  # fmt: skip


def _knots(at: Setting, spline: LinearSpline, step_size: float) -> Inequality:
    step = check_number("step_size", step_size, above=0.0)
    n, k, knots = len(at.x), at.network.width, min(len(spline.knots), at.network.width)
    idle = 12 * (1 + k - knots)
    valid = idle < n
    known = {"samples": n, "width": k, "knots": knots} if valid else {}
    bound = stable_variation_bound(step, **known)
    detail = f"n = {n}, width {k}, {knots} knots"
    return _inequality(
        at,
        "univariate knots",
        "∫|f''|g ≤ (1/η)/(1 − 2√3√((1+k−L)/n)) − 1/2",
        spline.weighted_variation(at.x),
        float(bound) if valid else math.inf,
        ("Mulayoff, Michaeli, Soudry (NeurIPS 2021), Theorem 2", "theorem"),
        hypotheses=(
            at.hypotheses[0],
            _interpolates(at),
            Hypothesis("12(1 + k − L) < n", "checked" if valid else "violated", detail),
            Hypothesis("strongly stable for the step", "assumed"),
        ),
        terms={"step_size": step, "knots": float(knots)},
    )


def _setting(network: Any, x: Any, y: Any, *, rtol: float, sharpness: Any) -> tuple[Setting, LinearSpline]:
    at = setting(network, x, y, rtol=rtol, sharpness=sharpness)
    if at.network.inputs != 1:
        raise ShapeError(
            f"`network` must have one input, got {at.network.inputs}; in several dimensions use check_stability"
        )
    return at, univariate_knots(at.network)


def _interpolates(at: Setting) -> Hypothesis:
    residual = math.sqrt(2 * at.training_loss)
    exact = residual <= _INTERPOLATES * float(at.y.square().mean().sqrt())
    return Hypothesis("L = 0", "checked" if exact else "violated", f"root mean squared residual {residual:.3g}")


def _stable(at: Setting, limit: float) -> Hypothesis:
    stable = at.sharpness.value <= limit + _error(at)
    return Hypothesis(
        "λ_max ≤ 2/η", "checked" if stable else "violated", f"λ_max = {at.sharpness.value:.6g}, 2/η = {limit:.6g}"
    )


def _error(at: Setting) -> float:
    error = at.sharpness.error
    return (0.0 if math.isnan(error) else error) + at.rounding(at.sharpness.value)


def _inequality(
    at: Setting, name: str, statement: str, left: float, right: float, source: tuple[str, str],
    *, hypotheses: tuple[Hypothesis, ...], terms: dict[str, float],
) -> Inequality:  # fmt: skip
    numbers = {"sharpness": at.sharpness.value, "training_loss": at.training_loss, "radius": at.radius}
    return Inequality(
        name=name,
        statement=statement,
        left=float(left),
        right=right,
        error=_error(at) + (at.rounding(left, right) if math.isfinite(right) else at.rounding(left)),
        hypotheses=hypotheses,
        source=source[0],
        status=source[1],
        terms={**terms, **numbers},
    )
