"""Curvature of any differentiable module, by double backward."""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    Batches,
    ComputationError,
    InputError,
    NotDeterministicError,
    Objective,
    SteppeError,
    check_integer,
    grouped,
    samples_of,
)

from .chunks import Chunk, choose_retained, cloned, free_memory, known_size, measure, pieces_needed, pieces_of, written
from .determinism import cause_of_difference, uses_batch_statistics
from .graphs import GradientGraph, Middle, OutputGraph, refuse_once_differentiable
from .output_space import loss_hessian
from .point import Point
from .replay import Choice, forward_mode, linearised_gradient, linearised_outputs
from .selection import select_parameters
from .untouched import private_buffers, stir, untouched
from .weighing import Weighing

GraphKind = Literal["gradient", "outputs"]
_ALL = slice(None)
_LONG = 150  # Hessian products, announced or made, that pay for recording one; it costs 10 to 20 and saves a fifth


class _Along(NamedTuple):
    """Products along a graph: of one direction, and of several stacked along the first axis of their tensors."""

    one: Callable[[Any, Sequence[Tensor]], list[Tensor]]
    several: Callable[[Any, Sequence[Tensor]], list[Tensor]]


class AutogradCurvature:
    """Hessian and Gauss–Newton products of a module, by double backward over its data.

    The gradient graph of every chunk of data in memory is built once and retained, as far as `memory` reaches; the
    others, and all of a loader, are rebuilt at every product. A batch whose graph is larger than a quarter of the
    memory is cut into chunks, if the loss of the whole is seen to be the weighted mean (or the sum) of theirs.

    Args:
        model: The module.
        objective: What is differentiated.
        batches: The data.
        parameters: The variables, as in `select_parameters`.
        memory: Bytes that retained graphs may take; None is half of what is free, and nothing for a loader. 0 retains
            nothing.
        check: Evaluate the loss twice and refuse if the values differ.

    Attributes:
        expected: How many products are announced; unless some are, only double backward is used, so that no number
            depends on a clock.
        names, parameters: The variables.
        size, all_parameters: p, and how many parameters the model has.
        loss: The loss at this point, None before it was evaluated.
        graph_bytes: Predicted bytes of all graphs.
        weighing: What each batch counts.
        backend: How products are computed.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        batches: Batches,
        *,
        parameters: str | Sequence[str] | None = None,
        memory: int | None = None,
        check: bool = True,
    ) -> None:
        self.model, self.objective, self.batches = model, objective, batches
        chosen = select_parameters(model, parameters)
        self.names, self.parameters = list(chosen), list(chosen.values())
        self.dtype, self.device = self.parameters[0].dtype, self.parameters[0].device
        self.sizes = [parameter.numel() for parameter in self.parameters]
        self.size = sum(self.sizes)
        self.all_parameters = sum(parameter.numel() for parameter in model.parameters())
        self.memory = None if memory is None else check_integer("memory", memory, minimum=0)
        self.check, self.expected = check, 0
        self.loss: float | None = None
        self.graph_bytes = 0.0
        self._of_loss: Middle = functools.partial(loss_hessian, objective)
        self._prepared: set[str] = set()
        self._chunks: list[Chunk] | None = None
        self.weighing = Weighing(batches, objective)
        self._reads_only: bool | None = None
        self._writes = False
        self._batched = self.device.type != "cpu"
        self._made = 0
        self._point = Point(model)
        with untouched(model):
            self._look()
        self.backend = self._words()

    def hessian_product(self, block: Float[Tensor, "p s"], where: slice = _ALL) -> Float[Tensor, "p s"]:
        """H δ for each column δ; `where` (of `parameters`) restricts to a diagonal block."""

        def one(graph: Any, direction: Sequence[Tensor]) -> list[Tensor]:
            return graph.product(direction, where)

        def several(graph: Any, directions: Sequence[Tensor]) -> list[Tensor]:
            return graph.product_block(directions, where)

        return self._product(block, "gradient", _Along(one, several), where)

    def gauss_newton_product(self, block: Float[Tensor, "p s"], where: slice = _ALL) -> Float[Tensor, "p s"]:
        """G δ for each column δ."""
        return self.outer_product(block, self._of_loss, where)

    def outer_product(self, block: Float[Tensor, "p s"], middle: Middle, where: slice = _ALL) -> Float[Tensor, "p s"]:
        """Σ_c (w_c/W) J_cᵀ S_c J_c δ for each column δ, with S_c = `middle(outputs, batch)` on chunk c.

        Args:
            block: The columns.
            middle: Gives, for detached outputs and their chunk, the symmetric map of that chunk's own mean. It may
                depend on the chunk's content only, because chunks are rebuilt.
            where: A range of parameters, for a diagonal block.
        """

        def one(graph: Any, direction: Sequence[Tensor]) -> list[Tensor]:
            return graph.product(direction, graph.map_of(middle), where)

        def several(graph: Any, directions: Sequence[Tensor]) -> list[Tensor]:
            return graph.product_block(directions, graph.map_of(middle), where)

        return self._product(block, "outputs", _Along(one, several), where)

    def prepare(self, kind: GraphKind) -> None:
        """Build the graphs that are retained, which also completes the comparison of two evaluations."""
        if kind not in self._prepared:
            with untouched(self.model):
                stir()
                self._build_retained(kind)

    # How products are made

    def _product(self, block: Tensor, kind: GraphKind, along: _Along, where: slice) -> Tensor:
        if self._point.left(self.model):
            raise ComputationError(
                "the model's parameters changed after the operator was built; build a new operator for the new point"
            )
        self.prepare(kind)
        directions = [self._split(column, where) for column in block.T]
        if where == _ALL:
            self._made += len(directions)
        images: list[Tensor] = []

        def add(scale: float, graph: Any) -> None:
            if self.expected and where == _ALL and graph.choice is not None:
                graph.choice.consider(graph.reference, max(self._made, self.expected), directions[0])
            found = self._images(graph, directions, along)
            for j, image in enumerate(found):
                if len(images) <= j:
                    images.append(image if scale == 1 else image.mul_(scale))
                else:
                    images[j].add_(image, alpha=scale)

        with untouched(self.model), private_buffers(self.model) if self._writes else nullcontext():
            self._visit(kind, add)
        total = torch.stack(images, dim=1)
        if not torch.isfinite(total.sum()) and torch.isfinite(block).all() and not torch.isfinite(total).all():
            raise ComputationError(
                "the second derivative is not finite here; look for a square root, norm or logarithm at zero"
            )
        self.backend = self._words(kind)
        return total

    def _images(self, graph: Any, directions: list[list[Tensor]], along: _Along) -> Iterator[Tensor]:
        """The image of each direction, flat: one by one on a CPU, where that is fastest and needs no memory."""
        at_once = self._at_once(graph) if len(directions) > 1 else 1
        for start in range(0, len(directions), at_once):
            some = directions[start : start + at_once]
            if len(some) > 1:
                stacked = [torch.stack(parts) for parts in zip(*some, strict=True)]
                try:
                    parts = along.several(graph, stacked)
                except (ComputationError, RuntimeError):  # an operation without a batched form, or too little memory
                    self._batched = False
                else:
                    yield from torch.cat([part.flatten(1) for part in parts], dim=1)
                    continue
            for direction in some:
                yield torch.cat([part.reshape(-1) for part in along.one(graph, direction)])

    def _at_once(self, graph: Any) -> int:
        """How many vectors go through a graph together, so that their intermediates fill half of the free memory."""
        if not self._batched or (graph.choice is not None and graph.choice.chosen is not None):
            return 1
        per_vector = max(self.graph_bytes / max(len(self._chunks or []), 1), 8.0 * self.size)
        return max(1, min(64, int(free_memory(self.device) / 2 / per_vector)))

    def _visit(self, kind: GraphKind, add: Callable[[float, Any], None]) -> None:
        """Call `add(scale, graph)` for every chunk; graphs that are not retained live no longer than that."""
        if self._chunks is not None:
            for chunk in self._chunks:
                graph = chunk.graphs.get(kind)
                if graph is not None:
                    add(chunk.scale, graph)
                else:
                    self._rebuilt(chunk, kind, add)
            return
        total = 0.0

        def watched(scale: float, graph: Any) -> None:
            nonlocal total
            total += scale * graph.value
            add(scale, graph)

        for batch in self.batches:
            weight = 1.0 if self.weighing.sums else self.batches.weigh(batch)
            watched(self.weighing.scale(weight), self._graph(kind, batch))
        if self.loss is not None:
            self._compare(self.loss, total)

    def _rebuilt(self, chunk: Chunk, kind: GraphKind, add: Callable[[float, Any], None]) -> None:
        graph = self._graph(kind, chunk.batch)
        if chunk.value is not None:
            self._compare(chunk.value, graph.value)
        add(chunk.scale, graph)

    def _graph(self, kind: GraphKind, batch: Any) -> GradientGraph | OutputGraph:
        make = GradientGraph if kind == "gradient" else OutputGraph
        return self._on(batch, lambda given: make(self.model, self.objective, given, self.parameters))

    def _on(self, batch: Any, function: Callable[[Any], Any]) -> Any:
        """The function of a batch, or of a copy if the model writes into its inputs, which the first call finds out."""
        given = batch if self._reads_only else cloned(batch)
        result = function(given)
        if self._reads_only is None:
            self._reads_only = not written(given)
        return result

    def _build_retained(self, kind: GraphKind) -> None:
        chunks = self._chunks or []
        for chunk in chunks:
            if not chunk.retained and self.check and chunk.value is not None:
                self._compare(chunk.value, self._value(chunk.batch))
            if chunk.retained:
                graph = self._graph(kind, chunk.batch)
                if chunk.value is not None:
                    self._compare(chunk.value, graph.value)
                if self.check and chunk is chunks[0]:
                    refuse_once_differentiable(graph.heads)
                self._writes = self._writes or graph.writes
                graph.choice = self._choice(graph, chunk.batch)
                chunk.graphs[kind] = graph
                chunk.value = graph.value
        if self._chunks and self.loss is None and all(chunk.value is not None for chunk in self._chunks):
            self.loss = sum(chunk.scale * (chunk.value or 0.0) for chunk in self._chunks)
        self._prepared.add(kind)

    def _choice(self, graph: GradientGraph | OutputGraph, batch: Any) -> Choice:
        """Other ways to the products of a retained graph."""
        of = self.model, self.objective, cloned(batch) if not self._reads_only else batch, self.names
        if isinstance(graph, GradientGraph):
            record = functools.partial(linearised_gradient, *of)
            return Choice(record=record, names=("", "replayed linearised gradient"), after=_LONG)
        return Choice(
            eager=functools.partial(forward_mode, *of),
            record=functools.partial(linearised_outputs, *of),
            names=("forward mode and retained pullback", "replayed linearised forward and retained pullback"),
            after=3,
            forward_seconds=graph.forward_seconds,
        )

    def _split(self, column: Tensor, where: slice) -> list[Tensor]:
        parts = column.contiguous().split(self.sizes[where])
        return [part.view_as(p) for part, p in zip(parts, self.parameters[where], strict=True)]

    # What the data are

    def _look(self) -> None:
        """Weights and losses of the batches, and which graphs are going to be retained."""
        held = self._hold()
        if held is None:
            losses = [self._stream() for _ in range(2 if self.check else 1)]
            if self.check:
                self._compare(*losses)
                self.loss = losses[0]
            return
        for chunk in held:
            chunk.scale = self.weighing.scale(chunk.scale)
            if self.check and chunk.value is None:
                chunk.value = self._value(chunk.batch)
        if self.check:
            self.loss = sum(chunk.scale * (chunk.value or 0.0) for chunk in held)
        self.graph_bytes = sum(chunk.size for chunk in held)
        free = free_memory(self.device)
        memory = float(free / 2 if self.memory is None else self.memory)
        pieces = pieces_needed(held, memory)
        self._chunks = [part for chunk, n in zip(held, pieces, strict=True) for part in self._cut(chunk, n)]
        _check_largest(self._chunks, free)
        choose_retained(self._chunks, memory)

    def _hold(self) -> list[Chunk] | None:
        """The data if their graphs may be retained: data in memory, or a loader that fits; scales are still weights."""
        if not (self.batches.in_memory or self.memory):
            return None
        held: list[Chunk] = []
        for batch in self.batches:
            size, value = known_size(self.model, batch), None
            if size is None:
                size, value = self._on(batch, lambda given: measure(self.model, self.objective, given))
            held.append(Chunk(batch, self.weighing.add(batch), size, value))
            if not self.batches.in_memory and sum(chunk.size for chunk in held) > (self.memory or 0):
                return None
        return held

    def _stream(self) -> float:
        """One pass over a loader: the loss if two evaluations are to be compared, and the weights anyway."""
        self.weighing = Weighing(self.batches, self.objective)
        total = 0.0
        for batch in self.batches:
            weight = self.weighing.add(batch)
            if self.check:
                total += weight * self._value(batch)
        return total * self.weighing.scale(1.0)

    def _value(self, batch: Any) -> float:
        with private_buffers(self.model), torch.no_grad():
            return float(self._on(batch, lambda given: self.objective.value(self.model, given)))

    def _cut(self, chunk: Chunk, pieces: int) -> list[Chunk]:
        """The chunk in pieces, if its loss is seen to be the weighted mean, or the sum, of theirs."""
        if pieces == 1 or uses_batch_statistics(self.model):
            return [chunk]
        try:
            weights = Weighing(self.batches, self.objective)
            parts = [Chunk(piece, weights.add(piece)) for piece in pieces_of(chunk.batch, pieces)]
            for part in parts:
                part.scale, part.value = weights.scale(part.scale), self._value(part.batch)
        except SteppeError:  # such as a piece without any label that counts
            return [chunk]
        whole = self._value(chunk.batch) if chunk.value is None else chunk.value
        together = sum(part.scale * (part.value or 0.0) for part in parts)
        if not self._close(whole, together):
            return [chunk]
        for part in parts:
            part.size = chunk.size * samples_of(part.batch) / samples_of(chunk.batch)
            part.scale *= chunk.scale
        return parts

    def _close(self, first: float, second: float) -> bool:
        return math.isclose(first, second, rel_tol=100 * torch.finfo(self.dtype).eps)

    def _compare(self, first: float, second: float) -> None:
        if not self._close(first, second):
            raise NotDeterministicError(cause_of_difference(self.model, self.batches, [first, second]))

    def _words(self, kind: GraphKind = "gradient") -> str:
        """The backend."""
        ways = [
            graph.choice.backend or "double backward"
            for graph in (chunk.graphs.get(kind) for chunk in self._chunks or [])
            if graph is not None and graph.choice is not None
        ]
        if any(way != "double backward" for way in ways):
            return ", ".join(dict.fromkeys(ways))
        if self._chunks is None or not any(chunk.retained for chunk in self._chunks):
            return "double backward, graphs rebuilt"
        kept = sum(chunk.retained for chunk in self._chunks)
        if kept < len(self._chunks):
            return f"double backward, {kept} of {len(self._chunks)} graphs retained"
        return "double backward"


def _check_largest(chunks: Sequence[Chunk], free: float) -> None:
    largest = max(chunks, key=lambda chunk: chunk.size)
    if largest.size > free:
        count = samples_of(largest.batch)
        raise InputError(
            f"the second derivatives of one batch of {grouped(count)} samples are predicted to take "
            f"{largest.size / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; pass smaller batches, or fewer samples by "
            "steppe.core.Part(data, samples)"
        )
