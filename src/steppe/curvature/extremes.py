"""Sharpness and other extreme eigenvalues."""

import time
from dataclasses import replace
from typing import Any, Literal, Unpack

from torch import Tensor

from steppe.core import Estimate, KindError
from steppe.linalg import Eigenvalues, Progress, SymmetricOperator, extreme_eigenvalues, remaining

from .deep_linear import DeepLinearForm
from .operators import CurvatureOperator, as_operator, kind_of
from .options import ProblemOptions, refuse_unknown_options

_KEYWORDS = ("rtol", "start", "seed", "max_products", "budget", "progress")


def eigenvalues(
    operator: Any,
    *more: Any,
    k: int | None = None,
    which: Literal["largest", "smallest"] = "largest",
    rtol: float = 1e-3,
    start: Tensor | None = None,
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
    **options: Unpack[ProblemOptions],
) -> Eigenvalues:
    """The k largest or smallest algebraic eigenvalues of a curvature operator, with vectors and residuals.

    Call it as `eigenvalues(operator, k)` or `eigenvalues(model, loss, data, k=k)`, which means the Hessian.

    Args:
        operator: An operator, or a model followed by loss and data.
        *more: k, or loss and data, or loss, data and k.
        k: How many, 1 if not given.
        which: `"largest"` or `"smallest"`, in the algebraic sense.
        rtol: A pair is converged when its residual is at most rtol·|value|.
        start: First vector [p] or block [p, s], such as earlier eigenvectors.
        seed: Seed of the random directions.
        max_products: Products allowed, 1000 if None.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected or None, text).
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        Values [k], requested end first, with vectors [p, k], residuals, gaps, the enclosures that a completeness check
        proved (`ends`), `converged` and the reason.

    Raises:
        KindError: The arguments are of another kind or number, or a keyword is not known.
        ParameterError: A number is out of range.

    Accuracy: see `steppe.linalg.extreme_eigenvalues`.
    """
    refuse_unknown_options("eigenvalues", options, "k", "which", *_KEYWORDS)
    began = time.perf_counter()
    loss, data = more[:2] if len(more) >= 2 else (None, None)
    count = more[-1] if len(more) in (1, 3) else k
    if len(more) > 3 or (len(more) in (1, 3) and k is not None):
        raise KindError(
            f"`eigenvalues` takes (operator, k) or (model, loss, data, k), got {1 + len(more)} positional arguments"
            f"{'' if k is None else ' and k'}; pass k once"
        )
    found = _search(
        as_operator(operator, loss, data, function="eigenvalues", **options),
        1 if count is None else count,
        which=which,
        rtol=rtol,
        start=start,
        seed=seed,
        max_products=max_products,
        budget=remaining(budget, began),
        progress=progress,
    )
    return replace(found, seconds=time.perf_counter() - began)


def sharpness(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    rtol: float = 1e-3,
    start: Tensor | None = None,
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """Sharpness λ_max(∇²L): the largest algebraic eigenvalue of the Hessian of the loss in all parameters.

    Its unit is loss per squared parameter, and it scales with the loss: for (1/n) Σ r² it is twice that of the house's
    squared loss (1/2n) Σ r². On part of the data it is biased upwards. Rescaling a ReLU neuron (w, b, v) →
    (cw, cb, v/c) changes it without changing the function.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        rtol: Converged when the residual is at most rtol·|value|.
        start: A vector [p] to start from, such as an earlier eigenvector; random if None.
        seed: Seed of the start vector.
        max_products: Products allowed, 1000 if None.
        budget: Seconds allowed, building the operator included; None for any number. What was found by then is
            returned, with `converged` False.
        progress: True for a bar on stderr, or a callable (products done, expected or None, text).
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        The estimate; `error` is the residual norm r = ‖H y − θ y‖. Some eigenvalue lies within r of the value. If the
        top eigenvalue is separated from the rest by a gap, the error is at most r²/gap (Kato–Temple), so that
        r ≤ 10⁻² θ gives 10⁻³ θ whenever the gap is at least 0.1 θ. The reason names that bound, the Ritz gap it
        rests on, and a number that no eigenvalue exceeds except with probability 1/1000 over the random start.

    Raises:
        SteppeError: As `hessian`.

    Cost: typically 5–20 products from a random start. Lanczos with full reorthogonalisation in float64; at most 32
    parameters are diagonalised.

    Example:
        A network none of whose neurons acts, with zero residuals, has sharpness 1, from the output bias alone.

        >>> import torch
        >>> from steppe.core import SquaredLoss
        >>> from steppe.networks import ShallowReLU
        >>> x = torch.ones(4, 3, dtype=torch.float64)
        >>> round(float(sharpness(ShallowReLU(3, 2, init="zeros"), SquaredLoss(), (x, 0 * x[:, :1]))), 12)
        1.0
    """
    refuse_unknown_options("sharpness", options, *_KEYWORDS)
    began = time.perf_counter()
    operator = as_operator(model, loss, data, function="sharpness", **options)
    found = _search(
        operator,
        1,
        rtol=rtol,
        start=start,
        seed=seed,
        max_products=max_products,
        budget=remaining(budget, began),
        progress=progress,
    )
    return replace(sharpness_estimate(found, kind_of(operator)), seconds=time.perf_counter() - began)


def _search(
    operator: SymmetricOperator,
    k: int,
    *,
    which: Literal["largest", "smallest"] = "largest",
    start: Tensor | None = None,
    **more: Any,
) -> Eigenvalues:
    """`extreme_eigenvalues`, or a closed form's own way to its largest ones where that is sound."""
    if isinstance(operator, CurvatureOperator) and isinstance(operator.source, DeepLinearForm):
        own = which == "largest" and start is None and operator.kind in ("Hessian", "Gauss–Newton")
        found = operator.source.largest(operator.kind, k, **more) if own else None
        if found is not None:
            return replace(found, convention=operator.convention)
    return extreme_eigenvalues(operator, k, which=which, start=start, **more)


def sharpness_estimate(found: Eigenvalues, kind: str) -> Estimate:
    """The largest eigenvalue, named after the matrix it belongs to."""
    names = {"Hessian": "sharpness", "Gauss–Newton": "largest Gauss–Newton eigenvalue"}
    return found.estimate(quantity=names.get(kind, "largest eigenvalue"))
