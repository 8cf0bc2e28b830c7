"""The Gauss–Newton matrix of any model on few samples, through the Gram matrix of its Jacobian's rows."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import InputError, ParameterError, grouped

from .autograd import AutogradCurvature
from .output_space import loss_hessian
from .untouched import private_buffers, untouched

_MEMORY = 2**30  # bytes that rows of the Jacobian may take at once
_COLUMNS = 8192  # parameters that are multiplied at once in float64
_ROWS = 4  # rows of the Jacobian that are compared with double backward


def output_count(source: AutogradCurvature) -> int:
    """How many outputs the model has on all its data: the rows of the Jacobian."""
    total = 0
    with untouched(source.model), torch.no_grad():
        for batch in source.batches:
            with private_buffers(source.model):
                total += source.objective.outputs(source.model, batch).numel()
    return total


def dual_eigenvalues(source: AutogradCurvature) -> Float[Tensor, " q"]:
    """All eigenvalues of Jᵀ S J that can be nonzero, descending: those of Cᵀ S C with J Jᵀ = C Cᵀ.

    Raises:
        ParameterError: The rows of the largest parameter do not fit into memory.
    """
    with untouched(source.model):
        batches = [(batch, source.batches.weigh(batch)) for batch in source.batches]
        graphs = [_Rows(source, batch) for batch, _ in batches]
        size = sum(rows.count for rows in graphs)
        gram = torch.zeros(size, size, dtype=torch.float64, device=source.device)
        for group in _groups(source.parameters, size):
            rows = torch.cat([part.of(group) for part in graphs])
            for start in range(0, rows.shape[1], _COLUMNS):
                wide = rows[:, start : start + _COLUMNS].to(torch.float64)
                gram.addmm_(wide, wide.T)
        middle = torch.zeros_like(gram)
        first = 0
        for part, (_, weight) in zip(graphs, batches, strict=True):
            block = part.loss_hessian() * source.weighing.scale(1.0 if source.weighing.sums else weight)
            middle[first : first + part.count, first : first + part.count] = block
            first += part.count
    return _nonzero(gram, middle)[: source.size]


def _nonzero(gram: Float[Tensor, "q q"], middle: Float[Tensor, "q q"]) -> Float[Tensor, " q"]:
    """Eigenvalues of S K for K = J Jᵀ positive semidefinite."""
    scales = middle.diagonal()
    if torch.equal(torch.diag(scales), middle) and bool((scales >= 0).all()):
        root = scales.sqrt()
        return torch.linalg.eigvalsh(root[:, None] * gram * root).flip(0)
    values, vectors = torch.linalg.eigh(gram)
    factor = vectors * values.clamp(min=0.0).sqrt()
    inner = factor.T @ middle @ factor
    return torch.linalg.eigvalsh(0.5 * (inner + inner.T)).flip(0)


def _groups(parameters: list[nn.Parameter], rows: int) -> Iterator[list[int]]:
    """Indices of parameters whose rows fit into memory together."""
    group: list[int] = []
    held = 0
    for index, parameter in enumerate(parameters):
        size = rows * parameter.numel() * parameter.element_size()
        if size > 8 * _MEMORY:
            raise ParameterError(
                f"`data` must be fewer samples for the exact spectrum, got {grouped(rows)} outputs against a parameter "
                f"of {grouped(parameter.numel())} entries ({size / 1e9:.3g} GB); pass fewer samples or use "
                "`spectral_density` of `gauss_newton`"
            )
        if group and held + size > _MEMORY:
            yield group
            group, held = [], 0
        group.append(index)
        held += size
    yield group


class _Rows:
    """Rows of the Jacobian on one batch: sample by sample where the samples are independent, else one by one."""

    def __init__(self, source: AutogradCurvature, batch: Any) -> None:
        self.source, self.batch = source, batch
        with private_buffers(source.model):
            self.outputs = source.objective.outputs(source.model, batch)
        if not self.outputs.requires_grad:
            raise InputError("the outputs must depend on a parameter that requires a gradient, got none; set one")
        self.count = self.outputs.numel()
        self.apart = self._independent()

    def of(self, group: list[int]) -> Float[Tensor, "q p"]:
        """The rows, in the parameters of these indices."""
        if self.apart:
            return self._by_sample(group)
        return self._one_by_one(group, range(self.count))

    def loss_hessian(self) -> Float[Tensor, "q q"]:
        """The Hessian of the batch's loss in its outputs."""
        outputs = self.outputs.detach()
        apply = loss_hessian(self.source.objective, outputs, self.batch)
        columns = []
        for index in range(self.count):
            unit = torch.zeros(self.count, dtype=outputs.dtype, device=outputs.device)
            unit[index] = 1
            columns.append(apply(unit.view_as(outputs)).reshape(-1).to(torch.float64))
        dense = torch.stack(columns)
        return 0.5 * (dense + dense.T)

    def _one_by_one(self, group: list[int], indices: Any) -> Float[Tensor, "r p"]:
        parameters = [self.source.parameters[i] for i in group]
        flat = self.outputs.reshape(-1)
        rows = []
        for index in indices:
            parts = torch.autograd.grad(flat[index], parameters, retain_graph=True, allow_unused=True)
            filled = [torch.zeros_like(q) if g is None else g for g, q in zip(parts, parameters, strict=True)]
            rows.append(torch.cat([part.detach().reshape(-1) for part in filled]))
        return torch.stack(rows)

    def _independent(self) -> bool:
        """Whether rows sample by sample exist and agree with plain ones."""
        batch, outputs = self.batch, self.outputs
        if not (isinstance(batch, tuple) and outputs.ndim >= 1 and len(outputs) == len(batch[0]) > 1):
            return False
        group = list(range(len(self.source.parameters)))
        step = max(self.count // _ROWS, 1)
        chosen = list(range(0, self.count, step))
        per_sample = self.count // len(outputs)
        try:
            samples = sorted({index // per_sample for index in chosen})
            found = self._by_sample(group, samples)
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError):
            return False  # vmap knows no rule for something in the model
        wanted = self._one_by_one(group, chosen)
        picked = [samples.index(index // per_sample) * per_sample + index % per_sample for index in chosen]
        scale = float(wanted.abs().max())
        return float((found[picked] - wanted).abs().max()) <= 1e3 * torch.finfo(wanted.dtype).eps * scale

    def _by_sample(self, group: list[int], samples: list[int] | None = None) -> Float[Tensor, "q p"]:
        source = self.source
        names = [source.names[i] for i in group]
        model, x = source.model, self.batch[0]
        chosen = {name: source.parameters[i].detach() for name, i in zip(names, group, strict=True)}
        x = x if samples is None else x[samples]

        def row_of(unit: Tensor, point: Tensor) -> dict[str, Tensor]:
            def output(values: dict[str, Tensor]) -> Tensor:
                made: Tensor = torch.func.functional_call(model, values, (point[None],))
                return made.reshape(-1)

            pull = torch.func.vjp(output, chosen)[1]
            found: dict[str, Tensor] = pull(unit)[0]
            return found

        count = self.count // len(self.outputs)
        rows = []
        with private_buffers(model):
            for unit in torch.eye(count, dtype=self.outputs.dtype, device=x.device):
                parts = torch.func.vmap(row_of, in_dims=(None, 0))(unit, x)
                rows.append(torch.cat([parts[name].detach().flatten(1) for name in names], dim=1))
        return torch.stack(rows, dim=1).flatten(0, 1)
