"""The figures of an answer about a table."""

import math
from typing import Any

import torch

from steppe.plotting import Axis, Figure, Histogram, Lines, Panel, Scatter

_DRAWN = 2000  # values of a histogram, evenly from the sorted ones
_POINTS = 200
_ROWS = (1.0, 9.0)  # ends of the axis of rows, powers of ten


def figures(found: Any) -> dict[str, Figure]:
    """Concentration, depth, radius and rates."""
    return {
        "concentration": concentration_figure(found),
        "depth": depth_figure(found),
        "radius": radius_figure(found),
        "rates": rates_figure(found),
    }


def concentration_figure(found: Any) -> Figure:
    """Ψ of the table beside that of the reference laws."""
    kinds = {"curve": f"{found.directions} random directions", "least_curve": "and one outward direction per row"}
    panels = [
        Panel(
            "" if found.exact else title,
            _depth_axis(found, "depth T"),
            Axis("share of rows at least T deep", range=(0.0, 1.0)),
            [Lines(law.name, law.levels[1:], getattr(law, kind)[1:]) for law in (found.data, *found.references)],
        )
        for kind, title in kinds.items()
        if kind == "curve" or not found.exact
    ]
    title = f"{found.shallow_share:.0%} of the rows are at most {found.shallow:g} deep"
    known = "Depth is exact" if found.exact else "Depths are upper bounds, and so are the curves"
    caption = f"{known}; every law has as many rows and dimensions. The area under Ψ over T is the mean depth."
    return Figure("concentration", title, panels, caption=caption)


def _depth_axis(found: Any, label: str) -> Axis:
    """Linear where depths are exact and large, logarithmic from the depth of a row alone where they are small."""
    return Axis(label, range=(0.0, 0.5)) if found.exact else Axis(label, "log", (0.9 / found.rows, 0.5))


def depth_figure(found: Any) -> Figure:
    """How deep the rows are."""
    histogram = Histogram("data", _thinned(found.depth), bins=50 if found.exact else 30, share=True)
    title = f"Half of the rows are at most {float(found.depth.median()):.3g} deep"
    panel = Panel("", _depth_axis(found, "depth"), Axis("share of rows"), [histogram])
    return Figure("depth", title, [panel], columns=1)


def radius_figure(found: Any) -> Figure:
    """The radii, and the tail that was fitted to the largest."""
    radii = Histogram("data", _thinned(found.radii), bins=40, share=True)
    axis = Axis("radius over the largest", range=(0.0, 1.0))
    panels = [Panel("radii", axis, Axis("share of rows"), [radii])]
    tail = found.radius
    title = "Too few different rows for a tail"
    if tail is not None:
        alpha = f"{tail.alpha:.3g}" if math.isfinite(tail.alpha) else "infinite"
        title = f"Tail exponent of the radius: {alpha} (0 on a sphere, 1 in a ball)"
        panels.append(_tail_panel(found))
    caption = "Dashed is the law that was fitted to the largest radii; it may end beyond the largest of them."
    return Figure("radius", title, panels, caption=caption, share=False)


def _tail_panel(found: Any) -> Panel:
    """Share of larger radii, on a logarithmic axis."""
    ordered = found.radii.sort(descending=True).values
    shares = torch.arange(1, len(ordered) + 1, dtype=torch.float64) / len(ordered)
    layers: list[Any] = [Scatter("data", _thinned(ordered, 300)[::-1], _thinned(shares, 300))]
    tail = found.radius
    if tail.scale > 0:
        r = torch.linspace(tail.threshold, 1.0, _POINTS, dtype=torch.float64)
        fitted = tail.survival(r)
        seen = fitted > 0.3 / len(ordered)
        layers.append(Lines("fitted tail", r[seen].tolist(), fitted[seen].tolist(), theory=True))
    return Panel("largest", Axis("radius over the largest"), Axis("share of larger radii", "log"), layers)


def rates_figure(found: Any) -> Figure:
    """n^(−e) for each law."""
    n = torch.logspace(*_ROWS, 25, dtype=torch.float64)
    lines: list[Any] = [
        Lines(exponent.law, n.tolist(), (n ** -float(exponent.fact)).tolist()) for exponent in found.exponents
    ]
    first, last = found.exponents[0], found.exponents[-1]
    here = Scatter("these rows", [float(found.total)], [found.total ** -float(first.fact)])
    panel = Panel("", Axis("rows n", "log"), Axis("n^(−e)", "log"), [*lines, here])
    title = f"Flatness in a ball of dimension {found.rank} gives n^(−{first.fact:.2g}), low norm n^(−{last.fact:.2g})"
    caption = (
        "Upper bounds under the named laws, without constants and logarithms: slopes mean something, heights do not."
    )
    return Figure("rates", title, [panel], caption=caption, columns=1)


def _thinned(values: torch.Tensor, count: int = _DRAWN) -> list[float]:
    """The values, or as many quantiles of them."""
    ordered = values.sort().values
    if len(ordered) <= count:
        return ordered.tolist()
    return ordered[torch.linspace(0, len(ordered) - 1, count).round().long()].tolist()
