import itertools

import pytest
import torch

from steppe import theory
from steppe.activations import half_space_depth, half_space_depth_bound
from steppe.core import ShapeError


def brute_force(point, x):
    """Every direction normal to a sample, tilted to both sides, decides the depth in the plane."""
    v = x - point
    best = 1.0
    normals = [torch.stack([-a[1], a[0]]) for a in v if a.abs().sum() > 0]
    for normal, sign, tilt in itertools.product(normals, (-1, 1), (-1e-7, 0.0, 1e-7)):
        u = sign * normal + tilt * torch.stack([-normal[1], normal[0]])
        best = min(best, float((v @ u >= 0).double().mean()))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_plane_against_brute_force(seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(25, 2, generator=rng, dtype=torch.float64)
    points = torch.cat([0.5 * torch.randn(8, 2, generator=rng, dtype=torch.float64), x[:4]])
    expected = torch.tensor([brute_force(point, x) for point in points], dtype=torch.float64)
    torch.testing.assert_close(half_space_depth(points, x), expected)
    bound = half_space_depth_bound(points, x, directions=400)
    assert (bound >= expected - 1e-15).all()
    assert (bound - expected).mean() < 0.02


def test_symmetric_cross():
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    assert half_space_depth(points, x).tolist() == [0.5, 0.25, 0.0, 0.25]


def test_line():
    x = torch.tensor([[0.0], [1.0], [1.0], [3.0]], dtype=torch.float64)
    points = torch.tensor([[1.0], [0.5], [3.0], [4.0]], dtype=torch.float64)
    assert half_space_depth(points, x).tolist() == [0.75, 0.25, 0.25, 0.0]
    torch.testing.assert_close(half_space_depth_bound(points, x, directions=3), half_space_depth(points, x))


def test_all_samples_equal():
    x = torch.ones(5, 2, dtype=torch.float64)
    assert half_space_depth(x[:1], x).item() == 1.0
    assert half_space_depth(x[:1] + 1, x).item() == 0.0


def test_ball_agrees_with_theory():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 2, generator=rng, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True) * torch.rand(20_000, 1, generator=rng, dtype=torch.float64).sqrt()
    depth = half_space_depth(torch.tensor([[0.5, 0.0], [0.0, -0.5]], dtype=torch.float64), x)
    assert depth.tolist() == pytest.approx([theory.ball_depth(2, 0.5)] * 2, abs=0.015)


@pytest.mark.door
def test_exact_depth_needs_at_most_two_inputs():
    x = torch.zeros(4, 3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="half_space_depth_bound"):
        half_space_depth(x, x)


def test_symmetric_data_are_half_deep_at_the_centre():
    v = torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centre = torch.zeros(1, 2, dtype=torch.float64)
    assert half_space_depth(centre, torch.cat([v, -v])).item() == 0.5  # one of each pair is in every closed half-plane
