import math

import pytest
import torch
from dense_theorems import dense, loss_of, top, trained
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe import panel
from steppe.core import DataError, DtypeError, Estimate, KindError, ParameterError, ShapeError
from steppe.networks import ShallowReLU
from steppe.norms import balance, weighted_variation_norm
from steppe.panel import (
    check_flatness,
    check_gauss_newton,
    check_mean_gradient,
    check_stability,
    check_theorems,
)


def problem(seed, *, n=12, d=2, m=5, noise=1.0, skip=False, init="he"):
    """Uniform inputs in the ball, a linear target with noise, and an untrained network."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=rng, dtype=torch.float64) ** (1 / d)
    y = x[:, :1] + noise * torch.randn(n, 1, generator=rng, dtype=torch.float64)
    return ShallowReLU(d, m, skip=skip, init=init, seed=seed), x, y


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("steps", [0, 300])
def test_terms_agree_with_dense_matrices(skip, steps):
    network, x, y = problem(1, skip=skip)
    trained(network, x, y, steps=steps)
    hessian, jacobian = dense(network, x, y)
    paper, sharp, gradient, gauss, stability = check_theorems(network, x, y, step_size=0.1, rtol=1e-8)
    radius, loss = float(x.norm(dim=1).max()), loss_of(network, x, y).item()
    assert paper.terms["sharpness"] == pytest.approx(top(hessian), rel=1e-7)
    assert paper.terms["training_loss"] == pytest.approx(loss)
    assert paper.left == pytest.approx(weighted_variation_norm(network, x, reduced=False))
    assert paper.terms["seminorm"] == pytest.approx(weighted_variation_norm(network, x))
    assert paper.right == pytest.approx(top(hessian) / 2 - 0.5 + (radius + 1) * math.sqrt(2 * loss))
    assert sharp.right == pytest.approx(top(hessian) / 2 - 0.5 + 0.5 * math.hypot(1, radius) * math.sqrt(2 * loss))
    assert gradient.right == gauss.left == pytest.approx(float(jacobian.mean(0).square().sum()))
    assert gauss.right == pytest.approx(top(jacobian.T @ jacobian / len(x)), rel=1e-7)
    assert stability.right == pytest.approx(10 - 0.5 + (radius + 1) * math.sqrt(2 * loss))
    assert all(check.holds and check.applies for check in (paper, sharp, gradient, gauss))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 12),
    d=st.integers(1, 4),
    m=st.integers(1, 8),
    steps=st.sampled_from([0, 0, 40]),
    skip=st.booleans(),
    init=st.sampled_from(["he", "torch"]),
)
def test_never_violated_on_random_and_trained_networks(seed, n, d, m, steps, skip, init):
    network, x, y = problem(seed, n=n, d=d, m=m, skip=skip, init=init)
    trained(network, x, y, step_size=0.05, steps=steps)
    for candidate in (network, balance(network)):
        for check in check_theorems(candidate, x, y, step_size=1e-3):
            assert check.holds, str(check)


def tight(residual=-1.0, size=30.0):
    """One sample and one balanced neuron whose residual bends the loss as much as it can."""
    x = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    # balance the mean gradient: activation = |v| √(1 + ‖x‖²)
    scale = (size / math.sqrt(2)) ** 0.5
    w = x * size / scale
    return ShallowReLU.from_weights(w, [0.0], [scale]), x, torch.tensor([[size - residual]], dtype=torch.float64)


def test_near_misses_are_violated_so_that_the_checks_have_power():
    network, x, y = tight()
    check = check_flatness(network, x, y, constant="sharp", rtol=1e-10)
    assert check.holds
    assert check.slack < 0.02 * math.hypot(1, check.terms["radius"])
    half, loss = check.terms["sharpness"] / 2, math.sqrt(2 * check.terms["training_loss"])
    reach = math.hypot(1, check.terms["radius"])
    assert check.left > half - 0.5  # the loss term left out
    assert check.left > half - 0.5 + 0.48 * reach * loss  # its constant a little smaller
    assert check.left > half - 1 + 0.5 * reach * loss  # ½ misread as 1
    gradient = check_mean_gradient(network, x, y)
    assert gradient.right < 1 + 2.02 * check.left  # equality at balance
    dead = ShallowReLU.from_weights([[1.0, 0.0]], [9.0], [5.0])
    flat = check_flatness(dead, x, torch.zeros_like(y))
    assert flat.slack == pytest.approx(0, abs=1e-12)  # λ = 1, L = 0: equality
    assert flat.holds
    assert flat.left > flat.terms["sharpness"] / 2 - 1


def test_gauss_newton_alone_is_not_the_sharpness():
    network, x, y = tight()
    paper, _, _, gauss = check_theorems(network, x, y, rtol=1e-8)
    assert paper.terms["sharpness"] < gauss.right - 1


def trained_noisy():
    network, x, y = problem(3, n=30, m=6)
    return trained(network, x, y), x, y


def test_run_with_64_samples_is_of_the_known_size():
    # d = 2, n = 64, width 128, σ = 1: before training |f| ≈ 1.3 and bound ≈ 9, after it |f| ≈ 6 and bound ≈ 11
    network, x, y = problem(0, n=64, m=128)
    before = check_flatness(network, x, y)
    after = check_flatness(trained(network, x, y, steps=1500), x, y)
    assert 0.5 < before.terms["seminorm"] < 3
    assert before.terms["seminorm"] <= before.left
    assert 5 < before.right < 15
    assert after.terms["training_loss"] < before.terms["training_loss"]
    assert before.left < after.left < after.right
    assert before.holds
    assert after.holds


def test_hard_function_has_sharpness_one():
    x = torch.tensor([[0.3, 0.1], [-0.5, 0.2]], dtype=torch.float64)
    u = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    network = ShallowReLU.from_weights(u / 0.01, torch.full((2,), 0.99 / 0.01, dtype=torch.float64), [1.0, -1.0])
    for check in check_theorems(network, x, torch.zeros(2, 1, dtype=torch.float64), step_size=1.9, rtol=1e-10):
        assert check.holds
        assert check.applies
    assert check_flatness(network, x, torch.zeros(2, 1, dtype=torch.float64)).terms["sharpness"] == pytest.approx(1.0)


def test_stability_lists_its_hypothesis():
    network, x, y = trained_noisy()
    sharpness = check_flatness(network, x, y, rtol=1e-8).terms["sharpness"]
    stable = check_stability(network, x, y, step_size=1.9 / sharpness)
    assert stable.applies
    assert stable.holds
    assert stable.hypotheses[-1].state == "checked"
    unstable = check_stability(network, x, y, step_size=2.1 / sharpness)
    assert not unstable.applies
    assert unstable.hypotheses[-1].state == "violated"
    assert "hypothesis violated: λ_max ≤ 2/η" in str(unstable)


def test_hypotheses_are_looked_at():
    network, x, y = problem(1)
    assert [h.state for h in check_flatness(network, x, y).hypotheses] == ["checked"] * 3
    small = check_flatness(network, x, y, radius=0.5)
    assert not small.applies
    assert small.hypotheses[1].state == "violated"
    edge = ShallowReLU.from_weights(x[:1], x[0].square().sum()[None], [1.0])
    touching = check_flatness(edge, x, y)
    assert touching.hypotheses[2].state == "violated"
    assert "1 of 12 pairs" in touching.hypotheses[2].detail


def test_a_known_sharpness_is_used_and_its_error_is_accounted_for():
    network, x, y = problem(1)
    measured = check_flatness(network, x, y, rtol=1e-8)
    low = Estimate(value=1.0, error=2 * (measured.left + 1), error_kind="residual")
    assert not check_flatness(network, x, y, sharpness=-20.0).holds
    wide = check_flatness(network, x, 0 * y + network(x).detach(), sharpness=low)
    assert wide.left > wide.right
    assert wide.holds
    assert "≲" in str(wide)


def test_one_line_says_it_all():
    network, x, y = problem(1)
    text = str(check_flatness(network, x, y))
    assert text.startswith("flatness: ")
    assert "≤" in text
    assert "holds with slack" in text
    assert "Theorem 3.2" in text
    assert "\n" not in text
    assert "FAILS" in str(check_flatness(network, x, y, sharpness=-20.0))
    record = check_flatness(network, x, y, constant="sharp").to_dict()
    assert record["status"] == "derived"
    assert record["holds"] is True
    assert record["slack"] == record["right"] - record["left"]


def test_float32_is_taken_exactly():
    network, x, y = problem(1)
    single = network.copy(dtype=torch.float32)
    check = check_flatness(single, x.float(), y.float(), rtol=1e-8)
    exact = check_flatness(single.copy(dtype=torch.float64), x.float().double(), y.float().double(), rtol=1e-8)
    assert check.left == exact.left
    assert check.right == pytest.approx(exact.right, rel=1e-9)


@pytest.mark.door
def test_bad_input():
    network, x, y = problem(1)
    with pytest.raises(ShapeError, match="must have one output, got 2; the theorem is about scalar networks"):
        check_flatness(ShallowReLU(2, 3, 2), x, torch.cat([y, y], dim=1))
    with pytest.raises(ShapeError, match=r"pass y\.reshape\(12, 1\)"):
        check_flatness(network, x, y[:, 0])
    with pytest.raises(DtypeError, match="float32"):
        check_flatness(network.copy(dtype=torch.float32), x, y)
    with pytest.raises(KindError, match=r"pass `step_size=0\.1` instead"):
        check_stability(network, x, y, step_size=0.1, lr=0.1)
    with pytest.raises(ParameterError, match="`step_size` must be > 0"):
        check_stability(network, x, y, step_size=0.0)
    with pytest.raises(KindError, match="must be a ShallowReLU or a PatchReLU, got Linear"):
        check_gauss_newton(torch.nn.Linear(2, 1), x, y)
    broken = network.copy()
    with torch.no_grad():
        broken.v[0, 0] = math.nan
    with pytest.raises(DataError, match="training has diverged"):
        check_theorems(broken, x, y)


def test_door_is_sorted():
    assert panel.__all__ == sorted(panel.__all__)
