"""Networks of one input: what stability and interpolation say about ∫|f''|g, with exact constants."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steppe.core import DataError, Fact, ParameterError, check_choice, check_integer, check_number

from .flatness import stable_flatness_bound

Array = NDArray[np.float64]
_MULAYOFF = "Mulayoff, Michaeli, Soudry (NeurIPS 2021)"
_QIAO = "Qiao, Zhang, Singh, Soudry, Wang (NeurIPS 2024)"
_SETTING = (
    "two-layer ReLU network with one input and one output; all weights, biases and the output bias are trained",
    "loss (1/2n) Σ (f(x_i) − y_i)²",
)
_INTERPOLATES = "the network interpolates: L = 0"
_NO_KNOT = "no knot lies at a sample"


def least_univariate_sharpness(weighted_variation: float) -> Fact:
    """The least λ_max(∇²L) of all networks that interpolate with the same function f: at least 1 + 2 ∫|f''| g.

    Args:
        weighted_variation: ∫|f''| g ≥ 0, with the weight g of the data.

    Raises:
        ParameterError: It is negative.

    Example:
        >>> float(least_univariate_sharpness(2.0))
        5.0
    """
    variation = check_number("weighted_variation", weighted_variation, minimum=0.0)
    return Fact(
        1 + 2 * variation,
        source=f"{_MULAYOFF}, key lemma of Theorem 1",
        status="theorem",
        statement="lower bound on the sharpness of every parametrisation of this function",
        hypotheses=(*_SETTING, _INTERPOLATES, _NO_KNOT),
    )


def stable_variation_bound(
    step_size: float, *, samples: int | None = None, width: int | None = None, knots: int | None = None
) -> Fact:
    """Upper bound on ∫|f''| g of an interpolating network at which descent with step η is stable.

    1/η − 1/2 if no knot lies at a sample (Theorem 1). With samples n, width k and the number L of knots of f, knots may
    lie at samples and the bound is (1/η) / (1 − 2√3 √((1 + k − L)/n)) − 1/2, valid if 12(1 + k − L) < n (Theorem 2).

    Args:
        step_size: η > 0.
        samples: n; with `width` and `knots`, for Theorem 2.
        width: k.
        knots: L ≤ k.

    Raises:
        ParameterError: A number is out of range, only some of the three are given, or 12(1 + k − L) ≥ n.

    Example:
        >>> float(stable_variation_bound(0.1))
        9.5
        >>> round(float(stable_variation_bound(0.1, samples=48, width=5, knots=5)), 6)  # 20 − ½
        19.5
    """
    step = check_number("step_size", step_size, above=0.0)
    counts = (samples, width, knots)
    if counts == (None, None, None):
        return Fact(
            1 / step - 0.5,
            source=f"{_MULAYOFF}, Theorem 1",
            status="theorem",
            statement=f"bound on ∫|f''|g at minima that are stable for step {step:g}",
            hypotheses=(*_SETTING, _INTERPOLATES, _NO_KNOT, "linearly stable for the step"),
        )
    if samples is None or width is None or knots is None:
        raise ParameterError(f"`samples`, `width` and `knots` go together, got {counts}; pass all three or none")
    n, k = check_integer("samples", samples, minimum=1), check_integer("width", width, minimum=0)
    idle = 1 + k - check_integer("knots", knots, minimum=0, maximum=k)
    if 12 * idle >= n:
        raise ParameterError(
            f"`samples` must exceed 12(1 + width − knots) = {12 * idle}, got {n}; Theorem 2 says nothing below"
        )
    return Fact(
        1 / step / (1 - 2 * math.sqrt(3 * idle / n)) - 0.5,
        source=f"{_MULAYOFF}, Theorem 2",
        status="theorem",
        statement=f"bound on ∫|f''|g at minima that are strongly stable for step {step:g}, knots at samples allowed",
        hypotheses=(*_SETTING, _INTERPOLATES, "strongly stable for the step", "12(1 + k − L) < n"),
    )


def noisy_variation_bound(step_size: float, radius: float, *, noise: float, error: float = 0.0) -> Fact:
    """Upper bound on ∫|f''| g of a stable network that need not interpolate, from noise and error to the clean target.

    1/η − 1/2 + ½ √(1 + R²) (√error + noise): `stable_flatness_bound` with its sharper constant, and √(2L) at most
    √error + noise by the triangle inequality (derived). The paper has Õ(σ + √MSE) with a term R √(2L) (recalled);
    ½ √(1 + R²) ≤ R from R = 1/√3 on, so that this is the smaller one there.

    Args:
        step_size: η > 0.
        radius: R = max |x_i|.
        noise: Root mean square of the labels' noise at the samples.
        error: Mean squared error to the clean targets at the samples, without ½.

    Raises:
        ParameterError: A number is out of range.
    """
    level = check_number("noise", noise, minimum=0.0) + math.sqrt(check_number("error", error, minimum=0.0))
    bound = stable_flatness_bound(step_size, level**2 / 2, radius, sharper=True)
    return Fact(
        float(bound),
        source=f"{_QIAO}; constants derived",
        status="derived",
        statement=bound.statement.replace("Σ|v_k|‖w_k‖g̃(u_k, t_k)", "∫|f''|g"),
        hypotheses=bound.hypotheses,
    )


def univariate_weight(t: ArrayLike, law: str) -> Array:
    """The population weight g(t) for a standardised law of one input: mean 0, variance 1.

    g(t) = P(X > t)² E[X − t | X > t] √(1 + E[X | X > t]²) at |t|, by symmetry; exact.

    Args:
        t: Thresholds.
        law: `"uniform"`, `"gaussian"` or `"laplace"`.

    Raises:
        UnknownNameError: The law is none of these.

    Example:
        >>> float(univariate_weight(0.0, "gaussian").round(6))  # φ(0) √(¼ + φ(0)²)
        0.255184
    """
    check_choice("law", law, list(_TAILS))
    given = np.asarray(t, dtype=np.float64)
    at = np.abs(np.atleast_1d(given))
    fraction, moment = _TAILS[law](at)
    found: Array = np.maximum(moment - at * fraction, 0.0) * np.hypot(fraction, moment)
    return found.reshape(given.shape)


def _uniform(t: Array) -> tuple[Array, Array]:
    edge = math.sqrt(3.0)
    fraction = np.maximum(edge - t, 0.0) / (2 * edge)
    return fraction, fraction * (edge + np.minimum(t, edge)) / 2


def _gaussian(t: Array) -> tuple[Array, Array]:
    from scipy.special import ndtr

    return ndtr(-t), np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)


def _laplace(t: Array) -> tuple[Array, Array]:
    scale = 1 / math.sqrt(2.0)
    fraction = np.exp(-t / scale) / 2
    return fraction, fraction * (t + scale)


# P(X > t) and E[X 1{X > t}] for t ≥ 0.
_TAILS: dict[str, Callable[[Array], tuple[Array, Array]]] = {
    "uniform": _uniform,
    "gaussian": _gaussian,
    "laplace": _laplace,
}


def least_interpolating_variation(x: ArrayLike, y: ArrayLike) -> Fact:
    """The infimum of ∫|f''| g over all piecewise linear f with f(x_i) = y_i and no knot at a sample.

    Between samples g is concave, so it is least to move all knots to the samples: Σ_i |change of slope at x_i| times
    the smaller of the two one-sided limits of g there, for the function that joins the points (derived). It does not
    depend on the width of a network.

    Args:
        x: n ≥ 2 positions, in any order; equal ones must have equal values.
        y: n values.

    Raises:
        DataError: Lengths differ, there are fewer than two positions, an entry is not finite, or one position has two
            values.

    Example:
        >>> round(float(least_interpolating_variation([-1.0, 0.0, 1.0], [1.0, 0.0, 1.0])), 6)  # 2 · ⅓ √(1/9 + 1/9)
        0.31427
    """
    at, values, count = _points(x, y)
    changes = np.abs(np.diff(np.diff(values) / np.diff(at)))
    weights = _limits(at, count)[1:-1]
    return Fact(
        float(changes @ weights),
        source=f"derived from {_MULAYOFF}, Theorem 1",
        status="derived",
        statement="infimum of ∫|f''|g over all interpolants of these points",
        hypotheses=(_NO_KNOT,),
    )


def largest_interpolating_step(x: ArrayLike, y: ArrayLike) -> Fact:
    """Upper bound on the steps for which a network of any width can be stable and interpolate these labels.

    2/(1 + 2V) with V = `least_interpolating_variation`, by the key lemma (derived). For noisy labels it falls about
    like n^(−2): changes of slope are of order σn, and there are n of them.

    Args:
        x: n ≥ 2 positions.
        y: n values.

    Raises:
        DataError: As `least_interpolating_variation`.
    """
    variation = least_interpolating_variation(x, y)
    return Fact(
        2 / (1 + 2 * float(variation)),
        source=variation.source,
        status="derived",
        statement="no network that interpolates these points is stable for a larger step",
        hypotheses=(*_SETTING, _INTERPOLATES, _NO_KNOT),
    )


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, Array]:
    """Distinct positions in order, their values, and how many samples each holds."""
    at, values = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if at.size != values.size:
        raise DataError(f"`x` and `y` must have one length, got {at.size} and {values.size}; pass one value per point")
    if not (np.isfinite(at).all() and np.isfinite(values).all()):
        raise DataError("`x` and `y` must be finite, got NaN or infinite entries; remove those points")
    distinct, first, inverse, count = np.unique(at, return_index=True, return_inverse=True, return_counts=True)
    if distinct.size < 2:
        raise DataError(f"`x` must hold at least two different positions, got {distinct.size}; pass more points")
    if (values != values[first][inverse]).any():
        raise DataError("`y` must have one value per position, got several at one; no function interpolates these")
    return distinct, values[first], count.astype(np.float64)


def _limits(x: Array, count: Array) -> Array:
    """The smaller of the limits of g from the left and from the right, at every position."""
    return np.minimum(_one_sided(x, count), _one_sided(-x[::-1], count[::-1])[::-1])


def _one_sided(x: Array, count: Array) -> Array:
    """g(x_i+): the sample at x_i belongs to the lower side."""
    n = count.sum()
    below, total = np.cumsum(count) / n, np.cumsum(count * x) / n
    above, rest = 1 - below, total[-1] - total
    excess = np.maximum(rest - above * x, 0.0)
    deficit = np.maximum(below * x - total, 0.0)
    found: Array = np.minimum(excess * np.hypot(above, rest), deficit * np.hypot(below, total))
    return found
