"""Full-batch gradient descent on one network of patches: closed form, torch, any device.

With x̃ = (x[P_j], 1) and w̃ = (w, −b), a block of samples small enough for the cache goes through a whole step at once.
Positions that share their weights are rows of one product; positions with their own are a batch of products. As for the
shallow network, q = Σ r 1[z > 0] x̃ gives ∂L/∂w̃ = v q and, for one output, ∂L/∂v = ⟨w̃, q⟩, where the positions of a
sample have its residual r in common, over l.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Logistic
from steppe.networks import PatchReLU

from .plan import Plan, Stepwise

_BLOCK_BYTES = 2**20  # of one array of rows × neurons


class PatchEngine(Stepwise):
    """One network of patches in training.

    Costs per step 2nlm(2s + 3 + k) flops, with s inputs in each of l patches; memory of one block, nothing of n·l·m.

    Args:
        network: The network, of any floating dtype on any device.
        x: Inputs [n, d].
        y: Targets [n, k].
        plan: Checked options.
        loss: `SquaredLoss` or `Logistic`.
    """

    backend = "torch"

    def __init__(self, network: PatchReLU, x: Tensor, y: Tensor, plan: Plan, loss: Any) -> None:
        self.network, self.plan, self.convention, self.dtype = network, plan, loss.convention, network.w.dtype
        self._x, self._y, self._logistic = x.detach(), y.detach(), isinstance(loss, Logistic)
        self._n, self._positions = x.shape[0], network.positions
        shapes = self._groups, network.width, network.patch_size + 1
        count = math.prod(shapes) + network.v.numel() + network.output_bias.numel()
        self._parameters, self._gradient = (network.w.new_zeros(count, requires_grad=False) for _ in range(2))
        self.W, self.v, self.beta = self._views(self._parameters)
        self.gW, self.gv, self.gbeta = self._views(self._gradient)
        with torch.no_grad():
            self.W[..., :-1] = network.w
            self.W[..., -1] = -network.b
            self.v.copy_(network.v)
            self.beta.copy_(network.output_bias)
        rows = _BLOCK_BYTES // (self.v.element_size() * self._positions * network.width)
        self._blocks = [slice(i, i + max(rows, 1)) for i in range(0, self._n, max(rows, 1))]
        self.save()

    @property
    def _groups(self) -> int:
        """Positions with weights of their own."""
        return 1 if self.network.shared else self.network.positions

    def _views(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (k, m), e = self.network.v.shape, self.network.patch_size + 1
        W, v, beta = flat.split([self._groups * m * e, k * m, k])
        return W.view(self._groups, m, e), v.view(k, m), beta

    def _forward(self, rows: slice) -> tuple[Float[Tensor, "g r e"], Float[Tensor, "g r m"], Float[Tensor, "c k"]]:
        """Patches and activations of a block, position first, and its outputs."""
        x = self.network.extract(self._x[rows]).transpose(0, 1)
        x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2).reshape(self._groups, -1, self.W.shape[2])
        A = torch.bmm(x, self.W.transpose(1, 2)).relu_()
        each = (A @ self.v.T).view(self._positions, -1, len(self.v))
        return x, A, each.mean(dim=0) + self.beta

    @torch.no_grad()
    def evaluate(self) -> float:
        """Loss; the gradient is left in the engine."""
        self._gradient.zero_()
        total = sum(self._add(rows) for rows in self._blocks)
        return float(total) / self._n

    def _add(self, rows: slice) -> Tensor:
        x, A, f = self._forward(rows)
        loss, r = self._residual(f, self._y[rows])
        self.gbeta += r.sum(dim=0)
        shared = (r / self._positions).expand(self._positions, *r.shape).reshape(*A.shape[:2], -1)
        mask = torch.sign(A)  # many times faster than a comparison and its conversion
        if len(self.v) == 1:
            q = torch.bmm((x * shared).transpose(1, 2), mask).transpose(1, 2)  # the thin factor first
            self.gW += q * self.v.T
            self.gv[0] += (q * self.W).sum(dim=(0, 2))
        else:
            self.gv += torch.einsum("grk,grm->km", shared, A)
            self.gW += torch.bmm((shared @ self.v).mul_(mask).transpose(1, 2), x)
        return loss

    def _residual(self, f: Float[Tensor, "c k"], y: Float[Tensor, "c k"]) -> tuple[Tensor, Float[Tensor, "c k"]]:
        """The loss of a block, a sum, and the derivative of the mean."""
        if self._logistic:
            loss = torch.logaddexp(torch.zeros_like(f), -y * f)
            return loss.double().sum(), -y * torch.sigmoid(-y * f) / self._n
        r = f - y
        return 0.5 * r.double().square().sum(), r / self._n

    @torch.no_grad()
    def advance(self) -> bool:
        """One update; True if it was clipped."""
        plan, factor, clipped = self.plan, self.plan.step_size, False
        if plan.clip is not None:
            norm = float(self._gradient.double().norm())
            if norm > plan.clip:
                factor, clipped = factor * plan.clip / norm, True
        if plan.decay_rate:
            self._parameters.mul_(1 - plan.step_size * plan.decay_rate)
        self._parameters.sub_(self._gradient, alpha=factor)
        return clipped

    def gradient_norm(self) -> float:
        """Norm of the last gradient, decay included."""
        return float((self._gradient + self.plan.decay_rate * self._parameters).double().norm())

    def parameter_size(self) -> float:
        """Root mean square of the present parameters."""
        return float(self._parameters.double().norm()) / math.sqrt(self._parameters.numel())

    @torch.no_grad()
    def look(self, clean: Tensor | None) -> tuple[float, int]:
        """Mean squared distance of the outputs to `clean` (0 without it), and how many neurons are active anywhere."""
        error = 0.0
        live = self.W.new_zeros(self.W.shape[:2], dtype=torch.bool)
        for rows in self._blocks:
            _, A, f = self._forward(rows)
            live |= (A > 0).any(dim=1)
            if clean is not None:
                error += float((f - clean[rows]).double().square().sum()) / self._n
        return error, int(live.sum())

    @torch.no_grad()
    def publish(self) -> None:
        """Write the present parameters into the network."""
        network = self.network
        network.w.copy_(self.W[..., :-1].reshape(network.w.shape))
        network.b.copy_(-self.W[..., -1].reshape(network.b.shape))
        network.v.copy_(self.v)
        network.output_bias.copy_(self.beta)

    def save(self) -> None:
        """Remember the present parameters."""
        self._saved = self._parameters.clone()

    def restore(self) -> None:
        """Return to the remembered parameters."""
        self._parameters.copy_(self._saved)
