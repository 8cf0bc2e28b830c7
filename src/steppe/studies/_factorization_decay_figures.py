"""The figures of `kamber2026-regularized`: rows in, figures out."""

from typing import Any

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter
from steppe.theory import critical_weight, singular_value_map, singular_value_threshold

_FLOOR = 1e-16  # gaps are drawn on a log axis


def _some(rows: Rows, **where: Any) -> Rows:
    found = rows.done.where(**where)
    if not found:
        raise NotComputedError("no such cell was computed in this run")
    return found


def the_map(rows: Rows) -> Figure:
    """s* against σ, by depth."""
    found = _some(rows, experiment="map")
    panels = []
    for (weight,), group in found.by("weight").items():
        layers: list[Any] = []
        for index, row in enumerate(group):
            name = f"depth {row['depth']}"
            layers.append(
                Scatter(
                    name, row["curve_sigma"], row["curve_found"],
                    hover=row.label, commands=row.command, group=index, size=5,
                )
            )  # fmt: skip
            layers += _theory(name, row, index)
        panels.append(Panel(f"λ = {weight:g}", Axis("σ"), Axis("s*(σ)"), layers))
    return Figure(
        "map",
        "Deep products drop small singular values, with a jump",
        panels,
        caption="Points: the better of trained factors and zero. Lines: the formula, on both sides of the threshold.",
        share=False,
    )


def _theory(name: str, row: Row, index: int) -> list[Lines]:
    limit = float(singular_value_threshold(row["weight"], row["depth"]))
    above = np.linspace(limit * (1 + 1e-9), max(row["curve_sigma"]), 60)
    kept = singular_value_map(above, row["weight"], row["depth"])
    return [
        Lines(f"{name}, formula", above.tolist(), kept.tolist(), group=index),
        Lines(f"{name}, formula", [0.0, limit], [0.0, 0.0], group=index),
    ]


def ends(rows: Rows) -> Figure:
    """Where restarts end."""
    found = _some(rows, experiment="minimizers")
    panels = []
    for (depth,), group in found.by("depth").items():
        restarts = [(row, int(rank), gap) for row in group for rank, gap in zip(row["ranks"], row["gaps"], strict=True)]
        ranks = sorted({rank for _, rank, _ in restarts})
        points = [_ended(rank, [each for each in restarts if each[1] == rank]) for rank in ranks]
        axes = Axis("weight over the critical weight"), Axis("objective above the optimum (share)", scale="log")
        panels.append(Panel(f"depth {depth}", *axes, points))
    return Figure(
        "ends",
        "Two layers reach the optimum; deeper ones may stop at a local minimum above it",
        panels,
        caption="One point per restart, coloured by the rank of its product; gaps below 1e-16 are drawn there.",
    )


def _ended(rank: int, restarts: list[tuple[Row, int, float]]) -> Scatter:
    """The restarts that ended at a product of this rank."""
    return Scatter(
        f"rank {rank}",
        [float(row["share"]) for row, _, _ in restarts],
        [max(gap, _FLOOR) for _, _, gap in restarts],
        hover=[row.label for row, _, _ in restarts],
        commands=[row.command for row, _, _ in restarts],
        group=rank,
        size=5,
    )


def spectrum(rows: Rows) -> Figure:
    """Predicted Hessian spectra."""
    found = _some(rows, experiment="minimizers")
    layers = []
    for index, ((depth, share), group) in enumerate(found.by("depth", "share").items()):
        row = group[0]
        values = [max(value / row["spectrum"][0], 1e-4) for value in row["spectrum"]]
        place = [float(i + 1) for i in range(len(values))]
        layers.append(
            Scatter(
                f"depth {depth}, {share:g} of the critical weight", place, values,
                hover=row.label, commands=row.command, group=index, size=4, connect=True,
            )
        )  # fmt: skip
    return Figure(
        "spectrum",
        "One spectrum for all minimizers",
        [Panel("", Axis("index"), Axis("eigenvalue over the largest", scale="log"), layers)],
        caption=(
            "Predicted eigenvalues at seed 0, drawn from 1e-4; every minimizer drawn or trained has them, up to the "
            "errors in the table of claims."
        ),
        columns=1,
    )


def collapse(rows: Rows) -> Figure:
    """Top singular value across the critical weight."""
    found = _some(rows, experiment="collapse")
    panels = []
    for (target, depth), group in found.by("target", "depth").items():
        layers: list[Any] = []
        for name, column, color in (("global minimum", "curve_best", 0), ("balanced start", "curve_balanced", 1)):
            layers += [
                Scatter(
                    name, row["curve_share"], row[column], hover=row.label, commands=row.command, group=color, size=5
                )
                for row in group
            ]
        shares = np.linspace(0.25, 1.0, 60)
        limit = (1 - 1e-12) * critical_weight(1.0, depth)  # the upper end of the jump
        kept = [float(singular_value_map(1.0, share * limit, depth)) for share in shares]
        layers.append(Lines("formula", shares.tolist(), kept, theory=True))
        axes = Axis("weight over the critical weight"), Axis("top singular value over σ_1")
        panels.append(Panel(f"{target}, depth {depth}", *axes, layers))
    return Figure(
        "collapse",
        "At the critical weight the product collapses: smoothly at depth 2, with a jump beyond",
        panels,
    )


def noise(rows: Rows) -> Figure:
    """Error against weight under label noise."""
    found = _some(rows, experiment="noise")
    panels = []
    for (level,), group in found.by("noise").items():
        layers = []
        for index, ((depth,), same) in enumerate(group.by("depth").items()):
            error = np.mean([row["curve_error"] for row in same], axis=0)
            layers.append(Lines(f"depth {depth}", same[0]["curve_share"], error.tolist(), group=index))
        plain = float(np.mean([row["least_squares_error"] for row in group]))
        layers.append(Lines("least squares", [0.002, 0.95], [plain, plain], theory=True))
        axes = Axis("weight over the critical weight", scale="log"), Axis("squared error over ‖M‖²", scale="log")
        panels.append(Panel(f"noise {level:g}", *axes, layers))
    return Figure(
        "noise",
        "Under label noise depth 3 finds the rank and errs less than depth 2",
        panels,
        caption="Mean over seeds of the closed-form minimizer's error; inputs are whitened.",
    )


def digits(rows: Rows) -> Figure:
    """How far the predictions for linear networks hold for ReLU networks."""
    found = _some(rows, experiment="digits")
    panels = []
    measures = {
        "norm_spread": "layer norms",
        "neuron_imbalance": "balance of neurons",
        "matrix_imbalance": "balance of matrices",
        "spectrum_spread": "singular values of the layers",
    }
    for column, name in measures.items():
        layers = []
        for color, ((activation, decay), group) in enumerate(found.by("activation", "decay").items()):
            layers.append(
                Scatter(
                    f"{activation}, decay {decay:g}",
                    [row["depth"] + 0.06 * color - 0.1 for row in group],
                    [max(float(row[column]), 1e-9) for row in group],
                    hover=[row.label for row in group],
                    commands=[row.command for row in group],
                    group=color,
                    size=6,
                )
            )
        panels.append(Panel(name, Axis("depth"), Axis("relative difference", scale="log"), layers))
    return Figure(
        "digits",
        "ReLU networks on digits share the equal norms, not the balanced matrices",
        panels,
        caption="Deviation from what holds at every minimizer of a linear network; drawn from 1e-9.",
    )


FIGURES = (
    FigureSpec("map", the_map, claims=("map", "threshold", "jump")),
    FigureSpec("ends", ends, claims=("unique", "not-below", "reached", "levels", "two-layers-global")),
    FigureSpec("collapse", collapse, claims=("collapse-below", "collapse-above", "collapse-late")),
    FigureSpec("spectrum", spectrum, claims=("spectrum", "spectrum-trained")),
    FigureSpec("noise", noise, claims=("noise-rank", "noise-error", "noise-trained")),
    FigureSpec(
        "digits", digits, section="real data",
        claims=(
            "digits-linear", "digits-relu-norms", "digits-relu-neurons", "digits-relu-matrices", "digits-relu-spectra",
        ),
    ),
)  # fmt: skip


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Uniqueness, spectrum, noise and digits, from the rows."""
    said = []
    trained = rows.done.where(experiment="minimizers")
    if trained:
        reached = sum(int(row["reached"]) for row in trained)
        spread, spectra = (max(trained.column(name), default=0.0) for name in ("end_spread", "spectrum_error"))
        said.append(
            f"{reached} trainings reached the optimal value, all at one product per problem (up to {spread:.0e}); "
            f"the Hessian spectra of minimizers agree to {spectra:.0e}."
        )
    for depth in (2, 3):
        noisy = rows.done.where(experiment="noise", depth=depth)
        if noisy:
            error = float(np.mean([row["best_error"] / row["least_squares_error"] for row in noisy]))
            said.append(f"Under label noise depth {depth} leaves {error:.0%} of the error of least squares.")
    relu = rows.done.where(experiment="digits", activation="relu", decay=[1e-3, 1e-2])
    if relu:
        norms, matrices = (max(float(row[name]) for row in relu) for name in ("norm_spread", "matrix_imbalance"))
        said.append(
            f"ReLU networks on digits end with layer norms equal to {norms:.1%}, but their matrices are out of balance "
            f"by up to {matrices:.0%}."
        )
    return " ".join(said) or "Nothing was computed in this run."
