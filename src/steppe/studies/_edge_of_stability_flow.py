"""Gradient descent, gradient flow and the central flow of gradient descent, side by side. float64.

The flow is that of Cohen et al. 2025 (arXiv 2410.24206), recalled, and verified by what the study measures:

    dw/dt = −η [∇L(w) + ½ ∇⟨Σ, ∇²L(w)⟩],   Σ ⪰ 0 on the eigenvectors with eigenvalue 2/η,

with Σ such that no eigenvalue exceeds 2/η. With one such eigenvalue S and Σ = σ²uuᵀ this is
σ² = 2⟨−∇L, ∇S⟩/‖∇S‖² where positive. Here Σ solves that complementarity problem for one substep ahead, over all
eigenvectors within `NEAR` of the limit, so that it needs no rule for entering or leaving the edge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steppe.harness import Absent, Diverged
from steppe.linalg import SymmetricOperator, extreme_eigenvalues

Array = NDArray[np.float64]
SUBSTEPS = 2  # Euler steps of the central flow per update: directions at 2/η then shrink without overshoot
FINE = 8  # Euler steps of the gradient flow per update: it is free to sharpen to several times 2/η
WINDOW = 20  # updates over which everything that oscillates is averaged
NEAR = 0.05  # eigenvalues above (1 − NEAR)·2/η may become critical within a substep
CRITICAL = 6  # most critical eigenvalues followed
RTOL = 1e-2  # of their residuals: the values are then right to about 10⁻⁴
_SHIFT = 1e-3  # displacement for finite differences
_BLOW_UP = 1e6


class Landscape:
    """A loss as a function of the flat parameter vector, with derivatives up to the third."""

    def __init__(self, network: nn.Module, loss: Any, data: tuple[Tensor, Tensor]) -> None:
        self._network, self._loss, self._data = network, loss, data
        self._parameters = list(network.parameters())
        self.start = nn.utils.parameters_to_vector(self._parameters).detach().clone()
        self.step_to(self.start)

    def step_to(self, w: Tensor) -> None:
        """Move to w: one forward and one differentiable backward pass."""
        nn.utils.vector_to_parameters(w, self._parameters)
        self._value = self._loss(self._network(self._data[0]), self._data[1])
        self._gradient = _flat(torch.autograd.grad(self._value, self._parameters, create_graph=True))
        self.value, self.gradient = float(self._value.detach()), self._gradient.detach()

    def slope(self, w: Tensor) -> tuple[float, Tensor]:
        """Loss and gradient at w."""
        nn.utils.vector_to_parameters(w, self._parameters)
        value = self._loss(self._network(self._data[0]), self._data[1])
        return value.item(), _flat(torch.autograd.grad(value, self._parameters))

    def hessian(self) -> SymmetricOperator:
        """The Hessian where we are."""

        def product(block: Tensor) -> Tensor:
            images = torch.autograd.grad(
                self._gradient, self._parameters, block.T, retain_graph=True, is_grads_batched=True
            )
            return torch.cat([image.reshape(block.shape[1], -1) for image in images], dim=1).T

        return SymmetricOperator(product, self.start.numel())

    def third(self, vectors: Tensor) -> Tensor:
        """∇⟨u_i, ∇²L u_j⟩ for fixed columns u, [k, k, p]; for the eigenvector of a simple eigenvalue S it is ∇S."""
        k = vectors.shape[1]
        found = vectors.new_zeros(k, k, vectors.shape[0])
        for i in range(k):
            image = _flat(torch.autograd.grad(self._gradient @ vectors[:, i], self._parameters, create_graph=True))
            others = torch.autograd.grad(  # all j ≥ i in one pass
                image, self._parameters, vectors[:, i:].T, retain_graph=True, is_grads_batched=True
            )
            found[i, i:] = found[i:, i] = torch.cat([other.reshape(k - i, -1) for other in others], dim=1)
        return found


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


# --- the central flow ---


@dataclass(frozen=True)
class Moment:
    """The central flow at one time: loss L, mean predicted along the oscillation, largest eigenvalue, Σ."""

    loss: float
    predicted: float
    sharpness: float
    variance: float
    critical: int


class CentralFlow:
    """The central flow of gradient descent with step η, in time units of one update."""

    def __init__(self, landscape: Landscape, step_size: float) -> None:
        self._at, self._step = landscape, step_size
        self._limit = 2 / step_size
        self._vectors: Tensor | None = None
        self._sigma: Array = np.zeros((0, 0))
        self.w = landscape.start.clone()

    def advance(self, dt: float) -> Moment:
        """One Euler step of length dt; tells where it started from."""
        self._at.step_to(self.w)
        values, vectors = self._critical()
        count = int((values > (1 - NEAR) * self._limit).sum())
        push, moment = self._pushed(values, vectors[:, :count], dt)
        self.w = self.w - self._step * dt * (self._at.gradient + push)
        return moment

    def _critical(self) -> tuple[Tensor, Tensor]:
        """The top eigenvalues, one more than are critical (at most `CRITICAL`), warm from the last step."""
        while True:
            wanted = 1 if self._vectors is None else self._vectors.shape[1]
            found = extreme_eigenvalues(
                self._at.hessian(), wanted, rtol=RTOL, start=self._vectors,
                confirm=None if self._vectors is None else False,
            )  # fmt: skip
            count = int((found.values > (1 - NEAR) * self._limit).sum())
            keep = min(count + 1, CRITICAL)
            if keep <= wanted:
                self._vectors = found.vectors[:, : max(keep, 1)]
                return found.values, found.vectors
            fresh = torch.randn(found.vectors.shape[0], keep - wanted, generator=_rng(keep), dtype=torch.float64)
            self._vectors = torch.cat([found.vectors, fresh], dim=1)

    def _pushed(self, values: Tensor, vectors: Tensor, dt: float) -> tuple[Tensor | float, Moment]:
        """½∇⟨Σ, ∇²L⟩ and the moment."""
        at, count = self._at, vectors.shape[1]
        if count == 0:
            self._sigma = np.zeros((0, 0))
            return 0.0, Moment(at.value, at.value, float(values[0]), 0.0, 0)
        third = at.third(vectors)
        along = torch.einsum("ijp,p->ij", third, at.gradient).numpy()
        gram = torch.einsum("ijp,klp->ijkl", third, third).numpy()
        room = np.diag(self._limit - values[:count].numpy())
        start = self._sigma if self._sigma.shape == room.shape else np.zeros_like(room)
        sigma = complementary(0.5 * dt * self._step * gram, room + dt * self._step * along, start)
        self._sigma = sigma
        oscillation = 0.5 * float(np.sum(np.diag(sigma) * values[:count].numpy()))
        moment = Moment(at.value, at.value + oscillation, float(values[0]), float(np.trace(sigma)), count)
        return 0.5 * torch.einsum("ij,ijp->p", torch.from_numpy(sigma), third), moment


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def complementary(gram: Array, room: Array, start: Array) -> Array:
    """The X ⪰ 0 with KX + C ⪰ 0 and ⟨X, KX + C⟩ = 0, for a positive semidefinite K [k, k, k, k] and symmetric C.

    The minimizer of ½⟨X, KX⟩ + ⟨C, X⟩ over X ⪰ 0, by accelerated projected gradient; k = 1 in closed form.
    """
    k = room.shape[0]
    if k == 1:
        return np.maximum(-room / max(float(gram[0, 0, 0, 0]), 1e-300), 0.0)
    matrix = gram.reshape(k * k, k * k)
    lipschitz = float(np.linalg.eigvalsh(matrix)[-1])
    x = y = start
    momentum = 1.0
    for _ in range(300):
        slope = (matrix @ y.reshape(-1)).reshape(k, k) + room
        values, vectors = np.linalg.eigh(y - 0.5 * (slope + slope.T) / lipschitz)
        following = (vectors * np.maximum(values, 0.0)) @ vectors.T
        raised = 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
        y = following + (momentum - 1) / raised * (following - x)
        moved = float(np.linalg.norm(following - x))
        x, momentum = following, raised
        if moved <= 1e-6 * max(float(np.linalg.norm(x)), 1e-300):
            break
    return x


# --- the comparison ---


def compared(
    network: nn.Module, loss: Any, data: tuple[Tensor, Tensor], *, step_size: float, steps: int
) -> dict[str, Any] | Diverged:
    """Run the three from the same start and compare them window by window."""
    at = Landscape(network, loss, data)
    descent, losses = _descent(at, step_size, steps)
    if not losses[-1] <= _BLOW_UP * max(1.0, losses[0]):
        return Diverged(f"the loss was {losses[-1]:.3g} after {len(losses)} updates")
    smooth, smooth_losses = _descent(at, step_size / FINE, steps * FINE)
    smooth, smooth_losses = smooth[::FINE], smooth_losses[::FINE]
    central, moments = _central(at, step_size, steps)
    edge = next((index for index, moment in enumerate(moments) if moment.variance > 0), None)
    return {
        "stability_limit": 2 / step_size,
        **_curves(losses, smooth_losses, moments),
        **_distances(at.start, descent, smooth, central),
        **_sharpness_of(at, smooth, 2 / step_size),
        **_oscillation(descent, losses, smooth_losses, moments, edge),
        **_cubic(at, at.start),
    }


def _descent(at: Landscape, step_size: float, steps: int) -> tuple[Tensor, list[float]]:
    w, path, losses = at.start, [], []
    for _ in range(steps):
        value, gradient = at.slope(w)
        path.append(w)
        losses.append(value)
        if not value <= _BLOW_UP * max(1.0, losses[0]):
            break
        w = w - step_size * gradient
    return torch.stack(path), losses


def _central(at: Landscape, step_size: float, steps: int) -> tuple[Tensor, list[Moment]]:
    flow = CentralFlow(at, step_size)
    path, moments = [], []
    for _ in range(steps):
        path.append(flow.w)
        moments.append(flow.advance(1 / SUBSTEPS))
        for _ in range(SUBSTEPS - 1):
            flow.advance(1 / SUBSTEPS)
    return torch.stack(path), moments


def _windows(values: Any) -> Array:
    """Means over successive windows."""
    array = np.asarray(values, dtype=float)
    whole = len(array) // WINDOW * WINDOW
    means: Array = array[:whole].reshape(-1, WINDOW, *array.shape[1:]).mean(axis=1)
    return means


def _curves(losses: list[float], smooth: list[float], moments: list[Moment]) -> dict[str, Any]:
    count = len(losses) // WINDOW
    return {
        "flow_step": [WINDOW * (index + 0.5) for index in range(count)],
        "flow_descent_loss": _windows(losses).tolist(),
        "flow_predicted_loss": _windows([m.predicted for m in moments]).tolist(),
        "flow_bare_loss": _windows([m.loss for m in moments]).tolist(),
        "flow_gradient_loss": _windows(smooth).tolist(),
        "flow_central_sharpness": _windows([m.sharpness for m in moments]).tolist(),
        "flow_variance": _windows([m.variance for m in moments]).tolist(),
        "flow_critical": max(m.critical for m in moments),
        "central_peak": max(m.sharpness for m in moments),
    }


def _distances(start: Tensor, descent: Tensor, smooth: Tensor, central: Tensor) -> dict[str, Any]:
    """Distances between window means, over the distance that gradient descent has gone."""
    means = [_windows(path.numpy()) for path in (descent, smooth, central)]
    gone = np.linalg.norm(means[0] - start.numpy(), axis=1)
    to_gradient, to_central = (np.linalg.norm(means[0] - other, axis=1) / gone for other in means[1:])
    return {
        "flow_gradient_distance": to_gradient.tolist(),
        "flow_central_distance": to_central.tolist(),
        "gradient_distance": float(to_gradient[-1]),
        "central_distance": float(to_central[-1]),
    }


def _sharpness_of(at: Landscape, smooth: Tensor, limit: float) -> dict[str, Any]:
    """Sharpness along the gradient flow at the middles of the windows."""
    vector, found = None, []
    for w in smooth[WINDOW // 2 :: WINDOW][: len(smooth) // WINDOW]:
        at.step_to(w)
        top = extreme_eigenvalues(at.hessian(), rtol=1e-2, start=vector)
        vector = top.vectors[:, 0]
        found.append(float(top.values[0]))
    return {"flow_gradient_sharpness": found, "gradient_flow_peak": max(found), "peak_over_limit": max(found) / limit}


def _oscillation(
    descent: Tensor, losses: list[float], smooth: list[float], moments: list[Moment], edge: int | None
) -> dict[str, Any]:
    """Time averages over the second half of what follows the edge, measured over predicted."""
    names = ("predicted_loss_ratio", "bare_loss_ratio", "gradient_loss_ratio", "variance_ratio")
    if edge is None or edge > 0.8 * len(losses):
        return dict.fromkeys(names, Absent("the central flow did not reach the edge in time"))
    begin = (edge + len(losses)) // 2
    measured = float(np.mean(losses[begin:]))
    # On a cycle of two points ±σu about the center, successive iterates are 2σ apart.
    steps = (descent[begin + 1 :] - descent[begin:-1]).square().sum(dim=1)
    return {
        "predicted_loss_ratio": measured / float(np.mean([m.predicted for m in moments[begin:]])),
        "bare_loss_ratio": measured / float(np.mean([m.loss for m in moments[begin:]])),
        "gradient_loss_ratio": measured / float(np.mean(smooth[begin:])),
        "variance_ratio": float(steps.mean()) / 4 / max(float(np.mean([m.variance for m in moments[begin:]])), 1e-300),
    }


def _cubic(at: Landscape, w: Tensor) -> dict[str, Any]:
    """Two identities behind the flow, by finite differences at w.

    A displacement x along the top eigenvector u adds ½x²∇S to the gradient, on average over ±x; and ∇S is the gradient
    of the sharpness.
    """
    at.step_to(w)
    top = extreme_eigenvalues(at.hessian(), rtol=1e-8)
    u, scale = top.vectors[:, :1], _SHIFT
    slope, here = at.third(u)[0, 0], at.gradient
    mean = sum(at.slope(w + sign * scale * u[:, 0])[1] for sign in (1, -1)) / 2 - here
    direction = slope / slope.norm()
    values = []
    for sign in (1, -1):
        at.step_to(w + sign * scale * direction)
        values.append(float(extreme_eigenvalues(at.hessian(), rtol=1e-8, start=u[:, 0]).values[0]))
    return {
        "cubic_push": float(mean @ slope / slope.square().sum() / scale**2),
        "cubic_error": float((mean - 0.5 * scale**2 * slope).norm() / (0.5 * scale**2 * slope.norm())),
        "sharpness_slope": (values[0] - values[1]) / (2 * scale) / float(slope.norm()),
    }
