"""Robust training against CVXPY and against all corners; bounds on robust accuracy against a fine grid."""

from itertools import product

import cvxpy as cp
import numpy as np
import pytest
import torch

from steppe.core import DataError, ParameterError, ShapeError, UnknownNameError
from steppe.networks import ShallowReLU
from steppe.solvers import activation_patterns, robust_accuracy, solve_robust
from steppe.solvers.convex_programs_cone import sampled_program

LOSSES = {
    "hinge": lambda f, y: np.maximum(1 - y * f, 0),
    "squared": lambda f, y: 0.5 * np.square(f - y),
    "logistic": lambda f, y: np.logaddexp(0, -y * f),
}


def clusters(n=24, d=2, noise=0.2, seed=0):
    """Four clusters with the labels of XOR; further coordinates are noise."""
    rng = np.random.default_rng(seed)
    corners = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])[np.arange(n) % 4]
    X = np.column_stack([corners + noise * rng.uniform(-1, 1, (n, 2)), rng.normal(size=(n, d - 2))])
    return X, np.sign(corners[:, 0] * corners[:, 1]).astype(float)


def outputs(network, X):
    return network(torch.as_tensor(X)).detach().numpy()[:, 0]


def worst_over_corners(network, X, y, radius, fit):
    corners = np.array(list(product((-1, 1), repeat=X.shape[1]))) * radius
    return np.max([LOSSES[fit](outputs(network, X + corner), y) for corner in corners], axis=0)


@pytest.mark.parametrize(
    ("fit", "bias", "skip"),
    [
        ("hinge", "penalized", False),
        ("squared", "penalized", False),
        ("logistic", "penalized", True),
        ("hinge", "free", True),
    ],
)
def test_value_is_the_worst_case_over_all_corners_and_inside(fit, bias, skip):
    X, y = clusters()
    found = solve_robust(X, y, radius=0.3, alpha=0.01, fit=fit, bias=bias, skip=skip, patterns=12)
    worst = worst_over_corners(found.network, X, y, 0.3, fit)
    assert found.worst == pytest.approx(worst, abs=1e-6)
    assert found.value == pytest.approx(worst.mean() + 0.01 * found.solution.penalty, rel=1e-6)
    inside = np.random.default_rng(1).uniform(-0.3, 0.3, (40, *X.shape))
    assert max((LOSSES[fit](outputs(found.network, X + move), y) - worst).max() for move in inside) <= 1e-9


@pytest.mark.parametrize("fit", ["hinge", "squared", "logistic"])
def test_program_has_the_value_of_cvxpy(fit):
    X, y = clusters(16)
    radius, alpha = 0.2, 0.02
    found = solve_robust(X, y, radius=radius, alpha=alpha, fit=fit, patterns=8)
    Z = np.column_stack([X, -np.ones(len(X))])
    masks = np.column_stack([np.ones(len(X), dtype=bool), activation_patterns(Z, 8)])
    blocks = [(mask, sign, cp.Variable(3)) for mask in masks.T for sign in (1.0, -1.0)]
    constraints = [np.diag(2.0 * m - 1) @ Z @ u >= radius * cp.norm1(u[:2]) for m, _, u in blocks]
    f = sum(sign * np.diag(m.astype(float)) @ Z @ u for m, sign, u in blocks)
    slopes = [cp.norm1(sum(sign * float(m[i]) * u[:2] for m, sign, u in blocks)) for i in range(len(X))]
    move = radius * cp.hstack(slopes)
    margin = cp.multiply(y, f) - move
    loss = {
        "hinge": lambda: cp.pos(1 - margin),
        "squared": lambda: cp.square(cp.abs(f - y) + move) / 2,
        "logistic": lambda: cp.logistic(-margin),
    }[fit]()
    penalty = sum(cp.norm(u) for _, _, u in blocks)
    asked = cp.Problem(cp.Minimize(cp.sum(loss) / len(X) + alpha * penalty), constraints)
    assert found.value == pytest.approx(asked.solve(solver="CLARABEL"), rel=1e-5)


def test_without_adversary_it_is_the_sampled_program():
    X, y = clusters()
    found = solve_robust(X, y, radius=0.0, alpha=0.01, fit="squared", patterns=15)
    masks = np.unique(np.column_stack([np.ones(len(X), dtype=bool), activation_patterns(found.problem.Z, 15)]), axis=1)
    assert found.value == pytest.approx(sampled_program(found.problem, masks).value, rel=1e-6)
    assert found.value == pytest.approx(found.problem.primal(found.solution), rel=1e-9)


def test_a_stronger_adversary_costs_more():
    X, y = clusters()
    values = [solve_robust(X, y, radius=radius, alpha=0.01, patterns=15).value for radius in (0.0, 0.1, 0.3, 0.6)]
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_on_a_fine_grid(seed):
    """The grid is inside the box: what it turns is turned; what is proved it cannot turn."""
    network = ShallowReLU(2, 12, init="torch", seed=seed)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 2))
    y = np.sign(outputs(network, X) + 0.02 * rng.normal(size=60))
    found = robust_accuracy(network, X, y, radius=0.15)
    steps = np.linspace(-0.15, 0.15, 21)
    by_grid = np.any([y * outputs(network, X + np.array(move)) <= 0 for move in product(steps, steps)], axis=0)
    assert not (by_grid & found.proved).any()
    assert not (found.proved & found.turned).any()
    assert found.exact
    assert by_grid.sum() - 1 <= found.turned.sum()
    assert 0 < found.certified == found.attacked < found.clean <= 1
    assert f"{found.certified:.1%}" in str(found)


def test_a_single_neuron_is_decided_exactly():
    """relu(x) − 1 changes sign at x = 1: a sample at distance 0.25 is safe below that radius only."""
    network = ShallowReLU.from_weights([[1.0]], [0.0], [[1.0]], [-1.0])
    X, y = np.array([[1.25], [0.75]]), np.array([1.0, -1.0])
    assert robust_accuracy(network, X, y, radius=0.2499).certified == 1.0
    assert robust_accuracy(network, X, y, radius=0.2501).attacked == 0.0


def test_a_proof_without_budget_says_between():
    network = ShallowReLU(6, 200, init="he", seed=0)
    X = np.random.default_rng(0).normal(size=(40, 6))
    y = np.sign(outputs(network, X))
    found = robust_accuracy(network, X, y, radius=0.05, max_boxes=1)
    assert not found.exact
    assert found.certified < found.attacked
    assert "between" in str(found)
    more = robust_accuracy(network, X, y, radius=0.05, max_boxes=100)
    assert more.certified > found.certified
    assert more.boxes > found.boxes


@pytest.mark.door
def test_bad_input_is_refused():
    X, y = clusters()
    with pytest.raises(ParameterError, match="radius"):
        solve_robust(X, y, radius=-0.1, alpha=0.1)
    with pytest.raises(UnknownNameError, match="hinge"):
        solve_robust(X, y, radius=0.1, alpha=0.1, fit="huber")
    with pytest.raises(DataError, match="labels -1 and 1"):
        solve_robust(X, 2 * y, radius=0.1, alpha=0.1)
    with pytest.raises(ParameterError, match="one output"):
        solve_robust(X, np.column_stack([y, y]), radius=0.1, alpha=0.1, fit="squared")
    with pytest.raises(ParameterError, match="patterns="):
        solve_robust(np.random.default_rng(0).normal(size=(500, 20)), np.ones(500), radius=0.1, alpha=0.1, patterns=900)
    network = ShallowReLU(2, 3, outputs=2)
    with pytest.raises(ShapeError, match="one output"):
        robust_accuracy(network, X, y, radius=0.1)
    with pytest.raises(ShapeError, match=r"\[n, 3\]"):
        robust_accuracy(ShallowReLU(3, 3), X, y, radius=0.1)
    with pytest.raises(DataError, match="labels"):
        robust_accuracy(ShallowReLU(2, 3), X, 2 * y, radius=0.1)
