"""The figures of `qiao2024-univariate`: rows in, figures out."""

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Layer, Lines, Panel, Scatter

from ._univariate_claims import FIT, LIMIT, RATE, REAL, WIDTH

_STEP = Axis("step size η", scale="log")
_SAMPLES = Axis("n, samples", scale="log")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _curve(row: Row, column: str) -> list[float]:
    return [float(value) for value in row[column]]


def _points(name: str, rows: Rows, x: str, column: str) -> Scatter:
    """One point per row that has the column."""
    known = [row for row in rows if column in row]
    return Scatter(
        name,
        [float(row[x]) for row in known],
        [float(row[column]) for row in known],
        hover=[row.label for row in known],
        commands=[row.command for row in known],
    )


def _fitted(row: Row) -> list[Layer]:
    layers: list[Layer] = [Scatter("labels", _curve(row, "sample_x"), _curve(row, "sample_y"), commands=row.command)]
    layers.append(Lines("network", _curve(row, "grid"), _curve(row, "function")))
    if "clean" in row:
        layers.append(Lines("target", _curve(row, "grid"), _curve(row, "clean"), theory=True))
    return layers


def splines(rows: Rows) -> Figure:
    """The fitted functions of one seed and their knots."""
    found = _some(rows.done.where(**FIT))
    first = found.values("seed")[0]
    panels = []
    for row in found.where(seed=first):
        if row["step_size"] not in (0.01, 0.2, 0.4):
            continue
        title = f"η = {row['step_size']:g}"
        panels.append(Panel(f"fit, {title}", Axis("x"), Axis("f"), _fitted(row)))
        bars: list[Layer] = [Scatter("knots", _curve(row, "knots"), _curve(row, "jumps"))]
        panels.append(Panel(f"knots, {title}", Axis("x"), Axis("|change of slope|"), bars))
    return Figure("splines", "Large steps fit linear splines with few knots, small ones follow the noise", panels)


def against_step(rows: Rows) -> Figure:
    """Error, variation and knots against the step."""
    found = _some(rows.done.where(**FIT))
    errors: list[Layer] = [
        _points(name, found, "step_size", column)
        for name, column in (("interior", "interior_error"), ("training labels", "training_error"))
    ]
    steps = sorted({float(row["step_size"]) for row in found})
    means = [float(np.mean([row["interior_error"] for row in found if row["step_size"] == step])) for step in steps]
    errors.append(Lines("interior, mean", steps, means))
    bent = found.where(lambda row: row["weighted_variation"] > 0)
    variation: list[Layer] = [_points("∫|f''| g", bent, "step_size", "weighted_variation")]
    variation.append(Lines("1/η − ½", steps, [1 / step - 0.5 for step in steps], theory=True))
    knots: list[Layer] = [_points("effective knots", found, "step_size", "effective_knots")]
    return Figure(
        "step",
        "The larger the step, the fewer the knots; the error is least in between",
        [
            Panel("error", _STEP, Axis("mean squared error", scale="log"), errors),
            Panel("∫|f''| g", _STEP, Axis("∫|f''| g", scale="log"), variation),
            Panel("knots", _STEP, Axis("knots"), knots),
        ],
        caption="Equal time, step × updates. Networks without a knot between the samples have no ∫|f''| g to draw.",
    )


def traces(rows: Rows) -> Figure:
    """Sharpness and its floor along training."""
    found = _some(rows.done.where(**FIT))
    panels = []
    for (step,), group in sorted(found.by("step_size").items()):
        row = next((row for row in group if "trace_step" in row), None)
        if row is None:
            continue
        at = [max(step, 1.0) for step in _curve(row, "trace_step")]
        layers: list[Layer] = [
            Lines("sharpness", at, _curve(row, "trace_sharpness")),
            Lines("1 + 2 ∫|f''| g", at, _curve(row, "trace_floor")),
            Lines("2/η", [at[0], at[-1]], [2 / step, 2 / step], theory=True),
        ]
        panels.append(Panel(f"η = {step:g}", Axis("updates", scale="log"), Axis("sharpness", scale="log"), layers))
    if not panels:
        raise NotComputedError("no sharpness was followed in this run")
    return Figure(
        "traces", "Training brings the sharpness below two over the step; ∫|f''| g keeps it above a floor", panels
    )


def rates(rows: Rows) -> Figure:
    """Interior error against the number of samples."""
    found = _some(rows.done.where(**RATE))
    sizes = sorted({int(row["n"]) for row in found})
    layers: list[Layer] = []
    names = {
        "gradient descent, η = 0.2": "interior_error",
        "smoothing spline, best penalty": "spline_error",
        "certified least variation": "variation_error",
        "line": "affine_error",
    }
    for name, column in names.items():
        layers.append(_points(name, found, "n", column))
    start = float(np.mean([row["interior_error"] for row in found if row["n"] == sizes[0]]))
    for name, slope in (("n^(−4/5)", -0.8), ("n^(−3/4)", -0.75)):
        layers.append(
            Lines(name, [float(n) for n in sizes], [start * (n / sizes[0]) ** slope for n in sizes], theory=True)
        )
    panels = [Panel("interior error", _SAMPLES, Axis("mean squared error", scale="log"), layers)]
    gap: list[Layer] = [_points("gap", found, "n", "interior_gap")]
    panels.append(Panel("generalization gap", _SAMPLES, Axis("gap", scale="log"), gap))
    return Figure("rate", "In the interior the error of a large step falls with more samples", panels)


def limits(rows: Rows) -> Figure:
    """The largest step at which an interpolant can be stable."""
    found = _some(rows.done.where(**LIMIT))
    layers: list[Layer] = [
        _points(f"{inputs}, noise {noise:g}", group, "n", "interpolating_step")
        for (inputs, noise), group in found.by("inputs", "noise").items()
    ]
    panel = Panel("", _SAMPLES, Axis("largest step", scale="log"), layers)
    return Figure("limit", "Noise can be interpolated only with steps that fall like n^(−2) or faster", [panel])


def widths(rows: Rows) -> Figure:
    """Interpolants of 30 noisy labels against the width."""
    found = _some(rows.done.where(**WIDTH))
    axis = Axis("width", scale="log")
    errors: list[Layer] = [
        _points(name, found, "width", column)
        for name, column in (("mean", "error_share"), ("worst point", "worst_share"))
    ]
    top: list[Layer] = [
        _points(name, found, "width", column)
        for name, column in (("sharpness", "interpolant_sharpness"), ("least possible", "interpolant_floor"))
    ]
    return Figure(
        "width",
        "Interpolating noise is catastrophic at widths near n and tempered beyond",
        [
            Panel("error over σ²", axis, Axis("error / σ²", scale="log"), errors),
            Panel("sharpness of interpolants", axis, Axis("sharpness", scale="log"), top),
        ],
        caption="Random knots, output weights of least norm; the widest are close to a cubic spline.",
    )


def real(rows: Rows) -> Figure:
    """Real series: fits of one seed, and held-out errors."""
    found = _some(rows.done.where(**REAL))
    panels = []
    for (series,), group in found.by("series").items():
        first = group.values("seed")[0]
        steps = group.values("step_size")
        panels += [
            Panel(f"{series}, η = {row['step_size']:g}", Axis("x"), Axis("f"), _fitted(row))
            for row in group.where(seed=first)
            if row["step_size"] in (min(steps), max(steps))
        ]
        layers: list[Layer] = [
            _points(name, group, "step_size", column)
            for name, column in (
                ("all held-out points", "heldout_error"),
                ("inner 80 %", "heldout_inner"),
                ("training labels", "training_error"),
            )
        ]
        panels.append(Panel(f"{series}, errors", _STEP, Axis("mean squared error", scale="log"), layers))
    return Figure(
        "real", "On real series, too, large steps fit fewer knots; whether that helps depends on them", panels
    )


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Knots and errors of a small, a middle and a large step."""
    found = rows.done.where(**FIT)
    words = []
    for step in (0.01, 0.2, 0.4):
        group = found.where(step_size=step)
        if group:
            knots, error = (float(np.median(group.column(name))) for name in ("effective_knots", "interior_error"))
            words.append(f"step {step:g}: {knots:g} knots, error {error:.2g}")
    return f"Median effective knots and error in the interior: {'; '.join(words)}." if words else "Nothing was fitted."
