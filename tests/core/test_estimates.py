import copy
import math

import pytest

from steppe.core import Estimate, Fact


def estimate(**fields):
    base = {
        "value": 2.207,
        "error": 0.002,
        "error_kind": "residual",
        "products": 14,
        "convention": "½ squared error, mean of 512 samples, all 24\u202f577 parameters",
        "quantity": "sharpness",
    }
    return Estimate(**(base | fields))


def test_prints_in_one_line_with_error_products_and_convention():
    assert str(estimate()) == (
        "sharpness 2.207 ± 0.002 (residual bound; 14 products; "
        "½ squared error, mean of 512 samples, all 24\u202f577 parameters)"
    )


def test_says_that_it_did_not_converge_and_why():
    assert "not converged: budget of 3 products spent" in str(
        estimate(converged=False, reason="budget of 3 products spent")
    )


def test_interval_is_95_percent_for_a_standard_error_and_plain_otherwise():
    low, high = estimate(value=1.0, error=0.1, error_kind="standard error").interval()
    assert (low, high) == pytest.approx((1 - 0.1959964, 1 + 0.1959964), abs=1e-6)
    assert estimate(value=1.0, error=0.1, error_kind="bound").interval() == (0.9, 1.1)
    assert estimate(value=1.0, error=math.nan, error_kind="none").interval() == (1.0, 1.0)


def test_only_the_matching_kind_of_error_is_given():
    assert estimate().residual == 0.002
    assert estimate().standard_error is None
    assert estimate(error_kind="standard error").standard_error == 0.002


def test_behaves_as_a_number():
    e = estimate(value=2.0)
    assert float(e) == 2.0
    assert e == 2.0
    assert 1.0 < e < 3.0
    assert e >= 2.0 >= e
    assert (e + 1, 1 + e, e - 1, 1 - e, e * 2, 2 * e, e / 2, 2 / e, e**2, -e, abs(-e)) == (
        3, 3, 1, -1, 4, 4, 1, 1, 4, -2, 2,
    )  # fmt: skip
    assert e.to_dict()["error_kind"] == "residual"


def test_fact_is_a_float_that_survives_copying_and_keeps_its_source():
    fact = Fact(0.25, source="arXiv 2506.20779, Theorem 3.5", status="theorem", statement="rate", hypotheses=("x",))
    twin = copy.deepcopy(fact)
    assert twin + 0.25 == 0.5
    assert (twin.source, twin.status, twin.hypotheses) == (fact.source, "theorem", ("x",))
    assert "theorem: arXiv 2506.20779" in str(fact)


@pytest.mark.door
def test_fact_refuses_an_unknown_status():
    with pytest.raises(ValueError, match="status must be one of"):
        Fact(1.0, source="x", status="sure")
