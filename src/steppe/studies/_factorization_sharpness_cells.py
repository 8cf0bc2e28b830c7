"""What one cell of `kamber2025-sharpness` computes: the part of the study that needs torch. float64, on the CPU."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from steppe.core import InputError, check_choice, generator
from steppe.curvature import (
    deep_linear_hessian_product,
    deep_linear_sharpness,
    deep_linear_sharpness_bounds,
    deep_linear_spectrum,
    deep_linear_trace,
    flattest_sharpness,
)
from steppe.data import uniform_ball
from steppe.harness import Absent, Cell, Diverged
from steppe.networks import DeepLinear, factors

Columns = dict[str, Any]
_ZERO = 1e-9  # an eigenvalue below this part of the largest counts as zero


def row(cell: Cell, columns: list[str]) -> Columns | Diverged:
    """Compute one cell."""
    from . import _factorization_sharpness_escape as escape
    from . import _factorization_sharpness_noise as noise
    from . import _factorization_sharpness_relu as relu

    functions: dict[str, Callable[[Cell], Columns | Diverged]] = {
        "spectrum": _spectrum,
        "minimizers": _minimizers,
        "two-layers": _two_layers,
        "escape": escape.escape,
        "map": escape.mapped,
        "noise": noise.noise,
        "relu": relu.trained,
        "relu-escape": relu.escape,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    found = functions[cell["experiment"]](cell)
    if isinstance(found, Diverged):
        return found
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | found


# --- layers ---


def sizes_of(cell: Cell) -> list[int]:
    """d_0, …, d_L from their text, such as "3-5-2"."""
    return [int(size) for size in cell["sizes"].split("-")]


def layers_of(cell: Cell) -> list[Tensor]:
    """The layers that a part of the slot `layers` draws, checked."""
    sizes = sizes_of(cell)
    layers = cell.parts["layers"](sizes, seed=cell["seed"])
    shapes = list(zip(sizes[1:], sizes, strict=False))
    if [tuple(layer.shape) for layer in layers] != shapes or any(layer.dtype != torch.float64 for layer in layers):
        raise InputError(f"a part of the slot `layers` must give float64 matrices of shapes {shapes}; check its sizes")
    return list(layers)


def product(layers: Sequence[Tensor]) -> Tensor:
    """W_L ⋯ W_1."""
    found = layers[0]
    for layer in layers[1:]:
        found = layer @ found
    return found


def autograd_hessian(layers: Sequence[Tensor], target: Tensor, x: Tensor | None, scale: float) -> Tensor:
    """The Hessian of scale · ‖target − W Xᵀ‖² in the flat layers, by automatic differentiation."""
    sizes = [layer.numel() for layer in layers]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.reshape(layer.shape) for p, layer in zip(flat.split(sizes), layers, strict=True)]
        found = product(parts) if x is None else product(parts) @ x.T
        return scale * (target - found).square().sum()

    flat = torch.cat([layer.reshape(-1) for layer in layers])
    found: Tensor = torch.autograd.functional.hessian(loss, flat)
    return found


def largest_difference(a: Tensor, b: Tensor) -> float:
    """The largest entry of |a − b| over the largest of |b|."""
    return float((a - b).abs().max() / b.abs().max())


# --- closed forms against autograd ---


def _spectrum(cell: Cell) -> Columns:
    layers, scale = layers_of(cell), cell["scale"]
    x = uniform_ball(cell["n"], layers[0].shape[1], seed=cell["seed"]) if cell["n"] else None
    target = product(layers) if x is None else product(layers) @ x.T
    dense = autograd_hessian(layers, target, x, scale)
    expected = torch.linalg.eigvalsh(dense).flip(0)
    largest = float(expected[0])
    spectrum = deep_linear_spectrum(layers, data=x, scale=scale)
    bounds = deep_linear_sharpness_bounds(layers, data=x, scale=scale)
    least = flattest(product(layers), len(layers), x, scale)
    return {
        "parameters": len(expected),
        "sharpness": float(deep_linear_sharpness(layers, data=x, scale=scale)),
        "autograd_sharpness": largest,
        "spectrum_error": largest_difference(spectrum, expected),
        "nonzero": int((spectrum > _ZERO * largest).sum()),
        "autograd_nonzero": int((expected > _ZERO * largest).sum()),
        "trace_error": abs(float(deep_linear_trace(layers, data=x, scale=scale)) / float(dense.trace()) - 1),
        "lower_over_sharpness": float(bounds[0]) / largest,
        "norm_products_over_sharpness": float(bounds[1]) / largest,
        "flat_ratio": largest / least,
        **_away(cell, layers),
    }


def _away(cell: Cell, layers: list[Tensor]) -> Columns:
    """Hessian products where the residual is not zero."""
    rng = generator("study.control", cell["seed"])
    directions = [torch.randn(layer.shape, generator=rng, dtype=torch.float64) for layer in layers]
    target = torch.randn(product(layers).shape, generator=rng, dtype=torch.float64)
    found = deep_linear_hessian_product(layers, directions, target)
    flat = torch.cat([direction.reshape(-1) for direction in directions])
    expected = autograd_hessian(layers, target, None, 1.0) @ flat
    without = autograd_hessian(layers, product(layers), None, 1.0) @ flat
    return {
        "product_error": largest_difference(torch.cat([part.reshape(-1) for part in found]), expected),
        "product_error_without_residual": largest_difference(without, expected),
    }


def flattest(matrix: Tensor, depth: int, x: Tensor | None, scale: float) -> float:
    """The least sharpness of a factorization of `matrix`; with data, a lower bound of it (derived).

    With S = XᵀX, W S^½ = Σ σ_k u_k v_kᵀ and β = ‖S^½ v_1‖: 2 · scale · L (β σ_1^(L−1))^(2/L). The proof is that of
    the case S = I: of the products ‖A_iᵀu‖ ‖B_i S^½ v‖ only B_1 = I has changed.
    """
    if x is None:
        return float(flattest_sharpness(matrix, depth, scale=scale))
    values, vectors = torch.linalg.eigh(x.T @ x)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    _, sigma, right = torch.linalg.svd(matrix @ root)
    beta = float((root @ right[0]).norm())
    return 2 * scale * depth * (beta * float(sigma[0]) ** (depth - 1)) ** (2 / depth)


# --- flattest minimizers ---


def _minimizers(cell: Cell) -> Columns:
    sizes = sizes_of(cell)
    rng = generator("study.extra", cell["seed"])
    target = torch.randn(sizes[-1], sizes[0], generator=rng, dtype=torch.float64)
    least = float(flattest_sharpness(target, len(sizes) - 1))
    network = DeepLinear.random_minimizer(target, sizes, spread=cell["spread"], seed=cell["seed"])
    balanced = DeepLinear.balanced(target, sizes, seed=cell["seed"])
    norms = [float(matrix_norm(a, 2) * matrix_norm(b, 2)) for a, b in zip(*factors(network), strict=True)]
    return {
        "residual": largest_difference(network.matrix().detach(), target),
        "flat_ratio": float(deep_linear_sharpness(network)) / least,
        "balanced_ratio": float(deep_linear_sharpness(balanced)) / least,
        "unevenness": max(norms) / min(norms) - 1,
    }


def _two_layers(cell: Cell) -> Columns:
    """Depth 2: W_2 = U diag(t), W_1 = diag(σ/t) Vᵀ, with t by the kind of minimizer, and unused neurons for some."""
    rng = generator("study.extra", cell["seed"])
    u, sigma, v = torch.linalg.svd(torch.randn(4, 5, generator=rng, dtype=torch.float64), full_matrices=False)
    kind = check_choice("kind", cell["kind"], ["spectral", "frobenius", "both", "inflated", "scaled"])
    t, extra = sigma.sqrt(), 0.0
    if kind == "spectral":  # any t_k between σ_k/√σ_1 and √σ_1 keeps both spectral norms
        low = sigma / sigma[0].sqrt()
        t = low + 0.9 * (sigma[0].sqrt() - low)
    elif kind == "frobenius":  # the top pair is off balance by a half, the last one makes up for it
        t[0] *= 1.5
        lack = float(t[0].square() - (sigma[0] / t[0]).square())
        t[-1] = math.sqrt((-lack + math.sqrt(lack**2 + 4 * float(sigma[-1]) ** 2)) / 2)
    elif kind == "scaled":
        t = 1.3 * t
    elif kind == "inflated":
        extra = 1.5 * float(sigma[0].sqrt())
    w_1, w_2 = (sigma / t)[:, None] * v, u * t
    if extra:  # a neuron that only reads and one that only writes
        w_1 = torch.cat([w_1, extra * v[:1], torch.zeros_like(v[:1])])
        w_2 = torch.cat([w_2, torch.zeros_like(u[:, :1]), extra * u[:, :1]], dim=1)
    norms = [float(matrix_norm(w, 2)) for w in (w_1, w_2)]
    frobenius = [float(matrix_norm(w)) for w in (w_1, w_2)]
    target = w_2 @ w_1
    dense = autograd_hessian([w_1, w_2], target, None, 1.0)
    least = float(flattest_sharpness(target, 2))
    return {
        "flat_ratio": float(torch.linalg.eigvalsh(dense)[-1]) / least,
        "two_layer_ratio": (norms[0] ** 2 + norms[1] ** 2) / (2 * float(sigma[0])),
        "spectral_norms_ratio": max(norms) / min(norms),
        "frobenius_norms_ratio": max(frobenius) / min(frobenius),
    }
