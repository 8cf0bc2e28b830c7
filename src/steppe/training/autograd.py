"""Full-batch gradient descent on any module, by autograd."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import KindError, ShapeError

from .plan import Plan, Stepwise


class AutogradEngine(Stepwise):
    """One module in training. `.grad`, `training` flags and frozen parameters stay as they are.

    Args:
        network: Any module; the parameters that require gradients move.
        x: Inputs, one per row.
        y: Targets.
        plan: Checked options.
        loss: Callable (outputs, targets) -> scalar.
    """

    backend = "autograd"

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor, plan: Plan, loss: Any) -> None:
        self.network, self.plan, self.x, self.y, self.loss = network, plan, x, y, loss
        self.convention = str(getattr(loss, "convention", getattr(loss, "__name__", type(loss).__name__)))
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        if not self.parameters:
            raise KindError(
                f"`network` must have parameters that require gradients, got none in {type(network).__name__}; "
                "call requires_grad_(True) on those to train"
            )
        self.dtype = self.parameters[0].dtype
        self.gradient: list[Tensor] = []
        self.save()

    def evaluate(self) -> float:
        """Loss; the gradient is left in the engine."""
        with torch.enable_grad():
            outputs = self.network(self.x)
            self._check(outputs)
            loss = self.loss(outputs, self.y)
            if not isinstance(loss, Tensor) or loss.ndim != 0:
                got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise ShapeError(f"`loss` must return a scalar tensor, got {got}; take the mean over samples")
            gradient = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        pairs = zip(gradient, self.parameters, strict=True)
        self.gradient = [torch.zeros_like(p) if g is None else g for g, p in pairs]
        return float(loss.detach())

    def _check(self, outputs: Any) -> None:
        if not isinstance(outputs, Tensor):
            raise KindError(
                f"`network` must return a tensor, got {type(outputs).__name__}; wrap it in a module that does"
            )
        y = self.y
        if y.is_floating_point() and outputs.shape != y.shape and outputs.numel() == y.numel():
            raise ShapeError(
                f"`y` must have the shape of the outputs, {list(outputs.shape)}, got {list(y.shape)}, which would "
                f"broadcast to a plausible wrong loss; pass y.reshape({', '.join(map(str, outputs.shape))})"
            )

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """Norm of the last gradient, decay included."""
        pairs = zip(self.gradient, self.parameters, strict=True)
        return math.sqrt(sum(float((g + self.plan.decay_rate * p).double().square().sum()) for g, p in pairs))

    @torch.no_grad()
    def parameter_size(self) -> float:
        """Root mean square of the present parameters."""
        total = sum(float(p.double().square().sum()) for p in self.parameters)
        return math.sqrt(total / sum(p.numel() for p in self.parameters))

    @torch.no_grad()
    def advance(self) -> bool:
        """One update; True if it was clipped."""
        plan, factor, clipped = self.plan, self.plan.step_size, False
        if plan.clip is not None:
            norm = math.sqrt(sum(float(g.double().square().sum()) for g in self.gradient))
            if norm > plan.clip:
                factor, clipped = factor * plan.clip / norm, True
        for p, g in zip(self.parameters, self.gradient, strict=True):
            if plan.decay_rate:
                p.mul_(1 - plan.step_size * plan.decay_rate)
            p.sub_(g, alpha=factor)
        return clipped

    def publish(self) -> None:
        """The parameters are those of the network already."""

    def save(self) -> None:
        """Remember the present parameters."""
        self.saved = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def restore(self) -> None:
        """Return to the remembered parameters."""
        for p, saved in zip(self.parameters, self.saved, strict=True):
            p.copy_(saved)
