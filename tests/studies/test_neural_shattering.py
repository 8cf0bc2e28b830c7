"""The main job at quick size, and the promises its cells make."""

import math
import subprocess
import sys
import textwrap

import pytest
import torch

from steppe.core import InputError
from steppe.harness import Grid, Store
from steppe.studies import _neural_shattering_cells as cells
from steppe.studies.neural_shattering import STUDY
from steppe.testing import check_study
from steppe.workflow import run

BASE = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu", "noise": 1.0}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("neural-shattering", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
def test_every_theorem_holds_and_every_control_is_rejected(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 10
    assert set(theorems.values()) == {"holds"}
    assert {c.id: c.rejected for c in quick.controls.values() if not c.rejected} == {}
    assert quick.ok
    assert quick.exit_code(strict=True) == 0


@pytest.mark.study
def test_shattering_shows_at_quick_size(quick):
    for claim in ("shattering-rare-neurons", "shattering-large-path-norm", "decay-no-dead-neuron"):
        assert quick.verdicts[claim].state == "holds"


@pytest.mark.study
def test_every_row_is_done_and_every_figure_is_drawn(quick, tmp_path):
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems
    assert quick.figures["neurons"].save(tmp_path / "figure.pdf").stat().st_size > 10_000
    assert quick.report.stat().st_size < 6e6


@pytest.mark.study
@pytest.mark.timeout(600)
def test_cells_do_not_depend_on_their_companions():
    small = Grid(experiment="sweep", **BASE, d=2, n=48, width=96, recipe="moderate-step", steps=300, seed=range(3))
    tracked = Grid(
        experiment="network", **BASE, d=3, n=32, width=64, recipe=["large-step", "weight-decay"], steps=200, seed=[0, 1]
    )
    real = Grid(
        experiment="real", dataset="diabetes", labels=["teacher", "smooth"], network="shallow-relu", noise=1.0, n=60,
        width=32, recipe="large-step", steps=50, seed=range(2),
    )  # fmt: skip
    rest = STUDY.grid_of("quick").where('(experiment == "hard" or experiment == "weight") and n <= 1024 and d == 2')
    check_study(STUDY.with_grid(small + tracked + real + rest))


@pytest.mark.study
def test_one_and_two_workers_give_the_same_bytes(tmp_path):
    axes = {"n": [32, 48], "recipe": ["moderate-step", "weight-decay"], "steps": 200, "seed": range(2)}
    study = STUDY.with_grid(Grid(experiment="sweep", **BASE, d=2, width=64, **axes))
    stored = []
    for workers in (1, 2):
        run(study, workers=workers, out=tmp_path / str(workers))
        with Store(tmp_path / str(workers), read_only=True) as store:
            stored.append({key: record.result for key, record in store.records(store.statuses()).items()})
    assert len(stored[0]) == 8
    assert stored[0] == stored[1]


@pytest.mark.study
def test_a_users_file_of_fifteen_lines_stands_beside_the_paper(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        textwrap.dedent(
            """\
            from torch import nn
            from steppe.data import uniform_ball
            from steppe.studies.neural_shattering import STUDY as PAPER

            def donut(n, d, *, seed):
                x = uniform_ball(n, d, seed=seed)
                radius = x.norm(dim=1, keepdim=True)
                return x / radius * (0.7 + 0.3 * radius)

            def gelu(inputs, width, *, seed):
                return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, 1))

            STUDY = PAPER.variant("mine", parts={"inputs": {"donut": donut}, "network": {"gelu": gelu}},
                grid={"inputs": ["uniform-ball", "donut"], "network": ["shallow-relu", "gelu"]})
            """
        )
    )
    assert len(mine.read_text().splitlines()) <= 15
    where = 'experiment == "network" and seed == 0'
    command = [sys.executable, "-m", "steppe", "run", str(mine), "--quick", "--where", where, "--set", "width=64"]
    asked = [*command, "--set", "n=64", "--set", "steps=60", "--out", str(tmp_path / "out")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = run(mine, size="quick", where=where, grid={"width": 64, "n": 64, "steps": 60}, out=tmp_path / "out")
    assert {(row["inputs"], row["network"]) for row in result.rows} == {
        (i, n) for i in ("uniform-ball", "donut") for n in ("shallow-relu", "gelu")
    }
    titles = " ".join(panel.title for panel in result.figures["neurons"].panels)
    assert "donut" in titles
    assert "gelu" in titles
    gelu = next(row for row in result.rows if row["network"] == "gelu")
    assert gelu.absent["weighted_norm"] == "defined for ReLU networks only"


def _cell(**axes):
    return STUDY.cell(BASE | {"experiment": "network", "seed": 0} | axes)


def test_extremal_networks_attain_the_theorem():
    axes = {"experiment": "inequality", "residual": 0.0, "d": 3, "width": 16, "seed": 4}
    for construction in ("two-sided", "one-sided"):
        found = cells._inequality(STUDY.cell({**axes, "construction": construction}))
        assert found["one_sided_sum"] == pytest.approx(found["flatness_bound"], rel=1e-9)
    two_sided = cells._inequality(STUDY.cell({**axes, "construction": "two-sided"}))
    assert two_sided["weighted_norm"] == pytest.approx(two_sided["flatness_bound"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_figure_3():
    """d = 10, n = 512, width 2048: sharpness within 10 % of 2/0.9, rarely active neurons; with decay no dead one."""
    grid = STUDY.grid_of("default").where('experiment == "network" and d == 10')
    rows = [row for group in STUDY.groups(grid.cells()) for _, row in STUDY.rows(group)]
    flat = [row for row in rows if row["stability_limit"] == pytest.approx(2 / 0.9)]
    decay = [row for row in rows if row not in flat]
    assert sum(row["sharpness"] for row in flat) / len(flat) == pytest.approx(2 / 0.9, rel=0.1)
    assert all(row["rare_share"] >= 0.8 for row in flat)
    assert all(row["live_fraction"] == 1.0 for row in decay)


@pytest.mark.door
def test_a_network_that_is_no_two_layer_network_is_refused():
    with pytest.raises(InputError, match=r"nn.Sequential\(Linear, activation, Linear\), got Linear"):
        cells._hidden(torch.nn.Linear(3, 1))


def test_hidden_layer_of_a_sequence_is_read_with_a_minus():
    network = STUDY.slots["network"].parts["shallow-relu-torch"](3, 5, seed=1)
    w, b, v = cells._hidden(network.to_sequential())
    assert torch.equal(w, network.w)
    assert torch.equal(b, network.b)
    assert torch.equal(v, network.v)


def test_trace_covers_the_plateau():
    steps = cells._trace_steps(12_000)
    assert steps[0] == 0
    assert steps[-1] == 12_000
    assert sum(step >= 9000 for step in steps) >= 9
    assert math.isfinite(max(steps))
