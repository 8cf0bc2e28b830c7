"""Exact curvature of deep linear networks under the squared loss."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    Batches,
    ComputationError,
    DtypeError,
    ParameterError,
    SquaredLoss,
    check_integer,
    check_number,
    check_same_place,
)
from steppe.linalg import Eigenvalues
from steppe.networks import DeepLinear, DeepLinearProducts

from .factorization_problem import FactorizationProblem

_SMALL = 32  # matrices up to this size are diagonalised whole


def has_deep_linear_form(model: nn.Module, loss: Any) -> bool:
    """Whether exact products exist: a plain `DeepLinear`, all or none of it frozen, and the squared loss."""
    if type(model) is not DeepLinear or type(loss) is not SquaredLoss:
        return False
    flags = {parameter.requires_grad for parameter in model.parameters()}
    return len(flags) == 1 and not (model._forward_hooks or model._forward_pre_hooks)


class DeepLinearForm:
    """Hessian and Gauss–Newton products, and their common diagonal, of one deep linear network on one set of data.

    The loss sees n samples only through (XᵀX)/n and (YᵀX)/n, so that a product costs the same for any n ≥ d.

    Args:
        network: Its layers are copied and upcast to `dtype`, exactly if that is wider.
        batches: Data of the network's dtype and device.
        dtype: Dtype of the products.
    """

    backend = "closed form"

    def __init__(self, network: DeepLinear, batches: Batches, *, dtype: torch.dtype) -> None:
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64")
        x, y = batches.joined()
        self.network = network
        x = network.check(x)
        check_same_place(network, x, y)
        self.dtype, self.device, self.samples = dtype, x.device, len(x)
        with torch.inference_mode(mode=False), torch.no_grad():
            SquaredLoss()(network(x), y)  # refuses targets that do not fit
            features, targets = condensed(x.to(dtype), y.to(dtype))
            root = len(x) ** 0.5
            self.targets = targets / root
            self.products = DeepLinearProducts(network, features / root, self.targets)
        if not all(torch.isfinite(adjoint).all() for adjoint in self.products.adjoints):
            raise ComputationError("the network's outputs are not finite; its weights have diverged, use earlier ones")
        self.size = self.all_parameters = self.products.size

    def hessian_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """H δ for each column δ."""
        with torch.no_grad():
            return self.products.second_order(block, residual=True)

    def gauss_newton_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """G δ for each column δ."""
        with torch.no_grad():
            return self.products.second_order(block, residual=False)

    def diagonal(self) -> Float[Tensor, " p"]:
        """The exact diagonal, the same for both matrices."""
        with torch.no_grad():
            return self.products.diagonal()

    def largest(self, kind: str, k: int, *, rtol: float, **more: Any) -> Eigenvalues | None:
        """The k largest eigenvalues through the output space [d_L·min(n, d_0)], where that is sound; None elsewhere.

        It is for the Gauss–Newton matrix. It is for the Hessian if what the residual adds to it is proved to be within
        a tenth of the tolerance; where it is not, that part couples the layers and has no small rank.

        Args:
            kind: "Hessian" or "Gauss–Newton".
            k: How many.
            rtol: Relative tolerance of the residuals.
            **more: As in `extreme_eigenvalues`.
        """
        k = check_integer("k", k, minimum=1, maximum=self.size)
        rtol = check_number("rtol", rtol, above=0.0)
        problem = FactorizationProblem(
            self.products.layers, self.products.forwards[0], self.targets if kind == "Hessian" else None, 0.5
        )
        if self.size <= _SMALL or problem.space.size >= self.size or self.dtype != torch.float64:
            return None
        if not problem.flat_enough(rtol / 10):
            return None
        try:
            return problem.solve(k, rtol=rtol, **more)
        except ParameterError:  # fewer than k are above rounding
            return None


def condensed(x: Float[Tensor, "n d"], y: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "d q"], Float[Tensor, "k q"]]:
    """F and Z of min(n, d) columns with ‖X Wᵀ − Y‖² = ‖W F − Z‖² + a constant."""
    if len(x) <= x.shape[1]:
        return x.T, y.T
    q, r = torch.linalg.qr(x)
    return r.T, (q.T @ y).T
