"""A measurement as a value: numbers with their errors, what is absent and why, in words, JSON and HTML."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from steppe.core import Estimate, Fact, duration, grouped
from steppe.curvature import Density
from steppe.plotting import Figure, Section, standalone_page, write_page

from .measure_activations import Activity
from .measure_figures import density_values, figures
from .measure_plan import MeasurementPlan
from .measure_words import IGNORED, blocks_in_words, signed, size_in_words, spoken

SCHEMA = "steppe.measurement/1"
Line = tuple[str, str, str]  # what, value, how it was obtained


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the model is.

    Args:
        parameters: All of them.
        trainable: Those that require a gradient.
        measured: Those that the curvature refers to.
        layers: Modules that own parameters.
        bytes: Memory of the parameters.
    """

    parameters: int
    trainable: int
    measured: int
    layers: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class OptimizerLimit:
    """An optimizer's limit of linear stability against the curvature that it meets.

    Args:
        name: The optimizer with its settings.
        limit: Curvature up to which it is linearly stable.
        curvature: What it meets: the sharpness, or the preconditioned sharpness.
        quantity: Which of the two.
        source: Where the limit comes from.
        statement: The limit in a sentence.
        ignored: What it leaves out.
    """

    name: str
    limit: float
    curvature: Estimate
    quantity: str
    source: str = ""
    statement: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """Curvature over limit: beyond 1, the optimizer is linearly unstable here."""
        return self.curvature.value / self.limit

    @property
    def state(self) -> str:
        """`"below"` or `"beyond"` the limit, or `"at"` it: within 5 %."""
        return "below" if self.margin < 0.95 else "at" if self.margin <= 1.05 else "beyond"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        own = {name: value for name, value in vars(self).items() if name != "curvature"}
        return {**own, "curvature": self.curvature.to_dict(), "margin": self.margin, "state": self.state}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """What `measure` found; it prints as a table. What could not be had is None, with its reason in `absent`.

    Args:
        name: Class of the model.
        size: How large it is.
        loss: Training loss on the samples.
        sharpness: Largest eigenvalue of the Hessian.
        smallest: Smallest eigenvalue.
        trace: Trace.
        density: Spectral density.
        limits: Largest linearly stable step of common optimizers, by name.
        optimizer: The limit of the optimizer that was given.
        share: Squared mass of the top eigenvector in each parameter, in the order of the model.
        norms: Function-space norms, by name.
        theorem: What the flatness theorem says here, in a sentence.
        activations: How each nonlinearity responds.
        absent: Reason of everything that is None or empty, by field.
        warnings: In plain words.
        plan: What was predicted before the measurement.
        samples: Samples used.
        total: Samples there are, None if unknown.
        products: Operator–vector products spent, those of the prediction included.
        seconds: Wall time.
        backend: Which implementation made the products.
        convention: Loss, reduction, samples and parameters that the numbers refer to.
    """

    name: str
    size: Size
    loss: float
    sharpness: Estimate | None = None
    smallest: Estimate | None = None
    trace: Estimate | None = None
    density: Density | None = None
    limits: Mapping[str, Fact] = field(default_factory=dict)
    optimizer: OptimizerLimit | None = None
    share: Mapping[str, float] = field(default_factory=dict)
    norms: Mapping[str, float] = field(default_factory=dict)
    theorem: str | None = None
    activations: tuple[Activity, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    plan: MeasurementPlan
    samples: int
    total: int | None
    products: int
    seconds: float
    backend: str
    convention: str

    @property
    def converged(self) -> bool:
        """Whether every iterative number met its stopping rule."""
        return all(e.converged for e in (self.sharpness, self.smallest, self.trace) if e is not None)

    @property
    def figures(self) -> dict[str, Figure]:
        """Figures by name: density, share of the top eigenvector, activation fractions; those there are."""
        return figures(self)

    def lines(self) -> list[Line]:
        """The table: what, its value, and how it was obtained or why it is absent."""
        lines = [
            ("model", self.name, self._size()),
            ("data", self._data(), self.convention),
            ("loss", signed(self.loss, 6), ""),
            *_estimates(self),
            *_density_line(self),
            *(
                (f"largest stable step, {name}", signed(step), "limit of linear stability here")
                for name, step in self.limits.items()
            ),
            *([_optimizer_line(self.optimizer)] if self.optimizer else []),
            *([("top eigenvector", blocks_in_words(self.share), "squared mass per parameter")] if self.share else []),
            *((name, signed(value, 6), "") for name, value in self.norms.items()),
            *([("flatness theorem", self.theorem, "")] if self.theorem else []),
            *(_activity_line(layer) for layer in self.activations),
        ]
        return [*lines, *((_spaced(name), "–", reason) for name, reason in self.absent.items())]

    def _size(self) -> str:
        trainable = "all trainable" if self.size.trainable == self.size.parameters else (
            f"{grouped(self.size.trainable)} trainable"
        )  # fmt: skip
        layers = f"{self.size.layers} layer{'' if self.size.layers == 1 else 's'}"
        count = f"{grouped(self.size.parameters)} parameters ({trainable})"
        return f"{count} in {layers}, {size_in_words(self.size.bytes)}"

    def _data(self) -> str:
        if self.total is not None and self.total > self.samples:
            return f"{grouped(self.samples)} of {grouped(self.total)} samples"
        return f"{grouped(self.samples)} sample{'' if self.samples == 1 else 's'}"

    def notes(self) -> list[str]:
        """Sentences below the table: what the limits ignore, and what it cost."""
        shared = "products, which the lines above share," if self.density is not None else "products"
        cost = f"{grouped(self.products)} {shared} in {duration(self.seconds)} ({self.backend}); {self.plan}"
        return [*([IGNORED] if self.limits or self.optimizer else []), cost]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON: `schema` names the form; what is not a finite number is None."""
        named = {name: getattr(self, name) for name in ("sharpness", "smallest", "trace", "optimizer")}
        return _plain(
            {
                "schema": SCHEMA,
                "name": self.name,
                "size": vars(self.size),
                "loss": self.loss,
                **{name: None if value is None else value.to_dict() for name, value in named.items()},
                "density": None if self.density is None else density_values(self.density),
                "limits": {name: {"value": float(f), "source": f.source} for name, f in self.limits.items()},
                "limits_ignore": IGNORED if self.limits else "",
                "share": dict(self.share),
                "norms": dict(self.norms),
                "theorem": self.theorem,
                "activations": [layer.to_dict() for layer in self.activations],
                "absent": dict(self.absent),
                "warnings": list(self.warnings),
                "plan": self.plan.to_dict(),
                "converged": self.converged,
                **{name: getattr(self, name) for name in ("samples", "total", "products", "seconds", "backend")},
                "convention": self.convention,
            }
        )

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write a page with the table, the warnings and the figures, which needs no network.

        Args:
            path: Where to; an existing file is replaced.

        Raises:
            StoreError: The file cannot be written.
        """
        return write_page(path, self._page())

    def _page(self) -> str:
        shares = [(name, f"{value:.2%}") for name, value in sorted(self.share.items(), key=lambda item: -item[1])]
        found = self.figures
        sections = [
            *([Section("Warnings", self.warnings, warning=True)] if self.warnings else []),
            Section("Numbers", [], ("quantity", "value", "how"), self.lines()),
            *([Section("What the limits ignore", [IGNORED])] if self.limits else []),
            *([Section("Figures", figures=tuple(found.values()))] if found else []),
            *([Section("Which layer", [_SHARE], ("parameter", "share"), shares)] if shares else []),
            Section("Cost", self.notes()[-1:]),
        ]
        return standalone_page(f"Measurement of {self.name}", sections, lead=self.headline, facts=[self._data()])

    @property
    def headline(self) -> str:
        """One sentence from the numbers."""
        if self.sharpness is None:
            return f"Loss {signed(self.loss, 6)}; {self.absent.get('sharpness', 'the sharpness was not asked for')}."
        top = max(self.share, key=lambda name: self.share[name], default="")
        where = f", {self.share[top]:.0%} of its direction in {top}" if top and self.sharpness.value > 0 else ""
        edge = f"; {self.optimizer.state} the limit of {self.optimizer.name}" if self.optimizer else ""
        return f"Sharpness {spoken(self.sharpness)} at loss {signed(self.loss, 6)}{where}{edge}."

    def __str__(self) -> str:
        lines = self.lines()
        widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines]
        return "\n".join([*table, *(f"! {warning}" for warning in self.warnings), *self.notes()])

    __repr__ = __str__


_SHARE = "The squared entries of the top eigenvector, summed over each parameter: where the largest curvature is."
_NAMES = {"sharpness": "sharpness", "smallest": "smallest eigenvalue", "trace": "trace"}


def _estimates(m: Measurement) -> list[Line]:
    """The eigenvalues and the trace, and how many eigenvalues are large."""
    lines: list[Line] = []
    for name, words in _NAMES.items():
        found: Estimate | None = getattr(m, name)
        if found is not None:
            kind = "" if found.error_kind == "none" else f"{_KINDS[found.error_kind]}; "
            state = "" if found.converged else f"; not converged: {found.reason}"
            lines.append((words, spoken(found), f"{kind}{grouped(found.products)} products{state}"))
    return lines


def _density_line(m: Measurement) -> list[Line]:
    """How many eigenvalues are nearly zero beside the sharpness."""
    if m.density is None:
        return []
    how = "all eigenvalues" if m.density.exact else f"{m.density.reason}, {grouped(m.density.products)} products"
    if m.sharpness is None or not m.sharpness.value > 0:
        return [("density", "see the figure", how)]
    small = _NEARLY * m.sharpness.value
    share = m.density.eigenvalue_count(-small, small)
    words = f"{share.value / m.density.size:.1%} nearly zero"
    return [("density", words, f"at most {_NEARLY:.0%} of the sharpness in size; {how}")]


_NEARLY = 0.01
_KINDS = {
    "residual": "residual bound",
    "bound": "proved bound",
    "standard error": "standard error",
    "sampling": "spread",
}


def _optimizer_line(limit: OptimizerLimit) -> Line:
    state = f"{limit.state} the limit"
    return limit.name, state, f"{limit.quantity} {spoken(limit.curvature)}, limit {signed(limit.limit)}"


def _activity_line(layer: Activity) -> Line:
    rare = f", {layer.rare} active on at most 10%" if layer.rare else ""
    return (
        f"activations, {layer.name}",
        f"{layer.fraction:.1%} active",
        f"{layer.kind}; {grouped(layer.units)} units, {layer.dead} dead{rare}",
    )


def _spaced(name: str) -> str:
    return {"smallest": "smallest eigenvalue", "share": "top eigenvector"}.get(name, name.replace("_", " "))


def _plain(value: Any) -> Any:
    """Nested values for JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
