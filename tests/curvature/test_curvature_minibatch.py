"""Stability of SGD in closed form: against per-sample Hessians, all batches one by one, and real SGD."""

import itertools

import numpy as np
import pytest
import torch

from steppe import theory
from steppe.core import KindError, ParameterError, SquaredLoss
from steppe.curvature import hessian, sgd_stability, sharpness
from steppe.networks import ShallowReLU


def _case(d=1, width=2, n=5, outputs=1, seed=0, skip=False):
    network = ShallowReLU(d, width, outputs, init="torch", skip=skip, seed=seed)
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        y = network(x)
    each = [hessian(network, SquaredLoss(), (x[i : i + 1], y[i : i + 1])).to_dense().numpy() for i in range(n)]
    return network, x, y, np.stack(each)


@pytest.mark.parametrize("kind", [{}, {"d": 3, "width": 3}, {"outputs": 2, "n": 4}, {"skip": True}])
def test_growth_is_that_of_the_hessians(kind):
    network, x, y, each = _case(**kind)
    found, n = sgd_stability(network, x, y), len(x)
    assert found.sharpness.value == pytest.approx(sharpness(network, SquaredLoss(), (x, y), rtol=1e-10).value, rel=1e-8)
    mean = each.mean(0)
    spread = np.linalg.eigvalsh(np.mean(each @ each, 0) - mean @ mean)[-1]
    assert found.non_uniformity.value == pytest.approx(np.sqrt(spread), rel=1e-9)
    for batch, step in itertools.product((1, 2, n), (0.05, 0.3, 1.0, 2.0)):
        expected = float(theory.sgd_growth(each, step, batch_size=batch))
        assert max(1.0, found.growth(step, batch_size=batch).value) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", [{}, {"outputs": 2, "n": 4, "width": 1}])
def test_exact_growth_is_that_of_all_batches(kind):
    network, x, y, each = _case(**kind)
    found, (n, p) = sgd_stability(network, x, y), each.shape[:2]
    for batch, step in itertools.product((1, 2, 3), (0.3, 1.0, 2.5)):
        operator = np.zeros((p * p, p * p))
        batches = list(itertools.combinations(range(n), batch))
        for chosen in batches:  # E[(I − ηH_B) ⊗ (I − ηH_B)], batch by batch
            factor = np.eye(p) - step * each[list(chosen)].mean(0)
            operator += np.kron(factor, factor) / len(batches)
        expected = np.abs(np.linalg.eigvals(operator)).max()
        growth = found.growth(step, batch_size=batch, exact=True).value
        assert max(1.0, growth) == pytest.approx(expected, rel=1e-7)
        assert expected == pytest.approx(float(theory.sgd_growth(each, step, batch_size=batch, exact=True)), rel=1e-7)
        assert growth <= found.growth(step, batch_size=batch).value * (1 + 1e-9)


def test_largest_steps_are_where_growth_passes_one():
    network, x, y, _ = _case(width=6, n=8, seed=3)
    found = sgd_stability(network, x, y)
    for batch, exact in itertools.product((1, 2, 5, 8), (False, True)):
        limit = found.largest_step(batch_size=batch, exact=exact).value
        assert found.growth(limit, batch_size=batch, exact=exact).value == pytest.approx(1.0, abs=1e-6)
        assert found.growth(1.01 * limit, batch_size=batch, exact=exact).value > 1
        assert found.growth(0.99 * limit, batch_size=batch, exact=exact).value <= 1
    by_batch = [found.largest_step(batch_size=b, exact=True).value for b in range(1, 9)]
    assert (np.diff(by_batch) > 0).all()
    assert by_batch[-1] == pytest.approx(2 / found.sharpness.value)
    assert all(found.largest_step(batch_size=b).value <= step * (1 + 1e-9) for b, step in enumerate(by_batch, start=1))


def test_single_samples_are_limited_by_the_longest_gradient():
    network, x, y, each = _case(d=2, width=20, n=8, seed=3)
    longest = max(float(np.trace(h)) for h in each)  # rank one
    assert sgd_stability(network, x, y).largest_step(batch_size=1).value == pytest.approx(2 / longest, rel=1e-9)


def test_necessary_conditions_of_the_criterion():
    network, x, y, _ = _case(width=6, n=8, seed=1)
    found = sgd_stability(network, x, y)
    for batch in range(1, 8):
        step = found.largest_step(batch_size=batch).value
        assert found.sharpness.value <= 2 / step * (1 + 1e-9)
        assert found.non_uniformity.value <= np.sqrt(batch * 7 / (8 - batch)) / step * (1 + 1e-9)


def test_smallest_batch_inverts_the_largest_step():
    network, x, y, _ = _case(width=6, n=8, seed=2)
    found = sgd_stability(network, x, y)
    for exact in (False, True):
        limits = [found.largest_step(batch_size=b, exact=exact).value for b in range(1, 9)]
        for step in np.geomspace(0.5 * limits[0], 0.999 * limits[-1], 12):
            expected = next(b for b, limit in enumerate(limits, start=1) if step <= limit)
            assert found.smallest_batch(step, exact=exact) == expected
        assert found.smallest_batch(1.01 * limits[-1], exact=exact) is None


def test_sgd_itself_returns_below_and_leaves_above():
    network, x, y, _ = _case(d=2, width=20, n=10, seed=5)
    batch = 3
    limit = sgd_stability(network, x, y).largest_step(batch_size=batch, exact=True).value

    def distance(step, seed):
        rng = torch.Generator().manual_seed(seed)
        other = network.copy()
        with torch.no_grad():
            for p in other.parameters():
                p.add_(1e-7 * torch.randn(p.shape, generator=rng, dtype=torch.float64))
        losses = []
        for _ in range(25):
            chosen = torch.randperm(len(x), generator=rng)[:batch]
            loss = SquaredLoss()(other(x[chosen]), y[chosen])
            gradients = torch.autograd.grad(loss, list(other.parameters()))
            with torch.no_grad():
                for p, g in zip(other.parameters(), gradients, strict=True):
                    p.sub_(step * g)
                losses.append(float((other(x) - y).square().mean()))
        return losses[-1] / losses[0]

    inside, outside = ([distance(factor * limit, seed) for seed in range(10)] for factor in (0.7, 1.4))
    assert np.mean(inside) < 1 < np.median(outside)


@pytest.mark.door
def test_bad_input_is_refused():
    network, x, y, _ = _case()
    with pytest.raises(KindError, match="sgd_growth"):
        sgd_stability(torch.nn.Linear(1, 1), x, y)
    with pytest.raises(ParameterError):
        sgd_stability(network, x, y).largest_step(batch_size=6)


def test_a_residual_is_named():
    network, x, y, _ = _case()
    assert "zero residual" in str(sgd_stability(network, x, y + 0.5).largest_step(batch_size=2))
    assert sgd_stability(network, x, y + 0.5).residual == pytest.approx(0.5)
