"""Closed-form gradients against pure Python, autograd and each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import Logistic, SquaredLoss
from steppe.networks import ShallowReLU
from steppe.training.batched import BatchedEngine
from steppe.training.closed_form import ClosedFormEngine, block_size
from steppe.training.plan import Plan

NAMES = ["w", "b", "v", "output_bias", "skip"]
law = settings(deadline=None, max_examples=40, derandomize=True)


def plan(**changes):
    options = {"step_size": 0.1, "steps": 1, "weight_decay": 0.0, "clip": None, "log_every": None} | changes
    return Plan.check(**options)


def problem(n, d, m, k, *, skip, dtype=torch.float64, seed=0, signs=False):
    rng = torch.Generator().manual_seed(seed)
    network = ShallowReLU(d, m, k, skip=skip, init="torch", seed=seed, dtype=dtype)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    y = torch.randn(n, k, generator=rng, dtype=torch.float64)
    return network, x.to(dtype), (y.sign() if signs else y).to(dtype)


def by_numpy(network, x, y, loss):
    engine = ClosedFormEngine(network, x, y, plan(), loss)
    value, n = engine.evaluate(), len(x)
    gradient = {
        "w": engine.gW[:-1, :-1] / n,
        "b": -engine.gW[:-1, -1] / n,
        "v": engine.gv[:, :-1] / n,
        "output_bias": engine.gv[:, -1] / n,
    }
    if network.skip is not None:
        gradient["skip"] = engine.gskip / n
    return value, {name: torch.from_numpy(g.copy()) for name, g in gradient.items()}


def by_batches(network, x, y, loss):
    engine = BatchedEngine([network], x[None], y[None], [plan()], loss)
    value = float(engine.evaluate()[0])
    gW, gv, gbeta, *rest = (g[0].detach() for g in engine.gradient)
    gradient = {"w": gW[:, :-1], "b": -gW[:, -1], "v": gv, "output_bias": gbeta[:, 0]}
    return value, gradient | ({"skip": rest[0]} if rest else {})


def by_autograd(network, x, y, loss):
    value = loss(network(x), y)
    names, parameters = zip(*network.named_parameters(), strict=True)
    return float(value.detach()), dict(zip(names, torch.autograd.grad(value, parameters), strict=True))


def agree(left, right, tolerance):
    assert math.isclose(left[0], right[0], rel_tol=10 * tolerance)
    assert left[1].keys() == right[1].keys()
    whole = torch.cat([g.flatten() for g in right[1].values()]).norm()  # for a part that happens to cancel
    for name, g in left[1].items():
        reference = right[1][name]
        assert (g - reference).norm() <= tolerance * max(reference.norm(), 0.05 * whole), name


@pytest.mark.parametrize("engine", [by_numpy, by_batches])
@pytest.mark.parametrize("loss", [SquaredLoss(), Logistic()], ids=["squared", "logistic"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("n", "d", "m"), [(1, 1, 1), (13, 5, 7), (2311, 3, 300)])
def test_gradients_agree_with_autograd(engine, loss, skip, k, dtype, tolerance, n, d, m):
    signs = isinstance(loss, Logistic)
    network, x, y = problem(n, d, m, k, skip=skip, dtype=dtype, signs=signs)
    reference = by_autograd(network.copy(dtype=torch.float64), x.double(), y.double(), loss)
    agree(engine(network, x, y, loss), reference, tolerance)


def test_the_largest_case_takes_several_blocks_and_a_shorter_last_one():
    size = block_size(2311, 300, 4)
    assert size < 2311
    assert 2311 % size != 0


@law
@given(
    n=st.integers(1, 9), d=st.integers(1, 4), m=st.integers(1, 6), k=st.integers(1, 3), skip=st.booleans(),
    seed=st.integers(0, 10_000),
)  # fmt: skip
def test_gradients_agree_on_any_shape(n, d, m, k, skip, seed):
    network, x, y = problem(n, d, m, k, skip=skip, seed=seed)
    reference = by_autograd(network, x, y, SquaredLoss())
    agree(by_numpy(network, x, y, SquaredLoss()), reference, 1e-11)
    agree(by_batches(network, x, y, SquaredLoss()), reference, 1e-11)


def test_gradient_by_brute_force():
    """Sums over samples and neurons, written out."""
    n, d, m, k = 5, 2, 3, 2
    network, x, y = problem(n, d, m, k, skip=True, seed=4)
    w, b, v = network.w.tolist(), network.b.tolist(), network.v.tolist()
    beta, c, X, Y = network.output_bias.tolist(), network.skip.tolist(), x.tolist(), y.tolist()
    want = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    loss = 0.0
    for xi, yi in zip(X, Y, strict=True):
        z = [sum(w[a][j] * xi[j] for j in range(d)) - b[a] for a in range(m)]
        for o in range(k):
            f = beta[o] + sum(c[o][j] * xi[j] for j in range(d)) + sum(v[o][a] * max(z[a], 0) for a in range(m))
            r = (f - yi[o]) / n
            loss += (f - yi[o]) ** 2 / (2 * n)
            want["output_bias"][o] += r
            for j in range(d):
                want["skip"][o, j] += r * xi[j]
            for a in range(m):
                want["v"][o, a] += r * max(z[a], 0)
                if z[a] > 0:
                    want["b"][a] -= r * v[o][a]
                    for j in range(d):
                        want["w"][a, j] += r * v[o][a] * xi[j]
    agree(by_numpy(network, x, y, SquaredLoss()), (loss, want), 1e-12)


def test_dead_and_boundary_neurons_have_no_gradient():
    # Neuron 0 is dead, neuron 1 is exactly at its threshold on the only active sample: 1[z > 0] is strict.
    network = ShallowReLU.from_weights([[1.0], [1.0]], [5.0, 1.0], [[2.0, 3.0]])
    x, y = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[4.0]], dtype=torch.float64)
    for engine in (by_numpy, by_batches):
        _, gradient = engine(network, x, y, SquaredLoss())
        assert not gradient["w"].any()
        assert not gradient["b"].any()
        assert not gradient["v"].any()
        assert gradient["output_bias"].item() == -4.0
