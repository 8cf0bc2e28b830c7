"""The Hessian and the Gauss–Newton matrix of a loss, as operators."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steppe.core import Batches, DtypeError, KindError, Objective, grouped, refuse_unknown_keywords
from steppe.linalg import SymmetricOperator
from steppe.networks import ShallowReLU

from .autograd import AutogradCurvature
from .closed_form import ClosedForm, has_closed_form

Kind = Literal["Hessian", "Gauss–Newton"]


class CurvatureOperator(SymmetricOperator):
    """A curvature matrix of a loss in the parameters: `shape`, `dtype`, `device`, `@`, `to_dense()`, `products`.

    Attributes:
        kind: Which matrix.
        convention: Loss, reduction, samples and parameters.
        backend: How products are computed.
        source: What makes the products.
        exact_diagonal: Computes the diagonal without products, or None.
    """

    def __init__(self, source: ClosedForm | AutogradCurvature, kind: Kind, convention: str) -> None:
        super().__init__(
            source.hessian_product if kind == "Hessian" else source.gauss_newton_product,
            source.size,
            dtype=source.dtype,
            device=source.device,
            backend=source.backend,
            convention=convention,
        )
        self.kind = kind
        self.source = source
        self.exact_diagonal: Callable[[], Tensor] | None = source.diagonal if isinstance(source, ClosedForm) else None


def hessian(
    model: Any,
    loss: Any,
    data: Any,
    *,
    weight: Any = None,
    objective: Callable[..., Any] | None = None,
    dtype: torch.dtype | None = None,
    **unknown: Any,
) -> CurvatureOperator:
    """The Hessian of L(θ) = (Σ_b w_b L_b(θ)) / Σ_b w_b, with L_b the loss on batch b of weight w_b.

    For a `ShallowReLU` with `SquaredLoss`, `CrossEntropy` or `Logistic` the products are closed-form, in float64
    (other dtypes are upcast exactly) unless `dtype` says otherwise. Any other module goes through double backward
    in its own dtype, over the parameters that require a gradient; graphs are retained for data in memory and
    rebuilt at every product for a loader. The operator belongs to the parameters at this moment.

    Args:
        model: A module, left exactly as found.
        loss: `loss(outputs, targets) -> scalar`, a mean over samples; None if the model returns an object with
            `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        weight: Of a batch: `"samples"` (default), `"tokens"` (labels other than −100; default where the model computes
            its own loss from `labels`) or a callable of the batch.
        objective: `objective(model, batch) -> scalar`, with loss None, for anything else.
        dtype: Dtype of the closed-form products, float64 if None.
        **unknown: Refused, with the keyword to use instead.

    Returns:
        The operator on flat vectors in the order of `model.parameters()`.

    Raises:
        KindError: Model, loss or data is of the wrong kind.
        DtypeError, DeviceError: Model and data differ.
        ShapeError: Outputs and targets do not have the same shape.
        DataError: Data are empty or not finite.
        NotDeterministicError: Two evaluations differ; the module is named.
        ComputationError: Loss or outputs are not finite.

    Cost per product: closed form 2 passes over the n × m mask with d + 1 columns; double backward about 2 gradients.

    Example:
        >>> from steppe.core import SquaredLoss
        >>> network = ShallowReLU(1, 1, init="zeros")
        >>> x = torch.ones(4, 1, dtype=torch.float64)
        >>> hessian(network, SquaredLoss(), (x, 0 * x)).to_dense().diagonal().tolist()  # only the output bias acts
        [0.0, 0.0, 0.0, 1.0]
    """
    refuse_unknown_keywords("hessian", unknown, ["weight", "objective", "dtype"])
    return build(model, loss, data, kind="Hessian", weight=weight, objective=objective, dtype=dtype)


def gauss_newton(
    model: Any, loss: Any, data: Any, *, weight: Any = None, dtype: torch.dtype | None = None, **unknown: Any
) -> CurvatureOperator:
    """The Gauss–Newton matrix Σ_i J_iᵀ S_i J_i: the Hessian with the model replaced by its linearisation.

    J_i is the derivative of the outputs in the parameters and S_i the Hessian of the loss in the outputs, averaged as
    in `hessian`. It is positive semidefinite for a convex loss; for the squared loss and any model with an output
    bias its largest eigenvalue is at least 1. Arguments, errors and backends are those of `hessian`; a loss is needed,
    because outputs and loss must be told apart.
    """
    refuse_unknown_keywords("gauss_newton", unknown, ["weight", "dtype"])
    if loss is None:
        raise KindError("`gauss_newton` needs loss(outputs, targets), got None; pass a loss, or use `hessian`")
    return build(model, loss, data, kind="Gauss–Newton", weight=weight, dtype=dtype)


def build(
    model: Any,
    loss: Any,
    data: Any,
    *,
    kind: Kind,
    weight: Any = None,
    objective: Callable[..., Any] | None = None,
    dtype: torch.dtype | None = None,
    check: bool = True,
) -> CurvatureOperator:
    """The operator of one kind; `check` evaluates an ordinary module twice and compares."""
    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch module or an operator, got {type(model).__name__}; pass a module")
    target = Objective(loss, objective=objective)
    batches = Batches(data, weight=weight, pairs=target.separate)
    source: ClosedForm | AutogradCurvature
    closed = isinstance(model, ShallowReLU) and has_closed_form(model, loss) and weight in (None, "samples")
    if isinstance(model, ShallowReLU) and closed and all(isinstance(batch, tuple) for batch in batches):
        source = ClosedForm(model, loss, batches, dtype=torch.float64 if dtype is None else dtype)
        mean_of = f"{grouped(source.samples)} {'sample' if source.samples == 1 else 'samples'}"
    else:
        source = AutogradCurvature(model, target, batches, check=check)
        if dtype is not None and dtype != source.dtype:
            raise DtypeError(
                f"`dtype` must be the model's, {source.dtype}, for products by double backward, got {dtype}; "
                f"convert model and data with .to({dtype})"
            )
        number = grouped(int(source.weight)) if source.weight == int(source.weight) else f"{source.weight:g}"
        mean_of = f"{number} {source.mean_of}" if source.weight != 1 else f"1 {source.mean_of.removesuffix('s')}"
    return CurvatureOperator(source, kind, _convention(target, mean_of, source.size, source.all_parameters))


def as_operator(model: Any, loss: Any, data: Any, *, function: str, **options: Any) -> SymmetricOperator:
    """The given operator, or the Hessian of (model, loss, data) with the options of `hessian`."""
    if isinstance(model, SymmetricOperator):
        given = [name for name, value in options.items() if value is not None]
        if loss is not None or data is not None or given:
            more = ", ".join(given) or "more"
            raise KindError(
                f"`{function}` takes one operator or (model, loss, data), got an operator and {more}; drop it"
            )
        return model
    if data is None:
        raise KindError(f"`{function}` needs (model, loss, data) or one operator, got no data; pass data=(x, y)")
    return build(model, loss, data, kind="Hessian", **options)


def kind_of(operator: SymmetricOperator) -> str:
    """What the matrix is: "Hessian", "Gauss–Newton" or "operator"."""
    return operator.kind if isinstance(operator, CurvatureOperator) else "operator"


def _convention(objective: Objective, mean_of: str, parameters: int, all_parameters: int) -> str:
    of = f"all {grouped(parameters)}"
    if parameters != all_parameters:
        of = f"{grouped(parameters)} of {grouped(all_parameters)}"
    return f"{objective.convention}, mean of {mean_of}, {of} parameters"
