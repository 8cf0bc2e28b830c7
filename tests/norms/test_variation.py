import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe import theory
from steppe.activations import activation_weight
from steppe.core import DtypeError, KindError, ParameterError, UnknownNameError
from steppe.networks import ShallowReLU
from steppe.norms import (
    path_norm,
    radon_bv_norm,
    variation_norm,
    vector_variation_norm,
    weighted_variation_norm,
)

seeds = st.integers(0, 10_000)
law = settings(max_examples=30, deadline=None)


def random_network(seed, *, m=8, d=3, k=1):
    return ShallowReLU(d, m, k, init="torch", seed=seed, skip=True)


def inputs(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(network):
    return network.w.detach(), network.b.detach(), network.v.detach()


def both(one, other):
    """The sum of two networks, as one network."""
    parts = [
        torch.cat([p, q], dim=-1 if p is one.v else 0)
        for p, q in ((one.w, other.w), (one.b, other.b), (one.v, other.v))
    ]
    return ShallowReLU.from_weights(*parts, one.output_bias + other.output_bias, one.skip + other.skip)


def all_norms(network, x):
    return {
        "path": path_norm(network),
        "variation": variation_norm(network),
        "on a ball": variation_norm(network, radius=1.0),
        "weighted": weighted_variation_norm(network, x),
        "unreduced": weighted_variation_norm(network, x, reduced=False),
    }


def test_worked_example():
    network = ShallowReLU.from_weights(w=[[3, 4], [-3, -4], [1, 0], [0, 0]], b=[5, -5, 2, -1], v=[2, -1, 0.5, 1])
    assert path_norm(network) == 15.5
    assert variation_norm(network) == 5.5
    assert variation_norm(network, radius=1.0) == 0
    assert variation_norm(network, radius=1.5) == 5
    assert radon_bv_norm(network) == 16.5
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert network(corners).flatten().tolist() == [-4, -1, 0]


@law
@given(seed=seeds, k=st.integers(1, 3))
def test_rescaling_and_permutation_change_nothing(seed, k):
    network, x = random_network(seed, k=k), inputs(20, 3, seed)
    w, b, v = weights(network)
    scale = torch.exp(torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    other = ShallowReLU.from_weights((w * scale[:, None])[order], (b * scale)[order], (v / scale)[:, order])
    assert all_norms(other, x) == pytest.approx(all_norms(network, x), rel=1e-10)


@law
@given(seed=seeds)
def test_splitting_and_flipping_change_only_norms_of_the_parametrisation(seed):
    network, x = random_network(seed), inputs(20, 3, seed)
    w, b, v = weights(network)
    # neuron 0 is split in three, one part flipped: φ(s) = φ(−s) + s with the s absorbed by the skip
    other = ShallowReLU.from_weights(
        torch.cat([w, w[:1], -w[:1]]),
        torch.cat([b, b[:1], -b[:1]]),
        torch.cat([v, -2 * v[:, :1], 2 * v[:, :1]], dim=1),
        network.output_bias + 2 * v[:, 0] * -b[0],
        network.skip + 2 * v[:, :1] * w[:1],
    )
    torch.testing.assert_close(other(x), network(x))
    before, after = all_norms(network, x), all_norms(other, x)
    for name in ("variation", "on a ball", "weighted"):
        assert after[name] == pytest.approx(before[name], rel=1e-9)
    assert after["path"] > before["path"]
    assert radon_bv_norm(other) == pytest.approx(radon_bv_norm(network))


@law
@given(seed=seeds, factor=st.floats(-3, 3))
def test_homogeneity_and_triangle_inequality(seed, factor):
    one, other, x = random_network(seed), random_network(seed + 1, m=5), inputs(20, 3, seed)
    w, b, v = weights(one)
    scaled = ShallowReLU.from_weights(w, b, factor * v, factor * one.output_bias, factor * one.skip)
    expected = {name: abs(factor) * value for name, value in all_norms(one, x).items()}
    assert all_norms(scaled, x) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    total, left, right = all_norms(both(one, other), x), all_norms(one, x), all_norms(other, x)
    for name, value in total.items():
        assert value <= left[name] + right[name] + 1e-10
    assert radon_bv_norm(both(one, other)) <= radon_bv_norm(one) + radon_bv_norm(other) + 1e-10


@law
@given(seed=seeds, k=st.integers(1, 2))
def test_order_of_the_norms(seed, k):
    network, x = random_network(seed, k=k), inputs(20, 3, seed)
    values = all_norms(network, x)
    assert values["on a ball"] <= values["variation"] <= values["path"] + 1e-12
    assert values["weighted"] <= values["unreduced"] + 1e-12
    assert variation_norm(network, radius=1.0) <= variation_norm(network, radius=2.0) + 1e-12


def test_network_minus_itself_is_zero():
    network, x = random_network(3), inputs(20, 3, 3)
    w, b, v = weights(network)
    minus = ShallowReLU.from_weights(w, b, -v, -network.output_bias, -network.skip)
    values = all_norms(both(network, minus), x)
    assert values["variation"] == values["weighted"] == 0
    assert values["path"] == pytest.approx(2 * path_norm(network))


def test_one_dimension_is_the_total_variation_of_the_slope():
    network = random_network(5, d=1, m=10)
    knots = torch.sort((network.b / network.w[:, 0]).detach()).values
    middles = torch.cat([knots[:1] - 1, (knots[1:] + knots[:-1]) / 2, knots[-1:] + 1])[:, None]
    h = float(knots.diff().min()) / 4
    with torch.no_grad():
        slopes = ((network(middles + h) - network(middles - h)) / (2 * h))[:, 0]
    assert variation_norm(network) == pytest.approx(float(slopes.diff().abs().sum()), rel=1e-6)
    x = inputs(30, 1, 0)
    g = activation_weight(x, torch.ones(10, 1, dtype=torch.float64), knots)
    assert weighted_variation_norm(network, x) == pytest.approx(float((slopes.diff().abs() * g).sum()), rel=1e-6)


def test_lipschitz_constant_is_below_the_full_norm():
    network = random_network(7)
    x = inputs(200, 3, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert float(gradient.norm(dim=1).max()) <= radon_bv_norm(network)


def test_weighted_norm_of_the_uniform_ball_tends_to_the_population():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(300_000, 2, generator=rng, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True) * torch.rand(300_000, 1, generator=rng, dtype=torch.float64).sqrt()
    network = ShallowReLU.from_weights([[3.0, 4.0], [0.0, -2.0]], [1.0, 1.0], [1.0, -2.0])
    expected = 5 * theory.ball_weight(2, 0.2) + 4 * theory.ball_weight(2, 0.5)
    assert weighted_variation_norm(network, x, radius=1.0) == pytest.approx(expected, rel=0.01)


def test_unreduced_sum_by_hand():
    x = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]], dtype=torch.float64)
    # active on all samples: s = 2·1, p = 1, M = 0; constant: s = 3, p = 1; flipped pair of the four points
    network = ShallowReLU.from_weights(
        [[2.0, 0.0], [0.0, 0.0], [4.0, 0.0], [-4.0, 0.0]], [-2.0, -3.0, 1.0, -1.0], [1.0, 2.0, 1.0, -1.0]
    )
    expected = 2 + 6 + 4 * (0.0174692811 + 0.2376079113)
    assert weighted_variation_norm(network, x, reduced=False) == pytest.approx(expected, abs=1e-8)
    assert weighted_variation_norm(network, x) == 0  # the pair cancels up to an affine function
    single = ShallowReLU.from_weights([[-4.0, 0.0]], [-1.0], [1.0])
    assert weighted_variation_norm(single, x) == pytest.approx(4 * 0.0174692811, abs=1e-8)
    assert weighted_variation_norm(single, x, radius=0.2) == 0


def test_degenerate_data():
    network = random_network(1)
    assert weighted_variation_norm(network, torch.zeros(3, 3, dtype=torch.float64)) == 0
    assert weighted_variation_norm(network, inputs(1, 3, 0)) == 0  # one sample is on one side only
    assert weighted_variation_norm(ShallowReLU(3, 4, init="zeros"), inputs(5, 3, 0)) == 0


def test_several_outputs_share_neurons():
    network = ShallowReLU.from_weights([[3.0, 4.0], [-3.0, -4.0]], [12.0, -12.0], [[3.0, 0.0], [0.0, 4.0]])
    assert variation_norm(network) == 25  # one hyperplane, coefficient (15, 20)
    assert path_norm(network) == 35
    assert vector_variation_norm(network) == 7 * 13
    assert vector_variation_norm(network, biases="free") == 25


def test_vector_norm_of_the_published_teacher():
    with torch.random.fork_rng():
        torch.manual_seed(43)
        torch.randn(50, 2)
        first, second = torch.nn.Linear(2, 5), torch.nn.Linear(5, 2, bias=False)
    teacher = ShallowReLU.from_weights(first.weight, -first.bias, second.weight)
    assert vector_variation_norm(teacher) == pytest.approx(0.998064, abs=1e-6)


def test_norms_take_float32():
    network, x = random_network(2), inputs(20, 3, 2)
    single = all_norms(network.copy(dtype=torch.float32), x.float())
    assert single == pytest.approx(all_norms(network, x), rel=1e-4)
    assert np.isfinite(list(single.values())).all()


def test_extreme_scales_do_not_overflow():
    network = ShallowReLU.from_weights([[1e200, 1e200]], [1e200], [1e-200])
    assert path_norm(network) == pytest.approx(math.sqrt(2))
    assert variation_norm(network) == pytest.approx(math.sqrt(2))


@pytest.mark.door
def test_bad_input():
    network, x = random_network(2), inputs(20, 3, 2)
    with pytest.raises(KindError, match=r"ShallowReLU\.from_sequential"):
        path_norm(network.w)
    with pytest.raises(DtypeError, match=r"float64 and torch\.float32"):
        weighted_variation_norm(network, x.float())
    with pytest.raises(ParameterError, match="`radius` must be None with reduced=False, got 1"):
        weighted_variation_norm(network, x, radius=1.0, reduced=False)
    with pytest.raises(ParameterError, match="`radius` must be > 0, got -1"):
        weighted_variation_norm(network, x, radius=-1.0)
    with pytest.raises(UnknownNameError, match="`biases`"):
        vector_variation_norm(network, biases="none")
