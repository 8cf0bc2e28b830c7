import math

import numpy as np
import pytest
from scipy import integrate, special

from steppe.core import ParameterError
from steppe.theory import radial_marginal_tail, radial_tail_excess, radial_weight, radial_weight_exponent


def brute_force(d, alpha, t):
    """p and s by the one-dimensional integral over the radius, q = (1 − ρ)^α."""
    k = math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d - 1) / 2))

    def tail(z):
        return 0.5 * special.betainc((d - 1) / 2, 0.5, 1 - z * z)

    def mean(z):
        return k * (1 - z * z) ** ((d - 1) / 2) / (d - 1) - z * tail(z)

    top = (1 - t) ** alpha
    p, _ = integrate.quad(lambda q: tail(min(t / (1 - q ** (1 / alpha)), 1.0)), 0, top, limit=200)
    s, _ = integrate.quad(
        lambda q: (1 - q ** (1 / alpha)) * mean(min(t / (1 - q ** (1 / alpha)), 1.0)), 0, top, limit=200
    )
    return p, s


@pytest.mark.parametrize(("d", "alpha"), [(2, 1.0), (3, 0.3), (3, 2.0), (5, 0.5), (5, 5.0)])
@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.0999, 0.1, 0.2, 0.7])
def test_agrees_with_the_integral_over_the_radius(d, alpha, t):
    p, s = brute_force(d, alpha, t)
    assert radial_marginal_tail(d, alpha, t) == pytest.approx(p, rel=1e-6)
    assert radial_weight(d, alpha, t) == pytest.approx(s * math.hypot(p, s + t * p), rel=1e-6)
    assert radial_marginal_tail(d, alpha, -t) == pytest.approx(1 - p, rel=1e-9)
    assert radial_tail_excess(d, alpha, t) == pytest.approx(s, rel=1e-6)
    assert radial_tail_excess(d, alpha, -t) == pytest.approx(s + t, rel=1e-6)


@pytest.mark.parametrize(
    ("d", "alpha", "slopes"),
    [
        (2, 1, (1.501, 2.501, 4.001)),
        (3, 0.3, (1.301, 2.300, 3.600)),
        (3, 2, (3.002, 4.002, 7.002)),
        (5, 0.5, (2.500, 3.500, 5.999)),
        (5, 1.5, (3.502, 4.501, 8.002)),
    ],
)
def test_tail_exponents(d, alpha, slopes):
    distance = np.geomspace(1e-3, 1e-2, 9)
    for function, slope in zip((radial_marginal_tail, radial_tail_excess, radial_weight), slopes, strict=True):
        values = [float(function(d, float(alpha), 1 - h)) for h in distance]
        assert np.polyfit(np.log(distance), np.log(values), 1)[0] == pytest.approx(slope, abs=1.6e-3)
    assert radial_weight_exponent(d, float(alpha)) == d + 2 * alpha


@pytest.mark.parametrize(("d", "alpha"), [(1, 0.5), (2, 1.0), (5, 0.3)])
def test_monte_carlo(d, alpha):
    rng = np.random.default_rng(1)
    direction = rng.standard_normal((400_000, d))
    u = direction[:, 0] / np.linalg.norm(direction, axis=1)
    x = u * (1 - (1 - rng.random(400_000)) ** (1 / alpha))
    for t in (-0.3, 0.0, 0.4):
        active = x > t
        p, m, s = active.mean(), (x * active).mean(), np.maximum(x - t, 0).mean()
        error = 5 * math.sqrt(0.25 / 400_000)
        assert radial_marginal_tail(d, alpha, t) == pytest.approx(p, abs=error)
        assert radial_weight(d, alpha, t, sides="one") == pytest.approx(s * math.hypot(p, m), rel=0.03)


def test_on_the_interval_uniform_radius_is_the_uniform_ball():
    from steppe.theory import ball_weight  # α = 1 and d = 1: the radius is uniform, so the law is uniform

    for t in (-0.9, -0.2, 0.0, 0.5, 0.99):
        assert radial_weight(1, 1.0, t) == pytest.approx(ball_weight(1, t), rel=1e-12)
        assert radial_weight(1, 1.0, t, sides="one") == pytest.approx(ball_weight(1, t, sides="one"), rel=1e-12)


def test_the_depth_of_an_isotropic_law_is_its_marginal_tail():
    from steppe.activations import half_space_depth
    from steppe.data import radial

    x = radial(6000, 2, alpha=0.7, seed=0)
    radii = [0.05, 0.3, 0.6, 0.9]
    depth = half_space_depth(x.new_tensor([[r * math.cos(r), r * math.sin(r)] for r in radii]), x)
    assert depth.tolist() == pytest.approx([float(radial_marginal_tail(2, 0.7, r)) for r in radii], abs=0.03)


def test_outside_and_bad_input():
    assert radial_weight(3, 1.0, 1.0) == 0
    assert radial_weight(3, 1.0, -2.0, sides="one") == pytest.approx(2.0)
    with pytest.raises(ParameterError, match="`alpha` must be > 0"):
        radial_weight(3, 0.0, 0.5)
