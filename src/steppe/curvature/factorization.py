"""Sharpness, spectrum and trace of deep linear networks in the loss of matrix factorization.

The loss here is scale · ‖T − W X‖_F² with W = W_L ⋯ W_1: a sum, without a factor ½. scale = 1/(2n) gives `SquaredLoss`.
"""

import math
import time
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    Estimate,
    ShapeError,
    check_choice,
    check_inputs,
    check_integer,
    check_number,
    check_same_place,
    check_targets,
    grouped,
)
from steppe.linalg import Progress, remaining
from steppe.networks import layer_matrices, target_matrix

from .deep_linear import condensed
from .factorization_problem import FactorizationEigenvalues, FactorizationProblem, Method
from .factorization_space import magnitude

_METHODS = ("auto", "closed form", "dense", "lanczos")


class SharpnessBounds(NamedTuple):
    """Two bounds of the sharpness at a zero-residual minimizer.

    Args:
        lower: 2 scale · max_i ‖A_i‖² ‖B_i‖².
        upper: 2 scale · Σ_i ‖A_i‖² ‖B_i‖²; the sharpness itself is less unless top singular vectors are aligned.
    """

    lower: float
    upper: float


def deep_linear_sharpness(
    layers: Any,
    *,
    data: Float[Tensor, "n d"] | None = None,
    target: Any = None,
    scale: float = 1.0,
    rtol: float = 1e-10,
    method: Method = "auto",
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
) -> Estimate:
    """Sharpness of a deep linear network: the largest eigenvalue of the Hessian of scale · ‖T − W X‖_F².

    At zero residual it is 2 scale · λ_max(K), with K(Z) = Σ_i A_iA_iᵀ Z (B_iX)(B_iX)ᵀ on maps Z [d_L, d_0]. Three ways,
    the first that applies: (1) two bounds from norms of the layers meet, as at depth 2 without data and at balanced
    layers; (2) K is diagonalised, up to size 512; (3) Lanczos on K, whose vectors have d_L·min(n, d_0) entries instead
    of one per parameter. A random start misses the top eigenspace with probability 1/1000 at most.

    With a `target` whose residual is not zero, the Hessian has a second part R. If a bound of ‖R‖ is within rtol, as
    at every least-squares minimizer, the bound joins the error; otherwise Lanczos runs on exact Hessian products of
    all parameters. The convention says which.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first. Other dtypes are upcast to float64.
        data: Inputs x [n, d_0], one row per sample, so that X = xᵀ; None for X = I.
        target: T [d_L, d_0] without data, y [n, d_L] with them; None for W X itself: a zero-residual minimizer.
        scale: Factor > 0 of the squared error; 1/(2n) gives the house loss.
        rtol: Converged when the residual of the eigenpair is at most rtol·value.
        method: `"auto"`, or `"closed form"`, `"dense"` or `"lanczos"` alone.
        seed: Seed of the random start.
        max_products: Products allowed, 1000 if None.
        budget: Seconds allowed; None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected or None, text).

    Returns:
        The estimate; `error` is the residual ‖H V − θ V‖ of its eigenpair, which `deep_linear_eigenvalues` gives.

    Raises:
        KindError, ShapeError, DtypeError, DataError: Layers, data or target cannot be used.
        ParameterError: A number is out of range.
        NotComputedError: The closed form was asked for, and the bounds do not meet.
        ComputationError: The sharpness is beyond the range of float64.

    Cost: (1) norms of L layers. (3) 2 (L − 1) products of d_L × d_L with d_L × d_0 matrices per step, 30–70 steps.

    References: Kamber, Parhi, Sharpness of Minima in Deep Matrix Factorization (2025), for an exact expression; the
    operator form is our derivation, see the theory page.

    Example:
        >>> layers = [[[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [0.0, 1.0]]]
        >>> round(deep_linear_sharpness(layers).value, 10)  # the sum of norm products would be 68
        48.0
    """
    found = deep_linear_eigenvalues(
        layers,
        data=data,
        target=target,
        scale=scale,
        rtol=rtol,
        method=method,
        seed=seed,
        max_products=max_products,
        budget=budget,
        progress=progress,
    )
    return found.estimate(quantity="sharpness")


def deep_linear_eigenvalues(
    layers: Any,
    k: int = 1,
    *,
    data: Float[Tensor, "n d"] | None = None,
    target: Any = None,
    scale: float = 1.0,
    rtol: float = 1e-10,
    method: Method = "auto",
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
) -> FactorizationEigenvalues:
    """The k largest Hessian eigenvalues of a deep linear network, with eigenvectors layer by layer.

    If K Z = μ Z with ‖Z‖_F = 1, then V_i = A_iᵀ Z (B_iX)ᵀ / √μ is a unit eigenvector of 2 scale · μ. Arguments, errors
    and ways are those of `deep_linear_sharpness`; the closed form gives one eigenvalue only.

    Args:
        layers: As there.
        k: How many.
        data: As there.
        target: As there.
        scale: As there.
        rtol: As there.
        method: As there.
        seed: As there.
        max_products: As there.
        budget: As there.
        progress: As there.

    Returns:
        Values [k], descending, with flat vectors [p, k]; `layer_vectors(i)` gives a list of matrices.

    Raises:
        ParameterError: Fewer than k eigenvalues are above rounding (those at rounding have no meaningful vector).
        SteppeError: As `deep_linear_sharpness`.

    Example:
        >>> found = deep_linear_eigenvalues([[[2.0]], [[1.0]]])  # (2 − w_2 w_1)² at (2, 1)
        >>> round(float(found.values[0]), 10), [round(abs(float(v)), 4) for v in found.layer_vectors()]
        (10.0, [0.4472, 0.8944])
    """
    began = time.perf_counter()
    problem = _problem(layers, data, target, scale)
    count = check_integer("k", k, minimum=1, maximum=problem.size)
    rtol = check_number("rtol", rtol, above=0.0)
    check_choice("method", method, _METHODS)
    limits = {"max_products": max_products, "budget": remaining(budget, began), "progress": progress}
    found = problem.solve(
        count, rtol=rtol, method=method, seed=seed, convention=_convention(problem, data, scale), **limits
    )
    return replace(found, seconds=time.perf_counter() - began)


def deep_linear_spectrum(
    layers: Any,
    *,
    data: Float[Tensor, "n d"] | None = None,
    target: Any = None,
    scale: float = 1.0,
    max_size: int = 8192,
) -> Float[Tensor, " p"]:
    """All p Hessian eigenvalues of a deep linear network, descending, zeros included.

    At zero residual 2 scale times the eigenvalues of K, padded with zeros. Where all A_iA_iᵀ commute and all
    (B_iX)(B_iX)ᵀ too, as at depth 2 and for balanced layers, they are sums of products of theirs; otherwise the
    smaller of J Jᵀ [m, m], m = d_L·min(n, d_0), and Jᵀ J [p, p] is diagonalised. With a residual that is not zero the
    whole Hessian [p, p] is.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        data: Inputs x [n, d_0], or None for X = I.
        target: T [d_L, d_0] or y [n, d_L], or None for a zero-residual minimizer.
        scale: Factor > 0 of the squared error.
        max_size: Largest matrix that may be diagonalised.

    Returns:
        The eigenvalues [p]; each carries rounding of at most 10⁻¹² of the largest.

    Raises:
        ParameterError: The matrix would be larger than `max_size`.
        SteppeError: As `deep_linear_sharpness`.

    Cost: O(m³); 64 inputs and outputs (m = 4096) take 4 seconds on a core.

    Example:
        >>> deep_linear_spectrum([[[2.0]], [[1.0]]]).tolist()
        [10.0, 0.0]
    """
    problem = _problem(layers, data, target, scale)
    limit = check_integer("max_size", max_size, minimum=1)
    return problem.spectrum(limit)


def deep_linear_trace(layers: Any, *, data: Float[Tensor, "n d"] | None = None, scale: float = 1.0) -> float:
    """The trace of the Hessian, 2 scale · Σ_i ‖A_i‖_F² ‖B_iX‖_F²: exact at every point, whatever the residual.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        data: Inputs x [n, d_0], or None for X = I.
        scale: Factor > 0 of the squared error.

    Raises:
        SteppeError: As `deep_linear_sharpness`.

    Example:
        >>> deep_linear_trace([[[2.0]], [[1.0]]])
        10.0
    """
    space = _problem(layers, data, None, scale).space
    return magnitude(space.trace(), space.exponent, scale)


def deep_linear_sharpness_bounds(
    layers: Any, *, data: Float[Tensor, "n d"] | None = None, scale: float = 1.0
) -> SharpnessBounds:
    """Bounds of the sharpness at a zero-residual minimizer: the largest norm product and the sum of all.

    2 scale · max_i ‖A_i‖² ‖B_iX‖² ≤ λ_max ≤ 2 scale · Σ_i ‖A_i‖² ‖B_iX‖². The sum is the sharpness at depth 2 and for a
    scalar target, not in general.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        data: Inputs x [n, d_0], or None for X = I.
        scale: Factor > 0 of the squared error.

    Raises:
        SteppeError: As `deep_linear_sharpness`.
    """
    space = _problem(layers, data, None, scale).space
    products = space.norm_products()
    lower, upper = max(products), math.fsum(products)
    return SharpnessBounds(*(magnitude(value, space.exponent, scale) for value in (lower, upper)))


def deep_linear_hessian_product(
    layers: Any,
    directions: Any,
    target: Any = None,
    *,
    data: Float[Tensor, "n d"] | None = None,
    scale: float = 1.0,
) -> list[Float[Tensor, "_ _"]]:
    """The Hessian of scale · ‖T − W X‖_F² times a direction V_1, …, V_L, at any layers, minimizer or not.

    With E = T − W X and D = Σ_j A_j V_j B_j X, layer i is
    2 scale · [A_iᵀ D (B_iX)ᵀ − (∂A_i)ᵀ E (B_iX)ᵀ − A_iᵀ E (∂B_iX)ᵀ], where ∂ is the derivative along V.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.
        directions: V_1, …, V_L of their shapes.
        target: T [d_L, d_0] or y [n, d_L], or None for a zero-residual minimizer.
        data: Inputs x [n, d_0], or None for X = I.
        scale: Factor > 0 of the squared error.

    Raises:
        ShapeError: A direction does not have its layer's shape.
        SteppeError: As `deep_linear_sharpness`.

    Cost: 4 L matrix products.

    Example:
        >>> [v.item() for v in deep_linear_hessian_product([[[2.0]], [[1.0]]], [[[1.0]], [[0.0]]])]
        [2.0, 4.0]
    """
    problem = _problem(layers, data, target, scale)
    parts = layer_matrices(directions)
    if [part.shape for part in parts] != problem.space.shapes:
        raise ShapeError(
            f"`directions` must have the shapes of the layers, {[list(shape) for shape in problem.space.shapes]}, got "
            f"{[list(part.shape) for part in parts]}; pass one matrix per layer"
        )
    flat = torch.cat([part.reshape(-1) for part in parts])
    image = problem.hessian_product(flat[:, None], residual=problem.targets is not None)[:, 0]
    pieces = image.split([part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]


def _problem(layers: Any, data: Any, target: Any, scale: Any) -> FactorizationProblem:
    """Checked arguments, in float64, with min(n, d_0) columns instead of n."""
    matrices = layer_matrices(layers)
    scale = check_number("scale", scale, above=0.0)
    inputs, outputs = matrices[0].shape[1], matrices[-1].shape[0]
    if data is None:
        if target is None:
            return FactorizationProblem(matrices, None, None, scale)
        goal = check_targets(target_matrix(target), (outputs, inputs), name="target")
        check_same_place(matrices[0], goal, names=("target",))
        return FactorizationProblem(matrices, None, goal, scale)
    x = check_inputs(data, name="data", inputs=inputs).detach().to(torch.float64)
    check_same_place(matrices[0], x, names=("data",))
    if target is None:
        return FactorizationProblem(matrices, condensed(x, x[:, :0])[0], None, scale)
    y = check_targets(target, (len(x), outputs), name="target").detach().to(torch.float64)
    check_same_place(x, y, names=("target",))
    return FactorizationProblem(matrices, *condensed(x, y), scale)


def _convention(problem: FactorizationProblem, data: Tensor | None, scale: float) -> str:
    of = "‖T − W‖_F²" if data is None else f"‖T − W X‖_F² over {grouped(len(data))} samples"
    return f"{scale:g} · {of}, {problem.residual_words}, all {grouped(problem.size)} parameters"
