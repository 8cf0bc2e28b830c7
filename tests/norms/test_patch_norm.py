import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.activations import activation_weight
from steppe.core import KindError
from steppe.networks import PatchReLU, ShallowReLU
from steppe.norms import patch_moments, patch_weighted_norm, weighted_variation_norm

law = settings(deadline=None, max_examples=12, derandomize=True)
PATCHES = torch.tensor([[0, 1, 2], [2, 3, 4], [4, 5, 0]])


def network_and_inputs(seed, *, shared, m=5, k=1, n=9):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return PatchReLU(PATCHES, m, k, shared=shared, init="torch", seed=seed), x


@law
@given(seed=st.integers(0, 1000), shared=st.booleans(), k=st.integers(1, 3))
def test_one_patch_of_everything_is_the_norm_of_the_shallow_network(seed, shared, k):
    shallow = ShallowReLU(4, 6, k, init="torch", seed=seed)
    network = PatchReLU.from_shallow(shallow)
    if not shared:
        network = PatchReLU.from_weights(network.patches, network.w[None], network.b[None], network.v)
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert patch_weighted_norm(network, x) == pytest.approx(
        weighted_variation_norm(shallow, x, reduced=False), rel=1e-12
    )


def test_shared_weights_are_weighed_by_the_multiset_of_patches():
    network, x = network_and_inputs(0, shared=True)
    sizes = network.w.detach().norm(dim=1)
    g = activation_weight(
        network.extract(x).reshape(-1, 3), network.w.detach() / sizes[:, None], network.b.detach() / sizes, sides="one"
    )
    expected = float((network.v.detach()[0].abs() * sizes * g).sum())
    assert patch_weighted_norm(network, x) == pytest.approx(expected, rel=1e-12)


@law
@given(seed=st.integers(0, 1000), shared=st.booleans())
def test_moments_are_the_mean_gradient(seed, shared):
    network, x = network_and_inputs(seed, shared=shared)
    mean = network(x).mean()
    w, b, v = torch.autograd.grad(mean, [network.w, network.b, network.v])
    moments = patch_moments(network, x)
    torch.testing.assert_close(moments.excess, v[0], rtol=1e-10, atol=1e-12)
    squares = w.square().sum(-1) + b.square()
    slopes = (squares if shared else squares.sum(0)).sqrt()
    torch.testing.assert_close(network.v.detach()[0].abs() * moments.slope, slopes, rtol=1e-10, atol=1e-12)


@law
@given(seed=st.integers(0, 1000), shared=st.booleans(), c=st.floats(0.01, 100))
def test_rescaling_and_permuting_neurons_change_nothing(seed, shared, c):
    network, x = network_and_inputs(seed, shared=shared)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    w, b = network.w[..., order, :] * c, network.b[..., order] * c
    other = PatchReLU.from_weights(PATCHES, w, b, network.v[:, order] / c)
    assert patch_weighted_norm(other, x) == pytest.approx(patch_weighted_norm(network, x), rel=1e-10)


def test_blocks_of_samples_do_not_change_the_norm(monkeypatch):
    network, x = network_and_inputs(3, shared=True)
    whole = patch_weighted_norm(network, x)
    monkeypatch.setattr("steppe.norms.patch._BLOCK", 20)
    assert patch_weighted_norm(network, x) == pytest.approx(whole, rel=1e-13)


@pytest.mark.door
def test_other_networks_are_refused():
    with pytest.raises(KindError, match=r"PatchReLU\.from_shallow"):
        patch_weighted_norm(ShallowReLU(2, 3), torch.zeros(3, 2).double())
