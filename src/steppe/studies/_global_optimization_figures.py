"""The figures of `bai2022-global-optimization`: rows in, figures out."""

from typing import Any

from steppe.core import NotComputedError
from steppe.harness import Row, Rows
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

_METHODS = {"adam": "Adam, falling step", "gradient-descent": "gradient descent", "pathprox": "PathProx"}
_FLOOR = 1e-10  # what is closer to the optimum than that is drawn there


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _data(row: Row) -> str:
    return f"{row['inputs']}, n = {row['n']}, d = {row['d']}"


def _curve(name: str, row: Row, x: list[float], y: list[float], group: int) -> Scatter:
    shown = [(a, b) for a, b in zip(x, y, strict=True) if a > 0]
    return Scatter(
        name, [a for a, _ in shown], [b for _, b in shown], hover=row.label, commands=row.command, group=group,
        connect=True, size=4,
    )  # fmt: skip


def descent(rows: Rows) -> Figure:
    """Excess over the certified optimum along first-order training."""
    found = _some(rows.done.where(experiment="descent"))
    panels = []
    for group in found.by("inputs", "n", "d").values():
        layers: list[Any] = []
        for row in group:
            place = list(_METHODS).index(row["method"])
            excess = [max(value, _FLOOR) for value in row["trace_excess"]]
            layers.append(_curve(_METHODS[row["method"]], row, row["trace_step"], excess, place))
        last = max(row["trace_step"][-1] for row in group)
        sampled = min(row["sampled"] / row["certified"] - 1 for row in group)
        layers.append(Lines("best sampled program, 100 patterns", [last / 20, last], [sampled] * 2, theory=True))
        panels.append(Panel(_data(group[0]), Axis("update"), Axis("excess over the optimum", scale="log"), layers))
    return Figure(
        "descent",
        "First-order training comes close to the certified optimum, and never below it",
        panels,
        caption="Objective over the certified optimum, minus one, along training; a line per seed. Dashed: where the "
        "sampled convex program of the best seed ends. Only the certificate knows where zero is.",
    )


def patterns(rows: Rows) -> Figure:
    """Sampled programs and gated relaxations against the number of patterns."""
    found = _some(rows.done.where(experiment="patterns"))
    panels = []
    for group in found.by("inputs", "n", "d").values():
        layers: list[Any] = []
        for row in group:
            layers.append(_curve("sampled program", row, row["pattern_count"], row["pattern_excess"], 0))
            layers.append(_curve("gated relaxation", row, row["pattern_count"], row["gated_excess"], 1))
        ends = [group[0]["pattern_count"][0], group[0]["pattern_count"][-1]]
        layers.append(Lines("certified optimum", ends, [0.0, 0.0], theory=True))
        axis = Axis("sampled activation patterns", scale="log")
        panels.append(Panel(_data(group[0]), axis, Axis("value over the optimum, minus one"), layers))
    return Figure(
        "patterns",
        "Sampled programs come down to the optimum with more patterns; relaxations fall through it",
        panels,
        caption="Optimum of the sampled program and of its gated relaxation over the certified optimum, minus one; a "
        "line per seed. Because gates are sampled the relaxation is no lower bound: with few of them it lies above.",
    )


def robust(rows: Rows) -> Figure:
    """Certified robust accuracy against the radius, robust and plain training."""
    found = _some(rows.done.where(experiment="robust"))
    panels = []
    for group in found.by("fit").values():
        layers: list[Any] = []
        for row in group:
            layers.append(_curve("robust training", row, row["curve_radius"], row["robust_curve"], 0))
            layers.append(_curve("plain training", row, row["curve_radius"], row["plain_curve"], 1))
        radius = group[0]["radius"]
        layers.append(Lines("radius of training", [radius, radius], [0.0, 1.0], theory=True))
        axis = Axis("share of fresh labels kept, proved", range=(0.0, 1.05))
        panels.append(Panel(f"{group[0]['fit']} loss", Axis("radius of the adversary"), axis, layers))
    return Figure(
        "robust",
        "Robust training gives up the features that an adversary can turn",
        panels,
        caption="Share of 100 fresh samples whose label is proved not to change under any move of that size in every "
        "coordinate. Dashed: the radius that robust training was told.",
    )
