"""One model on its way to a smaller one: factors of its layers, neurons chosen, changes measured end to end."""

import copy
import fnmatch
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from steppe.core import Batches, ComputationError, DataError, KindError, UnknownNameError, check_integer

from .compression_calls import calls_of, in_double, output_of
from .compression_checks import check_fit, check_model, check_repeats, quiet, shortened
from .compression_features import layer_factor
from .compression_methods import Choice, choose
from .compression_operations import SERVED
from .compression_report import CompressedLayer, Compression, OutputChange
from .compression_selection import LayerProblem
from .compression_structure import Link, read_structure
from .compression_surgery import as_given, keep_neurons, private_copy

_TRIES = 8  # tolerances of one layer that are tried


class Work:
    """One model with its data: structure, factors and measured changes."""

    def __init__(self, model: nn.Module, data: Any, layers: str | Sequence[str] | None, memory: int) -> None:
        if not isinstance(model, nn.Module):
            raise KindError(f"`model` must be a torch.nn.Module, got {type(model).__name__}; pass a module")
        self.model, self.data = model, Batches(data, pairs=False)
        self.memory = check_integer("memory", memory, minimum=1)
        check_model(model)
        first = next(iter(calls_of(self.data)))
        check_fit(model, first)
        self.reference = private_copy(model)
        with quiet():
            small = shortened(in_double(first))
            check_repeats(self.reference, small)
            structure = read_structure(self.reference, *small)
        self.left = dict(structure.left)
        self.links = self._wanted(structure.links, layers)
        self.change(self.reference)  # refuses outputs that are zero throughout before any work is done
        self._factors: dict[str, tuple[np.ndarray, int]] = {}

    def _wanted(self, links: Sequence[Link], layers: str | Sequence[str] | None) -> list[Link]:
        """The links that the user names and whose factors fit into memory."""
        names = [name for name, module in self.reference.named_modules() if isinstance(module, SERVED)]
        patterns = ["*"] if layers is None else [layers] if isinstance(layers, str) else list(layers)
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                raise UnknownNameError(f"`layers` {pattern!r} matches no layer; there are {', '.join(names) or 'none'}")
        found = []
        for link in links:
            columns = 1 + _matrix(self.reference, link.reader).shape[1] + _matrix(self.reference, link.reader).shape[0]
            if not any(fnmatch.fnmatchcase(link.layer, pattern) for pattern in patterns):
                self.left[link.layer] = "not asked for"
            elif 5 * 8 * columns**2 > self.memory:  # the factor, rows that wait, and the copy that is factorised
                self.left[link.layer] = f"a factor of {columns} columns exceeds `memory`"
            else:
                found.append(link)
        return found

    def compressed(self, tolerance: float, method: str) -> tuple[nn.Module, list[CompressedLayer], float]:
        """A compressed copy in float64, a line per layer, and the seconds it took."""
        start = time.perf_counter()
        twin, lines = copy.deepcopy(self.reference), []
        kept: dict[str, np.ndarray] = {}
        for place, link in enumerate(reversed(self.links), start=1):
            problem, bias = self._problem(link, kept.get(link.reader))
            budget = tolerance * place / len(self.links)
            twin, choice, line = self._layer(twin, link, problem, bias, budget, method)
            if choice is not None:
                kept[link.layer] = choice.neurons
            lines.append(line)
        return twin, lines[::-1], time.perf_counter() - start

    def _problem(self, link: Link, outputs: np.ndarray | None) -> tuple[LayerProblem, np.ndarray | None]:
        """The layer as least squares; with a bias the means are taken out, and come back in the bias."""
        if link.layer not in self._factors:
            with quiet():
                triangle, rows = layer_factor(self.reference, link, self.data)
            self._factors[link.layer] = triangle.cpu().numpy(), rows
        factor = self._factors[link.layer][0]
        reader: Any = self.reference.get_submodule(link.reader)
        inputs = _matrix(self.reference, link.reader).shape[1]
        features, targets = factor[:, 1 : 1 + inputs], factor[:, 1 + inputs :]
        targets = targets if outputs is None else targets[:, outputs]
        scale = float(np.linalg.norm(targets)) or 1.0
        if reader.bias is None:
            return LayerProblem(features, targets, link.size, scale), None
        means = np.concatenate([features[0], targets[0]]) / factor[0, 0]
        return LayerProblem(features[1:], targets[1:], link.size, scale), means

    def _layer(
        self,
        twin: nn.Module,
        link: Link,
        problem: LayerProblem,
        means: np.ndarray | None,
        budget: float,
        method: str,
    ) -> tuple[nn.Module, Choice | None, CompressedLayer]:
        """The fewest neurons of one layer with which the whole model stays within the budget.

        How much an error of this layer moves the outputs is not known beforehand: its own tolerance is found by
        bisection on a logarithmic scale, each try measured end to end.
        """
        lengths = torch.linalg.vector_norm(_matrix(twin, link.layer), dim=1).numpy()
        best: tuple[nn.Module, Choice] | None = None
        low, high, local, seen, nearest = 0.0, float("inf"), budget, set(), float("inf")
        for _ in range(_TRIES):
            choice = choose(problem, local, method, lengths)
            if len(choice.neurons) >= problem.groups or choice.neurons.tobytes() in seen:
                moved, candidate = (float("inf") if low else 0.0), None
            else:
                seen.add(choice.neurons.tobytes())
                candidate = copy.deepcopy(twin)
                _apply(candidate, link, choice, means, problem)
                moved = self._moved(candidate)
                nearest = min(nearest, moved)
            if candidate is not None and moved <= budget:
                low = local
                best = (candidate, choice) if best is None or len(choice.neurons) < len(best[1].neurons) else best
                local = min(local * 0.9 * budget / max(moved, 1e-3 * budget), (low * high) ** 0.5)
                if moved > 0.5 * budget:
                    break
            elif candidate is None:
                break
            else:
                high = local
                local = (low * high) ** 0.5 if low else local * 0.5 * min(budget / moved, 0.2)
        line = self._line(link, problem, best, lengths, nearest)
        return (twin, None, line) if best is None else (*best, line)

    def _line(
        self,
        link: Link,
        problem: LayerProblem,
        best: tuple[nn.Module, Choice] | None,
        lengths: np.ndarray,
        nearest: float,
    ) -> CompressedLayer:
        matrix = _matrix(self.reference, link.reader).numpy()
        before = _group_norms(matrix.T, link.size) @ lengths
        kept, after, residual, note = np.arange(problem.groups), before, 0.0, ""
        if best is not None:
            kept, residual = best[1].neurons, best[1].residual
            after = _group_norms(best[1].weights, link.size) @ lengths[best[1].neurons]
        elif nearest < float("inf"):
            note = f"fewer neurons change the outputs by {nearest:.1e} or more"
        else:
            note = "all neurons are needed"
        return CompressedLayer(
            layer=link.layer,
            reader=link.reader,
            before=problem.groups,
            after=len(kept),
            feature_rank=problem.feature_rank,
            target_rank=problem.target_rank,
            residual=residual,
            norm_before=float(before),
            norm_after=float(after),
            rows=self._factors[link.layer][1],
            kept=tuple(kept.tolist()),
            note=note,
        )

    def _moved(self, candidate: nn.Module) -> float:
        """The change of the outputs; infinite where a forward pass depends on the number of neurons, and fails."""
        try:
            return self.change(candidate).relative
        except ComputationError:
            return float("inf")

    def change(self, twin: nn.Module, data: Batches | None = None) -> OutputChange:
        """How far a copy in float64, once in the user's dtypes, is from the original in float64."""
        return self._change(as_given(twin, self.model).eval(), data or self.data)

    def _change(self, found: nn.Module, data: Batches) -> OutputChange:
        moved = size = worst = 0.0
        samples = 0
        with quiet():
            for call in calls_of(data):
                wanted = output_of(self.reference, in_double(call)).flatten(1)
                distance = (output_of(found, call).flatten(1).double() - wanted).square().sum(dim=1)
                moved, size = moved + float(distance.sum()), size + float(wanted.square().sum())
                worst, samples = max(worst, float(distance.max())), samples + len(wanted)
        if size == 0.0:
            raise DataError("the outputs of `model` must not all be zero; a relative change has no meaning then")
        return OutputChange(relative=(moved / size) ** 0.5, worst=(worst * samples / size) ** 0.5, samples=samples)

    def report(
        self,
        found: nn.Module,
        lines: list[CompressedLayer],
        tolerance: float,
        method: str,
        untuned: OutputChange | None,
        held_out: Any,
        seconds: float,
    ) -> Compression:
        """The result; changes are measured on the very model that is handed out."""
        quiet = copy.deepcopy(found).eval()
        sizes = [[p.numel() for p in module.parameters()] for module in (self.model, found)]
        weights = [sum(p.numel() * p.element_size() for p in module.parameters()) for module in (self.model, found)]
        return Compression(
            model=found,
            name=type(self.model).__name__,
            layers=tuple(lines),
            left=self.left,
            tolerance=tolerance,
            method=method,
            change=self._change(quiet, self.data),
            untuned=untuned,
            held_out=None if held_out is None else self._change(quiet, Batches(held_out, pairs=False)),
            parameters_before=sum(sizes[0]),
            parameters_after=sum(sizes[1]),
            bytes_before=weights[0],
            bytes_after=weights[1],
            seconds=seconds,
        )


def _matrix(model: nn.Module, name: str) -> torch.Tensor:
    """The weights of a layer as a matrix, one row per neuron."""
    weight: torch.Tensor = model.get_submodule(name).weight  # type: ignore[assignment]  # a served layer
    return weight.detach().cpu().flatten(1)


def _group_norms(rows: np.ndarray, size: int) -> np.ndarray:
    """‖V_k‖_F of each neuron."""
    return np.sqrt((rows.reshape(-1, size * rows.shape[1]) ** 2).sum(axis=1))


def _apply(model: nn.Module, link: Link, choice: Choice, means: np.ndarray | None, problem: LayerProblem) -> None:
    """The neurons chosen, in place; the new bias is what keeps the means."""
    bias = None
    if means is not None:
        inputs, outputs = np.split(means, [problem.features.shape[1]])
        bias = torch.as_tensor(outputs - inputs[problem.columns(choice.neurons)] @ choice.weights)
    keep_neurons(model, link, torch.as_tensor(choice.neurons), torch.as_tensor(choice.weights), bias)
