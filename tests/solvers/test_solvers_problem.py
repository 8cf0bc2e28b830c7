"""The problem: its primal and dual values, free part, scales and what it refuses."""

import numpy as np
import pytest

from steppe.core import DataError, KindError, ParameterError, ShapeError
from steppe.solvers import HuberFit, Maximum, Solution, VariationProblem, certify, rescaled

VARIANTS = [("free", True), ("penalized", False), ("penalized", True)]


def data(seed=0, n=40, d=3, fit="squared", outputs=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = rng.normal(size=n if outputs is None else (n, outputs))
    return X, (np.sign(y) if fit == "logistic" else y)


def some_solution(problem, seed=0, k=5):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(k, problem.d + 1))
    u /= problem.penalty_norms(u)[:, None]
    shape = () if problem.y.ndim == 1 else (problem.outputs,)
    beta = rng.normal(size=(problem.d + 1, *shape)) if problem.skip else None
    return Solution(u, rng.normal(size=(k, *shape)), beta)


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
@pytest.mark.parametrize("outputs", [None, 4])
def test_network_computes_the_same_function_and_comes_back(bias, skip, outputs):
    X, y = data(outputs=outputs)
    problem = VariationProblem(X, y, alpha=0.1, bias=bias, skip=skip)
    solution = some_solution(problem)
    network = solution.network(problem)
    out = network(__import__("torch").from_numpy(X)).detach().numpy()
    f = problem.evaluate(solution)
    np.testing.assert_allclose(out.reshape(f.shape), f, rtol=1e-12, atol=1e-12)
    back = Solution.from_network(network, problem)
    assert problem.primal(back) == pytest.approx(problem.primal(solution), rel=1e-13)
    assert back.penalty == pytest.approx(solution.penalty, rel=1e-13)


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
@pytest.mark.parametrize("sx", [1.0, 1e150, 1e-150])
@pytest.mark.parametrize("sy", [1.0, 1e150, 1e-150])
def test_rescaling_changes_no_relative_number(bias, skip, sx, sy):
    X, y = data(1)
    problem = VariationProblem(X * sx, y * sy, alpha=0.1 * sy * max(sx, 1e-150), bias=bias, skip=skip)
    small, scales = rescaled(problem)
    assert np.abs(small.y).max() < 1e3
    assert np.abs(small.Z).max() < 1e3
    solution = some_solution(small)
    back = scales.solution(solution)
    np.testing.assert_allclose(problem.penalty_norms(back.u), 1.0, rtol=1e-12)
    np.testing.assert_allclose(problem.evaluate(back) / scales.targets, small.evaluate(solution), rtol=1e-9, atol=1e-9)
    assert problem.primal(back) / scales.targets / scales.targets == pytest.approx(small.primal(solution), rel=1e-9)


@pytest.mark.parametrize("fit", ["squared", "logistic", "huber"])
@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_affine_start_is_stationary_and_the_gap_is_never_negative(fit, bias, skip):
    X, y = data(2, fit=fit)
    problem = VariationProblem(X, y, alpha=0.1, fit=fit, bias=bias, skip=skip)
    beta = problem.affine_start()
    start = Solution(np.zeros((0, 4)), np.zeros(0), beta if skip else None)
    f = problem.evaluate(start)
    slope = problem.free.T @ (problem.weights * problem.fit.gradient(f, problem.y))
    assert np.abs(slope).max(initial=0.0) < 1e-9
    upper = float(np.abs(problem.rho(f)).sum() * np.linalg.norm(problem.Z, axis=1).max() * 10)
    certificate = certify(problem, start, Maximum(upper, np.zeros(4), upper, "bound", np.zeros((0, 4))))
    assert 0 <= certificate.gap <= certificate.primal
    assert certificate.upper <= problem.alpha * (1 + 1e-12)


def test_weights_of_two_are_repetition_and_weights_of_zero_are_removal():
    X, y = data(3, n=12)
    weight = np.array([0.0, 2.0, *np.ones(10)])
    weighted = VariationProblem(X, y, alpha=0.1, sample_weight=weight)
    repeated = VariationProblem(np.vstack([X[1:], X[1:2]]), np.append(y[1:], y[1]), alpha=0.1)
    solution = some_solution(weighted)
    assert weighted.n == 11
    assert weighted.primal(solution) == pytest.approx(repeated.primal(solution), rel=1e-13)
    np.testing.assert_allclose(weighted.affine_start(), repeated.affine_start(), rtol=1e-10)


@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"X": [[np.nan], [1.0]]}, DataError, "finite"),
        ({"X": [1.0, 2.0]}, ShapeError, "one row per sample"),
        ({"X": np.zeros((0, 1)), "y": []}, DataError, "at least one row"),
        ({"X": [[1j], [0]]}, KindError, "real numbers"),
        ({"X": [["a"], ["b"]]}, KindError, "real numbers"),
        ({"X": [[1.0], [2.0, 3.0]]}, ShapeError, "unequal"),
        ({"y": [1.0]}, ShapeError, "one target per row"),
        ({"alpha": 0.0}, ParameterError, "alpha"),
        ({"alpha": np.inf}, ParameterError, "alpha"),
        ({"skip": False}, ParameterError, "skip"),
        ({"fit": "logistic"}, DataError, "labels -1 and 1"),
        ({"fit": "logistic", "y": [1.0, 1.0]}, DataError, "both labels"),
        ({"y": [[1.0, 2.0], [3.0, 4.0]], "fit": "huber"}, ParameterError, "several outputs"),
        ({"sample_weight": [1.0, -1.0]}, DataError, "≥ 0"),
        ({"sample_weight": [1.0]}, ShapeError, "one weight per sample"),
    ],
)
def test_bad_input_is_refused_in_words(arguments, error, words):
    given = {"X": [[1.0], [2.0]], "y": [0.0, 2.0], "alpha": 0.1} | arguments
    with pytest.raises(error, match=words):
        VariationProblem(given.pop("X"), given.pop("y"), **given)


def test_separable_labels_with_a_free_affine_part_are_refused():
    problem = VariationProblem([[0.0], [1.0], [2.0]], [-1.0, 1.0, 1.0], alpha=0.1, fit="logistic")
    with pytest.raises(DataError, match='bias="penalized"'):
        problem.affine_start()


@pytest.mark.parametrize("fit", ["squared", "huber"])
@pytest.mark.parametrize("X", [np.ones((1, 1)), np.ones((5, 2)), np.eye(3, 7), np.repeat(np.eye(2), 4, axis=0)])
def test_degenerate_data_have_an_affine_start(fit, X):
    y = np.arange(len(X), dtype=float)
    problem = VariationProblem(X, y, alpha=0.1, fit=HuberFit(0.5) if fit == "huber" else fit)
    f = problem.evaluate(Solution(np.zeros((0, problem.d + 1)), np.zeros(0), problem.affine_start()))
    assert np.isfinite(f).all()
    slope = problem.free.T @ (problem.weights * problem.fit.gradient(f, problem.y))
    assert np.abs(slope).max() < 1e-7
