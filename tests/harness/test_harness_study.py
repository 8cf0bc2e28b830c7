import dataclasses

import pytest
from harness_toys import MAPS, SMALL, TINY, double, sloted, toy, triple

from steppe.core import InputError, KindError, ParameterError, UnknownNameError
from steppe.harness import AtMost, Control, FigureSpec, Grid, Slot


def test_sizes_fall_back_on_the_default_grid():
    study = toy(quick=Grid(d=1, seed=0))
    assert len(study.cells()) == 6 == len(study.cells("full"))
    assert study.cells("quick") == [{"d": 1, "seed": 0}]
    assert len(study.cells(where="d==2")) == 3
    assert len(study.with_grid(Grid(d=3, seed=1)).cells("quick")) == 1


def test_groups_follow_from_together():
    def rows(cells):
        yield from ()

    study = toy(row=None, rows=rows, together=("d",))
    assert [[cell["seed"] for cell in group] for group in study.groups(study.cells())] == [[0, 1, 2], [0, 1, 2]]
    assert all(len(group) == 1 for group in toy().groups(toy().cells()))


def slotted(**changes):
    return toy(slots=MAPS, row=sloted, grid=Grid(x=1.0, seed=0, map=("double", "triple")), **changes)


def test_cells_carry_the_parts_they_name():
    cells = slotted().cells()
    assert [cell.parts["map"] for cell in cells] == [double, triple]


def test_variant_puts_ones_own_part_beside_the_papers():
    study = slotted(quick=Grid(x=2.0, seed=0, map="double"))
    mine = study.variant("mine", parts={"map": {"half": lambda x: x / 2}}, grid={"map": ["double", "half"]})
    assert mine.slug == "toy-mine"
    assert [cell["map"] for cell in mine.cells()] == ["double", "half"]
    assert [(cell["x"], cell["map"]) for cell in mine.cells("quick")] == [(2.0, "double"), (2.0, "half")]
    assert mine.cells()[1].parts["map"](3.0) == 1.5
    assert len(study.slots["map"].parts) == 2  # the original is as it was
    assert study.variant("one", grid=Grid(x=1.0, seed=0, map="triple")).cells("full")[0]["map"] == "triple"


def test_variant_with_other_claims_drops_controls_of_claims_that_are_gone():
    with pytest.raises(InputError, match="at least one negative control"):
        toy().variant("x", claims=[AtMost("other", "", left="value", right=1)])
    own = AtMost("other", "", left="value", right=1)
    mine = toy().variant("x", claims=[own, SMALL], controls=[dataclasses.replace(TINY, of="other")])
    assert [claim.id for claim in mine.claims] == ["other", "small"]


@pytest.mark.door
@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"slug": "../x"}, InputError, "lower-case words"),
        ({"slug": "a" * 10_000}, InputError, "at most 80"),
        ({"slug": "Ｔoy"}, InputError, "lower-case"),
        ({"revision": 0}, ParameterError, "`revision` must be ≥ 1, got 0"),
        ({"columns": {}}, InputError, "declare its columns"),
        ({"columns": {"d": "clash"}}, InputError, r"\['d'\] as both"),
        ({"row": None}, InputError, "exactly one of `row` and `rows`, got neither"),
        ({"rows": lambda cells: iter(())}, InputError, "got both"),
        ({"together": ("d",)}, InputError, "`together` goes with `rows`"),
        ({"controls": ()}, InputError, "at least one negative control"),
        ({"claims": (SMALL, SMALL)}, InputError, "unique.*`small` twice"),
        ({"controls": (Control(SMALL, "small", ""),)}, InputError, "twice"),
        ({"controls": (dataclasses.replace(TINY, of="smal"),)}, UnknownNameError, "did you mean 'small'"),
        ({"claims": ("small",)}, KindError, "must hold Claim values, got str"),
        ({"figures": (FigureSpec("f", print, claims=("nope",)),)}, UnknownNameError, "'nope'"),
        ({"grid": Grid()}, ParameterError, "must have cells"),
        ({"grid": {"d": 1}}, KindError, "must be a Grid, got dict"),
        ({"row": 3}, KindError, "must be callable, got int"),
        ({"slots": MAPS, "grid": Grid(map="dubble")}, UnknownNameError, "did you mean 'double'"),
    ],
)
def test_bad_studies_are_refused(changes, error, says):
    with pytest.raises(error, match=says):
        toy(**changes)


@pytest.mark.door
def test_bad_variants_slots_and_claims_are_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'map'"):
        slotted().variant("x", parts={"maps": {"half": double}})
    with pytest.raises(InputError, match="`double` exists already"):
        slotted().variant("x", parts={"map": {"double": triple}})
    with pytest.raises(KindError, match="part `a` must be callable, got int"):
        Slot("() -> x", {"a": 1})
    with pytest.raises(UnknownNameError, match="axis"):
        slotted().variant("x", grid={"mapp": ["double"]})
    with pytest.raises(InputError, match="lower-case words"):
        AtMost("Bad Id", "", left="value", right=1)
    with pytest.raises(UnknownNameError, match="theorem"):
        AtMost("a", "", left="value", right=1, kind="theorm")
    with pytest.raises(UnknownNameError, match="size"):
        toy().cells("quik")


def test_together_may_name_axes_that_another_grid_lacks():
    def stacked(cells):
        yield from ((cell, {"y": float(cell["d"])}) for cell in cells)

    study = toy(row=None, rows=stacked, together=("d",))
    other = study.with_grid(Grid(seed=range(3)))
    assert other.together == ()
    assert [len(group) for group in other.groups(other.cells())] == [3]
    assert study.variant("wide", grid=Grid(d=[1, 2], seed=0)).together == ("d",)
    with pytest.raises(UnknownNameError, match="unknown `together` 'dd'"):
        toy(row=None, rows=stacked, together=("dd",))


def test_work_is_one_per_cell_unless_the_study_foresees_a_cost():
    assert toy().work({"d": 3}) == 1.0
    assert toy(cost=lambda cell: 10.0 * cell["d"]).work({"d": 3}) == 30.0
    with pytest.raises(ParameterError, match="`cost` must be > 0, got 0"):
        toy(cost=lambda cell: 0.0).work({"d": 3})
