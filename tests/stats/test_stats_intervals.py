import numpy as np
import pytest
from scipy import stats

from steppe.core import DataError
from steppe.stats import bootstrap_interval, center_interval


def test_mean_interval_is_scipys():
    values = np.random.default_rng(0).normal(size=9)
    expected = stats.t.interval(0.9, 8, loc=values.mean(), scale=stats.sem(values))
    assert np.allclose(center_interval(values, "mean", level=0.9), expected, rtol=1e-9)


def test_median_interval_of_eleven_lies_between_the_enclosing_order_statistics():
    # For n = 11, depths 2 and 3 cover 98.8 % and 93.5 % (binomial), so 95 % lies between them.
    low, high = center_interval(np.arange(11.0), "median")
    assert 1 < low < 2
    assert 8 < high < 9
    assert np.isclose(low + high, 10)


@pytest.mark.parametrize("count", [5, 6, 8, 20])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_it_covers(count, statistic):
    generator = np.random.default_rng(count)
    hits = [
        low <= 0 <= high
        for low, high in (center_interval(generator.normal(size=count), statistic) for _ in range(1000))
    ]
    assert 0.93 <= np.mean(hits) <= 0.97


def test_bootstrap_is_reproducible_and_follows_its_seed():
    values = np.random.default_rng(0).normal(size=30)
    first = bootstrap_interval(values, np.mean, seed=1)
    assert first == bootstrap_interval(values, np.mean, seed=1) != bootstrap_interval(values, np.mean, seed=2)
    assert np.allclose(first, center_interval(values, "mean"), atol=0.1)


@pytest.mark.parametrize(("values", "says"), [([1.0], "at least 2 values"), ([1.0, np.nan], "finite")])
def test_it_refuses(values, says):
    with pytest.raises(DataError, match=says):
        center_interval(values)
