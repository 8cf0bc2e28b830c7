"""The study at quick size, and what its cells are made of."""

import numpy as np
import pytest

from steppe.harness import Grid
from steppe.studies._near_minimax_cells import linear_exponent, theory_alpha
from steppe.studies._near_minimax_kernel import RIDGES, best_ridge, kernel_ridge, neuron_kernel
from steppe.studies.near_minimax import STUDY
from steppe.testing import check_study
from steppe.theory import rates
from steppe.workflow import run


@pytest.mark.study
@pytest.mark.timeout(600)
def test_theorems_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("parhi2021-near-minimax", size="quick", out=tmp_path)
    assert {row.status for row in quick.rows} == {"done"}
    assert {v.state for v in quick.verdicts.values() if v.kind == "theorem"} == {"holds"}
    assert {v.id for v in quick.verdicts.values() if v.state == "fails"} == set()
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}


@pytest.mark.study
def test_the_study_keeps_its_promises():
    base = {"target": "ridge", "noise": 0.25, "seed": [0, 1]}
    small = Grid(experiment="error", **base, d=1, n=24) + Grid(experiment="certificate", **base, d=1, n=24)
    small += Grid(experiment="linearity", **base, d=1, n=24) + Grid(experiment="rates", d=[1, 2])
    check_study(STUDY.variant("small", grid=small))


def test_exponents_of_the_paper():
    table = {1: (4 / 5, 3 / 4), 2: (5 / 7, 3 / 5), 5: (8 / 13, 3 / 8)}
    for d, (network, linear) in table.items():
        assert float(rates.low_norm_mse(d)) == pytest.approx(network)
        assert linear_exponent(d) == pytest.approx(linear)
    assert theory_alpha(1, 3, 1.0) == 0.5


def test_kernel_is_the_mean_over_random_neurons():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3))
    u = rng.normal(size=(200_000, 4))
    hidden = np.maximum(u @ np.column_stack([x, np.ones(4)]).T, 0.0)
    np.testing.assert_allclose(neuron_kernel(x, x), 2 * hidden.T @ hidden / len(u), rtol=0.03, atol=0.03)


def test_best_ridge_is_the_best_of_all():
    rng = np.random.default_rng(1)
    x, fresh = rng.normal(size=(20, 2)), rng.normal(size=(50, 2))
    y, clean = x[:, 0] + 0.1 * rng.normal(size=20), fresh[:, 0]
    errors = [np.mean((kernel_ridge(x, y, fresh, ridge) - clean) ** 2) for ridge in RIDGES]
    assert best_ridge(x, y, fresh, clean) == pytest.approx(min(errors), rel=1e-5)
