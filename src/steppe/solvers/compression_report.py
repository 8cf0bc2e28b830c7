"""What a compression did, as a value: a line per layer, the change of the outputs, sizes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from steppe.core import duration, grouped
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

SCHEMA = "steppe.compression/1"


@dataclass(frozen=True, kw_only=True)
class OutputChange:
    """How far the outputs of a model are from those of the original, measured end to end.

    Args:
        relative: ‖f_new − f‖_F / ‖f‖_F over all samples and outputs.
        worst: The largest ‖f_new(x_i) − f(x_i)‖ over the root mean square of ‖f(x_i)‖.
        samples: Number of samples.
    """

    relative: float
    worst: float
    samples: int


@dataclass(frozen=True, kw_only=True)
class CompressedLayer:
    """One layer whose neurons were examined.

    Args:
        layer: Name of the layer that has the neurons (channels, of a convolution).
        reader: Name of the layer that reads them.
        before: Neurons before.
        after: Neurons now.
        feature_rank: Rank r_Φ of what the reader takes in, over all data; with a bias, after its mean is taken out.
        target_rank: Rank r_Ψ of what it gives out, likewise.
        residual: Relative error of what it gives out, ‖ΦV − Ψ‖_F / ‖Ψ‖_F.
        norm_before: Σ_k ‖w_k‖‖V_k‖_F over neurons, before.
        norm_after: The same now.
        rows: Rows of Φ: samples, times positions for convolutions.
        kept: Indices of the neurons that stayed.
        note: Why it stayed as it was, if it did.
    """

    layer: str
    reader: str
    before: int
    after: int
    feature_rank: int
    target_rank: int
    residual: float
    norm_before: float
    norm_after: float
    rows: int
    kept: tuple[int, ...]
    note: str = ""

    @property
    def bound(self) -> int:
        """Width that always suffices without a larger norm: r_Φ · r_Ψ."""
        return self.feature_rank * self.target_rank


@dataclass(frozen=True, kw_only=True, eq=False)
class Compression:
    """A smaller model with the same outputs on the data, and what was done; prints as a table.

    `smaller, report = compress(model, data)` unpacks into the model and this report.

    Args:
        model: The new model; it has the dtypes, flags and names of the original.
        name: Class of the model.
        layers: The layers that were examined, in the order of the model.
        left: Layers that were left as they are, with the reason.
        tolerance: Relative change of the outputs that was allowed.
        method: How neurons were chosen.
        change: The change of the outputs on the data, of the model as returned.
        untuned: The change before fine-tuning, None without it.
        held_out: The change on data that were not used, None without them.
        parameters_before: Number of parameters before.
        parameters_after: Number of parameters now.
        bytes_before: Bytes of the parameters before.
        bytes_after: Bytes of the parameters now.
        seconds: Wall time.
    """

    model: nn.Module
    name: str
    layers: tuple[CompressedLayer, ...]
    left: Mapping[str, str]
    tolerance: float
    method: str
    change: OutputChange
    untuned: OutputChange | None = None
    held_out: OutputChange | None = None
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    seconds: float

    def __iter__(self) -> Iterator[Any]:
        yield self.model
        yield self

    @property
    def neurons_before(self) -> int:
        """Neurons of the layers that were examined, before."""
        return sum(layer.before for layer in self.layers)

    @property
    def neurons_after(self) -> int:
        """The same now."""
        return sum(layer.after for layer in self.layers)

    @property
    def met(self) -> bool:
        """Whether the outputs of the model as returned are within the tolerance."""
        return self.change.relative <= self.tolerance

    headers: ClassVar[tuple[str, ...]] = (
        "layer", "read by", "neurons", "now", "r_Φ", "r_Ψ", "r_Φ·r_Ψ", "residual", "norm ×", "note",
    )  # fmt: skip

    def headline(self) -> str:
        """What came out, in one sentence."""
        size = f"{grouped(self.parameters_before)} to {grouped(self.parameters_after)} parameters"
        neurons = f"{self.neurons_before} to {self.neurons_after} neurons"
        outputs = (
            f"training outputs changed by {self.change.relative:.2g} (relative; at most {self.tolerance:g} allowed)"
        )
        return f"{self.name}: {neurons}, {size}; {outputs}."

    def lines(self) -> list[list[str]]:
        """The table, a line per layer."""
        done = [
            [
                line.layer, line.reader, str(line.before), str(line.after), str(line.feature_rank),
                str(line.target_rank), str(line.bound), f"{line.residual:.1e}", f"{_ratio(line):.3g}", line.note,
            ]
            for line in self.layers
        ]  # fmt: skip
        return done + [[name, "", *["–"] * 7, reason] for name, reason in self.left.items()]

    def notes(self) -> list[str]:
        """Sentences below the table."""
        found = [
            f"{grouped(self.change.samples)} samples; the worst one moved by {self.change.worst:.2g} of the root mean "
            f"square output; {duration(self.seconds)}."
        ]
        if self.untuned is not None:
            found.append(f"Before fine-tuning the outputs had changed by {self.untuned.relative:.2g}.")
        if self.held_out is not None:
            found.append(
                f"On {grouped(self.held_out.samples)} samples that were not used they change by "
                f"{self.held_out.relative:.2g}."
            )
        return found

    def __str__(self) -> str:
        rows = [list(self.headers), *self.lines()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.headline(), "", *table, "", *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the model, as plain values; `schema` names the form."""
        changes = {name: getattr(self, name) for name in ("change", "untuned", "held_out")}
        plain = ("name", "tolerance", "method", "met", "neurons_before", "neurons_after", "parameters_before")
        more = ("parameters_after", "bytes_before", "bytes_after", "seconds")
        return {
            "schema": SCHEMA,
            **{name: getattr(self, name) for name in (*plain, *more)},
            **{name: None if value is None else dict(vars(value)) for name, value in changes.items()},
            "layers": [{**vars(layer), "bound": layer.bound} for layer in self.layers],
            "left": dict(self.left),
        }

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the weights to a .safetensors file and the report to .json beside it: `save_compression`."""
        from .compression_files import save_compression

        return save_compression(self, path)

    def plot(self) -> Figure:
        """Neurons before and now, and the rank of what the next layer takes in, layer by layer."""
        places = [float(place) for place in range(1, len(self.layers) + 1)]
        names = [line.layer for line in self.layers]
        series = {
            "before": [float(line.before) for line in self.layers],
            "now": [float(line.after) for line in self.layers],
        }
        layers: list[Any] = [Scatter(name, places, values, hover=names) for name, values in series.items()]
        ranks = [float(line.feature_rank) for line in self.layers]
        layers.append(Lines("rank of the features", places, ranks, theory=True))
        panel = Panel("", Axis("layer, in the order of the model"), Axis("neurons"), layers if places else [])
        return Figure("compression", self.headline(), [panel], columns=1, caption="Dashed: rank over all data.")


def _ratio(line: CompressedLayer) -> float:
    return line.norm_after / line.norm_before if line.norm_before > 0 else 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class CompressionCurve:
    """Size against tolerance; prints as a table.

    Args:
        compressions: One per tolerance, ascending.
    """

    compressions: tuple[Compression, ...]
    headers: ClassVar[tuple[str, ...]] = ("tolerance", "neurons", "now", "parameters", "change", "held out")

    @property
    def tolerances(self) -> list[float]:
        """The tolerances."""
        return [found.tolerance for found in self.compressions]

    @property
    def neurons(self) -> list[int]:
        """Neurons left at each tolerance."""
        return [found.neurons_after for found in self.compressions]

    def lines(self) -> list[list[str]]:
        """The table, a line per tolerance."""
        return [
            [
                f"{found.tolerance:g}", str(found.neurons_before), str(found.neurons_after),
                grouped(found.parameters_after), f"{found.change.relative:.2g}",
                "–" if found.held_out is None else f"{found.held_out.relative:.2g}",
            ]
            for found in self.compressions
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = [list(self.headers), *self.lines()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the models, as plain values."""
        return {"schema": "steppe.compression-curve/1", "compressions": [c.to_dict() for c in self.compressions]}

    def plot(self) -> Figure:
        """Neurons left against tolerance."""
        points = Scatter("neurons", self.tolerances, [float(count) for count in self.neurons], connect=True)
        before = float(self.compressions[0].neurons_before)
        layers: list[Any] = [
            points,
            Lines("before", [self.tolerances[0], self.tolerances[-1]], [before, before], theory=True),
        ]
        axes = Axis("relative change of the training outputs allowed", scale="log"), Axis("neurons")
        return Figure("compression-curve", "Neurons left against tolerance", [Panel("", *axes, layers)], columns=1)
