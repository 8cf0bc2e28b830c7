"""The data-geometry study at quick size, what its cells promise, and a table of one's own beside the laws."""

import math
import textwrap

import numpy as np
import pytest
import torch

from steppe.activations import activation_weight, half_space_depth
from steppe.core import InputError
from steppe.data import mixture_of_subspaces, radial
from steppe.harness import Grid
from steppe.networks import ShallowReLU
from steppe.studies import _data_geometry_cells as cells
from steppe.studies import _data_geometry_exact as exact
from steppe.studies.data_geometry import STUDY
from steppe.testing import check_study
from steppe.training import gradient_descent
from steppe.workflow import run

TRAINED = {"width": 40, "step_size": 0.4, "steps": 60}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("liang2025-data-geometry", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
def test_every_theorem_holds_and_every_control_is_rejected(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) == 9
    assert set(theorems.values()) == {"holds"}
    assert {c.id: c.rejected for c in quick.controls.values() if not c.rejected} == {}
    assert quick.exit_code(strict=True) == 0
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems


@pytest.mark.study
def test_cells_do_not_depend_on_their_companions():
    base, exactly = {"n": 40, "seed": range(2)} | TRAINED, STUDY.grid_of("quick")
    check_study(
        STUDY.with_grid(
            Grid(experiment="radial", law="radial", alpha=[0.3, 5.0], d=5, **base)
            + Grid(experiment="ambient", law="lines", d=[10, 60], **base)
            + Grid(experiment="sphere", law="sphere", d=4, **base)
            + Grid(experiment="plane", law="sphere", d=2, **base)
            + Grid(experiment="table", table="digits", inputs=["data", "gaussian-covariance"], **base)
            + exactly.where('experiment == "construction" and n == 10')
            + exactly.where('experiment == "patch-construction" or experiment == "shell"')
        )
    )


@pytest.mark.study
def test_a_table_of_ones_own_stands_beside_the_laws(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        textwrap.dedent(
            """\
            import torch
            from steppe.studies.data_geometry import STUDY as PAPER

            def mine(n, *, seed):
                rows = torch.linspace(0, 1, 3 * n, dtype=torch.float64).reshape(n, 3)
                return rows + torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

            STUDY = PAPER.variant("mine", parts={"table": {"mine": mine}}, grid={"table": ["digits", "mine"]})
            """
        )
    )
    where = '(experiment == "table" or experiment == "radial") and seed == 0 and n <= 400'
    result = run(mine, size="quick", where=where, grid={"width": 30, "steps": 40}, out=tmp_path / "out")
    assert {row["table"] for row in result.rows if "table" in row} == {"digits", "mine"}
    assert {row.status for row in result.rows} == {"done"}
    assert any(row["experiment"] == "radial" for row in result.rows)
    assert "mine" in [layer.name for layer in result.figures["spectrum"].panels[0].layers]
    assert "mine" in [panel.title for panel in result.figures["tables"].panels]


def test_training_within_the_span_is_training_in_the_ambient_space():
    cell = STUDY.cell({"experiment": "ambient", "law": "lines", "d": 30, "n": 25, "seed": 1} | TRAINED)
    x = cell.parts["law"](25, 30, seed=1)
    task = cells.problem(cell)
    assert task.x.shape[1] < 20
    torch.testing.assert_close(task.x @ task.x.T, x @ x.T)
    whole = ShallowReLU(30, 40, seed=1)
    for network, inputs in ((whole, x), (task.network, task.x)):
        gradient_descent(network, inputs, task.y, step_size=0.4, steps=60)
    torch.testing.assert_close(whole(x), task.network(task.x))


@pytest.mark.parametrize("seed", range(2))
def test_the_inequality_on_each_piece_for_four_thousand_hyperplanes(seed):
    x = mixture_of_subspaces(400, 6, pieces=5, dim=1, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    u = torch.randn(4000, 6, generator=rng, dtype=torch.float64)
    u /= u.norm(dim=1, keepdim=True)
    t = 1.2 * torch.rand(4000, generator=rng, dtype=torch.float64) - 0.6
    network = ShallowReLU.from_weights(u, t, torch.ones(4000).double())
    lines = exact.pieces(x)
    assert len(lines) == 5
    assert sum(len(points) for _, points in lines) == 400
    found = exact.on_each_piece(network, x)
    assert 0.1 < found["piece_ratio"] <= 1
    assert found["piece_ratio_near"] > 1
    # the bound on the seminorm that follows, A √2/π_j² on each piece of radius at most one
    whole = float(activation_weight(x, u, t).sum())
    for direction, points in lines:
        slope, share = u @ direction, len(points) / 400
        own = activation_weight((points @ direction)[:, None], slope.sign()[:, None], t / slope.abs())
        assert float((slope.abs() * own).sum()) <= math.sqrt(2) * whole / share**2


def test_a_rarely_active_neuron_reaches_shallow_points_only():
    x = radial(80, 2, alpha=0.7, seed=3)
    found = exact.depth_and_activation(ShallowReLU(2, 300, init="torch", seed=0), x)
    reached, share = np.array(found["reached_depth"]), np.array(found["reached_share"])
    assert (reached <= share).all()
    assert (reached > share - 1 / 80).any()
    assert reached.max() <= float(half_space_depth(x, x).max())


def test_the_balanced_interpolant_attains_the_flatness_inequality():
    cell = STUDY.cell(
        {"experiment": "construction", "n": 40, "d": 5, "labels": "signs", "size": 1.5, "split": "balanced", "seed": 0}
    )
    found = exact.construction(cell)
    assert found["weighted_norm"] == pytest.approx(math.sqrt(2) * 1.5 / 40, rel=1e-10)
    assert found["flatness_bound"] == pytest.approx(found["weighted_norm"], rel=1e-8)
    assert found["certified_sharpness"] == pytest.approx(1 + 2 * math.sqrt(2) * 1.5 / 40, rel=1e-13)


def test_gaussian_twins_have_the_size_or_the_covariance_of_the_table():
    def at(inputs):
        return cells._table(
            STUDY.cell({"experiment": "table", "table": "digits", "inputs": inputs, "n": 900, "seed": 0} | TRAINED)
        )

    data, plain, matched = at("data"), at("gaussian"), at("gaussian-covariance")
    assert float(data.norm(dim=1).max()) == pytest.approx(1)
    assert plain.shape == matched.shape == data.shape
    for twin in (plain, matched):
        assert float(twin.square().sum()) == pytest.approx(float(data.square().sum()), rel=0.07)
    covariance = data.T @ data / len(data)
    assert float((matched.T @ matched / len(data) - covariance).norm() / covariance.norm()) < 0.2
    assert float((plain.T @ plain / len(data) - covariance).norm() / covariance.norm()) > 0.5


@pytest.mark.door
@pytest.mark.parametrize("value", [np.ones((3, 2)), torch.ones(3, 2), torch.ones(3).double()])
def test_a_table_that_is_no_table_is_refused(value):
    study = STUDY.variant("mine", parts={"table": {"mine": lambda n, *, seed: value}}, grid={"table": ["mine"]})
    cell = study.cell({"experiment": "table", "table": "mine", "inputs": "data", "n": 3, "seed": 0} | TRAINED)
    with pytest.raises(InputError, match=r"slot `table` must give x \[n, d\] in float64"):
        cells.problem(cell)
