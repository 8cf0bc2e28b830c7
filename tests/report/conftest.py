"""A study that looks like a real one, made of the harness's own classes; its numbers are drawn, not trained."""

import dataclasses
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from steppe.harness import (
    AtMost,
    Claim,
    Control,
    FigureSpec,
    Grid,
    Judgement,
    PowerLaw,
    Predicate,
    Row,
    Rows,
    Study,
    Within,
)
from steppe.plotting import Axis, Band, Figure, Heatmap, Histogram, Lines, Panel, Scatter
from steppe.report import render

_COLUMNS = {
    "error": "mean squared error to the clean target, at the training inputs",
    "sharpness": "largest eigenvalue of the Hessian of ½ squared error, all parameters",
    "path_norm": "Σ ‖w‖·‖v‖",
    "bound": "right side of the flatness inequality, the paper's constant",
    "quiet": "share of live neurons active on at most 10 % of the data",
    "gap": "held-out minus training error",
}
_GRID = Grid(recipe=["large step", "weight decay"], d=[1, 2, 3, 4, 5], n=[32, 64, 128, 256, 512], seed=range(3)) + Grid(
    recipe=["large step", "weight decay"], inputs=["diabetes", "digits", "patches"], n=[256], seed=range(3)
)
_RUN = "steppe run neural-shattering"
_EXPONENT = {"large step": lambda d: -0.62 / d, "weight decay": lambda d: -0.47 + 0.015 * d}


def _slope(identity: str, statement: str, recipe: str, low: float, high: float, **options: Any) -> PowerLaw:
    scope = {"recipe": recipe, "d": [5]}
    return PowerLaw(identity, statement, x="n", y="error", low=low, high=high, scope=scope, **options)


def _claims() -> tuple[Claim, ...]:
    theorem = {"kind": "theorem", "source": "Liang et al. 2025, Theorem 3.2", "figure": "slack"}
    return (
        AtMost(
            "flatness-inequality",
            "The weighted path norm stays below half the sharpness minus one half, plus the loss term.",
            left="path_norm",
            right="bound",
            **theorem,
        ),
        Within(
            "large-step-shatters",
            "After a large step at least 80 % of live neurons fire on at most a tenth of the data.",
            column="quiet",
            low=0.8,
            high=1.0,
            kind="figure",
            source="Liang et al. 2025, Figure 3",
            figure="shattering",
            scope={"recipe": "large step", "d": [1, 2, 3, 4, 5]},
        ),
        _slope(
            "decay-learns",
            "With weight decay the error falls like a power of n near one quarter or faster, at d = 5.",
            "weight decay",
            -0.6,
            -0.25,
            kind="figure",
            source="Liang et al. 2025, Figure 2",
            figure="rates",
        ),
        _slope(
            "step-rate",
            "With a large step the error falls like n to the −0.3 at d = 5.",
            "large step",
            -0.4,
            -0.2,
            kind="figure",
            source="Liang et al. 2025, Figure 2",
            figure="rates",
        ),
        Within(
            "real-shatters",
            "On real inputs large steps leave most live neurons active on at most a tenth of the data, too.",
            column="quiet",
            low=0.5,
            high=1.0,
            figure="real-fractions",
            scope={"recipe": "large step", "inputs": ["diabetes", "digits", "patches"]},
        ),
        Predicate(
            "video",
            "On video frames the same holds.",
            function=lambda rows: Judgement(state="holds"),
            scope={"inputs": "video"},
            expects="as on images",
        ),
    )


def _controls() -> tuple[Control, ...]:
    return (
        Control(
            AtMost("flatness-without-half", "The same with a bound 40 times smaller.", left="path_norm",
                   right=lambda row: row["bound"] / 40, kind="theorem"),
            of="flatness-inequality",
            near_miss="bound divided by 40",
        ),
        Control(
            Within("decay-shatters", "Weight decay does it too.", column="quiet", low=0.8, high=1.0,
                   scope={"recipe": "weight decay", "d": [1, 2, 3, 4, 5]}),
            of="large-step-shatters",
            near_miss="weight decay instead of the large step",
        ),
        Control(
            _slope("decay-slow", "The slope of the large step.", "weight decay", -0.2, -0.05),
            of="decay-learns",
            near_miss="band of the large step",
        ),
        Control(
            Within("real-all-quiet", "All of them.", column="quiet", low=0.99, high=1.0,
                   scope={"recipe": "large step", "inputs": ["diabetes", "digits", "patches"]}),
            of="real-shatters",
            near_miss="99 % instead of half of the neurons",
        ),
    )  # fmt: skip


def _points(rows: Rows, name: str, x: str, y: str, **options: Any) -> Scatter:
    labels = {"hover": [row.label for row in rows], "commands": [row.command for row in rows]}
    return Scatter(name, rows.column(x), rows.column(y), **labels, **options)


def _rates(rows: Rows) -> Figure:
    panels = []
    for recipe, title in (("large step", "Large step: slower in every dimension"), ("weight decay", "Weight decay")):
        layers: list[Any] = []
        for d in range(1, 6):
            chosen = rows.done.where(recipe=recipe, d=d)
            n = np.array([32.0, 512.0])
            fitted = 0.5 * (n / 32) ** _EXPONENT[recipe](d)
            layers += [
                Band(f"d = {d}", n, fitted * 0.93, fitted * 1.07, group=d - 1),
                Lines(f"d = {d}", n, fitted, group=d - 1),
                _points(chosen, f"d = {d}", "n", "error", group=d - 1),
            ]
        layers.append(Lines("low-norm theory, n^(−1/4)", [32, 512], [0.5, 0.25], theory=True))
        panels.append(Panel(title, Axis("samples n", "log"), Axis("mean squared error to the target", "log"), layers))
    return Figure(
        "rates",
        "Past three dimensions a large step hardly learns from more data; weight decay still does",
        panels,
        "Points are runs, lines are fitted power laws with their 95 % intervals.",
    )


def _shattering(rows: Rows) -> Figure:
    rng = np.random.default_rng(1)
    panels = []
    for recipe, mean in (("large step", 0.035), ("weight decay", 0.4)):
        row = rows.done.where(recipe=recipe, d=5, n=512, seed=0)[0]
        fraction = np.clip(rng.beta(1, 1 / mean, 500), 1 / 512, 1)
        weight = np.exp(rng.normal(0, 0.5, 500)) * (0.05 / fraction) ** 0.5
        points = Scatter("live neuron", fraction, weight, hover=row.label, commands=row.command)
        axes = Axis("share of the data that activates the neuron"), Axis("weight ‖v‖·‖w‖", "log")
        panels.append(Panel(recipe[0].upper() + recipe[1:], *axes, [points]))
    return Figure("shattering", "A large step leaves neurons that fire on almost nothing and weigh a lot", panels)


def _slack(rows: Rows) -> Figure:
    layers = [_points(rows.done.where(recipe=r), r, "bound", "path_norm") for r in ("large step", "weight decay")]
    equal = Lines("equality", [0.5, 20], [0.5, 20], theory=True)
    panel = Panel("", Axis("bound of the inequality", "log"), Axis("weighted path norm", "log"), [*layers, equal])
    return Figure("slack", "The flatness inequality holds in every run, with room", [panel], columns=1)


def _real(rows: Rows) -> Figure:
    rng = np.random.default_rng(2)
    panels = []
    for name, mean in (("diabetes", -2.6), ("digits", -2.0), ("patches", -2.3)):
        values = {"large step": rng.normal(mean, 0.6, 300), "weight decay": rng.normal(-0.9, 0.25, 300)}
        layers = [
            Histogram(key, np.exp(np.minimum(v, 0)), bins=20, share=True, commands=_RUN) for key, v in values.items()
        ]
        panels.append(Panel(name, Axis("share of the data", "log"), Axis("share of live neurons"), layers))
    return Figure("real-fractions", "On real inputs large steps shatter too, less than on the ball", panels, columns=3)


def _table_of_slack(rows: Rows) -> Figure:
    z = [
        [float(np.median(rows.done.where(d=d, n=n).column("bound"))) for n in (32, 64, 128, 256, 512)]
        for d in (1, 3, 5)
    ]
    panel = Panel(
        "",
        Axis("samples n", "log"),
        Axis("dimension d"),
        [Heatmap([32, 64, 128, 256, 512], [1, 3, 5], z, "median bound")],
    )
    return Figure("bound", "The bound grows with dimension", [panel], columns=1)


def _headline(rows: Rows, verdicts: Mapping[str, Any]) -> str:
    quiet = np.median(rows.done.where(recipe="large step", d=5).column("quiet"))
    return (
        f"With step 0.9 the network settled at sharpness 2.21 (limit 2.22); {quiet:.0%} of its live neurons fire on "
        "fewer than 10 % of the data and it memorised the noise. With weight decay it did neither."
    )


def make_study(**changes: Any) -> Study:
    """The study, with fields replaced."""
    specs = (
        FigureSpec("rates", _rates, claims=("decay-learns", "step-rate")),
        FigureSpec("shattering", _shattering, claims=("large-step-shatters",)),
        FigureSpec("slack", _slack, claims=("flatness-inequality",)),
        FigureSpec("bound", _table_of_slack),
        FigureSpec("real-fractions", _real, section="real data", claims=("real-shatters",)),
    )
    study = Study(
        slug="neural-shattering",
        title="Stable minima suffer from the curse of dimensionality: neural shattering",
        paper="liang2025",
        reference="T. Liang, D. Qiao, Y.-X. Wang, R. Parhi. Stable Minima of ReLU Neural Networks Suffer from the "
        "Curse of Dimensionality: The Neural Shattering Phenomenon. NeurIPS 2025, arXiv 2506.20779.",
        summary="Gradient descent with a large step finds flat minima. Flatness bounds a norm that hardly counts "
        "neurons that fire on few data, so such neurons may carry large weights and fit the noise. Does this happen, "
        "how does it depend on the dimension, and does it happen on real inputs?",
        columns=_COLUMNS,
        grid=_GRID,
        row=lambda **cell: {},
        claims=_claims(),
        controls=_controls(),
        figures=specs,
        headline=_headline,
    )
    return dataclasses.replace(study, **changes)


def make_rows(*, perfect: bool = False) -> Rows:
    """One row per cell; unless `perfect`, one diverged, one failed and some values are absent."""
    rng = np.random.default_rng(0)
    rows = []
    for cell in _GRID.cells():
        recipe, d, n = cell["recipe"], cell.get("d", 8), cell["n"]
        bound = float(1 + 0.3 * d + rng.gamma(2, 0.3))
        result = {
            "error": float(0.5 * (n / 32) ** _EXPONENT[recipe](d) * np.exp(rng.normal(0, 0.08))),
            "sharpness": float(2.2 + rng.normal(0, 0.02)) if recipe == "large step" else float(1.1 + rng.gamma(1, 0.1)),
            "path_norm": bound * float(rng.uniform(0.3, 0.95)),
            "bound": bound,
            "quiet": float(rng.uniform(0.82, 0.97)) if recipe == "large step" else float(rng.uniform(0.02, 0.2)),
        }
        absent = {} if "d" in cell else {"gap": "real data have no population to draw from"}
        if not absent:
            result["gap"] = float(rng.gamma(2, 0.1))
        rows.append(Row(cell=cell, result=result, absent={} if perfect else absent, key=str(len(rows)), run=_RUN))
    if not perfect:
        error = 'Traceback (most recent call last):\n  File "x.py", line 1\nMemoryError: 4.2 GB asked for, 3.9 GB free'
        reason = "loss became infinite at step 212 (step size 0.9, sharpness 41)"
        rows[3] = Row(cell=rows[3].cell, status="diverged", error=reason, run=_RUN)
        rows[77] = Row(cell=rows[77].cell, status="failed", error=error, run=_RUN)
    return Rows(rows, "neural-shattering")


PROVENANCE = {
    "command": "steppe run neural-shattering",
    "size": "default",
    "date": "2026-11-21T03:10:00+00:00",
    "seconds": 492.3,
    "workers": 2,
    "steppe": "0.1.0",
    "commit": "9f38e87",
    "python": "3.11.2",
    "packages": {"torch": "2.13.0", "numpy": "2.4.6", "scipy": "1.17.1"},
    "platform": "Linux 6.1, x86_64",
    "cpu": "2 cores",
    "claims_digest": "b1946ac92492d234",
    "bands_fixed": True,
    "stale": 0,
}


def make_page(study: Study | None = None, rows: Rows | None = None, **options: Any) -> str:
    """The rendered report of the study."""
    study = study or make_study()
    rows = make_rows() if rows is None else rows
    verdicts, controls = study.judge(rows)
    figures = options.pop("figures", None) or {spec.id: spec.build(rows) for spec in study.figures}
    return render(study, rows, verdicts, controls, figures, options.pop("provenance", PROVENANCE), **options)


class Specimen:
    """The makers above, for tests."""

    provenance = PROVENANCE
    study = staticmethod(make_study)
    rows = staticmethod(make_rows)
    page = staticmethod(make_page)


@pytest.fixture(scope="session")
def specimen() -> type[Specimen]:
    return Specimen


@pytest.fixture(scope="session")
def chromium():
    """The path of a browser that can run without a window."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(
            "no browser found: install Debian's or Ubuntu's `chromium` package, or Google Chrome, then run again"
        )
    return path
