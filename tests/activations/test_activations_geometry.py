"""Depth area, radius tail and intrinsic dimension against laws for which they are known."""

import math

import pytest
import torch

from steppe.activations import (
    concentration_curve,
    depth_area,
    half_space_depth,
    half_space_depth_bound,
    intrinsic_dimension,
    radius_tail_exponent,
)
from steppe.core import DataError, ParameterError
from steppe.data import mixture_of_subspaces, radial, uniform_ball, uniform_sphere


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("law", [torch.sigmoid, torch.exp, lambda z: z**3, lambda z: z])
def test_area_of_every_continuous_law_on_the_line_is_a_quarter(law):
    x = law(gaussian(1000, 1))
    area = depth_area(half_space_depth(x, x))
    assert area.value == pytest.approx(0.25 + 1 / 2000, abs=1e-12)  # n different numbers: 1/4 + 1/(2n)
    assert abs(area.value - 0.25) < 2 * area.error


def test_area_is_the_integral_of_the_concentration_curve():
    x = gaussian(150, 3)
    depth = half_space_depth_bound(x, x, directions=50)
    levels = torch.linspace(0, 0.5, 20_001, dtype=torch.float64)
    curve = concentration_curve(depth, levels)
    assert curve[0] == 1
    assert (curve.diff() <= 0).all()
    assert depth_area(depth).value == pytest.approx(float(torch.trapezoid(curve, levels)), abs=1e-4)


def test_concentration_on_the_line_falls_linearly():
    x = gaussian(2000, 1)
    levels = torch.tensor([0.0, 0.1, 0.25, 0.4], dtype=torch.float64)
    torch.testing.assert_close(
        concentration_curve(half_space_depth(x, x), levels), 1 - 2 * levels, atol=3 / 2000, rtol=0
    )


def test_area_falls_from_line_to_plane_to_sphere():
    line, disc = gaussian(800, 1), uniform_ball(800, 2, seed=0)
    circle = uniform_sphere(800, 2, seed=0)
    areas = [depth_area(half_space_depth(x, x)).value for x in (line, disc, circle)]
    assert areas[0] > areas[1] > areas[2]
    assert areas[2] == pytest.approx(1 / 800)  # every point of a circle is extreme


def test_area_of_the_disc():
    """E depth = ∫ 2ρ p(ρ) dρ with p(ρ) = P(X_1 ≥ ρ)."""
    from steppe.theory import ball_depth

    rho = torch.linspace(0, 1, 2001, dtype=torch.float64)
    depth = torch.as_tensor(ball_depth(2, rho.numpy()))
    exact = float(torch.trapezoid(2 * rho * depth, rho))
    x = uniform_ball(3000, 2, seed=1)
    assert depth_area(half_space_depth(x, x)).value == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 3.0])
def test_tail_exponent_of_the_radial_family_is_covered(alpha):
    radii = radial(5000, 4, alpha=alpha, seed=3).norm(dim=1)
    for end in (1.0, None):
        found = radius_tail_exponent(radii, end=end)
        assert found.interval[0] < alpha < found.interval[1]
        assert found.interval[0] < found.alpha < found.interval[1]


def test_uniform_ball_has_tail_exponent_one_in_every_dimension():
    for d in (1, 2, 5, 10):
        low, high = radius_tail_exponent(uniform_ball(5000, d, seed=1).norm(dim=1), end=1.0).interval
        assert low < 1.1  # 1 − (1 − δ)^d bends: the fitted exponent is slightly below 1
        assert high > 0.9


def test_known_end_covers_as_often_as_it_says():
    hits = 0
    for seed in range(200):
        low, high = radius_tail_exponent(radial(400, 2, alpha=0.7, seed=seed).norm(dim=1), end=1.0).interval
        hits += low < 0.7 < high
    assert 180 <= hits <= 198  # 190 expected, standard deviation 3


def test_tail_of_a_sphere_is_zero_and_of_gaussians_large():
    assert radius_tail_exponent(uniform_sphere(300, 5, seed=0).norm(dim=1)).alpha == 0
    assert radius_tail_exponent(torch.ones(300, dtype=torch.float64), end=1.0).interval == (0.0, 0.0)
    assert radius_tail_exponent(gaussian(2000, 10).norm(dim=1)).alpha > 3
    heavy = gaussian(3000, 1).abs().flatten() ** -1.0  # P(r > t) ~ 1/t
    assert math.isinf(radius_tail_exponent(heavy).alpha)
    assert "no end" in str(radius_tail_exponent(heavy))


def test_the_fitted_tail_follows_the_law():
    radii = radial(20_000, 3, alpha=2.0, seed=0).norm(dim=1)
    for end in (1.0, None):
        found = radius_tail_exponent(radii, end=end)
        at = torch.tensor([found.threshold, (1 + found.threshold) / 2], dtype=torch.float64)
        torch.testing.assert_close(found.survival(at), (1 - at) ** 2, rtol=0.15, atol=0)
    heavy = gaussian(20_000, 1).abs().flatten() ** -1.0
    found = radius_tail_exponent(heavy)
    twice = torch.tensor([2 * found.threshold], dtype=torch.float64)
    assert found.survival(twice).item() == pytest.approx(found.tail / found.n / 2, rel=0.15)


def test_tail_exponent_does_not_depend_on_the_unit():
    radii = radial(500, 3, alpha=1.5, seed=0).norm(dim=1)
    for end in (1.0, None):
        one, other = radius_tail_exponent(radii, end=end), radius_tail_exponent(7 * radii, end=end and 7 * end)
        assert one.alpha == pytest.approx(other.alpha)


@pytest.mark.parametrize(("m", "k"), [(1, 2), (2, 2), (5, 2), (1, 10), (2, 10), (5, 10)])
def test_dimension_of_flat_pieces_of_space(m, k):
    x = gaussian(1500, m) @ gaussian(m, 12, seed=9)
    found = intrinsic_dimension(x, neighbors=k)
    assert abs(found.value - m) < 4 * found.error + 0.02 * m
    assert found.error < 0.15 * m


def test_dimension_of_a_circle_is_one_and_of_lines_too():
    circle = uniform_sphere(1000, 2, seed=0)
    lines = mixture_of_subspaces(2000, 30, pieces=20, dim=1, seed=0)
    for x in (circle, lines):
        found = intrinsic_dimension(x)
        assert abs(found.value - 1) < 4 * found.error


def test_standard_error_of_the_dimension_is_the_spread_over_data_sets():
    found = [intrinsic_dimension(gaussian(400, 3, seed), neighbors=5) for seed in range(60)]
    spread = torch.tensor([e.value for e in found]).std()
    claimed = torch.tensor([e.error for e in found]).mean()
    assert 0.75 < claimed / spread < 1.6  # a little above: it never falls below the independent one


def test_dimension_is_invariant_and_counts_repeated_rows_once():
    x = gaussian(300, 3)
    turned = torch.linalg.qr(gaussian(3, 3, 1)).Q
    once = intrinsic_dimension(x).value
    assert intrinsic_dimension(5 * x @ turned + 2).value == pytest.approx(once)
    assert intrinsic_dimension(torch.cat([x, x])).value == pytest.approx(once)


def test_dimension_of_part_of_the_points_agrees():
    x = gaussian(3000, 2)
    some, every = intrinsic_dimension(x, samples=500), intrinsic_dimension(x, samples=3000)
    assert abs(some.value - every.value) < 4 * some.error
    assert some.error > 1.5 * every.error


@pytest.mark.door
def test_what_cannot_be_answered_is_refused():
    with pytest.raises(DataError, match="at least 20"):
        radius_tail_exponent(torch.rand(10, dtype=torch.float64))
    with pytest.raises(DataError, match="≥ 0"):
        radius_tail_exponent(torch.linspace(-1, 1, 30, dtype=torch.float64))
    with pytest.raises(DataError, match="positive"):
        radius_tail_exponent(torch.eye(30, dtype=torch.float64)[0])
    with pytest.raises(ParameterError, match="end"):
        radius_tail_exponent(torch.linspace(0, 1, 30, dtype=torch.float64), end=0.5)
    with pytest.raises(DataError, match="different rows"):
        intrinsic_dimension(torch.ones(10, 2, dtype=torch.float64))
    lattice = torch.arange(9, dtype=torch.float64)
    with pytest.raises(DataError, match="lattice"):
        intrinsic_dimension(torch.cartesian_prod(lattice, lattice))
    with pytest.raises(DataError, match="finite"):
        depth_area(torch.tensor([math.nan], dtype=torch.float64))
