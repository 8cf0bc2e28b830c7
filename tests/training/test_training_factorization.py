"""Deep matrix factorization by gradient methods against its closed-form optimum."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import ComputationError, DataError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.theory import local_minimum_threshold, local_minimum_values, singular_value_threshold
from steppe.training import fit_factorization
from steppe.training.factorization import _Problem, end_to_end_minimizer

TARGET = np.diag([3, 2, 0.5])
SIZES = (3, 3, 3, 3)


def nearest(values, value):
    return float(np.abs(np.array(values) - value).min())


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lbfgs", {"start": "normal"}),
        ("lbfgs", {"start": "balanced"}),
        ("gradient-descent", {"start": "balanced", "restarts": 2}),
    ],
)
def test_the_optimum_is_reached_and_every_end_is_a_predicted_local_minimum(method, options):
    fit = fit_factorization(TARGET, SIZES, weight=0.1, seed=1, method=method, **{"restarts": 8} | options)
    assert fit.value == pytest.approx(1.2604321247464, abs=1e-12)
    assert abs(fit.gap) < 1e-12
    assert fit.reached >= 1
    assert [run.value for run in fit.runs] == sorted(run.value for run in fit.runs)
    for run in fit.runs:
        assert run.state == "settled"
        assert run.value == pytest.approx(fit.local_values[run.rank], abs=1e-10)
    for layer in fit.network.layers:
        assert layer.square().sum().item() == pytest.approx(4.0976313871, abs=1e-6)


def test_small_starts_end_at_zero_and_say_how_far_above_the_optimum():
    fit = fit_factorization(
        TARGET, SIZES, weight=0.1, seed=0, restarts=1, start_scale=1e-3, method="gradient-descent", steps=1500
    )
    assert fit.reached == 0
    assert {run.rank for run in fit.runs} == {0}
    assert fit.gap == pytest.approx(9 + 4 + 0.25 - 1.2604321247464, abs=1e-9)
    assert "0 of 1 restarts reached it" in str(fit)


def test_local_minimum_values_as_derived():
    values = local_minimum_values(TARGET, 0.1, SIZES)
    assert values[0] == 13.25
    assert values[-1] == pytest.approx(1.2604321247464, abs=1e-12)
    # between the two thresholds keeping is a local minimum only: it costs more than dropping
    low, high = float(local_minimum_threshold(0.1, 3)), float(singular_value_threshold(0.1, 3))
    assert low < high
    dropped, kept = local_minimum_values([[0.5 * (low + high)]], 0.1, 3)
    assert kept > dropped
    assert len(local_minimum_values([[0.99 * low]], 0.1, 3)) == 1
    assert local_minimum_values(TARGET, 0.1, (3, 3, 3)).shape == (1,)
    assert len(local_minimum_values(TARGET, 0.1, (3, 1, 3, 3))) == 2


def test_only_the_largest_singular_values_can_be_kept_at_a_local_minimum():
    """Keeping the second instead of the first is a critical point with a negative eigenvalue."""
    best = end_to_end_minimizer(np.diag([3.0, 2.0]), 0.1, (2, 2, 2, 2))
    problem = _Problem(np.diag([3.0, 2.0]), best)

    def lowest(kept):
        root = np.diag(best.singular_values ** (1 / 3) * kept)
        flat = np.concatenate([root.ravel()] * 3)
        assert np.abs(problem(flat)[1]).max() < 1e-12
        steps = 1e-6 * np.eye(12)
        hessian = np.array([(problem(flat + step)[1] - problem(flat - step)[1]) / 2e-6 for step in steps])
        return np.linalg.eigvalsh(hessian)[0]

    assert lowest(np.array([0.0, 1.0])) < -0.1
    for prefix in ([0.0, 0.0], [1.0, 0.0], [1.0, 1.0]):
        assert lowest(np.array(prefix)) > -1e-6


@given(
    st.integers(0, 10**6), st.lists(st.integers(2, 4), min_size=3, max_size=5), st.floats(0.05, 0.5), st.floats(0.3, 2)
)
@settings(max_examples=10, deadline=None)
def test_ends_are_balanced_and_keep_the_targets_singular_vectors(seed, sizes, weight, scale):
    target = np.random.default_rng(seed).standard_normal((sizes[-1], sizes[0]))
    fit = fit_factorization(target, sizes, weight=weight, seed=seed, scale=scale, restarts=2)
    assert fit.gap >= -1e-9 * fit.scale  # nothing is below the closed form
    for run in fit.runs:
        layers = [layer.detach() for layer in run.network.layers]
        for before, after in pairwise(layers):
            assert torch.allclose(after.T @ after, before @ before.T, atol=1e-5)
        if run.state == "settled" and len(sizes) > 3:
            assert nearest(fit.local_values, run.value) < 1e-6 * fit.scale


def test_balanced_starts_of_every_rank_end_at_every_local_minimum():
    ends = [
        fit_factorization(TARGET, SIZES, weight=0.1, seed=0, restarts=1, start="balanced", start_rank=rank)
        for rank in (1, 2, 3)
    ]
    assert [fit.value for fit in ends] == pytest.approx(ends[0].local_values[1:], abs=1e-10)
    assert [fit.runs[0].rank for fit in ends] == [1, 2, 3]


def test_weights_per_layer_share_the_penalty_evenly():
    weights = (0.5, 0.1, 0.2)
    fit = fit_factorization(TARGET, SIZES, weight=weights, seed=0, restarts=2, start="balanced")
    penalties = [
        weight * layer.square().sum().item() for weight, layer in zip(weights, fit.network.layers, strict=True)
    ]
    assert fit.reached == 2
    assert penalties == pytest.approx([penalties[0]] * 3, rel=1e-6)


def test_gradient_is_that_of_autograd():
    best = end_to_end_minimizer(np.ones((2, 3)), (0.3, 0.1, 0.2), (3, 4, 2, 2), scale=0.7)
    flat = np.random.default_rng(0).standard_normal(12 + 8 + 4)
    problem = _Problem(np.ones((2, 3)), best)
    value, gradient = problem(flat)
    variable = torch.tensor(flat, requires_grad=True)
    parts = [part.reshape(shape) for part, shape in zip(variable.split([12, 8, 4]), problem.shapes, strict=True)]
    loss = 0.7 * (torch.linalg.multi_dot(parts[::-1]) - 1).square().sum()
    loss = loss + sum(weight * part.square().sum() for weight, part in zip(best.weights, parts, strict=True))
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-14)
    assert gradient == pytest.approx(variable.grad.numpy(), abs=1e-12)


def test_starts_follow_the_seed():
    def values(seed):
        return [run.value for run in fit_factorization(TARGET, SIZES, weight=0.1, seed=seed, restarts=2, steps=3).runs]

    assert values(0) == values(0)
    assert values(0) != values(1)


@pytest.mark.door
@pytest.mark.parametrize(
    ("error", "words", "change"),
    [
        (DataError, "`target` must be finite", {"target": [[float("nan")] * 3] * 3}),
        (ShapeError, "must begin with 3", {"sizes": (2, 3, 3)}),
        (KindError, "`sizes` must be the list", {"sizes": 3}),
        (ParameterError, "`weight` must be > 0", {"weight": -1.0}),
        (ParameterError, "`restarts` must be ≥ 1", {"restarts": 0}),
        (ParameterError, "`start_scale` must be > 0", {"start_scale": 0.0}),
        (ParameterError, "`start_rank` must be ≥ 1", {"start_rank": 0}),
        (ParameterError, "`step_size` belongs to gradient descent", {"step_size": 0.1}),
        (UnknownNameError, "`method` must be one of", {"method": "adam"}),
        (UnknownNameError, "`start` must be one of", {"start": "zero"}),
        (ParameterError, "one number for gradient", {"method": "gradient-descent", "weight": (0.1, 0.2, 0.3)}),
        (ComputationError, "all 2 restarts diverged", {"method": "gradient-descent", "step_size": 1e3, "restarts": 2}),
    ],
)
def test_bad_input_is_named(error, words, change):
    arguments = {"target": TARGET, "sizes": SIZES, "weight": 0.1, "seed": 0, "restarts": 1} | change
    with pytest.raises(error, match=words):
        fit_factorization(arguments.pop("target"), arguments.pop("sizes"), **arguments)
