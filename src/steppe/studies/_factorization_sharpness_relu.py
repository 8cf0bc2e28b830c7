"""The cells of `kamber2025-sharpness` that ask of ReLU networks what is proved for linear ones: exploration."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from steppe.core import ComputationError, SquaredLoss, generator
from steppe.curvature import eigenvalues, gauss_newton, sharpness
from steppe.harness import Cell, Diverged
from steppe.linalg import SymmetricOperator, extreme_eigenvalues
from steppe.panel import escape_from
from steppe.training import gradient_descent

from ._factorization_sharpness_cells import Columns, flattest
from ._factorization_sharpness_escape import START, outcome

_LOSS = SquaredLoss()
_RTOL = 1e-4
_SMALL = 1e-27  # mean squared error at which a network counts as trained to a minimizer
_FITS = 100


def network_of(sizes: list[int], seed: int) -> nn.Sequential:
    """Linear layers without bias, ReLU between; weights N(0, 2/inputs), the last N(0, 1/inputs)."""
    rng = generator("networks.sequential", seed)
    modules: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        last = index == len(sizes) - 1
        linear = nn.Linear(inputs, outputs, bias=False, dtype=torch.float64)
        with torch.no_grad():
            normal = torch.randn(outputs, inputs, generator=rng, dtype=torch.float64)
            linear.weight.copy_(normal * ((1 if last else 2) / inputs) ** 0.5)
        modules += [linear] if last else [linear, nn.ReLU()]
    return nn.Sequential(*modules)


def _problem(cell: Cell) -> tuple[Tensor, Tensor, nn.Sequential]:
    x, labels = cell.parts["images"](cell["n"], seed=cell["seed"])
    y = nn.functional.one_hot(labels).double()
    y = y - y.mean(dim=0)
    sizes = [x.shape[1], *[cell["width"]] * (cell["depth"] - 1), y.shape[1]]
    return x, y, network_of(sizes, cell["seed"])


def trained(cell: Cell) -> Columns | Diverged:
    """A network trained with a large step, measured against the formulas for deep linear networks."""
    x, y, network = _problem(cell)
    before = _imbalance(network)
    history = gradient_descent(network, x, y, step_size=cell["step_size"], steps=cell["steps"])
    if history.state == "diverged":
        return Diverged(f"the loss left the finite numbers within {cell['steps']} updates")
    found = float(sharpness(network, _LOSS, (x, y), rtol=_RTOL))
    products = _MeanMasks(network, x)
    scale = 1 / (2 * len(x))
    fit = (torch.linalg.pinv(x, rtol=1e-10) @ y).T
    return {
        "stability_limit": 2 / cell["step_size"],
        "sharpness": found,
        "final_factor": cell["step_size"] * found,
        "final_loss": float(history.loss[-1]),
        "gauss_newton_ratio": float(eigenvalues(gauss_newton(network, _LOSS, (x, y)), 1, rtol=_RTOL).values[0]) / found,
        "mean_mask_ratio": products.sharpness(scale, activations=False) / found,
        "activation_ratio": products.sharpness(scale, activations=True) / found,
        "mean_mask_bound_ratio": flattest(products.matrix, cell["depth"], x, scale) / found,
        "flat_ratio": found / flattest(fit, cell["depth"], x, scale),
        "unevenness": products.unevenness(),
        "imbalance_start": before,
        "imbalance": _imbalance(network),
    }


def _linears(network: nn.Sequential) -> list[Tensor]:
    return [module.weight.detach() for module in network if isinstance(module, nn.Linear)]


def _imbalance(network: nn.Sequential) -> float:
    """Largest over least ‖W_l‖_F², minus 1; gradient flow keeps the differences."""
    squares = [float(w.square().sum()) for w in _linears(network)]
    return max(squares) / min(squares) - 1


class _MeanMasks:
    """The deep linear network in which every neuron is scaled by the share of samples on which it is active.

    A_i = W_L D_{L−1} W_{L−1} ⋯ D_i and B_i X = D_{i−1} W_{i−1} ⋯ D_1 W_1 X with these shares on the diagonals D. As a
    second try, the activations of the ReLU network itself stand for B_i X.
    """

    def __init__(self, network: nn.Sequential, x: Tensor) -> None:
        layers, shares, self.activations = _linears(network), [], [x.T]
        for weight in layers[:-1]:
            self.activations.append((weight @ self.activations[-1]).relu())
            shares.append((self.activations[-1] > 0).double().mean(dim=1))
        self.before = [x.T]
        for weight, share in zip(layers[:-1], shares, strict=True):
            self.before.append(share[:, None] * (weight @ self.before[-1]))
        self.after = [torch.eye(len(layers[-1]), dtype=torch.float64)]
        for weight, share in zip(reversed(layers[1:]), reversed(shares), strict=True):
            self.after.insert(0, (self.after[0] @ weight) * share)
        self.matrix = self.after[0] @ layers[0]

    def sharpness(self, scale: float, *, activations: bool) -> float:
        """2 · scale · λ_max(Σ A_iA_iᵀ ⊗ (B_iX)ᵀB_iX), with B_iX or the activations."""
        before = self.activations if activations else self.before
        left, right = [a @ a.T for a in self.after], [p.T @ p for p in before]
        shape = (len(left[0]), len(right[0]))

        def product(block: Tensor) -> Tensor:
            z = block.T.reshape(-1, *shape)
            image = torch.stack([a @ z @ b for a, b in zip(left, right, strict=True)]).sum(dim=0)
            return image.reshape(len(z), -1).T

        operator = SymmetricOperator(product, shape[0] * shape[1])
        return 2 * scale * float(extreme_eigenvalues(operator, 1, rtol=_RTOL).values[0])

    def unevenness(self) -> float:
        """Largest over least ‖A_i‖ ‖B_iX‖, minus 1."""
        found = [
            float(torch.linalg.matrix_norm(a, 2) * torch.linalg.matrix_norm(p, 2))
            for a, p in zip(self.after, self.before, strict=True)
        ]
        return max(found) / min(found) - 1


def escape(cell: Cell) -> Columns | Diverged:
    """A network trained to a minimizer, and gradient descent started next to it."""
    x, y, network = _problem(cell)
    try:
        _fit(network, x, y)
    except ComputationError as error:
        return Diverged(str(error))
    radius = cell["radius"]
    found = escape_from(
        network, _LOSS, (x, y), [cell["factor"]], start=START, radius=radius, steps=cell["steps"], log_every=1
    )
    return {"sharpness": found.sharpness, **outcome(found.runs[0], radius)}


def _fit(network: nn.Sequential, x: Tensor, y: Tensor) -> None:
    """Levenberg–Marquardt steps until the loss is zero to rounding."""
    leaves = dict(network.named_parameters())
    sizes = [leaf.numel() for leaf in leaves.values()]

    def residuals(flat: Tensor) -> Tensor:
        parts = [p.view_as(leaf) for p, leaf in zip(flat.split(sizes), leaves.values(), strict=True)]
        outputs: Tensor = torch.func.functional_call(network, dict(zip(leaves, parts, strict=True)), (x,))
        return (outputs - y).reshape(-1)

    flat, damping = parameters_to_vector(leaves.values()).detach(), 1e-2
    found = residuals(flat)
    for _ in range(_FITS):
        if found.square().mean() < _SMALL:
            vector_to_parameters(flat, leaves.values())
            return
        jacobian = torch.func.jacrev(residuals)(flat)
        gram = jacobian @ jacobian.T
        gram.diagonal().add_(damping * gram.diagonal().mean())
        moved = flat - jacobian.T @ torch.linalg.solve(gram, found)
        trial = residuals(moved)
        better = bool(trial.square().sum() < found.square().sum())
        damping = damping / 10 if better else damping * 10
        if better:
            flat, found = moved, trial
    raise ComputationError(f"a mean squared error of {found.square().mean():.3g} was left; widen the network")
