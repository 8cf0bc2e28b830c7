"""One call for every problem: the choice of the method, limits, alpha_max and what is refused."""

import numpy as np
import pytest

from steppe.core import DataError, ParameterError, UnknownNameError
from steppe.solvers import Proof, VariationProblem, alpha_max, solve, solve_path


def problem_of(n=30, d=2, **options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    return VariationProblem(X, np.abs(X[:, 0]) + 0.1 * rng.normal(size=n), alpha=0.02, **options)


def test_the_method_suits_the_problem():
    assert solve(problem_of(d=1)).certificate.method == "one-dimension"
    assert solve(problem_of(d=1, bias="penalized", skip=False)).certificate.method == "column-generation"
    assert solve(problem_of()).certificate.method == "column-generation"


def test_what_cannot_be_served_is_refused():
    with pytest.raises(ParameterError, match="tol"):
        solve(problem_of(), tol=0.0)
    with pytest.raises(ParameterError, match="max_iter"):
        solve(problem_of(), max_iter=0)
    rng = np.random.default_rng(0)
    several = VariationProblem(rng.normal(size=(9, 2)), rng.normal(size=(9, 3)), alpha=0.1)
    with pytest.raises(ParameterError, match="multi-output"):
        solve(several, method="column-generation")
    with pytest.raises(ParameterError, match="alphas"):
        solve_path(problem_of(), [])


def test_alpha_max_says_how_far_it_is_proved():
    exact = alpha_max(problem_of())
    assert exact.error_kind == "bound"
    assert exact.error <= 1e-8 * exact.value
    local = alpha_max(problem_of(), proof=Proof(max_cones=0))
    assert local.error_kind == "none"
    assert local.value == pytest.approx(exact.value, rel=1e-9)
    assert alpha_max(problem_of(n=2, d=4)).value == 0.0


@pytest.mark.door
def test_an_unknown_method_is_refused():
    with pytest.raises(UnknownNameError, match="method"):
        solve(problem_of(), method="magic")


def test_progress_is_told():
    told = []
    solve(problem_of(), tol=1e-6, progress=lambda done, total, text: told.append(text))
    assert told
    assert "neurons" in told[-1]


def test_what_would_take_hours_is_refused_with_the_remedy():
    X = np.zeros((200_000, 5))
    problem = VariationProblem(X, np.zeros(200_000), alpha=0.1, bias="penalized", skip=False)
    with pytest.raises(DataError, match=r"serves up to 1.000.000 entries .*method=\"weight-decay\""):
        solve(problem)
