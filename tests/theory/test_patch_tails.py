import math

import pytest

from steppe.core import ParameterError
from steppe.theory import patch_radial_exponent, patch_radial_tail, rates


@pytest.mark.parametrize(("delta", "tail"), [(0.3, 0.067652), (0.2, 0.016796), (0.1, 0.0013032), (0.05, 0.00009037)])
def test_tail_of_the_radius_of_a_patch(delta, tail):
    assert float(f"{patch_radial_tail(2, 10, delta):.5g}") == pytest.approx(tail, rel=5e-5)


def test_closed_form_of_two_coordinates():
    # ‖z‖² has density (d/2 − 1)(1 − q)^(d/2 − 2) for m = 2, so the tail is (1 − (1 − δ)²)^((d − 2)/2)
    for d in (4, 7, 10):
        for delta in (0.01, 0.3, 1.0):
            assert math.isclose(patch_radial_tail(2, d, delta), (1 - (1 - delta) ** 2) ** ((d - 2) / 2), rel_tol=1e-12)


@pytest.mark.parametrize(("m", "d"), [(2, 10), (5, 20), (10, 100)])
def test_the_tail_decays_with_the_exponent(m, d):
    slope = math.log(patch_radial_tail(m, d, 1e-6) / patch_radial_tail(m, d, 1e-7)) / math.log(10)
    assert math.isclose(slope, patch_radial_exponent(m, d), rel_tol=1e-5)
    assert patch_radial_exponent(m, d) == (d - m) / 2


@pytest.mark.parametrize(("m", "d", "exponent"), [(10, 100, 0.15517), (10, 400, 0.16387), (27, 3072, 0.16569)])
def test_exponents_of_the_rate_with_shared_patches(m, d, exponent):
    rate = rates.patch_upper(m, d)
    assert round(float(rate), 5) == exponent
    assert rate.status == "derived"
    assert abs(rate - (1 / 6 - m / (9 * d))) < (m / d) ** 2  # 1/6 − m/(9d) + O(m²/d²)
    alpha = patch_radial_exponent(m, d)
    assert math.isclose(rate, alpha / (6 * alpha + 2 * m), rel_tol=1e-12)  # the balance that gives it


@pytest.mark.door
def test_patches_must_be_smaller_than_the_input():
    with pytest.raises(ParameterError, match="`size` must be ≥ 1 and ≤ 9, got 10"):
        patch_radial_tail(10, 10, 0.1)
    with pytest.raises(ParameterError, match="`delta` must be"):
        patch_radial_tail(2, 10, 1.5)
