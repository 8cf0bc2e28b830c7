"""Constants of one input: bounds, population weights, and what interpolation costs."""

import math

import numpy as np
import pytest
import torch

from steppe import theory
from steppe.activations import activation_weight_profile
from steppe.core import DataError, ParameterError


def test_theorem_1_and_2():
    assert float(theory.stable_variation_bound(0.4)) == pytest.approx(2.0)
    assert float(theory.least_univariate_sharpness(2.0)) == 5.0  # at ∫|f''|g = 1/η − ½ it is 2/η
    # η = 0.2, n = 100, one neuron more than knots: 12 · 2 = 24 < 100, 2√3 √0.02 = 0.4898979…
    bound = theory.stable_variation_bound(0.2, samples=100, width=7, knots=6)
    assert float(bound) == pytest.approx(5 / (1 - 2 * math.sqrt(3) * math.sqrt(0.02)) - 0.5, rel=1e-14)
    assert float(bound) == pytest.approx(9.3019602, abs=1e-7)
    assert float(bound) > float(theory.stable_variation_bound(0.2))
    assert bound.status == "theorem"
    assert "12(1 + k − L) < n" in bound.hypotheses


def test_theorem_2_tends_to_theorem_1():
    found = float(theory.stable_variation_bound(0.2, samples=10**12, width=5, knots=5))
    assert found == pytest.approx(float(theory.stable_variation_bound(0.2)), rel=1e-5)


@pytest.mark.door
@pytest.mark.parametrize(
    "counts", [{"samples": 24, "width": 6, "knots": 5}, {"samples": 30}, {"samples": 99, "width": 3, "knots": 4}]
)
def test_theorem_2_names_its_condition(counts):
    with pytest.raises(ParameterError):
        theory.stable_variation_bound(0.1, **counts)


def test_noisy_bound_is_below_the_recalled_one_from_radius_one_over_root_3():
    for radius, smaller in ((0.5, False), (1 / math.sqrt(3) + 1e-9, True), (3.0, True)):
        mine = float(theory.noisy_variation_bound(0.1, radius, noise=0.3, error=0.04))
        recalled = 1 / 0.1 - 0.5 + radius * (0.3 + 0.2)
        assert (mine <= recalled) == smaller
    assert float(theory.noisy_variation_bound(0.1, 2.0, noise=0.0)) == pytest.approx(9.5)


@pytest.mark.parametrize("law", ["uniform", "gaussian", "laplace"])
def test_population_weight_by_quadrature(law):
    from scipy.integrate import quad

    density = {
        "uniform": lambda x: 1 / (2 * math.sqrt(3)) if abs(x) < math.sqrt(3) else 0.0,
        "gaussian": lambda x: math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        "laplace": lambda x: math.exp(-math.sqrt(2) * abs(x)) / math.sqrt(2),
    }[law]
    top = math.sqrt(3) if law == "uniform" else 40.0
    for t in (-1.2, 0.0, 0.7, 1.5):
        p = quad(density, abs(t), top)[0]
        m = quad(lambda x: x * density(x), abs(t), top)[0]
        expected = p**2 * (m / p - abs(t)) * math.sqrt(1 + (m / p) ** 2)
        assert float(theory.univariate_weight(t, law)) == pytest.approx(expected, rel=1e-6)


def test_population_weight_vanishes_beyond_the_data_and_is_largest_in_the_middle():
    t = np.linspace(-3, 3, 601)
    for law in ("uniform", "gaussian", "laplace"):
        g = theory.univariate_weight(t, law)
        assert np.argmax(g) == 300
        assert (np.diff(g[300:]) <= 0).all()
    assert (theory.univariate_weight(t[np.abs(t) >= 1.7321], "uniform") == 0).all()


def test_limits_of_the_weight_at_samples_are_limits():
    rng = np.random.default_rng(0)
    x = np.sort(rng.normal(size=9))
    data, one = torch.from_numpy(x)[:, None], torch.ones(1, dtype=torch.float64)
    from steppe.theory.univariate import _limits

    sides = [activation_weight_profile(data, one, torch.from_numpy(x + h)).numpy() for h in (1e-9, -1e-9)]
    np.testing.assert_allclose(_limits(x, np.ones(9)), np.minimum(*sides), atol=1e-7)


def test_least_variation_is_below_every_interpolant():
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.uniform(-2, 2, 8)), rng.normal(size=8)
    least = float(theory.least_interpolating_variation(x, y))
    data, one = torch.from_numpy(x)[:, None], torch.ones(1, dtype=torch.float64)
    for _ in range(200):  # piecewise linear through the points and one more point in every gap
        inner = x[:-1] + np.diff(x) * rng.uniform(0.02, 0.98, 7)
        detour = np.interp(inner, x, y) + rng.normal(size=7) * rng.choice([0.01, 0.3])
        at, values = np.append(x, inner), np.append(y, detour)
        order = np.argsort(at)
        at, values = at[order], values[order]
        knots = at[1:-1] + 1e-9 * rng.choice([-1, 1], at.size - 2)  # beside the samples, either side
        jumps = np.abs(np.diff(np.diff(values) / np.diff(at)))
        assert jumps @ activation_weight_profile(data, one, torch.from_numpy(knots)).numpy() >= least - 1e-6


def test_noise_costs_at_least_quadratically_many_steps():
    steps = []
    for n in (50, 200, 800):
        found = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            found.append(float(theory.largest_interpolating_step(np.linspace(-1, 1, n), rng.normal(size=n))))
        steps.append(np.median(found))
    slopes = np.diff(np.log(steps)) / math.log(4)
    np.testing.assert_allclose(slopes, -2, atol=0.15)


@pytest.mark.door
def test_bad_points_are_refused():
    for x, y in (([1.0], [1.0]), ([1.0, 1.0], [0.0, 0.0]), ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0]), ([0, np.nan], [0, 1])):
        with pytest.raises(DataError):
            theory.least_interpolating_variation(x, y)
    assert float(theory.least_interpolating_variation([0.0, 0.0, 1.0], [1.0, 1.0, 2.0])) == 0.0
