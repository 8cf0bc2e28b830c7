"""The figures of `parhi2020-representer`: rows in, figures out."""

from collections.abc import Sequence

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _points(name: str, rows: Rows, x: Sequence[float], column: str) -> Scatter:
    labels, commands = [row.label for row in rows], [row.command for row in rows]
    return Scatter(name, x, [float(row[column]) for row in rows], hover=labels, commands=commands)


def _bound(rows: Rows) -> Lines:
    ends = [0.0, float(max(row["width_bound"] for row in rows))]
    return Lines("bound", ends, ends, theory=True)


def widths(rows: Rows) -> Figure:
    """Neurons against the bound, for interpolants and for ridge splines of higher order."""
    panels = []
    for title, experiment, axis in (
        ("ReLU, exact optimum", "interpolation", "d"),
        ("ridge splines of order m", "splines", "order"),
    ):
        found = rows.done.where(experiment=experiment)
        layers: list[Lines | Scatter] = [
            _points(f"{axis} = {value}", group, [float(row["width_bound"]) for row in group], "neurons")
            for (value,), group in found.by(axis).items()
        ]
        if layers:
            panels.append(Panel(title, Axis("width bound"), Axis("neurons"), [*layers, _bound(found)]))
    return Figure(
        "widths",
        "Optimal interpolants need no more neurons than samples minus free polynomials",
        panels or [_nothing()],
        caption="Vertices of the linear program; dashed, n − C(d + m − 1, d).",
    )


def _nothing() -> Panel:
    raise NotComputedError("no such cell was computed in this run")


def knots(rows: Rows) -> Figure:
    """Knots on a line against n − 2."""
    found = _some(rows.done.where(experiment="knots"))
    layers = [
        _points(str(shape), group, [float(row["width_bound"]) for row in group], "knots")
        for (shape,), group in found.by("shape").items()
    ]
    return Figure(
        "knots",
        "On a line n − 2 knots are enough; alternating values need them all, convex ones half",
        [Panel("fewest knots", Axis("n − 2"), Axis("knots"), [*layers, _bound(found)])],
        caption="Interpolants of smallest variation with the fewest knots; dashed, n − 2.",
    )


def decay(rows: Rows) -> Figure:
    """Excess of weight decay over the certified optimum, by width."""
    found = _some(rows.done.where(experiment="decay"))
    layers = [_excess(f"d = {d}, {data} data", group) for (d, data), group in found.by("d", "data").items()]
    return Figure(
        "decay",
        "Training with weight decay ends at or above the certified optimum, near it if the network is wide",
        [
            Panel(
                "weight decay",
                Axis("width", scale="log"),
                Axis("excess over the optimum", scale="log"),
                layers,
            )
        ],
        caption="(objective − optimum)/optimum after training with Adam; values below 1e-12 are drawn there.",
    )


def _excess(name: str, rows: Rows) -> Scatter:
    def height(row: Row) -> float:
        return max(float(row["excess"]), 1e-12)

    labels, commands = [row.label for row in rows], [row.command for row in rows]
    return Scatter(
        name, [float(row["width"]) for row in rows], [height(row) for row in rows], hover=labels, commands=commands
    )


FIGURES = (
    FigureSpec("widths", widths, claims=("interpolant-width", "spline-width")),
    FigureSpec("knots", knots, claims=("knots", "knots-attained", "knots-convex")),
    FigureSpec("decay", decay, claims=("decay-above", "decay-reaches-line", "decay-reaches-plane", "decay-balances")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Widths and excesses, from the rows."""
    said = []
    found = rows.done.where(experiment="interpolation")
    if found:
        most = max(row["neurons"] - row["width_bound"] for row in found)
        said.append(
            f"In {len(found)} random interpolation problems the optimum needed at most n − (d + 1)"
            f"{f' {most:+d}' if most else ''} neurons"
        )
    wide = rows.done.where(experiment="decay", width=[60, 200])
    if wide:
        excess = [float(row["excess"]) for row in wide]
        said.append(
            f"wide networks trained with weight decay ended between {min(excess):.1e} and {max(excess):.1e} "
            "(relative) above the certified optimum, never below"
            if min(excess) >= -1e-9
            else "a network ended below the certified optimum, which must not be"
        )
    return f"{'; '.join(said)}." if said else "Nothing of this study was computed in this run."
