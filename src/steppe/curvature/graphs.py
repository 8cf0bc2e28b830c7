"""Derivative graphs of one chunk of data, and products along them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import ComputationError, InputError, Objective

from .replay import Choice
from .untouched import private_buffers

Middle = Callable[[Tensor, Any], Callable[[Tensor], Tensor]]
Parameters = Sequence[Tensor]


class GradientGraph:
    """The gradient of one chunk's loss with its graph: Hessian products by double backward.

    Args:
        model: The module.
        objective: What is differentiated.
        batch: The chunk.
        parameters: The variables.

    Attributes:
        value: The loss.
        gradient: The gradient, one tensor or None per variable.
        choice: A faster way, once it was seen to agree, or None.
        writes: Whether going backward writes into buffers, as a checkpointed layer may that runs forward again.
    """

    def __init__(self, model: nn.Module, objective: Objective, batch: Any, parameters: Parameters) -> None:
        self.parameters = parameters
        with private_buffers(model):
            value = objective.value(model, batch)
            _check_graph(value, "loss")
            before = _versions(model)
            with differentiating():
                gradient = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
            self.writes = _versions(model) != before
        self.value = float(value.detach())
        self.choice: Choice | None = None
        self.gradient = [None if part is None else _dense(part) for part in gradient]

    @property
    def heads(self) -> Sequence[Tensor | None]:
        """What products differentiate."""
        return self.gradient

    def product(self, direction: Sequence[Tensor], where: slice = slice(None)) -> list[Tensor]:
        """H δ; `where` restricts direction and image to a diagonal block."""
        if self.choice is not None and self.choice.chosen is not None and where == slice(None):
            return list(self.choice.chosen(direction))
        return self.reference(direction, where)

    def reference(self, direction: Sequence[Tensor], where: slice = slice(None)) -> list[Tensor]:
        """H δ by double backward."""
        return vjp(self.gradient[where], self.parameters[where], direction)

    def product_block(self, directions: Sequence[Tensor], where: slice = slice(None)) -> list[Tensor]:
        """H δ for several δ at once, stacked along the first axis of every tensor."""
        return vjp_block(self.gradient[where], self.parameters[where], directions)


class OutputGraph:
    """The outputs on one chunk with the graph of their pullback: J δ and Jᵀ u.

    Jᵀu is linear in u, so its derivative in u, pulled back along δ, is J δ.

    Args:
        model: The module.
        objective: Tells inputs from targets.
        batch: The chunk.
        parameters: The variables.

    Attributes:
        outputs: What the model makes of the chunk, with its graph.
        value: The loss.
        writes: As in `GradientGraph`.
        choice: A faster way to J δ, once it was seen to agree, or None.
        forward_seconds: What the forward pass took.
    """

    def __init__(self, model: nn.Module, objective: Objective, batch: Any, parameters: Parameters) -> None:
        self.parameters, self.batch = parameters, batch
        began = time.perf_counter()
        with private_buffers(model):
            self.outputs = objective.outputs(model, batch)
            self.forward_seconds = time.perf_counter() - began
            _check_graph(self.outputs, "output")
            self._dummy = torch.zeros_like(self.outputs, requires_grad=True)
            before = _versions(model)
            with differentiating():
                pulled = torch.autograd.grad(
                    self.outputs, parameters, self._dummy, create_graph=True, allow_unused=True
                )
            self.writes = _versions(model) != before
        self.value = float(objective.compare(self.outputs.detach(), batch))
        self._pulled = [None if part is None else _dense(part) for part in pulled]
        self.choice: Choice | None = None
        self._map: tuple[Middle, Callable[[Tensor], Tensor]] | None = None

    def map_of(self, middle: Middle) -> Callable[[Tensor], Tensor]:
        """The symmetric map that `middle` gives on these outputs; made once."""
        if self._map is None or self._map[0] != middle:
            self._map = middle, middle(self.outputs.detach(), self.batch)
        return self._map[1]

    @property
    def heads(self) -> Sequence[Tensor | None]:
        """What products differentiate."""
        return self._pulled

    def jvp(self, direction: Sequence[Tensor], where: slice = slice(None)) -> Tensor:
        """J δ, of the shape of the outputs."""
        if self.choice is not None and self.choice.chosen is not None and where == slice(None):
            moved: Tensor = self.choice.chosen(direction)
            return moved
        return self.reference(direction, where)

    def reference(self, direction: Sequence[Tensor], where: slice = slice(None)) -> Tensor:
        """J δ by double backward."""
        return vjp(self._pulled[where], [self._dummy], direction)[0]

    def product(
        self, direction: Sequence[Tensor], middle: Callable[[Tensor], Tensor], where: slice = slice(None)
    ) -> list[Tensor]:
        """Jᵀ S J δ."""
        return vjp([self.outputs], self.parameters[where], [middle(self.jvp(direction, where))])

    def product_block(
        self, directions: Sequence[Tensor], middle: Callable[[Tensor], Tensor], where: slice = slice(None)
    ) -> list[Tensor]:
        """Jᵀ S J δ for several δ at once, stacked along the first axis of every tensor."""
        (moved,) = vjp_block(self._pulled[where], [self._dummy], directions)
        return vjp_block([self.outputs], self.parameters[where], [torch.stack([middle(u) for u in moved])])


def vjp(outputs: Sequence[Tensor | None], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
    """Vector–Jacobian product on a retained graph; zeros where nothing depends."""
    pairs = [(o, v) for o, v in zip(outputs, vectors, strict=True) if o is not None and o.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    heads, weights = zip(*pairs, strict=True)
    with differentiating():
        grads = torch.autograd.grad(heads, inputs, weights, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(tensor) if g is None else _dense(g).detach() for tensor, g in zip(inputs, grads, strict=True)
    ]


def vjp_block(outputs: Sequence[Tensor | None], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
    """As `vjp`, for several vectors at once: every tensor of `vectors` and of the result has them along its first axis.

    Fast where kernels are small for the device; memory grows with the number of vectors.
    """
    pairs = [(o, v) for o, v in zip(outputs, vectors, strict=True) if o is not None and o.requires_grad]
    count = len(vectors[0])
    if not pairs:
        return [tensor.new_zeros(count, *tensor.shape) for tensor in inputs]
    heads, weights = zip(*pairs, strict=True)
    with differentiating():
        grads = torch.autograd.grad(heads, inputs, weights, retain_graph=True, allow_unused=True, is_grads_batched=True)
    return [
        tensor.new_zeros(count, *tensor.shape) if g is None else g.detach()
        for tensor, g in zip(inputs, grads, strict=True)
    ]


@contextmanager
def differentiating() -> Iterator[None]:
    """Errors of automatic differentiation, with their cause in words."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, ComputationError | torch.OutOfMemoryError):
            raise
        raise ComputationError(f"no second derivative of this model and loss: {_cause(str(error))}") from error


def _cause(said: str) -> str:
    first = said.strip().splitlines()[0] if said.strip() else "no message"
    for sign, cause in _CAUSES:
        if sign in said:
            return f"{cause} ({first})"
    return f"{first}; replace the operation that lacks one"


_CAUSES = (
    ("use_reentrant=True", "a layer is checkpointed with use_reentrant=True; pass use_reentrant=False there"),
    ("aot_autograd", "a part of the model is compiled; pass it without torch.compile"),
    (
        "modified by an inplace operation",
        "a tensor that the graph needs was changed in place; use the operation without _",
    ),
    ("nference tensor", "a tensor was made under torch.inference_mode(); make it outside, or clone it"),
)


def _check_graph(value: Tensor, name: str) -> None:
    if not value.requires_grad:
        raise InputError(
            f"the {name} must depend on a parameter that requires a gradient, got none; set requires_grad on one, and "
            "do not compute it under torch.no_grad() or from .detach() or .item()"
        )


def _versions(model: nn.Module) -> list[int]:
    return [buffer._version for buffer in model.buffers()]


def refuse_once_differentiable(heads: Sequence[Tensor | None]) -> None:
    """Refuse a graph through a function marked @once_differentiable: torch would give a wrong number without a word.

    Cost: a walk over the nodes of the graph, microseconds each.
    """
    left = [head.grad_fn for head in heads if head is not None and head.grad_fn is not None]
    seen = set(left)
    while left:
        node = left.pop()
        if node.name().rpartition("::")[2] in ("Error", "DelayedError"):
            raise ComputationError(
                "no second derivative of this model and loss: a function in it is marked @once_differentiable, and its "
                "Hessian would come out wrong and not symmetric; write its backward pass in differentiable operations"
            )
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                left.append(following)


def _dense(tensor: Tensor) -> Tensor:
    return tensor.to_dense() if tensor.is_sparse else tensor
