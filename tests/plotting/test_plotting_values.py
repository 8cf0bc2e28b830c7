import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steppe.core import DataError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.plotting import Axis, Band, Figure, Heatmap, Histogram, Lines, Panel, Scatter
from steppe.plotting.scales import groups, legend, ranges, ticks

_REAL = st.floats(-1e12, 1e12, allow_nan=False)
_POSITIVE = st.floats(1e-12, 1e12)


def panel(*layers, x="linear", y="linear", title=""):
    return Panel(title, Axis("x", x), Axis("y", y), layers)


def figure(*panels, **options):
    return Figure("f", "It shows.", panels, **options)


@given(st.lists(st.tuples(_REAL, _REAL), max_size=30))
def test_table_holds_every_number_exactly(points):
    x, y = [p[0] for p in points], [p[1] for p in points]
    headers, rows = figure(panel(Scatter("s", x, y), Lines("l", y, x))).table()
    if points:
        assert headers == ("kind", "series", "x", "y")
    assert [row[2:] for row in rows if row[0] == "point"] == points
    assert [row[2:] for row in rows if row[0] == "line"] == [(b, a) for a, b in points]


def test_table_names_columns_by_labels_where_panels_agree():
    a = Panel("a", Axis("n"), Axis("error"), [Scatter("s", [1], [2], hover="cell", commands=["run"])])
    b = Panel("b", Axis("n"), Axis("sharpness"), [Band("t", [1], [0], [3])])
    headers, rows = figure(a, b).table()
    assert headers == ("panel", "kind", "series", "n", "y", "low", "high", "cell", "command")
    assert rows == [
        ("a", "point", "s", 1.0, 2.0, None, None, "cell", "run"),
        ("b", "band", "t", 1.0, None, 0.0, 3.0, "", ""),
    ]


def test_table_of_every_kind_of_layer():
    layers = [
        Scatter("s", [1], [2], low=[1], high=[3]),
        Lines("theory", [0, 1], [0, 1], theory=True),
        Histogram("h", [1, 2, 2]),
        Heatmap([1, 2], [5], [[0.5, None]], "z"),
    ]
    headers, rows = figure(panel(*layers)).table()
    assert [row[0] for row in rows] == ["point", "theory", "theory", "value", "value", "value", "cell"]
    assert headers == ("kind", "series", "x", "y", "low", "high", "z")
    assert rows[-1][2:4] == (1.0, 5.0)
    assert rows[-1][-1] == 0.5


@given(st.lists(st.tuples(_POSITIVE, _POSITIVE), min_size=1, max_size=20), st.sampled_from(["linear", "log"]))
def test_ranges_contain_the_data(points, scale):
    x, y = [p[0] for p in points], [p[1] for p in points]
    [((a, b), (c, d))] = ranges(figure(panel(Scatter("s", x, y), x=scale, y=scale)))
    assert a < min(x) <= max(x) < b
    assert c < min(y) <= max(y) < d


@given(_POSITIVE, st.floats(1.001, 1e9), st.booleans())
def test_ticks_lie_inside_and_increase(low, ratio, log):
    places = ticks(low, low * ratio, log=log)
    values = [value for value, _ in places]
    assert values == sorted(set(values))
    assert all(low * 0.998 <= value <= low * ratio * 1.002 for value in values)
    assert len({label for _, label in places}) == len(places) <= 13


def test_ticks_read_as_people_write_them():
    assert [label for _, label in ticks(0.001, 100, log=True)] == ["0.001", "0.01", "0.1", "1", "10", "100"]
    assert [label for _, label in ticks(1e-8, 1, log=True)] == ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "1"]
    assert [label for _, label in ticks(-1, 1, log=False)] == ["−1", "−0.5", "0", "0.5", "1"]
    assert [label for _, label in ticks(30, 600, log=True)] == ["50", "100", "200", "500"]


def test_equal_axes_share_their_range_and_others_do_not():
    small, large = panel(Scatter("s", [1], [1])), panel(Scatter("s", [9], [9]))
    other = Panel("", Axis("else"), Axis("y"), [Scatter("s", [5], [5])])
    first, second, third = ranges(figure(small, large, other))
    assert first == second
    assert third[0] != first[0]
    assert third[1] == first[1]
    assert ranges(figure(small, large, share=False))[0] != first


def test_a_given_range_is_kept():
    chosen = Panel("", Axis("x", range=(0, 7)), Axis("y", "log", range=(1, 100)), [Scatter("s", [1], [2])])
    assert ranges(figure(chosen)) == [((0, 7), (1, 100))]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=50), st.integers(1, 40), st.booleans(), st.booleans())
def test_histogram_counts_every_value(values, bins, log, share):
    layer = Histogram("h", values, bins=bins, share=share)
    edges, heights = layer.heights(0.009, 101, log=log)
    assert len(edges) == len(heights) + 1 == bins + 1
    assert math.isclose(sum(heights), 1 if share else len(values), rel_tol=1e-9)


def test_histogram_axis_starts_at_zero_and_holds_the_bars():
    [(_, (low, high))] = ranges(figure(panel(Histogram("h", [1, 1, 1, 2], bins=[0.5, 1.5, 2.5]))))
    assert low == 0
    assert 3 < high < 3.5


def test_heatmap_edges_are_midpoints():
    layer = Heatmap([1, 2, 4], [1, 100], [[1, 2, 3], [4, 5, 6]], "z")
    assert layer.edges("x", log=False) == (0.5, 1.5, 3, 5)
    assert np.allclose(layer.edges("y", log=True), (0.1, 10, 1000))
    assert ranges(figure(panel(layer, y="log")))[0][0] == (0.5, 5)


def test_a_name_keeps_its_colour_and_theory_is_grey():
    a = panel(Scatter("a", [1], [1]), Lines("limit", [0], [0], theory=True), Scatter("fixed", [1], [1], group=0))
    b = panel(Band("b", [1], [0], [2]), Scatter("a", [2], [2]), Lines("b", [1], [1]))
    assert groups(figure(a, b)) == {"a": 1, "limit": None, "fixed": 0, "b": 2}
    assert [(key.name, key.kind) for key in legend(figure(a, b))] == [
        ("a", "marker"),
        ("fixed", "marker"),
        ("b", "line"),
        ("limit", "theory"),
    ]


def test_values_are_frozen_and_take_arrays():
    layer = Scatter("s", np.arange(3), np.array([1.5, 2, 3]), hover="same")
    assert layer.x == (0.0, 1.0, 2.0)
    assert layer.hover == ("same",) * 3
    with pytest.raises(AttributeError):
        layer.x = ()
    assert layer == Scatter("s", [0, 1, 2], [1.5, 2, 3], hover="same")


def test_an_empty_panel_is_a_panel():
    empty = figure(panel(Scatter("s", [], [])), panel(x="log"))
    assert [p.empty for p in empty.panels] == [True, True]
    assert empty.table()[1] == []
    assert ranges(empty)[1][0] == (0.1, 10.0)


_REFUSED = {
    "lengths": (lambda: Scatter("s", [1, 2], [1]), ShapeError, "Scatter 's' needs columns of equal length, got x: 2"),
    "nan": (lambda: Lines("l", [1, 2], [1, math.nan]), DataError, "Lines 'l' must be finite, got nan at position 1"),
    "inf": (lambda: Band("b", [1], [-math.inf], [1]), DataError, "`low` of Band 'b' must be finite, got -inf"),
    "text": (lambda: Scatter("s", ["a"], [1]), KindError, "must hold numbers, got 'a' at position 0"),
    "no sequence": (lambda: Lines("l", 3, [1]), KindError, "must be a sequence of numbers, got 3"),
    "matrix": (lambda: Lines("l", np.ones((2, 2)), [1]), ShapeError, "must be one-dimensional, got shape (2, 2)"),
    "reversed": (lambda: Band("b", [1, 2], [0, 3], [1, 2]), DataError, "needs low ≤ high, got 3 > 2 at position 1"),
    "unsorted": (lambda: Band("b", [2, 1], [0, 0], [1, 1]), DataError, "must increase, got 2 then 1 at 1; sort it"),
    "half": (lambda: Scatter("s", [1], [1], low=[0]), ParameterError, "needs both `low` and `high` or neither"),
    "hover": (lambda: Scatter("s", [1, 2], [1, 2], hover=["a"]), ShapeError, "one text per point, got 1 for 2 points"),
    "group": (lambda: Scatter("s", [1], [1], group=-1), ParameterError, "`group of Scatter 's'` must be ≥ 0, got -1"),
    "bins": (lambda: Histogram("h", [1], bins=0), ParameterError, "must be ≥ 1 and ≤ 1000, got 0"),
    "edges": (lambda: Histogram("h", [1], bins=[1, 1]), DataError, "at least two increasing edges"),
    "heat": (lambda: Heatmap([1, 2], [1], [[1]], "z"), ShapeError, "must be [1, 2], one row per y"),
    "cold": (lambda: Heatmap([1], [1], [[None]], "z"), ShapeError, "needs at least one number"),
    "log": (
        lambda: panel(Scatter("s", [1, 0, -1], [1, 1, 1]), x="log"),
        DataError,
        "Scatter 's' must be positive on the log axis 'x', got 2 of 3 values ≤ 0 (the first is 0); drop them",
    ),
    "log band": (lambda: panel(Band("b", [1], [0], [1]), y="log"), DataError, "got 1 of 2 values ≤ 0"),
    "layer": (lambda: panel("points"), KindError, "Histogram or Heatmap, got str; pass one"),
    "scale": (lambda: Axis("x", "logarithmic"), UnknownNameError, "`scale` must be one of 'linear', 'log'"),
    "range": (lambda: Axis("x", range=(2, 1)), ParameterError, "needs low < high, got 2, 1"),
    "log range": (lambda: Axis("x", "log", (0, 1)), ParameterError, "must be positive, got 0"),
    "id": (lambda: Figure("../x", "t", [panel()]), ParameterError, "`id` of Figure must be 1 to 64 letters"),
    "no panel": (lambda: Figure("f", "t", []), ParameterError, "needs at least one panel, got none"),
    "columns": (lambda: figure(panel(), columns=0), ParameterError, "`columns` must be ≥ 1 and ≤ 4, got 0"),
}  # fmt: skip


@pytest.mark.door
@pytest.mark.parametrize(("make", "error", "message"), _REFUSED.values(), ids=_REFUSED)
def test_bad_input_is_refused_with_a_remedy(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)
    assert isinstance(caught.value, InputError | TypeError)
    assert ";" in str(caught.value) or "one of" in str(caught.value)
