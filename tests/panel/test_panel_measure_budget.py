"""Budgets are kept, predictions come true, and a part of the data says so."""

import math
import re
import time

import pytest
import torch
from measured_models import problem
from torch import nn

from steppe.core import ParameterError
from steppe.panel import measure, plan_measurement

pytestmark = pytest.mark.door


class Slow(nn.Module):
    """A linear model that takes its time per sample."""

    def __init__(self, seconds):
        super().__init__()
        self.inner, self.seconds = nn.Linear(3, 2).double(), seconds

    def forward(self, x):
        time.sleep(self.seconds * len(x))
        return _Sleepy.apply(self.inner(x), self.seconds)


class _Sleepy(torch.autograd.Function):
    """The identity, slow in its derivatives, to any order."""

    @staticmethod
    def forward(ctx, x, seconds):
        ctx.seconds = seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.seconds * len(gradient))
        return _Sleepy.apply(gradient, ctx.seconds), None


class TestBudget:
    def test_products_are_never_more_than_the_budget(self):
        model, loss, data = problem(hidden=40)
        for budget in (15, 40, 120):
            found = measure(model, loss, data, budget=f"{budget} products")
            assert found.products <= budget

    def test_seconds_are_kept_by_a_slow_model(self):
        _, loss, data = problem(n=256)
        began = time.perf_counter()
        found = measure(Slow(1e-4), loss, data, budget=1.5)
        assert time.perf_counter() - began < 3.5
        assert found.seconds < 3.5

    def test_what_does_not_fit_is_absent_with_its_reason(self):
        _, loss, data = problem(n=512)
        found = measure(Slow(5e-4), loss, data, budget=0.5)
        assert found.sharpness is None
        assert "one product takes about" in found.absent["sharpness"]
        assert "raise the budget or lower `samples`" in found.absent["sharpness"]
        assert "one product takes about" in found.absent["limits"]
        assert found.loss > 0
        assert "–" in str(found)

    def test_the_prediction_is_right_to_a_factor_of_three(self):
        model, loss, data = problem(n=2000, hidden=300)
        found = measure(model, loss, data, samples=2000, budget="60 products")
        assert found.plan.seconds / 3 < found.seconds < 3 * found.plan.seconds

    def test_graph_memory_is_predicted_from_a_piece(self):
        model = nn.Sequential(nn.Linear(3, 500), nn.Tanh(), nn.Linear(500, 2)).double()
        _, loss, data = problem(n=4000)
        plan = plan_measurement(model, loss, data, samples=4000)
        saved = 4000 * 500 * 8  # one activation
        assert saved <= plan.graph_bytes <= 12 * saved
        assert plan.retained

    def test_a_batch_that_cannot_be_cut_and_does_not_fit_is_refused_with_the_remedy(self, monkeypatch):
        monkeypatch.setattr("steppe.panel.measure_plan.free_bytes", lambda device: 2000)
        model = nn.Sequential(nn.Linear(3, 50), nn.BatchNorm1d(50), nn.Tanh(), nn.Linear(50, 2)).double()
        with pytest.raises(ParameterError, match="batches of at most"):
            measure(model, *problem()[1:])
        found = measure(model.eval(), *problem()[1:], quantities=["sharpness"])
        assert found.plan.retained is False
        assert "the vectors of an iteration need about" in found.absent["sharpness"]

    @pytest.mark.parametrize("budget", [None, 5, 2.5, "90 s", "2 min", "200 products", "5 min, 500 products", "30"])
    def test_budgets_that_can_be_read(self, budget):
        model, loss, data = problem()
        assert str(plan_measurement(model, loss, data, budget=budget).budget)

    @pytest.mark.parametrize("budget", [0, -1, "soon", "5 parsecs", "", "0 s", math.nan])
    def test_budgets_that_cannot(self, budget):
        model, loss, data = problem()
        with pytest.raises(ParameterError, match="`budget` must be"):
            plan_measurement(model, loss, data, budget=budget)

    def test_a_plan_says_time_and_memory(self):
        model, loss, data = problem()
        assert re.search(
            r"per product, .* of graphs and .* of vectors \(.* free\), \d+ products in",
            str(plan_measurement(model, loss, data)),
        )

    def test_progress_begins_with_the_plan(self):
        told = []
        model, loss, data = problem(hidden=80)
        found = measure(model, loss, data, budget="60 products", progress=lambda *words: told.append(words))
        assert told[0] == (0, found.plan.products, str(found.plan))
        assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
        assert len(told) > 20


class TestPartOfData:
    def test_it_says_so_and_warns(self):
        model, loss, data = problem(n=500)
        found = measure(model, loss, data, samples=100, quantities=["sharpness"])
        assert (found.samples, found.total) == (100, 500)
        assert "100 of 500 samples" in found.convention
        assert any("biased upwards" in warning for warning in found.warnings)

    def test_the_seed_chooses_the_samples(self):
        model, loss, data = problem(n=500)
        values = [measure(model, loss, data, samples=50, seed=s, quantities=["sharpness"]) for s in (1, 1, 2)]
        assert values[0].sharpness == values[1].sharpness
        assert values[0].loss != values[2].loss
