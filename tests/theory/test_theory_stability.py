"""Stability thresholds against the roots of the update's characteristic polynomial, and SGD's against enumeration."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DataError, ParameterError, ShapeError
from steppe.theory import adam_threshold, largest_stable_step, rmsprop_threshold, sgd_growth, stability_threshold


def radius(curvature, step, *, momentum=0.0, nesterov=False, dampening=0.0, weight_decay=0.0, decoupled_decay=0.0):
    """Spectral radius of torch's update on (position, buffer)."""
    position, buffer = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    gradient = (curvature + weight_decay) * position
    moved = momentum * buffer + (1 - dampening) * gradient
    update = gradient + momentum * moved if nesterov else moved
    if nesterov and dampening:  # NAdam: both terms are averages
        update = (1 - dampening) * gradient + momentum * moved
    return np.abs(np.linalg.eigvals(np.stack([(1 - step * decoupled_decay) * position - step * update, moved]))).max()


@settings(max_examples=150, deadline=None)
@given(
    step=st.floats(1e-3, 10),
    momentum=st.floats(0, 0.99),
    dampening=st.floats(0, 0.99),
    weight_decay=st.floats(0, 1e-2),
    shrink=st.floats(0, 1.5),
)
def test_the_update_contracts_below_the_threshold_and_not_above(step, momentum, dampening, weight_decay, shrink):
    options = {
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "decoupled_decay": shrink / step,
    }
    threshold = stability_threshold(step, **options)
    assert radius(threshold * 0.999, step, **options) < 1 or threshold < 1e-2
    assert radius(threshold + 1e-3 * abs(threshold) + 1e-9, step, **options) > 1


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.99])
def test_nesterov_with_decay_and_nadam(beta, decay):
    for dampening in (0.0, beta):
        options = {"momentum": beta, "dampening": dampening, "nesterov": True, "weight_decay": decay}
        threshold = stability_threshold(0.1, **options)
        assert radius(threshold * 0.999, 0.1, **options) < 1
        assert radius(threshold * 1.001, 0.1, **options) > 1
    assert adam_threshold(0.1, beta1=beta, nesterov=True) == stability_threshold(
        0.1, momentum=beta, dampening=beta, nesterov=True
    )


def test_the_largest_step_is_the_inverse():
    for options in (
        {"weight_decay": 0.3},
        {"momentum": 0.9, "dampening": 0.9, "decoupled_decay": 0.2},
        {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
    ):
        step = largest_stable_step(7.0, **options)
        assert stability_threshold(step, **options) == pytest.approx(7.0)


def test_closed_forms_and_their_standing():
    assert adam_threshold(0.01) == pytest.approx(3800)
    assert adam_threshold(0.01).status == "recalled"
    assert adam_threshold(0.01, decoupled_decay=10.0) == pytest.approx(1.9 * 1.9 / (0.1 * 0.01))
    assert adam_threshold(0.01, decoupled_decay=10.0).status == "derived"
    assert rmsprop_threshold(0.01) == pytest.approx(200)
    assert rmsprop_threshold(0.01, momentum=0.9) == pytest.approx(380)
    assert stability_threshold(0.1, weight_decay=1.0) == pytest.approx(19)
    assert any("frozen" in hypothesis for hypothesis in adam_threshold(0.01).hypotheses)


def moment(hessians, step, batch):
    """E[(I − ηH_B) ⊗ (I − ηH_B)] over all batches, and E[(I − ηH_B)²]."""
    eye = np.eye(hessians.shape[1])
    maps = [eye - step * hessians[list(chosen)].mean(axis=0) for chosen in combinations(range(len(hessians)), batch)]
    return np.mean([np.kron(a, a) for a in maps], axis=0), np.mean([a @ a for a in maps], axis=0)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_growth_of_sgd_agrees_with_all_batches_enumerated(batch):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 3, 1))
    hessians = gradients @ gradients.transpose(0, 2, 1)
    for step in (0.1, 0.5, 2.0):
        second, square = moment(hessians, step, batch)
        one = sgd_growth(hessians, step, batch_size=batch)
        long = sgd_growth(hessians, step, batch_size=batch, exact=True)
        assert one == pytest.approx(np.linalg.eigvalsh(square)[-1])
        assert long == pytest.approx(np.abs(np.linalg.eigvals(second)).max())
        assert long <= one + 1e-12


def test_full_batch_growth_is_that_of_gradient_descent():
    hessians = np.array([np.diag([1.0, 3.0]), np.diag([1.0, 5.0])])
    assert sgd_growth(hessians, 0.4, batch_size=2) == pytest.approx((1 - 0.4) ** 2)
    assert sgd_growth(hessians, 0.5, batch_size=2) == pytest.approx(1.0)  # 2/η = 4, the mean curvature
    assert sgd_growth(hessians, 0.5, batch_size=1) > 1  # which SGD cannot hold


@pytest.mark.door
def test_doors():
    with pytest.raises(ParameterError, match="the decay alone diverges"):
        stability_threshold(1.0, decoupled_decay=2.0)
    with pytest.raises(ParameterError, match="must be 0 with Nesterov"):
        stability_threshold(0.1, nesterov=True, momentum=0.9, decoupled_decay=0.1)
    with pytest.raises(ParameterError, match="`beta1` must be"):
        adam_threshold(0.1, beta1=1.0)
    with pytest.raises(ShapeError, match=r"\[n, p, p\]"):
        sgd_growth(np.ones((2, 2)), 0.1, batch_size=1)
    with pytest.raises(DataError, match="symmetric"):
        sgd_growth([[[0.0, 1.0], [0.0, 0.0]]], 0.1, batch_size=1)
    with pytest.raises(ParameterError, match="`batch_size`"):
        sgd_growth([[[1.0]]], 0.1, batch_size=2)
