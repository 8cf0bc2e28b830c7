"""The figures of `cohen2021-edge-of-stability`: rows in, figures out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

from ._edge_of_stability_claims import LIMITS, NAMES, TRAINED

_UPDATE = Axis("updates", scale="log")
_SHARPNESS = Axis("sharpness (loss/parameter²)", scale="log")
_RATIO = Axis("sharpness over the optimizer's limit", scale="log")
_LOSS = Axis("training loss", scale="log")
_TIME = Axis("updates")
_USUAL = {"inputs": "fields-8", "network": "tanh", "loss": "squared"}
_SERIES = ("experiment", "inputs", "network", "loss", "optimizer", "n", "width", "step_size")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _title(row: Row) -> str:
    """What tells this row's panel from others."""
    words = [NAMES.get(str(row["optimizer"]), str(row["optimizer"]))] if "optimizer" in row else []
    words += [f"step {row['step_size']:g}"]
    words += [str(row[axis]) for axis, usual in _USUAL.items() if axis in row and row[axis] != usual]
    return ", ".join(words)


def _curves(rows: Rows, column: str, *, over: str | None = None) -> list[Any]:
    """A line per row."""
    layers = []
    for row in rows:
        scale = row[over] if over else 1.0
        pairs = [(s, v / scale) for s, v in zip(row["trace_step"], row[column], strict=True) if s > 0 and v > 0]
        layers.append(
            Scatter(
                f"seed {row['seed']}",
                [s for s, _ in pairs],
                [v for _, v in pairs],
                hover=row.label,
                commands=row.command,
                group=row["seed"],
                connect=True,
                size=3,
            )
        )
    return layers


def _last(rows: Rows) -> float:
    return float(max(row["trace_step"][-1] for row in rows))


def _sharpness_panel(rows: Rows) -> Panel:
    limit = rows[0]["stability_limit"]
    dashed = Lines("limit of the optimizer", [1, _last(rows)], [limit, limit], theory=True)
    return Panel(_title(rows[0]), _UPDATE, _SHARPNESS, [*_curves(rows, "trace_sharpness"), dashed])


def _ratio_panel(rows: Rows) -> Panel:
    dashed = Lines("limit of the optimizer", [1, _last(rows)], [1.0, 1.0], theory=True)
    layers = _curves(rows, "trace_effective", over="stability_limit")
    return Panel(_title(rows[0]), _UPDATE, _RATIO, [*layers, dashed])


def _loss_panel(rows: Rows) -> Panel:
    layers = _curves(rows, "trace_loss")
    edges = [row["edge_step"] for row in rows if row.get("edge_step")]
    if edges:
        at, values = float(np.median(edges)), [v for row in rows for v in row["trace_loss"] if v > 0]
        layers.append(Lines("edge reached", [at, at], [min(values), max(values)], theory=True))
    return Panel(_title(rows[0]), _UPDATE, _LOSS, layers)


def _panels(rows: Rows, *panels: Callable[[Rows], Panel]) -> list[Panel]:
    """Per setting, one panel of each kind."""
    return [panel(group) for group in _some(rows).by(*_SERIES).values() for panel in panels]


def _descent(rows: Rows) -> Rows:
    usual = ("digits",)
    found = rows.done.where(experiment="train", optimizer="gradient-descent", loss="squared")
    return found.where(lambda row: row["inputs"] not in usual)


def sharpness(rows: Rows) -> Figure:
    """Sharpness along gradient descent, against 2/η."""
    return Figure(
        "sharpness",
        "Under gradient descent sharpness rises until it meets 2/η, and stays there",
        _panels(_descent(rows), _sharpness_panel),
        caption="Largest eigenvalue of the Hessian along training; dashed, the limit 2/η.",
    )


def loss(rows: Rows) -> Figure:
    """Loss of the same runs."""
    return Figure(
        "loss",
        "At the edge the loss jumps up and down, and falls over long times",
        _panels(_descent(rows), _loss_panel),
        caption="Training loss at the recorded updates; the vertical line is where the sharpness reached 2/η.",
    )


def optimizers(rows: Rows) -> Figure:
    """Effective sharpness over its limit, for momentum and adaptive methods."""
    others = [name for name in NAMES if name != "gradient-descent"]
    found = rows.done.where(**TRAINED).where(optimizer=others)
    limits = "; ".join(f"{NAMES[name]}: {LIMITS[name]}" for name in others)
    return Figure(
        "optimizers",
        "Momentum and adaptive methods settle at limits of their own",
        _panels(found, _ratio_panel),
        caption=f"Sharpness in the metric of the limit, over the limit (dashed). {limits}. "
        "Second moments start at zero, hence the first points of adaptive methods.",
    )


def digits(rows: Rows) -> Figure:
    """The same on handwritten digits."""
    return Figure(
        "digits",
        "Handwritten digits: the same limits",
        _panels(rows.done.where(experiment="train", inputs="digits"), _ratio_panel),
        caption="Sharpness in the metric of the limit, over the limit (dashed).",
    )


def plateau(rows: Rows) -> Figure:
    """Plateau against the step."""
    found = _some(_descent(rows))
    layers: list[Any] = []
    for (inputs, network), group in found.by("inputs", "network").items():
        layers.append(
            Scatter(
                f"{inputs}, {network}",
                group.column("step_size").tolist(),
                group.column("plateau_sharpness").tolist(),
                hover=[row.label for row in group],
                commands=[row.command for row in group],
            )
        )
    steps = [float(step) for step in found.values("step_size")]
    layers.append(Lines("2/η", steps, [2 / step for step in steps], theory=True))
    return Figure(
        "plateau",
        "Twice the step halves the plateau",
        [Panel("", Axis("step size η", scale="log"), _SHARPNESS, layers)],
        caption="Median sharpness over the last quarter of training, one point per run; dashed, 2/η.",
        columns=1,
    )


def below(rows: Rows) -> Figure:
    """A small step and one at the edge."""
    return Figure(
        "below",
        "A small step stays below its limit, and its loss never rises",
        _panels(rows.done.where(experiment="below"), _ratio_panel, _loss_panel),
        caption="Left: sharpness over 2/η. Right: training loss.",
        share=False,
    )


def cross_entropy(rows: Rows) -> Figure:
    """Sharpness falls late."""
    found = rows.done.where(experiment="train", loss="cross-entropy")
    return Figure(
        "cross-entropy",
        "With cross-entropy the sharpness falls again as the margins grow",
        _panels(found, _sharpness_panel, _loss_panel),
        caption="Left: sharpness, dashed 2/η. Right: training loss.",
        share=False,
    )


def two_parameters(rows: Rows) -> Figure:
    """Where descent on ½(vw − 1)² settles."""
    found = _some(rows.done.where(experiment="two-parameters"))
    layers: list[Any] = [
        Scatter(
            f"from ({v:g}, {w:g})",
            group.column("step_size").tolist(),
            group.column("settled_curvature").tolist(),
            hover=[row.label for row in group],
            commands=[row.command for row in group],
        )
        for (v, w), group in found.by("v", "w").items()
    ]
    steps = np.geomspace(min(found.values("step_size")), max(found.values("step_size")), 30)
    layers.append(Lines("2/η", steps.tolist(), (2 / steps).tolist(), theory=True))
    return Figure(
        "two-parameters",
        "Two parameters: descent on ½(vw − 1)² settles only below 2/η",
        [Panel("", Axis("step size η", scale="log"), Axis("v² + w², the sharpness", scale="log"), layers)],
        caption="Points: where gradient descent settled from each start. Dashed: 2/η.",
        columns=1,
    )


# --- flows ---


def _flow_panels(rows: Rows, axis: Axis, series: dict[str, str], *, limit: bool = False) -> list[Panel]:
    found = _some(rows.done.where(experiment="flow"))
    panels = []
    for row in found:
        layers: list[Any] = []
        for index, (column, name) in enumerate(series.items()):
            pairs = [(s, v) for s, v in zip(row["flow_step"], row[column], strict=True) if v > 0]
            layers.append(
                Scatter(
                    name,
                    [s for s, _ in pairs],
                    [v for _, v in pairs],
                    hover=row.label,
                    commands=row.command,
                    group=index,
                    connect=True,
                    size=3,
                )
            )
        if limit:
            ends = [row["flow_step"][0], row["flow_step"][-1]]
            layers.append(Lines("limit 2/η", ends, [row["stability_limit"]] * 2, theory=True))
        panels.append(Panel(f"{_title(row)}, seed {row['seed']}", _TIME, axis, layers))
    return panels


def flow_loss(rows: Rows) -> Figure:
    """Mean loss of descent against the prediction."""
    series = {
        "flow_descent_loss": "gradient descent, mean",
        "flow_predicted_loss": "central flow, L + σ²/η",
        "flow_bare_loss": "central flow, L alone",
        "flow_gradient_loss": "gradient flow",
    }
    return Figure(
        "flow-loss",
        "The central flow predicts the mean loss at the edge; gradient flow does not",
        _flow_panels(rows, _LOSS, series),
        caption="Means over windows of 20 updates.",
    )


def flow_distance(rows: Rows) -> Figure:
    """Distance of mean descent to both flows."""
    series = {"flow_central_distance": "to the central flow", "flow_gradient_distance": "to the gradient flow"}
    return Figure(
        "flow-distance",
        "Gradient descent leaves the gradient flow at the edge and stays near the central flow",
        _flow_panels(rows, Axis("distance over distance gone", scale="log"), series),
        caption="Distance in parameter space between means over 20 updates, over the distance from the start.",
    )


def flow_sharpness(rows: Rows) -> Figure:
    """Sharpness along both flows."""
    series = {"flow_central_sharpness": "central flow", "flow_gradient_sharpness": "gradient flow"}
    return Figure(
        "flow-sharpness",
        "Gradient flow goes on to sharpen; the central flow stops at 2/η",
        _flow_panels(rows, _SHARPNESS, series, limit=True),
        caption="Largest eigenvalue of the Hessian along the two flows; dashed, 2/η.",
    )


FIGURES = (
    FigureSpec("sharpness", sharpness, claims=("progressive-sharpening", "plateau-gradient-descent")),
    FigureSpec("plateau", plateau, claims=("plateau-halves",)),
    FigureSpec("loss", loss, claims=("edge-not-monotone", "edge-decreases")),
    FigureSpec("optimizers", optimizers, claims=tuple(f"plateau-{name}" for name in list(NAMES)[1:])),
    FigureSpec("below", below, claims=("below-stays-below", "below-monotone", "below-follows-flow")),
    FigureSpec("cross-entropy", cross_entropy, claims=("cross-entropy-falls",)),
    FigureSpec("flow-loss", flow_loss, section="central flow", claims=("central-flow-loss", "central-flow-variance")),
    FigureSpec("flow-distance", flow_distance, section="central flow", claims=("central-flow-followed",)),
    FigureSpec("flow-sharpness", flow_sharpness, section="central flow", claims=("central-flow-bounded",)),
    FigureSpec("two-parameters", two_parameters, claims=("minima-sharpness", "settles-where-stable")),
    FigureSpec("digits", digits, section="real data", claims=("digits-gradient-descent", "digits-adam")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Where each optimizer settled and how well the central flow did, from the rows."""
    words = [
        f"{NAMES[name]} at {_mean(group, 'plateau_effective', 'stability_limit'):.2f}"
        for (name,), group in rows.done.where(**TRAINED).by("optimizer").items()
        if name in NAMES
    ]
    if not words:
        return "No network was trained to the edge in this run."
    said = "Sharpness rose until it met the optimizer's limit and stayed there; in units of the limit, "
    said += f"{', '.join(words)}."
    flows = rows.done.where(experiment="flow")
    if flows:
        central, gradient = (100 * _mean(flows, f"{kind}_distance") for kind in ("central", "gradient"))
        said += (
            f" Gradient descent ended {gradient:.0f} % of the distance gone away from the gradient flow, and "
            f"{central:.0f} % from the central flow."
        )
    return said


def _mean(rows: Rows, column: str, over: str | None = None) -> float:
    return float((rows.column(column) / (rows.column(over) if over else 1.0)).mean())
