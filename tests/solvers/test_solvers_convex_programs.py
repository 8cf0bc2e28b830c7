"""Sampled convex programs against CVXPY and against truth: all patterns, recovery, ADMM, gates."""

import cvxpy as cp
import numpy as np
import pytest

from steppe.core import KindError, ParameterError
from steppe.solvers import (
    HuberFit,
    Solution,
    VariationProblem,
    activation_patterns,
    solve_admm,
    solve_gated,
    solve_sampled_convex,
)
from steppe.solvers.convex_programs import recovered
from steppe.solvers.convex_programs_admm import sampled_program_by_admm
from steppe.solvers.convex_programs_cone import sampled_program
from steppe.solvers.convex_programs_gated import split_gates
from steppe.solvers.rigorous import Proof
from steppe.solvers.solve import solve

VARIANTS = [("penalized", False), ("penalized", True), ("free", True)]
FITS = [
    ("squared", "penalized", False),
    ("squared", "free", True),
    ("huber", "free", True),
    ("huber", "penalized", False),
    ("logistic", "penalized", True),
]


def problem_of(n=30, d=2, *, alpha=0.02, fit="squared", bias="penalized", skip=False, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.maximum(X @ rng.normal(size=d), 0) - 1.5 * np.maximum(X[:, 0] - 0.3, 0) + 0.3 * rng.normal(size=n)
    if fit == "logistic":
        y = np.where(y + rng.normal(size=n) > 0, 1.0, -1.0)
    weight = rng.uniform(0.5, 1.5, size=n)
    return VariationProblem(X, y, alpha=alpha, fit=fit, bias=bias, skip=skip, sample_weight=weight)


def by_cvxpy(problem, masks, *, cones=True):
    """The same program, written once more in CVXPY."""
    size = problem.Z.shape[1]
    measured = size if problem.bias == "penalized" else size - 1
    plus, minus = cp.Variable((masks.shape[1], size)), cp.Variable((masks.shape[1], size))
    beta = cp.Variable(problem.free.shape[1])
    f = problem.free @ beta if problem.skip else 0
    constraints = [] if cones else [minus == 0]
    for p, mask in enumerate(masks.T):
        f = f + np.diag(mask.astype(float)) @ problem.Z @ (plus[p] - minus[p])
        if cones:
            signed = np.diag(2.0 * mask - 1) @ problem.Z
            constraints += [signed @ plus[p] >= 0, signed @ minus[p] >= 0]
    residual = problem.y - f
    loss = {
        "squared": lambda: cp.square(residual) / 2,
        "huber": lambda: cp.huber(residual, problem.fit.parameters.get("delta", 1.0)) / 2,
        "logistic": lambda: cp.logistic(-cp.multiply(problem.y, f)),
    }[problem.fit.name]()
    penalty = sum(cp.norm(block[:measured]) for blocks in (plus, minus) for block in blocks)
    asked = cp.Problem(cp.Minimize(problem.weights @ loss + problem.alpha * penalty), constraints)
    return asked.solve(solver="CLARABEL")


@pytest.mark.parametrize(("fit", "bias", "skip"), FITS)
def test_program_has_the_value_of_cvxpy(fit, bias, skip):
    problem = problem_of(20, fit=HuberFit(0.3) if fit == "huber" else fit, bias=bias, skip=skip)
    masks = activation_patterns(problem.Z, 8, bias=bias)
    assert sampled_program(problem, masks).value == pytest.approx(by_cvxpy(problem, masks), rel=1e-6)


@pytest.mark.parametrize(("fit", "bias", "skip"), FITS)
def test_recovered_network_has_the_objective_of_the_program(fit, bias, skip):
    problem = problem_of(20, 3, fit=fit, bias=bias, skip=skip)
    answer = sampled_program(problem, activation_patterns(problem.Z, 12, bias=bias))
    solution = recovered(problem, answer)
    assert problem.primal(solution) == pytest.approx(answer.value, rel=1e-6)
    assert problem.evaluate(solution) == pytest.approx(answer.predictions, abs=1e-5)
    assert 0 < solution.width < 2 * 12


def test_recovered_network_is_balanced_and_has_the_decay_objective():
    problem = problem_of()
    solution = solve_sampled_convex(problem, patterns=20).solution
    network = solution.network(problem)
    decay = 0.5 * problem.alpha * sum(float(p.detach().square().sum()) for p in (network.w, network.b, network.v))
    assert problem.loss(problem.evaluate(solution)) + decay == pytest.approx(problem.primal(solution), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "d", "bias"), [(12, 1, "penalized"), (9, 2, "penalized"), (12, 1, "free"), (8, 2, "free")]
)
def test_with_all_patterns_the_program_is_the_problem(n, d, bias):
    problem = problem_of(n, d, alpha=0.003, bias=bias, skip=bias == "free", seed=3)
    everything = solve_sampled_convex(problem, patterns="all")
    best = solve(problem, tol=1e-7, proof=Proof(max_cones=0))
    assert everything.certificate.primal == pytest.approx(best.certificate.primal, rel=1e-6)
    assert everything.certificate.relative_gap <= 1e-5
    assert everything.certificate.dual <= everything.certificate.primal * (1 + 1e-6)
    assert solve_sampled_convex(problem, patterns=3).certificate.primal > best.certificate.primal * (1 + 1e-4)


def with_minus_ones(n, size):
    return np.column_stack([np.random.default_rng(n).normal(size=(n, size - 1)), -np.ones(n)])


@pytest.mark.parametrize(("n", "size"), [(1, 2), (7, 2), (2, 3), (11, 3)])
def test_all_patterns_are_as_many_as_theory_says(n, size):
    """2n cones in the plane, n(n − 1) + 2 in space (Schläfli); the pattern without an active sample is not listed."""
    z = with_minus_ones(n, size)
    masks = activation_patterns(z, "all")
    assert masks.shape == (n, (2 * n if size == 2 else n * (n - 1) + 2) - 1)
    assert len(np.unique(masks, axis=1).T) == masks.shape[1]
    sampled = {mask.tobytes() for mask in activation_patterns(z, 10_000).T}
    assert sampled <= {mask.tobytes() for mask in masks.T}
    assert len(sampled) >= 0.9 * masks.shape[1]


def test_all_patterns_with_repeated_samples_are_those_without():
    z = with_minus_ones(5, 3)
    masks = activation_patterns(np.concatenate([z, z[:2], 2 * z[2:3]]), "all")
    assert (masks[[0, 1, 2]] == masks[[5, 6, 7]]).all()
    assert masks.shape[1] == 5 * 4 + 2 - 1


@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_a_smaller_number_of_patterns_is_a_beginning_of_a_larger_one(bias):
    z = problem_of(50, 3).Z
    many = activation_patterns(z, 90, seed=4, bias=bias)
    assert (activation_patterns(z, 17, seed=4, bias=bias) == many[:, :17]).all()
    assert not (activation_patterns(z, 17, seed=5, bias=bias) == many[:, :17]).all()


@pytest.mark.parametrize("bias", ["penalized", "free"])
def test_more_patterns_never_raise_the_objective_and_never_pass_the_optimum(bias):
    problem = problem_of(25, 3, bias=bias, skip=bias == "free")
    values = [
        sampled_program(problem, activation_patterns(problem.Z, count, bias=bias)).value for count in (2, 5, 12, 30)
    ]
    assert np.diff(values).max() <= 1e-8
    assert values[0] > values[-1] * 1.05
    assert values[-1] >= solve(problem, tol=1e-6, proof=Proof(max_cones=0)).certificate.dual * (1 - 1e-9)


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_admm_agrees_with_the_interior_point(bias, skip):
    problem = problem_of(30, 2, bias=bias, skip=skip)
    masks = activation_patterns(problem.Z, 15, bias=bias)
    exact, found = sampled_program(problem, masks), sampled_program_by_admm(problem, masks, tol=1e-6)
    assert found.converged
    assert found.value == pytest.approx(exact.value, rel=1e-5)
    assert found.predictions == pytest.approx(exact.predictions, abs=1e-3)
    assert problem.primal(recovered(problem, found)) == pytest.approx(exact.value, rel=1e-4)


def test_admm_that_runs_out_says_so():
    problem = problem_of(60, 2)
    found = sampled_program_by_admm(problem, activation_patterns(problem.Z, 25), max_iter=50)
    assert not found.converged
    assert "still" in found.reason
    certified = solve_admm(problem, patterns=25, max_iter=50)
    assert "still" in certified.reason
    assert certified.history[0]["converged"] is False


def test_gated_relaxation_satisfies_its_optimality_conditions():
    """The group lasso: ‖Zᵀ D_p ρ‖ ≤ α, with equality and the block's direction where the block is not zero."""
    problem = problem_of(60, 3)
    masks = activation_patterns(problem.Z, 30)
    answer = sampled_program(problem, masks, cones=False)
    slopes = (masks.T * problem.rho(answer.predictions)) @ problem.Z
    assert np.linalg.norm(slopes, axis=1).max() <= problem.alpha * (1 + 1e-6)
    sizes = np.linalg.norm(answer.positive, axis=1)
    active = sizes > 1e-4
    assert active.any()
    directions = answer.positive[active] / sizes[active, None]
    assert np.abs(slopes[active] - problem.alpha * directions).max() <= 1e-6
    assert answer.value == pytest.approx(by_cvxpy(problem, masks, cones=False), rel=1e-6)


def test_gates_split_into_neurons_with_the_same_predictions():
    problem = problem_of(60, 3)
    masks = activation_patterns(problem.Z, 30)
    gates, cones = sampled_program(problem, masks, cones=False), sampled_program(problem, masks)
    split = split_gates(problem, masks, gates)
    solution = recovered(problem, split)
    assert problem.evaluate(solution) == pytest.approx(gates.predictions, abs=1e-5)
    assert problem.primal(solution) == pytest.approx(split.value, rel=1e-5)
    assert gates.value < cones.value < split.value
    signed = np.where(masks, 1.0, -1.0)
    for blocks in (split.positive, split.negative):
        assert (signed * (problem.Z @ blocks.T)).min() >= -1e-6


def test_with_all_gates_the_relaxation_is_a_lower_bound_and_says_so():
    problem = problem_of(9, 2)
    every, sampled = solve_gated(problem, patterns="all"), solve_gated(problem, patterns=5)
    best = solve(problem, tol=1e-6, proof=Proof(max_cones=0)).certificate.primal
    assert every.history[0]["program"] <= best * (1 + 1e-6) <= every.certificate.primal
    assert "no lower bound because its gates are sampled" in sampled.reason
    assert "no lower bound" not in every.reason


@pytest.mark.parametrize("method", [solve_sampled_convex, solve_admm, solve_gated])
def test_output_carries_the_common_certificate(method):
    problem = problem_of(40, 2)
    found = method(problem, patterns=20)
    best = solve(problem, tol=1e-6, proof=Proof(max_cones=0)).certificate
    certificate = found.certificate
    assert certificate.primal == problem.primal(found.solution)
    assert certificate.primal >= best.dual
    assert certificate.dual <= best.primal * (1 + 1e-9)
    assert not found.converged
    assert certificate.method == {"solve_sampled_convex": "sampled-convex"}.get(method.__name__, method.__name__[6:])


@pytest.mark.parametrize("method", [solve_sampled_convex, solve_admm, solve_gated])
def test_a_problem_in_other_units_has_the_same_solution(method):
    problem = problem_of(20, 2, bias="free", skip=True) if method is not solve_gated else problem_of(20, 2)
    inputs, targets = (2.0**40, 2.0**60) if method is not solve_gated else (1.0, 2.0**60)
    large = VariationProblem(
        problem.X * inputs, problem.y * targets, alpha=problem.alpha * inputs * targets, bias=problem.bias,
        skip=problem.skip, sample_weight=problem.weights,
    )  # fmt: skip
    here, there = method(problem, patterns=6), method(large, patterns=6)
    assert there.certificate.primal == pytest.approx(here.certificate.primal * targets**2, rel=1e-5)
    assert there.history[0]["program"] == pytest.approx(here.history[0]["program"] * targets**2, rel=1e-6)
    assert there.certificate.relative_gap == pytest.approx(here.certificate.relative_gap, rel=1e-3)


@pytest.mark.parametrize("method", ["sampled-convex", "admm", "gated"])
def test_methods_are_chosen_by_name(method):
    assert solve(problem_of(20, 1), method=method).certificate.method == method


def test_patterns_of_a_start_are_added():
    problem = problem_of(40, 2)
    best = solve(problem, tol=1e-6, proof=Proof(max_cones=0))
    started = solve_sampled_convex(problem, patterns=1, start=best.solution)
    assert started.certificate.primal <= best.certificate.primal * (1 + 1e-6)
    nothing = Solution(np.zeros((0, 3)), np.zeros(0))
    assert solve_sampled_convex(problem, patterns=5, start=nothing).certificate.primal > best.certificate.primal


@pytest.mark.parametrize("method", [solve_sampled_convex, solve_admm])
@pytest.mark.parametrize("bias", ["free", "penalized"])
def test_degenerate_data_give_an_honest_certificate(method, bias):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 2)), np.abs(rng.normal(size=10))
    skip = bias == "free"
    cases = {
        "no neuron pays": (X, y, 50.0),
        "zero labels": (X, 0 * y, 0.1),
        "constant labels": (X, 0 * y + 3, 0.1),
        "one sample": (X[:1], y[:1], 0.1),
        "repeated": (np.repeat(X, 2, axis=0), np.repeat(y, 2), 0.01),
        "constant column": (np.column_stack([X, np.ones(10)]), y, 0.01),
        "n < d": (rng.normal(size=(3, 6)), y[:3], 0.01),
        "tiny": (X * 1e-150, y, 1e-152),
        "huge": (X * 1e150, y * 1e150, 1e298),
    }
    for name, (inputs, targets, alpha) in cases.items():
        problem = VariationProblem(inputs, targets, alpha=alpha, bias=bias, skip=skip)
        found = method(problem, patterns=8, **({"max_iter": 300} if method is solve_admm else {}))
        certificate = found.certificate
        assert np.isfinite(certificate.primal), name
        assert certificate.dual <= certificate.primal * (1 + 1e-9) + 1e-300, name
        assert certificate.primal <= problem.loss(np.zeros_like(problem.y)) * (1 + 1e-3) + 1e-25, name
        if name in ("no neuron pays", "zero labels"):
            assert found.solution.width == 0, name


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        ({"fit": "logistic"}, {"method": solve_admm}, ParameterError, "squared"),
        ({"bias": "free", "skip": True}, {"method": solve_gated}, ParameterError, "penalized"),
        ({"d": 4}, {"patterns": "all"}, ParameterError, "patterns=100"),
        ({}, {"patterns": 0}, ParameterError, "patterns"),
        ({}, {"patterns": 2.5}, KindError, "patterns"),
        ({"n": 3000, "d": 10}, {"patterns": 10_000}, ParameterError, "coefficients"),
    ],
)
@pytest.mark.door
def test_what_does_not_fit_is_refused_with_a_remedy(change, options, error, words):
    method = options.pop("method", solve_sampled_convex)
    with pytest.raises(error, match=words):
        method(problem_of(**change), **options)


def test_several_outputs_are_refused():
    problem = VariationProblem(np.eye(3), np.eye(3), alpha=0.1)
    with pytest.raises(ParameterError, match="multi-output"):
        solve_sampled_convex(problem)
