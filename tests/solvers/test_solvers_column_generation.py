"""Column generation: the optimum over all patterns, two routes that agree, limits and optimality conditions."""

import itertools

import cvxpy
import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from steppe.solvers import Proof, VariationProblem, alpha_max, certify, exact_maximum, solve, solve_path
from steppe.solvers.column_generation import solve_columns
from steppe.solvers.oracle import Effort, local_maxima

VARIANTS = [("penalized", False), ("penalized", True), ("free", True)]


def ridge(n, d, *, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    W = rng.normal(size=(3, d))
    y = np.sin(X @ W[0]) + np.abs(X @ W[1]) + np.tanh(X @ W[2]) + noise * rng.normal(size=n)
    return X, (y - y.mean()) / y.std()


def stated(n, d, *, ratio=0.1, bias="penalized", skip=False, fit="squared", seed=0, weighted=False):
    X, y = ridge(n, d, seed=seed)
    if fit == "logistic":
        y = np.where(y + 0.5 * np.random.default_rng(5).normal(size=n) > 0, 1.0, -1.0)
    weights = np.random.default_rng(seed).uniform(0.2, 2, size=n) if weighted else None
    problem = VariationProblem(X, y, alpha=1.0, bias=bias, skip=skip, fit=fit, sample_weight=weights)
    return problem.with_alpha(ratio * alpha_max(problem).value)


def over_all_patterns(problem):
    """The optimum over every activation pattern of the plane, written with CVXPY."""
    rng = np.random.default_rng(0)
    U = rng.normal(size=(20_000, problem.d + 1))
    U[:, -1] *= 3
    patterns = np.unique(problem.Z @ U.T > 0, axis=1).T
    f, penalty, constraints = 0, 0, []
    beta = cvxpy.Variable(max(1, problem.free.shape[1]))
    if problem.skip:
        f = problem.free @ beta
    for active in patterns:
        for sign in (1.0, -1.0):
            u = cvxpy.Variable(problem.d + 1)
            f = f + sign * cvxpy.multiply(active.astype(float), problem.Z @ u)
            penalty = penalty + cvxpy.norm(u[: problem.d] if problem.bias == "free" else u)
            constraints.append(cvxpy.multiply(2.0 * active - 1, problem.Z @ u) >= 0)
    if problem.fit.name == "squared":
        loss = 0.5 * problem.weights @ cvxpy.square(f - problem.y)
    else:
        loss = problem.weights @ cvxpy.logistic(-cvxpy.multiply(problem.y, f))
    program = cvxpy.Problem(cvxpy.Minimize(loss + problem.alpha * penalty), constraints)
    program.solve(solver="CLARABEL")
    return program.value


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_it_reaches_the_optimum_over_all_patterns(bias, skip):
    problem = stated(8, 2, bias=bias, skip=skip, weighted=True)
    assert solve_columns(problem, tol=1e-9).certificate.primal == pytest.approx(over_all_patterns(problem), rel=1e-6)


@pytest.mark.slow
def test_it_reaches_the_logistic_optimum_over_all_patterns():
    problem = stated(8, 2, fit="logistic")
    assert solve_columns(problem, tol=1e-8).certificate.primal == pytest.approx(over_all_patterns(problem), rel=1e-6)


@pytest.mark.parametrize("bias", ["free", "penalized"])
@pytest.mark.parametrize("fit", ["squared", "logistic", "huber"])
def test_exact_gap_below_tolerance_in_the_plane(fit, bias):
    problem = stated(60, 2, fit=fit, bias=bias, skip=bias == "free", weighted=True)
    found = solve(problem, tol=1e-7)
    assert found.converged
    assert found.certificate.kind == "exact"
    assert 0 <= found.certificate.relative_gap <= 1e-7
    # The proof once more, from the network alone.
    rho = problem.rho(problem.evaluate(found.solution))
    again = certify(problem, found.solution, exact_maximum(problem, rho))
    assert again.relative_gap <= 1e-7


def test_both_routes_agree_in_one_dimension():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, size=60)
    problem = VariationProblem(x[:, None], np.sin(4 * x) + 0.1 * rng.normal(size=60), alpha=0.003)
    values = [solve(problem, method=m, tol=1e-9).certificate.primal for m in ("one-dimension", "column-generation")]
    assert values[0] == pytest.approx(values[1], rel=1e-8)


@pytest.mark.parametrize(
    ("alpha", "objective"), [(0.05 / 6, 0.374930556), (0.2 / 6, 1.1525), (1 / 6, 2.175781), (3 / 6, 2.365183)]
)
def test_known_values_in_one_dimension(alpha, objective):
    # Sum-of-squares convention there, means here: everything divided by six samples.
    x, y = np.array([0, 1, 2, 3.5, 4, 6]), np.array([0, 1, -0.5, 2, 2.5, 1])
    found = solve(VariationProblem(x[:, None], y, alpha=alpha), method="column-generation", tol=1e-9)
    assert 6 * found.certificate.primal == pytest.approx(objective, abs=1e-6)


def test_exclusive_or_tends_to_twice_the_root_of_two():
    X, y = np.array([[0.0, 0], [1, 1], [1, 0], [0, 1]]), np.array([0.0, 0, 1, 1])
    found = solve(VariationProblem(X, y, alpha=1e-6), tol=1e-6)
    assert found.solution.penalty == pytest.approx(2 * np.sqrt(2), abs=1e-3)
    np.testing.assert_allclose(VariationProblem(X, y, alpha=1.0).evaluate(found.solution), y, atol=1e-3)


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_at_alpha_max_no_neuron_is_used_and_below_it_one_is(bias, skip):
    problem = stated(50, 2, ratio=1.0, bias=bias, skip=skip)
    above = solve(problem.with_alpha(1.0001 * problem.alpha), tol=1e-9)
    assert above.solution.width == 0
    assert above.certificate.relative_gap <= 1e-9
    assert solve(problem.with_alpha(0.999 * problem.alpha), tol=1e-9).solution.width > 0


def test_small_alpha_interpolates():
    problem = stated(20, 3, ratio=1e-5)
    found = solve(problem, tol=1e-3)
    assert np.abs(problem.evaluate(found.solution) - problem.y).max() < 1e-3


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_optimality_conditions(bias, skip):
    problem = stated(80, 3, bias=bias, skip=skip)
    found = solve(problem, tol=1e-8)
    rho = -problem.weights * problem.fit.gradient(problem.evaluate(found.solution), problem.y)
    correlations = rho @ problem.features(found.solution.u)
    np.testing.assert_allclose(correlations, problem.alpha * np.sign(found.solution.v), rtol=1e-6)
    np.testing.assert_allclose(rho @ problem.free, 0.0, atol=1e-12)
    np.testing.assert_allclose(problem.penalty_norms(found.solution.u), 1.0, rtol=1e-12)


def test_history_falls_and_the_result_repeats():
    problem = stated(60, 4)
    first, second = solve(problem, tol=1e-6, seed=3), solve(problem, tol=1e-6, seed=3)
    primal = [row["primal"] for row in first.history]
    assert all(a >= b for a, b in itertools.pairwise(primal))
    np.testing.assert_array_equal(first.solution.u, second.solution.u)
    assert solve(problem, tol=1e-6, seed=4).certificate.primal == pytest.approx(first.certificate.primal, rel=1e-5)


def test_a_warm_start_takes_fewer_rounds_and_ends_at_the_same_value():
    problem = stated(80, 4, ratio=0.05)
    cold = solve(problem, tol=1e-6)
    near = solve(problem.with_alpha(1.2 * problem.alpha), tol=1e-6)
    warm = solve(problem, tol=1e-6, start=near.solution)
    assert warm.iterations < cold.iterations
    assert warm.certificate.primal == pytest.approx(cold.certificate.primal, rel=2e-6)
    assert solve(problem, tol=1e-6, start=cold.solution).iterations <= 3


def test_along_a_path_penalties_rise_and_losses_fall():
    problem = stated(60, 2, ratio=1.0)
    path = solve_path(problem, [problem.alpha * r for r in (0.5, 0.2, 0.1, 0.05)], tol=1e-6)
    penalties = [c.solution.penalty for c in path]
    losses = [problem.loss(problem.evaluate(c.solution)) for c in path]
    assert penalties == sorted(penalties)
    assert losses == sorted(losses, reverse=True)
    assert all(c.converged for c in path)


def test_limits_return_the_best_network_with_an_honest_gap():
    problem = stated(80, 5, ratio=0.05)
    optimum = solve(problem, tol=1e-7).certificate.primal
    rounds = solve(problem, tol=1e-7, max_iter=4)
    assert not rounds.converged
    assert "max_iter" in rounds.reason
    assert rounds.iterations == 4
    assert rounds.certificate.gap >= rounds.certificate.primal - optimum > 0
    clock = solve(problem, tol=1e-7, budget=0.01)
    assert not clock.converged
    assert "budget" in clock.reason


def test_proof_in_space_is_a_bound_and_none_if_not_wanted():
    problem = stated(60, 3)
    proved = solve(problem, tol=1e-3)
    assert proved.certificate.kind == "bound"
    assert proved.certificate.relative_gap <= 1e-3
    local = solve(problem, tol=1e-3, proof=Proof(max_cones=0))
    assert local.certificate.kind == "heuristic"
    assert local.certificate.primal == pytest.approx(proved.certificate.primal, rel=1e-3)


@pytest.mark.slow
def test_diabetes_reaches_the_value_of_the_facts_and_an_audit_finds_nothing():
    X, y = load_diabetes(return_X_y=True)
    X, y = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    problem = VariationProblem(X, y, alpha=1.0, bias="penalized", skip=False)
    problem = problem.with_alpha(0.05 * alpha_max(problem).value)
    found = solve(problem, tol=1e-6)
    assert found.certificate.relative_gap <= 1e-6
    assert found.certificate.primal <= 0.25934108 * (1 + 1e-8)
    rho = problem.rho(problem.evaluate(found.solution))
    audit = local_maxima(problem, rho, rng=np.random.default_rng(99), effort=Effort(5_000, 25, 100))
    assert audit.value <= problem.alpha * (1 + 1e-4)


@pytest.mark.slow
def test_twenty_thousand_samples_return_with_an_honest_gap():
    problem = stated(20_000, 8, ratio=0.05)
    found = solve(problem, tol=1e-3, max_iter=12)
    assert 0 <= found.certificate.relative_gap < 0.5
    assert found.certificate.primal < 0.5
