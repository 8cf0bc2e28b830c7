"""Escape experiments: recorded numbers, laws, and what is refused."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steppe.core import DataError, DtypeError, KindError, ParameterError, ShapeError, SquaredLoss
from steppe.curvature import deep_linear_sharpness, flattest_sharpness
from steppe.networks import DeepLinear
from steppe.panel import escape_experiment, escape_from

FACTORS = [1.9, 1.99, 2.01, 2.1, 2.5, 3.0]


def chain(depth, target):
    numbers = [0.8 + 0.03 * index for index in range(1, depth)]
    numbers.append(target / math.prod(numbers))
    return [torch.tensor([[number]], dtype=torch.float64) for number in numbers]


def minimizer(sizes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    target = torch.randn(sizes[-1], sizes[0], generator=rng, dtype=torch.float64)
    return DeepLinear.random_minimizer(target, sizes, spread=0.3, seed=seed)


# --- recorded ---


@pytest.mark.parametrize(
    ("depth", "target", "sharpness", "least"),
    [(2, 1.0, 4.2809789810, 4.0), (3, 2.0, 23.4483944567, 15.1190525987), (15, 1.0, 31.0897400389, 30.0)],
)
def test_escapes_of_chains_are_as_recorded(depth, target, sharpness, least):
    found = escape_experiment(chain(depth, target), FACTORS, steps=1500)
    assert found.sharpness == pytest.approx(sharpness, abs=1e-10)
    assert float(flattest_sharpness([[target]], depth)) == pytest.approx(least, abs=1e-10)
    assert [run.escape_step for run in found.runs] == [None, None, 1389, 145, 35, 20]
    for run in found.runs[2:]:
        assert abs(run.escape_step - float(run.predicted)) <= 1


@pytest.mark.parametrize(
    ("depth", "target", "factor", "sharpness", "final"),
    [(2, 1.0, 2.1, 4.04332, 1.98342), (3, 2.0, 2.1, 22.1673, 1.98527), (3, 2.0, 2.5, 18.6009, 1.98318)],
)
def test_chains_settle_at_the_recorded_sharpness(depth, target, factor, sharpness, final):
    (run,) = escape_experiment(chain(depth, target), [factor]).runs
    assert run.state == "settled"
    assert run.loss < 1e-20
    assert run.final_sharpness == pytest.approx(sharpness, rel=3e-6)
    assert run.final_factor == pytest.approx(final, abs=6e-6)


def test_the_recorded_chain_settles_after_a_chaotic_transient_or_never():
    far = escape_experiment(chain(3, 2.0), [3.0]).runs[0]
    assert far.state == "settled"
    assert far.final_factor < 2
    never = escape_experiment(chain(2, 1.0), [2.5], steps=2000).runs[0]
    assert never.state == "finished"
    assert never.loss > 1e-3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_long_chain_settles_at_1_9998_or_never():
    low, high = escape_experiment(chain(15, 1.0), [2.01, 2.1], steps=200_000).runs
    assert low.state == "settled"
    assert low.loss < 1e-20
    assert low.final_sharpness == pytest.approx(30.932, abs=5e-4)
    assert low.final_factor == pytest.approx(1.99980, abs=1e-5)
    assert high.state == "finished"
    assert high.step_size * 30 == pytest.approx(2.026, abs=5e-4)
    assert high.loss == pytest.approx(4e-3, rel=0.1)


@pytest.mark.parametrize(
    "sizes", [[1, 3, 5, 3, 4, 2, 5, 2, 3, 3, 5, 1, 1, 5, 4, 1], [3, 4, 2], [3, 5, 4, 2], [4, 4, 4]]
)
def test_over_parametrised_minimizers_are_left_when_the_formula_says_so(sizes):
    found = escape_experiment(minimizer(sizes), [1.9, 2.1, 3.0], radius=1e-6, steps=200)
    assert found.runs[0].escape_step is None
    assert found.runs[0].final_factor == pytest.approx(1.9)
    for run in found.runs[1:]:
        assert abs(run.escape_step - float(run.predicted)) <= 1


# --- laws ---


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=3, max_size=5), seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3))
def test_the_scale_of_the_loss_changes_nothing_but_the_step(sizes, seed, scale):
    rng = torch.Generator().manual_seed(seed)
    layers = [torch.randn(rows, columns, generator=rng, dtype=torch.float64) for columns, rows in pairwise(sizes)]
    one = escape_experiment(layers, [2.5], steps=30, radius=1e-6)
    other = escape_experiment(layers, [2.5], steps=30, radius=1e-6, scale=scale)
    assert other.sharpness == pytest.approx(scale * one.sharpness)
    assert other.runs[0].step_size == pytest.approx(one.runs[0].step_size / scale)
    assert other.runs[0].escape_step == one.runs[0].escape_step


def test_the_plane_is_orthonormal_and_the_drift_is_flat_and_lowers_the_sharpness():
    network = minimizer([3, 5, 4, 2])
    found = escape_experiment(network, [1.5], steps=10)
    assert np.linalg.norm(found.top) == pytest.approx(1)
    assert np.linalg.norm(found.drift) == pytest.approx(1)
    assert abs(found.top @ found.drift) < 1e-9
    losses = found.losses_on_plane([0.0], [0.0, 1e-4])
    assert losses[0, 0] == pytest.approx(0, abs=1e-25)
    assert losses[1, 0] < 1e-12  # of fourth order
    assert found.losses_on_plane([1e-4], [0.0])[0, 0] == pytest.approx(found.sharpness / 2 * 1e-8, rel=1e-2)
    moved = found.minimizer + 1e-3 * found.drift
    parts = torch.from_numpy(moved).split([layer.numel() for layer in network.layers])
    layers = [part.view_as(layer) for part, layer in zip(parts, network.layers, strict=True)]
    assert float(deep_linear_sharpness(layers)) < found.sharpness


def test_at_a_flattest_minimizer_the_drift_is_a_rescaling():
    network = DeepLinear.balanced([[2.0, 0.0], [0.0, 1.0]], [2, 3, 2])
    found = escape_experiment(network, [1.5], steps=10)
    first, second = (layer.detach().numpy().ravel() for layer in network.layers)
    rescaling = np.concatenate([first, -second])
    assert abs(found.drift @ rescaling) == pytest.approx(np.linalg.norm(rescaling), rel=1e-6)


def test_a_run_does_not_depend_on_its_companions():
    layers = minimizer([3, 5, 4, 2])
    together = escape_experiment(layers, FACTORS, steps=300).runs[3]
    alone = escape_experiment(layers, [2.1], steps=300).runs[0]
    assert np.array_equal(together.point, alone.point)
    assert np.array_equal(together.along_drift, alone.along_drift)


def test_data_enter_through_their_second_moments():
    layers = minimizer([3, 4, 2])
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = escape_experiment(layers, [2.3], data=x, scale=1 / 40, steps=300)
    assert found.sharpness == pytest.approx(float(deep_linear_sharpness(layers, data=x, scale=1 / 40)))
    turned = escape_experiment(layers, [2.3], data=x.flip(0), scale=1 / 40, steps=300)
    assert turned.runs[0].escape_step == found.runs[0].escape_step
    assert abs(found.runs[0].escape_step - float(found.runs[0].predicted)) <= 1


def test_numbers_and_matrices_of_one_entry_take_the_same_path():
    plain = escape_experiment(chain(3, 2.0), [2.1], steps=400)
    padded = [torch.cat([layer, torch.zeros_like(layer)], dim=0) if i == 0 else layer for i, layer in
              enumerate(chain(3, 2.0))]  # fmt: skip
    padded[1] = torch.cat([padded[1], torch.zeros_like(padded[1])], dim=1)  # an idle neuron
    other = escape_experiment(padded, [2.1], steps=400)
    assert other.sharpness == pytest.approx(plain.sharpness, rel=1e-12)
    assert other.runs[0].escape_step == plain.runs[0].escape_step


def test_any_model_escapes_as_the_closed_form_does():
    network = minimizer([2, 3, 2])
    x = torch.eye(2, dtype=torch.float64)
    y = network(x).detach()
    closed = escape_experiment(network, [1.9, 2.2], data=x, scale=1 / 4, steps=200)
    model = escape_from(network.to_sequential(), SquaredLoss(), (x, y), [1.9, 2.2], steps=200)
    assert model.sharpness == pytest.approx(closed.sharpness, rel=1e-8)
    assert [run.escape_step for run in model.runs] == [run.escape_step for run in closed.runs]
    assert abs(model.top @ closed.top) == pytest.approx(1, abs=1e-8)


def test_a_run_prints_what_happened():
    text = str(escape_experiment(chain(2, 1.0), [1.9, 2.1]))
    assert "did not leave" in text
    assert "left after 145 updates (theory 144.95); settled" in text
    assert "step · sharpness 1.98342" in text


@pytest.mark.parametrize("factor", [1e-3, 0.3, 1.0, 1.7])
def test_a_run_below_the_limit_counts_as_settled_when_it_has_come_back(factor):
    (run,) = escape_experiment(chain(3, 2.0), [factor], steps=6000).runs
    assert run.state == "settled"
    assert run.distance[0] == pytest.approx(1e-9)
    assert run.loss <= 1.01 * 23.4483944567 / 2 * 1e-22  # a hundredth of the distance at the start


# --- refused ---


@pytest.mark.parametrize(
    ("layers", "options", "error", "words"),
    [
        ([], {}, ShapeError, "at least one matrix"),
        ([torch.ones(2, 3), torch.ones(2, 3)], {}, ShapeError, "W_2 must have shape"),
        ([torch.full((1, 1), math.nan)] * 2, {}, DataError, "finite"),
        ([torch.zeros(1, 1), torch.zeros(1, 1)], {}, DataError, "must be positive"),
        pytest.param("a", {}, KindError, "must be", marks=pytest.mark.door),
        ([torch.ones(1, 1)] * 2, {"scale": 0.0}, ParameterError, "`scale` must be > 0"),
        ([torch.ones(1, 1)] * 2, {"start": 0.0}, ParameterError, "`start`"),
        ([torch.ones(1, 1)] * 2, {"radius": 1e-12}, ParameterError, "`radius`"),
        ([torch.ones(1, 1)] * 2, {"steps": 0}, ParameterError, "`steps`"),
        ([torch.ones(1, 1)] * 2, {"target": [[1.0]]}, KindError, "target"),
        ([torch.ones(1, 2), torch.ones(1, 1)], {"data": torch.ones(3, 3)}, ShapeError, r"must have shape \[n, 2\]"),
        ([torch.ones(1, 2)], {}, ShapeError, "at least two matrices"),
    ],
)
def test_bad_arguments_are_refused(layers, options, error, words):
    with pytest.raises(error, match=words):
        escape_experiment(layers, [2.1], **options)


@pytest.mark.parametrize(
    ("factors", "error"), [([], DataError), ([-1.0], ParameterError), ([math.nan], ParameterError)]
)
def test_bad_factors_are_refused(factors, error):
    with pytest.raises(error, match="factors"):
        escape_experiment(chain(2, 1.0), factors)


@pytest.mark.door
def test_one_factor_must_be_in_a_list():
    with pytest.raises(KindError, match=r"list of numbers, got float; pass \[1\.9, 2\.1\]"):
        escape_experiment(chain(2, 1.0), 2.1)


def test_models_must_be_at_a_minimizer_and_in_float64():
    x, y = torch.eye(2, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(2, 1, bias=False)).double()
    with pytest.raises(ParameterError, match="must be a minimizer"):
        escape_from(model, SquaredLoss(), (x, y), [2.1])
    with pytest.raises(DtypeError, match=r"float64.*model\.double"):
        escape_from(nn.Linear(2, 1), SquaredLoss(), (x.float(), y.float()), [2.1])
