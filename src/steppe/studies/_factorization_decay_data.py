"""Weight decay on deep linear networks with label noise, and on deep ReLU networks trained on digits."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from steppe.core import derived_seed
from steppe.data import handwritten_digits
from steppe.harness import Absent, Cell
from steppe.networks import DeepLinear
from steppe.theory import critical_weight, end_to_end_minimizer, local_minimum_values
from steppe.training import gradient_descent

Array = NDArray[np.float64]
Columns = dict[str, Any]
SHARES = np.geomspace(0.002, 0.95, 60)  # of the critical weight


def noise(cell: Cell) -> Columns:
    """A teacher of low rank seen through label noise: error of the minimizer over all weights, and one training.

    With whitened inputs, (1/n) ‖Y − X Wᵀ‖² is ‖M̂ − W‖² plus a constant, where M̂ is the least-squares map.
    """
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    n, d, rank, depth = cell["n"], cell["inputs"], cell["rank"], cell["depth"]
    left, right = (np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(2))
    teacher = (left * np.linspace(1.0, 2.0, rank)) @ right.T
    x = np.linalg.qr(rng.standard_normal((n, d)))[0] * np.sqrt(n)
    y = x @ teacher.T + cell["noise"] * rng.standard_normal((n, d))
    fitted, size = y.T @ x / n, float((teacher**2).sum())
    limit = float(critical_weight(float(np.linalg.norm(fitted, 2)), depth))
    solutions = [end_to_end_minimizer(fitted, share * limit, depth) for share in SHARES]
    errors = [float(((best.matrix - teacher) ** 2).sum()) / size for best in solutions]
    index = int(np.argmin(errors))
    return {
        "least_squares_error": float(((fitted - teacher) ** 2).sum()) / size,
        "best_error": errors[index],
        "best_rank": solutions[index].rank,
        "curve_share": SHARES.tolist(),
        "curve_error": errors,
        "trained_excess": _trained_on_data(x, y, fitted, float(SHARES[index]) * limit, cell),
    }


def _trained_on_data(x: Array, y: Array, fitted: Array, weight: float, cell: Cell) -> float:
    """Objective after gradient descent on the samples, from the least-squares map, over that of its local minimum − 1.

    Along balanced layers every singular value moves alone: it stops at the larger root if there is one, else at zero.
    """
    depth = cell["depth"]
    network = DeepLinear.balanced(fitted, [x.shape[1]] * (depth + 1), seed=0)
    # The house loss plus (λ/2) Σ ‖W_l‖² is half the objective; its largest eigenvalue is about L σ^(2(L−1)/L).
    step = 1.0 / (depth * float(np.linalg.norm(fitted, 2)) ** (2 * (depth - 1) / depth) + weight)
    batch = torch.from_numpy(x), torch.from_numpy(y)
    gradient_descent(network, *batch, step_size=step, steps=cell["steps"], weight_decay=weight)
    layers = [layer.detach().numpy() for layer in network.layers]
    error = network.matrix().detach().numpy() - fitted
    value = float((error**2).sum()) + weight * sum(float((layer**2).sum()) for layer in layers)
    return value / float(local_minimum_values(fitted, weight, depth)[-1]) - 1


# --- digits ---


def digits(cell: Cell) -> Columns:
    """A network without biases on digits, by L-BFGS with coupled decay, and the predictions for linear ones."""
    pixels, labels = handwritten_digits()
    rng = np.random.default_rng(derived_seed("study.extra", cell["seed"]))
    chosen = torch.from_numpy(rng.permutation(len(labels))[: cell["n"]])
    x = pixels[chosen] / 16
    y = torch.nn.functional.one_hot(labels[chosen], 10).double()
    sizes = [x.shape[1], *[cell["width"]] * (cell["depth"] - 1), 10]
    layers = [layer.detach() for layer in DeepLinear(sizes, seed=cell["seed"]).layers]
    # Sizes drawn apart, so that equal norms at the end are not those of the start.
    layers = [layer * float(np.exp(0.5 * rng.standard_normal())) for layer in layers]
    started = _norms(layers)
    layers, settled = _fitted(layers, x, y, relu=cell["activation"] == "relu", weight=cell["decay"], cell=cell)
    norms, spectra = _norms(layers), [torch.linalg.svdvals(layer) for layer in layers]
    hidden = [(before, after) for before, after in pairwise(layers)]
    outputs = _outputs(layers, x, relu=cell["activation"] == "relu")
    decayed = cell["decay"] > 0
    first, least = spectra[0], min(len(spectrum) for spectrum in spectra)
    others = [float((s[:least] - first[:least]).norm() / first[:least].norm()) for s in spectra[1:]]
    return {
        "start_norm_spread": _spread(started),
        "norm_spread": _spread(norms),
        "neuron_imbalance": max(_neurons(*pair) for pair in hidden),
        "matrix_imbalance": max(_matrices(*pair) for pair in hidden),
        "spectrum_spread": max(others),
        "layer_spectra": [float(value) for spectrum in spectra for value in spectrum[:least]],
        "gradient": settled,
        "training_error": float((outputs - y).square().sum(dim=1).mean()),
        "accuracy": float((outputs.argmax(dim=1) == labels[chosen]).double().mean()),
        "layer_rank": max(int((s > 1e-3 * s[0]).sum()) for s in spectra) if decayed else Absent("without decay"),
    }


def _norms(layers: list[Tensor]) -> list[float]:
    return [float(layer.square().sum()) for layer in layers]


def _spread(norms: list[float]) -> float:
    return max(norms) / min(norms) - 1


def _neurons(before: Tensor, after: Tensor) -> float:
    """Largest difference of a hidden neuron's squared norms, in and out, over the largest."""
    inward, outward = before.square().sum(dim=1), after.square().sum(dim=0)
    return float((inward - outward).abs().max() / torch.maximum(inward, outward).max())


def _matrices(before: Tensor, after: Tensor) -> float:
    """‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over ‖W_l W_lᵀ‖."""
    inward = before @ before.T
    return float((after.T @ after - inward).norm() / inward.norm())


def _outputs(layers: list[Tensor], x: Tensor, *, relu: bool) -> Tensor:
    for layer in layers[:-1]:
        x = x @ layer.T
        x = torch.relu(x) if relu else x
    return x @ layers[-1].T


def _fitted(
    layers: list[Tensor], x: Tensor, y: Tensor, *, relu: bool, weight: float, cell: Cell
) -> tuple[list[Tensor], float]:
    """Minimize (1/n) Σ ‖f(x) − y‖² + weight · Σ ‖W_l‖²; the layers and the gradient's norm over the first."""
    sizes = [layer.numel() for layer in layers]

    def unpacked(flat: Tensor) -> list[Tensor]:
        parts = flat.split(sizes)
        return [part.reshape(layer.shape) for part, layer in zip(parts, layers, strict=True)]

    def objective(values: Array) -> tuple[float, Array]:
        flat = torch.tensor(values, requires_grad=True)
        loss = (_outputs(unpacked(flat), x, relu=relu) - y).square().sum(dim=1).mean() + weight * flat.square().sum()
        loss.backward()
        assert flat.grad is not None
        return float(loss.detach()), flat.grad.numpy()

    first = torch.cat([layer.reshape(-1) for layer in layers]).numpy()
    options = {"maxiter": cell["steps"], "maxfun": 2 * cell["steps"], "maxcor": 30, "ftol": 0.0, "gtol": 1e-9}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    ratio = float(np.linalg.norm(found.jac) / np.linalg.norm(objective(first)[1]))
    return [layer.detach() for layer in unpacked(torch.from_numpy(found.x))], ratio
