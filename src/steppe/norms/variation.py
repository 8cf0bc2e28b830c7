"""Path norm, variation norm and their data-weighted and vector-valued relatives, for shallow ReLU networks."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.activations import activation_weight, half_space_moments
from steppe.core import ParameterError, check_choice
from steppe.networks import ShallowReLU

from .canonical import canonicalize, check_network, row_norms


def path_norm(network: ShallowReLU) -> float:
    """Σ_k ‖w_k‖₂ ‖v_k‖₂, without biases and without the skip connection; float64.

    Invariant under rescaling (w, b, v) → (cw, cb, v/c), c > 0, and permutation; homogeneous of degree one in v. It is
    what weight decay on (w, v) penalises at balance, and an upper bound on `variation_norm`. O(m(d + k)).

    Args:
        network: A shallow ReLU network.

    Raises:
        KindError: It is no `ShallowReLU`.
    """
    check_network(network)
    w, v = network.w.detach().double(), network.v.detach().double()
    return float((row_norms(w) * row_norms(v.T)).sum())


def variation_norm(network: ShallowReLU, *, radius: float | None = None, tolerance: float = 1e-12) -> float:
    """The variation seminorm of the function: second-order total variation in the Radon domain.

    Σ_j ‖a_j‖₂ over the distinct hyperplanes of the canonical form (`canonicalize`), so that two parametrisations of one
    function have the same norm; affine functions have norm zero. For one output it is the RTV² seminorm, in one
    dimension ∫|f''|. With several outputs neurons are shared and coefficients measured in ℓ². With a radius, the
    seminorm on the ball {‖x‖ ≤ R}: hyperplanes that miss its interior do not count.

    Args:
        network: A shallow ReLU network.
        radius: R > 0, or None for all of R^d.
        tolerance: Of `canonicalize`.

    Raises:
        KindError: It is no `ShallowReLU`.
        ParameterError: The radius is not positive.

    Example:
        >>> kink = ShallowReLU.from_weights([[2.0], [-2.0]], [0.0, 0.0], [1.0, -1.0])  # 2φ(x) − 2φ(−x) = 2x
        >>> variation_norm(kink), path_norm(kink)
        (0.0, 4.0)
    """
    return path_norm(canonicalize(network, radius=radius, tolerance=tolerance))


def weighted_variation_norm(
    network: ShallowReLU,
    x: Float[Tensor, "n d"],
    *,
    radius: float | None = None,
    reduced: bool = True,
    tolerance: float = 1e-12,
) -> float:
    """The data-weighted variation seminorm |f|_{V_g}, or the larger sum that flatness controls.

    * `reduced=True`: Σ_j ‖a_j‖₂ g(u_j, t_j) over the distinct hyperplanes of the canonical form on the ball of the
      radius, g = `activation_weight` with both sides. A property of the function (for one output): rescaling,
      permuting, splitting and flipping neurons do not change it.
    * `reduced=False`: Σ_k ‖v_k‖₂ s_k √(p_k² + ‖M_k‖²) with the mean activation s_k = (1/n) Σ_i φ(w_kᵀx_i − b_k) and
      p_k, M_k the fraction and unnormalised mean of the samples that activate neuron k. For w_k ≠ 0 the k-th term is
      ‖v_k‖ ‖w_k‖ g̃(u_k, t_k): one-sided, nothing merged, nothing dropped (also not neurons that are active everywhere
      or constant). A property of the parametrisation, invariant under rescaling, and never smaller than the reduced
      one. This is the sum that the proof of the flatness theorem bounds by λ_max/2 − 1/2 + … .

    Cost O(nmd) and the canonical form. Source: Liang et al. (NeurIPS 2025), Section 3; merging modulo sign derived.

    Args:
        network: A shallow ReLU network.
        x: The inputs that define the weight.
        radius: R > 0 of the ball for the reduced form; None is max ‖x_i‖. It has no part in the unreduced form.
        reduced: Which of the two.
        tolerance: Of `canonicalize`.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: `x` is not [n, d].
        DtypeError: Network and inputs differ in dtype.
        ParameterError: A radius is given for the unreduced form.
    """
    check_network(network).check(x)
    data = x.detach().double()
    if not reduced:
        if radius is not None:
            raise ParameterError(
                f"`radius` must be None with reduced=False, got {radius:g}; the unreduced sum drops no neuron"
            )
        active, _ = half_space_moments(data, network.w.detach().double(), network.b.detach().double())
        return float((row_norms(network.v.detach().double().T) * active.weight).sum())
    reach = float(torch.linalg.vector_norm(data, dim=1).max()) if radius is None else radius
    if radius is None and reach == 0:  # all samples at the origin: no hyperplane meets the ball's interior
        return 0.0
    form = canonicalize(network, radius=reach, tolerance=tolerance)
    sizes = row_norms(form.v.detach().T)
    live = sizes > 0
    weights = activation_weight(data, form.w.detach()[live], form.b.detach()[live])
    return float((sizes[live] * weights).sum())


def vector_variation_norm(network: ShallowReLU, *, biases: Literal["penalized", "free"] = "penalized") -> float:
    """The vector-valued variation norm of a network with several outputs, neurons shared among them.

    * `"penalized"`: Σ_k ‖v_k‖₂ ‖(w_k, b_k)‖₂, the convention of the authors' code, where the bias is one more input
      weight. The sum over this parametrisation; it is an upper bound on the norm of the function.
    * `"free"`: Σ_j ‖a_j‖₂ over distinct hyperplanes, the same as `variation_norm`.

    Output bias and skip connection are not counted. Source: Shenouda et al. (JMLR 2024).

    Args:
        network: A shallow ReLU network.
        biases: Whether biases count.

    Raises:
        KindError: It is no `ShallowReLU`.
        UnknownNameError: `biases` is neither.
    """
    check_choice("biases", biases, ["penalized", "free"])
    if biases == "free":
        return variation_norm(network)
    check_network(network)
    w, b, v = (p.detach().double() for p in (network.w, network.b, network.v))
    return float((row_norms(torch.cat([w, b[:, None]], dim=1)) * row_norms(v.T)).sum())


def radon_bv_norm(network: ShallowReLU, *, tolerance: float = 1e-12) -> float:
    """The full norm of the Radon BV² space: Σ_outputs RTV²(f) + |f(0)| + Σ_r |f(e_r) − f(0)|.

    Unlike the seminorm `variation_norm` it also sees the affine part. With several outputs it is the sum over output
    coordinates, the convention for deep networks: Σ_j ‖a_j‖₁ and the affine terms of each. It bounds the Lipschitz
    constant. Source: Parhi and Nowak (2021, 2022).

    Args:
        network: A shallow ReLU network.
        tolerance: Of `canonicalize`.

    Raises:
        KindError: It is no `ShallowReLU`.
    """
    form = canonicalize(network, tolerance=tolerance)
    with torch.no_grad():
        corners = torch.eye(form.inputs, dtype=form.w.dtype, device=form.w.device)
        values = form(torch.cat([torch.zeros_like(corners[:1]), corners]))
        seminorm = (row_norms(form.w)[None, :] * form.v.abs()).sum()
        return float(seminorm + values[0].abs().sum() + (values[1:] - values[0]).abs().sum())
