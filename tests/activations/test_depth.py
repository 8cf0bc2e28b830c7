import itertools
import time

import pytest
import torch

from steppe import theory
from steppe.activations import half_space_depth, half_space_depth_bound, outward_depth_bound
from steppe.core import ParameterError, ShapeError
from steppe.data import uniform_ball


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


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def every_halfspace(x):
    """Exact depth of general points in d dimensions: the planes through a point and d − 1 others decide, tilted."""
    n, d = x.shape
    depth = torch.ones(n, dtype=torch.float64)
    for index in range(n):
        v = torch.cat([x[:index], x[index + 1 :]]) - x[index]
        for chosen in itertools.combinations(range(n - 1), d - 1):
            normal = torch.linalg.svd(v[list(chosen)]).Vh[-1]
            side = v @ normal
            side[list(chosen)] = 0.0  # these can be tilted out
            smaller = min(int((side > 0).sum()), int((side < 0).sum()))
            depth[index] = min(depth[index], (1 + smaller) / n)
    return depth


@pytest.mark.parametrize("seed", range(3))
def test_plane_against_every_half_plane(seed):
    x = gaussian(14, 2, seed)
    torch.testing.assert_close(half_space_depth(x, x), every_halfspace(x))


@pytest.mark.parametrize("seed", range(3))
def test_bounds_in_space_never_fall_below_brute_force_and_reach_it(seed):
    x = gaussian(11, 3, seed)
    exact = every_halfspace(x)
    bound = half_space_depth_bound(x, x, directions=4000)
    assert (bound >= exact - 1e-15).all()
    assert (outward_depth_bound(x, x) >= exact - 1e-15).all()
    assert (bound - exact).mean() < 0.02  # a cap that is nearly flat may be missed


@pytest.mark.parametrize("seed", range(3))
def test_depth_in_the_plane_does_not_change_under_affine_maps(seed):
    x, shift = gaussian(60, 2, seed), gaussian(1, 2, seed + 10)
    matrix = gaussian(2, 2, seed + 20)
    torch.testing.assert_close(half_space_depth(x @ matrix + shift, x @ matrix + shift), half_space_depth(x, x))


def test_the_outward_bound_does_not_change_under_affine_maps():
    x, matrix = gaussian(80, 4), gaussian(4, 4, 1)
    torch.testing.assert_close(outward_depth_bound(x @ matrix + 3, x @ matrix + 3), outward_depth_bound(x, x))


def test_more_directions_never_raise_the_bound():
    x = gaussian(200, 6)
    bounds = [half_space_depth_bound(x, x, directions=count, seed=3) for count in (1, 10, 64, 65, 300)]
    for fewer, more in itertools.pairwise(bounds):
        assert (more <= fewer).all()
    assert (bounds[-1] < bounds[0]).any()


def test_given_directions_are_counted_one_by_one():
    x, u = gaussian(50, 3), gaussian(20, 3, 1)
    points = torch.cat([x[:5], gaussian(7, 3, 2)])
    counts = (x[None] - points[:, None]) @ u.T  # point, datum, direction
    expected = torch.minimum((counts >= -1e-12).sum(1), (counts <= 1e-12).sum(1)).amin(1).double() / 50
    torch.testing.assert_close(half_space_depth_bound(points, x, directions=u), expected)
    torch.testing.assert_close(half_space_depth_bound(x, x, directions=u)[:5], expected[:5])


def test_repeated_rows_count_together():
    x = gaussian(30, 3).repeat(4, 1)
    torch.testing.assert_close(half_space_depth_bound(x, x), half_space_depth_bound(x[:30], x[:30]).repeat(4))
    torch.testing.assert_close(half_space_depth_bound(x[:30], x), half_space_depth_bound(x[:30], x[:30]))
    torch.testing.assert_close(outward_depth_bound(x, x), outward_depth_bound(x[:30], x[:30]).repeat(4))


def test_points_on_a_line_in_the_plane_are_as_deep_as_on_the_line():
    line = torch.tensor([[0.0], [1.0], [1.0], [2.0], [5.0]], dtype=torch.float64)
    for direction in ([1.0, 0.0], [0.0, -1.0], [-1.0, 0.0], [3.0, -4.0]):
        plane = line * torch.tensor(direction, dtype=torch.float64)
        torch.testing.assert_close(half_space_depth(plane, plane), half_space_depth(line, line))


def test_symmetric_laws_are_half_deep_at_the_centre_in_every_direction():
    v = gaussian(40, 5)
    centre = torch.zeros(1, 5, dtype=torch.float64)
    assert half_space_depth_bound(centre, torch.cat([v, -v])).item() == 0.5


def test_few_points_are_all_extreme_and_the_outward_direction_shows_it():
    x = gaussian(20, 30)
    torch.testing.assert_close(outward_depth_bound(x, x), torch.full((20,), 1 / 20, dtype=torch.float64))


@pytest.mark.parametrize(("d", "depth"), [(1, 0.25), (2, 0.19550), (3, 0.15625), (5, 0.10352), (10, 0.04093)])
def test_depth_in_the_ball_at_half_the_radius(d, depth):
    assert round(theory.ball_depth(d, 0.5), 5) == pytest.approx(depth, abs=1e-12)
    x = uniform_ball(20_000, d, seed=0)
    point = torch.zeros(1, d, dtype=torch.float64)
    point[0, 0] = 0.5
    found = half_space_depth(point, x) if d <= 2 else outward_depth_bound(point, x)
    assert found.item() == pytest.approx(depth, abs=0.012)


def test_far_from_the_origin_nothing_is_lost():
    x = gaussian(300, 4)
    torch.testing.assert_close(half_space_depth_bound(x + 1e6, x + 1e6), half_space_depth_bound(x, x))


@pytest.mark.slow
def test_many_points_in_many_dimensions_take_seconds():
    x = gaussian(100_000, 50)
    start = time.process_time()
    bound = half_space_depth_bound(x, x, directions=1000)
    assert time.process_time() - start < 60  # about 9; the machine may be shared
    some = half_space_depth_bound(x[:100].clone(), x, directions=1000)
    torch.testing.assert_close(bound[:100], some)


@pytest.mark.slow
def test_the_plane_takes_seconds_for_ten_thousand_points():
    x = gaussian(10_000, 2)
    depth = half_space_depth(x, x)
    assert (half_space_depth_bound(x[:500], x, directions=200) >= depth[:500]).all()
    torch.testing.assert_close(half_space_depth(x[:20], x), depth[:20])


@pytest.mark.door
def test_directions_must_fit():
    x = torch.zeros(4, 3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="directions"):
        half_space_depth_bound(x, x, directions=torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(ParameterError, match="directions"):
        half_space_depth_bound(x, x, directions=0)
