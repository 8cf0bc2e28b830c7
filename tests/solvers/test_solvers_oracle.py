"""The local oracle: what it finds is a local maximum, and on small problems the largest there is."""

import numpy as np
import pytest

from steppe.solvers import VariationProblem, exact_maximum
from steppe.solvers.climbing import Climber
from steppe.solvers.oracle import FULL, QUICK, WIDE, Effort, ascend, distinct, local_maxima, starting_points


def case(n, d, *, free, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    rho = rng.normal(size=n) / n
    basis = np.linalg.qr(np.c_[X, np.ones(n)])[0]
    for _ in range(2):
        rho = rho - basis @ (basis.T @ rho)
    return X, np.c_[X, -np.ones(n)], rho, d if free else d + 1


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("n", "d"), [(30, 1), (60, 2)])
def test_many_starts_find_the_exact_maximum(n, d, free):
    for seed in range(4):
        X, _, rho, _ = case(n, d, free=free, seed=seed)
        problem = VariationProblem(X, rho, alpha=1e-9, bias="free" if free else "penalized", skip=True)
        exact = exact_maximum(problem, problem.project_free(rho))
        found = local_maxima(problem, problem.project_free(rho), rng=np.random.default_rng(seed), effort=WIDE)
        assert found.kind == "heuristic"
        assert found.value == pytest.approx(exact.value, rel=1e-9)
        assert found.value <= exact.upper


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("n", "d"), [(50, 2), (80, 5), (60, 12)])
def test_a_climb_ends_where_no_small_step_goes_up(n, d, free):
    _, Z, rho, p = case(n, d, free=free)
    climber, rng = Climber(Z, rho, p), np.random.default_rng(1)
    for _ in range(10):
        start = rng.normal(size=d + 1)
        start /= np.linalg.norm(start[:p])
        u = climber.climb(start)
        assert np.linalg.norm(u[:p]) == pytest.approx(1, rel=1e-12)
        value = climber.value(u)
        assert value >= climber.value(start) - 1e-15
        near = u + 1e-4 * rng.normal(size=(300, d + 1))
        near /= np.linalg.norm(near[:, :p], axis=1)[:, None]
        assert (rho @ np.maximum(Z @ near.T, 0)).max() <= value + 1e-12


def test_a_climb_lands_on_kinks_to_rounding():
    _, Z, rho, p = case(80, 5, free=False)
    rng = np.random.default_rng(0)
    margins = [np.sort(np.abs(Z @ Climber(Z, rho, p).climb(rng.normal(size=6))))[:2] for _ in range(10)]
    assert np.median(margins) < 1e-14


def test_ascent_never_goes_down_and_starts_have_norm_one():
    for free in (False, True):
        _, Z, rho, p = case(60, 3, free=free)
        U = starting_points(Z, p, np.random.default_rng(0), gaussian=20, planes=10)
        np.testing.assert_allclose(np.linalg.norm(U[:, :p], axis=1), 1.0)
        before = np.abs(rho @ np.maximum(Z @ U.T, 0))
        W, values = ascend(Z, rho, U, p, steps=20)
        np.testing.assert_allclose(np.linalg.norm(W[:, :p], axis=1), 1.0)
        assert (np.abs(values) >= before - 1e-6 * before.max()).all()


def test_known_neurons_are_never_forgotten():
    X, Z, rho, _ = case(60, 4, free=False)
    problem = VariationProblem(X, rho, alpha=1e-9, bias="penalized", skip=True)
    rng = np.random.default_rng(0)
    best = local_maxima(problem, rho, rng=rng, effort=WIDE)
    again = local_maxima(problem, rho, rng=rng, known=best.unit[None], effort=Effort(1, 1, 1, exact=False))
    assert again.value >= best.value * (1 - 1e-12)
    assert best.value == pytest.approx(abs(rho @ np.maximum(Z @ best.unit, 0)), rel=1e-12)


def test_distinct_keeps_the_best_of_a_cluster_and_both_signs():
    U = np.array([[1.0, 0.0], [1.0, 1e-4], [0.0, 1.0], [1.0, 0.0]])
    values = np.array([1.0, 2.0, 0.5, -1.5])
    assert distinct(U, values, limit=9, cosine=0.99).tolist() == [1, 3, 2]
    assert distinct(U, values, limit=1, cosine=0.99).tolist() == [1]


def test_effort_shrinks_with_small_and_with_large_problems():
    assert WIDE.within(10, 2).starts == 64 + 80
    assert WIDE.within(20_000, 9).starts < FULL.starts * 4
    assert QUICK.within(400, 10) == QUICK


@pytest.mark.parametrize("bias", ["free", "penalized"])
def test_extreme_units_change_nothing(bias):
    X, _, rho, _ = case(40, 2, free=True)
    values = []
    for scale, size in [(1.0, 1.0), (2.0**400, 2.0**-300)]:
        problem = VariationProblem(X * scale, rho * size, alpha=1e-9, bias=bias, skip=True)
        found = local_maxima(problem, problem.project_free(rho * size), rng=np.random.default_rng(0))
        values.append(found.value / scale / size)
    if bias == "free":
        assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert np.isfinite(values).all()
