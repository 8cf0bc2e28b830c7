"""The study of convex programs at quick size, and what its data and curves promise."""

import numpy as np
import pytest

from steppe.studies import _global_optimization_cells as cells
from steppe.studies import _global_optimization_data as data
from steppe.studies.global_optimization import STUDY
from steppe.workflow import run


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("bai2022-global-optimization", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
def test_every_theorem_holds_and_every_control_is_rejected(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 8
    assert set(theorems.values()) == {"holds"}
    assert {c.id for c in quick.controls.values() if c.rejected is False} == set()
    assert sum(c.rejected is True for c in quick.controls.values()) >= 14
    assert quick.exit_code(strict=True) == 0


@pytest.mark.study
def test_every_row_is_done_and_every_figure_is_drawn(quick):
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems
    assert "none ended below the certified optimum" in STUDY.headline(quick.rows, quick.verdicts)


@pytest.mark.study
def test_robust_training_keeps_what_plain_training_loses(quick):
    for claim in ("robust-keeps-labels", "plain-loses-labels", "admm-agrees", "gated-below-optimum"):
        assert quick.verdicts[claim].state == "holds"
    for row in quick.rows.where(experiment="robust"):
        assert row["robust_certified"] <= row["robust_attacked"] <= row["robust_clean"]
        assert (np.diff(row["plain_curve"]) <= 0).all()


def test_every_control_answers_a_claim_and_every_claim_has_one():
    theorems = {claim.id for claim in STUDY.claims}
    assert {control.of for control in STUDY.controls} == theorems


def test_numbers_of_patterns_grow_to_the_largest():
    counts = cells._counts(120)
    assert counts[0] == 5
    assert counts[-1] == 120
    assert counts == sorted(set(counts))
    assert cells._counts(3) == [3]


def test_weak_features_give_the_label_away_within_the_radius():
    X, y = data.weak_features(80, seed=1)
    assert (np.sign(X[:, 0] * X[:, 1]) == y).all()
    assert (np.sign(X[:, 2:].sum(axis=1)) == y).all()
    assert np.abs(X[:, :2]).min() >= 0.8 > 0.35  # the strong features survive the adversary of the study …
    assert np.abs(X[:, 2:]).mean() < 0.35  # … the weak ones do not


def test_inputs_are_standardised_and_repeat():
    for sample in (data.ridges, data.diabetes):
        X, y = sample(50, 3, seed=2)
        assert X.shape == (50, 3)
        assert X.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
        assert X.std(axis=0) == pytest.approx(np.ones(3))
        assert (sample(50, 3, seed=2)[1] == y).all()
        assert not (sample(50, 3, seed=3)[1] == y).all()
