"""The exact maximum over neurons: against listed faces and samples, on degenerate data, with and without kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spheres import KINDS, independent, instance, sampled

from steppe.core import DataError, ParameterError, ShapeError
from steppe.solvers import VariationProblem
from steppe.solvers.branching import bounded_maximum
from steppe.solvers.enumeration import MOST_WORK, enumerable, exact_maximum, maximum_on_sphere
from steppe.solvers.homogeneous import kernels

compiled = pytest.mark.skipif(kernels() is None, reason="the compiled kernel is not installed")


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_value_is_what_listed_faces_say_and_never_below_a_sample(kind, D, centred):
    for seed in range(2):
        Z, rho = instance(kind, seed, D, centred=centred)
        found = maximum_on_sphere(Z, rho, centred=centred)
        rounding = 1e-13 * np.abs(rho).sum() * np.abs(Z).max()
        assert found.value <= found.upper <= found.value * (1 + 1e-9) + 1e4 * rounding
        assert sampled(Z, rho, seed, centred=centred) <= found.upper + rounding
        assert found.value == pytest.approx(independent(Z, rho, centred=centred), rel=1e-10, abs=rounding)


@compiled
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("D", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_and_numpy_give_the_same_numbers(kind, D, centred, monkeypatch):
    for seed in range(3, 5):
        Z, rho = instance(kind, seed, D, centred=centred)
        fast = maximum_on_sphere(Z, rho, centred=centred)
        monkeypatch.setenv("STEPPE_KERNELS", "off")
        plain = maximum_on_sphere(Z, rho, centred=centred)
        monkeypatch.delenv("STEPPE_KERNELS")
        assert plain.value == pytest.approx(fast.value, rel=1e-13, abs=1e-14 * np.abs(rho).sum() * np.abs(Z).max())
        assert plain.work == fast.work


@settings(max_examples=40, deadline=None)
@given(data=st.data(), D=st.integers(1, 3), n=st.integers(1, 6))
def test_small_integer_data_are_solved_exactly(data, D, n):
    numbers = st.integers(-2, 2)
    Z = np.array(data.draw(st.lists(st.lists(numbers, min_size=D, max_size=D), min_size=n, max_size=n)), dtype=float)
    rho = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), dtype=float)
    found = maximum_on_sphere(Z, rho)
    assert found.value == pytest.approx(independent(Z, rho, centred=False), rel=1e-12, abs=1e-13)
    assert sampled(Z, rho, 0, centred=False) <= found.upper + 1e-13


@pytest.mark.parametrize(("bias", "d"), [("penalized", 1), ("penalized", 2), ("free", 1), ("free", 2), ("free", 3)])
def test_unit_has_penalty_norm_one_and_reaches_the_value(bias, d):
    rng = np.random.default_rng(d)
    problem = VariationProblem(rng.normal(size=(25, d)), rng.normal(size=25), alpha=0.01, bias=bias)
    rho = problem.rho(problem.free @ problem.affine_start())
    assert enumerable(problem)
    found = exact_maximum(problem, rho)
    assert problem.penalty_norms(found.unit[None]) == pytest.approx([1.0], rel=1e-14)
    assert abs(rho @ problem.features(found.unit[None])[:, 0]) == pytest.approx(found.value, rel=1e-11)
    above = exact_maximum(problem, rho, target=0.5 * found.value).units
    assert len(above) > 0
    values = np.abs(rho @ problem.features(above))
    assert (values > 0.5 * found.value * (1 - 1e-11)).all()
    assert values[0] == pytest.approx(found.value, rel=1e-11)
    assert len(exact_maximum(problem, rho, target=found.upper).units) == 0


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scale_of_data_and_weights_changes_no_relative_number(scale):
    Z, rho = instance("gauss", 0, 3, centred=False)
    one = maximum_on_sphere(Z, rho)
    other = maximum_on_sphere(Z * scale, rho / scale**0.5)
    assert other.value / scale**0.5 == pytest.approx(one.value, rel=1e-13)
    np.testing.assert_allclose(other.unit, one.unit, atol=1e-9)


def test_dimensions_that_no_row_has_do_not_count():
    rng = np.random.default_rng(1)
    Z, rho = rng.normal(size=(20, 2)), rng.normal(size=20)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    lifted = maximum_on_sphere(Z @ turn[:2], rho)
    assert lifted.value == pytest.approx(maximum_on_sphere(Z, rho).value, rel=1e-13)
    assert lifted.unit.shape == (6,)


def test_no_row_and_no_weight_give_zero():
    for Z, rho in ((np.zeros((3, 2)), np.ones(3)), (np.ones((3, 2)), np.zeros(3))):
        found = maximum_on_sphere(Z, rho)
        assert (found.value, found.upper, found.kind, len(found.units)) == (0.0, 0.0, "exact", 0)
        assert found.unit @ found.unit == 1.0


def test_rounding_noise_with_a_free_bias_has_no_maximum_and_proves_nothing():
    problem = VariationProblem([[0.12573022], [-0.13210486]], [0.64042265, 0.10490012], alpha=0.1, bias="free")
    noise = np.array([1e-17, 2e-17])
    for found in (exact_maximum(problem, noise), bounded_maximum(problem, noise, target=0.1)):
        assert (found.upper, len(found.units)) == (np.inf, 0)
        assert not problem.dual_point(noise, found.upper).any()


@pytest.mark.door
def test_bad_input_is_refused_with_the_remedy():
    rng = np.random.default_rng(2)
    with pytest.raises(ParameterError, match="at most 3 dimensions"):
        maximum_on_sphere(rng.normal(size=(9, 4)), rng.normal(size=9))
    with pytest.raises(DataError, match="orthogonal"):
        maximum_on_sphere(rng.normal(size=(9, 2)), np.ones(9), centred=True)
    with pytest.raises(DataError, match="finite"):
        maximum_on_sphere(np.full((3, 2), np.nan), np.ones(3))
    with pytest.raises(ShapeError, match="one weight per row"):
        maximum_on_sphere(np.ones((3, 2)), np.ones(4))


def test_what_is_enumerable_follows_the_dimensions_that_matter_and_the_work():
    rng = np.random.default_rng(3)
    many = int(MOST_WORK**0.5) + 1
    cases = [("penalized", 2, 50, True), ("penalized", 3, 50, False), ("free", 3, 50, True), ("free", 4, 50, False)]
    cases += [("penalized", 2, many, False), ("free", 1, many, True)]
    for bias, d, n, expected in cases:
        assert enumerable(VariationProblem(rng.normal(size=(n, d)), np.ones(n), alpha=1.0, bias=bias)) == expected
    flat = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 7))
    assert enumerable(VariationProblem(flat, np.ones(30), alpha=1.0, bias="free"))
    assert not enumerable(VariationProblem(flat, np.ones((30, 2)), alpha=1.0, bias="free"))


@compiled
def test_number_of_threads_changes_nothing():
    Z, rho = instance("gauss", 7, 3, centred=False, n=180)
    one, two = (kernels().enumerate_arcs(Z, rho, False, np.inf, threads) for threads in (1, 2))
    assert one == two
