"""Figures as values: panels of layers with axes, checked when they are made, drawn by either backend."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from steppe.core import DataError, KindError, ParameterError, check_choice, check_integer, check_number

from .checks import as_text
from .layers import Band, Heatmap, Histogram, Layer, Lines, Scatter

Scale = Literal["linear", "log"]
_HEADERS = ("panel", "kind", "series", "x", "y", "low", "high", "value", "cell", "command")
_ALWAYS = ("kind", "series")


@dataclass(frozen=True)
class Axis:
    """An axis.

    Args:
        label: What it shows, with its unit.
        scale: `"linear"` or `"log"`.
        range: Lower and upper end in data units, or None to fit the data.

    Raises:
        ParameterError: The range is reversed, not finite, or not positive on a log axis.
        UnknownNameError: The scale is not one of the two.
    """

    label: str
    scale: Scale = "linear"
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        as_text("`label` of Axis", self.label)
        check_choice("scale", self.scale, get_args(Scale))
        if self.range is None:
            return
        if not isinstance(self.range, Sequence) or len(self.range) != 2:
            raise KindError(f"`range` of axis {self.label!r} must be (low, high), got {self.range!r}; pass two numbers")
        low, high = (check_number(f"range of axis {self.label!r}", end) for end in self.range)
        if low >= high:
            raise ParameterError(f"`range` of axis {self.label!r} needs low < high, got {low:g}, {high:g}; swap them")
        if self.scale == "log" and low <= 0:
            raise ParameterError(f"`range` of the log axis {self.label!r} must be positive, got {low:g}; raise its end")
        object.__setattr__(self, "range", (low, high))


@dataclass(frozen=True)
class Panel:
    """One pair of axes with its layers, drawn in order.

    Args:
        title: What this panel shows, short; may be empty in a figure of one panel.
        x: The horizontal axis.
        y: The vertical axis.
        layers: What is drawn; an empty panel says "no data".

    Raises:
        DataError: A number on a log axis is not positive.
        KindError: A layer is not one.
    """

    title: str
    x: Axis
    y: Axis
    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        as_text("`title` of Panel", self.title)
        object.__setattr__(self, "layers", tuple(self.layers))
        for layer in self.layers:
            if not isinstance(layer, Scatter | Lines | Band | Histogram | Heatmap):
                raise KindError(
                    f"a layer must be Scatter, Lines, Band, Histogram or Heatmap, got {type(layer).__name__}; pass one"
                )
            for axis, values in zip((self.x, self.y), layer.extent(), strict=True):
                _check_positive(layer, axis, values)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(not layer.extent()[0] for layer in self.layers)


def _check_positive(layer: Layer, axis: Axis, values: Sequence[float]) -> None:
    if axis.scale != "log":
        return
    bad = [value for value in values if value <= 0]
    if bad:
        raise DataError(
            f"{type(layer).__name__} {layer.name!r} must be positive on the log axis {axis.label!r}, got "
            f"{len(bad)} of {len(values)} values ≤ 0 (the first is {bad[0]:g}); drop them or use a linear axis"
        )


@dataclass(frozen=True)
class Figure:
    """A figure: small multiples under a title that says what they show.

    Args:
        id: A short name, letters, digits and hyphens; part of file names and links.
        title: What it shows, as a statement.
        panels: At least one.
        caption: How to read it, in plain words.
        columns: Panels side by side where there is room, 1 to 4.
        share: Whether panels whose axes have the same label and scale also have the same range.

    Raises:
        ParameterError: The id is not a short name, or there is no panel.
    """

    id: str
    title: str
    panels: Sequence[Panel]
    caption: str = ""
    columns: int = 2
    share: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.id):
            raise ParameterError(
                f"`id` of Figure must be 1 to 64 letters, digits, hyphens or underscores, got {self.id!r}; rename it"
            )
        as_text("`title` of Figure", self.title)
        as_text("`caption` of Figure", self.caption)
        check_integer("columns", self.columns, minimum=1, maximum=4)
        object.__setattr__(self, "panels", tuple(self.panels))
        if not self.panels:
            raise ParameterError(f"`panels` of Figure {self.id!r} needs at least one panel, got none; pass a Panel")
        for panel in self.panels:
            if not isinstance(panel, Panel):
                raise KindError(f"`panels` of Figure {self.id!r} must hold Panels, got {type(panel).__name__}")

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Every number drawn, one line per point: headers and rows.

        Columns that are empty throughout are left out; where all panels agree on an axis, its label is the header.
        `kind` is point, line, theory, band, value (of a histogram) or cell (of a heatmap). None means no value.
        """
        rows = [(panel.title, *record) for panel in self.panels for layer in panel.layers for record in layer.records()]
        if len(self.panels) == 1:
            rows = [("", *row[1:]) for row in rows]
        kept = [
            index
            for index, name in enumerate(_HEADERS)
            if name in _ALWAYS or any(row[index] is not None and row[index] != "" for row in rows)
        ]
        names = {"x": {panel.x.label for panel in self.panels}, "y": {panel.y.label for panel in self.panels}}
        values = {layer.name for panel in self.panels for layer in panel.layers if isinstance(layer, Heatmap)}
        names["value"] = values
        headers = [next(iter(names[n])) if len(names.get(n, ())) == 1 else n for n in (_HEADERS[i] for i in kept)]
        return tuple(headers), [tuple(row[index] for index in kept) for row in rows]

    def save(self, path: str | PathLike[str], *, title: bool = True, width: float | None = None) -> Path:
        """Draw it for paper: vector PDF or SVG with embedded fonts, or PNG at 200 dpi, by the suffix of `path`.

        Args:
            path: Where to; an existing file is replaced, and stays if drawing fails.
            title: Whether the title is drawn above the panels; leave it to the caption of a paper with False.
            width: In inches, 1 to 40; None is 3.4 per column of panels.

        Returns:
            The path written.

        Raises:
            UnknownNameError: The suffix is not .pdf, .svg or .png.
            StoreError: The file cannot be written.
        """
        from .paper import save  # Matplotlib takes half a second to import

        return save(self, Path(path), title=title, width=width)

    def to_plotly(self) -> dict[str, Any]:
        """A JSON-able description for plotly.js; numbers are rounded to six significant digits.

        Returns:
            `id`, `title`, `caption`, `columns`, `legend` (one entry per series) and `panels`, each with the `data` and
            `layout` of one Plotly figure: `plotly.graph_objects.Figure(figure.to_plotly()["panels"][0])`.
        """
        from .interactive import to_plotly

        return to_plotly(self)
