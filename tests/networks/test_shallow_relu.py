import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steppe.core import InputError, KindError, ShapeError
from steppe.networks import ShallowReLU

sizes = st.integers(1, 5)
law = settings(deadline=None, max_examples=40, derandomize=True)


def network_and_inputs(d, m, k, seed, *, skip=True):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    network = ShallowReLU.from_weights(draw(m, d), draw(m), draw(k, m), draw(k), draw(k, d) if skip else None)
    return network, draw(7, d)


def test_value_by_hand():
    # f(x) = 3·max(2x₁ − x₂ − 1, 0) − 2·max(x₂ + 0.5, 0) + 5x₁ + 0.25 at x = (2, 1): 3·2 − 2·1.5 + 10 + 0.25
    network = ShallowReLU.from_weights([[2.0, -1.0], [0.0, 1.0]], [1.0, -0.5], [[3.0, -2.0]], [0.25], [[5.0, 0.0]])
    assert network(torch.tensor([[2.0, 1.0]], dtype=torch.float64)).item() == 13.25


@law
@given(d=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000))
def test_forward_is_the_sum_over_neurons(d, m, k, seed):
    network, x = network_and_inputs(d, m, k, seed)
    for i in range(len(x)):
        for j in range(k):
            total = network.output_bias[j].item() + sum(network.skip[j, a].item() * x[i, a].item() for a in range(d))
            for neuron in range(m):
                z = sum(network.w[neuron, a].item() * x[i, a].item() for a in range(d)) - network.b[neuron].item()
                total += network.v[j, neuron].item() * max(z, 0.0)
            assert math.isclose(network(x)[i, j].item(), total, rel_tol=1e-9, abs_tol=1e-9)


@law
@given(d=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000), c=st.floats(0.01, 100))
def test_rescaling_a_neuron_changes_nothing(d, m, k, seed, c):
    network, x = network_and_inputs(d, m, k, seed)
    other = ShallowReLU.from_weights(c * network.w, c * network.b, network.v / c, network.output_bias, network.skip)
    torch.testing.assert_close(other(x), network(x), rtol=1e-10, atol=1e-10)


@law
@given(d=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000))
def test_permuting_neurons_changes_nothing(d, m, k, seed):
    network, x = network_and_inputs(d, m, k, seed)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    other = ShallowReLU.from_weights(
        network.w[order], network.b[order], network.v[:, order], network.output_bias, network.skip
    )
    torch.testing.assert_close(other(x), network(x), rtol=1e-12, atol=1e-12)


@law
@given(d=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000))
def test_sequential_and_back_is_exact(d, m, k, seed):
    network, x = network_and_inputs(d, m, k, seed, skip=False)
    module = network.to_sequential()
    assert isinstance(module, nn.Sequential)
    assert torch.equal(module(x), network(x))
    back = ShallowReLU.from_sequential(module)
    for (name, p), (other, q) in zip(network.named_parameters(), back.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(p, q)


def test_sequential_without_biases():
    module = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)).double()
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(ShallowReLU.from_sequential(module)(x), module(x), rtol=1e-15, atol=1e-15)


def test_conversion_copies():
    network, x = network_and_inputs(2, 3, 1, 0, skip=False)
    before = network(x).detach().clone()
    module = network.to_sequential()
    with torch.no_grad():
        for p in (
            *module.parameters(),
            *ShallowReLU.from_sequential(module).parameters(),
            *network.copy().parameters(),
        ):
            p.add_(1.0)
    assert torch.equal(network(x), before)


def test_float32_to_float64_is_exact():
    network = ShallowReLU(3, 5, 2, skip=True, init="torch", dtype=torch.float32, seed=1)
    for p, q in zip(network.parameters(), network.copy(dtype=torch.float64).parameters(), strict=True):
        assert q.dtype == torch.float64
        assert torch.equal(p.double(), q)


def test_he_statistics():
    d, m = 50, 4000
    network = ShallowReLU(d, m, seed=3)
    assert not network.b.any()
    assert not network.output_bias.any()
    # a variance estimated from N normal samples has relative standard error √(2/N)
    assert abs(network.w.var().item() / (2 / d) - 1) < 5 * math.sqrt(2 / (d * m))
    assert abs(network.v.var().item() / (2 / m) - 1) < 5 * math.sqrt(2 / m)
    assert abs(network.w.mean().item()) < 5 * math.sqrt(2 / d / (d * m))
    kurtosis = (network.w**4).mean().item() / network.w.var().item() ** 2
    assert abs(kurtosis - 3) < 5 * math.sqrt(96 / (d * m))


def test_torch_statistics():
    d, m = 20, 3000
    network = ShallowReLU(d, m, skip=True, init="torch", seed=3)
    for weights, fan_in in (
        (network.w, d),
        (network.b, d),
        (network.v, m),
        (network.skip, d),
        (network.output_bias, m),
    ):
        assert weights.abs().max().item() <= 1 / math.sqrt(fan_in)
    # uniform on (−a, a): variance a²/3, and the estimate's relative standard error is √(4/5/N)
    assert abs(network.w.var().item() * 3 * d - 1) < 5 * math.sqrt(0.8 / (d * m))
    assert network.w.abs().max().item() > 0.999 / math.sqrt(d)


def test_zeros_and_seeds():
    assert not any(p.any() for p in ShallowReLU(2, 3, init="zeros").parameters())
    assert torch.equal(ShallowReLU(2, 3, seed=4).w, ShallowReLU(2, 3, seed=4).w)
    assert not torch.equal(ShallowReLU(2, 3, seed=4).w, ShallowReLU(2, 3, seed=5).w)


def test_mask_is_strict():
    network = ShallowReLU.from_weights([[1.0]], [1.0], [[1.0]])
    x = torch.tensor([[1.0], [1.0000001], [0.9]], dtype=torch.float64)
    assert network.mask(x).flatten().tolist() == [False, True, False]


@pytest.mark.door
def test_from_weights_names_what_does_not_fit():
    with pytest.raises(ShapeError, match="`b` must have shape \\[2\\]"):
        ShallowReLU.from_weights([[1.0], [2.0]], [0.0], [[1.0, 1.0]])
    with pytest.raises(KindError, match="Linear, ReLU, Linear"):
        ShallowReLU.from_sequential(nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1)))
    with pytest.raises(InputError, match="skip connection"):
        ShallowReLU(2, 3, skip=True).to_sequential()
