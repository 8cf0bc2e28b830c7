"""The cells of `kamber2025-sharpness` with data and label noise: the target becomes the least-squares fit."""

import torch
from torch import Tensor

from steppe.core import SquaredLoss, generator
from steppe.curvature import deep_linear_sharpness, deep_linear_spectrum, hessian
from steppe.data import uniform_ball
from steppe.harness import Cell
from steppe.networks import DeepLinear
from steppe.training import gradient_descent

from ._factorization_sharpness_cells import Columns, autograd_hessian, flattest, largest_difference, sizes_of

_OFF = 0.05  # how far from a minimizer descent starts, over the size of the layers


def noise(cell: Cell) -> Columns:
    """A minimizer of the noisy problem: its Hessian by autograd, with and without the term in the residual."""
    sizes = sizes_of(cell)
    x, y = _sample(cell, sizes)
    n, scale = len(x), 1 / (2 * len(x))
    fit = _least_squares(x, y, min(sizes))
    network = DeepLinear.random_minimizer(fit, sizes, spread=0.3, seed=cell["seed"])
    layers = [layer.detach() for layer in network.layers]
    expected = torch.linalg.eigvalsh(autograd_hessian(layers, y.T, x, scale)).flip(0)
    exact = torch.linalg.eigvalsh(hessian(network, SquaredLoss(), (x, y)).to_dense()).flip(0)
    closed = deep_linear_spectrum(layers, data=x, scale=scale)
    with torch.no_grad():
        unfitted = float((network(x) - y).square().sum() / y.square().sum())
    return {
        "sharpness": float(deep_linear_sharpness(layers, data=x, target=y, scale=scale)),
        "autograd_sharpness": float(expected[0]),
        "unfitted": unfitted,
        "spectrum_error": largest_difference(exact, expected),
        "spectrum_error_without_residual": largest_difference(closed, expected),
        "flat_ratio": float(expected[0]) / flattest(fit, len(layers), x, scale),
        **_descended(layers, x, y, fit, step_size=1 / float(expected[0]), steps=cell["steps"], seed=cell["seed"]),
        "samples": n,
    }


def _sample(cell: Cell, sizes: list[int]) -> tuple[Tensor, Tensor]:
    seed = cell["seed"]
    x = 2 * uniform_ball(cell["n"], sizes[0], seed=seed) * torch.linspace(1.0, 0.5, sizes[0], dtype=torch.float64)
    rng = generator("study.extra", seed)
    clean = x @ torch.randn(sizes[0], sizes[-1], generator=rng, dtype=torch.float64)
    rng = generator("data.noise", seed)
    return x, clean + cell["noise"] * torch.randn(clean.shape, generator=rng, dtype=torch.float64)


def _least_squares(x: Tensor, y: Tensor, rank: int) -> Tensor:
    """The matrix of at most this rank that fits y = x Wᵀ best: the full fit, projected on its top outputs."""
    full = torch.linalg.pinv(x) @ y
    _, _, right = torch.linalg.svd(x @ full, full_matrices=False)
    top = right[:rank]
    return (full @ top.T @ top).T


def _descended(
    layers: list[Tensor], x: Tensor, y: Tensor, fit: Tensor, *, step_size: float, steps: int, seed: int
) -> Columns:
    """Gradient descent on the noisy labels from layers moved at random: does the product end at the fit?"""
    rng = generator("study.control", seed)
    moved = [w + _OFF * w.norm() * torch.randn(w.shape, generator=rng, dtype=torch.float64) for w in layers]
    network = DeepLinear.from_layers(moved)
    gradient_descent(network, x, y, step_size=step_size, steps=steps)
    return {"fit_distance": float((network.matrix().detach() - fit).norm() / fit.norm())}
