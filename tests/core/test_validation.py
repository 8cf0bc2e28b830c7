import math

import pytest
import torch

from steppe import core
from steppe.core import (
    DataError,
    DtypeError,
    KindError,
    ParameterError,
    ShapeError,
    SteppeError,
    UnknownNameError,
    check_choice,
    check_inputs,
    check_integer,
    check_known,
    check_number,
    check_same_place,
    refuse_unknown_keywords,
)

pytestmark = pytest.mark.door


def test_every_error_is_a_steppe_error_and_a_built_in_one():
    errors = [getattr(core, name) for name in core.__all__ if name.endswith("Error")]
    assert all(issubclass(e, SteppeError) for e in errors)
    assert all(issubclass(e, ValueError | TypeError | RuntimeError) for e in errors if e is not SteppeError)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (True, KindError, "must be a number, got True"),
        ("0.1", KindError, "got '0.1' \\(str\\)"),
        (math.nan, ParameterError, "must be finite"),
        (0.0, ParameterError, "`step_size` must be > 0, got 0"),
        (3.0, ParameterError, "`step_size` must be > 0 and < 2, got 3"),
    ],
)
def test_numbers(value, error, says):
    with pytest.raises(error, match=says):
        check_number("step_size", value, above=0, below=2 if value == 3.0 else None)


def test_good_values_pass_through():
    assert check_number("a", torch.tensor(0.5), above=0) == 0.5
    assert check_integer("a", 3, minimum=3, maximum=3) == 3
    assert check_choice("a", "x", ["x", "y"]) == "x"
    refuse_unknown_keywords("f", {}, [])


def test_names_suggest_the_closest():
    with pytest.raises(UnknownNameError, match="must be one of 'largest', 'smallest', got 'larges'; did you mean"):
        check_choice("which", "larges", ["largest", "smallest"])
    with pytest.raises(
        UnknownNameError, match="unknown `study` 'neural'; did you mean 'neural-net'\\?; known: 'neural-net', 'x'"
    ):
        check_known("study", "neural", ["neural-net", "x"])


def test_letters_that_only_look_alike_are_told_apart_and_long_values_cut():
    with pytest.raises(UnknownNameError, match=r"'fаir' \('f\\u0430ir'\); did you mean 'fair'"):
        check_known("part", "f\u0430ir", ["fair"])
    with pytest.raises(
        UnknownNameError, match=r"`size` must be one of 'quick', got 'x{199}… \(10002 characters\); pass"
    ):
        check_choice("size", "x" * 10_000, ["quick"])


def test_keywords_of_other_libraries_are_translated():
    with pytest.raises(KindError, match=r"does not know the keyword `lr` \(got lr=0.1\); pass `step_size=0.1` instead"):
        refuse_unknown_keywords("gradient_descent", {"lr": 0.1}, ["step_size", "steps"])


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        ([[1.0]], KindError, "torch tensor, got list"),
        (torch.zeros(2, 2, dtype=torch.int64), DtypeError, "floating"),
        (torch.zeros(3), ShapeError, r"pass x\[:, None\]"),
        (torch.zeros(3, 0), ShapeError, "at least one input column"),
        (torch.zeros(0, 3), DataError, "at least 1 sample, got 0"),
        (torch.tensor([[math.nan, math.inf]]), DataError, "2 NaN or infinite entries out of 2"),
    ],
)
def test_inputs(x, error, says):
    with pytest.raises(error, match=says):
        check_inputs(x)


def test_nothing_is_promoted_silently():
    with pytest.raises(DtypeError, match=r"got torch.float32 and torch.float64; convert one"):
        check_same_place(torch.nn.Linear(2, 1), torch.zeros(3, 2, dtype=torch.float64))
    check_same_place(torch.nn.Linear(2, 1), torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
