"""The study of minima stability at quick size, and its brute-force SGD."""

import pytest
import torch

from steppe.curvature import sgd_stability
from steppe.harness import Grid
from steppe.networks import ShallowReLU
from steppe.studies._minima_stability_sgd import moment_columns, returned
from steppe.studies.minima_stability import STUDY, gaussian, laplace, uniform
from steppe.testing import check_study
from steppe.theory import sgd_growth
from steppe.workflow import run


@pytest.mark.study
@pytest.mark.timeout(900)
def test_theorems_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("mulayoff2021-minima-stability", size="quick", out=tmp_path)
    assert {row.status for row in quick.rows} == {"done"}
    assert {v.state for v in quick.verdicts.values() if v.kind == "theorem"} == {"holds"}
    assert {v.id for v in quick.verdicts.values() if v.state == "fails"} == set()
    states = {v.id: v.state for v in quick.verdicts.values()}
    assert {c.id for c in quick.controls.values() if not c.rejected and states[c.of] == "holds"} == set()
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}


@pytest.mark.study
def test_the_study_keeps_its_promises():
    base = {"inputs": "gaussian", "labels": "sine", "n": 6, "width": 20, "step_size": 0.05, "steps": 200}
    small = Grid(experiment="triple", **base, seed=[0, 1]) + Grid(experiment="sgd", **base, batch=[1, 3], seed=0)
    small += Grid(experiment="lemma", inputs="gaussian", n=20, width=4, scale=[0.1, 1.0], seed=[0, 1])
    small += Grid(experiment="weight", inputs=["uniform", "laplace"], n=[20, 40], seed=[0, 1])
    check_study(STUDY.variant("small", grid=small))


@pytest.mark.parametrize(("law", "fourth"), [(uniform, 1.8), (gaussian, 3.0), (laplace, 6.0)])
def test_samples_are_standardised_and_have_the_tails_of_their_law(law, fourth):
    x = law(200_000, seed=0)
    assert abs(float(x.mean())) < 1e-12
    assert float(x.square().mean()) == pytest.approx(1)
    assert float(x.pow(4).mean()) == pytest.approx(fourth, rel=0.05)


def test_predicted_moments_are_those_of_the_exact_operator():
    network = ShallowReLU(2, 10, init="torch", seed=0)
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = sgd_stability(network, x).gram
    found = moment_columns(gram, step=0.2, batch=2, rng=torch.Generator().manual_seed(1))
    assert found["moment_deviation"] < 5 < found["moment_deviation_full"]
    # The same growth in the long run as the operator on matrices of all parameters, one sample's Hessian at a time.
    each = []
    for i in range(4):
        gradients = torch.autograd.grad(network(x[i : i + 1]).sum(), list(network.parameters()))
        flat = torch.cat([g.reshape(-1) for g in gradients])
        each.append(torch.outer(flat, flat))
    basis = torch.linalg.qr(torch.stack([torch.linalg.eigh(h)[1][:, -1] for h in each]).T).Q
    small = torch.stack([basis.T @ h @ basis for h in each]).numpy()
    expected = float(sgd_growth(small, 0.9, batch_size=2, exact=True))
    assert sgd_stability(network, x).growth(0.9, batch_size=2, exact=True).value == pytest.approx(expected, rel=1e-6)


def test_sgd_of_copies_comes_back_below_the_limit_only():
    network = ShallowReLU(1, 12, init="torch", seed=2)
    x = torch.linspace(-1.5, 1.5, 8, dtype=torch.float64)[:, None]
    with torch.no_grad():
        y = network(x)
    limit = sgd_stability(network, x, y).largest_step(batch_size=2, exact=True).value
    shares = [
        returned(network, x, y, step=f * limit, batch=2, rng=torch.Generator().manual_seed(0)) for f in (0.7, 2.5)
    ]
    assert shares[0] > 0.9
    assert shares[1] < 0.1
