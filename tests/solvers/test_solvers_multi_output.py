import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import ParameterError
from steppe.solvers.multi_output import multi_output_alpha_max, multi_output_maximum, solve_multi_output
from steppe.solvers.problem import VariationProblem
from steppe.solvers.search_check import searched_correlation
from steppe.solvers.solve import solve

law = settings(max_examples=2, deadline=None)
seeds = st.integers(0, 10_000)
VARIANTS = [("penalized", False), ("penalized", True), ("free", True)]


def data(seed, n=24, d=2, outputs=3):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    Y = np.maximum(X @ rng.standard_normal((d, outputs)), 0.0) - 0.5 * np.abs(X[:, :1])
    return X, Y + 0.1 * rng.standard_normal(Y.shape)


def problem(X, Y, *, ratio=0.1, bias="penalized", skip=False, **options):
    base = VariationProblem(X, Y, alpha=1.0, bias=bias, skip=skip, **options)
    return base.with_alpha(ratio * multi_output_alpha_max(base).value)


def patterns(Z):
    """Every set of rows that a half-plane through the origin can hold."""
    normals = np.column_stack([-Z[:, 1], Z[:, 0]])
    angles = np.sort(np.concatenate([np.arctan2(m[:, 1], m[:, 0]) for m in (normals, -normals)]))
    middle = (angles + np.roll(angles, -1)) / 2
    middle[-1] += np.pi
    return {tuple(Z @ np.array([np.cos(t), np.sin(t)]) > 0) for t in middle}


def convex_optimum(Z, Y, alpha, directions):
    """The problem with output directions on a fine circle: a cone program over all patterns, an upper bound."""
    import cvxpy

    n = len(Z)
    fitted, penalty, constraints = 0, 0, []
    for pattern in patterns(Z):
        U = cvxpy.Variable((Z.shape[1], len(directions)))
        active = np.array(pattern, dtype=float)
        fitted = fitted + (active[:, None] * Z) @ U @ directions
        penalty = penalty + cvxpy.sum(cvxpy.norm(U, 2, axis=0))
        constraints.append(((2 * active - 1)[:, None] * Z) @ U >= 0)
    loss = cvxpy.sum_squares(Y - fitted) / (2 * n)
    return float(cvxpy.Problem(cvxpy.Minimize(loss + alpha * penalty), constraints).solve(solver=cvxpy.CLARABEL))


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_one_output_agrees_with_the_single_output_solver(bias, skip):
    X, Y = data(1, outputs=1)
    stated = problem(X, Y, bias=bias, skip=skip)
    ours, other = solve_multi_output(stated, tol=1e-6), solve(stated, method="column-generation", tol=1e-8)
    assert ours.converged
    assert ours.solution.v.ndim == 1
    assert ours.certificate.primal == pytest.approx(other.certificate.primal, rel=2e-6)
    assert ours.certificate.dual <= other.certificate.primal * (1 + 1e-9)


def test_a_tiny_problem_agrees_with_the_cone_program_over_all_patterns():
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((6, 1)), rng.standard_normal((6, 2))
    stated = problem(X, Y)
    ours = solve_multi_output(stated, tol=1e-7)
    angles = np.arange(48) * (2 * np.pi / 48)
    program = convex_optimum(stated.Z, Y, stated.alpha, np.column_stack([np.cos(angles), np.sin(angles)]))
    # Directions at most half a step off lengthen the penalty by at most 1/cos(half a step).
    assert ours.certificate.primal <= program * (1 + 1e-6)
    assert ours.certificate.primal >= program * np.cos(np.pi / 48) * (1 - 1e-6)
    assert ours.certificate.dual <= program


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_the_certificate_holds_and_a_harder_search_finds_no_more(bias, skip):
    X, Y = data(2, n=40, d=3)
    found = solve_multi_output(problem(X, Y, bias=bias, skip=skip), tol=1e-4)
    assert found.converged
    assert found.certificate.kind == "heuristic"
    assert found.certificate.relative_gap <= 1e-4
    assert found.certificate.verify(X, Y)
    assert not found.certificate.verify(X, Y[::-1].copy())
    theta = found.certificate.alpha / found.maximum.value
    stated = VariationProblem(X, Y, alpha=found.certificate.alpha, bias=bias, skip=skip)
    rho = stated.rho(stated.evaluate(found.solution))
    searched = searched_correlation(X, rho, bias=bias, rng=np.random.default_rng(9), known=found.solution.u)
    assert theta * searched <= found.certificate.alpha * (1 + 1e-3)
    assert multi_output_maximum(stated, rho, found.solution, 5).value == pytest.approx(found.maximum.value, rel=1e-3)


@law
@given(seed=seeds)
def test_rotating_the_outputs_leaves_the_objective_unchanged(seed):
    X, Y = data(seed, n=15)
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    stated = problem(X, Y)
    turned = VariationProblem(X, Y @ rotation, alpha=stated.alpha, bias="penalized", skip=False)
    one, other = solve_multi_output(stated), solve_multi_output(turned)
    slack = one.certificate.gap + other.certificate.gap + 1e-4 * one.certificate.primal
    assert abs(one.certificate.primal - other.certificate.primal) <= slack


def test_weights_of_samples_are_repetitions():
    X, Y = data(5, n=12)
    counts = np.array([1, 2, 3] * 4)
    stated = problem(np.repeat(X, counts, axis=0), np.repeat(Y, counts, axis=0), bias="free", skip=True)
    weighted = VariationProblem(X, Y, alpha=stated.alpha, sample_weight=counts)
    one, other = (solve_multi_output(p, tol=1e-6).certificate.primal for p in (stated, weighted))
    assert one == pytest.approx(other, rel=3e-6)


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_no_neuron_beyond_alpha_max_and_one_below(bias, skip):
    X, Y = data(6)
    assert solve_multi_output(problem(X, Y, ratio=1.001, bias=bias, skip=skip)).solution.width == 0
    assert solve_multi_output(problem(X, Y, ratio=0.98, bias=bias, skip=skip)).solution.width >= 1


def test_a_warm_start_at_the_answer_needs_one_round():
    stated = problem(*data(7))
    first = solve_multi_output(stated)
    again = solve_multi_output(stated, start=first.solution)
    assert again.iterations == 1
    assert again.certificate.primal <= first.certificate.primal * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["duplicates", "collinear", "constant", "one sample", "wide", "tiny", "huge", "equal"])
@pytest.mark.parametrize(("bias", "skip"), [pytest.param(*VARIANTS[0], marks=pytest.mark.slow), VARIANTS[2]])
def test_degenerate_data_give_a_certified_answer(kind, bias, skip):
    X, Y = data(8, n=10, d=3, outputs=2)
    if kind == "duplicates":
        X[5:], Y[5:] = X[:5], Y[:5]
    elif kind == "collinear":
        X = X[:, :1] * np.array([[1.0, 2.0, -1.0]])
    elif kind == "constant":
        X[:, 1] = 3.0
    elif kind == "one sample":
        X, Y = X[:1], Y[:1]
    elif kind == "wide":
        X = np.random.default_rng(0).standard_normal((5, 12))
        Y = Y[:5]
    elif kind == "equal":
        Y[:] = Y[0]
    scale = {"tiny": 1e-150, "huge": 1e150}.get(kind, 1.0)
    base = VariationProblem(X * scale, Y, alpha=1.0, bias=bias, skip=skip)
    alpha = 0.1 * multi_output_alpha_max(base).value or 0.1
    found = solve_multi_output(base.with_alpha(alpha))
    assert found.converged, found.reason
    if found.certificate.primal > 1e-25:  # below, the affine part fits exactly and the dual point is rounding
        assert found.certificate.verify(X * scale, Y)
    else:
        assert found.solution.width == 0


@pytest.mark.door
def test_other_fits_are_refused_with_the_remedy():
    stated = VariationProblem([[0.0], [1.0]], [1.0, -1.0], alpha=0.1, fit="logistic", bias="penalized", skip=False)
    with pytest.raises(ParameterError, match="fit the outputs one by one"):
        solve_multi_output(stated)


@pytest.mark.slow
def test_digits_to_a_gap_of_one_in_ten_thousand_with_few_neurons():
    from sklearn.datasets import load_digits

    X, labels = load_digits(return_X_y=True)
    X, Y = X[:600], np.eye(10)[labels[:600]]
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    found = solve_multi_output(problem(X, Y))
    assert found.certificate.relative_gap <= 1e-4
    assert found.solution.width <= 75
    assert found.certificate.verify(X, Y)
