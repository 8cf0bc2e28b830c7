"""Figures described to plotly.js: plain lists and dictionaries, nothing heavy is imported."""

import html
import math
from collections.abc import Iterable
from typing import Any

from . import theme
from .figures import Axis, Figure, Panel
from .layers import Band, Contours, Heatmap, Histogram, Layer, Lines, Scatter
from .scales import Range, axis_ticks, groups, legend, ranges

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
Spec = dict[str, Any]


def to_plotly(figure: Figure) -> Spec:
    """The description; see `Figure.to_plotly`."""
    index = groups(figure)
    return {
        "id": figure.id,
        "title": figure.title,
        "caption": figure.caption,
        "columns": figure.columns,
        "legend": [
            {"name": k.name, "kind": k.kind, "color": _color(k.group), "symbol": _symbol(k.group)}
            for k in legend(figure)
        ],
        "panels": [_panel(panel, index, x, y) for panel, (x, y) in zip(figure.panels, ranges(figure), strict=True)],
    }


def _rounded(value: float | None) -> float | int | None:
    if value is None:
        return None
    number = float(f"{value:.6g}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _column(values: Iterable[float | None]) -> list[float | int | None]:
    return [_rounded(value) for value in values]


def _text(value: str) -> str:
    """Plotly reads a subset of HTML in its texts; ours are plain."""
    return html.escape(value, quote=False)


def _color(group: int | None) -> str:
    return theme.THEORY if group is None else theme.color(group)


def _symbol(group: int | None) -> str:
    return theme.SYMBOLS[(group or 0) % len(theme.SYMBOLS)]


def _translucent(color: str, opacity: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def _panel(panel: Panel, index: dict[str, int | None], x: Range, y: Range) -> Spec:
    data = [trace for layer in panel.layers for trace in _traces(panel, layer, index.get(layer.name), x, y)]
    layout: Spec = {
        "title": {"text": _text(panel.title), "x": 0, "xref": "paper", "font": {"size": 14, "color": theme.INK}},
        "xaxis": _axis(panel, "x", x),
        "yaxis": _axis(panel, "y", y) | {"showgrid": True, "gridcolor": theme.GRID},
        "font": {"family": FONT, "size": 12, "color": theme.MUTED},
        "margin": {"l": 8, "r": 12, "t": 40 if panel.title else 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "hovermode": "closest",
        "hoverdistance": 12,
        "hoverlabel": {
            "bgcolor": theme.PAPER, "bordercolor": theme.RULE, "align": "left", "namelength": -1,
            "font": {"family": FONT, "size": 12, "color": theme.INK},
        },
    }  # fmt: skip
    if panel.empty:
        layout["annotations"] = [
            {"text": "no data", "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
        ]
    return {"data": data, "layout": layout}


def _axis(panel: Panel, which: str, ends: Range) -> Spec:
    axis: Axis = getattr(panel, which)
    log = axis.scale == "log"
    places = axis_ticks(panel, which, ends)
    return {
        "title": {"text": _text(axis.label), "standoff": 8, "font": {"size": 12, "color": theme.MUTED}},
        "type": axis.scale,
        "range": [round(math.log10(end), 6) if log else _rounded(end) for end in ends],
        "tickmode": "array",
        "tickvals": [value for value, _ in places],
        "ticktext": [label for _, label in places],
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": theme.RULE,
        "showline": True,
        "linecolor": theme.RULE,
        "linewidth": 1,
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
    }


def _traces(panel: Panel, layer: Layer, group: int | None, x: Range, y: Range) -> list[Spec]:
    color = _color(group)
    if isinstance(layer, Scatter):
        return [_scatter(panel, layer, color, _symbol(group))]
    if isinstance(layer, Lines):
        return [_line(panel, layer, color)]
    if isinstance(layer, Band):
        return [_band(layer, color)]
    if isinstance(layer, Histogram):
        return [_histogram(panel, layer, color, x, y)]
    return [_contours(panel, layer) if isinstance(layer, Contours) else _heatmap(panel, layer)]


def _reading(panel: Panel) -> str:
    """The numbers of a point under the pointer, one per line."""
    return f"{_text(panel.x.label)}: %{{x:.4~g}}<br>{_text(panel.y.label)}: %{{y:.4~g}}"


def _scatter(panel: Panel, layer: Scatter, color: str, symbol: str) -> Spec:
    count = len(layer.x)
    opacity = theme.marker_opacity(count)
    trace: Spec = {
        "type": "scatter",
        "mode": "lines+markers" if layer.connect else "markers",
        "name": _text(layer.name),
        "x": _column(layer.x),
        "y": _column(layer.y),
        "cliponaxis": False,
        "marker": {
            "color": color, "symbol": symbol, "size": 1.25 * (layer.size or theme.marker_size(count)),
            "opacity": opacity,
            "line": {"width": 0.5, "color": theme.PAPER},
        },
        "hovertemplate": f"<b>%{{fullData.name}}</b><br>{_reading(panel)}",
    }  # fmt: skip
    if layer.connect:
        trace["line"] = {"width": 1.2, "color": _translucent(color, 0.8)}
    if layer.low is not None and layer.high is not None:
        trace["error_y"] = {
            "type": "data", "symmetric": False, "color": color, "thickness": 1.1, "width": 0,
            "array": _column(h - y for h, y in zip(layer.high, layer.y, strict=True)),
            "arrayminus": _column(y - low for low, y in zip(layer.low, layer.y, strict=True)),
        }  # fmt: skip
    if layer.hover or layer.commands:
        blank = ("",) * count
        trace["customdata"] = [
            [_wrapped(hover), _wrapped(command)]
            for hover, command in zip(layer.hover or blank, layer.commands or blank, strict=True)
        ]
        trace["hovertemplate"] += "<br>%{customdata[0]}" if layer.hover else ""
        trace["hovertemplate"] += "<br><i>%{customdata[1]}</i>" if layer.commands else ""
    trace["hovertemplate"] += "<extra></extra>"
    return trace


def _wrapped(command: str, limit: int = 46) -> str:
    """A label or command broken at blanks into lines that a hover label can hold."""
    lines = [""]
    for word in command.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) >= limit:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "<br>".join(_text(line) for line in lines)


def _line(panel: Panel, layer: Lines, color: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _text(layer.name),
        "x": _column(layer.x),
        "y": _column(layer.y),
        "line": {
            "color": color,
            "width": theme.DASH if layer.theory else theme.LINE,
            "dash": "6px,4px" if layer.theory else "solid",
        },
        "hovertemplate": f"<b>%{{fullData.name}}</b><br>{_reading(panel)}<extra></extra>",
    }


def _band(layer: Band, color: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _text(layer.name),
        "x": _column((*layer.x, *reversed(layer.x))),
        "y": _column((*layer.low, *reversed(layer.high))),
        "fill": "toself",
        "fillcolor": _translucent(color, theme.BAND_OPACITY),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _histogram(panel: Panel, layer: Histogram, color: str, x: Range, y: Range) -> Spec:
    edges, heights = layer.heights(*x, log=panel.x.scale == "log") if layer.values else ((), ())
    base = y[0] if panel.y.scale == "log" else 0.0
    xs: list[float] = []
    ys: list[float] = []
    readings: list[str] = []
    for low, high, height in zip(edges, edges[1:], heights, strict=False):
        xs += [low, high]
        ys += [max(height, base)] * 2
        readings += [f"{low:.4g} to {high:.4g}: {height:.4g}"] * 2
    if xs:  # down to the baseline at both ends
        xs, ys, readings = [xs[0], *xs, xs[-1]], [base, *ys, base], [readings[0], *readings, readings[-1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _text(layer.name),
        "x": _column(xs),
        "y": _column(ys),
        "fill": "toself",
        "fillcolor": _translucent(color, theme.BAR_OPACITY),
        "line": {"width": 1, "color": color},
        "hoveron": "points",
        "text": readings,
        "hovertemplate": "<b>%{fullData.name}</b><br>%{text}<extra></extra>",
    }


def _contours(panel: Panel, layer: Contours) -> Spec:
    first, second, *_, last = *layer.values(), layer.values()[-1]
    return _heatmap(panel, layer) | {
        "type": "contour",
        "autocontour": False,
        "contours": {"start": _rounded(first), "end": _rounded(last), "size": _rounded(second - first)},
        "line": {"width": 0.5, "color": theme.PAPER, "smoothing": 0.6},
        "connectgaps": False,
    }


def _heatmap(panel: Panel, layer: Heatmap) -> Spec:
    stops = len(theme.SEQUENCE) - 1
    return {
        "type": "heatmap",
        "name": _text(layer.name),
        "x": _column(layer.edges("x", log=panel.x.scale == "log")),
        "y": _column(layer.edges("y", log=panel.y.scale == "log")),
        "z": [_column(row) for row in layer.z],
        "colorscale": [[_rounded(i / stops), color] for i, color in enumerate(theme.SEQUENCE)],
        "colorbar": {
            "title": {"text": _text(layer.name), "side": "right"}, "thickness": 10, "outlinewidth": 0, "ticklen": 3,
        },
        "text": [[f"{_plain(x)}, {_plain(y)}" for x in layer.x] for y in layer.y],
        "hovertemplate": f"{_text(panel.x.label)}, {_text(panel.y.label)}: %{{text}}<br>"
        "%{fullData.name}: %{z:.4~g}<extra></extra>",
    }  # fmt: skip


def _plain(value: float) -> str:
    return f"{value:.4g}"
