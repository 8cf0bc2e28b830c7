"""Flat networks that memorise: on a sphere one neuron per sample sees that sample alone, and curvature hardly notices.

A point x_i of a sphere of radius R is cut off from all others by the hyperplane x_iᵀx = R² − gap_i/2, where gap_i =
min_j x_iᵀ(x_i − x_j) = ½ min_j ‖x_i − x_j‖². The neuron w_i = (2a_i/gap_i) x_i with that threshold has the value a_i at
x_i and 0 at the others, and v_i a_i = y_i interpolates. There the second derivatives of the network have no part, and
the nonzero eigenvalues of the Hessian of (1/2n) Σ ‖r_i‖² are those of
(1/n)(11ᵀ ⊗ I + diag((1 + R²) v_i v_iᵀ + a_i² I)).

Source: Liang, Cloninger, Parhi, Wang, Generalization Below the Edge of Stability (2026), arXiv 2510.18120, the case of
the sphere; the explicit weights, the best split of y_i into v_i a_i and the case of patches are derived.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import optimize
from torch import Tensor

from steppe.core import DataError, Estimate, Fact, SquaredLoss, check_inputs, check_same_place, check_targets
from steppe.theory import sphere_interpolation_bound

from .patch_relu import PatchReLU
from .shallow_relu import ShallowReLU

_ON_SPHERE = 1e-6  # by how much norms may differ, relatively; float32 may differ by ten times its precision
_BLOCK = 1 << 23  # scalar products that are held at once


@dataclass(frozen=True, eq=False)
class SphereInterpolation:
    """A network that interpolates points of a sphere, with what is certain about it.

    Attributes:
        network: One neuron per sample whose label is not zero, each active on that sample alone. Its parameters ask
            for gradients: it is ready to be measured or trained on.
        sharpness: Largest eigenvalue of the Hessian of ½ mean squared error, with a bound on its error: rounding of
            the weights and of the outputs, and the secular equation's.
        bound: What theory promises for labels of this size.
        separation: The least gap between a sample and the rest, as a share of R²: 1 − the largest cosine.
        condition: Largest ‖w_i‖ R / a_i = 2 / separation, the factor by which rounding of the inputs is amplified:
            the interpolation error is about the precision times this times the largest label.
        error: Largest |f(x_i) − y_i|, measured.
    """

    network: ShallowReLU | PatchReLU
    sharpness: Estimate
    bound: Fact
    separation: float
    condition: float
    error: float

    def __str__(self) -> str:
        return (
            f"{self.network.width} neurons interpolate to {self.error:.2g}; {self.sharpness}; "
            f"at most {float(self.bound):.6g} by theory; condition {self.condition:.2g}"
        )


def sphere_interpolator(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], *, balanced: bool = True
) -> SphereInterpolation:
    """The explicit flat network that interpolates any labels of distinct points on a sphere around the origin.

    Args:
        x: Distinct points of equal norm R > 0, to a relative 1e-6 (float32: 1.2e-6).
        y: Any labels; a zero label needs no neuron.
        balanced: |v_i|² = ‖y_i‖/√(1 + R²), the flattest split of y_i = v_i a_i: λ_max ≤ 1 + 2√(1+R²) D/n for labels
            ‖y_i‖ ≤ D, which is 1 + 2√2 D/n on the unit sphere. Otherwise ‖v_i‖ = 1, the paper's: 1 + (D² + 1 + R²)/n.
            Both are equalities if all ‖y_i‖ = D and k = 1.

    Returns:
        The network and its certified sharpness. Cost O(n²d) time; memory O(nd) and blocks of scalar products.

    Raises:
        ShapeError: `x` is not [n, d] or `y` not [n, k].
        DtypeError: They differ in dtype, or are not floating.
        DataError: They are not finite, the points are not on a sphere, or two are equal or too close for the dtype.

    Example:
        >>> x = torch.eye(4, dtype=torch.float64)
        >>> found = sphere_interpolator(x, torch.ones(4, 1, dtype=torch.float64))
        >>> round(float(found.sharpness), 6)  # 1 + 2√2/4
        1.707107
    """
    check_inputs(x)
    labels = _labels(x, y)
    points = x.detach().double()
    radius = _radius(points, "the rows of `x`", x.dtype)
    gap, nearest = _gaps(points)
    _check_gaps(gap, nearest, radius, x, "the rows of `x`", "keep one of them")
    cut = _Cut(points, gap, labels, radius, 1, balanced=balanced)
    return cut.answer(ShallowReLU.from_weights(*cut.weights(x.dtype)), x, y)


def patch_sphere_interpolator(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n k"], patches: Any, *, balanced: bool = True, shared: bool = True
) -> SphereInterpolation:
    """The same for a network on patches: locality is no protection if every patch lies on a sphere of its own.

    Each sample has a neuron that is active on one of its patches alone, the one furthest from all others. Pooling over
    L patches divides what it does by L, so that v_i a_i = L y_i, and λ_max ≤ 1 + 2√(1+R²) D/(nL): the more patches, the
    flatter.

    Args:
        x: Inputs whose patches all have one norm R > 0.
        y: Any labels.
        patches: Indices [L, s], as for `PatchReLU`.
        balanced: The flattest split, as in `sphere_interpolator`; otherwise ‖v_i‖ = 1.
        shared: Whether positions share their weights. If so, a patch must differ from those at all positions,
            otherwise from those at its own.

    Returns:
        A `PatchReLU` and its certified sharpness. Cost O(n²L²s) time (n²Ls if not shared).

    Raises:
        ShapeError: As `sphere_interpolator`.
        DtypeError: As `sphere_interpolator`.
        ParameterError: A patch reaches outside the input.
        DataError: As `sphere_interpolator`, or a sample has no patch of its own.
    """
    check_inputs(x)
    labels = _labels(x, y)
    blank = PatchReLU(patches, 1, inputs=x.shape[1], init="zeros", device=x.device)
    seen = blank.extract(x.detach().double())
    radius = _radius(seen.flatten(0, 1), "the patches of `x`", x.dtype)
    gap, nearest = _patch_gaps(seen, shared=shared)
    rows, best = torch.arange(len(x), device=x.device), gap.argmax(dim=1)
    point, gap, nearest = seen[rows, best], gap[rows, best], nearest[rows, best]
    _check_gaps(gap, nearest, radius, point.to(x.dtype), "the best patches of rows", "drop one of these rows of `x`")
    cut = _Cut(point, gap, labels, radius, blank.positions, balanced=balanced)
    w, b, v = cut.weights(x.dtype)
    if not shared:
        w, b = _at_positions(w, b, best[cut.used], blank.positions)
    return cut.answer(PatchReLU.from_weights(blank.patches, w, b, v, inputs=x.shape[1]), x, y)


# --- points ---


def _labels(x: Tensor, y: Any) -> Tensor:
    k = y.shape[1] if isinstance(y, Tensor) and y.ndim == 2 else 1
    check_targets(y, (x.shape[0], k))
    check_same_place(x, y, names=("y",))
    return y.detach().double()


def _radius(points: Float[Tensor, "q s"], name: str, dtype: torch.dtype) -> float:
    """Their common norm."""
    norms = torch.linalg.vector_norm(points, dim=1)
    low, high = float(norms.min()), float(norms.max())
    if low == 0 or high - low > max(_ON_SPHERE, 10 * torch.finfo(dtype).eps) * high:
        raise DataError(
            f"{name} must lie on one sphere around the origin, got norms from {low:.8g} to {high:.8g}; divide each by "
            "its norm, or move the centre of the sphere to the origin"
        )
    return float(norms.mean())


def _gaps(points: Float[Tensor, "q s"]) -> tuple[Tensor, Tensor]:
    """The least pᵀ(p − z) over the other points z, and where it is attained; by difference, without cancellation."""
    q = len(points)
    gap, nearest = points.square().sum(dim=1), torch.zeros(q, dtype=torch.long, device=points.device)
    if q == 1:
        return gap, nearest  # nothing to be cut off from
    start = 0
    for block in points.split(max(1, _BLOCK // q)):
        at = torch.arange(len(block), device=points.device)
        cosines = block @ points.T
        cosines[at, start + at] = -math.inf
        found = cosines.argmax(dim=1)
        gap[start : start + len(block)] = (block * (block - points[found])).sum(dim=1)
        nearest[start : start + len(block)] = found
        start += len(block)
    return gap, nearest


def _patch_gaps(seen: Float[Tensor, "n l s"], *, shared: bool) -> tuple[Tensor, Tensor]:
    """Gaps [n, l] of all patches, to all others or to those at the same position, and the row of the nearest."""
    n, positions, size = seen.shape
    if shared:
        gap, nearest = _gaps(seen.reshape(-1, size))
        return gap.view(n, positions), nearest.view(n, positions) // positions
    found = [_gaps(seen[:, j]) for j in range(positions)]
    return torch.stack([gap for gap, _ in found], dim=1), torch.stack([nearest for _, nearest in found], dim=1)


def _at_positions(w: Tensor, b: Tensor, where: Tensor, positions: int) -> tuple[Tensor, Tensor]:
    """Unshared weights: each neuron lives at one position and is dead at the others."""
    own_w, own_b = w.new_zeros(positions, *w.shape), b.new_zeros(positions, *b.shape)
    neuron = torch.arange(len(where), device=w.device)
    own_w[where, neuron], own_b[where, neuron] = w[: len(where)], b[: len(where)]
    return own_w, own_b


def _check_gaps(gap: Tensor, nearest: Tensor, radius: float, like: Tensor, what: str, remedy: str) -> None:
    """Refuse equal points and points that rounding cannot tell apart."""
    worst = int(gap.argmin())
    least = 16 * (like.shape[-1] + 4) * torch.finfo(like.dtype).eps
    if float(gap[worst]) >= least * radius**2:
        return
    share = max(float(gap[worst]), 0.0) / radius**2
    raise DataError(
        f"{what} must differ by more than rounding, got {worst} and {int(nearest[worst])} with 1 − cosine {share:.2g}, "
        f"below {least:.2g}; {remedy}"
    )


# --- neurons ---


class _Cut:
    """One neuron per labelled sample, and what the curvature is made of."""

    def __init__(
        self, points: Float[Tensor, "n s"], gap: Float[Tensor, " n"], y: Float[Tensor, "n k"], radius: float,
        pooled: int, *, balanced: bool,
    ) -> None:  # fmt: skip
        self.pooled, self.y, self.radius, self.balanced = pooled, y, radius, balanced
        size = torch.linalg.vector_norm(y, dim=1)
        self.used = size > 0
        self.points, self.gap = points[self.used], gap[self.used]
        self.square = 1 + self.points.square().sum(dim=1)  # ‖(x_i, −1)‖²
        out = torch.sqrt(pooled * size[self.used] / self.square.sqrt()) if balanced else torch.ones_like(self.gap)
        self.out, self.value = out, pooled * size[self.used] / out  # |v_i| and a_i
        self.direction = y[self.used] / size[self.used, None]

    def weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """w, b and v; a dead neuron if no label asks for one."""
        if not self.used.any():
            s, k = self.points.shape[1], self.y.shape[1]
            return self.y.new_zeros(1, s).to(dtype), self.y.new_zeros(1).to(dtype), self.y.new_zeros(k, 1).to(dtype)
        scale = 2 * self.value / self.gap
        w = scale[:, None] * self.points
        b = (w * self.points).sum(dim=1) - self.value
        return w.to(dtype), b.to(dtype), (self.direction * self.out[:, None]).T.to(dtype)

    def answer(self, network: ShallowReLU | PatchReLU, x: Tensor, y: Tensor) -> SphereInterpolation:
        """The network with its certificate."""
        with torch.no_grad():
            error = float((network(x) - y).abs().max())
        separation = float(self.gap.min()) / self.radius**2 if len(self.gap) else 1.0
        labels = float(torch.linalg.vector_norm(self.y, dim=1).max())
        return SphereInterpolation(
            network=network,
            sharpness=self._sharpness(x.dtype),
            bound=sphere_interpolation_bound(
                len(self.y), labels, balanced=self.balanced, radius=self.radius, patches=self.pooled
            ),
            separation=separation,
            condition=2 / separation,
            error=error,
        )

    def _sharpness(self, dtype: torch.dtype) -> Estimate:
        n, pooled = len(self.y), self.pooled
        inner = self.square * self.out.square() / pooled**2
        outer = self.value.square() / pooled**2
        top = _top(n, inner.cpu().numpy(), outer.cpu().numpy(), self.direction.cpu().numpy())
        return Estimate(
            value=top,
            error=self._rounding(dtype) + (math.log2(n) + 16) * 2.0**-52 * top,
            error_kind="bound",
            reason="root of the secular equation",
            backend="secular equation",
            convention=f"{SquaredLoss.convention}, mean over n = {n}, all parameters",
            quantity="sharpness",
        )

    def _rounding(self, dtype: torch.dtype) -> float:
        """By how much rounding of weights and outputs in `dtype` can move an eigenvalue of the Hessian."""
        if not len(self.gap):
            return 0.0
        eps = torch.finfo(dtype).eps
        unit = (self.points.shape[1] + 4) * eps
        value = unit * self.value * (4 * self.radius**2 / self.gap + 1)  # of a_i, from ‖w_i‖ ‖x_i‖ + |b_i|
        residual = self.out * value / self.pooled + 4 * eps * self.out * self.value / self.pooled
        diagonal = (2 * self.value * value + value.square()) / self.pooled**2
        moved = diagonal + residual * self.square.sqrt() / self.pooled
        return float(moved.max()) / len(self.y)


def _top(n: int, inner: np.ndarray, outer: np.ndarray, direction: np.ndarray) -> float:
    """The largest eigenvalue of (1/n)(11ᵀ ⊗ I + diag(inner_i v̂_i v̂_iᵀ + outer_i I)), n samples and k outputs.

    With μ above all blocks D_i, the number of eigenvalues above μ is that of S(μ) = Σ_i (μ − D_i)⁻¹ above 1
    (Sylvester), and S decreases: the root of λ_max(S) = 1 is the answer, and lies from 1 to n above the largest block.
    Samples without a neuron have D_i = 0. O(nk²) per evaluation, about ten of them.
    """
    blocks = inner + outer
    highest = float(blocks.max(initial=0.0))
    rest = n - len(blocks)
    k = direction.shape[1]

    def excess(above: float) -> float:
        along = 1 / (above + (highest - blocks))
        across = 1 / (above + (highest - outer))
        s = rest / (above + highest) * np.eye(k)
        if k == 1:
            return float(s[0, 0] + along.sum()) - 1
        s += across.sum() * np.eye(k) + (direction.T * (along - across)) @ direction
        return float(np.linalg.eigvalsh(s)[-1]) - 1

    low, high = 1.0, float(n)
    if excess(low) <= 0:  # up to rounding; a single sample or one far above the others
        return (highest + low) / n
    if excess(high) >= 0:
        return (highest + high) / n
    return (highest + float(optimize.brentq(excess, low, high, xtol=1e-14, rtol=1e-15))) / n
