"""The cells of `cohen2021-edge-of-stability` that theory settles: quadratics and the two-parameter model. float64."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import ComputationError, SquaredLoss
from steppe.curvature import sharpness, stability_limit
from steppe.harness import Cell, Diverged

Columns = dict[str, Any]
NEAR = 0.01  # how far on either side of a limit a quadratic is run
_LOSS = SquaredLoss()
_PERIOD = 250  # updates between two looks at a quadratic; a multiple of its slow beats would be a coincidence


class ScalarRMSprop(torch.optim.RMSprop):
    """RMSProp with one second moment for all parameters: ν ← β₂ν + (1 − β₂)‖g‖², θ ← θ − η g/√ν.

    The special case in which the central flow of an adaptive method has the closed equilibrium S = 2√ν/η.
    """

    @property
    def second_moment(self) -> dict[Tensor, Tensor]:
        """ν for every parameter, as `preconditioned` takes it."""
        return {p: self.state[p]["square_avg"] for group in self.param_groups for p in group["params"]}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is taken
        """One update."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            squared = sum(p.grad.square().sum() for p in parameters)
            for p in parameters:
                state, beta = self.state[p], group["alpha"]
                state["step"] = state.get("step", 0) + 1
                before = state.get("square_avg", torch.zeros_like(p))
                state["square_avg"] = beta * before + (1 - beta) * squared
                p.sub_(group["lr"] * p.grad / (state["square_avg"].sqrt() + group["eps"]))


# --- quadratics ---


def quadratic(cell: Cell) -> Columns:
    """Growth per update on ½ S x² for curvatures S on both sides of the limit."""
    step = cell["step_size"]
    probe = cell.parts["optimizer"]([nn.Parameter(torch.ones(1, dtype=torch.float64))], step)
    limit = float(stability_limit(probe))
    heavy_ball = (2 + 2 * float(probe.param_groups[0]["momentum"])) / step
    at = {
        "growth_below": (1 - NEAR) * limit,
        "growth_above": (1 + NEAR) * limit,
        "growth_above_plain": (1 + NEAR) * 2 / step,
        "growth_below_heavy_ball": (1 - NEAR) * heavy_ball,
    }
    return {"stability_limit": limit} | {name: _growth(cell, curvature) for name, curvature in at.items()}


def _growth(cell: Cell, curvature: float) -> float:
    """The geometric mean growth per update of |x| in the long run."""
    x = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = cell.parts["optimizer"]([x], cell["step_size"])
    sizes = []
    for count in range(1, 2 * _PERIOD + 1):
        x.grad = curvature * x.detach()
        optimizer.step()
        sizes.append(abs(float(x.detach())))
        if count == _PERIOD and not 1e-100 < max(sizes[-10:]) < 1e100:
            return float(max(sizes[-10:]) ** (1 / count))
    # The largest of ten successive values: |x| of a rotating mode passes through zero.
    early, late = max(sizes[_PERIOD - 10 : _PERIOD]), max(sizes[-10:])
    return float((late / early) ** (1 / _PERIOD))


def equilibrium(cell: Cell) -> Columns:
    """Where scalar RMSProp ends on a quadratic: a cycle of two points at ±η/2 on which S = 2√ν/η.

    Derived: on the cycle x → x − ηSx/√ν = −x asks for S = 2√ν/η, and ν = S²x² then gives |x| = η/2. The linearisation
    has determinant β₂ and trace 3β₂ − 1, hence |multipliers| = √β₂ < 1 for β₂ in (1/9, 1).
    """
    curvatures = cell["curvature"] * torch.tensor([1.0, 0.3, 0.1], dtype=torch.float64)
    x = nn.Parameter(torch.ones(3, dtype=torch.float64) * cell["step_size"])
    optimizer = ScalarRMSprop([x], lr=cell["step_size"], alpha=0.9, eps=0.0)
    for _ in range(2000):
        x.grad = curvatures * x.detach()
        optimizer.step()
    root = float(optimizer.second_moment[x][0].sqrt())
    return {
        "equilibrium_ratio": cell["curvature"] / (2 * root / cell["step_size"]),
        "equilibrium_amplitude": abs(float(x.detach()[0])) / (cell["step_size"] / 2),
    }


# --- two parameters ---


class _Product(nn.Module):
    """f(x) = v w x."""

    def __init__(self, v: float, w: float) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(v, dtype=torch.float64))
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs [n, 1]."""
        return self.v * self.w * x


def two_parameters(cell: Cell) -> Columns | Diverged:
    """Where gradient descent on L = ½(vw − 1)² settles; a minimum has the Hessian's eigenvalues v² + w² and 0."""
    step, v, w = cell["step_size"], cell["v"], cell["w"]
    for done in range(200_000):
        residual = v * w - 1
        if not math.isfinite(residual) or abs(residual) > 1e8:
            return Diverged(f"the residual left 10⁸ after {done} updates")
        if abs(residual) < 1e-13:
            break
        v, w = v - step * residual * w, w - step * residual * v
    else:
        raise ComputationError(f"not settled after 200 000 updates: the residual is still {residual:.3g}")
    one = torch.ones(1, 1, dtype=torch.float64)
    found = sharpness(_Product(v, w), _LOSS, (one, one))
    return {
        "stability_limit": 2 / step,
        "settled_curvature": v * v + w * w,
        "settled_sharpness": found.value,
        "settled_largest": max(v * v, w * w),
    }
