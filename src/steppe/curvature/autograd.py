"""Curvature of any differentiable module, by double backward."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    Batches,
    ComputationError,
    DtypeError,
    InputError,
    NotDeterministicError,
    Objective,
)

from .untouched import private_buffers, untouched

# A product along one direction, given and returned as one tensor per parameter.
_Product = Callable[[Sequence[Tensor]], list[Tensor]]


class AutogradCurvature:
    """Hessian and Gauss–Newton products of a module, by double backward over its batches.

    The gradient graph of every batch is built once and retained if the data lie in memory; for a loader it is
    rebuilt at every product.

    Args:
        model: The module; its parameters that require a gradient are the variables.
        objective: What is differentiated.
        batches: The data.
        check: Evaluate the loss twice and refuse if the values differ.
    """

    def __init__(self, model: nn.Module, objective: Objective, batches: Batches, *, check: bool = True) -> None:
        self.model, self.objective, self.batches = model, objective, batches
        self.parameters = _variables(model)
        self.dtype, self.device = self.parameters[0].dtype, self.parameters[0].device
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.all_parameters = sum(parameter.numel() for parameter in model.parameters())
        self.retained = batches.in_memory
        self.backend = "double backward" if self.retained else "double backward, graphs rebuilt"
        self._versions = [parameter._version for parameter in self.parameters]
        self._chunks: dict[str, list[tuple[float, _Product]]] = {}
        with untouched(model):
            values = [self._value() for _ in range(2 if check else 1)]
        self.weight, self.mean_of = values[0][1:]
        tolerance = 100 * torch.finfo(self.dtype).eps
        if any(not math.isclose(value, values[0][0], rel_tol=tolerance) or w != self.weight for value, w, _ in values):
            raise NotDeterministicError(_cause(model, [value for value, _, _ in values]))

    def hessian_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """H δ for each column δ; columns go one by one, which is fastest on a CPU and needs no extra memory."""
        return self._product(block, "Hessian", self._hessian_chunk)

    def gauss_newton_product(self, block: Float[Tensor, "p s"]) -> Float[Tensor, "p s"]:
        """G δ for each column δ."""
        return self._product(block, "Gauss–Newton", self._gauss_newton_chunk)

    def _product(
        self, block: Float[Tensor, "p s"], kind: str, chunk: Callable[[Any], _Product]
    ) -> Float[Tensor, "p s"]:
        if [parameter._version for parameter in self.parameters] != self._versions:
            raise ComputationError(
                "the model's parameters changed after the operator was built; build a new operator for the new point"
            )
        directions = [self._split(column) for column in block.T]
        total = torch.zeros_like(block)
        with untouched(self.model):
            try:
                if self.retained and kind not in self._chunks:
                    self._chunks[kind] = [(self.batches.weigh(batch), chunk(batch)) for batch in self.batches]
                rebuilt = ((self.batches.weigh(batch), chunk(batch)) for batch in self.batches)
                for weight, product in self._chunks[kind] if self.retained else rebuilt:
                    for j, direction in enumerate(directions):
                        image = torch.cat([part.reshape(-1) for part in product(direction)])
                        total[:, j].add_(image, alpha=weight / self.weight)
            except (RuntimeError, NotImplementedError) as error:
                if isinstance(error, ComputationError):
                    raise
                raise ComputationError(
                    f"no second derivative of this model and loss: {error}; replace the operation that lacks one"
                ) from error
        return total

    def _split(self, column: Float[Tensor, " p"]) -> list[Tensor]:
        sizes = [parameter.numel() for parameter in self.parameters]
        return [part.view_as(p) for part, p in zip(column.contiguous().split(sizes), self.parameters, strict=True)]

    def _value(self) -> tuple[float, float, str]:
        """The loss over all batches, the total weight, and what the mean is taken over."""
        total, weight, units = 0.0, 0.0, set()
        for batch in self.batches:
            w = self.batches.weigh(batch)
            with private_buffers(self.model):
                total += w * float(self.objective.value(self.model, batch).detach())
            weight += w
            weighing = self.batches.weighing(batch)
            units.add("a callable's weight" if callable(weighing) else weighing)
        return total / weight, weight, " and ".join(sorted(units))

    def _hessian_chunk(self, batch: Any) -> _Product:
        with private_buffers(self.model):
            value = self.objective.value(self.model, batch)
        if not value.requires_grad:
            raise InputError(
                "the loss must depend on a parameter that requires a gradient, got none; set requires_grad on one"
            )
        parameters = self.parameters  # not self: a cycle would keep the graph until the garbage is collected
        gradient = torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True)
        return lambda direction: _vjp(gradient, parameters, direction)

    def _gauss_newton_chunk(self, batch: Any) -> _Product:
        parameters = self.parameters
        with private_buffers(self.model):
            outputs = self.objective.outputs(self.model, batch)
        # Jᵀu is linear in u, so its derivative in u, pulled back along δ, is J δ.
        dummy = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, parameters, dummy, create_graph=True, allow_unused=True)
        point = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.objective.compare(point, batch), point, create_graph=True)

        def product(direction: Sequence[Tensor]) -> list[Tensor]:
            (moved,) = _vjp(pulled, [dummy], direction)
            (weighed,) = _vjp([slope], [point], [moved])
            return _vjp([outputs], parameters, [weighed])

        return product


def _vjp(outputs: Sequence[Tensor | None], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> list[Tensor]:
    """Vector–Jacobian product on a retained graph; zeros where nothing depends."""
    pairs = [(o, v) for o, v in zip(outputs, vectors, strict=True) if o is not None and o.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in inputs]
    heads, weights = zip(*pairs, strict=True)
    grads = torch.autograd.grad(heads, inputs, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(tensor) if g is None else g.detach() for tensor, g in zip(inputs, grads, strict=True)]


def _variables(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient; of one real floating dtype on one device."""
    variables = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not variables:
        raise InputError("`model` must have a parameter that requires a gradient, got none; call requires_grad_(True)")
    places = sorted({f"{parameter.dtype} on {parameter.device}" for parameter in variables})
    if not variables[0].is_floating_point() or len(places) > 1:
        raise DtypeError(
            f"`model` must have parameters of one real floating dtype on one device, got {', '.join(places)}; "
            "convert it with .to()"
        )
    return variables


def _cause(model: nn.Module, values: list[float]) -> str:
    random = (nn.modules.dropout._DropoutNd, nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
    suspects = [
        f"{name or 'model'}: {type(module).__name__}"
        for name, module in model.named_modules()
        if module.training
        and (isinstance(module, random) or getattr(module, "dropout", 0.0) not in (0, 0.0, None))
        and not isinstance(getattr(module, "dropout", 0.0), nn.Module)
    ]
    named = (
        f"random in training mode: `{'`, `'.join(suspects)}`; call model.eval()"
        if suspects
        else (
            "no random layer was found in training mode; a loader that shuffles or a stateful module may be the cause"
        )
    )
    return f"two evaluations of the loss must agree, got {' and '.join(f'{v:.10g}' for v in values)}; {named}"
