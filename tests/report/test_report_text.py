"""What the page says, read without a browser."""

import base64
import csv
import dataclasses
import gzip
import io
import re
from html.parser import HTMLParser

import pytest

from steppe.core import StoreError, duration
from steppe.harness import Rows
from steppe.plotting import Axis, Figure, Panel
from steppe.report import write
from steppe.report.tables import csv_link, table
from steppe.report.words import count, day, listed, number, typeset


class _Text(HTMLParser):
    """Visible text, without styles and scripts."""

    def __init__(self):
        super().__init__()
        self.parts, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("style", "script")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def text(page):
    parser = _Text()
    parser.feed(page)
    return " ".join(" ".join(parser.parts).split())


def unpacked(link):
    raw = base64.b64decode(link.partition("base64,")[2])
    return list(csv.reader(io.StringIO((gzip.decompress(raw) if "gzip" in link[:30] else raw).decode())))


@pytest.fixture(scope="module")
def page(specimen):
    return specimen.page()


def test_the_page_is_one_file_below_six_megabytes(page):
    assert len(page.encode()) <= 6_000_000
    assert page.count("plotly.js v") == 1
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(?:src|href|action|poster)\s*=\s*["'](?!data:|#)""", own)
    assert not re.search(r"@import|url\(", own)


def test_reading_order_is_that_of_the_design(page):
    words = text(page)
    places = [
        words.index(part)
        for part in (
            "With step 0.9 the network settled",
            "168 runs (default size) · seeds 0–2 · 21 November 2026 · 8 min 12 s".replace(" · ", " "),
            "Gradient descent with a large step finds flat minima",
            "Theorems hold at every finite size",
            "Figures of the paper were drawn",
            "Our own are statements of this study",
            "Past three dimensions a large step hardly learns",
            "On real inputs large steps leave most live neurons",
            "On real inputs large steps shatter too",
            "Claims that do not hold",
            "Diverged: 1 run",
            "Failed: 1 run",
            "Absent values",
            "fixed before the first row",
            "How to cite",
        )
    ]
    assert places == sorted(places)


def test_every_claim_has_its_state_in_a_word_and_a_shape(specimen, page):
    rows = specimen.rows()
    verdicts, controls = specimen.study().judge(rows)
    words = text(page)
    for verdict in verdicts:
        assert verdict.statement in words
        shape = {"holds": "✓", "fails": "✗", "inconclusive": "?", "not judged": "–"}[verdict.state]
        assert f"{shape} {verdict.words} {verdict.statement}" in words
        assert typeset(verdict.measured) in words
        assert typeset(verdict.expected) in words
    for control in controls:
        assert control.rejected
        assert f"rejected by {number(control.margin, 3)}" in words


def test_all_numbers_of_a_figure_are_in_its_csv(specimen, page):
    rows = specimen.rows()
    for spec in specimen.study().figures:
        headers, expected = spec.build(rows).table()
        link = re.search(rf'href="(data:[^"]+)" download="{spec.id}\.csv', page).group(1)
        found = unpacked(link)
        assert found[0] == list(headers)
        assert found[1:] == [["" if value is None else str(value) for value in row] for row in expected]


def test_the_csv_of_the_study_has_every_row(specimen, page):
    link = re.search(r'href="(data:[^"]+)" download="neural-shattering\.csv', page).group(1)
    found = unpacked(link)
    assert len(found) == 1 + len(specimen.rows())
    assert found[0] == ["recipe", "d", "n", "seed", "inputs", "status", "error", "sharpness", "path_norm", "bound",
                        "quiet", "gap"]  # fmt: skip
    assert [line[5] for line in found[1:]].count("done") == len(specimen.rows().done)


def test_what_went_wrong_is_said_with_its_reason_and_command(specimen, page):
    words = text(page)
    assert "loss became infinite at step 212 (step size 0.9, sharpness 41)" in words
    assert "MemoryError: 4.2 GB asked for, 3.9 GB free" in words
    assert "1 column without value in 18 rows of 168: real data have no population to draw from gap" in words
    assert "Not judged: no run in scope – On video frames the same holds." in words
    assert "not reproduced at this size With a large step the error falls" in words
    diverged = specimen.rows()[3].command.replace('"', "&#34;").replace("'", "&#39;")
    assert f'data-copy="{diverged}"' in page


def test_when_nothing_went_wrong_it_says_so(specimen):
    study = specimen.study()
    good = [claim for claim in study.claims if claim.id not in ("step-rate", "video")]
    figures = tuple(spec for spec in study.figures if spec.id != "rates")
    study = specimen.study(claims=tuple(good), figures=figures)
    words = text(specimen.page(study, specimen.rows(perfect=True)))
    assert "Nothing: every claim holds, every control was rejected, every cell finished" in words
    assert "Claims that do not hold" not in words


def test_a_control_without_power_is_announced_at_the_top(specimen):
    study, rows = specimen.study(), specimen.rows()
    weak = dataclasses.replace(study.controls[0].claim, right="bound")
    study = specimen.study(controls=(dataclasses.replace(study.controls[0], claim=weak), *study.controls[1:]))
    words = text(specimen.page(study, rows))
    assert words.index("The test had no power") < words.index("Verdicts")
    assert "3 of 4 rejected" in words
    assert "is false and was not rejected" in words


def test_changed_bands_and_stale_rows_are_said(specimen):
    words = text(specimen.page(provenance=specimen.provenance | {"bands_fixed": False, "stale": 7}))
    assert "✗ Claims or their bands were changed after the first row" in words
    assert "7 rows were computed with an earlier version" in words
    assert "It was not recorded whether" in text(specimen.page(provenance={}))


def test_a_missing_figure_and_a_broken_headline_are_left_out_aloud(specimen):
    study = specimen.study(headline=lambda rows, verdicts: 1 / 0)
    rows = specimen.rows()
    figures = {spec.id: spec.build(rows) for spec in study.figures if spec.id != "slack"}
    words = text(specimen.page(study, rows, figures=figures, left_out=["12 of 180 cells have no row yet."]))
    assert "The headline could not be made from these rows: ZeroDivisionError" in words
    assert "Figure slack could not be drawn." in words
    assert "12 of 180 cells have no row yet." in words


def test_claims_stay_in_their_section_when_their_figure_is_missing(specimen):
    study, rows = specimen.study(), specimen.rows()
    figures = {spec.id: spec.build(rows) for spec in study.figures if spec.id != "real-fractions"}
    words = text(specimen.page(study, rows, figures=figures))
    section = words.index("On real data", words.index("Past three dimensions"))
    assert words.index("On real inputs large steps leave most live neurons") > section


def test_a_report_without_any_row_can_be_made(specimen):
    study = specimen.study(figures=(), headline=None)
    page = specimen.page(study, Rows([], "neural-shattering"), figures={"none": Figure("none", "Nothing", [Panel(
        "", Axis("x"), Axis("y"), [])])})  # fmt: skip
    words = text(page)
    assert "0 runs" in words
    assert words.count("not judged") >= 6


def test_tables_shorten_before_the_page_grows_too_large(specimen, page, monkeypatch):
    full = len(page.encode())
    monkeypatch.setattr("steppe.report.page._BUDGET", full - 20_000)
    shorter = specimen.page()
    assert len(shorter.encode()) <= full - 20_000
    words = text(shorter)
    assert re.search("The first (200|50|10) of 1 000 rows; the CSV has them all", words)
    link = re.search(r'href="(data:[^"]+)" download="shattering\.csv', shorter).group(1)
    assert len(unpacked(link)) == 1001


def test_hostile_texts_are_escaped(specimen):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    study = specimen.study(title=evil, summary=evil, reference=evil, headline=lambda rows, verdicts: evil)
    page = specimen.page(study, provenance=specimen.provenance | {"host": evil, "command": evil}, left_out=[evil])
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script>") == 2
    assert page.count("&lt;img src=x onerror=alert(2)&gt;") >= 6


def test_writing_replaces_at_once_and_keeps_the_old_report_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    assert write(path, "old") == path

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"cannot write the report .*No space left on device; free space"):
        write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write(path, "new ✓")
    assert path.read_text("utf-8") == "new ✓"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_no_folder_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match=r"choose another folder with --out"):
        write(tmp_path / "nowhere" / "report.html", "page")


def test_csv_quotes_what_must_be_quoted():
    rows = [("a,b", 1.5), ('say "x"\n', None), ("Σ", -2)]
    assert unpacked(csv_link(("name", "value"), rows)) == [
        ["name", "value"],
        ["a,b", "1.5"],
        ['say "x"\n', ""],
        ["Σ", "-2"],
    ]
    long = [("x" * 50, float(i)) for i in range(1000)]
    link = csv_link(("name", "value"), long)
    assert link.startswith("data:application/gzip")
    assert len(unpacked(link)) == 1001
    assert csv_link(("name", "value"), long) == link


def test_tables_align_numbers_and_hide_nothing_but_the_command():
    found = table("t", ("name", "x", "command"), [("a", -1.0, "run"), ("b", None, "run")], limit=1, hidden="command")
    assert [(column.header, column.numeric) for column in found.columns] == [("name", False), ("x", True)]
    assert found.rows == [["a", "−1"]]
    assert found.total == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (number(0.00001234), "1.234·10⁻⁵"),
        (number(-0.25), "−0.25"),
        (number(123456), "123\u202f456"),
        (number(None), "–"),
        (count(1000), "1\u202f000"),
        (duration(0.42), "0.42 s"),
        (duration(492), "8 min 12 s"),
        (duration(11100), "3 h 05 min"),
        (day("2026-11-21T03:10:00+00:00"), "21 November 2026"),
        (day("yesterday"), "yesterday"),
        (listed([0, 1, 2, 3]), "0–3"),
        (listed([32, 64]), "32, 64"),
        (typeset("-0.4 in [-inf, -.3], n-1, 1e-05, 2.5e+10"), "−0.4 in [−∞, −.3], n-1, 10⁻⁵, 2.5·10¹⁰"),
        (typeset("information e5 1.5e"), "information e5 1.5e"),
    ],
)
def test_numbers_read_as_in_print(said, expected):
    assert said == expected
