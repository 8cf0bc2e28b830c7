"""The study of noisy labels in one dimension at quick size."""

import numpy as np
import pytest
import torch

from steppe.harness import Cell, Grid
from steppe.studies._univariate_cells import row
from steppe.studies.univariate import SLOTS, STUDY, grid, kink, uniform, zigzag
from steppe.testing import check_study
from steppe.workflow import run


@pytest.mark.study
@pytest.mark.timeout(900)
def test_theorems_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("qiao2024-univariate", size="quick", out=tmp_path)
    assert {row.status for row in quick.rows} == {"done"}
    assert {v.state for v in quick.verdicts.values() if v.kind == "theorem"} == {"holds"}
    assert {v.id for v in quick.verdicts.values() if v.state == "fails"} == set()
    states = {v.id: v.state for v in quick.verdicts.values()}
    assert {c.id for c in quick.controls.values() if not c.rejected and states[c.of] == "holds"} == set()
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}


@pytest.mark.study
def test_the_study_keeps_its_promises():
    base = {"inputs": "uniform", "target": "kink", "noise": 0.5, "width": 20, "steps": 200}
    small = Grid(experiment="fit", **base, n=12, step_size=[0.01, 0.4], seed=[0, 1])
    small += Grid(experiment="rate", **base, n=[12, 24], step_size=0.2, seed=[0, 1])
    small += Grid(experiment="limit", inputs="grid", target="kink", noise=[0.0, 0.5], n=[10, 20, 40], seed=[0, 1])
    small += Grid(experiment="width", inputs="grid", target="kink", noise=0.5, n=12, width=[12, 200], seed=[0, 1])
    real = {"series": ["diabetes-bmi", "photo-row"], "noise": 0.5, "n": 20, "width": 20}
    small += Grid(experiment="real", **real, step_size=[0.01, 0.4], steps=200, seed=[0, 1])
    check_study(STUDY.variant("small", grid=small))


def test_targets_have_their_knots():
    x = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None]
    for target, knots in ((kink, [0.3]), (zigzag, [-1.1, -0.2, 0.7])):
        bend = target(x)[:, 0].diff().diff().abs()
        found = x[1:-1, 0][bend > 1e-6].numpy()
        np.testing.assert_allclose(found, knots, atol=1e-9)


def test_inputs_stay_in_their_interval():
    assert float(uniform(5000, seed=0).abs().max()) <= 2
    assert grid(5, seed=0)[:, 0].tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


def test_wide_interpolants_are_sharper_than_the_infimum_allows_to_be_flat():
    axes = {"experiment": "width", "inputs": "grid", "target": "kink", "noise": 0.5, "n": 30, "width": 300, "seed": 3}
    parts = {name: SLOTS[name].parts[axes[name]] for name in ("inputs", "target")}
    found = row(Cell(axes, parts), list(STUDY.columns))
    assert found["interpolant_error"] < 1e-20
    assert found["interpolant_sharpness"] >= found["interpolant_floor"] > 10
