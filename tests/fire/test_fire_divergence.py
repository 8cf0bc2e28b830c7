"""Diverged cells are rows with a status: the sweep goes on, fits leave them out and say how many."""

import dataclasses

import pytest
import torch
from fire_training import BROKEN, STEPS, STUDY, row

from steppe.core import DataError
from steppe.harness import PowerLaw, Store, compute, load_rows, run_cells
from steppe.networks import ShallowReLU
from steppe.training import gradient_descent
from steppe.workflow import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("diverging")


@pytest.fixture(scope="module")
def sweep(folder):
    with Store(folder) as store:
        summary = run_cells(STUDY, STUDY.cells(), store, workers=2)
        again = run_cells(STUDY, STUDY.cells(), store, workers=2)
        return summary, again, load_rows(STUDY, STUDY.cells(), store)


def test_diverged_cells_have_rows_and_the_sweep_goes_on(sweep):
    summary, again, rows = sweep
    assert (summary.total, summary.done, summary.diverged, summary.crashed) == (28, 12, 16, 0)
    assert (again.reused, again.computed) == (28, 0)  # a divergence is an answer, not to be asked again
    reasons = {kind: {row.error for row in rows.where(kind=kind)} for kind in STEPS}
    assert reasons["fine"] == {""}
    assert all("exceeds" in reason for reason in reasons["explodes"])
    assert all(reason.startswith(("loss nan", "loss inf")) for reason in reasons["overflows"])
    assert all(reason.startswith("loss nan") for reason in reasons["becomes-nan"])
    assert all(reason.startswith("zero gradient") for reason in reasons["dead"])
    for one in rows.with_status("diverged"):
        assert one["kind"] in BROKEN
        assert one["loss"] == one["loss"]  # what was known is kept, and is a number


def test_fits_leave_diverged_cells_out_and_say_how_many(sweep):
    _, _, rows = sweep
    (verdict,), (control,) = STUDY.judge(rows)
    assert verdict.state == "holds"
    assert verdict.value == pytest.approx(-0.5, abs=1e-9)
    assert verdict.rows == 12
    assert "16 diverged left out" in verdict.note
    assert control.rejected
    naive = PowerLaw(
        "naive", "", x="n", y="gap", low=-0.51, high=-0.49, statuses=("done", "diverged"), statistic="mean"
    )
    assert naive.judge(rows).state != "holds"  # left in, they would have moved the exponent's interval


def test_a_sweep_in_which_everything_diverges_is_not_judged(sweep, folder):
    result = run(STUDY, where=lambda cell: cell["kind"] != "fine", out=folder)
    assert result.summary.reused == 16
    assert (len(result.rows.done), len(result.rows)) == (0, 16)
    verdict = result.verdicts["rate"]
    assert verdict.state == "not judged"
    assert "16 diverged left out" in verdict.note
    assert "16 diverged left out" in result.report.read_text()
    assert result.exit_code() == 0  # every cell ended with a recorded status


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_no_row(value):
    bad = dataclasses.replace(STUDY, row=lambda n, seed, kind: {"gap": value, "loss": 1.0, "steps": 1})
    (outcome,) = compute(bad, [{"n": 8, "seed": 0, "kind": "fine"}])
    assert outcome.status == "failed"
    assert "must be finite" in outcome.error
    assert "Diverged(reason)" in outcome.error


def test_data_on_which_training_cannot_begin_is_a_typed_failure():
    with pytest.raises(DataError, match="loss before the first step must be finite, got inf"):
        gradient_descent(
            ShallowReLU(2, 4), torch.ones(3, 2, dtype=torch.float64), torch.full((3, 1), 1e200, dtype=torch.float64),
            step_size=0.1, steps=5,
        )  # fmt: skip
    assert row(8, 0, "fine")["steps"] == 60
