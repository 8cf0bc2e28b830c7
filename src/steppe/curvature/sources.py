"""Where products come from: a closed form if there is one, double backward otherwise."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from steppe.core import Batches

from .closed_form import ClosedForm, has_closed_form
from .deep_linear import DeepLinearForm, has_deep_linear_form


@runtime_checkable
class ClosedSource(Protocol):
    """Exact products of one network on one set of data, on flat vectors in the order of `named_parameters()`."""

    backend: str
    size: int
    all_parameters: int
    samples: int
    dtype: torch.dtype
    device: torch.device

    def hessian_product(self, block: Tensor) -> Tensor: ...  # noqa: D102 - said by the class

    def gauss_newton_product(self, block: Tensor) -> Tensor: ...  # noqa: D102 - said by the class

    def diagonal(self) -> Tensor: ...  # noqa: D102 - said by the class


class _Form(NamedTuple):
    applies: Callable[[nn.Module, Any], bool]
    make: Callable[[Any, Any, Batches, torch.dtype], ClosedSource]


_FORMS = (
    _Form(has_closed_form, lambda network, loss, batches, dtype: ClosedForm(network, loss, batches, dtype=dtype)),
    _Form(has_deep_linear_form, lambda network, loss, batches, dtype: DeepLinearForm(network, batches, dtype=dtype)),
)


def closed_source(model: nn.Module, loss: Any, batches: Batches, dtype: torch.dtype | None) -> ClosedSource | None:
    """The closed form for this network under this loss on batches (x, y) weighed by samples, in float64 if not asked.

    None if there is none.
    """
    form = next((form for form in _FORMS if form.applies(model, loss)), None)
    if form is None or batches.weight not in (None, "samples"):
        return None
    if not all(isinstance(batch, tuple) for batch in batches):
        return None
    return form.make(model, loss, batches, torch.float64 if dtype is None else dtype)
