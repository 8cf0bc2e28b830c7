import math

import numpy as np
import pytest
from scipy import integrate

from steppe.core import DataError, Fact, ParameterError, UnknownNameError
from steppe.theory import (
    ball_depth,
    ball_marginal_constant,
    ball_marginal_tail,
    ball_tail_excess,
    ball_tail_moment,
    ball_weight,
    ball_weight_limit,
    canonical_weight,
)

# d: G_d, then g at .0, .25, .5, .75, .9, .99 (independent computation, to the digits given).
WEIGHTS = {
    1: (0.17677670, 1.397542e-1, 6.218689e-2, 1.953125e-2, 2.595250e-3, 1.724139e-4, 1.763353e-7),
    2: (0.20378993, 1.152639e-1, 4.204630e-2, 9.587683e-3, 6.914335e-4, 1.926925e-5, 2.026571e-9),
    3: (0.26516504, 1.001250e-1, 3.057107e-2, 5.154694e-3, 2.050229e-4, 2.417657e-6, 2.627436e-11),
    5: (0.55242717, 8.185085e-2, 1.821303e-2, 1.737761e-3, 2.164595e-5, 4.640074e-8, 5.429691e-15),
    10: (6.16091631, 6.039710e-2, 6.893345e-3, 1.758411e-4, 1.307085e-7, 4.114069e-12, 5.920350e-24),
}
THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)


@pytest.mark.parametrize("d", WEIGHTS)
def test_weight_table(d):
    limit, *values = WEIGHTS[d]
    assert ball_weight_limit(d) == pytest.approx(limit, abs=0.51e-8)
    for t, value in zip(THRESHOLDS, values, strict=True):
        assert f"{ball_weight(d, t):.6e}" == f"{value:.6e}"
        assert ball_weight(d, -t) == ball_weight(d, t)


@pytest.mark.parametrize(("d", "value"), [(1, 1 / 2), (2, 2 / math.pi), (3, 3 / 4), (5, 15 / 16)])
def test_marginal_constant(d, value):
    assert ball_marginal_constant(d) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 10, 60])
@pytest.mark.parametrize("t", [-0.7, -0.1, 0.0, 0.3, 0.8])
def test_moments_are_integrals_of_the_marginal_density(d, t):
    def density(x):
        return ball_marginal_constant(d) * (1 - x * x) ** ((d - 1) / 2)

    tail, _ = integrate.quad(density, t, 1)
    moment, _ = integrate.quad(lambda x: x * density(x), t, 1)
    excess, _ = integrate.quad(lambda x: (x - t) * density(x), t, 1)
    assert ball_marginal_tail(d, t) == pytest.approx(tail, rel=1e-7)
    assert ball_tail_moment(d, t) == pytest.approx(moment, rel=1e-7)
    assert ball_tail_excess(d, t) == pytest.approx(excess, rel=1e-7)
    assert ball_weight(d, t, sides="one") == pytest.approx(excess * math.hypot(tail, moment), rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 10, 101, 1000])
@pytest.mark.parametrize("t", [0.0, 1e-9, 0.3, 0.99, 1 - 1e-9])
def test_excess_agrees_with_high_precision_where_the_difference_cancels(d, t):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        one, r = mpmath.mpf(1), mpmath.mpf(t)
        z = (1 - r) * (1 + r)
        half = one / 2
        c = mpmath.gamma(d * half + 1) / (mpmath.sqrt(mpmath.pi) * mpmath.gamma((d + 1) * half))
        p = mpmath.betainc((d + 1) * half, half, 0, z, regularized=True) / 2
        exact = c * z ** ((d + 1) * half) / (d + 1) - r * p
    if exact > 1e-300:
        assert ball_tail_excess(d, t) == pytest.approx(float(exact), rel=2e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 10])
def test_weight_tends_to_its_limit(d):
    assert ball_weight(d, 1 - 1e-7) / 1e-7 ** (d + 2) == pytest.approx(ball_weight_limit(d), rel=1e-5)
    ratio = ball_weight(d, np.array([0.9, 0.99, 0.999])) / canonical_weight(d, np.array([0.9, 0.99, 0.999]))
    assert np.all(np.diff(np.abs(ratio - ball_weight_limit(d))) < 0)


@pytest.mark.parametrize(("d", "slope"), [(1, 2.995), (2, 3.989), (3, 4.982), (5, 6.966), (10, 11.92)])
def test_log_log_slope_near_the_boundary(d, slope):
    distance = np.geomspace(1e-3, 1e-1, 5)
    fitted = np.polyfit(np.log(distance), np.log(ball_weight(d, 1 - distance)), 1)[0]
    assert fitted == pytest.approx(slope, abs=1.1e-3)


def test_slopes_between_two_thresholds():
    g = {t: ball_weight(2, t) for t in (0.5, 0.8, 0.9, 0.99)}
    assert f"{g[0.8]:.6e}" == "2.913723e-04"
    assert math.log(g[0.5] / g[0.8]) / math.log(0.5 / 0.2) == pytest.approx(3.813, abs=5e-4)
    assert math.log(g[0.9] / g[0.99]) / math.log(0.1 / 0.01) == pytest.approx(3.978, abs=5e-4)


def test_closed_form_on_the_interval():
    t = np.linspace(-1, 1, 41)
    r = np.abs(t)
    np.testing.assert_allclose(ball_weight(1, t), (1 - r) ** 3 / 8 * np.sqrt(1 + ((1 + r) / 2) ** 2), rtol=1e-13)


@pytest.mark.parametrize("d", [2, 5])
def test_monte_carlo(d):
    rng = np.random.default_rng(0)
    total, p, m, s = 0, 0.0, 0.0, 0.0
    for _ in range(8):  # 2e6 points
        x = rng.standard_normal((250_000, d))
        first = x[:, 0] / np.linalg.norm(x, axis=1) * rng.random(250_000) ** (1 / d)
        active = first > 0.5
        total, p, m, s = total + 250_000, p + active.sum(), m + first[active].sum(), s + (first[active] - 0.5).sum()
    weight = s / total * math.hypot(p / total, m / total)
    assert weight == pytest.approx(ball_weight(d, 0.5), rel=0.01)


def test_two_sides_and_outside():
    assert ball_weight(3, -0.4, sides="one") > ball_weight(3, 0.4, sides="one") == ball_weight(3, 0.4)
    assert ball_weight(3, 1.0) == ball_weight(3, -1.5) == ball_marginal_tail(3, 2.0) == 0
    assert ball_tail_excess(3, -2.0) == 2.0  # E(X + 2)
    assert ball_weight(3, -2.0, sides="one") == 2.0  # p = 1, N = 0


@pytest.mark.parametrize(("d", "depth"), [(1, 0.25), (2, 0.19550), (3, 0.15625), (5, 0.10352), (10, 0.04093)])
def test_depth_of_the_ball(d, depth):
    assert ball_depth(d, 0.5) == pytest.approx(depth, abs=0.51e-5)
    assert ball_depth(d, 0.0) == 0.5


def test_scalars_are_facts_and_arrays_are_arrays():
    fact = ball_weight(2, 0.5)
    assert isinstance(fact, Fact)
    assert fact.status == "derived"
    assert fact.hypotheses == ("inputs uniform on the unit ball",)
    array = ball_weight(2, [[0.5, 0.8]])
    assert array.shape == (1, 2)
    assert array[0, 0] == pytest.approx(fact, rel=1e-14)


@pytest.mark.door
def test_bad_input():
    with pytest.raises(ParameterError, match="`d` must be ≥ 1, got 0"):
        ball_weight(0, 0.5)
    with pytest.raises(DataError, match="`t` must be finite, got nan"):
        ball_weight(2, [0.1, math.nan])
    with pytest.raises(UnknownNameError, match="`sides`"):
        ball_weight(2, 0.1, sides="left")
    with pytest.raises(ParameterError, match="`distance` must be ≥ 0, got -1"):
        ball_depth(2, -1.0)
