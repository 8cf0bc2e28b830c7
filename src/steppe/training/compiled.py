"""Full-batch gradient descent on one shallow ReLU or patch network by the kernel of the package `steppe-kernels`."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steppe.core import Logistic
from steppe.networks import PatchReLU, ShallowReLU

from . import paths
from .plan import Plan


class CompiledEngine:
    """One network in training, shallow or of patches; many steps per call, and the interpreter free meanwhile.

    Costs per step and pair of neuron and sample (or patch) d + k multiply-adds and k(d + 1) additions, on vectors of
    numbers; memory of the data, the parameters and one tile of samples, with one bit per neuron and patch.

    Args:
        network: The network, float32 or float64, on the CPU.
        x: Inputs [n, d].
        y: Targets [n, k].
        plan: Checked options.
        loss: `SquaredLoss` or `Logistic`.
        instruction_set: One of `steppe_kernels.instruction_sets()`; None for what `STEPPE_KERNELS` says or the fastest.
    """

    def __init__(
        self,
        network: ShallowReLU | PatchReLU,
        x: Tensor,
        y: Tensor,
        plan: Plan,
        loss: Any,
        instruction_set: str | None = None,
    ) -> None:
        module = paths.kernels()
        kind = module.Descent32 if network.w.dtype == torch.float32 else module.Descent64
        self.network, self.plan, self.dtype, self.convention = network, plan, network.w.dtype, loss.convention
        name = "logistic" if isinstance(loss, Logistic) else "squared"
        chosen = instruction_set or paths.instruction_set()
        patches = {"patches": _array(network.patches)} if isinstance(network, PatchReLU) else {}
        self._kernel = kind(*self._arrays(), _array(x), _array(y), name, chosen, **patches)
        self.backend = f"kernel-{self._kernel.instruction_set}"

    def _parameters(self) -> list[Tensor | None]:
        """w, b, v, the output bias and the skip matrix (or None)."""
        net = self.network
        return [net.w, net.b, net.v, net.output_bias, net.skip if isinstance(net, ShallowReLU) else None]

    def _arrays(self) -> list[Any]:
        """Their values; filters of each position are rows of one matrix."""
        arrays: list[Any] = [None if p is None else _array(p) for p in self._parameters()]
        w, b = arrays[:2]
        return [w.reshape(-1, w.shape[-1]), b.reshape(-1), *arrays[2:]]

    def evaluate(self) -> float:
        """Loss at the present parameters; leaves the gradient, without decay, in the engine."""
        return float(self._kernel.evaluate())

    def descend(self, steps: int, limit: float) -> tuple[int, float, int]:
        """Update and evaluate `steps` times, or until the loss exceeds the limit: steps done, last loss, clipped."""
        plan = self.plan
        clip = math.inf if plan.clip is None else plan.clip
        keep = 1 - plan.step_size * plan.decay_rate
        done, clipped, loss = self._kernel.descend(steps, plan.step_size, keep, clip, limit)
        return done, loss, clipped

    def gradient_norm(self) -> float:
        """Norm of the last gradient, decay included."""
        return float(self._kernel.gradient_norm(self.plan.decay_rate))

    def parameter_size(self) -> float:
        """Root mean square of the present parameters."""
        return float(self._kernel.parameter_norm()) / math.sqrt(sum(p.numel() for p in self.network.parameters()))

    def look(self, clean: Tensor | None) -> tuple[float, int]:
        """Mean squared distance of the outputs to `clean` (0 without it), and how many neurons are active anywhere."""
        error, live = self._kernel.look(None if clean is None else _array(clean))
        return float(error), int(live)

    def publish(self) -> None:
        """Write the present parameters into the network."""
        arrays: list[Any] = [None if a is None else np.empty_like(a) for a in self._arrays()]
        self._kernel.read(*arrays)
        with torch.no_grad():
            for parameter, values in zip(self._parameters(), arrays, strict=True):
                if parameter is not None:
                    parameter.copy_(torch.from_numpy(values).view_as(parameter))

    def gradient(self) -> list[Any]:
        """The last gradient, without decay, in the shapes of w, b, v, the output bias and the skip matrix (or None)."""
        arrays: list[Any] = [None if a is None else np.empty_like(a) for a in self._arrays()]
        self._kernel.read_gradient(*arrays)
        pairs = zip(self._parameters(), arrays, strict=True)
        return [None if p is None else values.reshape(p.shape) for p, values in pairs]

    def save(self) -> None:
        """Remember the present parameters."""
        self._kernel.save()

    def restore(self) -> None:
        """Return to the remembered parameters."""
        self._kernel.restore()


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())
