import subprocess
import sys

import pytest

from steppe import theory
from steppe.core import Fact, ParameterError, UnknownNameError
from steppe.theory import rates


@pytest.mark.parametrize(
    ("d", "upper", "lower", "gap", "mse"),
    [
        (1, 0.1667, 0.5, 0.4000, 0.8000),
        (2, 0.1250, 0.6667, 0.3571, 0.7143),
        (3, 0.1000, 0.5000, 0.3333, 0.6667),
        (5, 0.0714, 0.3333, 0.3077, 0.6154),
        (10, 0.0417, 0.1818, 0.2826, 0.5652),
    ],
)
def test_exponents_on_the_ball(d, upper, lower, gap, mse):
    for fact, value in (
        (rates.flat_upper, upper),
        (rates.flat_lower, lower),
        (rates.low_norm_gap, gap),
        (rates.low_norm_mse, mse),
    ):
        assert fact(d) == pytest.approx(value, abs=0.51e-4)
        assert isinstance(fact(d), Fact)


@pytest.mark.parametrize(
    ("alpha", "published", "valid", "lower"),
    [
        (0.1, 0.01465, 0.00962, 0.04762),
        (0.3, 0.03762, 0.02679, 0.13043),
        (1.5, 0.10084, 0.09375, 0.42857),
        (5.0, 0.14286, 0.16667, 0.71429),
    ],
)
def test_exponents_on_radial_inputs(alpha, published, valid, lower):
    assert rates.radial_upper(5, alpha) == pytest.approx(published, abs=0.51e-5)
    assert rates.radial_upper(5, alpha, kind="valid") == pytest.approx(valid, abs=0.51e-5)
    assert rates.radial_upper(5, alpha, kind="safe") == pytest.approx(min(published, valid), abs=0.51e-5)
    assert rates.radial_lower(5, alpha) == pytest.approx(lower, abs=0.51e-5)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_radial_family_at_one_and_at_the_sphere(d):
    assert rates.radial_upper(d, 1.0, kind="valid") == pytest.approx(rates.flat_upper(d))
    assert rates.radial_upper(d, 1.0) == pytest.approx(1 / (2 * d + 2))
    assert rates.radial_lower(d, 1.0) == pytest.approx(rates.flat_lower(d))
    for exponent in (
        rates.radial_upper(d, 1e-9),
        rates.radial_upper(d, 1e-9, kind="valid"),
        rates.radial_lower(d, 1e-9),
    ):
        assert exponent < 1e-8


@pytest.mark.parametrize("d", range(1, 20))
def test_an_upper_rate_is_slower_than_its_lower_rate(d):
    assert rates.flat_upper(d) < rates.flat_lower(d)
    for alpha in (0.1, 1.0, 10.0):
        assert rates.radial_upper(d, alpha, kind="safe") < rates.radial_lower(d, alpha)


@pytest.mark.parametrize(("m", "d", "value"), [(10, 100, 0.15517), (10, 400, 0.16387), (27, 3072, 0.16569)])
def test_patches(m, d, value):
    assert rates.patch_upper(m, d) == pytest.approx(value, abs=0.51e-5)


def test_mixture_does_not_see_the_ambient_dimension():
    assert rates.mixture_upper(1) == pytest.approx(1 / 6)


def test_status_tells_theorems_from_recollections():
    assert rates.flat_upper(3).status == "theorem"
    assert rates.low_norm_mse(3).status == "recalled"
    assert rates.radial_upper(3, 1.0, kind="valid").status == "derived"
    assert "theorem" in str(rates.flat_upper(3))


@pytest.mark.door
def test_bad_input():
    with pytest.raises(ParameterError, match="`d` must be ≥ 1, got 0"):
        rates.flat_upper(0)
    with pytest.raises(UnknownNameError, match="`kind`"):
        rates.radial_upper(3, 1.0, kind="best")
    with pytest.raises(ParameterError, match="`size`"):
        rates.patch_upper(5, 5)


def test_doors_are_sorted():
    for room in (theory, rates):
        assert room.__all__ == sorted(room.__all__)
        assert all(hasattr(room, name) for name in room.__all__)


def test_theory_loads_no_torch():
    code = "import sys, steppe.theory; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
