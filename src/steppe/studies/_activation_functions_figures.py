"""The figures of `parhi2019-activations`: rows in, figures out."""

from steppe.core import NotComputedError
from steppe.harness import FigureSpec, Row, Rows, Verdict
from steppe.plotting import Axis, Figure, Lines, Panel, Scatter

_X, _Y = Axis("x"), Axis("value")


def _some(rows: Rows) -> Rows:
    if not rows:
        raise NotComputedError("no such cell was computed in this run")
    return rows


def _first(rows: Rows, *axes: str) -> list[Row]:
    return [group[0] for group in _some(rows).by(*axes).values()]


def _fit_panel(row: Row) -> Panel:
    return Panel(
        f"{row['data']}, strength {row['strength']:g}",
        _X,
        _Y,
        [
            Scatter("data", row["curve_x"], row["curve_y"], hover=row.label, commands=row.command),
            Lines("ReLU", row["curve_x"], row["curve_relu"]),
            Lines("leaky ReLU", row["curve_x"], row["curve_leaky"], theory=True),
        ],
    )


def fits(rows: Rows) -> Figure:
    """Fits with ReLU and with leaky ReLU."""
    found = rows.done.where(experiment="equivalent")
    return Figure(
        "fits",
        "ReLU, |t|/2 and leaky ReLU lead to one and the same function",
        [_fit_panel(row) for row in _first(found, "data", "strength")],
        caption="The dashed line, leaky ReLU, lies on that of ReLU; so does |t|/2.",
    )


def _order_panel(rows: Rows) -> Panel:
    layers = [
        Lines(f"D^{row['order']}" if row["order"] > 1 else "D", row["curve_x"], row["curve_fit"])
        for row in _first(rows, "order")
    ]
    return Panel(f"{rows[0]['data']}, strength {rows[0]['strength']:g}", _X, _Y, layers)


def orders(rows: Rows) -> Figure:
    """Fits of order 1, 2 and 3."""
    found = _some(rows.done.where(experiment="order"))
    return Figure(
        "orders",
        "The activation sets the order: steps, broken lines, parabolas",
        [_order_panel(group) for group in found.by("data", "strength").values()],
        caption="Solutions with the activation of D, D² and D³.",
    )


FIGURES = (
    FigureSpec("fits", fits, claims=("absolute-optimum", "absolute-fit", "leaky-optimum", "leaky-fit")),
    FigureSpec("orders", orders, claims=("piecewise-constant", "spline-order", "knots")),
)


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """How far the three activations differ, from the rows."""
    found = rows.done.where(experiment="equivalent")
    if not found:
        return "No fits with different activations were computed in this run."
    apart = max(max(float(row["absolute_difference"]), float(row["leaky_difference"])) for row in found)
    return (
        f"In {len(found)} problems ReLU, |t|/2 and leaky ReLU gave the same function, up to {apart:.0e} of its range, "
        "once the affine part is free and the coefficients are scaled."
    )
