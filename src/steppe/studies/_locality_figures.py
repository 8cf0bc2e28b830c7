"""The figures of `liang2026-locality`: rows in, figures out."""

from typing import Any

import numpy as np

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

from ._flatness_sides import sharper_bound
from ._locality_claims import (
    GEOMETRY,
    IMAGES,
    PATCHWISE,
    SPHERE,
    VOCABULARY,
    late_activation,
    measured,
    memorised,
    word_share,
    word_training_share,
)

NAMES = {
    "shared": "shared patches",
    "unshared": "unshared patches",
    "connected": "fully connected, as wide",
    "connected-small": "fully connected, as many parameters",
}
SCHEMES = {"convolution": "natural patches", "shuffled": "shuffled pixels", "full": "whole images"}
_STEP = Axis("step", scale="log")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _named(row: Row, axis: str) -> str:
    names = NAMES if axis == "network" else SCHEMES
    return names.get(str(row[axis]), str(row[axis]))


def _points(rows: Rows, axis: str, x: Any, y: Any) -> list[Any]:
    """A series of points for each network or scheme."""
    return [
        Scatter(
            _named(group[0], axis), [x(row) for row in group], [y(row) for row in group],
            hover=[row.label for row in group], commands=[row.command for row in group], group=colour,
        )
        for colour, group in enumerate(rows.by(axis).values())
    ]  # fmt: skip


def _curves(rows: Rows, column: str) -> list[Any]:
    """A line for each row, coloured by its network."""
    names = list(dict.fromkeys(_named(row, "network") for row in rows))
    layers = []
    for row in rows:
        pairs = [(s, v) for s, v in zip(row["trace_step"], row[column], strict=True) if s > 0 and v > 0]
        layers.append(
            Scatter(
                _named(row, "network"), [s for s, _ in pairs], [v for _, v in pairs], hover=row.label,
                commands=row.command, group=names.index(_named(row, "network")), connect=True, size=3,
            )
        )  # fmt: skip
    return layers


def _level(rows: Rows, name: str, value: float) -> Lines:
    return Lines(name, [1, max(row["trace_step"][-1] for row in rows)], [value, value], theory=True)


def _limit(rows: Rows) -> Lines:
    return _level(rows, "limit 2/η", rows[0]["stability_limit"])


def gap(rows: Rows) -> Figure:
    """The gap against n for each dimension."""
    found = _some(rows.done.where(**SPHERE))
    panels = []
    for (d,), group in found.by("d").items():
        layers = _points(group, "network", lambda row: row["n"], lambda row: row["gap"])
        for colour, own in enumerate(group.by("network").values()):
            sizes = own.values("n")
            medians = [float(np.median(own.where(n=n).column("gap"))) for n in sizes]
            layers.append(Lines(_named(own[0], "network"), sizes, medians, group=colour))
        panels.append(Panel(f"d = {d}", Axis("n, samples", scale="log"), Axis("gap", scale="log"), layers))
    return Figure(
        "gap",
        "On a sphere only networks of patches close the gap with more data, shared ones fastest",
        panels,
        caption="Inputs uniform on the unit sphere, patches of ten coordinates, label noise 1. Points: seeds. Lines: "
        "medians. A network that has memorised the noise has a gap of 1 plus its error.",
    )


def sharpness(rows: Rows) -> Figure:
    """Sharpness along training on the sphere."""
    found = _some(rows.done.where(**SPHERE))
    most = found.where(n=max(found.values("n")))
    panels = [
        Panel(f"d = {d}", _STEP, Axis("sharpness (loss/parameter²)", scale="log"),
              [*_curves(group, "trace_sharpness"), _limit(group)])
        for (d,), group in most.by("d").items()
    ]  # fmt: skip
    return Figure(
        "sharpness",
        "All of them train at the edge of stability: flatness is the same, memorisation is not",
        panels,
        caption="Largest n. Dashed: 2/η.",
    )


def patchwise(rows: Rows) -> Figure:
    """The failure: patches on spheres of their own."""
    found = _some(rows.done.where(**PATCHWISE))
    noise = _level(found, "noise variance", float(found.column("noise_variance").mean()))
    return Figure(
        "patchwise",
        "Where every patch lies on a sphere of its own, shared filters specialise and memorise, as flat as can be",
        [
            Panel("", _STEP, Axis("sharpness (loss/parameter²)", scale="log"),
                  [*_curves(found, "trace_sharpness"), _limit(found)]),
            Panel("", _STEP, Axis("training error", scale="log"), [*_curves(found, "trace_error"), noise]),
            Panel("", _STEP, Axis("share of active patches", scale="log"), _curves(found, "trace_activation")),
        ],
        caption="Left: sharpness; dashed, 2/η. Middle: mean squared residual on noisy labels; dashed, the variance of "
        "the noise. Right: the share of patches that activate a filter, mean over filters.",
        share=False,
    )  # fmt: skip


def images(rows: Rows) -> Figure:
    """Error and sharpness along training on photographs."""
    found = _some(rows.done.where(**IMAGES))
    panels = []
    for (scheme,), group in found.by("scheme").items():
        name = SCHEMES.get(str(scheme), str(scheme))
        panels += [
            Panel(name, _STEP, Axis("error to clean targets", scale="log"), _curves(group, "trace_excess")),
            Panel(name, _STEP, Axis("training error", scale="log"), _curves(group, "trace_error")),
            Panel(name, _STEP, Axis("sharpness (loss/parameter²)", scale="log"),
                  [*_curves(group, "trace_sharpness"), _limit(group)]),
        ]  # fmt: skip
    return Figure(
        "images",
        "On photographs shared patches come closer to the teacher and fit less of the noise",
        panels,
        caption="Pieces of 12 × 12 pixels, patches of 3 × 3 × 3, teacher of 20 filters, label noise 1. Dashed: 2/η.",
        columns=3,
        share=False,
    )


def geometry(rows: Rows) -> Figure:
    """Depth against rank of patches of photographs."""
    found = _some(rows.done.where(**GEOMETRY))
    panels = [
        Panel(words, Axis("principal components for 90 % of the variance"), Axis("depth area", scale="log"),
              _points(found, "scheme", lambda row: row["components"], lambda row, column=column: row[column]))
        for column, words in (
            ("depth_area", "512 random directions"), ("depth_area_outward", "and one outward for each point")
        )
    ]  # fmt: skip
    return Figure(
        "geometry",
        "Natural patches are deep and of low rank; shuffled pixels and whole images are not",
        panels,
        caption="One patch of 4 × 4 × 3 of each 32 × 32 piece of scikit-learn's photographs; each point is a seed. "
        "Random directions over-estimate the depth, the more the higher the dimension.",
        share=False,
    )


def vocabulary(rows: Rows) -> Figure:
    """Who finds words in new places."""
    found = _some(rows.done.where(**VOCABULARY))
    layers = _points(found, "network", word_training_share, word_share)
    axes = Axis("training error over that of the mean word", scale="log"), Axis("held-out error", scale="log")
    return Figure(
        "vocabulary",
        "All fit words in random places; only shared filters find them in new ones",
        [Panel("", *axes, layers)],
        caption="Errors relative to that of the mean word. Each point is a seed.",
        columns=1,
    )


def slack(rows: Rows) -> Figure:
    """Both sides of the patch inequality on every network."""
    found = _some(rows.done.where(measured).where(lambda row: row["weighted_sum"] > 0))
    layers: list[Any] = [
        Scatter(
            str(name), [sharper_bound(row) for row in group], [row["weighted_sum"] for row in group],
            hover=[row.label for row in group], commands=[row.command for row in group], group=colour,
        )
        for colour, ((name,), group) in enumerate(found.by("experiment").items())
    ]  # fmt: skip
    ends = [min(map(sharper_bound, found)), max(map(sharper_bound, found))]
    layers.append(Lines("equality", ends, ends, theory=True))
    axes = Axis("λ/2 − ½ + ½ √(1+R²) √(2L)", scale="log"), Axis("Σ |v| ‖w‖ g̃ of the patches", scale="log")
    return Figure(
        "slack",
        "The patch inequality holds on every network, and is attained",
        [Panel("", *axes, layers)],
        caption="Every network that was measured. Dashed: equality.",
        columns=1,
    )


FIGURES = (
    FigureSpec("gap", gap, claims=("shared-below-connected", "shared-gap-falls")),
    FigureSpec("sharpness", sharpness, claims=("sphere-edge",)),
    FigureSpec("patchwise", patchwise, claims=("patchwise-memorises", "patchwise-edge", "patchwise-collapse")),
    FigureSpec("images", images, section="photographs", claims=("images-excess", "images-edge")),
    FigureSpec("geometry", geometry, section="photographs", claims=("natural-above-shuffled", "components-order")),
    FigureSpec("vocabulary", vocabulary, claims=("vocabulary-sharing-generalises",)),
    FigureSpec("slack", slack, claims=("patch-inequality", "patch-inequality-sharper")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """What locality and sharing change, from the rows."""
    found = rows.done.where(**SPHERE)
    if not found:
        return "No network was trained on the sphere in this run."
    gaps = [
        f"{NAMES[name]} {group.column('gap').mean():.2f}"
        for (name,), group in found.where(n=max(found.values("n"))).by("network").items()
        if name in NAMES
    ]
    said = f"On the sphere, all at the edge of stability, the generalization gaps are: {', '.join(gaps)}."
    failed = rows.done.where(**PATCHWISE)
    if failed:
        share, fired, before = (
            100 * float(np.mean([value(row) for row in failed]))
            for value in (memorised, late_activation, lambda row: row["first_activation"])
        )
        said += (
            f" With each patch on a sphere of its own the training error of shared filters falls to {share:.0f} % of "
            f"the noise, and they fire on {fired * before / 100:.1f} % of the patches, after {before:.0f} % at first."
        )
    return said
