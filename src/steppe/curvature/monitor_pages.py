"""The picture and the page of a followed training."""

import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from steppe.core import InputError
from steppe.plotting import Axis, Band, Figure, Lines, Panel, Scatter, Section, standalone_page, write_page

_STATES = ("below", "at", "beyond")


def curve_figure(
    readings: Sequence[Any],
    losses: Sequence[tuple[int, float]],
    *,
    within: float,
    overhead: float = math.nan,
    title: str = "Sharpness and its stability limit",
) -> Figure:
    """Sharpness with its error against the dashed limit and the band that counts as "at"; the loss below.

    Args:
        readings: What has `step`, `sharpness`, `low`, `high`, `limit`, `state`.
        losses: (step, loss); none draws no second panel.
        within: Half-width of the band, in parts of the limit.
        overhead: Share of the training's time, for the legend.
        title: What the figure shows.

    Raises:
        InputError: There is nothing to draw.
    """
    if not readings:
        raise InputError("`plot` needs at least one reading, got none; measure first")
    spent = f", {100 * overhead:.3g} % of the training time" if math.isfinite(overhead) else ""
    drawn = [reading for reading in readings if math.isfinite(reading.sharpness.value)]
    panels = [Panel("", Axis("step"), Axis(_label(readings), _scale(drawn)), _curve(drawn, within, spent))]
    finite = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if finite:
        scale: Any = "log" if all(loss > 0 for _, loss in finite) else "linear"
        line = Lines("loss", [step for step, _ in finite], [loss for _, loss in finite])
        panels.append(Panel("", Axis("step"), Axis("loss", scale=scale), [line]))
    caption = (
        f"Dashed: the stability limit of the optimizer. Shaded: within {100 * within:.2g} % of it. Bars: error of the "
        "sharpness. The limit is that of the linearised full-batch dynamics on these samples."
    )
    return Figure("edge", title, panels, caption=caption, columns=1)


def _scale(readings: Sequence[Any]) -> Literal["linear", "log"]:
    """Logarithmic where the numbers span more than a factor of 30, as they do around a spike."""
    limits = [reading.limit for reading in readings if math.isfinite(reading.limit)]
    values = [*(reading.sharpness.value for reading in readings), *(reading.low for reading in readings), *limits]
    return "log" if values and min(values) > 0 and max(values) > 30 * min(values) else "linear"


def _label(readings: Sequence[Any]) -> str:
    return (readings[0].sharpness.quantity if readings else "") or "sharpness"


def _curve(readings: Sequence[Any], within: float, spent: str) -> list[Any]:
    limited = [reading for reading in readings if math.isfinite(reading.limit)]
    layers: list[Any] = []
    if limited:
        steps = [reading.step for reading in limited]
        layers += [
            Band(
                "at the limit",
                steps,
                [(1 - within) * reading.limit for reading in limited],
                [(1 + within) * reading.limit for reading in limited],
                group=3,
            ),
            Lines("stability limit", steps, [reading.limit for reading in limited], theory=True),
        ]
    values = [reading.sharpness.value for reading in readings]
    layers.append(Lines(f"{_label(readings)}{spent}", [reading.step for reading in readings], values, group=0))
    for group, state in enumerate(_STATES):
        chosen = [reading for reading in readings if reading.state == state]
        if chosen:
            layers.append(
                Scatter(
                    state,
                    [reading.step for reading in chosen],
                    [reading.sharpness.value for reading in chosen],
                    hover=[_hover(reading) for reading in chosen],
                    low=[min(reading.low, reading.sharpness.value) for reading in chosen],
                    high=[_end(reading) for reading in chosen],
                    group=(0, 3, 1)[group],
                )
            )
    return layers


def _end(reading: Any) -> float:
    """Upper end of the error bar; none where nothing bounds the number from above."""
    value = float(reading.sharpness.value)
    return max(reading.high, value) if math.isfinite(reading.high) else value


def _hover(reading: Any) -> str:
    layer = getattr(reading, "layer", "")
    where = f"; {layer} {100 * reading.layer_share:.3g} %" if layer else ""
    return f"{100 * reading.margin:.4g} % of the limit{where}"


def save_page(path: str | PathLike[str], figure: Figure, sentence: str, readings: Sequence[Any]) -> Path:
    """The figure under its sentence, as one file.

    Args:
        path: Where to.
        figure: What `curve_figure` returned.
        sentence: What was seen.
        readings: For the conventions.
    """
    facts = [readings[-1].sharpness.convention] if readings and readings[-1].sharpness.convention else []
    return write_page(path, standalone_page(figure.title, [Section("", figures=[figure])], lead=sentence, facts=facts))
