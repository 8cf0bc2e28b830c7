"""The choice of neurons against brute force and against what must hold for any data."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.solvers import minimum_group_norm
from steppe.solvers.compression_blocks import reduce_blocks, smallest_block_norm
from steppe.solvers.compression_methods import choose
from steppe.solvers.compression_selection import LayerProblem, backward_order, fewest, forward_order, numerical_rank


def problem(seed, rows=12, groups=6, size=1, outputs=2, used=None):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, groups * size))
    weights = rng.standard_normal((groups * size, outputs))
    if used is not None:
        weights.reshape(groups, -1)[[k for k in range(groups) if k not in used]] = 0.0
    targets = features @ weights
    return LayerProblem(features, targets, size, float(np.linalg.norm(targets)))


def smallest_by_enumeration(task, tolerance):
    for count in range(task.groups + 1):
        if any(task.refit(np.array(s, dtype=int))[1] <= tolerance for s in combinations(range(task.groups), count)):
            return count
    raise AssertionError("all neurons carry the targets")


@pytest.mark.parametrize("size", [1, 3])
def test_neurons_that_carry_the_targets_are_found(size):
    task = problem(0, rows=40, groups=12, size=size, used={1, 4, 7})
    assert fewest(task, 1e-10).tolist() == [1, 4, 7]


@pytest.mark.parametrize("size", [1, 2])
def test_close_to_the_fewest_by_enumeration(size):
    found, best = [], []
    for seed in range(12):
        task = problem(seed, rows=14, groups=7, size=size)
        for tolerance in (0.1, 0.3, 0.6):
            found.append(len(fewest(task, tolerance)))
            best.append(smallest_by_enumeration(task, tolerance))
    assert all(a >= b for a, b in zip(found, best, strict=True))
    assert np.mean(np.array(found) == best) >= 0.9


@pytest.mark.parametrize("size", [1, 2])
def test_orders_are_greedy(size):
    task = problem(3, rows=20, groups=5, size=size)
    forward = forward_order(task.features, task.targets, size)
    alone = [task.refit(np.array([k]))[1] for k in range(5)]
    assert forward[0] == int(np.argmin(alone))
    backward = backward_order(task.features, task.targets, size, np.arange(5))
    without = [task.refit(np.delete(np.arange(5), k))[1] for k in range(5)]
    assert backward[-1] == int(np.argmin(without))
    assert sorted(forward) == sorted(backward) == list(range(5))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 9),
    groups=st.integers(1, 7),
    size=st.integers(1, 3),
    outputs=st.integers(1, 4),
    kind=st.sampled_from(["random", "repeated", "zero", "tiny", "huge", "one"]),
    tolerance=st.sampled_from([1e-9, 1e-3, 0.3]),
    method=st.sampled_from(["fewest-neurons", "smallest-norm"]),
    seed=st.integers(0, 99),
)
def test_any_data_give_a_valid_choice(rows, groups, size, outputs, kind, tolerance, method, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, groups * size)) * {"tiny": 1e-100, "huge": 1e100}.get(kind, 1.0)
    if kind == "repeated":
        features[:] = features[:, :1]
    if kind == "zero":
        features[:] = 0.0
    weights = rng.standard_normal((groups * size, outputs))
    if kind == "one":
        weights[size:] = 0.0
    targets = features @ weights
    task = LayerProblem(features, targets, size, float(np.linalg.norm(targets)) or 1.0)
    found = choose(task, tolerance, method, np.ones(groups))
    assert found.residual <= tolerance * (1 + 1e-9)
    assert 1 <= len(found.neurons) <= groups
    assert len(set(found.neurons.tolist())) == len(found.neurons)
    assert len(found.weights) == len(found.neurons) * size
    if method == "fewest-neurons":
        assert len(found.neurons) <= max(1, numerical_rank(features))


@pytest.mark.parametrize("size", [1, 2])
def test_nearly_dependent_features_lose_no_neuron_that_is_needed(size):
    points = np.linspace(-1, 1, 30)
    features = np.tanh(np.outer(points, np.linspace(0.1, 2, 20 * size)) + np.linspace(-1, 1, 20 * size))
    targets = np.stack([np.sin(3 * points), points**2], axis=1)
    task = LayerProblem(features, targets, size, float(np.linalg.norm(targets)))
    for tolerance in (1e-9, 1e-5, 1e-2):
        found = choose(task, tolerance, "fewest-neurons", np.ones(20))
        if task.refit(np.arange(20))[1] <= tolerance:
            assert found.residual <= tolerance
            assert len(found.neurons) <= -(-task.feature_rank // size) + 2


def lengths(weights, size):
    return np.linalg.norm(weights.reshape(len(weights) // size, -1), axis=1)


@pytest.mark.parametrize(
    ("rows", "groups", "size", "tolerance"), [(30, 12, 3, 0.1), (20, 15, 2, 1e-3), (10, 8, 4, 0.3)]
)
def test_block_norm_is_the_smallest_by_an_independent_solver(rows, groups, size, tolerance):
    cvxpy = pytest.importorskip("cvxpy")
    task = problem(1, rows=rows, groups=groups, size=size, outputs=3)
    fit = smallest_block_norm(task.features, task.targets, size, tolerance=tolerance)
    assert np.linalg.norm(task.features @ fit.weights - task.targets) <= tolerance * task.scale * (1 + 1e-9)
    v = cvxpy.Variable(fit.weights.shape)
    norm = sum(cvxpy.norm(v[k * size : (k + 1) * size], "fro") for k in range(groups))
    near = cvxpy.norm(task.features @ v - task.targets, "fro") <= tolerance * task.scale
    best = cvxpy.Problem(cvxpy.Minimize(norm), [near]).solve(solver="CLARABEL")
    assert fit.norm == pytest.approx(lengths(fit.weights, size).sum())
    assert best * (1 - 1e-6) <= fit.norm <= best * (1 + 2e-3)
    assert fit.norm * (1 - fit.gap) <= best * (1 + 1e-6)


def test_with_one_column_the_block_norm_is_that_of_the_multi_task_lasso():
    task = problem(2, rows=15, groups=40, outputs=3)
    block = smallest_block_norm(task.features, task.targets, 1, tolerance=0.05)
    exact = minimum_group_norm(task.features, task.targets, tolerance=0.05)
    assert exact.penalty * (1 - 1e-6) <= block.norm <= exact.penalty * (1 + 2e-3)


@pytest.mark.parametrize("size", [1, 3])
def test_block_reduction_keeps_outputs_and_norm_and_merges_copies(size):
    task = problem(4, rows=20, groups=4, size=size, outputs=2)
    base = np.linalg.lstsq(task.features, task.targets, rcond=None)[0]
    features, weights = np.tile(task.features, 5), np.tile(base, (5, 1)) / 5
    reduced = reduce_blocks(features, weights, size)
    assert (lengths(reduced, size) > 0).sum() <= 4
    assert features @ reduced == pytest.approx(features @ weights, abs=1e-9)
    assert lengths(reduced, size).sum() <= lengths(weights, size).sum() * (1 + 1e-9)
