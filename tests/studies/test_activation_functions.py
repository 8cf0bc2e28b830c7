"""The study at quick size, the promises its cells make, its lasso and the table of Green's functions."""

import cvxpy as cp
import numpy as np
import pytest

from steppe.core import InputError, ParameterError
from steppe.harness import Grid
from steppe.studies._activation_functions_lasso import lasso
from steppe.studies.activation_functions import STUDY
from steppe.testing import check_study
from steppe.theory import GreenFunction
from steppe.workflow import run


@pytest.mark.study
@pytest.mark.timeout(600)
def test_claims_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("parhi2019-activations", size="quick", out=tmp_path)
    assert {v.id: v.state for v in quick.verdicts.values() if v.state != "holds"} == {}
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert quick.exit_code(strict=True) == 0


@pytest.mark.study
@pytest.mark.timeout(600)
def test_the_study_keeps_its_promises():
    small = Grid(experiment="equivalent", data="reference", n=6, strength=[0.2], seed=0)
    small += Grid(experiment="order", data="sine", n=8, strength=0.1, order=[1, 2, 3], seed=0)
    small += Grid(experiment="green", operator="laplacian", order=2) + Grid(experiment="scaling", order=3, seed=0)
    check_study(STUDY.variant("small", grid=small))


@pytest.mark.parametrize("strength", [0.05, 1.0])
def test_lasso_agrees_with_a_cone_solver(strength):
    rng = np.random.default_rng(0)
    columns, free, y = rng.standard_normal((15, 20)), rng.standard_normal((15, 2)), rng.standard_normal(15)
    found = lasso(columns, free, y, strength)
    v, beta = cp.Variable(20), cp.Variable(2)
    program = cp.Minimize(0.5 * cp.sum_squares(y - columns @ v - free @ beta) + strength * cp.norm1(v))
    peer = cp.Problem(program).solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11)
    assert found.objective == pytest.approx(peer, rel=1e-7)
    assert found.correlation == pytest.approx(1, rel=1e-6)


def test_step_fit_agrees_with_total_variation_denoising():
    rng = np.random.default_rng(1)
    y = np.repeat([0.0, 2.0, -1.0], 6) + 0.3 * rng.standard_normal(18)
    found = lasso(np.tri(18)[:, 1:], np.ones((18, 1)), y, 0.7)
    f = cp.Variable(18)
    program = cp.Minimize(0.5 * cp.sum_squares(y - f) + 0.7 * cp.norm1(cp.diff(f)))
    assert found.objective == pytest.approx(cp.Problem(program).solve(solver=cp.CLARABEL), rel=1e-6)
    assert found.fitted == pytest.approx(f.value, abs=1e-4)


def test_known_pairs_of_operator_and_activation():
    t = np.array([-1.5, -0.5, 0.5, 2.0])
    assert GreenFunction("derivative", 1)(t).tolist() == [0, 0, 1, 1]
    assert GreenFunction("derivative", 2)(t) == pytest.approx(np.maximum(t, 0))
    assert GreenFunction("derivative", 3)(t) == pytest.approx(np.maximum(t, 0) ** 2 / 2)
    assert GreenFunction("laplacian", 2)(t) == pytest.approx(-np.abs(t) / 2)
    assert GreenFunction("derivative", 2).free_dimension == 2
    assert GreenFunction("derivative", 2.5).free_dimension == 3


def test_regularizer_is_the_path_norm_for_relu():
    assert GreenFunction("derivative", 2).regularizer([3.0, -1.0], [2.0, -0.5]) == pytest.approx(6.5)
    assert GreenFunction("derivative", 3).regularizer([3.0], [2.0]) == pytest.approx(18)


def test_orders_without_a_homogeneous_function_are_refused():
    with pytest.raises(ParameterError, match="logarithm"):
        GreenFunction("laplacian", 3)
    with pytest.raises(ParameterError, match="order"):
        GreenFunction("derivative", 0.5)


def test_a_part_with_equal_inputs_is_refused():
    def wrong(n, *, seed):
        return np.zeros(n), np.zeros(n)

    mine = STUDY.variant("mine", parts={"data": {"wrong": wrong}}, grid=Grid(data="wrong"))
    cell = mine.cell({"experiment": "equivalent", "data": "wrong", "n": 5, "strength": 0.1, "seed": 0})
    with pytest.raises(InputError, match="distinct x"):
        mine.row(**cell, parts=cell.parts)
