"""The figures of `kamber2025-sharpness`: rows in, figures out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Contours, Figure, Lines, Panel, Scatter

from ._factorization_sharpness_claims import WIDE, norm_products_exact

_NAMES = {"chain-1": "numbers, product 1", "chain-2": "numbers, product 2"}
_LOG_SHARPNESS = Axis("sharpness by autograd (loss/parameter²)", scale="log")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _points(name: str, rows: Rows, x: str, y: str, **fields: Any) -> Scatter:
    """A point per row in which both columns have a value."""
    kept = [row for row in rows if row.get(x) is not None and row.get(y) is not None]
    return Scatter(
        name, [row[x] for row in kept], [row[y] for row in kept], hover=[row.label for row in kept],
        commands=[row.command for row in kept], **fields,
    )  # fmt: skip


def _parted(rows: Rows, condition: Callable[[Row], bool], yes: str, no: str) -> list[tuple[str, Rows]]:
    """The rows that satisfy a condition and the others, each with its name, as far as there are any."""
    parts = ((yes, rows.where(condition)), (no, rows.where(lambda row: not condition(row))))
    return [(name, part) for name, part in parts if part]


def _line(name: str, values: list[float], slope: float = 1.0) -> Lines:
    ends = [min(values), max(values)]
    return Lines(name, ends, [slope * end for end in ends], theory=True)


def _title(row: Row) -> str:
    sizes = str(row["sizes"]).split("-")
    return f"{_NAMES.get(row['layers'], row['layers'])}, {len(sizes) - 1} layers, {sizes[0]} to {sizes[-1]}"


def closed_form(rows: Rows) -> Figure:
    """Closed form against autograd."""
    found = _some(rows.done.where(experiment="spectrum"))
    layers: list[Any] = [
        _points(str(name), group, "autograd_sharpness", "sharpness") for (name,), group in found.by("layers").items()
    ]
    layers.append(_line("equal", [float(v) for v in found.column("autograd_sharpness")]))
    return Figure(
        "closed-form", "The closed form is the largest Hessian eigenvalue, for every shape, rank and sample",
        [Panel("", _LOG_SHARPNESS, Axis("closed form", scale="log"), layers)],
        caption="One point per minimizer: Gaussian, rank-deficient, ill-conditioned; bottlenecks, scalars, data.",
        columns=1,
    )  # fmt: skip


def norm_products(rows: Rows) -> Figure:
    """The trap."""
    found = _some(rows.done.where(experiment="spectrum"))
    layers: list[Any] = []
    for name, own in _parted(found, norm_products_exact, "two layers or scalar product, no data", "others"):
        layers.append(_points(name, own, "autograd_sharpness", "norm_products_over_sharpness"))
    values = [float(v) for v in found.column("autograd_sharpness")]
    layers.append(Lines("sharpness", [min(values), max(values)], [1.0, 1.0], theory=True))
    return Figure(
        "norm-products", "The sum of norm products is an upper bound, and often too large",
        [Panel("", _LOG_SHARPNESS, Axis("2 Σ ‖A_i‖²‖B_i‖² over the sharpness", scale="log"), layers)],
        caption="It is the sharpness for two layers and for scalar products, without data. Else top singular "
        "directions of the factors need not meet.",
        columns=1,
    )  # fmt: skip


def _chain(row: Row) -> bool:
    return row["layers"] in _NAMES


def _wide(row: Row) -> bool:
    return row["sizes"] in WIDE["sizes"]


def flattest(rows: Rows) -> Figure:
    """Random minimizers against the flattest."""
    found = _some(rows.done.where(experiment="minimizers"))
    layers: list[Any] = [
        _points(str(sizes), group, "spread", "flat_ratio") for (sizes,), group in found.by("sizes").items()
    ]
    spreads = [float(v) for v in found.values("spread")]
    layers.append(Lines("flattest, and balanced", [min(spreads), max(spreads)], [1.0, 1.0], theory=True))
    return Figure(
        "flattest", "No minimizer is flatter than 2L σ_1^(2(L−1)/L), and balanced ones are that flat",
        [Panel("", Axis("spread of the minimizer", scale="log"), Axis("sharpness over the least", scale="log"),
               layers)],
        caption="Random factorizations of random matrices; the spread says how far they are from balanced ones.",
        columns=1,
    )  # fmt: skip


def two_layers(rows: Rows) -> Figure:
    """Spectral, not Frobenius balance."""
    found = _some(rows.done.where(experiment="two-layers"))
    panels = []
    for column, label in (("spectral_norms_ratio", "spectral"), ("frobenius_norms_ratio", "Frobenius")):
        layers = [_points(str(kind), group, column, "flat_ratio") for (kind,), group in found.by("kind").items()]
        panels.append(
            Panel(f"{label} norms", Axis(f"larger over smaller {label} norm"), Axis("sharpness over the least"), layers)
        )
    return Figure(
        "two-layers", "Two layers are flat if both spectral norms are √σ_1, whatever their Frobenius norms", panels,
        caption="Kinds: balanced in spectral norm, in Frobenius norm, in both; inflated: spectral norms equal, but "
        "larger than √σ_1; scaled: all of one layer larger.",
    )  # fmt: skip


def escape_steps(rows: Rows) -> Figure:
    """Measured against predicted."""
    found = _some(rows.done.where(experiment="escape").where(lambda row: row["factor"] > 2))
    panels = []
    for (radius,), group in found.by("radius").items():
        layers: list[Any] = []
        for name, own in _parted(group, _chain, "chains of numbers", "over-parametrised"):
            layers.append(_points(name, own, "predicted_step", "escape_step"))
        layers.append(_line("formula", [float(v) for v in group.column("predicted_step")]))
        panels.append(
            Panel(f"radius {radius:g}", Axis("ln(r/r₀)/ln(ηλ − 1)", scale="log"),
                  Axis("updates until it has left", scale="log"), layers)
        )  # fmt: skip
    return Figure(
        "escape-steps", "Gradient descent leaves a too sharp minimizer when the formula says so", panels,
        caption="Started at distance 10⁻⁹ along the top eigenvector, with steps from 2.01 to 3 over the sharpness.",
    )  # fmt: skip


def distances(rows: Rows) -> Figure:
    """Distance along the runs."""
    found = _some(rows.done.where(experiment="escape", radius=1e-3, seed=0))
    panels = []
    for group in found.by("layers", "sizes").values():
        layers = []
        for index, row in enumerate(group):
            pairs = [(s, d) for s, d in zip(row["distance_step"], row["distance"], strict=True) if s > 0 and d > 1e-14]
            layers.append(
                Scatter(f"ηλ = {row['factor']:g}", [s for s, _ in pairs], [d for _, d in pairs], hover=row.label,
                        commands=row.command, group=index, connect=True, size=2)
            )  # fmt: skip
        updates = Axis("updates", scale="log")
        panels.append(Panel(_title(group[0]), updates, Axis("distance from the minimizer", scale="log"), layers))
    return Figure(
        "distances", "Above 2 the distance grows by ηλ − 1 per update, below 2 it shrinks", panels,
        caption="η is the step, λ the sharpness of the minimizer next to which the run starts.",
    )  # fmt: skip


def maps(rows: Rows) -> Figure:
    """Contours with the runs."""
    found = _some(rows.done.where(experiment="map"))
    panels = []
    for row in found:
        size = len(row["map_top"])
        loss = np.asarray(row["map_loss"]).reshape(-1, size)
        layers: list[Any] = [Contours(row["map_top"], row["map_drift"], loss.tolist(), "log10 of the loss", 14)]
        for index, factor in enumerate(dict.fromkeys(row["path_factor"])):
            own = [i for i, value in enumerate(row["path_factor"]) if value == factor]
            layers.append(
                Scatter(f"ηλ = {factor:g}", [row["path_top"][i] for i in own], [row["path_drift"][i] for i in own],
                        hover=row.label, commands=row.command, group=1 + index, connect=True, size=2.5)
            )  # fmt: skip
        shown = f"{100 * row['in_plane']:.0f} %"
        panels.append(
            Panel(f"{_title(row)}; in the plane {shown}", Axis("along the top eigenvector"),
                  Axis("along the drift"), layers)
        )  # fmt: skip
    return Figure(
        "maps", "Across the valley the runs swing out; along it they move to where the sharpness is lower", panels,
        caption="Loss on the plane through the minimizer (0, 0) spanned by the eigenvector of the largest eigenvalue "
        "and, in the kernel of the Hessian, the direction in which the sharpness falls fastest (the smallest "
        "eigenvalue, 0, has many eigenvectors). Runs are projected on it, "
        "from 40 updates before their escape on; titles say which share of their distance it shows at least.",
        share=False,
    )  # fmt: skip


def ends(rows: Rows) -> Figure:
    """Where descent settles."""
    found = _some(rows.done.where(experiment="escape").where(lambda row: bool(row["settled"])))
    layers: list[Any] = []
    for name, own in _parted(found, _chain, "chains of numbers", "over-parametrised"):
        layers.append(_points(name, own, "factor", "final_factor"))
    factors = [float(v) for v in found.values("factor")]
    layers.append(Lines("limit of stability", [min(factors), max(factors)], [2.0, 2.0], theory=True))
    return Figure(
        "ends", "Wherever descent settles, step · sharpness is at most 2",
        [Panel("", Axis("step · sharpness at the start"), Axis("step · sharpness where it settled"), layers)],
        caption="Runs that settled. Chains end just below 2, over-parametrised ones often far below.",
        columns=1,
    )  # fmt: skip


def noise(rows: Rows) -> Figure:
    """What the residual adds."""
    found = _some(rows.done.where(experiment="noise"))
    layers: list[Any] = []
    for name, own in _parted(found, _wide, "wide enough for the fit", "with a bottleneck"):
        layers.append(_points(name, own, "unfitted", "spectrum_error_without_residual"))
    return Figure(
        "noise", "Label noise leaves the Hessian of wide deep linear networks alone, and enters through a bottleneck",
        [Panel("", Axis("part of the labels that stays unfitted"),
               Axis("error of the zero-residual spectrum over the sharpness", scale="log"), layers)],
        caption="At minimizers of the mean of ½ squared errors over noisy labels.",
        columns=1,
    )  # fmt: skip


def relu_sharpness(rows: Rows) -> Figure:
    """Step times sharpness at the end, and evenness."""
    found = _some(rows.done.where(experiment="relu"))
    panels = []
    for column, label in (
        ("final_factor", "step · sharpness at the end"),
        ("flat_ratio", "sharpness over the linear bound"),
        ("unevenness", "largest over least norm product, minus 1"),
    ):
        layers: list[Any] = [
            _points(f"{depth} layers", group, "step_size", column) for (depth,), group in found.by("depth").items()
        ]
        steps = [float(v) for v in found.values("step_size")]
        if column == "final_factor":
            layers.append(Lines("limit of stability", [min(steps), max(steps)], [2.0, 2.0], theory=True))
        panels.append(Panel("", Axis("step", scale="log"), Axis(label), layers))
    return Figure(
        "relu-sharpness", "ReLU on digits: step · sharpness ends at 2 or below; evenness has no trend (exploration)",
        panels,
        caption="Right and below: sharpness over the least one of a linear network with the best linear fit, and how "
        "uneven the norm products of the network with averaged masks are.",
        share=False,
    )  # fmt: skip


def relu_formulas(rows: Rows) -> Figure:
    """Formulas for linear networks."""
    found = _some(rows.done.where(experiment="relu"))
    series = {
        "gauss_newton_ratio": "Gauss–Newton, exact active paths",
        "activation_ratio": "mean masks, true activations",
        "mean_mask_ratio": "mean masks: deep linear formula",
        "mean_mask_bound_ratio": "flattest for that linear map",
    }
    layers: list[Any] = [_points(name, found, "sharpness", column) for column, name in series.items()]
    values = [float(v) for v in found.column("sharpness")]
    layers.append(Lines("sharpness", [min(values), max(values)], [1.0, 1.0], theory=True))
    return Figure(
        "relu-formulas", "ReLU on digits: active paths carry the sharpness, averaged ones miss most (exploration)",
        [Panel("", Axis("sharpness at the end", scale="log"), Axis("formula over the sharpness", scale="log"), layers)],
        caption="Mean masks: every neuron is scaled by the share of samples on which it is active. Masks are no "
        "layers: the least sharpness of a factorization of that map may lie above its formula with masks.",
        columns=1,
    )  # fmt: skip


def relu_escape(rows: Rows) -> Figure:
    """Escapes of ReLU networks."""
    found = _some(rows.done.where(experiment="relu-escape").where(lambda row: row["factor"] > 2))
    layers: list[Any] = [
        _points(f"{depth} layers", group, "predicted_step", "escape_step")
        for (depth,), group in found.by("depth").items()
    ]
    layers.append(_line("formula", [float(v) for v in found.column("predicted_step")]))
    return Figure(
        "relu-escape", "ReLU networks leave too sharp minimizers of sixteen digits after as many updates (exploration)",
        [Panel("", Axis("ln(r/r₀)/ln(ηλ − 1)", scale="log"), Axis("updates until it has left", scale="log"), layers)],
        caption="Trained to zero loss by Levenberg–Marquardt steps, then started next to the minimizer.",
        columns=1,
    )  # fmt: skip


FIGURES = (
    FigureSpec("closed-form", closed_form, claims=("sharpness-closed-form",)),
    FigureSpec("norm-products", norm_products, claims=("norm-products-exact", "upper-bound", "lower-bound")),
    FigureSpec("flattest", flattest, claims=("never-below-flattest", "balanced-is-flattest")),
    FigureSpec("two-layers", two_layers, claims=("two-layers", "spectral-balance-is-flat")),
    FigureSpec("escape-steps", escape_steps, section="escape", claims=("escape-formula", "recorded-escapes")),
    FigureSpec("distances", distances, section="escape", claims=("leaves-if-too-sharp", "returns-if-flat")),
    FigureSpec("maps", maps, section="escape"),
    FigureSpec("ends", ends, section="escape", claims=("settles-where-stable", "settles-just-below")),
    FigureSpec("noise", noise, section="noise", claims=("noise-does-not-enter", "bottleneck-residual")),
    FigureSpec("relu-sharpness", relu_sharpness, section="real data", claims=("relu-edge", "relu-above-linear")),
    FigureSpec("relu-formulas", relu_formulas, section="real data", claims=("relu-gauss-newton", "relu-mean-masks")),
    FigureSpec("relu-escape", relu_escape, section="real data", claims=("relu-leaves", "relu-escape-formula")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """What the closed form missed, when the runs left and what ReLU networks did, from the rows."""
    spectra = rows.done.where(experiment="spectrum")
    left = rows.done.where(experiment="escape").where(lambda row: bool(row["left"]))
    words = []
    if spectra:
        words.append(
            f"The closed form met autograd to {float(spectra.column('spectrum_error').max()):.0e} at {len(spectra)} "
            f"minimizers; the sum of norm products was up to "
            f"{float(spectra.column('norm_products_over_sharpness').max()):.2f} times the sharpness."
        )
    if left:
        near = left.where(radius=1e-6) or left
        words.append(
            f"All {len(left)} runs from too sharp minimizers left them, within "
            f"{float(near.column('escape_error').max()):.2g} updates of the formula."
        )
    relu = rows.done.where(experiment="relu")
    if relu:
        ratios = relu.column("mean_mask_ratio")
        words.append(
            f"For ReLU networks on digits the deep linear formula gave {float(ratios.min()):.2f} to "
            f"{float(ratios.max()):.2f} of the sharpness."
        )
    return " ".join(words) or "Nothing was computed in this run."
