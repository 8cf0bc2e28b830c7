"""A study that takes no time: the mean of n seeded signs is at most one and shrinks like n^(-1/2)."""

import random

from steppe.harness import AtMost, Control, FigureSpec, Grid, PowerLaw, Slot, Study
from steppe.plotting import Axis, Figure, Panel, Scatter


def fair(n, rng):
    return [rng.choice((-1, 1)) for _ in range(n)]


def row(n, seed, inputs, parts):
    signs = parts["inputs"](n, random.Random(1000 * n + seed))
    mean = abs(sum(signs)) / n
    return {"error": mean + 0.5 / n, "bound": 1.0 + 0.5 / n, "path": [float(s) for s in signs[:3]]}


def build(rows):
    rows = rows.done
    points = Scatter("means", rows.column("n"), rows.column("error"), commands=[row.command for row in rows])
    panel = Panel("", Axis("samples n", "log"), Axis("error", "log"), (points,))
    return Figure("decay", "The mean of signs shrinks with the number of signs", (panel,))


CLAIMS = (
    AtMost("bounded", "the error is at most its bound", source="by construction", kind="theorem", left="error",
           right="bound"),
    PowerLaw("rate", "the error shrinks like n^(-1/2)", source="central limit", kind="figure", x="n", y="error",
             low=-2.0, high=-0.1, figure="decay"),
)  # fmt: skip
CONTROLS = (
    Control(AtMost("too-small", "the error is at most 0.4/n", left="error", right=lambda r: 0.4 / r["n"]), of="bounded",
            near_miss="0.4 for 0.5"),
)  # fmt: skip

STUDY = Study(
    slug="toy",
    title="Means of signs",
    summary="Does the mean of n signs shrink with n?",
    grid=Grid(n=(8, 32, 128), seed=range(4), inputs="fair"),
    quick=Grid(n=(8, 32, 128), seed=range(2), inputs="fair"),
    columns={"error": "mean of signs plus 1/(2n)", "bound": "its largest value", "path": "the first signs"},
    row=row,
    slots={"inputs": Slot("(n, rng) -> n signs", {"fair": fair})},
    claims=CLAIMS,
    controls=CONTROLS,
    figures=(FigureSpec("decay", build, claims=("rate",)),),
    headline=lambda rows, verdicts: f"{len(rows.done)} means: {verdicts['bounded'].words}.",
)
