"""SGD by brute force: many runs at once, linearised for second moments, and of the network itself."""

from typing import Any

import torch
from torch import Tensor

from steppe.networks import ShallowReLU

RUNS, UPDATES = 4000, 8  # of the linearised iteration: few updates, since rare runs carry the late second moments
COPIES, PATIENCE = 32, 200  # of the network itself
NUDGE = 1e-6  # relative to the parameters


def _batches(runs: int, n: int, batch: int, rng: torch.Generator) -> Tensor:
    """Indices [runs, batch], drawn without replacement."""
    return torch.rand(runs, n, generator=rng, dtype=torch.float64).argsort(dim=1)[:, :batch]


def moment_columns(gram: Tensor, *, step: float, batch: int, rng: torch.Generator) -> dict[str, Any]:
    """Mean square of the outputs' errors over `RUNS` runs of e ← e − (η/B) K D_B e, and what theory predicts.

    Runs start at independent Gaussian errors, so that the prediction starts from the identity.
    """
    n = len(gram)
    errors = torch.randn(RUNS, n, generator=rng, dtype=torch.float64)
    before = errors.square().sum(dim=1)
    for _ in range(UPDATES):
        chosen = torch.zeros_like(errors).scatter_(1, _batches(RUNS, n, batch, rng), 1.0)
        errors = errors - step / batch * (errors * chosen) @ gram
    after = errors.square().sum(dim=1)
    spread = float(after.std()) / RUNS**0.5
    predicted, full = (_predicted(gram, step=step, batch=size) for size in (batch, n))
    return {
        "moment_ratio": float(after.mean() / before.mean()),
        "moment_predicted": predicted / n,
        "moment_deviation": abs(float(after.mean()) - predicted) / spread,
        "moment_deviation_full": abs(float(after.mean()) - full) / spread,
    }


def _predicted(gram: Tensor, *, step: float, batch: int) -> float:
    """Tr E[e eᵀ] after the updates, by the recursion of second moments written out."""
    n = len(gram)
    pair = step**2 * (batch - 1) / (batch * n * (n - 1))
    moment = torch.eye(n, dtype=torch.float64)
    for _ in range(UPDATES):
        noise = pair * moment + (step**2 / (batch * n) - pair) * moment.diagonal().diag()
        moment = moment - step / n * (gram @ moment + moment @ gram) + gram @ noise @ gram
    return float(moment.trace())


def returned(network: ShallowReLU, x: Tensor, y: Tensor, *, step: float, batch: int, rng: torch.Generator) -> float:
    """Share of `COPIES` nudged copies of a network with one input whose loss SGD lowers in `PATIENCE` updates."""
    start = (network.w.detach()[:, 0], network.b.detach(), network.v.detach()[0], network.output_bias.detach())
    w, b, v, bias = (
        p + NUDGE * p.abs().mean() * torch.randn(COPIES, len(p), generator=rng, dtype=torch.float64) for p in start
    )

    def outputs(at: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (w[:, :, None] * at[:, None, :] - b[:, :, None]).clamp(min=0)
        return hidden, (v[:, :, None] * hidden).sum(dim=1) + bias

    everything, targets = x[:, 0].expand(COPIES, -1), y[:, 0]

    def losses() -> Tensor:
        return (outputs(everything)[1] - targets).square().mean(dim=1)

    first = losses()
    for _ in range(PATIENCE):
        chosen = _batches(COPIES, len(x), batch, rng)
        at, labels = x[chosen, 0], y[chosen, 0]
        hidden, found = outputs(at)
        slope = step / batch * (found - labels)[:, None, :]
        through = slope * v[:, :, None] * (hidden > 0)
        w, b, v, bias = (
            w - (through * at[:, None, :]).sum(dim=2),
            b + through.sum(dim=2),
            v - (slope * hidden).sum(dim=2),
            bias - slope.sum(dim=2),
        )
        w, b, v = (p.clamp(-1e6, 1e6) for p in (w, b, v))  # what has left for good stays finite
    return float((losses() < first).double().mean())
