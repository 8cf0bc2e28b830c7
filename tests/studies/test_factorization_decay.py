"""The study at quick size, and the pieces of its cells on their own."""

import numpy as np
import pytest
import torch

from steppe.harness import Grid
from steppe.networks import DeepLinear
from steppe.studies import _factorization_decay_cells as cells
from steppe.studies import _factorization_decay_data as data
from steppe.studies.factorization_decay import STUDY, digit_means
from steppe.testing import check_study
from steppe.workflow import run


def row(study=STUDY, **axes):
    cell = study.cell(axes)
    return study.row(**cell, parts=cell.parts)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("kamber2026-regularized", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
@pytest.mark.timeout(900)
def test_every_theorem_holds_every_control_is_rejected_and_every_figure_is_drawn(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 15
    assert set(theorems.values()) == {"holds"}
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cells_do_not_depend_on_their_companions():
    shape = {"target": "gaussian", "outputs": 2, "inputs": 2, "width": 2, "depth": 3, "seed": 0}
    check_study(
        STUDY.with_grid(
            Grid(experiment="minimizers", **shape, method="lbfgs", restarts=2, share=0.3)
            + Grid(experiment="map", depth=3, weight=0.2, points=3)
            + Grid(experiment="collapse", **shape)
            + Grid(experiment="zero", **shape, share=0.3, start=0.1, steps=20)
            + Grid(experiment="noise", n=20, inputs=3, rank=1, noise=0.5, depth=3, steps=20, seed=0)
            + Grid(
                experiment="digits", n=20, width=3, depth=2, decay=0.01, activation=["relu", "linear"], steps=5, seed=0
            )
        )
    )


def test_dense_hessian_is_that_of_the_objective():
    target = np.arange(6.0).reshape(2, 3)
    network = DeepLinear([3, 2, 4, 2], seed=0)
    shapes = [layer.shape for layer in network.layers]

    def objective(flat):
        parts = flat.split([rows * columns for rows, columns in shapes])
        layers = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return (torch.as_tensor(target) - torch.linalg.multi_dot(layers[::-1])).square().sum() + 0.3 * flat @ flat

    flat = torch.cat([layer.detach().reshape(-1) for layer in network.layers])
    expected = torch.autograd.functional.hessian(objective, flat)
    assert torch.allclose(cells.dense_hessian(network, target, 0.3), expected, atol=1e-12)


def test_minimizers_agree_also_for_a_users_target():
    def hilbert(outputs, inputs, *, seed):
        place = torch.arange(1.0, outputs + 1, dtype=torch.float64)
        return 1 / (place[:, None] + torch.arange(inputs) + seed)

    mine = STUDY.variant("mine", parts={"target": {"hilbert": hilbert}})
    found = row(
        mine, experiment="minimizers", target="hilbert", outputs=3, inputs=2, width=3, depth=3, share=0.1,
        method="lbfgs", restarts=2, seed=0,
    )  # fmt: skip
    assert found["spectrum_error"] < 1e-9
    assert found["end_spread"] < 1e-5
    assert found["unbalanced_spectrum_error"] > 1e-5


def test_zero_is_a_minimum_at_depth_three_and_a_saddle_at_depth_two():
    shape = {"target": "gaussian", "outputs": 3, "inputs": 2, "width": 3, "share": 0.3, "start": 0.1, "steps": 10}
    assert row(experiment="zero", **shape, depth=3, seed=0)["zero_curvature"] == pytest.approx(1.0)
    # At depth 2 the blocks [[λ, −σ], [−σ, λ]] have the lowest eigenvalue 2(λ − σ_1) = 2λ(1 − 1/0.3).
    assert row(experiment="zero", **shape, depth=2, seed=0)["zero_curvature"] == pytest.approx(1 - 1 / 0.3)


def test_digit_means_keep_the_distances_between_classes():
    means = digit_means(4, 4, seed=0)
    assert means.shape == (4, 4)
    assert digit_means(4, 3, seed=0).shape == (4, 3)
    assert torch.allclose(means[:, :3].abs(), digit_means(4, 3, seed=0).abs())


def test_balance_measures_vanish_at_a_balanced_pair():
    before, after = (
        torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        torch.linalg.cholesky(torch.tensor([[5.0, 2.0], [2.0, 1.0]])),
    )
    assert data._matrices(before, after.T) == pytest.approx(0.0, abs=1e-6)
    assert data._neurons(before, after.T) == pytest.approx(0.0, abs=1e-6)
    assert data._neurons(before, 2 * after.T) == pytest.approx(0.75)
    assert data._spread([1.0, 3.0, 2.0]) == 2.0
