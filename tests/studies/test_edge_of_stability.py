"""The study at quick size, the promises its cells make, and the pieces of the central flow on their own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from steppe.core import InputError, SquaredLoss
from steppe.curvature import sharpness
from steppe.harness import Diverged, Grid, Row, Rows, Store
from steppe.studies import _edge_of_stability_cells as cells
from steppe.studies import _edge_of_stability_exact as exact
from steppe.studies import _edge_of_stability_flow as flow
from steppe.studies.edge_of_stability import STUDY
from steppe.testing import check_study
from steppe.workflow import run

TINY = {"inputs": "fields-4", "network": "tanh", "n": 24, "width": 6}
TRAIN = TINY | {"experiment": "train", "loss": "squared", "optimizer": "gradient-descent"}


def row(**axes):
    cell = STUDY.cell(axes)
    return STUDY.row(**cell, parts=cell.parts)


def landscape(seed=0):
    cell = STUDY.cell(TINY | {"experiment": "flow", "step_size": 0.2, "steps": 1, "seed": seed})
    task = cells.problem(cell)
    return flow.Landscape(task.network, task.loss, task.data), task


# --- the whole ---


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("cohen2021-edge-of-stability", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
@pytest.mark.timeout(900)
def test_every_theorem_holds_and_every_control_is_rejected(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 6
    assert set(theorems.values()) == {"holds"}
    assert {c.id: c.rejected for c in quick.controls.values() if not c.rejected} == {}
    assert quick.exit_code(strict=True) == 0


@pytest.mark.study
@pytest.mark.timeout(900)
def test_optimizers_settle_at_their_limits_at_quick_size(quick):
    for name in ("gradient-descent", "heavy-ball", "nesterov", "adam", "rmsprop", "scalar-rmsprop"):
        assert quick.verdicts[f"plateau-{name}"].state == "holds"
    assert quick.verdicts["plateau-halves"].state == "holds"
    assert quick.verdicts["central-flow-followed"].state == "holds"


@pytest.mark.study
@pytest.mark.timeout(900)
def test_every_row_is_done_and_every_figure_is_drawn(quick, tmp_path):
    assert {row.status for row in quick.rows} == {"done"}
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems
    assert quick.figures["sharpness"].save(tmp_path / "figure.pdf").stat().st_size > 10_000


def small_grid():
    seeds = {"seed": range(2)}
    others = ["heavy-ball", "nesterov", "adam", "rmsprop", "scalar-rmsprop"]
    fields = TRAIN | {"inputs": "fields-8", "steps": 60}
    return (
        Grid(**fields, step_size=[0.1, 0.2], **seeds)
        + Grid(**fields | {"network": "relu"}, step_size=0.2, **seeds)
        + Grid(**fields | {"optimizer": others}, step_size=0.003, seed=0)
        + Grid(**fields | {"loss": "cross-entropy"}, step_size=0.2, seed=0)
        + Grid(**fields | {"inputs": "digits", "n": 80}, step_size=0.2, seed=0)
        + Grid(**TINY | {"inputs": "fields-8"}, experiment="below", optimizer="gradient-descent",
               step_size=[0.01, 0.2], steps=40, seed=0)
        + Grid(**TINY, experiment="flow", step_size=0.4, steps=60, seed=0)
        + STUDY.grid_of("quick").where('experiment != "train" and experiment != "flow" and experiment != "below"')
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_cells_do_not_depend_on_their_companions():
    check_study(STUDY.with_grid(small_grid()))


@pytest.mark.study
def test_one_and_two_workers_give_the_same_bytes(tmp_path):
    study = STUDY.with_grid(small_grid().where("seed == 0"))
    stored = []
    for workers in (1, 2):
        run(study, workers=workers, out=tmp_path / str(workers))
        with Store(tmp_path / str(workers), read_only=True) as store:
            stored.append({key: record.result for key, record in store.records(store.statuses()).items()})
    assert len(stored[0]) >= 10
    assert stored[0] == stored[1]


# --- users' parts ---


def test_a_users_data_and_network_stand_beside_the_paper():
    def rings(n, *, seed):
        angle = torch.arange(n, dtype=torch.float64)
        labels = torch.arange(n) % 2
        return (1.0 + labels)[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1), labels

    def narrow(inputs, outputs, width, *, seed):
        return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, outputs))

    mine = STUDY.variant(
        "mine",
        parts={"inputs": {"rings": rings}, "network": {"narrow": narrow}},
        grid={"inputs": ["fields-4", "rings"], "network": ["tanh", "narrow"]},
    )
    cell = mine.cell(TRAIN | {"inputs": "rings", "network": "narrow", "step_size": 0.2, "steps": 30, "seed": 0})
    before = torch.get_rng_state()
    found = mine.row(**cell, parts=cell.parts)
    assert found["trace_step"][-1] == 30
    assert found == mine.row(**cell, parts=cell.parts)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("change", [lambda x, y: (x.float(), y), lambda x, y: (x, y.double()), lambda x, y: (x, y[1:])])
def test_data_of_another_kind_are_refused(change):
    fields = STUDY.slots["inputs"].parts["fields-4"]
    wrong = STUDY.variant("wrong", parts={"inputs": {"wrong": lambda n, *, seed: change(*fields(n, seed=seed))}})
    cell = wrong.cell(TRAIN | {"inputs": "wrong", "step_size": 0.1, "steps": 2, "seed": 0})
    with pytest.raises(InputError, match=r"x \[n, d\] in float64 and labels \[n\] in int64"):
        wrong.row(**cell, parts=cell.parts)


def test_fields_are_standardised_and_their_classes_differ():
    x, labels = STUDY.slots["inputs"].parts["fields-32"](40, seed=1)
    assert x.shape == (40, 3 * 32 * 32)
    assert torch.allclose(x.mean(dim=0), torch.zeros(3072, dtype=torch.float64), atol=1e-12)
    assert float(x.std()) == pytest.approx(1.0)
    assert labels.unique().tolist() == [0, 1, 2, 3]


# --- training ---


def test_a_step_far_above_the_limit_is_recorded_as_diverged():
    found = row(**TRAIN, step_size=50.0, steps=200, seed=0)
    assert isinstance(found, Diverged)
    assert "updates" in found.reason


def test_the_trace_is_the_sharpness_of_the_network_at_that_step():
    cell = STUDY.cell(TRAIN | {"step_size": 0.1, "steps": 20, "seed": 3})
    task = cells.problem(cell)
    assert row(**cell)["initial_sharpness"] == pytest.approx(
        float(sharpness(task.network, SquaredLoss(), task.data)), rel=1e-3
    )


def test_scalar_rmsprop_is_rmsprop_when_there_is_one_parameter():
    paths = []
    for kind in (exact.ScalarRMSprop, torch.optim.RMSprop):
        x = nn.Parameter(torch.tensor([0.7], dtype=torch.float64))
        optimizer = kind([x], lr=0.05, alpha=0.9)
        for _ in range(30):
            x.grad = 3 * x.detach()
            optimizer.step()
        paths.append(float(x.detach()))
    assert paths[0] == pytest.approx(paths[1], rel=1e-12)


def test_optimizers_keep_to_their_limits_on_quadratics():
    for name in ("gradient-descent", "heavy-ball", "nesterov", "moving-average"):
        found = row(experiment="quadratic", optimizer=name, step_size=0.1)
        assert found["growth_below"] < 1 < found["growth_above"]
    assert row(experiment="quadratic", optimizer="moving-average", step_size=0.1)["stability_limit"] == pytest.approx(
        380
    )


@pytest.mark.parametrize(("step", "settled"), [(0.1, 5.609), (0.4, 3.641), (0.6, 2.001)])
def test_two_parameters_settle_where_they_were_recorded(step, settled):
    found = row(experiment="two-parameters", v=2.3, w=0.1, step_size=step)
    assert found["settled_curvature"] == pytest.approx(settled, abs=5e-4)
    assert found["settled_sharpness"] == pytest.approx(found["settled_curvature"], rel=1e-6)


# --- judging ---


def planted(**columns):
    cell = {"experiment": "train", "inputs": "fields-8", "network": "tanh", "loss": "squared",
            "optimizer": "heavy-ball", "step_size": 0.1, "seed": 0}  # fmt: skip
    result = {"stability_limit": 35.0, "plateau_effective": 35.0, "plateau_sharpness": 35.0} | columns
    return Rows([Row(cell=cell, result=result)], STUDY.slug)


def test_a_plateau_at_two_over_the_step_is_not_that_of_momentum():
    claim = next(claim for claim in STUDY.claims if claim.id == "plateau-heavy-ball")
    control = next(control for control in STUDY.controls if control.id == "control-momentum-plain")
    assert claim.judge(planted()).state == "holds"
    assert control.judge(planted()).rejected
    assert claim.judge(planted(plateau_effective=20.0)).state == "fails"
    assert not control.judge(planted(plateau_effective=20.0)).rejected


# --- the central flow ---


def test_third_derivatives_agree_with_differences_of_hessian_forms():
    at, _ = landscape()
    torch.manual_seed(0)
    u, direction = torch.randn(at.start.numel(), 2, dtype=torch.float64), torch.randn_like(at.start)
    forms = []
    at.step_to(at.start)
    third = at.third(u)
    for sign in (1, -1):
        at.step_to(at.start + sign * 1e-4 * direction)
        forms.append(u.T @ (at.hessian() @ u))
    differences = (forms[0] - forms[1]) / 2e-4
    assert torch.allclose(third @ direction, differences, rtol=1e-5, atol=1e-6)
    assert torch.equal(third[0, 1], third[1, 0])


def test_hessian_products_agree_with_autograd():
    at, task = landscape()
    dense = at.hessian().to_dense()
    assert torch.allclose(dense, dense.T, atol=1e-10)
    top = float(sharpness(task.network, task.loss, task.data))
    assert float(torch.linalg.eigvalsh(dense)[-1]) == pytest.approx(top, rel=1e-3)


def test_one_critical_eigenvalue_gives_the_closed_form_of_the_variance():
    """σ² = 2⟨−∇L, ∇S⟩/‖∇S‖² where positive, else 0."""
    dt, eta, slope, gradient = 0.5, 0.2, np.array([1.0, 2.0]), np.array([-1.0, 0.25])
    gram = np.full((1, 1, 1, 1), 0.5 * dt * eta * slope @ slope)
    for sign, expected in ((1, 2 * 0.5 / 5), (-1, 0.0)):
        room = np.array([[dt * eta * sign * (gradient @ slope)]])
        assert flow.complementary(gram, room, np.zeros((1, 1))) == pytest.approx(np.array([[expected]]))


def test_several_critical_eigenvalues_satisfy_the_complementarity_problem():
    rng = np.random.default_rng(0)
    for _ in range(20):
        factor = rng.normal(size=(3, 3, 40))
        third = factor + factor.transpose(1, 0, 2)
        gram = np.einsum("ijp,klp->ijkl", third, third)
        room = rng.normal(size=(3, 3))
        room = 20 * (room + room.T)
        x = flow.complementary(gram, room, np.zeros((3, 3)))
        slack = np.einsum("ijkl,kl->ij", gram, x) + room
        scale = np.abs(room).max()
        assert np.linalg.eigvalsh(x)[0] >= -1e-12
        assert np.linalg.eigvalsh(slack)[0] >= -1e-4 * scale
        assert abs(np.sum(x * slack)) <= 1e-4 * scale * max(np.trace(x), 1e-12)


def test_without_a_critical_eigenvalue_the_central_flow_is_the_gradient_flow():
    at, _ = landscape()
    central = flow.CentralFlow(at, 1e-3)
    moments = [central.advance(0.5) for _ in range(10)]
    w = at.start
    for _ in range(10):
        w = w - 0.5e-3 * at.slope(w)[1]
    assert torch.allclose(central.w, w, rtol=0, atol=1e-14)
    assert all(moment.variance == 0 and moment.predicted == moment.loss for moment in moments)


def test_the_central_flow_stays_at_the_limit():
    at, task = landscape(seed=5)
    start = float(sharpness(task.network, task.loss, task.data))
    eta = 2 / (1.1 * start)  # the limit is met after a little sharpening
    central = flow.CentralFlow(at, eta)
    moments = [central.advance(0.5) for _ in range(60)]
    assert any(moment.variance > 0 for moment in moments)
    assert max(moment.sharpness for moment in moments) <= 1.02 * 2 / eta
    assert math.isfinite(moments[-1].loss)
