"""The study at quick size, and the pieces of its cells on their own."""

import numpy as np
import pytest
import torch
from torch import nn

from steppe.harness import Grid
from steppe.studies import _multi_output_cells as cells
from steppe.studies.multi_output import STUDY
from steppe.testing import check_study
from steppe.workflow import run


def row(**axes):
    cell = STUDY.cell(axes)
    return STUDY.row(**cell, parts=cell.parts)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("shenouda2023-multi-output", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
@pytest.mark.timeout(900)
def test_every_theorem_holds_and_controls_are_rejected_where_judged(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 8
    assert set(theorems.values()) == {"holds"}
    assert {c.id for c in quick.controls.values() if c.rejected is False} == set()
    # Neuron sharing takes a million steps: only the default size judges it.
    assert all("penalty" in str(c.verdict.statement) or c.rejected for c in quick.controls.values())


@pytest.mark.study
@pytest.mark.timeout(900)
def test_exact_compression_holds_at_quick_size_and_every_figure_is_drawn(quick):
    for name in ("exact", "exact-digits", "no-room", "loose-kept", "draw-teacher", "draw-student", "bare-width"):
        assert quick.verdicts[name].state == "holds", name
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cells_do_not_depend_on_their_companions():
    check_study(STUDY.with_grid(small_grid()))


def small_grid():
    base = {"experiment": "compression", "steps": 20, "seed": 0, "held_out": 20}
    return (
        Grid(experiment="width", n=[10, 20], width=60, outputs=3, trials=2, seed=0)
        + Grid(experiment="rank", n=10, rank=[2, 5], width=40, outputs=3, trials=2, seed=0)
        + Grid(experiment="duplicates", copies=12, outputs=3, seed=range(2))
        + Grid(experiment="sharing", penalty=["group", "entry", "none"], steps=200)
        + Grid(**base, inputs="digits", network="connected", n=20, width=40)
        + Grid(**base, inputs="patches", network="convolutional", n=20, width=4)
    )


def test_prox_shrinks_groups_entries_and_leaves_them_without_penalty(monkeypatch):
    monkeypatch.setattr(cells, "STEP", 1.0)
    monkeypatch.setattr(cells, "DECAY", 0.5)
    x, w, v = np.zeros((2, 1)), np.ones((2, 1)), np.array([[3.0, 4.0], [0.3, 0.4]])
    for penalty, expected in {
        "group": [[2.7, 3.6], [0.0, 0.0]], "entry": [[2.5, 3.5], [0.0, 0.0]], "none": v.tolist(),
    }.items():  # fmt: skip
        assert cells._trained(x, np.zeros((2, 2)), w, v, 1, penalty)[1] == pytest.approx(np.array(expected))


def test_gradient_steps_are_those_of_torch():
    x, y, _, w, v = cells._authors_draw()
    weights = [torch.tensor(w, requires_grad=True), torch.tensor(v, requires_grad=True)]
    inputs, targets = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.SGD(weights, lr=cells.STEP)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(torch.relu(inputs @ weights[0].T) @ weights[1], targets).backward()
        optimizer.step()
    for got, expected in zip(cells._trained(x, y, w, v, 3, "none"), weights, strict=True):
        assert got == pytest.approx(expected.detach().numpy(), abs=1e-12)


def test_a_users_data_and_network_are_compressed_beside_the_paper():
    def waves(n, *, seed):
        x = torch.linspace(-1, 1, 3 * n, dtype=torch.float64).reshape(n, 3)
        return x, torch.sin(3 * x[:, :2])

    def deep(inputs, outputs, width):
        return nn.Sequential(
            nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
        )

    mine = STUDY.variant("mine", parts={"inputs": {"waves": waves}, "network": {"deep": deep}})
    cell = mine.cell({
        "experiment": "compression", "inputs": "waves", "network": "deep", "n": 15, "held_out": 5, "width": 30,
        "steps": 30, "seed": 0,
    })  # fmt: skip
    found = mine.row(**cell, parts=cell.parts)
    assert found["neurons_before"] == 60
    assert found["neurons_exact"] <= 30
    assert found["change_exact"] <= 1e-6
