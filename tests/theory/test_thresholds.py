import math

import numpy as np
import pytest

from steppe.core import Fact, ParameterError
from steppe.theory import flatness_bound, largest_stable_step, stability_threshold, stable_flatness_bound


def spectral_radius(curvature, step, beta, nesterov):
    """Of the update of `torch.optim.SGD` on a quadratic, as a matrix on (position, buffer)."""
    g = np.array([curvature, 0.0])
    buffer = beta * np.array([0.0, 1.0]) + g
    update = g + beta * buffer if nesterov else buffer
    matrix = np.stack([np.array([1.0, 0.0]) - step * update, buffer])
    return np.abs(np.linalg.eigvals(matrix)).max()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("step", [0.01, 0.7])
def test_threshold_is_where_the_update_matrix_stops_contracting(step, beta, nesterov):
    threshold = stability_threshold(step, momentum=beta, nesterov=nesterov)
    assert spectral_radius(threshold * 0.999, step, beta, nesterov) < 1
    assert spectral_radius(threshold * 1.001, step, beta, nesterov) > 1
    assert largest_stable_step(threshold, momentum=beta, nesterov=nesterov) == pytest.approx(step)


def test_closed_forms():
    assert stability_threshold(0.9) == pytest.approx(2 / 0.9)
    assert stability_threshold(0.1, momentum=0.9) == pytest.approx(38.0)
    assert stability_threshold(0.1, momentum=0.9, nesterov=True) == pytest.approx(3.8 / 0.28)
    assert isinstance(stability_threshold(0.9), Fact)


@pytest.mark.door
def test_bad_input():
    with pytest.raises(ParameterError, match="`step_size` must be > 0, got 0"):
        stability_threshold(0)
    with pytest.raises(ParameterError, match="`momentum` must be"):
        stability_threshold(0.1, momentum=1.0)
    with pytest.raises(ParameterError, match="`training_loss` must be ≥ 0"):
        flatness_bound(3.0, -1e-3, 1.0)


def test_flatness_bound_in_both_versions():
    # the run with n = 64, d = 2: λ = 19.87, L = .363 give 11.14, and 10.04 with the sharper constant, R = 1
    assert flatness_bound(19.87, 0.363, 1.0) == pytest.approx(11.14, abs=6e-3)
    assert flatness_bound(19.87, 0.363, 1.0, sharper=True) == pytest.approx(10.04, abs=6e-3)
    assert flatness_bound(14.12, 0.766, 1.0) == pytest.approx(9.04, abs=6e-3)
    assert flatness_bound(3.0, 2.0, 3.0) == 1.5 - 0.5 + 4 * 2
    assert flatness_bound(3.0, 2.0, 3.0, sharper=True) == pytest.approx(1 + math.sqrt(10))
    assert flatness_bound(3.0, 2.0, 3.0).status == "theorem"
    assert flatness_bound(3.0, 2.0, 3.0, sharper=True).status == "derived"


def test_step_form_is_the_bound_at_two_over_the_step():
    for sharper in (False, True):
        assert stable_flatness_bound(0.4, 0.3, 1.2, sharper=sharper) == pytest.approx(
            flatness_bound(5.0, 0.3, 1.2, sharper=sharper)
        )
    assert any("2/η" in hypothesis for hypothesis in stable_flatness_bound(0.4, 0.3, 1.2).hypotheses)


def test_sharper_is_sharper():
    for radius in (0.0, 0.5, 1.0, 10.0):
        assert flatness_bound(1.0, 1.0, radius, sharper=True) < flatness_bound(1.0, 1.0, radius)
