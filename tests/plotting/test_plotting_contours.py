"""Level lines: what they hold, what they refuse, and that both backends draw them."""

import math

import numpy as np
import plotly.graph_objects as go
import pypdf
import pytest

from steppe.core import DataError, ParameterError, ShapeError
from steppe.plotting import Axis, Contours, Figure, Lines, Panel
from steppe.plotting.scales import legend, ranges


def bowl(levels=8, scale="linear"):
    x, y = np.linspace(1, 3, 9), np.linspace(-1, 2, 7)
    z = [[(a - 2) ** 2 + b**2 for a in x] for b in y]
    z[0][0] = None
    panel = Panel("", Axis("a", scale), Axis("b"), [Contours(x, y, z, "height", levels), Lines("path", [1, 2], [1, 0])])
    return Figure("bowl", "A bowl", [panel])


def test_levels_are_equally_spaced_inside_the_range():
    layer = Contours([0, 1], [0, 1], [[0, 3], [6, 9]], "z", levels=2)
    assert layer.values() == (3.0, 6.0)
    assert bowl(5).panels[0].layers[0].values() == pytest.approx(np.linspace(0, 5, 7)[1:-1])


def test_the_picture_ends_at_the_outermost_points_and_has_no_key():
    figure = bowl()
    assert ranges(figure)[0][0] == (0.95, 3)  # the line's margin
    assert Contours([0, 1], [2, 5], [[0, 1], [1, 2]], "z").edges("y", log=False) == (2, 5)
    assert [key.name for key in legend(figure)] == ["path"]


def test_the_table_holds_every_value():
    headers, rows = bowl().table()
    assert headers == ("kind", "series", "a", "b", "height")
    assert len(rows) == 9 * 7 - 1 + 2
    assert rows[0][0] == "cell"


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_both_backends_draw_lines_not_pixels(scale, tmp_path):
    figure = bowl(scale=scale)
    page = pypdf.PdfReader(figure.save(tmp_path / "a.pdf")).pages[0]
    assert not list(page.images)
    assert "height" in page.extract_text()
    drawn = figure.to_plotly()["panels"][0]
    trace = go.Figure(drawn).data[0]
    assert trace.type == "contour"
    assert trace.contours.start == pytest.approx(5 / 9, rel=1e-5)
    assert trace.contours.size == pytest.approx(5 / 9, rel=1e-5)
    assert trace.contours.end == pytest.approx(40 / 9, rel=1e-5)
    assert trace.z[0][0] is None


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Contours([0], [0, 1], [[0], [1]], "z"), ShapeError, "at least two of x and of y, got 1 and 2"),
        (lambda: Contours([0, 1], [0, 1], [[2, 2], [2, 2]], "z"), DataError, "must vary, got 2 throughout"),
        (lambda: Contours([0, 1], [0, 1], [[0, 1], [2, 3]], "z", levels=1), ParameterError, "≥ 2 and ≤ 200, got 1"),
        (lambda: Contours([1, 0], [0, 1], [[0, 1], [2, 3]], "z"), DataError, "`x` of Contours 'z' must be increasing"),
        (lambda: Contours([0, 1], [0, 1], [[0, math.nan], [2, 3]], "z"), DataError, "must be finite"),
        (lambda: Contours([0, 1], [0, 1], [[0, 1]], "z"), ShapeError, "one row per y"),
    ],
)
def test_bad_contours_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
