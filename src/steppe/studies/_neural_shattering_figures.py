"""The figures of `neural-shattering`: rows in, figures out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steppe.core import NotComputedError, SteppeError
from steppe.harness import Row, Rows
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter
from steppe.stats import fit_power_law
from steppe.theory import rates

_FRACTION = Axis("share of the samples that activate the neuron", range=(0.0, 1.0))
_NORM = Axis("|v| ‖w‖", scale="log")
_STEP = Axis("step", scale="log")
_SAMPLES = Axis("n, samples", scale="log")
_WORDS = {
    "large-step": "large step",
    "half-step": "step 0.5",
    "moderate-step": "step 0.2",
    "weight-decay": "weight decay",
}


_USUAL = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu", "labels": "teacher"}


def _settings(row: Row, *axes: str) -> str:
    """What tells this row from others of the paper's cell, in words."""
    words = [_WORDS.get(str(row[axis]), str(row[axis])) for axis in axes if axis != "d" and axis in row]
    words += [f"d = {row['d']}"] if "d" in axes and "d" in row else []
    unusual = [axis for axis, usual in _USUAL.items() if axis in row and row[axis] != usual]
    return ", ".join(words + [f"{row[axis]} labels" if axis == "labels" else str(row[axis]) for axis in unusual])


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _panels(rows: Rows, axes: Sequence[str], panel: Callable[[str, Rows], Panel]) -> list[Panel]:
    every = ("dataset", "labels", "inputs", "target", "network", *axes)
    found = _some(rows).by(*dict.fromkeys(every))
    return [panel(_settings(group[0], *axes), group) for group in found.values()]


def _neuron_panel(title: str, rows: Rows) -> Panel:
    row = next((r for r in rows if r["neuron_fraction"]), rows[0])  # one network: several would hide each other
    dead = 1 - row["live_fraction"]
    layers = []
    if row["neuron_fraction"]:
        layers.append(
            Scatter(
                "live neuron",
                row["neuron_fraction"],
                row["neuron_norm"],
                hover=row.label,
                commands=row.command,
                group=0,
            )
        )
    return Panel(f"{title} (seed {row['seed']}; {dead:.0%} of neurons dead)", _FRACTION, _NORM, layers)


def neurons(rows: Rows) -> Figure:
    """Figures 1 and 3: activation fraction against weight norm, one point per neuron."""
    found = rows.done.where(experiment="network")
    return Figure(
        "neurons",
        "A large step leaves few, large, rarely active neurons; weight decay keeps all of them small and active",
        _panels(found, ("recipe", "d"), _neuron_panel),
        caption="Each point is a neuron that is active on some sample. Left edge: neurons that fire on few data.",
    )


def real_neurons(rows: Rows) -> Figure:
    """The same on real inputs."""
    return Figure(
        "real-neurons",
        "How rarely do neurons fire on real inputs?",
        _panels(rows.done.where(experiment="real"), ("dataset", "recipe"), _neuron_panel),
        caption="Each point is a neuron that is active on at least one sample of the table.",
    )


def _trace_panel(column: str, label: str) -> Callable[[str, Rows], Panel]:
    def panel(title: str, rows: Rows) -> Panel:
        layers: list[Any] = []
        for row in rows:
            shown = [(s, v) for s, v in zip(row["trace_step"], row[column], strict=True) if s > 0]
            layers.append(
                Scatter(
                    f"seed {row['seed']}",
                    [s for s, _ in shown],
                    [v for _, v in shown],
                    hover=row.label,
                    commands=row.command,
                    group=row["seed"],
                    connect=True,
                    size=3,
                )
            )
        last = max(row["trace_step"][-1] for row in rows)
        if column == "trace_sharpness":
            limit = rows[0]["stability_limit"]
            layers.append(Lines("limit 2/η", [1, last], [limit, limit], theory=True))
        else:
            noise = float(np.mean(rows.column("noise_variance")))
            layers.append(Lines("noise variance", [1, last], [noise, noise], theory=True))
        return Panel(title, _STEP, Axis(label, scale="log"), layers)

    return panel


_SHARPNESS = _trace_panel("trace_sharpness", "sharpness (loss/parameter²)")
_CLEAN = _trace_panel("trace_clean_error", "error to clean targets")


def _traces(rows: Rows, *axes: str) -> list[Panel]:
    """Per setting, sharpness on the left and clean error on the right."""
    pairs = zip(_panels(rows, axes, _SHARPNESS), _panels(rows, axes, _CLEAN), strict=True)
    return [panel for pair in pairs for panel in pair]


def sharpness_traces(rows: Rows) -> Figure:
    """Sharpness and clean error along training, against 2/η and the noise."""
    return Figure(
        "sharpness",
        "At a large step the sharpness settles at 2/η while the network memorises the noise",
        _traces(rows.done.where(experiment="network"), "recipe", "d"),
        caption="Left: sharpness along training; dashed, the limit 2/η. Right: error to the clean targets at the "
        "training inputs; dashed, the variance of the label noise, which an interpolant of the noise reaches.",
        share=False,
    )


def real_traces(rows: Rows) -> Figure:
    """The same on real inputs, at the large step."""
    return Figure(
        "real-sharpness",
        "On real inputs: sharpness against 2/η, and how much of the noise is memorised",
        _traces(rows.done.where(experiment="real", recipe="large-step"), "dataset"),
        caption="Large step only. Left: sharpness along training; dashed, 2/η. Right: error to the clean targets; "
        "dashed, the variance of the label noise.",
        share=False,
    )


def _exponents(rows: Rows, x: str, y: str) -> str:
    """The fitted exponents of every dimension, in words."""
    words = []
    for (d,), group in rows.by("d").items():
        try:
            fit = fit_power_law(group.column(x), group.column(y), replicates=[row["seed"] for row in group])
        except SteppeError:
            continue  # too few sizes for a slope
        low, high = fit.interval
        words.append(f"d = {d}: {fit.slope:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−"))
    return "; ".join(words)


def _medians(rows: Rows, x: str, y: str) -> tuple[list[float], list[float]]:
    found = [(float(key[0]), float(np.median(group.column(y)))) for key, group in rows.by(x).items()]
    return [a for a, _ in sorted(found)], [b for _, b in sorted(found)]


def _against_samples(rows: Rows, column: str) -> list[Any]:
    """Per dimension, a point per row and a line through the medians."""
    layers: list[Any] = []
    for (d,), group in rows.by("d").items():
        name, colour = f"d = {d}", int(d) - 1
        layers.append(
            Scatter(
                name,
                group.column("n").tolist(),
                group.column(column).tolist(),
                hover=[r.label for r in group],
                commands=[r.command for r in group],
                group=colour,
            )
        )
        layers.append(Lines(name, *_medians(group, "n", column), group=colour))
    return layers


def _error_panel(title: str, rows: Rows) -> Panel:
    words = f"{title}, {rows[0]['steps']} steps"
    return Panel(words, _SAMPLES, Axis("error to clean targets", scale="log"), _against_samples(rows, "clean_error"))


def errors(rows: Rows) -> Figure:
    """Figure 2: error against n for every dimension, in both regimes."""
    found = rows.done.where(experiment="sweep").where(lambda row: row["clean_error"] > 0)
    exponents = [
        f"{_settings(group[0], 'recipe')}: {_exponents(group, 'n', 'clean_error')}."
        for group in found.by("inputs", "target", "network", "recipe").values()
    ]
    return Figure(
        "error",
        "More data help flat networks less and less as the dimension grows; with weight decay they always help",
        _panels(found, ("recipe",), _error_panel),
        caption="Mean squared error to the clean targets at the training inputs. Points: seeds. Lines: medians. Fitted "
        f"exponents of n with 95 % intervals — {' '.join(exponents)} For d = 5 theory puts the generalization gap of "
        f"flat networks between n^(−{float(rates.flat_lower(5)):.2f}) and n^(−{float(rates.flat_upper(5)):.2f}).",
    )


def slack(rows: Rows) -> Figure:
    """Both constants of the flatness inequality over all networks that were measured."""
    found = rows.done.where(lambda row: "weighted_norm" in row and row["weighted_norm"] > 0)

    def panel(title: str, left: str, right: str) -> Panel:
        layers: list[Any] = []
        for group, ((experiment,), part) in enumerate(found.by("experiment").items()):
            name = "random and extremal networks" if experiment == "inequality" else f"trained: {experiment}"
            layers.append(
                Scatter(
                    name,
                    [row[right] for row in part],
                    [row[left] for row in part],
                    hover=[row.label for row in part],
                    commands=[row.command for row in part],
                    group=group,
                )
            )
        values = [row[side] for row in found for side in (left, right)]
        ends = [min(values), max(values)] if values else [1e-3, 1.0]
        layers.append(Lines("equality", ends, ends, theory=True))
        return Panel(title, Axis("right side", scale="log"), Axis("left side", scale="log"), layers)

    return Figure(
        "slack",
        "No network violates the flatness inequality, and extremal ones attain it",
        [
            panel("Theorem 3.2", "weighted_norm", "flatness_bound"),
            panel("sharper constant", "one_sided_sum", "flatness_bound_sharper"),
        ],
        caption="Each point is a network. A point above the dashed line would violate the inequality.",
    )


def weight(rows: Rows) -> Figure:
    """The weight near the boundary, exact and from data, and how fast one converges to the other."""
    found = _some(rows.done.where(experiment="weight"))
    largest = max(found.values("n"), default=0)
    layers: list[Any] = []
    for (d,), group in found.where(n=largest).by("d").items():
        row, name, colour = group[0], f"d = {d}", int(d) - 1
        seen = [(a, b) for a, b in zip(row["weight_distance"], row["weight_empirical"], strict=True) if b > 0]
        x, y = [a for a, _ in seen], [b for _, b in seen]
        layers.append(Scatter(name, x, y, hover=row.label, commands=row.command, group=colour))
        layers.append(Lines(name, row["weight_distance"], row["weight_population"], group=colour))
    return Figure(
        "weight",
        "The weight vanishes at the boundary, faster in high dimension: neurons there cost nothing",
        [
            Panel("weight", Axis("1 − t, distance to the boundary", scale="log"), Axis("g", scale="log"), layers),
            Panel(
                "convergence",
                _SAMPLES,
                Axis("largest |empirical − exact|", scale="log"),
                _against_samples(found, "weight_supremum"),
            ),
        ],
        caption=f"Left: weight seen by {largest} samples, mean over directions (points), and exact weight of the "
        "uniform ball (lines). Right: their largest difference over hyperplanes; points are seeds, lines medians. "
        f"Fitted exponents of n — {_exponents(found, 'n', 'weight_supremum')}.",
        share=False,
    )


def hard(rows: Rows) -> Figure:
    """Energy of the hard functions against n, with the theoretical exponent."""
    found = _some(rows.done.where(experiment="hard").where(lambda row: row["hard_energy"] > 0))
    layers = _against_samples(found, "hard_energy")
    for (d,), group in found.by("d").items():
        x, y = _medians(group, "n", "hard_energy")
        exponent = -2 / (d + 1)
        layers.append(Lines(f"n^(−2/{d + 1})", [x[0], x[-1]], [y[0], y[0] * (x[-1] / x[0]) ** exponent], theory=True))
    return Figure(
        "hard",
        "Flat networks can hide bumps on empty caps; their size shrinks with n more slowly in high dimension",
        [Panel("", _SAMPLES, Axis("squared norm of the hidden function", scale="log"), layers)],
        caption="Every network here interpolates zero labels with sharpness exactly 1, the least possible, and is "
        "wrong by the amount shown. Points: seeds. Lines: medians. Dashed: the exponent of the lower bound. Fitted "
        f"exponents of n — {_exponents(found, 'n', 'hard_energy')}.",
        columns=1,
    )
