"""Theorems about a single network, checked on the network in hand."""

import math
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, check_choice, refuse_unknown_keywords
from steppe.networks import PatchReLU, ShallowReLU
from steppe.theory import flatness_bound, stability_threshold, stable_flatness_bound

from .inequality import Hypothesis, Inequality
from .setting import Setting, setting

Constant = Literal["paper", "sharp"]
_LAST_TERM = {"paper": "(R+1)√(2L)", "sharp": "½√(1+R²)√(2L)"}
_NAMES = {"paper": "", "sharp": ", sharper constant"}
_PROOF = "Liang, Qiao, Wang, Parhi (NeurIPS 2025), proof of Theorem 3.2"


def check_flatness(
    network: ShallowReLU | PatchReLU,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n 1"],
    *,
    constant: Constant = "paper",
    radius: float | None = None,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
    **unknown: Any,
) -> Inequality:
    """Flatness bounds the data-weighted norm: Σ_k |v_k| ‖w_k‖ g̃(u_k, t_k) ≤ λ_max(∇²L)/2 − 1/2 + c(R) √(2L).

    L = (1/2n) Σ (f(x_i) − y_i)², c(R) = R + 1 (the paper) or ½ √(1 + R²) (the sharper constant of the proof, derived).
    The left side is the one-sided, unmerged sum of `weighted_variation_norm(…, reduced=False)`, which the proof bounds;
    the seminorm |f|_{V_g} of the paper's statement is at most that and stands in `terms`. λ_max is that of the exact
    Hessian, by Lanczos in float64; half its residual is part of the numerical error. A skip connection is allowed
    (derived). For a `PatchReLU` the left side is `patch_weighted_norm` and R bounds the patches (derived).

    Args:
        network: A shallow or patch ReLU network with one output; float32 is taken exactly into float64.
        x: Inputs.
        y: Targets.
        constant: `"paper"` or `"sharp"`.
        radius: R; None is max ‖x_i‖ (of patches, if any), the least that the theorem allows. A smaller one is
            reported as violated.
        sharpness: λ_max(∇²L) at this point if it is known already, else it is measured.
        rtol: Relative tolerance of that measurement.
        **unknown: Refused.

    Returns:
        The inequality, which prints in one line; `holds` is left ≤ right + error.

    Raises:
        KindError: The network is neither of the two, or a keyword is not known.
        ShapeError: The network has several outputs, or the data do not fit it.
        DtypeError: Network and data differ in dtype.
        DataError: Data or weights are not finite.
    """
    refuse_unknown_keywords("check_flatness", unknown, ["constant", "radius", "sharpness", "rtol"])
    check_choice("constant", constant, list(_LAST_TERM))
    return _flatness(setting(network, x, y, radius=radius, rtol=rtol, sharpness=sharpness), constant)


def check_stability(
    network: ShallowReLU | PatchReLU,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n 1"],
    *,
    step_size: float,
    constant: Constant = "paper",
    radius: float | None = None,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
    **unknown: Any,
) -> Inequality:
    """Stability for the step η bounds the data-weighted norm: Σ_k |v_k| ‖w_k‖ g̃(u_k, t_k) ≤ 1/η − 1/2 + c(R) √(2L).

    `check_flatness` with 2/η in place of λ_max, for points with λ_max ≤ 2/η; that hypothesis is checked (up to the
    residual of the sharpness) and listed. Where it is violated the theorem promises nothing: see `applies`.

    Args:
        network: A shallow or patch ReLU network with one output.
        x: Inputs.
        y: Targets.
        step_size: η > 0, of full-batch gradient descent on (1/2n) Σ r².
        constant: As in `check_flatness`.
        radius: As in `check_flatness`.
        sharpness: As in `check_flatness`.
        rtol: As in `check_flatness`.
        **unknown: Refused, with the keyword to use instead.

    Raises:
        SteppeError: As `check_flatness`; ParameterError if the step is not positive.
    """
    known = ["step_size", "constant", "radius", "sharpness", "rtol"]
    refuse_unknown_keywords("check_stability", unknown, known)
    check_choice("constant", constant, list(_LAST_TERM))
    return _stability(setting(network, x, y, radius=radius, rtol=rtol, sharpness=sharpness), constant, step_size)


def check_mean_gradient(
    network: ShallowReLU | PatchReLU, x: Float[Tensor, "n d"], y: Float[Tensor, "n 1"]
) -> Inequality:
    """The first step of the proof: 1 + 2 Σ_k |v_k| ‖w_k‖ g̃(u_k, t_k) ≤ ‖(1/n) Σ_i ∇_θ f(x_i)‖².

    The inequality of arithmetic and geometric means for each neuron; equality iff (1/n) Σ_i φ(w_kᵀx_i − b_k) =
    |v_k| √(p_k² + ‖M_k‖²) for all k, which a rescaling of the neuron achieves. Algebra only: exact up to rounding, and
    true on hyperplanes too. With a skip connection the right side gains ‖mean x‖² (derived).

    Args:
        network: A shallow or patch ReLU network with one output.
        x: Inputs.
        y: Targets; they have no part in it.

    Raises:
        SteppeError: As `check_flatness`.
    """
    return _mean_gradient(setting(network, x, y))


def check_gauss_newton(
    network: ShallowReLU | PatchReLU, x: Float[Tensor, "n d"], y: Float[Tensor, "n 1"], *, rtol: float = 1e-3
) -> Inequality:
    """The second step of the proof: ‖(1/n) Σ_i ∇_θ f(x_i)‖² ≤ λ_max(G), with G = (1/n) Σ_i ∇f(x_i) ∇f(x_i)ᵀ.

    In particular λ_max(G) ≥ 1. The residual of λ_max(G), by Lanczos in float64, is the numerical error.

    Args:
        network: A shallow or patch ReLU network with one output.
        x: Inputs.
        y: Targets; they have no part in it.
        rtol: Relative tolerance of the eigenvalue.

    Raises:
        SteppeError: As `check_flatness`.
    """
    return _gauss_newton(setting(network, x, y, rtol=rtol))


def check_theorems(
    network: ShallowReLU | PatchReLU,
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "n 1"],
    *,
    step_size: float | None = None,
    radius: float | None = None,
    sharpness: Estimate | float | None = None,
    rtol: float = 1e-3,
    **unknown: Any,
) -> tuple[Inequality, ...]:
    """Every check of this room on one network: both flatness bounds, the chain of the proof, and stability.

    The sharpness is measured once; stability needs a step. Arguments, errors and cost are those of `check_flatness` and
    `check_stability`.

    Args:
        network: A shallow or patch ReLU network with one output.
        x: Inputs.
        y: Targets.
        step_size: η > 0, or None to leave stability out.
        radius: As in `check_flatness`.
        sharpness: As in `check_flatness`.
        rtol: As in `check_flatness`.
        **unknown: Refused, with the keyword to use instead.
    """
    refuse_unknown_keywords("check_theorems", unknown, ["step_size", "radius", "sharpness", "rtol"])
    at = setting(network, x, y, radius=radius, rtol=rtol, sharpness=sharpness)
    checks = (_flatness(at, "paper"), _flatness(at, "sharp"), _mean_gradient(at), _gauss_newton(at))
    return checks if step_size is None else (*checks, _stability(at, "paper", step_size))


def _flatness(at: Setting, constant: Constant) -> Inequality:
    bound = flatness_bound(at.sharpness.value, at.training_loss, at.radius, sharper=constant == "sharp")
    return Inequality(
        name=f"flatness{_NAMES[constant]}",
        statement=f"{at.sum_words} ≤ λ_max/2 − 1/2 + {_LAST_TERM[constant]}",
        left=at.weighted_sum,
        right=float(bound),
        error=_error(at.sharpness) / 2 + at.rounding(at.weighted_sum, bound, at.sharpness.value),
        hypotheses=at.hypotheses,
        source=bound.source + at.extension,
        status="derived" if at.extension else bound.status,
        terms=_terms(at),
    )


def _stability(at: Setting, constant: Constant, step_size: float) -> Inequality:
    bound = stable_flatness_bound(step_size, at.training_loss, at.radius, sharper=constant == "sharp")
    limit = stability_threshold(step_size)
    stable = at.sharpness.value <= limit + _error(at.sharpness) + at.rounding(limit)
    detail = f"λ_max = {at.sharpness.value:.6g}, 2/η = {float(limit):.6g}"
    return Inequality(
        name=f"stability{_NAMES[constant]}",
        statement=f"{at.sum_words} ≤ 1/η − 1/2 + {_LAST_TERM[constant]}",
        left=at.weighted_sum,
        right=float(bound),
        error=_error(at.sharpness) / 2 + at.rounding(at.weighted_sum, bound, limit),
        hypotheses=(*at.hypotheses, Hypothesis("λ_max ≤ 2/η", "checked" if stable else "violated", detail)),
        source=bound.source + at.extension,
        status="derived" if at.extension else bound.status,
        terms={**_terms(at), "step_size": float(step_size)},
    )


def _mean_gradient(at: Setting) -> Inequality:
    left, right = 1 + 2 * at.weighted_sum, at.mean_gradient_square
    return Inequality(
        name="mean gradient",
        statement=f"1 + 2{at.sum_words} ≤ ‖(1/n)Σ∇f(x_i)‖²",
        left=left,
        right=right,
        error=at.rounding(left, right),
        hypotheses=(Hypothesis("one output", "checked"),),
        source=_PROOF + at.extension,
        status="derived",
        terms={"weighted_sum": at.weighted_sum},
    )


def _gauss_newton(at: Setting) -> Inequality:
    left, top = at.mean_gradient_square, at.gauss_newton_norm
    return Inequality(
        name="Gauss–Newton",
        statement="‖(1/n)Σ∇f(x_i)‖² ≤ λ_max(G)",
        left=left,
        right=top.value,
        error=_error(top) + at.rounding(left, top.value),
        hypotheses=(Hypothesis("one output", "checked"),),
        source=_PROOF + at.extension,
        status="derived",
        terms={"weighted_sum": at.weighted_sum, "gauss_newton_norm": top.value},
    )


def _terms(at: Setting) -> dict[str, float]:
    return {
        "weighted_sum": at.weighted_sum,
        "seminorm": at.seminorm,
        "sharpness": at.sharpness.value,
        "sharpness_error": _error(at.sharpness),
        "training_loss": at.training_loss,
        "radius": at.radius,
    }


def _error(estimate: Estimate) -> float:
    return 0.0 if math.isnan(estimate.error) else estimate.error
