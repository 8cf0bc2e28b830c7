"""The losses of the house: means over samples, nothing broadcasts.

A loss is a callable `loss(outputs, targets) -> scalar`. Each also names its convention, which every
curvature number repeats.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from .devices import check_targets
from .errors import DtypeError, ShapeError


@runtime_checkable
class Loss(Protocol):
    """Anything that maps outputs and targets to a scalar."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor: ...  # noqa: D102 - said by the class


@dataclass(frozen=True)
class SquaredLoss:
    """Half the squared error per sample, averaged over samples: L = (1/2n) Σ ‖f(x_i) − y_i‖².

    Raises:
        ShapeError: Targets do not have the shape [n, k] of the outputs.
    """

    convention: ClassVar[str] = "½ squared error"

    def __call__(self, outputs: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """The loss."""
        check_targets(targets, outputs, name="targets")
        return 0.5 * (outputs - targets).square().sum() / outputs.shape[0]


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy in nats of softmax outputs [n, k] against class labels [n], averaged over samples.

    Raises:
        ShapeError: Labels are not one integer per sample.
        DtypeError: Labels are not integers.
    """

    convention: ClassVar[str] = "cross-entropy in nats"

    def __call__(self, outputs: Float[Tensor, "n k"], targets: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """The loss."""
        if targets.is_floating_point():
            raise DtypeError(f"`targets` must be integer class labels, got {targets.dtype}; pass targets.long()")
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise ShapeError(
                f"`targets` must be one label per sample, [{outputs.shape[0]}], got {list(targets.shape)} "
                f"against outputs {list(outputs.shape)}; pass targets.reshape(-1)"
            )
        return functional.cross_entropy(outputs, targets)


@dataclass(frozen=True)
class Logistic:
    """Logistic loss in nats, log(1 + exp(−y f(x))) with y ∈ {−1, +1}, averaged over samples.

    Raises:
        ShapeError: Targets do not have the shape [n, k] of the outputs.
    """

    convention: ClassVar[str] = "logistic loss in nats"

    def __call__(self, outputs: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """The loss."""
        check_targets(targets, outputs, name="targets")
        if not torch.all(targets.abs() == 1):
            raise ShapeError("`targets` must be −1 or +1; map labels {0, 1} with 2 * y - 1")
        return functional.softplus(-targets * outputs).sum() / outputs.shape[0]
