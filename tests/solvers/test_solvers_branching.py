"""Branch and bound over cones: never contradicted by enumeration or by points, whatever the budget and the data."""

import itertools

import numpy as np
import pytest
from spheres import KINDS, instance, sampled

from steppe.core import ParameterError
from steppe.solvers import VariationProblem
from steppe.solvers.branching import boundable, bounded_maximum, bounded_on_sphere
from steppe.solvers.enumeration import exact_maximum, maximum_on_sphere
from steppe.solvers.homogeneous import kernels, reduced

compiled = pytest.mark.skipif(kernels() is None, reason="the compiled kernel is not installed")


def rounding(Z, rho):
    return 1e-13 * np.abs(rho).sum() * np.abs(Z).max()


def polished(Z, rho, seed, *, starts=400, steps=60):
    """A lower bound: the best of many ascents w ← Z'Dρ / ‖·‖, backing off where the value falls."""
    W = np.random.default_rng(seed).normal(size=(starts, Z.shape[1]))
    W /= np.linalg.norm(W, axis=1)[:, None]
    best = 0.0
    for sign in (1, -1):
        w, step = W.copy(), np.ones(starts)
        value = sign * rho @ np.maximum(Z @ w.T, 0)
        for _ in range(steps):
            q = sign * ((Z @ w.T > 0).T * rho) @ Z
            tried = w + step[:, None] * q / (np.linalg.norm(q, axis=1)[:, None] + 1e-300)
            tried /= np.linalg.norm(tried, axis=1)[:, None]
            reached = sign * rho @ np.maximum(Z @ tried.T, 0)
            better = reached > value
            w[better], value[better] = tried[better], reached[better]
            step = np.where(better, 1.5 * step, 0.4 * step)
        best = max(best, value.max())
    return best


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_bound_and_enumeration_never_contradict_each_other(kind, centred):
    for D in (1, 2, 3):
        Z, rho = instance(kind, 10 + D, D, centred=centred)
        exact = maximum_on_sphere(Z, rho, centred=centred)
        slack = rounding(Z, rho)
        for factor in (0.9, 1.0, 1.01):
            found = bounded_on_sphere(Z, rho, target=factor * exact.value, centred=centred, early=False)
            assert exact.value <= found.upper + slack
            assert found.value <= exact.upper + slack
            if factor > 1 and exact.value > 1e3 * slack:
                assert found.upper <= factor * exact.value
            if factor < 1 and exact.value > 1e3 * slack:
                assert found.upper <= exact.value * (1 + 2e-6) + slack
                assert len(found.units) > 0


@compiled
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_and_numpy_bound_alike(kind, monkeypatch):
    for D, centred in ((2, True), (3, False), (4, False)):
        Z, rho = instance(kind, 20 + D, D, centred=centred)
        fast = bounded_on_sphere(Z, rho, target=0.0, centred=centred, precision=1e-3, early=False)
        monkeypatch.setenv("STEPPE_KERNELS", "off")
        plain = bounded_on_sphere(Z, rho, target=0.0, centred=centred, precision=1e-3, early=False)
        monkeypatch.delenv("STEPPE_KERNELS")
        slack = rounding(Z, rho)
        assert max(fast.value, plain.value) <= min(fast.upper, plain.upper) + slack
        if fast.value > 1e6 * slack:
            assert plain.reason == fast.reason
            assert plain.upper == pytest.approx(fast.upper, rel=1.1e-3)
            assert abs(plain.work - fast.work) <= 0.1 * fast.work + 16


@pytest.mark.parametrize(("D", "n"), [(4, 40), (5, 40), (6, 25), (7, 16)])
def test_bound_is_never_below_points_found_by_ascent(D, n):
    rng = np.random.default_rng(D)
    Z, rho = rng.normal(size=(n, D)), rng.normal(size=n)
    lower = max(polished(Z, rho, D), sampled(Z, rho, D, centred=False))
    for most in (50, 3000):
        found = bounded_on_sphere(Z, rho, target=0.5 * lower, max_cones=most, early=False)
        assert found.kind == "bound"
        assert found.value <= found.upper
        assert lower <= found.upper
        if "limit" in found.reason:
            assert found.work >= most
    assert lower <= bounded_on_sphere(Z, rho, target=1.3 * lower, max_cones=200_000).upper


def test_budget_that_ends_leaves_a_bound_that_more_work_lowers():
    rng = np.random.default_rng(0)
    Z, rho = rng.normal(size=(60, 5)), rng.normal(size=60)
    uppers = [
        bounded_on_sphere(Z, rho, target=0.0, max_cones=most, early=False).upper for most in (1, 600, 5000, 60000)
    ]
    assert all(later <= earlier for earlier, later in itertools.pairwise(uppers))
    assert uppers[-1] < 0.9 * uppers[0]
    assert uppers[0] <= 5**0.5 * reduced(Z, rho, centred=False).size * np.abs(Z).max() * np.abs(rho).max()


@pytest.mark.parametrize(("bias", "d"), [("penalized", 3), ("free", 3), ("free", 1)])
def test_neurons_above_the_target_come_back_with_penalty_norm_one(bias, d):
    rng = np.random.default_rng(d)
    problem = VariationProblem(rng.normal(size=(30, d)), rng.normal(size=30), alpha=0.01, bias=bias)
    assert boundable(problem)
    rho = problem.rho(problem.free @ problem.affine_start())
    top = bounded_maximum(problem, rho, target=0.0, precision=1e-4, early=False)
    assert top.upper <= top.value * (1 + 2e-4)
    assert problem.penalty_norms(top.unit[None]) == pytest.approx([1.0], rel=1e-14)
    assert abs(rho @ problem.features(top.unit[None])[:, 0]) == pytest.approx(top.value, rel=1e-11)
    soon = bounded_maximum(problem, rho, target=0.7 * top.value)
    assert len(soon.units) > 0
    assert soon.value <= top.upper
    assert top.value <= soon.upper
    np.testing.assert_allclose(problem.penalty_norms(soon.units), 1.0, rtol=1e-14)
    assert (np.abs(rho @ problem.features(soon.units)) > 0.7 * top.value * (1 - 1e-11)).all()


def test_equal_rows_of_opposite_weights_cancel():
    Z, rho = instance("repeated", 13, 3, centred=True)
    exact = maximum_on_sphere(Z, rho, centred=True)
    assert len(np.unique(Z, axis=0)) < len(Z)
    found = bounded_on_sphere(Z, rho, target=0.9 * exact.value, centred=True, early=False)
    assert found.upper == pytest.approx(exact.value, rel=2e-6)
    assert found.work < 50_000


def test_a_known_neuron_spares_cones():
    rng = np.random.default_rng(5)
    problem = VariationProblem(rng.normal(size=(60, 3)), rng.normal(size=60), alpha=0.01, bias="penalized")
    rho = problem.rho(problem.free @ problem.affine_start())
    top = bounded_maximum(problem, rho, target=0.0, precision=1e-3, early=False)
    again = bounded_maximum(problem, rho, target=0.0, precision=1e-3, early=False, known=top.unit[None])
    assert again.work <= top.work
    assert again.upper >= top.value
    assert again.value >= top.value * (1 - 1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scale_of_data_and_weights_changes_no_decision(scale):
    Z, rho = instance("gauss", 3, 4, centred=False, n=20)
    one = bounded_on_sphere(Z, rho, target=1.0)
    other = bounded_on_sphere(Z * scale, rho / scale**0.5, target=scale**0.5)
    assert other.upper / scale**0.5 == pytest.approx(one.upper, rel=1e-9)


@compiled
@pytest.mark.parametrize("centred", [False, True])
def test_number_of_threads_changes_nothing(centred):
    Z, rho = instance("gauss", 5, 3 if centred else 5, centred=centred, n=60)
    small = reduced(Z, rho, centred=centred)
    one, two = (
        kernels().bound_cones(small.rows, small.rho, centred, 0.0, 1e-3, 0.0, small.even, False, 50_000, threads, 12)
        for threads in (1, 2)
    )
    assert one == two
    assert one[2] > 512  # more than one batch


@pytest.mark.door
def test_bad_input_is_refused_with_the_remedy():
    rng = np.random.default_rng(2)
    Z, rho = rng.normal(size=(12, 8)), rng.normal(size=12)
    with pytest.raises(ParameterError, match="at most 7 dimensions"):
        bounded_on_sphere(Z, rho, target=1.0)
    with pytest.raises(ParameterError, match="max_cones"):
        bounded_on_sphere(Z[:, :3], rho, target=1.0, max_cones=0)
    with pytest.raises(ParameterError, match="target"):
        bounded_on_sphere(Z[:, :3], rho, target=np.nan)
    both = VariationProblem(Z[:, :3], rng.normal(size=(12, 2)), alpha=1.0)
    assert not boundable(both)
    with pytest.raises(ParameterError, match="one output"):
        bounded_maximum(both, rho, target=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_random_problems_up_to_three_inputs_are_never_contradicted(seed):
    rng = np.random.default_rng(seed)
    d, bias = int(rng.integers(1, 4)), ("free", "penalized")[seed % 2]
    n = int(rng.integers(d + 2, 60))
    X = np.round(rng.normal(size=(n, d)), int(rng.integers(0, 3)))
    problem = VariationProblem(X, rng.normal(size=n), alpha=0.01, bias=bias, skip=bias == "free" or seed % 4 < 2)
    rho = problem.rho(rng.normal(size=n))
    if bias == "penalized" and d == 3:
        lower = polished(problem.Z, rho, seed)
        found = bounded_maximum(problem, rho, target=1.001 * lower, early=False)
        assert lower <= found.upper
        assert lower >= found.value * (1 - 0.05)
    else:
        exact = exact_maximum(problem, rho)
        for factor in (0.5, 1.0, 1.001):
            found = bounded_maximum(problem, rho, target=factor * exact.value, early=factor < 1)
            assert exact.value <= found.upper * (1 + 1e-12)
            assert found.value <= exact.upper
        assert found.upper <= 1.001 * exact.value
