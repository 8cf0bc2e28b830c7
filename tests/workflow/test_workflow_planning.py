from pathlib import Path

import pytest

from steppe.core import InputError, KindError, ParameterError, UnknownNameError
from steppe.harness import Grid
from steppe.workflow import load_study, select

pytestmark = pytest.mark.door
TOY = load_study(Path(__file__).with_name("toy_study.py"))


def test_sizes_conditions_and_changed_axes():
    assert len(select(TOY)) == 12
    assert len(select(TOY, size="quick")) == 6
    assert len(select(TOY, size="full")) == 12  # no full grid: the default one
    assert len(select(TOY, where="seed<3 and n==8")) == 3
    assert select(TOY, size="quick", grid={"n": [16]}, extend={"seed": [9]}).axes == {
        "n": [16],
        "seed": [0, 1, 9],
        "inputs": ["fair"],
    }
    assert len(select(TOY, grid=Grid(n=4, seed=0, inputs="fair"))) == 1


def test_a_whole_float_on_an_integer_axis_is_the_same_cell():
    assert select(TOY, grid={"n": [8.0]}, where="seed==0").cells() == [{"n": 8, "seed": 0, "inputs": "fair"}]
    assert type(select(TOY, grid={"n": [8.0]}).cells()[0]["n"]) is int


@pytest.mark.parametrize(
    ("keywords", "error", "says"),
    [
        ({"size": "quik"}, UnknownNameError, "did you mean 'quick'"),
        ({"grid": {"sed": [1]}}, UnknownNameError, "did you mean 'seed'"),
        ({"extend": {"width": [1]}}, UnknownNameError, "unknown `axis` 'width'"),
        ({"where": "sed<3"}, UnknownNameError, "did you mean 'seed'"),
        ({"where": "seed<"}, InputError, "where"),
        ({"where": "seed>99"}, InputError, "no cell of toy is left by `where` 'seed>99'; the axes are n: 8, 32, 128"),
        ({"grid": {"inputs": ["fairr"]}}, UnknownNameError, "did you mean 'fair'"),
        ({"grid": {"n": ["many"]}}, ParameterError, "axis `n` holds numbers, got 'many'; give numbers such as n=8"),
        ({"grid": {"inputs": [3]}}, ParameterError, r"axis `inputs` holds names, got \[3\]; known: fair"),
        ({"grid": 3}, KindError, "`grid` must be a Grid or a dict of axes, got int"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(keywords, error, says):
    with pytest.raises(error, match=says):
        select(TOY, **keywords)
