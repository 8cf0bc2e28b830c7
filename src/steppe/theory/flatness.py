"""Flatness bounds the data-weighted norm of a shallow ReLU network."""

import math

from steppe.core import Fact, check_number

_PAPER = "Liang, Qiao, Wang, Parhi (NeurIPS 2025)"
_SETTING = (
    "two-layer ReLU network with one output; all weights, biases and the output bias are trained",
    "loss (1/2n) Σ (f(x_i) − y_i)²",
    "‖x_i‖ ≤ R for every sample",
    "no sample lies on an activation hyperplane",
)


def flatness_bound(sharpness: float, training_loss: float, radius: float, *, sharper: bool = False) -> Fact:
    """Upper bound on the data-weighted norm of a shallow ReLU network, from its sharpness and training loss.

    For λ = λ_max(∇²L) and L = (1/2n) Σ r_i²,

        Σ_k |v_k| ‖w_k‖ g̃(u_k, t_k) ≤ λ/2 − 1/2 + (R + 1) √(2L),

    and the weighted variation seminorm is at most the left side. With `sharper` the last term is ½ √(1 + R²) √(2L):
    derived from |zᵀ∇²f(x)z| ≤ √(1 + ‖x‖²) for unit z, not stated in the paper. Both also hold with a skip connection,
    which only adds ‖mean x‖² to the squared mean gradient (derived).

    Args:
        sharpness: λ_max of the exact Hessian of L, any real number.
        training_loss: L ≥ 0, with its factor ½.
        radius: R ≥ 0 with ‖x_i‖ ≤ R.
        sharper: Use the sharper constant.

    Returns:
        The bound. It may be negative where no network has that sharpness and loss.

    Raises:
        ParameterError: A number is out of range.

    Example:
        >>> float(flatness_bound(3.0, 0.0, 1.0))  # interpolation: λ/2 − 1/2
        1.0
    """
    curvature = check_number("sharpness", sharpness)
    return _bound(
        curvature / 2,
        training_loss,
        radius,
        sharper=sharper,
        source=f"{_PAPER}, Theorem 3.2",
        statement=f"bound on Σ|v_k|‖w_k‖g̃(u_k, t_k) at sharpness {curvature:g}",
        hypotheses=_SETTING,
    )


def stable_flatness_bound(step_size: float, training_loss: float, radius: float, *, sharper: bool = False) -> Fact:
    """The bound of `flatness_bound` for every point that is linearly stable for gradient descent with step η.

    1/η − 1/2 + (R + 1) √(2L), the same bound at sharpness 2/η. The larger the step, the closer to affine the function.
    λ_max of the Gauss–Newton matrix is at least 1, because the output bias is trained: η < 2 is the meaningful range.

    Args:
        step_size: η > 0.
        training_loss: L ≥ 0, with its factor ½.
        radius: R ≥ 0 with ‖x_i‖ ≤ R.
        sharper: Use ½ √(1 + R²) √(2L) as the last term (derived).

    Raises:
        ParameterError: A number is out of range.
    """
    step = check_number("step_size", step_size, above=0.0)
    return _bound(
        1 / step,
        training_loss,
        radius,
        sharper=sharper,
        source=f"{_PAPER}, Corollary 3.3",
        statement=f"bound on Σ|v_k|‖w_k‖g̃(u_k, t_k) at points that are stable for step {step:g}",
        hypotheses=(*_SETTING, "λ_max(∇²L) ≤ 2/η"),
    )


def _bound(
    half_curvature: float,
    training_loss: float,
    radius: float,
    *,
    sharper: bool,
    source: str,
    statement: str,
    hypotheses: tuple[str, ...],
) -> Fact:
    loss = check_number("training_loss", training_loss, minimum=0.0)
    r = check_number("radius", radius, minimum=0.0)
    constant = 0.5 * math.hypot(1.0, r) if sharper else r + 1
    return Fact(
        half_curvature - 0.5 + constant * math.sqrt(2 * loss),
        source=source + (", with the sharper constant of its proof" if sharper else ""),
        status="derived" if sharper else "theorem",
        statement=statement,
        hypotheses=hypotheses,
    )
