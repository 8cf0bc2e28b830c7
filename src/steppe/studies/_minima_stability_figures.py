"""The figures of `mulayoff2021-minima-stability`: rows in, figures out."""

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Layer, Lines, Panel, Scatter

from ._minima_stability_claims import STOCHASTIC, TRIPLE, lemma_floor, sharp_bound, sharp_bound_after

_SHOWN = 3  # seeds shown one by one
_POINTS = Axis("x")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _curve(row: Row, column: str) -> list[float]:
    return [float(value) for value in row[column]]


def _seed(row: Row) -> str:
    return f"seed {row.cell.get('seed')}"


def jump(rows: Rows) -> Figure:
    """Loss against updates, the step tripled on the way."""
    found = list(_some(rows.done.where(**TRIPLE)))[:_SHOWN]
    layers: list[Layer] = []
    for row in found:
        pairs = [(s, v) for s, v in zip(_curve(row, "updates"), _curve(row, "losses"), strict=True) if s > 0 and v > 0]
        layers.append(Lines(_seed(row), [s for s, _ in pairs], [v for _, v in pairs]))
    panel = Panel("", Axis("updates", scale="log"), Axis("training loss", scale="log"), layers)
    return Figure(
        "jump",
        "Tripling the step at a minimum makes the loss jump; it then settles at another one",
        [panel],
        caption="The first half of the updates has the small step.",
    )


def functions(rows: Rows) -> Figure:
    """The two functions and the samples."""
    panels = []
    for row in list(_some(rows.done.where(**TRIPLE)))[:_SHOWN]:
        grid = _curve(row, "grid")
        layers: list[Layer] = [
            Lines("small step", grid, _curve(row, "function_before")),
            Lines("tripled step", grid, _curve(row, "function_after")),
            Scatter("samples", _curve(row, "sample_x"), _curve(row, "sample_y"), commands=row.command),
        ]
        panels.append(Panel(_seed(row), _POINTS, Axis("f"), layers))
    return Figure("functions", "The tripled step ends in a smoother function through the same points", panels)


def curvature(rows: Rows) -> Figure:
    """Where |f''| was before and after, with the weight."""
    panels = []
    for row in list(_some(rows.done.where(**TRIPLE)))[:_SHOWN]:
        at = _curve(row, "cells")
        before, after, weight = (_curve(row, name) for name in ("mass_before", "mass_after", "cell_weight"))
        scale = max(*before, *after) / max(weight)
        layers: list[Layer] = [
            Scatter("small step", at, before, connect=True),
            Scatter("tripled step", at, after, connect=True),
            Lines("g, scaled", at, [scale * g for g in weight], theory=True),
        ]
        panels.append(Panel(_seed(row), _POINTS, Axis("∫|f''| per twelfth"), layers))
    return Figure("curvature", "The second derivative shrinks where the weight g is large, and moves outward", panels)


def slack(rows: Rows) -> Figure:
    """Both sides of the bounds."""
    found = _some(rows.done)
    layers: list[Layer] = []
    lemma = list(found.where(experiment="lemma"))
    for name, column in (("as drawn", "sharpness"), ("shortest mean gradient", "balanced_sharpness")):
        x, y = [float(row[column]) for row in lemma], [lemma_floor(row) for row in lemma]
        layers.append(Scatter(name, x, y, hover=[row.label for row in lemma], commands=[row.command for row in lemma]))
    triple = list(found.where(**TRIPLE))
    for name, bound, column in (
        ("after the small step", sharp_bound, "variation_before"),
        ("after the tripled step", sharp_bound_after, "variation_after"),
    ):
        x, y = [1 + 2 * bound(row) for row in triple], [1 + 2 * float(row[column]) for row in triple]
        layers.append(
            Scatter(name, x, y, hover=[row.label for row in triple], commands=[row.command for row in triple])
        )
    every = [value for layer in layers if isinstance(layer, Scatter) for value in layer.x]
    ends = [1.0, max(every, default=2.0)]
    layers.append(Lines("equality", ends, ends, theory=True))
    axes = Axis("sharpness, plus the residual's term", scale="log"), Axis("1 + 2 ∫|f''| g", scale="log")
    return Figure("slack", "No network is flatter than its second derivative allows", [Panel("", *axes, layers)])


def weight(rows: Rows) -> Figure:
    """The weight of small samples and of their laws."""
    found = _some(rows.done.where(experiment="weight"))
    panels = []
    for (law,), group in found.by("inputs").items():
        smallest = min(row["n"] for row in group)
        layers: list[Layer] = [
            Lines(_seed(row), _curve(row, "weight_grid"), _curve(row, "weight_sample"))
            for row in list(group.where(n=smallest))[:_SHOWN]
        ]
        first = next(iter(group))
        if "weight_law" in first:
            layers.append(Lines("law", _curve(first, "weight_grid"), _curve(first, "weight_law"), theory=True))
        panels.append(Panel(f"{law}, n = {smallest}", Axis("threshold"), Axis("g"), layers))
    return Figure("weight", "The weight is largest in the middle of the data and vanishes at their ends", panels)


def sgd(rows: Rows) -> Figure:
    """Largest stable steps against the batch, and which share of runs returns."""
    found = list(_some(rows.done.where(**STOCHASTIC)))
    batch = [float(row["batch"]) for row in found]
    hover, commands = [row.label for row in found], [row.command for row in found]
    limits: list[Layer] = [
        Scatter(name, batch, [float(row[column]) for row in found], hover=hover, commands=commands)
        for name, column in (
            ("criterion", "step_criterion"),
            ("second moments", "step_exact"),
            ("full batches, 2/a", "step_full"),
        )
    ]
    shares: list[Layer] = []
    sizes = sorted(set(batch))
    for name, column in (
        ("criterion", "returned_below"),
        ("second moments", "returned_exact"),
        ("2/a", "returned_full"),
    ):
        means = [float(np.mean([row[column] for row in found if row["batch"] == size])) for size in sizes]
        shares.append(Scatter(f"0.8 × {name}", sizes, means, connect=True))
    return Figure(
        "sgd",
        "Small batches need small steps: the closed limits, and runs of SGD",
        [
            Panel("largest stable step", Axis("batch", scale="log"), Axis("step", scale="log"), limits),
            Panel("share of runs that return", Axis("batch", scale="log"), Axis("share"), shares),
        ],
    )


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """What tripling did, in numbers."""
    found = rows.done.where(**TRIPLE)
    if not found:
        return "No step was tripled in this run."

    def mean(column: str) -> float:
        return float(found.column(column).mean())

    words = (
        f"Tripling the step at a minimum moved ∫|f''| g from {mean('variation_before'):.2f} to "
        f"{mean('variation_after'):.2f} on average; where g is large {mean('reduction_high'):.0%} of ∫|f''| went, "
        f"elsewhere it changed by {-mean('reduction_low'):+.0%}."
    )
    single = rows.done.where(**STOCHASTIC | {"batch": 1})
    if single:
        ratio = float((single.column("step_exact") / single.column("step_full")).mean())
        words += f" SGD on single samples is stable up to {ratio:.0%} of the full-batch limit."
    return words.replace("%", " %")
