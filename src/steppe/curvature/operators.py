"""The Hessian and the Gauss–Newton matrix of a loss, as operators."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from steppe.core import Batches, DtypeError, KindError, Objective, grouped, same_random_states
from steppe.linalg import SymmetricOperator

from .autograd import AutogradCurvature
from .determinism import uses_batch_statistics
from .layout import ParameterOperator
from .options import ProblemOptions, refuse_unknown_options
from .selection import unwrapped
from .sources import ClosedSource, closed_source

Source = ClosedSource | AutogradCurvature
_FACTORS = {"Hessian": "hessian_product", "Gauss–Newton": "gauss_newton_product"}


class CurvatureOperator(ParameterOperator):
    """A curvature matrix of a loss in the parameters: `shape`, `dtype`, `device`, `@`, `to_dense()`, `products`.

    Args:
        source: What makes the products.
        kind: Which matrix: "Hessian", "Gauss–Newton" or another name.
        convention: Loss, reduction, samples and parameters.
        shapes: Shape of each variable by name.
        product: The product, if it is not the Hessian's or Gauss–Newton's; with a keyword `where`, a range of
            parameters, blocks are cheap.
        exact_diagonal: Computes the diagonal without products; None is the source's, for the two kinds.

    Attributes:
        source, kind, convention, exact_diagonal: As given.
        backend: How products are computed; it may change to a faster way that was seen to agree.
    """

    def __init__(
        self,
        source: Any,
        kind: str,
        convention: str,
        *,
        shapes: dict[str, torch.Size] | None = None,
        product: Callable[..., Tensor] | None = None,
        exact_diagonal: Callable[[], Tensor] | None = None,
    ) -> None:
        if shapes is None:
            named = zip(getattr(source, "names", []), getattr(source, "parameters", []), strict=True)
            shapes = {name: parameter.shape for name, parameter in named} or {"": torch.Size([source.size])}
        if product is None:
            product = getattr(source, _FACTORS[kind])
            exact_diagonal = getattr(source, "diagonal", None) if exact_diagonal is None else exact_diagonal
        blockwise = isinstance(source, AutogradCurvature) and _takes(product, "where")
        super().__init__(
            product,
            shapes,
            restrict=_Restricted(product) if blockwise else None,
            dtype=source.dtype,
            device=source.device,
            backend=source.backend,
            convention=convention,
        )
        self.kind = kind
        self.source: Any = source
        self.exact_diagonal = exact_diagonal

    def __matmul__(self, v: Any) -> Any:
        """As `ParameterOperator`."""
        image = super().__matmul__(v)
        self.backend = self.source.backend
        return image

    def _words(self) -> str:
        return f"{self.kind}, {self.convention}"

    def expect(self, products: int) -> None:
        """Announce how many products are to come, so that a faster way is set up when it pays.

        Forward mode and replayed linearisations are timed against double backward, and taken if they agree with it to
        rounding. Unless products are announced nothing is timed, and equal calls give equal bits.
        """
        if isinstance(self.source, AutogradCurvature):
            self.source.expected = products


class _Restricted:
    """Products of diagonal blocks from one that takes `where`."""

    def __init__(self, product: Callable[..., Tensor]) -> None:
        self.product = product

    def __call__(self, where: slice) -> Callable[[Tensor], Tensor]:
        return partial(self.product, where=where)


def _takes(function: Callable[..., Any], keyword: str) -> bool:
    try:
        return keyword in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def hessian(
    model: Any,
    loss: Any,
    data: Any,
    *,
    dtype: torch.dtype | None = None,
    **options: Unpack[ProblemOptions],
) -> CurvatureOperator:
    """The Hessian of L(θ) = (Σ_b w_b L_b(θ)) / Σ_b w_b, with L_b the loss on batch b of weight w_b.

    For a `ShallowReLU` with `SquaredLoss`, `CrossEntropy` or `Logistic`, and for a `DeepLinear` with `SquaredLoss`, the
    products are closed-form, in float64 (other dtypes are upcast exactly) unless `dtype` says otherwise. Any other
    module goes through double backward in its own dtype; graphs are retained for data in memory, as far as `memory`
    reaches, and rebuilt at every product for a loader. The operator belongs to the parameters at this moment.

    A loss with `reduction="sum"` is summed over batches instead. Attention, recurrence, sparse embeddings, weight
    normalisation and compiled modules run in a form that has second derivatives. Hooks on gradients and a surrounding
    autocast are left out: it is the Hessian of the loss itself. BatchNorm in training mode uses the statistics of each
    batch, and the convention says so.

    Args:
        model: A module, left exactly as found.
        loss: `loss(outputs, targets) -> scalar`, a mean over samples; None if the model returns an object with
            `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        dtype: Dtype of the closed-form products, float64 if None.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        The operator on flat vectors in the order of `model.parameters()` and on dictionaries of tensors by name; tied
        parameters count once.

    Raises:
        UnknownNameError: A pattern of `parameters` matches nothing.
        KindError: Model, loss or data is of the wrong kind.
        DtypeError, DeviceError: Model and data differ.
        ShapeError: Outputs and targets do not have the same shape.
        DataError: Data are empty or not finite.
        NotDeterministicError: Two evaluations differ; the module is named.
        ComputationError: Loss or outputs are not finite.

    Cost per product: closed form 2 passes over the n × m mask with d + 1 columns; double backward about 2 gradients.

    Example:
        >>> from steppe.core import SquaredLoss
        >>> from steppe.networks import ShallowReLU
        >>> network = ShallowReLU(1, 1, init="zeros")
        >>> x = torch.ones(4, 1, dtype=torch.float64)
        >>> hessian(network, SquaredLoss(), (x, 0 * x)).to_dense().diagonal().tolist()  # only the output bias acts
        [0.0, 0.0, 0.0, 1.0]
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
        >>> last = hessian(model, SquaredLoss(), (x, 0 * x), parameters="2.*")
        >>> last.names, list((last @ {"2.bias": torch.ones(1, dtype=torch.float64)}))
        (['2.weight', '2.bias'], ['2.weight', '2.bias'])
    """
    refuse_unknown_options("hessian", options, "dtype")
    return build(model, loss, data, kind="Hessian", dtype=dtype, **options)


def gauss_newton(
    model: Any, loss: Any, data: Any, *, dtype: torch.dtype | None = None, **options: Unpack[ProblemOptions]
) -> CurvatureOperator:
    """The Gauss–Newton matrix Σ_i J_iᵀ S_i J_i: the Hessian with the model replaced by its linearisation.

    J_i is the derivative of the outputs in the parameters and S_i the Hessian of the loss in the outputs, averaged as
    in `hessian`. It is positive semidefinite for a convex loss; for the squared loss and any model with an output
    bias its largest eigenvalue is at least 1. Arguments, errors and backends are those of `hessian`; a loss is needed,
    because outputs and loss must be told apart.
    """
    refuse_unknown_options("gauss_newton", options, "dtype")
    if loss is None:
        raise KindError("`gauss_newton` needs loss(outputs, targets), got None; pass a loss, or use `hessian`")
    return build(model, loss, data, kind="Gauss–Newton", dtype=dtype, **options)


def build(
    model: Any,
    loss: Any,
    data: Any,
    *,
    kind: str,
    dtype: torch.dtype | None = None,
    check: bool = True,
    closed_form: bool = True,
    **options: Unpack[ProblemOptions],
) -> CurvatureOperator:
    """The operator of one kind.

    Args:
        model: The module.
        loss: As in `hessian`.
        data: As in `hessian`.
        kind: "Hessian" or "Gauss–Newton".
        dtype: Dtype of closed-form products.
        check: Evaluate an ordinary module twice and compare.
        closed_form: Use one if it exists.
        **options: As in `ProblemOptions`.
    """
    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch module or an operator, got {type(model).__name__}; pass a module")
    model, parameters = unwrapped(model), options.get("parameters")
    target = Objective(loss, objective=options.get("objective"))
    with same_random_states():  # a loader draws a seed when it is iterated
        batches = Batches(data, weight=options.get("weight"), pairs=target.separate)
        closed = closed_source(model, loss, batches, dtype) if closed_form and parameters is None else None
        if closed is not None:
            shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
            words = batches.part_words or grouped(closed.samples)
            mean_of = f"mean of {words} {'sample' if closed.samples == 1 else 'samples'}"
            convention = _convention(target, mean_of, closed.size, closed.all_parameters)
            return CurvatureOperator(closed, kind, convention, shapes=shapes)
        source = AutogradCurvature(
            model, target, batches, parameters=parameters, memory=options.get("memory"), check=check
        )
    if dtype is not None and dtype != source.dtype:
        raise DtypeError(
            f"`dtype` must be the model's, {source.dtype}, for products by double backward, got {dtype}; "
            f"convert model and data with .to({dtype})"
        )
    if check:
        source.prepare("gradient" if kind == "Hessian" else "outputs")
    convention = _convention(target, source.weighing.words, source.size, source.all_parameters)
    if uses_batch_statistics(model):
        convention += ", batch statistics"
    return CurvatureOperator(source, kind, convention)


def as_operator(
    model: Any, loss: Any, data: Any, *, function: str, **options: Unpack[ProblemOptions]
) -> SymmetricOperator:
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
    return f"{objective.convention}, {mean_of}, {of} parameters"
