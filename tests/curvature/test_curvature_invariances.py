import copy
import math

import hypothesis.strategies as st
import pytest
import torch
from flat_models import DATA, LOSS, X, Y, of_adam, permuted, relu, rescaled
from hypothesis import given, settings

from steppe.curvature import (
    average_case_sharpness,
    effective_dimension,
    fisher_rao_norm,
    gradient_noise_scale,
    relative_flatness,
    sharpness,
    trace,
    worst_case_sharpness,
)


@settings(max_examples=5, deadline=None)
@given(c=st.lists(st.floats(0.2, 5), min_size=5, max_size=5), factor=st.floats(0.2, 5))
def test_relative_flatness_bears_rescaled_outputs_and_uniformly_scaled_inputs(c, factor):
    model = relu()
    plain = relative_flatness(model, LOSS, DATA)
    by_neuron = relative_flatness(rescaled(model, c), LOSS, DATA)
    assert float(by_neuron["0.weight"]) == pytest.approx(float(plain["0.weight"]), rel=1e-8)
    uniform = relative_flatness(rescaled(model, [factor] * 5), LOSS, DATA)
    for name, value in plain.items():
        assert float(uniform[name]) == pytest.approx(float(value), rel=1e-8)


def test_relative_flatness_does_not_bear_inputs_scaled_one_by_one():
    model = relu()
    plain, other = (relative_flatness(m, LOSS, DATA)["2.weight"] for m in (model, rescaled(model, [4, 1, 1, 1, 0.3])))
    assert abs(float(other) / float(plain) - 1) > 0.05


@settings(max_examples=8, deadline=None)
@given(c=st.lists(st.floats(0.2, 5), min_size=5, max_size=5))
def test_adaptive_measures_bear_rescaled_neurons(c):
    model = relu()
    other = rescaled(model, c)
    for steps in (1, 4):
        plain = worst_case_sharpness(model, LOSS, DATA, radius=0.1, steps=steps, adaptive=True)
        assert float(worst_case_sharpness(other, LOSS, DATA, radius=0.1, steps=steps, adaptive=True)) == pytest.approx(
            float(plain), rel=1e-7
        )
    plain = average_case_sharpness(model, LOSS, DATA, sigma=0.1, adaptive=True, draws=3)
    assert float(average_case_sharpness(other, LOSS, DATA, sigma=0.1, adaptive=True, draws=3)) == pytest.approx(
        float(plain), rel=1e-7
    )
    assert float(fisher_rao_norm(other, LOSS, DATA)) == pytest.approx(
        float(fisher_rao_norm(model, LOSS, DATA)), rel=1e-9
    )


@pytest.mark.parametrize(
    "measure",
    [
        lambda m: sharpness(m, LOSS, DATA),
        lambda m: trace(m, LOSS, DATA),
        lambda m: of_adam(m, LOSS, DATA),
        lambda m: effective_dimension(m, LOSS, DATA, alpha=0.1),
        lambda m: worst_case_sharpness(m, LOSS, DATA),
        lambda m: average_case_sharpness(m, LOSS, DATA, sigma=0.1, draws=20),
        lambda m: gradient_noise_scale(m, LOSS, DATA),
    ],
)
def test_control_other_measures_do_not_bear_rescaled_neurons(measure):
    model = relu()
    values = float(measure(model)), float(measure(rescaled(model, [5, 4, 3, 0.2, 1])))
    assert all(map(math.isfinite, values))
    assert abs(values[1] / values[0] - 1) > 0.02


@settings(max_examples=2, deadline=None)
@given(order=st.permutations(range(5)))
def test_every_measure_bears_permuted_neurons(order):
    model = relu()
    other = permuted(model, list(order))
    for measure in (
        lambda m: sharpness(m, LOSS, DATA, rtol=1e-10),
        lambda m: trace(m, LOSS, DATA),
        lambda m: of_adam(m, LOSS, DATA),
        lambda m: effective_dimension(m, LOSS, DATA, alpha=0.1),
        lambda m: worst_case_sharpness(m, LOSS, DATA),
        lambda m: worst_case_sharpness(m, LOSS, DATA, adaptive=True),
        lambda m: worst_case_sharpness(m, LOSS, DATA, samples=4),
        lambda m: fisher_rao_norm(m, LOSS, DATA),
        lambda m: gradient_noise_scale(m, LOSS, DATA),
        lambda m: relative_flatness(m, LOSS, DATA)["2.weight"],
    ):
        assert math.isfinite(float(measure(model)))
        assert float(measure(other)) == pytest.approx(float(measure(model)), rel=1e-7)


def test_inputs_scaled_against_the_first_layer():
    model = relu(bias=False)
    twin, data = copy.deepcopy(model), (2 * X, Y)
    with torch.no_grad():
        twin[0].weight.div_(2)
    for measure in (
        lambda m, d: relative_flatness(m, LOSS, d)["0.weight"],
        lambda m, d: fisher_rao_norm(m, LOSS, d),
        lambda m, d: worst_case_sharpness(m, LOSS, d, adaptive=True),
        lambda m, d: average_case_sharpness(m, LOSS, d, adaptive=True, draws=3),
    ):
        assert float(measure(twin, data)) == pytest.approx(float(measure(model, DATA)), rel=1e-8)
    for measure in (
        lambda m, d: sharpness(m, LOSS, d),
        lambda m, d: trace(m, LOSS, d),
        lambda m, d: of_adam(m, LOSS, d),
        lambda m, d: effective_dimension(m, LOSS, d, alpha=0.1),
        lambda m, d: worst_case_sharpness(m, LOSS, d),
        lambda m, d: average_case_sharpness(m, LOSS, d, sigma=0.1, draws=20),
        lambda m, d: gradient_noise_scale(m, LOSS, d),
    ):
        assert abs(float(measure(twin, data)) / float(measure(model, DATA)) - 1) > 0.01


def test_factors_on_the_loss():
    model = relu()

    def tripled(f, y):
        return 3 * LOSS(f, y)

    for measure, power in (
        (lambda loss: sharpness(model, loss, DATA, rtol=1e-10), 1),
        (lambda loss: trace(model, loss, DATA), 1),
        (lambda loss: of_adam(model, loss, DATA), 0),
        (lambda loss: worst_case_sharpness(model, loss, DATA, adaptive=True), 1),
        (lambda loss: worst_case_sharpness(model, loss, DATA), 1),
        (lambda loss: average_case_sharpness(model, loss, DATA, draws=4), 1),
        (lambda loss: relative_flatness(model, loss, DATA)["2.weight"], 1),
        (lambda loss: fisher_rao_norm(model, loss, DATA), 1),
        (lambda loss: gradient_noise_scale(model, loss, DATA), 0),
    ):
        assert float(measure(tripled)) == pytest.approx(3**power * float(measure(LOSS)), rel=1e-7)
