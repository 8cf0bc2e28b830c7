import math

import pytest
import torch
from scipy import integrate

from steppe.core import ParameterError, ShapeError
from steppe.data import BoundaryBumps

F64 = torch.float64


def grid(bumps, points=400):
    """Midpoints of `points` cells in each bump."""
    step = bumps.epsilon**2 / points
    return (1 - bumps.epsilon + step * (torch.arange(bumps.size * points, dtype=F64) + 0.5))[:, None]


@pytest.mark.parametrize(("epsilon", "size"), [(0.5, 2), (0.3, 3), (0.1, 10), (0.02, 50)])
def test_bumps_have_unit_height_and_disjoint_supports_inside_the_interval(epsilon, size):
    bumps = BoundaryBumps(epsilon)
    assert bumps.size == size
    centres = 1 - epsilon + epsilon**2 * (torch.arange(size, dtype=F64) + 0.5)
    assert torch.allclose(bumps(centres[:, None]), torch.ones(size, 1, dtype=F64))
    edges = 1 - epsilon + epsilon**2 * torch.arange(size + 1, dtype=F64)
    assert bumps(edges[:, None]).abs().max() < 1e-12
    assert edges[-1] <= 1 + 1e-12
    assert bumps(torch.linspace(-1, 1 - epsilon, 50, dtype=F64)[:, None]).abs().max() == 0


def test_energy_is_proportional_to_epsilon_squared():
    shape, _ = integrate.quad(lambda z: math.exp(2 - 2 / (1 - z * z)), -1, 1)
    for epsilon in (0.25, 0.1):
        bumps = BoundaryBumps(epsilon)
        energy = float(bumps(grid(bumps)).square().mean()) * bumps.size * epsilon**2 / 2  # the uniform density is ½
        assert energy / bumps.size == pytest.approx(epsilon**2 / 4 * shape, rel=1e-6)


def test_distance_of_two_sign_patterns_counts_where_they_differ():
    bumps = BoundaryBumps(0.1)
    signs = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1, 1, 1], dtype=F64)
    flipped = signs.clone()
    flipped[[2, 7, 9]] *= -1
    x = grid(bumps)
    one = bumps(x).square().mean() / bumps.size
    assert (bumps(x, signs) - bumps(x, flipped)).square().mean() == pytest.approx(float(4 * 3 * one), rel=1e-12)


def test_weighted_second_variation_stays_bounded():
    totals = []
    for epsilon in (0.1, 0.05, 0.025):
        bumps = BoundaryBumps(epsilon)
        x = grid(bumps)
        step = float(x[1] - x[0])
        second = bumps(x).flatten().diff(n=2).abs() / step
        totals.append(float((second * (1 - x[1:-1].flatten()) ** 3).sum()))
    assert totals[0] == pytest.approx(totals[-1], rel=0.2)
    assert totals[-1] < 10


@pytest.mark.door
def test_bad_values_are_refused():
    with pytest.raises(ParameterError, match=r"`epsilon` must be > 0 and ≤ 0\.5, got 0\.7"):
        BoundaryBumps(0.7)
    with pytest.raises(ShapeError, match="one number or 10, one per bump"):
        BoundaryBumps(0.1)(torch.zeros(3, 1), [1.0, 2.0])
