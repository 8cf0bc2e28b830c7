"""Sharpness along training."""

import pytest
import torch
from torch import nn

from steppe.core import InputError, KindError, ParameterError, SquaredLoss
from steppe.curvature import (
    SharpnessTracker,
    hessian,
    largest_stable_step,
    preconditioned_sharpness,
    sharpness,
    stability_threshold,
)
from steppe.networks import ShallowReLU


def problem(seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 5, generator=rng, dtype=torch.float64)
    y = torch.randn(60, 1, generator=rng, dtype=torch.float64)
    return ShallowReLU(5, 64, seed=seed), (x, y)


def descend(network, data, step_size):
    loss = SquaredLoss()(network(data[0]), data[1])
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= step_size * gradient


def test_warm_checks_are_right_and_cheaper_than_cold_ones():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data)
    warm, cold = [], []
    for check in range(25):
        for _ in range(2):
            descend(network, data, 0.15)
        found = tracker.measure()
        reference = sharpness(network, SquaredLoss(), data, rtol=1e-8)
        assert found.converged
        assert found.error <= 1e-2 * found.value
        assert float(found) == pytest.approx(float(reference), rel=2e-3)
        if check:
            warm.append(found.products)
            cold.append(sharpness(network, SquaredLoss(), data, rtol=1e-2, seed=check).products)
    assert sum(warm) < 0.7 * sum(cold)
    assert sorted(warm)[len(warm) // 2] <= 3
    assert tracker.last is found


def test_an_eigenvalue_that_overtakes_is_found():
    # Two parameters in 40 carry curvature; the Hessian stays diagonal, so a warm eigenvector would stay exact.
    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.ones(40, dtype=torch.float64))
            self.register_buffer("curvature", torch.linspace(0, 0.1, 40, dtype=torch.float64))

        def forward(self, x):
            return x * (self.curvature * self.theta.square()).sum()

    model = Quadratic()
    x = torch.ones(1, 1, dtype=torch.float64)
    tracker = SharpnessTracker(model, lambda outputs, _: outputs.mean(), (x, x))
    model.curvature[3], model.curvature[7] = 5.0, 1.0
    assert float(tracker.measure()) == pytest.approx(10.0, rel=1e-3)
    model.curvature[7] = 6.0
    seen = [float(tracker.measure()) for _ in range(11)]
    assert seen[-1] == pytest.approx(12.0, rel=1e-3)


def test_as_observer():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data, every=5)
    assert tracker(3, network) is None
    assert tracker.last is None
    row = tracker(10, network)
    assert set(row) == {"sharpness", "sharpness_residual"}
    assert row["sharpness"] == float(tracker.last)
    other, _ = problem(seed=4)
    assert tracker(15, other)["sharpness"] == pytest.approx(float(sharpness(other, SquaredLoss(), data)), rel=2e-3)


def test_another_size_starts_cold():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data)
    tracker.measure()
    wider = ShallowReLU(5, 90, seed=2)
    assert tracker(0, wider)["sharpness"] == pytest.approx(float(sharpness(wider, SquaredLoss(), data)), rel=2e-3)


def test_the_history_says_what_every_check_cost_and_claims():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data)
    errors = []
    for step in range(30):
        descend(network, data, 0.08)
        found = tracker.measure(step)
        exact = torch.linalg.eigvalsh(hessian(network, SquaredLoss(), data).to_dense())[-1]
        errors.append(abs(found.value - float(exact)))
    history = tracker.history
    assert [check.step for check in history] == list(range(30))
    assert list(tracker) == history
    assert all(check.residual <= 1e-2 * check.value and check.converged for check in history)
    assert sum(check.products for check in history) / len(history) <= 2.5
    assert all(error <= check.residual for error, check in zip(errors, history, strict=True))
    claimed = [(error, check) for error, check in zip(errors, history, strict=True) if check.claims(1e-3)]
    assert claimed
    assert all(error <= 1e-3 * check.value for error, check in claimed)
    for check in history:
        assert check.accuracy <= check.residual
        assert check.accuracy == check.residual or check.accuracy == pytest.approx(check.residual**2 / check.gap)
        assert check.seconds > 0
        assert check.reason


def test_an_adaptive_optimizer_is_followed_preconditioned():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 1)).double()
    _, data = problem()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    tracker = SharpnessTracker(model, nn.MSELoss(), data, optimizer=optimizer)
    assert tracker.preconditioned
    assert not tracker.ready
    assert tracker(0, model) is None
    with pytest.raises(InputError, match="must have taken a step"):
        tracker.measure()
    for _ in range(5):
        optimizer.zero_grad()
        nn.MSELoss()(model(data[0]), data[1]).backward()
        optimizer.step()
        found = tracker.measure()
        truth = preconditioned_sharpness(model, nn.MSELoss(), data, optimizer=optimizer, rtol=1e-8)
        assert float(found) == pytest.approx(float(truth), rel=2e-3)
    assert found.quantity == "preconditioned sharpness"
    plain = SharpnessTracker(model, nn.MSELoss(), data, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert not plain.preconditioned


def test_some_parameters_alone_and_their_shapes():
    model = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 1)).double()
    _, data = problem()
    tracker = SharpnessTracker(model, nn.MSELoss(), data, parameters="2.*")
    assert float(tracker.measure()) == pytest.approx(
        float(sharpness(model, nn.MSELoss(), data, parameters="2.*")), rel=2e-3
    )
    assert list(tracker.shapes()) == ["2.weight", "2.bias"]
    assert tracker.vector.shape == (21,)


def test_a_budget_of_nothing_allows_the_first_check_only():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data, budget=1e-9)
    assert tracker(0, network) is not None
    assert tracker(1, network) is None
    assert "budget" in tracker.pacing.over
    assert tracker.measure().converged  # asked for by name, it measures


def test_a_failed_check_does_not_spoil_the_next():
    network, data = problem()
    tracker = SharpnessTracker(network, SquaredLoss(), data)
    tracker.measure()
    kept = network.w.detach().clone()
    with torch.no_grad():
        network.w.fill_(torch.nan)
    with pytest.raises((ValueError, RuntimeError)):
        tracker.measure()
    with torch.no_grad():
        network.w.copy_(kept)
    assert float(tracker.measure()) == pytest.approx(float(sharpness(network, SquaredLoss(), data)), rel=2e-3)


def test_thresholds_are_at_hand():
    assert float(stability_threshold(0.9)) == pytest.approx(2 / 0.9)
    assert float(largest_stable_step(4.0)) == pytest.approx(0.5)


@pytest.mark.door
def test_doors():
    network, data = problem()
    with pytest.raises(ParameterError, match="`rtol` must be > 0"):
        SharpnessTracker(network, SquaredLoss(), data, rtol=0.0)
    with pytest.raises(KindError, match=r"pass `rtol=0\.1`"):
        SharpnessTracker(network, SquaredLoss(), data, tol=0.1)
