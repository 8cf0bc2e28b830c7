"""The study at quick size, the promises its cells make, and its linear program against independent answers."""

import math

import numpy as np
import pytest

from steppe.core import InputError, ParameterError
from steppe.harness import Grid
from steppe.solvers import interpolate_one_dimension
from steppe.solvers.exact_check import largest_correlation
from steppe.studies._representer_interpolation import local_maxima, smallest_variation
from steppe.studies._representer_training import trained
from steppe.studies.representer import STUDY
from steppe.testing import check_study
from steppe.theory import free_polynomials, ridge_spline_width
from steppe.workflow import run


def row(**axes):
    cell = STUDY.cell(axes)
    return STUDY.row(**cell, parts=cell.parts)


@pytest.mark.study
@pytest.mark.timeout(600)
def test_claims_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("parhi2020-representer", size="quick", out=tmp_path)
    assert {v.id: v.state for v in quick.verdicts.values() if v.state != "holds"} == {}
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert quick.exit_code(strict=True) == 0


@pytest.mark.study
@pytest.mark.timeout(600)
def test_the_study_keeps_its_promises():
    small = Grid(experiment="decay", data="reference", d=1, n=6, strength=0.2, steps=50, width=5, seed=0)
    small += Grid(experiment="interpolation", data="normal", d=2, n=5, seed=0) + Grid(experiment="xor")
    small += Grid(experiment="knots", shape="convex", n=5, seed=0) + Grid(experiment="scaling", order=3, seed=0)
    small += Grid(experiment="splines", data="normal", order=3, d=1, n=8, seed=0)
    check_study(STUDY.variant("small", grid=small))


def test_the_exclusive_or_has_one_neuron_and_value_two_root_two():
    found = row(experiment="xor")
    assert found["variation"] == pytest.approx(2 * math.sqrt(2), rel=1e-12)
    assert found["neurons"] == 1


@pytest.mark.parametrize(("d", "n"), [(1, 7), (2, 6), (2, 9), (3, 6)])
def test_dual_of_the_program_is_feasible_by_an_independent_search(d, n):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    affine = np.linalg.qr(np.column_stack([x, np.ones(n)]))[0]
    dual = y - affine @ (affine.T @ y)
    assert local_maxima(x, dual)[1][0] == pytest.approx(largest_correlation(x, dual, bias="free"), rel=1e-9)
    found = smallest_variation(x, y)
    assert found.maximum <= 1 + 1e-8
    assert len(found.neurons) <= n - d - 1
    again = smallest_variation(x, y, seed=1)
    assert again.value == pytest.approx(found.value, rel=1e-7)


def test_program_and_knots_agree_on_a_line():
    rng = np.random.default_rng(2)
    x, y = np.sort(rng.uniform(0, 3, 9)), rng.standard_normal(9)
    assert smallest_variation(x[:, None], y).value == pytest.approx(interpolate_one_dimension(x, y).variation, rel=1e-9)


@pytest.mark.parametrize(("d", "order", "dimension"), [(2, 2, 3), (2, 3, 6), (3, 4, 20), (1, 2, 2)])
def test_dimension_of_the_free_polynomials(d, order, dimension):
    assert int(free_polynomials(d, order)) == dimension


def test_width_bound_formula():
    assert int(ridge_spline_width(10, 2)) == 7
    assert int(ridge_spline_width(2, 2)) == 0
    assert ridge_spline_width(10, 2).status == "theorem"
    with pytest.raises(ParameterError, match="order"):
        ridge_spline_width(10, 2, 1)


def test_a_narrow_network_without_training_is_above_the_optimum():
    x = np.array([0, 1, 2, 3.5, 4, 6.0])[:, None]
    y = np.array([0, 1, -0.5, 2, 2.5, 1.0])
    run = trained(x, y, 0.2 / 6, width=60, steps=0, seed=0)
    assert run.decay >= run.path > 1.1525 / 6


def test_a_part_of_the_wrong_shape_is_refused():
    def wrong(n, d, *, seed):
        return np.zeros((n, d + 1)), np.zeros(n)

    mine = STUDY.variant("mine", parts={"data": {"wrong": wrong}}, grid=Grid(data="wrong"))
    cell = mine.cell({"experiment": "interpolation", "data": "wrong", "d": 2, "n": 5, "seed": 0})
    with pytest.raises(InputError, match="slot `data`"):
        mine.row(**cell, parts=cell.parts)
