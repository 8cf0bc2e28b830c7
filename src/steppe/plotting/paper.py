"""Figures drawn by Matplotlib: vector PDF and SVG for paper, PNG for the screen."""

import math
import os
import textwrap
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from steppe.core import StoreError, check_choice, check_number

from . import theme
from .figures import Figure, Panel
from .layers import Band, Contours, Heatmap, Histogram, Lines, Scatter
from .scales import Key, Range, axis_ticks, groups, legend, ranges

_STYLE: Any = {
    "pdf.fonttype": 42,  # TrueType, so that text in the PDF is text
    "svg.fonttype": "path",
    "svg.hashsalt": "steppe",  # the same figure gives the same bytes
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.unicode_minus": True,
    "text.usetex": False,
}
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": "steppe"},
    "svg": {"Date": None, "Creator": "steppe"},
    "png": {"Software": "steppe"},
}
_PANEL_WIDTH, _PANEL_HEIGHT = 3.4, 2.5


def save(figure: Figure, path: Path, *, title: bool, width: float | None) -> Path:
    """Write the file by way of a temporary one; see `Figure.save`."""
    kind = check_choice("suffix", path.suffix.lower(), [".pdf", ".svg", ".png"])[1:]
    if width is not None:
        check_number("width", width, minimum=1, maximum=40)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with rc_context(_STYLE):
            canvas = draw(figure, title=title, width=width)
            canvas.savefig(temporary, format=kind, dpi=200, metadata=_METADATA[kind])
        temporary.replace(path)
    except OSError as error:
        raise StoreError(
            f"cannot write the figure {path}: {error.strerror or error}; choose a folder that exists and is writable"
        ) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)
    return path


def draw(figure: Figure, *, title: bool = True, width: float | None = None) -> Canvas:
    """The figure as a Matplotlib figure, without pyplot and without a window."""
    columns = min(figure.columns, len(figure.panels))
    rows = math.ceil(len(figure.panels) / columns)
    wide = width or _PANEL_WIDTH * columns
    heading = textwrap.wrap(figure.title, max(12, int(wide * 14))) if title else []
    keys = legend(figure)
    key_rows = _legend_rows(keys, wide) if len(keys) > 1 or any(key.kind == "theory" for key in keys) else []
    head = 0.19 * len(heading) + 0.18 * len(key_rows) + (0.08 if heading or key_rows else 0)
    high = _PANEL_HEIGHT * rows * wide / (_PANEL_WIDTH * columns) + head
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - head / high))
    canvas = Canvas(figsize=(wide, high), layout=layout, facecolor=theme.PAPER)
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, columns, squeeze=False).ravel()
    index = groups(figure)
    for ax, panel, (x, y) in zip(axes, figure.panels, ranges(figure), strict=False):
        _draw_panel(ax, panel, index, x, y)
    for ax in axes[len(figure.panels) :]:
        ax.remove()
    top = high - 0.06
    for line in heading:
        canvas.text(
            0.05 / wide, top / high, line, va="top", fontsize=9.5, fontweight="bold", color=theme.INK, parse_math=False
        )
        top -= 0.19
    for row in key_rows:
        _legend_row(canvas, row, 0.05 / wide, top / high)
        top -= 0.18
    return canvas


def _legend_rows(keys: list[Key], wide: float) -> list[list[Key]]:
    """The keys in as many rows as their names need, in reading order."""
    rows: list[list[Key]] = []
    room = 0.0
    for key in keys:
        need = 0.45 + 0.066 * len(key.name)  # inches, generously
        if not rows or need > room:
            rows.append([])
            room = wide
        rows[-1].append(key)
        room -= need
    return rows


def _legend_row(canvas: Canvas, keys: list[Key], left: float, top: float) -> None:
    box = canvas.legend(
        [_handle(key) for key in keys], [key.name for key in keys], loc="upper left", bbox_to_anchor=(left, top),
        ncols=len(keys), frameon=False, handlelength=1.8, handletextpad=0.5, columnspacing=1.4, fontsize=7.5,
        labelcolor=theme.INK, borderaxespad=0, borderpad=0,
    )  # fmt: skip
    box.set_in_layout(False)
    for text in box.get_texts():
        text.set_parse_math(False)


def _handle(key: Key) -> Line2D | Patch:
    color = _color(key.group)
    marker = theme.MARKERS[(key.group or 0) % len(theme.MARKERS)]
    if key.kind in ("marker", "connected"):
        line: Literal["-", "none"] = "-" if key.kind == "connected" else "none"
        return Line2D([], [], color=color, marker=marker, markersize=4.5, markeredgewidth=0, linestyle=line)
    if key.kind in ("bar", "band"):
        opacity = theme.BAR_OPACITY if key.kind == "bar" else theme.BAND_OPACITY
        return Patch(facecolor=color, alpha=opacity, edgecolor="none")
    return Line2D([], [], color=color, linewidth=theme.LINE, linestyle=(0, (4, 2.2)) if key.kind == "theory" else "-")


def _color(group: int | None) -> str:
    return theme.THEORY if group is None else theme.color(group)


def _draw_panel(ax: Axes, panel: Panel, index: dict[str, int | None], x: Range, y: Range) -> None:
    ax.set_xscale(panel.x.scale)
    ax.set_yscale(panel.y.scale)
    for axis, places in ((ax.xaxis, axis_ticks(panel, "x", x)), (ax.yaxis, axis_ticks(panel, "y", y))):
        axis.set_major_locator(FixedLocator([value for value, _ in places]))
        axis.set_major_formatter(FixedFormatter([label for _, label in places]))
        axis.set_minor_locator(NullLocator())
    ax.set_xlim(*x)
    ax.set_ylim(*y)
    ax.set_title(textwrap.fill(panel.title, 52), loc="left", fontsize=8, color=theme.INK, parse_math=False)
    ax.set_xlabel(textwrap.fill(panel.x.label, 54), color=theme.MUTED, parse_math=False)
    ax.set_ylabel(textwrap.fill(panel.y.label, 42), color=theme.MUTED, parse_math=False)
    ax.tick_params(length=2.5, width=0.6, color=theme.RULE, labelcolor=theme.MUTED, labelsize=7.5)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set(color=theme.RULE, linewidth=0.8)
    ax.grid(visible=True, axis="y", color=theme.GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    if panel.empty:
        ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", va="center", color=theme.MUTED)
    for layer in panel.layers:
        _draw_layer(ax, panel, layer, index.get(layer.name))


def _draw_layer(ax: Axes, panel: Panel, layer: Any, group: int | None) -> None:
    color = _color(group)
    if isinstance(layer, Scatter):
        _scatter(ax, layer, color, theme.MARKERS[(group or 0) % len(theme.MARKERS)])
    elif isinstance(layer, Lines):
        dashes: Any = (0, (4, 2.2)) if layer.theory else "-"
        ax.plot(layer.x, layer.y, color=color, linewidth=theme.DASH if layer.theory else theme.LINE, linestyle=dashes)
    elif isinstance(layer, Band):
        ax.fill_between(layer.x, layer.low, layer.high, color=color, alpha=theme.BAND_OPACITY, linewidth=0)
    elif isinstance(layer, Histogram):
        _histogram(ax, panel, layer, color)
    else:
        _heatmap(ax, panel, layer)


def _scatter(ax: Axes, layer: Scatter, color: str, marker: str) -> None:
    count = len(layer.x)
    if layer.low is not None and layer.high is not None:
        ax.vlines(layer.x, layer.low, layer.high, color=color, linewidth=1.0, alpha=0.7)
    if layer.connect:
        ax.plot(layer.x, layer.y, color=color, linewidth=1.1, alpha=0.8)
    size = layer.size or theme.marker_size(count)
    ax.plot(
        layer.x, layer.y, marker, color=color, markersize=size * 0.8, alpha=theme.marker_opacity(count),
        markeredgewidth=0.4, markeredgecolor=theme.PAPER,
    )  # fmt: skip


def _histogram(ax: Axes, panel: Panel, layer: Histogram, color: str) -> None:
    if not layer.values:
        return
    edges, heights = layer.heights(*ax.get_xlim(), log=panel.x.scale == "log")
    base = ax.get_ylim()[0]
    boxes = [
        [(a, base), (a, height), (b, height), (b, base)]
        for a, b, height in zip(edges, edges[1:], heights, strict=False)
        if height > base
    ]
    ax.add_collection(PolyCollection(boxes, facecolor=color, alpha=theme.BAR_OPACITY, linewidth=0), autolim=False)
    ax.stairs(heights, edges, baseline=base, color=color, linewidth=1.0)


def _heatmap(ax: Axes, panel: Panel, layer: Heatmap) -> None:
    colors = LinearSegmentedColormap.from_list("steppe", list(theme.SEQUENCE))
    x = layer.edges("x", log=panel.x.scale == "log")
    y = layer.edges("y", log=panel.y.scale == "log")
    z = [[math.nan if value is None else value for value in row] for row in layer.z]
    if isinstance(layer, Contours):
        mesh: Any = ax.contourf(x, y, z, levels=list(layer.values()), cmap=colors, extend="both")
        ax.contour(x, y, z, levels=list(layer.values()), colors=theme.PAPER, linewidths=0.3, linestyles="solid")
    else:
        mesh = ax.pcolormesh(x, y, z, cmap=colors, shading="flat", edgecolors="face", linewidth=0.1)
    if ax.figure is not None:
        bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02, aspect=28)
        if bar.solids is not None:
            bar.solids.set(rasterized=False, edgecolor="face", linewidth=0.3)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2, width=0.6, color=theme.RULE, labelcolor=theme.MUTED, labelsize=7)
        bar.set_label(layer.name, color=theme.MUTED, parse_math=False)
