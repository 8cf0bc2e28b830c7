"""Ranges, ticks and colours: decided once, so that both backends agree."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .figures import Axis, Figure, Panel
from .layers import Heatmap, Histogram, Lines, Scatter

Range = tuple[float, float]
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PAD = 0.05


def _padded(values: Sequence[float], *, log: bool) -> Range:
    if not values:
        return (0.1, 10.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    if log:
        a, b = math.log10(low), math.log10(high)
        pad = _PAD * (b - a) or 0.3
        return 10 ** (a - pad), 10 ** (b + pad)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: give it room
        pad = 0.5 * abs(high) or 0.5
        return low - pad, high + pad
    pad = _PAD * (high - low)
    # data that touch zero from one side keep zero as the end of the axis
    return (0.0 if low == 0 else low - pad), (0.0 if high == 0 else high + pad)


def _values(panel: Panel, which: str) -> tuple[list[float], list[Range]]:
    """Values to fit with padding, and edges to fit exactly."""
    axis: Axis = getattr(panel, which)
    padded: list[float] = []
    exact: list[Range] = []
    for layer in panel.layers:
        if isinstance(layer, Heatmap):
            edges = layer.edges(which, log=axis.scale == "log")
            exact.append((edges[0], edges[-1]))
        else:
            padded.extend(layer.extent()[0 if which == "x" else 1])
    return padded, exact


def _fit(axis: Axis, panels: Sequence[Panel], which: str) -> Range:
    if axis.range is not None:
        return axis.range
    padded: list[float] = []
    exact: list[Range] = []
    for panel in panels:
        more, edges = _values(panel, which)
        padded += more
        exact += edges
    ranges = exact + ([_padded(padded, log=axis.scale == "log")] if padded or not exact else [])
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _kin(figure: Figure, panel: Panel, which: str) -> list[Panel]:
    """The panels whose axis shares its range with this one's, itself among them."""
    if not figure.share:
        return [panel]
    return [other for other in figure.panels if getattr(other, which) == getattr(panel, which)]


def _bar_ends(figure: Figure, panel: Panel, x: Range) -> list[float]:
    """Heights that the y axis must reach for histograms, with the baseline."""
    log = panel.x.scale == "log"
    heights = [
        height
        for layer in panel.layers
        if isinstance(layer, Histogram) and layer.values
        for height in layer.heights(*x, log=log)[1]
        if height > 0
    ]
    if not heights:
        return []
    baseline = 0.5 * min(heights) if panel.y.scale == "log" else 0.0
    return [baseline, 1.05 * max(heights)]


def ranges(figure: Figure) -> list[tuple[Range, Range]]:
    """The x and y range of each panel, in data units.

    Panels with equal axes share them. An axis that holds histograms starts at zero.
    """
    xs = [_fit(panel.x, _kin(figure, panel, "x"), "x") for panel in figure.panels]
    by_panel = dict(zip(map(id, figure.panels), xs, strict=True))
    result = []
    for panel, x in zip(figure.panels, xs, strict=True):
        kin = _kin(figure, panel, "y")
        ends = [end for other in kin for end in _bar_ends(figure, other, by_panel[id(other)])]
        if panel.y.range is not None or not ends:
            result.append((x, _fit(panel.y, kin, "y")))
            continue
        other_values = [value for other in kin for value in _values(other, "y")[0]]
        result.append((x, (min([*ends, *other_values]), max([*ends, *other_values]))))
    return result


def _power(exponent: int) -> str:
    return {0: "1", 1: "10"}.get(exponent, "10" + str(exponent).translate(_SUPERSCRIPTS))


def _plain(value: float) -> str:
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        exponent = math.floor(math.log10(abs(value)))
        mantissa = value / 10**exponent
        head = "" if round(mantissa, 6) == 1 else f"{mantissa:g}·"
        return (head + "10" + str(exponent).translate(_SUPERSCRIPTS)).replace("-", "−")
    return f"{value:.10g}".replace("-", "−")


def _linear_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    raw = (high - low) / max(count, 1)
    magnitude = 10 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(value, _plain(value)) for value in (float(f"{i * step:.10g}") for i in range(first, last + 1))]


def ticks(low: float, high: float, *, log: bool, count: int = 5) -> list[tuple[float, str]]:
    """About `count` round values in [low, high] with their labels.

    On a log axis: powers of ten over two decades or more, 1-2-5 steps below that, even steps below half a decade.
    """
    if not log:
        return _linear_ticks(low, high, count)
    a, b = math.log10(low), math.log10(high)
    if b - a < 0.45:
        return _linear_ticks(low, high, count)
    decades = range(math.ceil(a - 1e-9), math.floor(b + 1e-9) + 1)
    if b - a >= 2:
        every = max(1, math.ceil(len(decades) / (count + 1)))
        shown = [e for e in decades if e % every == 0]
        plain = all(-3 <= e <= 3 for e in shown)
        return [(10.0**e, _plain(10.0**e) if plain else _power(e)) for e in shown]
    steps = (1, 2, 5) if b - a < 1.4 else (1, 3)
    candidates = [m * 10.0**e for e in range(math.floor(a), math.floor(b) + 1) for m in steps]
    return [(value, _plain(value)) for value in candidates if low * 0.999 <= value <= high * 1.001]


def axis_ticks(panel: Panel, which: str, ends: Range) -> list[tuple[float, str]]:
    """The ticks of an axis: at the centres of a heatmap's cells where they are few and apart, else round values."""
    axis: Axis = getattr(panel, which)
    log = axis.scale == "log"
    for layer in panel.layers:
        centres = getattr(layer, which) if isinstance(layer, Heatmap) else ()
        places = [math.log10(value) if log else value for value in (*ends, *centres)]
        gaps = [abs(b - a) / abs(places[1] - places[0]) for a, b in pairwise(places[2:])]
        if centres and len(centres) <= 12 and min(gaps, default=1) > 0.07:
            return [(value, _plain(value)) for value in centres]
    return ticks(*ends, log=log)


def groups(figure: Figure) -> dict[str, int | None]:
    """Colour index of each series name; None is the dark grey of theory.

    A name has one colour in all panels; unnamed groups take the lowest free indices in order of appearance.
    """
    result: dict[str, int | None] = {}
    layers = [layer for panel in figure.panels for layer in panel.layers if not isinstance(layer, Heatmap)]
    for layer in layers:
        if layer.group is not None:
            result.setdefault(layer.name, layer.group)
    taken = {group for group in result.values() if group is not None}
    free = (index for index in range(len(layers) + len(taken) + 1) if index not in taken)
    for layer in layers:
        if layer.name in result:
            continue
        result[layer.name] = None if isinstance(layer, Lines) and layer.theory else next(free)
    return result


@dataclass(frozen=True)
class Key:
    """One entry of a legend: `kind` is marker, connected, line, theory, band or bar."""

    name: str
    kind: str
    group: int | None


_RANK = {"connected": 0, "marker": 1, "line": 2, "theory": 3, "bar": 4, "band": 5}


def legend(figure: Figure) -> list[Key]:
    """The series in order of appearance, theory last; a band of the same name as points is not listed twice."""
    index = groups(figure)
    found: dict[str, str] = {}
    for panel in figure.panels:
        for layer in panel.layers:
            if isinstance(layer, Heatmap):
                continue
            if isinstance(layer, Scatter):
                kind = "connected" if layer.connect else "marker"
            elif isinstance(layer, Lines):
                kind = "theory" if layer.theory else "line"
            else:
                kind = "bar" if isinstance(layer, Histogram) else "band"
            found[layer.name] = min(found.get(layer.name, kind), kind, key=_RANK.__getitem__)
    keys = [Key(name, kind, index[name]) for name, kind in found.items()]
    return [k for k in keys if k.kind != "theory"] + [k for k in keys if k.kind == "theory"]
