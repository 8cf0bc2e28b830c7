"""Exact curvature of shallow ReLU networks and networks of patches under the losses of the house."""

from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    Batches,
    ComputationError,
    CrossEntropy,
    DataError,
    DtypeError,
    Logistic,
    SquaredLoss,
    check_same_place,
)
from steppe.networks import OutputWeights, PatchProducts, PatchReLU, ShallowProducts, ShallowReLU

NetworkProducts = ShallowProducts | PatchProducts


def has_closed_form(model: nn.Module, loss: Any) -> bool:
    """Whether exact products exist: a plain `ShallowReLU` or `PatchReLU`, all or none frozen, a loss of the house."""
    if type(model) not in (ShallowReLU, PatchReLU) or type(loss) not in (SquaredLoss, CrossEntropy, Logistic):
        return False
    flags = {parameter.requires_grad for parameter in model.parameters()}
    return len(flags) == 1 and not (model._forward_hooks or model._forward_pre_hooks)


def output_derivatives(
    loss: SquaredLoss | CrossEntropy | Logistic, outputs: Float[Tensor, "n k"], targets: Tensor
) -> tuple[Float[Tensor, "n k"], OutputWeights]:
    """Gradient [n, k] and Hessian of the mean loss in the outputs."""
    n = len(outputs)
    if isinstance(loss, SquaredLoss):
        return (outputs - targets) / n, OutputWeights(1 / n, torch.ones_like(outputs))
    if isinstance(loss, CrossEntropy):
        p = torch.softmax(outputs, dim=1)
        gradient = p.clone()
        gradient[torch.arange(n, device=p.device), targets.long()] -= 1
        return gradient / n, OutputWeights(1 / n, p, p)
    wrong = torch.sigmoid(-targets * outputs)
    return -targets * wrong / n, OutputWeights(1 / n, wrong * (1 - wrong))


class ClosedForm:
    """Hessian and Gauss–Newton products, and their common diagonal, of one network on one set of data.

    Args:
        network: Its weights are copied and upcast to `dtype`, exactly if that is wider.
        loss: A loss of the house.
        batches: Data of the network's dtype and device.
        dtype: Dtype of the products.

    Attributes:
        network: The network, for its names; training it on does not change the products.
        loss: The loss at this point.
    """

    backend = "closed form"

    def __init__(
        self,
        network: ShallowReLU | PatchReLU,
        loss: SquaredLoss | CrossEntropy | Logistic,
        batches: Batches,
        *,
        dtype: torch.dtype,
    ) -> None:
        if not dtype.is_floating_point:
            raise DtypeError(f"`dtype` must be a floating dtype, got {dtype}; pass torch.float64")
        x, y = batches.joined()
        x = network.check(x)
        check_same_place(network, x, y)
        self.network = network
        self.dtype, self.device, self.samples = dtype, x.device, len(x)
        with torch.inference_mode(mode=False), torch.no_grad():
            self.products = _products(network, x, dtype)
            self.size = self.all_parameters = self.products.size
            outputs, targets = self.products.outputs, y.to(dtype) if y.is_floating_point() else y
            if not torch.isfinite(outputs).all():
                raise ComputationError(
                    "the network's outputs are not finite; its weights have diverged, use earlier ones"
                )
            _check_labels(loss, targets, network.outputs)
            self.loss = float(loss(outputs, targets))  # refuses targets that do not fit
            self._gradient, self.weigh = output_derivatives(loss, outputs, targets)

    @cached_property
    def residual(self) -> Float[Tensor, "k e m"]:
        """The block of the Hessian that Gauss–Newton lacks; trace and diagonal do without it."""
        with torch.inference_mode(mode=False), torch.no_grad():
            return self.products.residual_matrix(self._gradient)

    def hessian_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """H δ for each column δ."""
        with torch.no_grad():
            return self.products.second_order(block, self.weigh, self.residual)

    def gauss_newton_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """G δ for each column δ."""
        with torch.no_grad():
            return self.products.second_order(block, self.weigh)

    def diagonal(self) -> Float[Tensor, " p"]:
        """The exact diagonal, the same for both matrices."""
        with torch.no_grad():
            return self.products.diagonal(self.weigh)


def _products(network: ShallowReLU | PatchReLU, x: Tensor, dtype: torch.dtype) -> NetworkProducts:
    if isinstance(network, PatchReLU):
        return PatchProducts(network.copy(dtype=dtype), x.to(dtype))
    return ShallowProducts(network.copy(dtype=dtype), x.to(dtype))


def _check_labels(loss: Any, targets: Tensor, k: int) -> None:
    if isinstance(loss, CrossEntropy) and not targets.is_floating_point():
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= k:
            raise DataError(
                f"`y` must be class labels from 0 to {k - 1}, got {low} to {high}; widen the network's outputs"
            )
