"""The figures of a measurement."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steppe.curvature import Density
from steppe.plotting import Axis, Figure, Histogram, Panel, Scatter

_LAYERS = 12  # panels of activation fractions
_POINTS = 200


def figures(measurement: Any) -> dict[str, Figure]:
    """Those for which there are numbers."""
    found = {}
    if measurement.density is not None:
        found["density"] = measurement.density.plot()
    if measurement.share:
        found["share"] = share_figure(measurement.share)
    if measurement.activations:
        found["activations"] = activation_figure(measurement.activations)
    return found


def _grid(density: Density) -> Tensor:
    """Points from end to end, and a little beyond."""
    low, high = float(density.nodes.min()), float(density.nodes.max())
    margin = 0.05 * (high - low) or 1.0
    return torch.linspace(low - margin, high + margin, _POINTS, dtype=torch.float64)


def density_values(density: Density) -> dict[str, Any]:
    """Density and cumulative share on a grid, as plain values."""
    grid = _grid(density)
    return {
        "grid": grid.tolist(),
        "density": density.density(grid).tolist(),
        "cumulative": density.cumulative(grid).tolist(),
        **{name: getattr(density, name) for name in ("exact", "converged", "reason", "products", "size")},
    }


def share_figure(share: Mapping[str, float]) -> Figure:
    """Squared mass of the top eigenvector in each parameter, in the order of the network."""
    names, top = list(share), max(share, key=lambda name: share[name])
    places = list(range(1, len(names) + 1))
    points = Scatter("parameters", places, list(share.values()), hover=names, connect=True)
    axes = Axis("parameter, in the order of the model"), Axis("share", range=(0.0, 1.0))
    title = f"{share[top]:.0%} of the top eigenvector lies in {top}"
    return Figure("share", title, [Panel("", *axes, [points])], columns=1)


def activation_figure(layers: Sequence[Any]) -> Figure:
    """How often the units of each nonlinearity are active."""
    panels = [
        Panel(
            f"{layer.name} ({layer.dead} of {layer.units} dead)",
            Axis("fraction of samples that activate the unit", range=(0.0, 1.0)),
            Axis("units"),
            [Histogram("units", list(layer.unit_fractions), group=0)],
        )
        for layer in layers[:_LAYERS]
    ]
    more = f" The first {_LAYERS} of {len(layers)} layers." if len(layers) > _LAYERS else ""
    dead = sum(layer.dead for layer in layers)
    title = f"{dead} of {sum(layer.units for layer in layers)} units are active on none of the samples"
    caption = f"A unit is active where the input of its nonlinearity is positive.{more}"
    return Figure("activations", title, panels, caption=caption, columns=min(len(panels), 3), share=False)
