"""Theorems about networks of one input on networks in hand, and the two-parameter model."""

import math

import pytest
import torch
from torch import nn

from steppe import theory
from steppe.core import ShapeError, SquaredLoss
from steppe.curvature import sharpness
from steppe.networks import ShallowReLU
from steppe.panel import (
    check_univariate_knots,
    check_univariate_sharpness,
    check_univariate_stability,
    check_univariate_theorems,
)
from steppe.training import gradient_descent


def _case(width=10, n=40, seed=0):
    network = ShallowReLU(1, width, init="torch", seed=seed)
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        return network, x, network(x)


def test_key_lemma_holds_at_interpolation_and_names_its_hypotheses():
    for seed in range(8):
        network, x, y = _case(seed=seed)
        found = check_univariate_sharpness(network, x, y)
        assert found.holds
        assert found.applies
        off = check_univariate_sharpness(network, x, y + 1)
        assert not off.applies
        assert "L = 0" in str(off)


def test_stability_holds_after_training_on_noise():
    generator = torch.Generator().manual_seed(3)
    x = 4 * torch.rand(30, 1, generator=generator, dtype=torch.float64) - 2
    y = x.abs() + 0.5 * torch.randn(30, 1, generator=generator, dtype=torch.float64)
    for step in (0.02, 0.2):
        network = ShallowReLU(1, 60, seed=1)
        gradient_descent(network, x, y, step_size=step, steps=round(2000 / step), clip=50.0)
        first, second, third = check_univariate_theorems(network, x, y, step_size=step)
        assert second.holds
        assert second.status == "derived"
        assert not third.applies
        assert not first.applies
        assert second.left == pytest.approx(second.right - second.slack)
        assert first.terms["sharpness"] == second.terms["sharpness"]


def test_theorem_2_applies_to_narrow_networks():
    network, x, y = _case(width=4, n=100)
    found = check_univariate_knots(network, x, y, step_size=0.1)
    assert found.applies
    assert found.terms["knots"] == 4
    expected = theory.stable_variation_bound(0.1, samples=100, width=4, knots=4)
    assert found.right == pytest.approx(float(expected))
    small = check_univariate_knots(network, x[:12], y[:12], step_size=0.1)
    assert not small.applies
    assert math.isinf(small.right)


def test_stability_is_not_promised_above_the_limit():
    network, x, y = _case()
    top = sharpness(network, SquaredLoss(), (x, y)).value
    assert check_univariate_stability(network, x, y, step_size=1.9 / top).applies
    assert not check_univariate_stability(network, x, y, step_size=2.1 / top).applies


@pytest.mark.door
def test_several_inputs_are_refused():
    x = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(ShapeError, match="check_stability"):
        check_univariate_sharpness(ShallowReLU(2, 3), x, x[:, :1])


class _Product(nn.Module):
    def __init__(self, v, w):
        super().__init__()
        self.v, self.w = (nn.Parameter(torch.tensor(p, dtype=torch.float64)) for p in (v, w))

    def forward(self, x):
        return self.v * self.w * x


@pytest.mark.parametrize(("step", "curvature"), [(0.1, 5.609), (0.4, 3.641), (0.6, 2.001)])
def test_two_parameters_settle_where_descent_is_stable(step, curvature):
    one = torch.ones(1, 1, dtype=torch.float64)
    model = _Product(2.3, 0.1)
    gradient_descent(model, one, one, step_size=step, steps=3000)
    v, w = model.v.item(), model.w.item()
    assert v * w == pytest.approx(1, abs=1e-6)
    assert v * v + w * w == pytest.approx(curvature, abs=5e-4)
    assert v * v + w * w < 2 / step
    assert sharpness(model, SquaredLoss(), (one, one)).value == pytest.approx(v * v + w * w, rel=1e-6)
