import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steppe.core import StoreError, UnknownNameError
from steppe.plotting import Axis, Band, Figure, Heatmap, Histogram, Lines, Panel, Scatter
from steppe.plotting.paper import draw


@pytest.fixture(scope="module")
def figure():
    x = np.geomspace(1, 100, 12)
    points = Panel(
        "Points",
        Axis("samples n", "log"),
        Axis("error", "log"),
        [
            Band("runs", x, 1 / x / 2, 2 / x),
            Scatter(
                "runs", x, 1 / x, hover=[f"n={v:.0f}" for v in x], commands="steppe run it", low=0.9 / x, high=2 / x
            ),
            Lines("theory 1/n", x, 1 / x, theory=True),
        ],
    )
    spread = Panel(
        "Spread", Axis("value"), Axis("count"), [Histogram("a", [1, 1, 2]), Histogram("b", [2, 3], share=True)]
    )
    heat = Panel(
        "Heat", Axis("width", "log"), Axis("d"), [Heatmap([8, 16, 32], [1, 2], [[1, 2, 3], [4, None, 6]], "slack")]
    )
    empty = Panel("Empty", Axis("a"), Axis("b", "log"), [])
    return Figure("all", "Everything that can be drawn", [points, spread, heat, empty], columns=2)


def test_pdf_is_vector_with_embedded_fonts_and_real_text(figure, tmp_path):
    path = figure.save(tmp_path / "fig.pdf")
    page = pypdf.PdfReader(path).pages[0]
    text = page.extract_text()
    for words in ("Everything that can be drawn", "samples n", "theory 1/n", "slack", "no data"):
        assert words in text
    assert not list(page.images)
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        descendant = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        assert descendant["/Subtype"] in ("/CIDFontType2", "/TrueType")
        assert "/FontFile2" in descendant["/FontDescriptor"].get_object()
    drawn = page.get_contents().get_data()
    assert drawn.count(b" l\n") > 20  # lines are lines


def test_svg_has_no_pixels_and_the_same_figure_gives_the_same_bytes(figure, tmp_path):
    first, second = (figure.save(tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(first).iter()}
    assert "path" in tags
    assert "image" not in tags
    assert figure.save(tmp_path / "a.pdf").read_bytes() == figure.save(tmp_path / "b.pdf").read_bytes()


def test_png_has_the_width_asked_for(figure, tmp_path):
    head = figure.save(str(tmp_path / "a.PNG"), width=3.5, title=False).read_bytes()[:24]
    assert head[:4] == b"\x89PNG"
    assert int.from_bytes(head[16:20], "big") == 700


def test_theory_is_dashed_and_points_are_all_there(figure):
    axes = draw(figure).axes
    dashed = [line for line in axes[0].lines if line.is_dashed()]
    assert len(dashed) == 1
    markers = [line for line in axes[0].lines if line.get_marker() not in ("None", "", None)]
    assert sum(len(line.get_xdata()) for line in markers) == 12
    assert axes[0].get_xscale() == "log"


def test_a_failed_drawing_leaves_the_old_file(figure, tmp_path, monkeypatch):
    path = tmp_path / "fig.pdf"
    path.write_bytes(b"old")

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(StoreError, match=r"cannot write the figure .*fig\.pdf: No space left on device; choose"):
        figure.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_places_and_formats_are_refused(figure, tmp_path):
    with pytest.raises(UnknownNameError, match=r"`suffix` must be one of '.pdf', '.svg', '.png', got '.jpg'"):
        figure.save(tmp_path / "fig.jpg")
    with pytest.raises(StoreError, match="folder that exists"):
        figure.save(tmp_path / "nowhere" / "fig.pdf")


def test_drawing_leaves_matplotlib_as_it_was(figure, tmp_path):
    before = dict(mpl.rcParams)
    figure.save(tmp_path / "fig.svg")
    assert dict(mpl.rcParams) == before


def test_dollar_signs_and_percent_are_text(tmp_path):
    panel = Panel("$x$ and $y", Axis("cost $"), Axis("$\\frac{"), [Scatter("a $ b", [1], [1]), Scatter("c", [1], [2])])
    path = Figure("f", "50 % of $", [panel]).save(tmp_path / "f.pdf")
    assert "$x$ and $y" in pypdf.PdfReader(path).pages[0].extract_text()


def test_spec_is_valid_plotly_and_json(figure):
    spec = json.loads(json.dumps(figure.to_plotly(), allow_nan=False))
    assert spec["id"] == "all"
    assert len(spec["panels"]) == 4
    for panel in spec["panels"]:
        go.Figure(panel)  # validates every property
    assert [entry["name"] for entry in spec["legend"]] == ["runs", "a", "b", "theory 1/n"]
    assert {trace["type"] for panel in spec["panels"] for trace in panel["data"]} == {"scatter", "heatmap"}


def test_spec_dashes_theory_shades_intervals_and_carries_commands(figure):
    band, points, theory = figure.to_plotly()["panels"][0]["data"]
    assert theory["line"]["dash"] != "solid"
    assert band["fill"] == "toself"
    assert len(band["x"]) == 24
    assert points["mode"] == "markers"
    assert points["customdata"][0] == ["n=1", "steppe run it"]
    assert points["error_y"]["arrayminus"][0] == pytest.approx(0.1)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20))
def test_spec_rounds_to_six_digits_and_loses_no_point(values):
    panel = Panel("", Axis("x"), Axis("y"), [Scatter("s", values, values)])
    [trace] = Figure("f", "t", [panel]).to_plotly()["panels"][0]["data"]
    assert len(trace["x"]) == len(values)
    for drawn, value in zip(trace["x"], values, strict=True):
        assert math.isclose(drawn, value, rel_tol=5.1e-6)
        assert float(f"{drawn:.6g}") == drawn


def test_spec_bars_reach_the_heights_of_the_histogram():
    layer = Histogram("h", [1, 1, 1, 2], bins=[0.5, 1.5, 2.5])
    [trace] = Figure("f", "t", [Panel("", Axis("x"), Axis("y"), [layer])]).to_plotly()["panels"][0]["data"]
    assert trace["x"] == [0.5, 0.5, 1.5, 1.5, 2.5, 2.5]
    assert trace["y"] == [0, 3, 3, 1, 1, 0]


def test_markup_in_names_stays_text():
    evil = "<img src=x onerror=alert(1)><b>bold</b>%{x}"
    panel = Panel(evil, Axis(evil), Axis("y"), [Scatter(evil, [1], [1], hover=evil, commands=evil)])
    spec = Figure("f", evil, [panel]).to_plotly()
    drawn = json.dumps(spec["panels"])
    assert "<img" not in drawn
    assert "&lt;img" in drawn


def test_importing_the_room_loads_nothing_heavy():
    code = (
        "import sys, steppe.plotting, steppe.report; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'plotly', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_never_touches_pyplot(tmp_path):
    code = (
        "import sys; from steppe.plotting import *; "
        "f = Figure('f', 't', [Panel('', Axis('x'), Axis('y'), [Scatter('s', [1], [1])])]); "
        f"f.save({str(tmp_path / 'f.pdf')!r}); f.to_plotly(); "
        "print([m for m in ('torch', 'sklearn', 'matplotlib.pyplot', 'plotly', 'tkinter') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
