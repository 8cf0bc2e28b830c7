"""Exact curvature of deep linear networks under the squared loss."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import Batches, ComputationError, DtypeError, SquaredLoss, check_same_place
from steppe.networks import DeepLinear, DeepLinearProducts


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
            features, targets = _condensed(x.to(dtype), y.to(dtype))
            self.products = DeepLinearProducts(network, features, targets)
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


def _condensed(x: Float[Tensor, "n d"], y: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "d q"], Float[Tensor, "k q"]]:
    """F and Z with (1/2n) ‖X Wᵀ − Y‖² = ½ ‖W F − Z‖² + a constant, of min(n, d) columns."""
    root = len(x) ** 0.5
    if len(x) <= x.shape[1]:
        return x.T / root, y.T / root
    q, r = torch.linalg.qr(x / root)
    return r.T, (q.T @ y).T / root
