"""The master programs: the interior point, the sizes, merging and polishing, against CVXPY and by their laws."""

import cvxpy
import numpy as np
import pytest

from steppe.solvers import HuberFit, LogisticFit, SquaredFit
from steppe.solvers.cone_program import ConeProgram
from steppe.solvers.master import free_part_refitted, optimal_in_cones, optimal_sizes
from steppe.solvers.merging import merged, oriented
from steppe.solvers.neuron_set import ConeData, NeuronSet, empty_set
from steppe.solvers.polishing import polished, slid


def cone_data(n=40, d=2, *, skip=False, fit=None, seed=0, alpha=0.05, free=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.maximum(X[:, 0], 0) - np.abs(X[:, 1]) + 0.3 * rng.normal(size=n)
    if isinstance(fit, LogisticFit):
        y = np.where(y > np.median(y), 1.0, -1.0)
    Q = np.linalg.qr(np.c_[X, np.ones(n)])[0] if skip or free else np.zeros((n, 0))
    weights = rng.uniform(0.5, 1.5, size=n)
    Z = np.c_[X, -np.ones(n)]
    return ConeData(Z, y, weights / weights.sum(), Q, fit or SquaredFit(), alpha, d if free else d + 1)


def some_neurons(data, k=6, seed=1):
    u = np.random.default_rng(seed).normal(size=(k, data.Z.shape[1]))
    return NeuronSet(0.1 * u, np.where(np.arange(k) % 2, 1.0, -1.0), np.zeros(data.Q.shape[1]))


def by_cvxpy(data, neurons, *, cones=True):
    """The same program, written with CVXPY."""
    active = data.Z @ neurons.u.T > 0
    k, D = neurons.u.shape
    beta = cvxpy.Variable(max(1, data.Q.shape[1]))
    f = data.Q @ beta if data.Q.shape[1] else 0
    constraints = []
    if cones:
        u = cvxpy.Variable((k, D))
        penalty = sum(cvxpy.norm(u[j, : data.penalised]) for j in range(k))
        for j in range(k):
            f = f + neurons.sign[j] * cvxpy.multiply(active[:, j].astype(float), data.Z @ u[j])
            constraints.append(cvxpy.multiply(2.0 * active[:, j] - 1, data.Z @ u[j]) >= 0)
    else:
        c = cvxpy.Variable(k, nonneg=True)
        f = f + (np.maximum(data.Z @ neurons.u.T, 0) * neurons.sign) @ c
        penalty = data.sizes(neurons.u) @ c
    if data.fit.name == "squared":
        loss = 0.5 * data.weights @ cvxpy.square(f - data.y)
    elif data.fit.name == "logistic":
        loss = data.weights @ cvxpy.logistic(-cvxpy.multiply(data.y, f))
    else:
        loss = 0.5 * data.weights @ cvxpy.huber(f - data.y, data.fit.delta)
    program = cvxpy.Problem(cvxpy.Minimize(loss + data.alpha * penalty), constraints)
    program.solve(solver="CLARABEL")
    return program.value


@pytest.mark.parametrize(("skip", "free"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("fit", [SquaredFit(), LogisticFit(), HuberFit(0.3)], ids=lambda fit: fit.name)
def test_neurons_move_to_the_optimum_of_their_cones(fit, skip, free):
    data = cone_data(skip=skip, fit=fit, free=free)
    neurons = some_neurons(data)
    rng = np.random.default_rng(0)
    start = NeuronSet(neurons.u, neurons.sign, free_part_refitted(data, neurons).beta)
    found = start
    for _ in range(10):  # the loss of the last two is quadratic only near a point
        found = optimal_in_cones(data, NeuronSet(found.u, found.sign, found.beta), rng, newton=20)
        if fit.name == "squared":
            break
    expected = by_cvxpy(data, neurons)
    assert found.objective(data) <= expected + 1e-6
    if fit.name == "squared":
        assert found.objective(data) == pytest.approx(expected, abs=1e-7)
        active, after = data.Z @ neurons.u.T > 0, data.Z @ found.u.T
        assert np.where(active, after, -after).min() > -1e-9


@pytest.mark.parametrize("skip", [False, True])
def test_sizes_are_those_of_a_nonnegative_lasso(skip):
    data = cone_data(skip=skip)
    neurons = some_neurons(data, k=12)
    found = optimal_sizes(data, neurons)
    assert found.objective(data) == pytest.approx(by_cvxpy(data, neurons, cones=False), abs=1e-7)
    assert len(found) < 12


def test_a_lasso_of_no_use_drops_every_neuron():
    data = cone_data(alpha=1e3, skip=True)
    found = optimal_sizes(data, some_neurons(data))
    assert len(found) == 0
    assert found.objective(data) == pytest.approx(free_part_refitted(data, empty_set(data)).objective(data), rel=1e-12)


def test_interior_point_meets_its_tolerance_and_keeps_every_row():
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(30, 12))
    rows = rng.normal(size=(4, 7, 3))
    rows *= np.sign(np.einsum("krd,kd->kr", rows, np.ones((4, 3))))[:, :, None]
    answer = ConeProgram(factor.T @ factor, rng.normal(size=12), rows, 0.3, 3).solve(np.ones((4, 3)), np.zeros(0))
    assert answer.error < 1e-7
    assert np.einsum("krd,kd->kr", rows, answer.u).min() > -1e-9
    assert (answer.slack > 0).all()
    assert (answer.multiplier > 0).all()


@pytest.mark.parametrize("skip", [False, True])
def test_merging_changes_neither_function_nor_raises_the_penalty(skip):
    data = cone_data(skip=skip)
    rng = np.random.default_rng(0)
    base = some_neurons(data, k=3)
    close = np.concatenate([base.u, base.u * rng.uniform(0.5, 2, size=(3, 1)), base.u + 1e-9 * rng.normal(size=(3, 3))])
    neurons = NeuronSet(close, np.tile(base.sign, 3), base.beta)
    found = merged(data, neurons)
    assert len(found) == 3
    np.testing.assert_allclose(found.outputs(data), neurons.outputs(data), atol=1e-8)
    assert found.objective(data) <= neurons.objective(data) + 1e-9


def test_neurons_that_point_in_opposite_directions_merge_where_affine_functions_are_free():
    data = cone_data(skip=True)
    u = np.array([[1.0, 0.5, 0.2]])
    neurons = NeuronSet(np.concatenate([u, -2 * u]), np.ones(2), np.zeros(3))
    found = merged(data, neurons)
    assert len(found) == 1
    np.testing.assert_allclose(found.outputs(data), neurons.outputs(data), atol=1e-12)
    assert ((data.Z @ found.u.T > 0).sum(axis=0) <= len(data.Z) / 2).all()
    np.testing.assert_allclose(oriented(data, neurons).outputs(data), neurons.outputs(data), atol=1e-12)


def test_neurons_of_opposite_sign_do_not_merge():
    data = cone_data()
    u = np.array([[1.0, 0.5, 0.2]])
    assert len(merged(data, NeuronSet(np.concatenate([u, u]), np.array([1.0, -1.0]), np.zeros(0)))) == 2


def test_polishing_and_sliding_never_raise_the_objective_and_end_stationary():
    data = cone_data()
    start = optimal_sizes(data, some_neurons(data, k=10))
    moved = slid(data, start, steps=30)
    assert moved.objective(data) < start.objective(data)
    inside = optimal_in_cones(data, merged(data, moved), np.random.default_rng(0))
    end = polished(data, inside)
    assert end.objective(data) <= inside.objective(data)
    # Sizes are optimal along every neuron: rho' relu(Z u) = alpha ||u||.
    f = end.outputs(data)
    correlation = end.sign * (data.rho(f) @ np.maximum(data.Z @ end.u.T, 0)) / data.sizes(end.u)
    np.testing.assert_allclose(correlation, data.alpha, rtol=1e-8)
