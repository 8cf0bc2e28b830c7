import dataclasses

import pytest

from steppe.harness import AtMost, Control, FigureSpec, Grid, Study
from steppe.plotting import Axis, Figure, Panel, Scatter
from steppe.testing import check_study


def figure(rows):
    points = Scatter("halves", rows.column("n"), rows.column("half"))
    return Figure("halves", "Half of n", (Panel("", Axis("n"), Axis("n/2"), (points,)),))


def honest(cells):
    for cell in cells:
        yield cell, {"half": cell["n"] / 2}


STUDY = Study(
    slug="halves",
    title="Halves",
    summary="Is half of n below n?",
    grid=Grid(n=(1, 2, 3), seed=(0, 1)),
    columns={"half": "n/2"},
    rows=honest,
    together=("seed",),
    claims=(AtMost("below", "half of n is at most n", source="arithmetic", kind="theorem", left="half", right="n"),),
    controls=(
        Control(AtMost("third", "it is at most n/3", left="half", right=lambda r: r["n"] / 3), "below", "3 for 2"),
    ),
    figures=(FigureSpec("halves", figure, claims=("below",)),),
    headline=lambda rows, verdicts: verdicts["below"].words,
)


def changed(**pieces):
    return dataclasses.replace(STUDY, **pieces)


def test_an_honest_study_passes_and_its_rows_come_back():
    rows = check_study(STUDY)
    assert [row["half"] for row in rows] == [0.5, 1.0, 1.5] * 2
    assert len(check_study(STUDY, cells=1)) == 3  # the whole group of the first cell


def test_what_is_checked_can_be_followed():
    heard = []
    check_study(STUDY, progress=heard.append)
    assert heard[0] == "identity"
    assert heard[1] == "group 1 of 2: 3 cells in company, reversed, alone"


def depends_on_company(cells):
    for cell in cells:
        yield cell, {"half": cell["n"] / 2 + 1e-16 * len(cells) * cell["n"]}


def depends_on_order(cells):
    for position, cell in enumerate(cells):
        yield cell, {"half": float(position)}


def forgets(cells):
    yield from honest(cells[1:])


CALLS = iter(range(1000))


def drifts(cells):
    for cell in cells:
        yield cell, {"half": float(next(CALLS))}


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ({"rows": depends_on_company}, "computed alone must give the same bytes; 1 differ, first half: "),
        ({"rows": depends_on_order}, "computed in reverse order must give the same bytes"),
        ({"rows": drifts}, "computed the second time must give the same bytes"),
        ({"rows": forgets}, "ended without yielding this cell"),
        ({"columns": {"half": "n/2", "third": "n/3"}}, "a row must have every declared column, got none for"),
        ({"columns": {"half": " "}}, "column `half` must have a description"),
        ({"summary": ""}, "`summary` must say something"),
        ({"figures": (FigureSpec("none", lambda rows: 3),)}, "figure `none` must be a plotting.Figure, got int"),
        ({"headline": lambda rows, verdicts: " "}, "the headline must say something"),
        ({"claims": (dataclasses.replace(STUDY.claims[0], source=""),)}, "a theorem must have a source"),
        ({"claims": (dataclasses.replace(STUDY.claims[0], figure="gone"),)}, "there is no figure 'gone'"),
        ({"claims": (dataclasses.replace(STUDY.claims[0], left="haf"),)}, "could not be judged"),
        ({"controls": (dataclasses.replace(STUDY.controls[0], near_miss=""),)}, "a control must say what was changed"),
    ],
)
def test_a_broken_promise_is_named(pieces, says):
    with pytest.raises(AssertionError, match=says):
        check_study(changed(**pieces))
