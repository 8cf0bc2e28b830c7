"""Knots of a network of one input, ∫|f''|g, and the rescaling of the key lemma."""

import pytest
import torch

from steppe.activations import activation_weight
from steppe.core import ShapeError, SquaredLoss
from steppe.curvature import gauss_newton
from steppe.networks import ShallowReLU
from steppe.norms import (
    balance_mean_gradient,
    path_norm,
    univariate_knots,
    variation_norm,
    weighted_variation_norm,
)


def _sample(n=20, seed=0):
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (x - x.mean()) / x.std()


def test_spline_is_the_network():
    for seed in range(5):
        network = ShallowReLU(1, 17, init="torch", skip=seed % 2 == 0, seed=seed)
        spline = univariate_knots(network)
        x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
        with torch.no_grad():
            torch.testing.assert_close(spline(x[:, 0]), network(x)[:, 0], atol=1e-12, rtol=1e-12)
        assert (spline.knots.diff() > 0).all()
        assert len(spline.knots) == 17
        assert spline.variation == pytest.approx(variation_norm(network), rel=1e-12)


def test_knots_merge_whatever_the_orientation_and_cancel():
    network = ShallowReLU.from_weights(
        [[1.0], [-2.0], [4.0], [1.0], [1.0]], [1.0, -2.0, 4.0, 3.0, 3.0], [1.0, 1.0, -0.5, 2.0, -2.0], [0.5]
    )
    spline = univariate_knots(network, tolerance=0.0)
    assert spline.knots.tolist() == [1.0]
    assert spline.jumps.tolist() == [1.0]
    assert (spline.slope, spline.intercept) == (-2.0, 2.5)


def test_weighted_variation_is_the_weighted_sum_of_jumps():
    x = _sample()
    network = ShallowReLU(1, 30, init="torch", seed=3)
    spline = univariate_knots(network)
    w, b, v = network.w.detach()[:, 0], network.b.detach(), network.v.detach()[0]
    g = activation_weight(x, torch.ones(30, 1, dtype=torch.float64), b / w)
    assert spline.weighted_variation(x) == pytest.approx(float((v * w).abs() @ g), rel=1e-12)
    assert spline.weighted_variation(x) == pytest.approx(weighted_variation_norm(network, x), rel=1e-12)


def test_weight_is_that_of_the_univariate_paper():
    x = _sample()
    spline = univariate_knots(ShallowReLU(1, 30, init="torch", seed=4))
    sides = []
    for sign in (1, -1):  # P(X > t)² E[X − t | X > t] √(1 + E[X | X > t]²) and its mirror image
        values = []
        for t in spline.knots.tolist():
            active = (sign * x[:, 0] > sign * t).double()
            if not active.sum():
                values.append(0.0)
                continue
            mean = float((x[:, 0] * active).sum() / active.sum())
            values.append(float(active.mean()) ** 2 * sign * (mean - t) * (1 + mean**2) ** 0.5)
        sides.append(values)
    expected = torch.tensor(sides, dtype=torch.float64).amin(0)
    torch.testing.assert_close(spline.weights(x), expected, atol=1e-14, rtol=1e-12)


def test_inside_keeps_the_function_between_the_samples():
    x = _sample()
    spline = univariate_knots(ShallowReLU(1, 40, init="torch", seed=5))
    inner = spline.inside(x)
    at = torch.linspace(float(x.min()), float(x.max()), 200, dtype=torch.float64)
    torch.testing.assert_close(inner(at), spline(at), atol=1e-12, rtol=1e-12)
    assert len(inner.knots) < len(spline.knots)
    assert inner.weighted_variation(x) == pytest.approx(spline.weighted_variation(x), rel=1e-12)


def test_effective_knots_counts_the_large_jumps_inside():
    network = ShallowReLU.from_weights(
        [[1.0]] * 4, [0.0, 0.5, 1.0, 9.0], [10.0, 9.0, 0.5, 100.0]
    )  # the last one lies outside
    x = torch.tensor([[-2.0], [2.0]], dtype=torch.float64)
    spline = univariate_knots(network)
    assert [spline.effective_knots(x, share=s) for s in (0.5, 0.95, 1.0)] == [1, 2, 3]
    assert univariate_knots(ShallowReLU(1, 3, init="zeros")).effective_knots(x) == 0


def _mean_gradient_square(network, x):
    outputs = network(x).mean()
    return float(sum(g.square().sum() for g in torch.autograd.grad(outputs, list(network.parameters()))))


@pytest.mark.parametrize("d", [1, 3])
def test_balanced_mean_gradient_is_least_and_equals_the_lemma(d):
    x = torch.randn(25, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = ShallowReLU(d, 12, init="torch", seed=2)
    balanced = balance_mean_gradient(network, x)
    with torch.no_grad():
        torch.testing.assert_close(balanced(x), network(x), atol=1e-12, rtol=1e-12)
    assert path_norm(balanced) == pytest.approx(path_norm(network))
    least = 1 + 2 * weighted_variation_norm(network, x, reduced=False)
    assert _mean_gradient_square(balanced, x) == pytest.approx(least, rel=1e-12)
    rng = torch.Generator().manual_seed(7)
    for _ in range(20):
        c = torch.exp(0.3 * torch.randn(12, generator=rng, dtype=torch.float64))
        other = ShallowReLU.from_weights(
            balanced.w.detach() * c[:, None], balanced.b.detach() * c, balanced.v.detach() / c, balanced.output_bias
        )
        assert _mean_gradient_square(other, x) >= least


def test_no_rescaling_is_flatter_than_the_lemma_says():
    x = _sample()
    for seed in range(5):
        network = ShallowReLU(1, 8, init="torch", seed=seed)
        least = 1 + 2 * univariate_knots(network).weighted_variation(x)
        with torch.no_grad():
            y = network(x)
        rng = torch.Generator().manual_seed(seed)
        for start in (network, balance_mean_gradient(network, x)):
            c = torch.exp(torch.randn(8, generator=rng, dtype=torch.float64) * 0.5)
            for factor in (torch.ones(8, dtype=torch.float64), c):
                other = ShallowReLU.from_weights(
                    start.w.detach() * factor[:, None], start.b.detach() * factor,
                    start.v.detach() / factor, start.output_bias,
                )  # fmt: skip
                top = torch.linalg.eigvalsh(gauss_newton(other, SquaredLoss(), (x, y)).to_dense())[-1]
                assert float(top) >= least - 1e-12


def test_dead_and_useless_neurons_stay_harmless():
    network = ShallowReLU.from_weights([[1.0], [1.0], [0.0]], [9.0, 0.0, -2.0], [5.0, 0.0, 3.0])
    x = _sample()
    balanced = balance_mean_gradient(network, x)
    assert balanced.w[0].item() == 1.0
    assert balanced.w[1].item() == 0.0
    with torch.no_grad():
        torch.testing.assert_close(balanced(x), network(x))


@pytest.mark.door
def test_several_inputs_or_outputs_are_refused():
    with pytest.raises(ShapeError, match="one input"):
        univariate_knots(ShallowReLU(2, 3))
    with pytest.raises(ShapeError, match="one output"):
        balance_mean_gradient(ShallowReLU(1, 3, 2), _sample())
