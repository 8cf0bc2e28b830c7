import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steppe.core import DataError, InputError, KindError, ParameterError, UnknownNameError
from steppe.harness import Grid


def test_product_runs_in_keyword_order():
    assert Grid(d=(1, 5), seed=range(2)).cells() == [
        {"d": 1, "seed": 0}, {"d": 1, "seed": 1}, {"d": 5, "seed": 0}, {"d": 5, "seed": 1},
    ]  # fmt: skip


def test_union_keeps_order_and_drops_duplicates():
    union = Grid(d=(1, 5), seed=0) + Grid(seed=(0, 1), d=5) + Grid(d=9)
    assert [tuple(cell.values()) for cell in union.cells()] == [(1, 0), (5, 0), (1, 5), (9,)]
    assert union.axes == {"d": [1, 5, 9], "seed": [0, 1]}


def test_arrays_and_mixed_numbers_become_plain():
    (low, high) = (cell["x"] for cell in Grid(x=np.array([1, 2])).cells())
    assert (type(low), high) == (int, 2)
    assert [cell["x"] for cell in Grid(x=(1, 2.5)).cells()] == [1.0, 2.5]
    assert all(type(cell["x"]) is float for cell in Grid(x=(1, 2.5)).cells())


def test_override_and_extend_reach_every_block_that_has_the_axis():
    grid = Grid(d=1, step=(0.5, 1.0)) + Grid(d=2)
    assert grid.override({"step": 2}).axes == {"d": [1, 2], "step": [2.0]}
    assert grid.extend({"d": (1, 7)}).axes["d"] == [1, 7, 2]
    assert type(grid.override({"step": 2}).axes["step"][0]) is float


@pytest.mark.door
@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Grid(d=1).override({"dd": 2}), UnknownNameError, "did you mean 'd'"),
        (lambda: Grid(d=1).extend({"e": 2}), UnknownNameError, "axis"),
        (lambda: Grid(d=()), DataError, "at least one value"),
        (lambda: Grid(d=float("nan")), ParameterError, "finite"),
        (lambda: Grid(d=2**63), ParameterError, "64 bits"),
        (lambda: Grid(d={"a": 1}), KindError, "a scalar or a sequence, got dict"),
        (lambda: Grid(d=[[1], [2]]), KindError, "axis `d`"),
        (lambda: Grid(d=1).where("e == 1"), UnknownNameError, "'e'"),
        (lambda: Grid(d=1).where("d = 1"), InputError, "=="),
        (lambda: Grid(d=1).where("d.real == 1"), InputError, "attribute"),
        (lambda: Grid(d=1).where("__import__('os')"), InputError, "call"),
        (lambda: Grid(d=1).where("[d for d in (1,)]"), InputError, "does not allow"),
        (lambda: Grid(d=1).where("d**9**9**9 == 1"), InputError, "binop"),
        (lambda: Grid(d=1).where(""), InputError, "between 1 and"),
        (lambda: Grid(d=1).where("d == b'x'"), InputError, "constant"),
        (lambda: Grid(d=1).where("not " * 900 + "d"), InputError, "where"),
        (lambda: Grid(d=1).where("d < 'x'").cells(), InputError, "one kind"),
        (lambda: Grid(d=1).where(3), KindError, "must be a text"),
    ],
)
def test_bad_input_is_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_where_reads_conditions():
    grid = Grid(d=range(6), name=("ball", "cube")) + Grid(d=range(6))
    assert len(grid.where("1 < d <= 3")) == 6
    assert len(grid.where("name == 'ball' and d in (1, 2)")) == 2
    assert len(grid.where("not (d < 5) or d == -0")) == 6
    assert len(grid.where("name not in ['cube']")) == 6  # cells without a name do not match
    assert len(grid.where(lambda cell: "name" not in cell)) == 6
    assert len(grid.where("d == 0").where("name == 'ball'")) == 1


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1), st.integers(-5, 5))
def test_where_is_the_filter_of_the_product(left, right, limit):
    kept = Grid(a=left, b=right).where(f"a < {limit} or b >= {limit}").cells()
    expected = [{"a": a, "b": b} for a in dict.fromkeys(left) for b in dict.fromkeys(right) if a < limit or b >= limit]
    assert kept == expected


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_a_named_error(text):
    with contextlib.suppress(InputError, KindError):
        Grid(d=1).where(text).cells()


def test_equality_is_of_cells():
    assert Grid(d=(1, 2)) == Grid(d=1) + Grid(d=2) != Grid(d=(2, 1))
