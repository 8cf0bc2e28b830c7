import numpy as np
import pytest
from scipy import stats

from steppe.core import DataError
from steppe.stats import fit_power_law

X = np.array([16.0, 32, 64, 128, 256, 512])
SEEDS = 5
ALL_X = np.tile(X, SEEDS)
LABELS = np.repeat(np.arange(SEEDS), X.size)


def test_exact_law_is_found_exactly():
    fit = fit_power_law(ALL_X, 3 * ALL_X**-0.4, replicates=LABELS)
    assert np.isclose(fit.slope, -0.4, rtol=1e-12)
    assert np.isclose(np.exp(fit.intercept), 3)
    assert np.allclose(fit.interval, -0.4)
    assert np.isclose(fit.upper_half_slope, -0.4)
    assert np.allclose(fit.predict(X), 3 * X**-0.4)
    assert fit.method == "replicates"
    assert fit.replicates == SEEDS


def test_mean_slope_and_interval_are_those_of_independent_regressions():
    y = np.exp(-0.5 * np.log(ALL_X) + np.random.default_rng(0).normal(size=ALL_X.size))
    fit = fit_power_law(ALL_X, y, replicates=LABELS, statistic="mean")
    slopes = [stats.linregress(np.log(X), np.log(y[s == LABELS])).slope for s in range(SEEDS)]
    assert np.isclose(fit.slope, np.mean(slopes))
    assert np.allclose(fit.interval, stats.t.interval(0.95, SEEDS - 1, np.mean(slopes), stats.sem(slopes)))


def test_without_replicates_it_is_the_regressions_own_interval():
    y = np.exp(-0.5 * np.log(X) + np.random.default_rng(0).normal(size=X.size))
    fit = fit_power_law(X, y)
    line = stats.linregress(np.log(X), np.log(y))
    half = stats.t.ppf(0.975, X.size - 2) * line.stderr
    assert fit.method == "residuals"
    assert np.allclose(fit.interval, (line.slope - half, line.slope + half))


def test_order_and_repeats_within_a_replicate_do_not_matter():
    y = np.exp(-0.5 * np.log(ALL_X) + np.random.default_rng(0).normal(size=ALL_X.size))
    shuffle = np.random.default_rng(1).permutation(ALL_X.size)
    first = fit_power_law(ALL_X, y, replicates=LABELS)
    again = fit_power_law(np.tile(ALL_X[shuffle], 2), np.tile(y[shuffle], 2), replicates=np.tile(LABELS[shuffle], 2))
    assert np.allclose(first.interval, again.interval)


NOISES = {
    "normal": lambda g, shape: g.normal(size=shape),
    "heavy": lambda g, shape: g.standard_t(3, size=shape),
    "skewed": lambda g, shape: np.log(g.chisquare(2, size=shape)),
    "growing": lambda g, shape: g.normal(size=shape) * np.linspace(1, 3, shape[1]),
    "shared by a seed": lambda g, shape: g.normal(size=shape) + g.normal(size=(shape[0], 1)) * np.linspace(0, 2, 6),
}


def coverage(noise, statistic, count):
    generator = np.random.default_rng(7)
    hits = []
    for _ in range(count):
        y = np.exp(-0.5 * np.log(X) + 0.3 * NOISES[noise](generator, (SEEDS, X.size))).ravel()
        low, high = fit_power_law(ALL_X, y, replicates=LABELS, statistic=statistic).interval
        hits.append(low <= -0.5 <= high)
    return np.mean(hits)


@pytest.mark.parametrize(("noise", "statistic"), [("normal", "median"), ("shared by a seed", "mean")])
def test_the_interval_covers_the_truth(noise, statistic):
    assert 0.92 <= coverage(noise, statistic, 400) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("statistic", "most"), [("mean", 0.97), ("median", 0.985)])
def test_the_interval_covers_the_truth_under_every_noise(noise, statistic, most):
    assert 0.93 <= coverage(noise, statistic, 2000) <= most


def test_a_plateau_bends_and_a_straight_line_seldom_does():
    generator = np.random.default_rng(3)
    bends = {"plateau": [], "straight": []}
    for _ in range(100):
        noise = np.exp(0.1 * generator.normal(size=ALL_X.size))
        for name, law in (("plateau", np.maximum(1 / ALL_X, 1 / 64)), ("straight", 1 / ALL_X)):
            bends[name].append(fit_power_law(ALL_X, law * noise, replicates=LABELS).bends)
    assert np.mean(bends["plateau"]) >= 0.95
    assert np.mean(bends["straight"]) <= 0.1


def test_widening_is_the_medians_efficiency():
    generator = np.random.default_rng(0)
    sample = generator.normal(size=(400_000, 5))
    from steppe.stats.power_laws import _widening

    assert np.isclose(np.median(sample, axis=1).std() / sample.mean(axis=1).std(), _widening(5, "median"), rtol=5e-3)
    few = generator.normal(size=(400_000, 4))
    assert np.isclose(np.median(few, axis=1).std() / few.mean(axis=1).std(), _widening(4, "median"), rtol=5e-3)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ([1, 2, 2, 1], [1, 1, 1, 1], "at least 3 distinct x, got 2"),
        ([1, 2, 3], [1, 0, 1], "1 values ≤ 0"),
        ([1, 2, 3], [1, 2], "one length"),
        ([1, 2, np.inf], [1, 2, 3], "finite"),
    ],
)
def test_it_refuses(x, y, says):
    with pytest.raises(DataError, match=says):
        fit_power_law(x, y)
