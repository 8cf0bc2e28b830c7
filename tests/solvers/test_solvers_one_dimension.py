"""The exact solver for one input, against known answers, independent solvers, brute force and laws."""

from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso

from steppe.core import DataError, ParameterError
from steppe.solvers import VariationProblem, one_dimension_master
from steppe.solvers.one_dimension import one_dimension_maximum, solve_one_dimension, solve_one_dimension_path
from steppe.solvers.one_dimension_fit import (
    dual_function,
    fit_one_dimension,
    fit_one_dimension_path,
    interpolate_one_dimension,
    one_dimension_alpha_max,
    peaks,
)

X = np.array([0, 1, 2, 3.5, 4, 6.0])
Y = np.array([0, 1, -0.5, 2, 2.5, 1.0])


def noisy(n: int, seed: int = 0, *, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, n)
    return x, np.sin(6 * x) + spread * rng.standard_normal(n)


def objective(
    x: np.ndarray, y: np.ndarray, alpha: float, values: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """At a function given by its values at the data, joined by lines: written here without the solver."""
    weights = np.full(x.size, 1 / x.size) if weights is None else weights / weights.sum()
    at, first = np.unique(x, return_index=True)
    slopes = np.diff(values[first]) / np.diff(at)
    return 0.5 * float(weights @ (y - values) ** 2) + alpha * float(np.abs(np.diff(slopes)).sum())


@pytest.mark.parametrize(
    ("strength", "expected", "changes"),
    [
        (0.05, 0.374930556, {1: -1.983333, 2: 2.694444, 3.5: -0.427778, 4: -1.808333}),
        (0.2, 1.1525, {1: -0.45, 2: 1.35, 4: -1.725}),
        (1.0, 2.175781, None),
        (3.0, 2.365183, {}),
    ],
)
def test_reference_data_are_met_to_all_printed_digits(strength, expected, changes):
    fit = fit_one_dimension(X, Y, strength / 6, sparse=False)
    assert 6 * fit.objective == pytest.approx(expected, abs=6e-7)
    assert fit.relative_gap < 1e-12
    if changes is not None:
        assert dict(zip(fit.knots, fit.changes, strict=True)) == pytest.approx(changes, abs=6e-7)
    if strength == 0.2:
        assert fit.predict(X) == pytest.approx([0.2, 0.4, 0.15, 1.8, 2.35, 1.1], abs=1e-12)


def test_reference_interpolation_and_largest_alpha():
    assert interpolate_one_dimension(X, Y).variation == pytest.approx(8.083333, abs=5e-7)
    assert 6 * one_dimension_alpha_max(X, Y) == pytest.approx(1.769634, abs=5e-7)


@pytest.mark.parametrize("alpha", [1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("weighted", [False, True])
def test_objective_and_fit_agree_with_a_cone_solver(alpha, weighted):
    x, y = noisy(30)
    weights = np.random.default_rng(3).uniform(0.1, 2, 30) if weighted else np.ones(30)
    fit = fit_one_dimension(x, y, alpha, sample_weight=weights)
    order = np.argsort(x)
    f, share = cp.Variable(30), weights[order] / weights.sum()
    bend = np.diff(np.diff(np.eye(30), axis=0) / np.diff(x[order])[:, None], axis=0)
    program = cp.Minimize(0.5 * cp.sum(cp.multiply(share, cp.square(y[order] - f))) + alpha * cp.norm1(bend @ f))
    peer = cp.Problem(program).solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    assert fit.objective == pytest.approx(peer, rel=1e-7)
    assert fit.objective <= peer * (1 + 1e-9)
    assert fit.predict(x[order]) == pytest.approx(f.value, abs=1e-5)


def test_objective_agrees_with_the_lasso_of_scikit_learn():
    x, y = noisy(60)
    alpha = 1e-3
    at = np.sort(x)[1:-1]
    columns = np.maximum(x[:, None] - at, 0.0)
    affine = np.linalg.qr(np.column_stack([x, np.ones(60)]))[0]
    rest = np.eye(60) - affine @ affine.T
    peer = Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=1_000_000).fit(rest @ columns, rest @ y)
    residual = rest @ (y - columns @ peer.coef_)
    value = residual @ residual / 120 + alpha * np.abs(peer.coef_).sum()
    assert fit_one_dimension(x, y, alpha).objective == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("n", "alpha"), [(100, 3e-3), (1000, 1e-4), (10_000, 1e-4), (100_000, 1e-4)])
def test_gap_is_closed_at_every_size(n, alpha):
    x, y = noisy(n)
    fit = fit_one_dimension(x, y, alpha)
    assert fit.converged
    assert fit.relative_gap < 1e-12
    loss = 0.5 * float(np.mean((y - fit.predict(x)) ** 2))
    assert fit.objective == pytest.approx(loss + alpha * np.abs(fit.changes).sum(), rel=1e-12)
    if n <= 1000:
        assert fit.objective == pytest.approx(objective(x, y, alpha, fit.predict(x)), rel=1e-9)


@pytest.mark.slow
def test_a_million_samples_and_a_path():
    x, y = noisy(1_000_000)
    limit = one_dimension_alpha_max(x, y)
    for fit in fit_one_dimension_path(x, y, list(np.geomspace(limit, 1e-4 * limit, 20))):
        assert fit.relative_gap < 1e-11


@pytest.mark.parametrize("alpha", [1e-2, 1e-3, 1e-5])
def test_no_other_function_is_below_the_optimum_by_more_than_the_gap(alpha):
    x, y = noisy(40)
    fit = fit_one_dimension(x, y, alpha)
    rng = np.random.default_rng(1)
    for size in (1.0, 1e-3, 1e-6):
        for _ in range(200):
            other = fit.predict(x) + size * rng.standard_normal(40)
            assert objective(x, y, alpha, other) >= fit.objective - fit.gap - 1e-15


def test_gap_is_honest_when_the_rounds_end_early():
    x, y = noisy(2000)
    best = fit_one_dimension(x, y, 1e-4)
    for rounds in (1, 2, 3):
        early = fit_one_dimension(x, y, 1e-4, max_iter=rounds)
        assert not early.converged
        assert "max_iter" in early.reason
        assert early.gap >= early.objective - best.objective > 0


@pytest.mark.parametrize("sparse", [False, True])
def test_dropping_knots_one_by_one_leads_to_the_same_optimum(monkeypatch, sparse):
    x, y = noisy(300)
    usual = fit_one_dimension(x, y, 1e-5, sparse=sparse)
    monkeypatch.setattr(one_dimension_master, "_BLOCK_TRIES", 0)
    slow = fit_one_dimension(x, y, 1e-5, sparse=sparse)
    assert slow.relative_gap < 1e-12
    assert slow.objective == pytest.approx(usual.objective, rel=1e-12)
    assert slow.predict(x) == pytest.approx(usual.predict(x), abs=1e-9)


def test_two_knots_of_one_sign_at_neighbouring_samples_become_one():
    x = np.arange(6.0)
    fit = interpolate_one_dimension(x, np.abs(x - 2.25))
    assert fit.knots == pytest.approx([2.25])
    assert fit.changes == pytest.approx([2.0])
    assert interpolate_one_dimension(x, np.abs(x - 2.25), sparse=False).knots == pytest.approx([2, 3])


@pytest.mark.parametrize(("corners", "fewest"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_run_of_convex_corners_needs_half_as_many_knots(corners, fewest):
    x = np.arange(corners + 2.0)
    y = np.square(x)
    fit = interpolate_one_dimension(x, y)
    polygon = interpolate_one_dimension(x, y, sparse=False)
    assert (polygon.knots.size, fit.knots.size) == (corners, fewest)
    assert fit.variation == pytest.approx(polygon.variation)
    assert fit.predict(x) == pytest.approx(y, abs=1e-12)


def test_sparsest_fit_has_the_same_values_variation_and_fewer_knots():
    x, y = noisy(3000)
    dense = fit_one_dimension(x, y, 1e-7, sparse=False)
    sparse = fit_one_dimension(x, y, 1e-7)
    assert sparse.knots.size < dense.knots.size
    assert sparse.variation == pytest.approx(dense.variation, rel=1e-9)
    assert sparse.predict(x) == pytest.approx(dense.predict(x), abs=1e-11)
    assert set(dense.knots) <= set(x)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 10.0])
def test_one_two_and_three_samples(n, alpha):
    fit = fit_one_dimension(X[:n], Y[:n], alpha)
    assert fit.converged
    if n < 3 or alpha == 0:
        assert fit.predict(X[:n]) == pytest.approx(Y[:n], abs=1e-14)
    if n == 3 and alpha == 10:
        assert fit.knots.size == 0
        assert fit.predict(X[:3]) == pytest.approx(np.polyval(np.polyfit(X[:3], Y[:3], 1), X[:3]))


def test_equal_inputs_get_the_mean():
    fit = fit_one_dimension(np.full(4, 7.0), [1, 2, 3, 6], 0.1, sample_weight=[1, 1, 1, 3])
    assert fit.predict([7.0, -1e9]) == pytest.approx([4, 4])
    assert fit.objective == pytest.approx(0.5 * (9 + 4 + 1 + 3 * 4) / 6)
    assert fit.gap == 0


def test_constant_and_affine_targets_need_no_knots():
    for y in (np.ones(50), 3 * np.arange(50.0) - 1):
        fit = fit_one_dimension(np.arange(50.0), y, 1e-9)
        assert fit.knots.size == 0
        assert fit.predict(np.arange(50.0)) == pytest.approx(y)


def test_alpha_zero_interpolates_and_tiny_alpha_nearly_does():
    x, y = noisy(200)
    assert fit_one_dimension(x, y, 0.0).predict(x) == pytest.approx(y, abs=1e-13)
    assert fit_one_dimension(x, y, 1e-14).predict(x) == pytest.approx(y, abs=1e-6)


@pytest.mark.parametrize("inputs", [1.0, 1e150, 1e-150])
@pytest.mark.parametrize("targets", [1.0, 1e150, 1e-150])
def test_scales_do_not_matter(inputs, targets):
    x, y = noisy(300)
    plain = fit_one_dimension(x, y, 1e-3)
    scaled = fit_one_dimension(inputs * x, targets * y, 1e-3 * inputs * targets)
    assert scaled.relative_gap < 1e-12
    assert scaled.predict(inputs * x) / targets == pytest.approx(plain.predict(x), abs=1e-9)


def test_a_huge_offset_costs_no_accuracy():
    x = np.round(noisy(300)[0] * 2**20) / 2**20  # so that adding the offset rounds nothing
    y = noisy(300)[1]
    plain, moved = fit_one_dimension(x, y, 1e-3), fit_one_dimension(x + 2.0**30, y, 1e-3)
    assert moved.objective == pytest.approx(plain.objective, rel=1e-13)
    assert moved.predict(x + 2.0**30) == pytest.approx(plain.predict(x), abs=1e-12)


def test_dual_function_and_its_peaks_agree_with_the_definition():
    x, y = noisy(50)
    x = np.sort(x)
    affine = np.column_stack([x, np.ones(50)])
    rho = y - affine @ np.linalg.lstsq(affine, y, rcond=None)[0]
    naive = np.array([rho @ np.maximum(x - t, 0) for t in x])
    assert dual_function(rho, np.diff(x)) == pytest.approx(naive, abs=1e-12)
    assert peaks(np.array([0, 2, 3, 3, -2, -5, 1, 2, 0.0]), 1.5).tolist() == [2, 5, 7]
    assert peaks(np.zeros(3), 1.0).size == 0


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "words"),
    [
        ([1.0, np.nan], [1, 2], {}, DataError, "finite"),
        ([1.0, 2.0], [1, 2, 3], {}, DataError, "same length"),
        ([], [], {}, DataError, "at least 1"),
        ([[1.0, 2.0]], [1], {}, DataError, "one column"),
        ([1.0, 2.0], [1, 2], {"sample_weight": [1, -1]}, DataError, "nonnegative"),
        ([-1e308, 1e308], [1, 2], {}, DataError, "larger units"),
    ],
)
def test_bad_data_are_refused(x, y, options, error, words):
    with pytest.raises(error, match=words):
        fit_one_dimension(x, y, 0.1, **options)


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf])
def test_bad_alpha_is_refused(alpha):
    with pytest.raises(ParameterError, match="alpha"):
        fit_one_dimension(X, Y, alpha)


# --- laws ---

numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda value: round(value, 3))
tables = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None)
@given(table=tables, alpha=st.floats(1e-3, 10), slope=numbers, shift=numbers, seed=st.integers(0, 99))
def test_an_affine_shift_of_the_targets_moves_the_fit_and_order_does_not_matter(table, alpha, slope, shift, seed):
    x, y = np.array(table).T
    fit = fit_one_dimension(x, y, alpha)
    order = np.random.default_rng(seed).permutation(x.size)
    moved = fit_one_dimension(x[order], (y + slope * x + shift)[order], alpha)
    size = 1 + np.abs(y).max() + np.abs(slope * x).max() + abs(shift)
    assert moved.objective == pytest.approx(fit.objective, abs=1e-9 * size**2, rel=1e-6)
    assert fit.gap <= 1e-6 * fit.objective + 1e-12 * size**2


@settings(max_examples=25, deadline=None)
@given(table=tables, alpha=st.floats(1e-3, 10), inputs=st.floats(0.01, 100), targets=st.floats(0.01, 100))
def test_scaling_data_scales_the_objective(table, alpha, inputs, targets):
    x, y = np.array(table).T
    fit = fit_one_dimension(x, y, alpha)
    scaled = fit_one_dimension(-inputs * x, targets * y, alpha * inputs * targets)
    assert scaled.objective == pytest.approx(targets**2 * fit.objective, rel=1e-6, abs=1e-9 * targets**2)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_along_a_path_the_objective_rises_and_the_variation_falls(table):
    x, y = np.array(table).T
    alphas = [0.0, 1e-2, 0.3, 10.0]
    path = fit_one_dimension_path(x, y, alphas)
    size = 1 + float(np.square(y).max())
    for before, after in pairwise(path):
        assert after.objective >= before.objective - 1e-9 * size
        assert after.variation <= before.variation * (1 + 1e-6) + 1e-9 * size
        assert after.knots.size <= max(np.unique(x).size - 2, 0)
    alone = fit_one_dimension(x, y, alphas[2])
    assert path[2].objective == pytest.approx(alone.objective, rel=1e-9, abs=1e-9 * size)


# --- the common interface ---


def test_certificate_is_exact_and_its_gap_small():
    x, y = noisy(500)
    certified = solve_one_dimension(VariationProblem(x[:, None], y, alpha=1e-3))
    assert certified.certificate.kind == "exact"
    assert certified.certificate.relative_gap < 1e-10
    assert certified.converged
    assert certified.certificate.primal == pytest.approx(fit_one_dimension(x, y, 1e-3).objective, rel=1e-13)
    assert certified.maximum.value == pytest.approx(1e-3, rel=1e-9)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.arange(5.0), np.ones(5)),
        (np.arange(50.0), 3 * np.arange(50.0) + 1),
        (np.array([2.0]), np.array([3.0])),
        (np.array([2.0, 5.0]), np.array([3.0, 1.0])),
        (np.full(3, 2.0), np.array([3.0, 1.0, 5.0])),
        (np.arange(9.0) * 1e150, np.arange(9.0) ** 2 * 1e150),
        (np.arange(9.0) * 1e-150, np.arange(9.0) ** 2 * 1e-150),
    ],
)
@pytest.mark.parametrize("strength", [1e-3, 10.0])
def test_degenerate_problems_get_a_certificate_that_verifies(x, y, strength):
    alpha = strength * (np.ptp(x) or 1.0) * np.abs(y).max()
    certified = solve_one_dimension(VariationProblem(x[:, None], y, alpha=alpha), tol=1e-9)
    assert certified.converged
    assert certified.certificate.relative_gap < 1e-12
    assert certified.certificate.verify(x[:, None], y)


def test_path_and_warm_start_meet_the_single_solves():
    x, y = noisy(400)
    problem = VariationProblem(x[:, None], y, alpha=1.0)
    path = solve_one_dimension_path(problem, [1e-2, 1e-3])
    warm = solve_one_dimension(problem.with_alpha(1e-3), start=path[1].solution)
    for certified in (path[1], warm):
        assert certified.certificate.primal == pytest.approx(fit_one_dimension(x, y, 1e-3).objective, rel=1e-12)
    assert path[0].certificate.alpha == 1e-2


def test_maximum_is_the_largest_of_many_neurons():
    x, y = noisy(60)
    problem = VariationProblem(x[:, None], y, alpha=1e-3)
    rho = problem.rho(np.zeros(60))
    maximum = one_dimension_maximum(problem, rho)
    at = np.concatenate([x, np.random.default_rng(0).uniform(-1, 2, 500)])
    tried = [abs(rho @ np.maximum(sign * (x - t), 0)) for t in at for sign in (1, -1)]
    assert maximum.value == pytest.approx(max(tried), rel=1e-12)
    assert abs(rho @ problem.features(maximum.unit[None])[:, 0]) == pytest.approx(maximum.value, rel=1e-12)


def test_what_floating_point_cannot_show_is_not_called_converged():
    x, y = noisy(300)
    problem = VariationProblem(x[:, None] + 1e12, y, alpha=1e-4)  # the intercept alone rounds to 1e-4
    certified = solve_one_dimension(problem, tol=1e-9)
    assert not certified.converged
    assert "as stored" in certified.reason


@pytest.mark.parametrize("change", [{"bias": "penalized"}, {"fit": "huber"}, {"d": 2}])
def test_other_problems_are_refused_with_the_remedy(change):
    d = change.pop("d", 1)
    problem = VariationProblem(np.ones((5, d)), np.arange(5.0), alpha=0.1, **change)
    with pytest.raises(ParameterError, match='method="auto"'):
        solve_one_dimension(problem)


@pytest.mark.parametrize("offset", [0.0, 1e3, -7e5])
def test_interpolating_affine_values_takes_no_knots(offset):
    x = np.sort(np.random.default_rng(0).uniform(-2, 5, 200))
    fit = interpolate_one_dimension(x, 0.3 * x + offset)
    assert fit.knots.size == 0
    assert fit.slope == pytest.approx(0.3, rel=1e-8)


def test_many_small_bends_are_not_taken_for_a_line():
    x = np.arange(20_001) / 20_000
    y = 1e-3 * np.square(x)
    fit = interpolate_one_dimension(x, y)
    assert np.abs(fit.predict(x) - y).max() < 1e-16
    assert fit.variation == pytest.approx(2e-3, rel=1e-3)


def test_a_large_offset_of_the_targets_costs_no_accuracy():
    x, y = noisy(500)
    y = np.round(y * 2**20) / 2**20  # so that adding the offset rounds nothing
    plain, moved = fit_one_dimension(x, y, 1e-5), fit_one_dimension(x, y + 2.0**30, 1e-5)
    assert moved.changes == pytest.approx(plain.changes, rel=1e-6, abs=1e-6)
    certified = solve_one_dimension(VariationProblem(x[:, None], y + 2.0**30, alpha=1e-5))
    assert certified.certificate.primal == pytest.approx(plain.objective, rel=1e-6)
