"""Degenerate data: the right answer, or a clear error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DataError, InputError, ParameterError
from steppe.solvers import VariationProblem, alpha_max, solve

VARIANTS = [("penalized", False), ("penalized", True), ("free", True)]


def spoiled(X, kind):
    """Data with one defect."""
    X = X.copy()
    if kind == "duplicates":
        X[len(X) // 2 :] = X[: len(X) - len(X) // 2]
    elif kind == "collinear":
        X[:, -1] = 2 * X[:, 0]
    elif kind == "constant column":
        X[:, 0] = 3.0
    elif kind == "integers":
        X = np.round(X)
    elif kind == "all equal":
        X[:] = X[0]
    return X


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 12),
    d=st.integers(1, 4),
    variant=st.sampled_from(VARIANTS),
    kind=st.sampled_from(["none", "duplicates", "collinear", "constant column", "integers", "all equal"]),
    ratio=st.sampled_from([0.01, 0.3, 1.5]),
)
def test_whatever_the_data_no_network_drawn_at_random_is_below_the_dual_value(seed, n, d, variant, kind, ratio):
    rng = np.random.default_rng(seed)
    X, y = spoiled(rng.normal(size=(n, d)), kind), rng.normal(size=n)
    bias, skip = variant
    problem = VariationProblem(X, y, alpha=1.0, bias=bias, skip=skip)
    problem = problem.with_alpha(ratio * (alpha_max(problem).value or 1.0))
    found = solve(problem, tol=1e-4, max_iter=40)
    certificate = found.certificate
    assert np.isfinite(certificate.primal)
    assert certificate.dual <= certificate.primal * (1 + 1e-9) + 1e-15
    assert certificate.primal <= problem.loss(0 * y) * (1 + 1e-12)
    if certificate.kind == "exact":
        shrunk = type(found.solution)(found.solution.u, 0.9 * found.solution.v, found.solution.beta)
        assert problem.primal(shrunk) >= certificate.dual - 1e-12


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_constant_targets_with_a_free_part_need_no_neuron(bias, skip):
    X = np.random.default_rng(0).normal(size=(20, 2))
    found = solve(VariationProblem(X, np.full(20, 2.5), alpha=0.01, bias=bias, skip=skip))
    if skip:
        assert found.solution.width == 0
        assert found.certificate.primal < 1e-25
    else:
        assert found.converged


@pytest.mark.parametrize(("bias", "skip"), VARIANTS)
def test_one_sample(bias, skip):
    found = solve(VariationProblem([[1.0, 2.0]], [3.0], alpha=0.1, bias=bias, skip=skip))
    if skip:
        assert found.certificate.primal < 1e-25
    else:  # one neuron along z = (1, 2, -1): size s minimises (3 - |z| s)^2 / 2 + 0.1 s
        z = np.sqrt(6.0)
        s = (3 * z - 0.1) / z**2
        assert found.certificate.primal == pytest.approx(0.5 * (3 - z * s) ** 2 + 0.1 * s, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_units_of_the_inputs_do_not_matter_where_the_bias_is_free(scale):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    values = []
    for size in (1.0, scale):
        problem = VariationProblem(size * X, y, alpha=0.05 * size)
        values.append(solve(problem, tol=1e-7).certificate.primal)
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_units_of_the_targets_do_not_matter(scale):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    values = []
    for size in (1.0, scale):
        problem = VariationProblem(X, size * y, alpha=0.05 * size, bias="penalized", skip=False)
        values.append(solve(problem, tol=1e-7).certificate.primal / size / size)
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_duplicates_are_weights():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(15, 2)), rng.normal(size=15)
    twice = VariationProblem(np.tile(X, (2, 1)), np.tile(y, 2), alpha=0.02, bias="penalized", skip=False)
    once = VariationProblem(X, y, alpha=0.02, bias="penalized", skip=False)
    values = [solve(problem, tol=1e-7).certificate.primal for problem in (once, twice)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_clear_errors():
    X, y = np.random.default_rng(0).normal(size=(10, 2)), np.arange(10.0)
    with pytest.raises(ParameterError, match="alpha"):
        VariationProblem(X, y, alpha=0.0)
    with pytest.raises(InputError, match="finite"):
        VariationProblem(X, np.where(y == 3, np.nan, y), alpha=0.1)
    labels = np.where(X[:, 0] > 0, 1.0, -1.0)
    separable = VariationProblem(X, labels, alpha=0.1, fit="logistic", bias="penalized", skip=True)
    with pytest.raises(DataError, match="separable"):
        solve(separable)
    with pytest.raises(DataError, match="separable"):
        alpha_max(separable)
    assert solve(VariationProblem(X, labels, alpha=0.1, fit="logistic", bias="penalized", skip=False)).converged
