"""The figures of `parhi2021-near-minimax`: rows in, figures out."""

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import Rows
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

from ._near_minimax_claims import kernel_slope, network_over_kernel, network_slope

_SAMPLES = Axis("n, samples", scale="log")
_WORDS = {
    "network_error": "certified network",
    "kernel_error": "kernel ridge, best ridge",
    "affine_error": "affine fit",
}


def errors(rows: Rows) -> Figure:
    """Both errors against n, with the two exponents of theory."""
    found = _some(rows.done.where(experiment="error"))
    return Figure(
        "error",
        "Error against samples: the certified network and a linear method",
        [_panel(f"d = {d}", group, {"d": d}) for (d,), group in sorted(found.by("d").items())],
        caption="One point per seed. Dashed: theory's exponents for networks and for linear methods, drawn through the "
        "mean at the smallest n; theory speaks of the worst target, constants and logarithms are left out.",
    )


def _panel(title: str, rows: Rows, axes: dict[str, int]) -> Panel:
    layers: list[Lines | Scatter] = []
    for column, slope in (("network_error", network_slope), ("kernel_error", kernel_slope), ("affine_error", None)):
        group = [row for row in rows if column in row]
        labels, commands = [row.label for row in group], [row.command for row in group]
        n, values = [float(row["n"]) for row in group], [float(row[column]) for row in group]
        layers.append(Scatter(_WORDS[column], n, values, hover=labels, commands=commands))
        if slope is not None and n:
            first = min(n)
            start = float(np.mean([v for v, size in zip(values, n, strict=True) if size == first]))
            last = max(n)
            exponent = slope(axes)
            layers.append(
                Lines(f"n^({exponent:.3f})", [first, last], [start, start * (last / first) ** exponent], theory=True)
            )
    return Panel(title, _SAMPLES, Axis("mean squared error", scale="log"), layers)


def ratios(rows: Rows) -> Figure:
    """Error of the network over that of the kernel."""
    found = _some(rows.done.where(experiment="error"))
    panels = []
    for (d,), group in sorted(found.by("d").items()):
        known = [(row, ratio) for row in group if (ratio := network_over_kernel(row)) is not None]
        points = Scatter(
            "network over kernel",
            [float(row["n"]) for row, _ in known],
            [ratio for _, ratio in known],
            hover=[row.label for row, _ in known],
            commands=[row.command for row, _ in known],
        )
        ends = [float(min(row["n"] for row, _ in known)), float(max(row["n"] for row, _ in known))]
        even = Lines("even", ends, [1.0, 1.0], theory=True)
        panels.append(Panel(f"d = {d}", _SAMPLES, Axis("ratio of errors", scale="log"), [points, even]))
    return Figure("ratio", "With more samples the certified network gains on the kernel method", panels)


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows
