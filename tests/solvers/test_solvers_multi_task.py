import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DataError, ParameterError, ShapeError
from steppe.solvers.column_reduction import reduce_columns
from steppe.solvers.multi_task_lasso import minimum_group_norm, multi_task_lasso

law = settings(max_examples=12, deadline=None)
seeds = st.integers(0, 10_000)


def gaussians(seed, n=12, features=40, outputs=4):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, features)), rng.standard_normal((n, outputs))


def penalty(weights):
    return np.linalg.norm(weights, axis=1).sum()


def objective(features, targets, weights, alpha):
    return ((targets - features @ weights) ** 2).sum() / (2 * len(targets)) + alpha * penalty(weights)


def conic(features, targets, alpha=None, tolerance=0.0):
    import cvxpy

    v = cvxpy.Variable((features.shape[1], targets.shape[1]))
    group = cvxpy.sum(cvxpy.norm(v, 2, axis=1))
    residual = targets - features @ v
    if alpha is not None:
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(residual) / (2 * len(targets)) + alpha * group))
    elif tolerance > 0:
        bound = tolerance * np.linalg.norm(targets)
        problem = cvxpy.Problem(cvxpy.Minimize(group), [cvxpy.norm(residual, "fro") <= bound])
    else:
        problem = cvxpy.Problem(cvxpy.Minimize(group), [residual == 0])
    return float(problem.solve(solver=cvxpy.CLARABEL))


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0])
def test_penalised_agrees_with_a_conic_solver_and_proves_it(alpha):
    features, targets = gaussians(1)
    fit = multi_task_lasso(features, targets, alpha=alpha)
    assert fit.converged
    assert fit.primal == pytest.approx(objective(features, targets, fit.weights, alpha), rel=1e-12)
    assert fit.primal == pytest.approx(conic(features, targets, alpha), rel=1e-6)
    theta = fit.dual_point
    assert np.linalg.norm(features.T @ theta, axis=1).max() <= alpha * (1 + 1e-12)
    n = len(targets)
    assert (theta * targets).sum() - n / 2 * (theta**2).sum() == pytest.approx(fit.dual, rel=1e-10)
    assert 0 <= fit.gap <= 1e-9 * fit.primal


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.5])
def test_minimum_norm_agrees_with_a_conic_solver_and_proves_it(tolerance):
    features, targets = gaussians(2)
    fit = minimum_group_norm(features, targets, tolerance=tolerance)
    assert fit.converged
    assert fit.residual <= tolerance * (1 + 1e-8) + 1e-12
    assert fit.penalty == pytest.approx(conic(features, targets, tolerance=tolerance), rel=1e-6)
    theta = fit.dual_point
    assert np.linalg.norm(features.T @ theta, axis=1).max() <= 1 + 1e-12
    bound = (theta * targets).sum() - tolerance * np.linalg.norm(targets) * np.linalg.norm(theta)
    assert bound >= fit.penalty * (1 - 1e-8)


def test_width_histogram_of_gaussian_features_is_that_of_the_paper():
    # Shenouda et al. 2023: 100 trials gave 27 to 42 active of 500 at N = 10, D = 10, 34.4 on average.
    fits = [minimum_group_norm(*gaussians(seed, 10, 500, 10)) for seed in range(6)]
    active = [len(fit.active) for fit in fits]
    assert all(fit.converged and fit.residual < 1e-12 for fit in fits)
    assert min(active) >= 24
    assert max(active) <= 45
    assert np.mean(active) == pytest.approx(34.4, abs=5)
    assert np.mean([fit.penalty for fit in fits]) == pytest.approx(6.4, abs=0.5)


@pytest.mark.parametrize(("rank", "least", "most"), [(2, 2, 4), (5, 6, 15)])
def test_low_rank_features_need_few_neurons(rank, least, most):
    rng = np.random.default_rng(rank)
    features = rng.standard_normal((20, rank)) @ rng.standard_normal((rank, 200))
    fit = minimum_group_norm(features, features @ rng.standard_normal((200, 10)))
    assert fit.residual < 1e-10
    assert least <= len(reduce_columns(features, fit.weights).active) <= most


def test_reduction_of_stacked_copies_leaves_each_feature_once():
    rng = np.random.default_rng(7)
    copies = rng.standard_normal((4, 5))
    targets = rng.standard_normal((4, 3))
    single = minimum_group_norm(copies, targets)
    weights = np.tile(single.weights / 12, (12, 1))  # an equal split of every neuron among its twelve copies
    assert (np.linalg.norm(weights, axis=1) > 0).sum() == 12 * len(single.active)
    reduced = reduce_columns(np.tile(copies, (1, 12)), weights)
    assert len(reduced.active) <= 5
    assert penalty(reduced.weights) == pytest.approx(single.penalty, rel=1e-12)
    assert np.tile(copies, (1, 12)) @ reduced.weights == pytest.approx(targets, abs=1e-12)


@law
@given(seed=seeds, n=st.integers(1, 6), features=st.integers(1, 60), outputs=st.integers(1, 4), rank=st.integers(1, 6))
def test_reduction_never_exceeds_its_bound_nor_changes_outputs_nor_adds_norm(seed, n, features, outputs, rank):
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, features))
    weights = rng.standard_normal((features, outputs)) * 10 ** rng.uniform(-3, 3, (features, 1))
    reduced = reduce_columns(phi, weights)
    assert len(reduced.active) <= reduced.bound <= min(n, rank, features) * min(n, rank, features, outputs)
    assert np.linalg.norm(phi @ (reduced.weights - weights)) <= 1e-9 * np.linalg.norm(phi) * np.linalg.norm(weights)
    assert penalty(reduced.weights) <= penalty(weights) * (1 + 1e-9)


@law
@given(seed=seeds)
def test_rotating_the_outputs_rotates_the_answer(seed):
    features, targets = gaussians(seed, 8, 20, 3)
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    plain, turned = (multi_task_lasso(features, t, alpha=0.1) for t in (targets, targets @ rotation))
    assert turned.weights == pytest.approx(plain.weights @ rotation, abs=1e-5)
    assert turned.primal == pytest.approx(plain.primal, rel=1e-8)


@law
@given(seed=seeds, kind=st.sampled_from(["duplicates", "zero column", "more samples", "tiny", "huge", "one sample"]))
def test_degenerate_features_still_reach_the_gap(seed, kind):
    features, targets = gaussians(seed, 1 if kind == "one sample" else 30 if kind == "more samples" else 8, 15, 3)
    scale = {"tiny": 1e-150, "huge": 1e150}.get(kind, 1.0)
    if kind == "duplicates":
        features[:, 5:] = features[:, :10]
        features[1:3], targets[1:3] = features[0], targets[0]
    if kind == "zero column":
        features[:, 3] = 0.0
    fit = multi_task_lasso(features * scale, targets, alpha=0.05 * scale)
    assert fit.converged
    assert fit.primal == pytest.approx(objective(features, targets, fit.weights * scale, 0.05), rel=1e-8)


def test_zero_targets_and_a_large_alpha_give_zero():
    features, targets = gaussians(3)
    largest = np.linalg.norm(features.T @ targets, axis=1).max() / len(targets)
    assert len(multi_task_lasso(features, targets, alpha=1.01 * largest).active) == 0
    assert len(multi_task_lasso(features, targets, alpha=0.99 * largest).active) == 1
    assert len(multi_task_lasso(features, 0 * targets, alpha=1.0).active) == 0
    assert len(minimum_group_norm(features, 0 * targets).active) == 0


@pytest.mark.door
def test_bad_input_is_refused_with_a_remedy():
    features, targets = gaussians(4)
    with pytest.raises(ParameterError, match="`alpha` must be > 0"):
        multi_task_lasso(features, targets, alpha=0.0)
    with pytest.raises(ShapeError, match="pair them sample by sample"):
        multi_task_lasso(features, targets[:-1], alpha=1.0)
    with pytest.raises(DataError, match="`targets` must be finite"):
        minimum_group_norm(features, targets * np.nan)
    with pytest.raises(DataError, match="span of the features"):
        minimum_group_norm(features[:, :5], targets)
    with pytest.raises(ShapeError, match="one row per column"):
        reduce_columns(features, targets)
