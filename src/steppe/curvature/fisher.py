"""The Fisher information matrix of a model, in its three kinds."""

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from steppe.core import Batches, KindError, Objective, check_choice, check_integer
from steppe.networks import PatchReLU, ShallowReLU

from .closed_form import ClosedForm, NetworkProducts
from .likelihoods import FisherKind, fisher_map, no_likelihood, unlikely
from .operators import CurvatureOperator, build
from .options import ProblemOptions, refuse_unknown_options
from .output_space import OutputMap, is_known
from .selection import unwrapped

_Middle = Callable[[Tensor, Any], OutputMap]


def fisher(
    model: Any,
    loss: Any,
    data: Any,
    *,
    kind: FisherKind = "true",
    seed: int = 0,
    dtype: torch.dtype | None = None,
    **options: Unpack[ProblemOptions],
) -> CurvatureOperator:
    """The Fisher matrix (1/n) Σ_i E g_i g_iᵀ, with g_i the gradient of sample i's negative log-likelihood.

    The kinds differ in the labels: `"true"` takes the expectation over the model's own predictive distribution,
    `"sampled"` draws one label per sample from it (unbiased for the true one), `"empirical"` takes the labels of the
    data. The empirical one is no estimate of the true one unless the model fits the data. All are positive
    semidefinite.

    The predictive distribution is the one whose negative log-likelihood the loss is: softmax for cross-entropy,
    Bernoulli for `Logistic` and `nn.BCEWithLogitsLoss`, and for a squared loss c/2 ‖f − y‖² per row a normal one of
    variance 1/c, which is 1 for `SquaredLoss` and k/2 for `nn.MSELoss` with k outputs. For these losses the true
    Fisher matrix is the Gauss–Newton matrix. Soft targets must sum to one.

    What a sample is follows the loss, so that each has one negative log-likelihood: a row of the outputs for squared
    losses and `Logistic`, a position (a token that is not ignored) for cross-entropy, an entry for
    `nn.BCEWithLogitsLoss`. With `reduction="sum"` the matrix is the sum over samples. Tokens of one sequence count as
    samples of their own: the empirical matrix then differs from the one of gradients summed per sequence.

    Args:
        model: A module, left exactly as found.
        loss: `loss(outputs, targets) -> scalar`. Kind `"empirical"` takes any loss that is a mean over rows; the others
            need one of the losses above, without class weights and label smoothing.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        kind: Which one.
        seed: Seed of the labels of kind `"sampled"`, purpose `curvature.fisher`. A label depends on the seed and the
            sample, not on its place in the data, so that batching and order do not matter; equal samples get equal
            labels.
        dtype: As in `hessian`.
        **options: `parameters`, `weight` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        The operator on flat vectors; batches combine as in `hessian`.

    Raises:
        KindError: The loss is no negative log-likelihood that is known, or no mean over rows.
        SteppeError: As `hessian`.

    Cost per product: as Gauss–Newton. No gradient of a single sample is formed.

    Example:
        One sample x = 2 and the model f = w x + β: the Fisher matrix is (x, 1) (x, 1)ᵀ, whatever the label.

        >>> from steppe.core import SquaredLoss
        >>> model = torch.nn.Linear(1, 1).double()
        >>> x = torch.full((1, 1), 2.0, dtype=torch.float64)
        >>> fisher(model, SquaredLoss(), (x, x)).to_dense().tolist()
        [[4.0, 2.0], [2.0, 1.0]]
    """
    refuse_unknown_options("fisher", options, "kind", "seed", "dtype")
    check_choice("kind", kind, ["true", "empirical", "sampled"])
    check_integer("seed", seed, minimum=0)
    if loss is None or options.get("objective") is not None:
        got = "None" if loss is None else "an objective"
        raise KindError(f"`fisher` needs loss(outputs, targets), got {got}; pass a loss, or use `hessian`")
    objective = Objective(loss)
    if kind != "empirical" and (not is_known(loss) or unlikely(loss)):
        raise no_likelihood(loss, unlikely(loss))
    base = build(model, loss, data, kind="Gauss–Newton", dtype=dtype, closed_form=_closed(model, kind), **options)
    convention = f"{base.convention}; {kind} Fisher"
    if kind == "true":
        product, diagonal = base.source.gauss_newton_product, base.exact_diagonal
        return CurvatureOperator(
            base.source, "Fisher", convention, shapes=base.shapes, product=product, exact_diagonal=diagonal
        )

    def middle(outputs: Tensor, batch: Any) -> OutputMap:
        return fisher_map(objective, outputs, batch, kind=kind, seed=seed)

    product = _product(base, unwrapped(model), objective, data, middle)
    return CurvatureOperator(base.source, "Fisher", convention, shapes=base.shapes, product=product)


def _closed(model: Any, kind: FisherKind) -> bool:
    """The form of deep linear networks knows only the squared loss's own curvature."""
    return kind == "true" or isinstance(model, ShallowReLU | PatchReLU)


def _product(
    base: CurvatureOperator, network: Any, objective: Objective, data: Any, middle: _Middle
) -> Callable[..., Tensor]:
    """Products of Σ Jᵀ F J: through the closed form of J where there is one, else by double backward."""
    source = base.source
    if isinstance(source, ClosedForm):
        # A loader may shuffle: samples and targets are read together, once.
        x, y = Batches(data).joined()
        closed = ClosedForm(network, objective.loss, Batches((x, y)), dtype=base.dtype)
        weigh = middle(closed.products.outputs, (x, y.to(base.dtype) if y.is_floating_point() else y))
        return partial(_through, closed.products, weigh)

    def product(block: Tensor, where: slice = slice(None)) -> Tensor:
        image: Tensor = source.outer_product(block, middle, where)
        return image

    return product


def _through(products: NetworkProducts, weigh: OutputMap, block: Tensor) -> Tensor:
    with torch.no_grad():
        moved = products.jvp(block)
        return products.vjp(torch.stack([weigh(u.contiguous()) for u in moved.unbind(dim=2)], dim=2))
