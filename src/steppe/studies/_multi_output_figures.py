"""The figures of `shenouda2023-multi-output`: rows in, figures out."""

from typing import Any

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Histogram, Lines, Panel, Scatter

from ._multi_output_claims import MEAN_WIDTH

_PENALTIES = {"group": "penalty on neurons", "entry": "penalty on entries", "none": "no penalty", "optimum": "optimum"}


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _counts(rows: Rows) -> list[float]:
    return [float(count) for row in rows for count in row["active"]]


def widths(rows: Rows) -> Figure:
    """Histograms of active neurons."""
    found = _some(rows.done.where(experiment="width"))
    panels = []
    for (n,), group in found.by("n").items():
        outputs = group[0]["outputs"]
        counts = _counts(group)
        layers: list[Any] = [Histogram("trials", counts, group=0)]
        marks = {"N": float(n), "recorded mean": MEAN_WIDTH.get(n), "N·D": float(n * outputs)}
        high = max(1.0, len(counts) / 6)
        layers += [Lines(name, [at, at], [0.0, high], theory=True) for name, at in marks.items() if at is not None]
        panels.append(Panel(f"N = {n}, D = {outputs}", Axis("active neurons"), Axis("trials"), layers))
    return Figure(
        "widths",
        "Minimum-norm solutions use more than N and far fewer than N·D neurons",
        panels,
        caption="Gaussian features and targets, 500 neurons to choose from; vertical lines: N, recorded mean, N·D.",
        share=False,
    )


def ranks(rows: Rows) -> Figure:
    """Active neurons against rank."""
    found = _some(rows.done.where(experiment="rank"))
    points = Scatter(
        "mean over trials",
        [float(row["rank"]) for row in found],
        [float(row["mean_active"]) for row in found],
        hover=[row.label for row in found],
        commands=[row.command for row in found],
        low=[float(row["fewest_active"]) for row in found],
        high=[float(row["most_active"]) for row in found],
    )
    at = sorted({float(row["rank"]) for row in found})
    bounds = {row["rank"]: float(row["bound"]) for row in found}
    lines = [
        Lines("rank", at, at, theory=True),
        Lines("product of the ranks", at, [bounds[int(rank)] for rank in at], theory=True),
    ]
    axes = Axis("rank of the features", scale="log"), Axis("active neurons", scale="log")
    return Figure(
        "ranks",
        "Features of low rank need few neurons",
        [Panel("", *axes, [points, *lines])],
        caption="Interval: least and most over the trials. Dashed: the rank, and the bound r_Φ · r_Ψ.",
        columns=1,
    )


def sharing(rows: Rows) -> Figure:
    """Where the neurons of the student sit."""
    found = _some(rows.done.where(experiment="sharing"))
    axes = Axis("direction of the input weights (radian)"), Axis("bias over their norm")
    panels = []
    for row in found:
        inside = [
            (angle, bias) for angle, bias in zip(row["neuron_angle"], row["neuron_bias"], strict=True) if abs(bias) <= 3
        ]
        points = Scatter(
            "neurons in use",
            [angle for angle, _ in inside],
            [bias for _, bias in inside],
            hover=row.label,
            commands=row.command,
        )
        title = f"{_PENALTIES[row['penalty']]}: {row['used']} in use, {row['shared']:.0%} serve both outputs"
        panels.append(Panel(title, *axes, [points]))
    return Figure(
        "sharing",
        "With the group penalty a few neurons serve both outputs",
        panels,
        caption="Each point is a neuron with ‖(w, b)‖‖v‖ above 1e-3 and a bias of at most 3.",
    )


def curves(rows: Rows) -> Figure:
    """Neurons left against tolerance."""
    found = _some(rows.done.where(experiment="compression"))
    panels = []
    for (inputs, network, n, width), group in found.by("inputs", "network", "n", "width").items():
        layers: list[Any] = [_curve(row) for row in group]
        tolerances, before = group[0]["curve_tolerance"], float(group[0]["neurons_before"])
        layers.append(Lines("before", [tolerances[0], tolerances[-1]], [before, before], theory=True))
        axes = Axis("relative change of the training outputs allowed", scale="log"), Axis("neurons left", scale="log")
        panels.append(Panel(f"{inputs}, {network}, n = {n}, width {width}", *axes, layers))
    return Figure(
        "curves",
        "With fewer samples than neurons compression is exact; with more it costs accuracy",
        panels,
        caption="One line per seed; dashed, neurons before.",
        share=False,
    )


def _curve(row: Row) -> Scatter:
    return Scatter(
        f"seed {row['seed']}",
        row["curve_tolerance"],
        [float(count) for count in row["curve_neurons"]],
        hover=row.label,
        commands=row.command,
        group=row["seed"],
        connect=True,
        size=4,
    )


FIGURES = (
    FigureSpec("widths", widths, claims=("width-as-recorded", "rank-product", "at-least-n")),
    FigureSpec("ranks", ranks, claims=("rank-as-recorded",)),
    FigureSpec("sharing", sharing, claims=("shared-width", "shared-neurons", "bare-width")),
    FigureSpec("curves", curves, section="real data", claims=("exact-digits", "no-room", "loose")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Widths, sharing and compression, from the rows."""
    said = []
    solved = rows.done.where(experiment="width")
    if solved:
        parts = [f"{_mean(group):.0f} at N = {n}" for (n,), group in solved.by("n").items()]
        said.append(f"Of 500 neurons the minimum-norm solutions used {', '.join(parts)}.")
    said += [
        f"With the group penalty {row['used']} neurons were left, {row['shared']:.0%} of them for both outputs."
        for row in rows.done.where(experiment="sharing", penalty="group")
    ]
    said += [
        f"A network of {row['neurons_before']} neurons on {row['n']} {row['inputs']} was left with "
        f"{row['neurons_exact']} and the same outputs (relative change {row['change_exact']:.0e})."
        for row in rows.done.where(experiment="compression", n=80, seed=0)
    ]
    return " ".join(said) or "Nothing was computed in this run."


def _mean(rows: Rows) -> float:
    counts = _counts(rows)
    return sum(counts) / len(counts)
