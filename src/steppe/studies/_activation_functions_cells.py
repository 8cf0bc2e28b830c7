"""What one cell of `parhi2019-activations` computes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from steppe.core import InputError, check_choice, derived_seed
from steppe.harness import Absent, Cell
from steppe.solvers import fit_one_dimension
from steppe.theory import GreenFunction

from ._activation_functions_lasso import Lasso, lasso

Array = NDArray[np.float64]
Columns = dict[str, Any]
LEAK = 0.1
FINER = 4  # candidate knots per gap where knots need not lie at data points


def row(cell: Cell, columns: list[str]) -> Columns:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns]] = {
        "equivalent": _equivalent,
        "order": _order,
        "green": _green,
        "scaling": _scaling,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | functions[cell["experiment"]](cell)


def sample(cell: Cell) -> tuple[Array, Array]:
    """Sorted distinct points and their values."""
    x, y = cell.parts["data"](cell["n"], seed=cell["seed"])
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(np.unique(x)) != len(x) or len(x) < 4:
        raise InputError(
            "a part of the slot `data` must give x and y of one length ≥ 4 with distinct x, got "
            f"{list(x.shape)} and {list(y.shape)}; return two vectors"
        )
    order = np.argsort(x)
    return x[order], y[order]


# --- D² and three activations ---


def _equivalent(cell: Cell) -> Columns:
    x, y = sample(cell)
    t = x[:, None] - x[1:-1]
    relu, leaky = np.maximum(t, 0.0), np.maximum(t, LEAK * t)
    affine, constant = np.column_stack([x, np.ones(x.size)]), np.ones((x.size, 1))
    strength = float(cell["strength"])
    fits = {
        "relu": lasso(relu, affine, y, strength),
        "absolute": lasso(np.abs(t) / 2, affine, y, strength),
        "leaky": lasso(leaky / (1 - LEAK), affine, y, strength),
        "absolute_unhalved": lasso(np.abs(t), affine, y, strength),
        "leaky_unscaled": lasso(leaky, affine, y, strength),
        "relu_no_skip": lasso(relu, constant, y, strength),
        "absolute_no_skip": lasso(np.abs(t) / 2, constant, y, strength),
    }
    exact = fit_one_dimension(x, y, strength / x.size, sparse=False)
    found: Columns = {f"{name}_optimum": fit.objective for name, fit in fits.items()}
    scale = float(np.ptp(y))
    return found | {
        "exact_optimum": exact.objective * x.size,
        "correlation": max(fit.correlation for fit in fits.values()),
        "absolute_difference": float(np.abs(fits["absolute"].fitted - fits["relu"].fitted).max()) / scale,
        "leaky_difference": float(np.abs(fits["leaky"].fitted - fits["relu"].fitted).max()) / scale,
        "exact_difference": float(np.abs(exact.predict(x) - fits["relu"].fitted).max()) / scale,
        "no_skip_difference": float(np.abs(fits["absolute_no_skip"].fitted - fits["relu_no_skip"].fitted).max())
        / scale,
        "coefficient_difference": float(np.abs(fits["leaky"].v - fits["relu"].v).max())
        / float(np.abs(fits["relu"].v).max(initial=1e-300)),
        "curve_x": x.tolist(),
        "curve_y": y.tolist(),
        "curve_relu": fits["relu"].fitted.tolist(),
        "curve_leaky": fits["leaky"].fitted.tolist(),
    }


# --- orders ---


def candidates(x: Array, order: int) -> Array:
    """Where knots are tried: steps and kinks at data points, which is exact; higher orders on a finer grid."""
    if order == 1:
        return x[1:]
    if order == 2:
        return x[1:-1]
    return np.interp(np.arange(FINER, FINER * (x.size - 1)) / FINER, np.arange(x.size), x)


def features(x: Array, knots: Array, order: int) -> Array:
    """ρ(x − knot), the step closed on the left so that it rises at its data point."""
    t = x[:, None] - knots
    return (t >= 0).astype(np.float64) if order == 1 else GreenFunction("derivative", order)(t)


def _order(cell: Cell) -> Columns:
    x, y = sample(cell)
    order = cell["order"]
    knots = candidates(x, order)
    powers = np.vander((x - x[0]) / np.ptp(x), order, increasing=True)
    fit = lasso(features(x, knots, order), powers, y, float(cell["strength"]), tol=1e-7)
    grid = np.linspace(x[0], x[-1], 2001)
    curve = _evaluated(grid, x, knots, fit, order)
    used = np.abs(fit.v) > 1e-9 * np.abs(fit.v).max(initial=1e-300)
    between = np.diff(np.searchsorted(knots[used], grid, side="right")) == 0  # grid steps without a knot
    change = np.abs(np.diff(curve, order))
    clear = np.convolve(~between, np.ones(order), mode="valid") == 0
    return {
        "knots": int(used.sum()),
        "knot_bound": x.size - order,
        "correlation": fit.correlation,
        "dual_maximum": float(np.abs(np.cumsum((y - fit.fitted)[::-1])).max()) / float(cell["strength"])
        if order == 1
        else Absent("the dual of higher orders has other functions"),
        "roughness_between": float(change[clear].max(initial=0.0)) / float(np.ptp(y)),
        "slope_between": float(np.abs(np.diff(curve))[between].max(initial=0.0)) / float(np.ptp(y)),
        "curve_x": grid[::20].tolist(),
        "curve_fit": curve[::20].tolist(),
    }


def _evaluated(grid: Array, x: Array, knots: Array, fit: Lasso, order: int) -> Array:
    powers = np.vander((grid - x[0]) / np.ptp(x), order, increasing=True)
    return np.asarray(features(grid, knots, order) @ fit.v + powers @ fit.beta)


# --- Green's functions ---


def _green(cell: Cell) -> Columns:
    green = GreenFunction(cell["operator"], cell["order"])
    t, factor = np.linspace(-2, 2, 41), 3.7
    homogeneous = green(factor * t) - factor**green.degree * green(t)
    found: Columns = {
        "homogeneity_error": float(np.abs(homogeneous).max()),
        "homogeneity_error_order": float(np.abs(green(factor * t) - factor**green.order * green(t)).max()),
    }
    return found | (_composed(green) if cell["operator"] == "derivative" else _paired(green))


def _composed(green: GreenFunction) -> Columns:
    """ρ_γ ∗ ρ_γ = ρ_2γ, that is, D^γ D^γ = D^2γ: by quadrature at t = 1.5, the algebraic ends handled exactly."""
    end, degree = 1.5, green.degree
    value = green.constant**2 * quad(lambda s: 1.0, 0, end, weight="alg", wvar=(degree, degree))[0]
    double = float(GreenFunction("derivative", 2 * green.order)(end))
    return {"composition": value / double, "composition_bare": value / green.constant**2 / double}


def _paired(green: GreenFunction) -> Columns:
    """⟨ρ, ψ⟩ = ∫ |ω|^(−γ) ψ̂ dω/2π for ψ = −φ″, φ a Gaussian, where both sides converge (γ < 3)."""

    def bump(t: float) -> float:
        return float(green(t)) * (1 - t * t) * math.exp(-t * t / 2)

    left = 2 * quad(bump, 0, 40, limit=200)[0]
    right = 2 * quad(lambda w: w ** (2 - green.order) * math.exp(-w * w / 2), 0, 40, limit=200)[0]
    right *= math.sqrt(2 * math.pi) / (2 * math.pi)
    return {"pairing": left / right, "pairing_without_half": 2 * left / right}


def _scaling(cell: Cell) -> Columns:
    """½(v² + |w|^(2γ − 2)) of one neuron, minimized over its scale by search, against |v||w|^(γ − 1)."""
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    degree, v, w = cell["order"] - 1, float(np.exp(rng.normal())), float(np.exp(rng.normal()))

    def decay(logarithm: float, power: float) -> float:
        scale = math.exp(logarithm)
        return 0.5 * ((v / scale**degree) ** 2 + (w * scale) ** power)

    matched, usual = (
        float(minimize_scalar(decay, bracket=(-1.0, 1.0), args=(power,), tol=1e-12).fun) for power in (2 * degree, 2)
    )
    path = v * w**degree
    return {"scaled_over_path": matched / path, "usual_over_path": usual / path}
