"""Limits on products and time, and what is shown meanwhile."""

import time

import pytest
import torch

from steppe.core import KindError, ParameterError
from steppe.linalg import Pace, SymmetricOperator, extreme_eigenvalues, remaining, spectral_density, stochastic_trace


def slow(seconds, p=200):
    root = torch.randn(p, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def product(block):
        time.sleep(seconds * block.shape[1])
        return (root + root.T) @ block

    return SymmetricOperator(product, p)


def test_products_are_counted_against_the_limit():
    with Pace(max_products=3) as pace:
        assert not pace.over
        pace.advance(2)
        assert pace.left == 1
        pace.advance(1)
        assert "raise `max_products`" in pace.over


def test_a_budget_ends_before_the_step_that_would_not_fit():
    pace = Pace(0.2)
    time.sleep(0.15)
    assert not pace.over  # nothing is known about a step yet
    pace.advance(1)
    assert "raise `budget`" in pace.over


@pytest.mark.parametrize(
    "routine",
    [
        lambda operator: extreme_eigenvalues(operator, rtol=1e-12, budget=0.1).estimate(),
        lambda operator: extreme_eigenvalues(operator, 3, rtol=1e-12, budget=0.1).estimate(),
        lambda operator: stochastic_trace(operator, rtol=1e-5, budget=0.1),
        lambda operator: spectral_density(operator, steps=30, probes=5, budget=0.1).moment(1),
    ],
)
def test_every_routine_returns_what_it_has_when_the_budget_ends(routine):
    began = time.perf_counter()
    found = routine(slow(0.004))
    assert time.perf_counter() - began < 2
    assert not found.converged
    assert "budget" in found.reason
    assert 2 <= found.products < 60


def test_a_callable_is_told_and_a_bar_leaves_stdout_alone(capsys):
    told = []
    extreme_eigenvalues(slow(0.0), progress=lambda done, total, text: told.append((done, total, text)))
    assert [done for done, _, _ in told] == list(range(1, len(told) + 1))
    assert all(isinstance(text, str) for _, _, text in told)
    spectral_density(slow(0.0), steps=5, probes=2, progress=True)
    assert capsys.readouterr().out == ""


def test_what_is_left_of_a_budget():
    assert remaining(None, 0.0) is None
    assert remaining(1.0, time.perf_counter() - 5) == pytest.approx(1e-3)
    assert 0.9 < remaining(1.0, time.perf_counter()) <= 1.0


@pytest.mark.door
def test_bad_limits():
    with pytest.raises(ParameterError, match="`budget` must be > 0"):
        Pace(0.0)
    with pytest.raises(ParameterError, match="`max_products`"):
        Pace(max_products=0)
    with pytest.raises(KindError, match="`progress` must be a bool or a callable"):
        Pace(progress=3)
