"""How long descent stays next to a minimizer that is too sharp."""

import math

import pytest

from steppe.core import ParameterError
from steppe.theory import escape_steps


@pytest.mark.parametrize(("factor", "steps"), [(2.01, 1388.4), (2.1, 144.95), (2.5, 34.07), (3.0, 19.93)])
def test_the_formula_gives_the_recorded_numbers(factor, steps):
    assert float(escape_steps(factor / 7, 7.0)) == pytest.approx(steps, abs=0.05)


def test_a_stable_step_never_leaves():
    assert float(escape_steps(1.0, 2.0)) == math.inf
    assert float(escape_steps(1.0, 0.5)) == math.inf


def test_a_start_beyond_the_radius_has_left_at_once():
    assert float(escape_steps(3.0, 1.0, start=0.1, radius=0.01)) == 0


def test_on_a_quadratic_it_is_the_first_step_beyond_the_radius():
    x, step = 1e-9, 0
    while abs(x) <= 1e-3:
        x, step = x - 0.31 * 7.0 * x, step + 1
    assert step == math.ceil(float(escape_steps(0.31, 7.0)))


@pytest.mark.parametrize("change", [{"start": 0.0}, {"radius": -1.0}, {"start": math.nan}])
def test_distances_must_be_positive(change):
    with pytest.raises(ParameterError, match="must be"):
        escape_steps(1.0, 3.0, **change)
