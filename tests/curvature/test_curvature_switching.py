"""Sharpness of all activation modes where samples lie on hyperplanes."""

import pytest
import torch

from steppe.core import ParameterError, SquaredLoss
from steppe.curvature import hessian, sharpness, switching_sharpness
from steppe.networks import ShallowReLU


def _on_samples(k=1):
    x = torch.tensor([[-1.0], [-0.3], [0.4], [1.0]], dtype=torch.float64)
    v = torch.tensor([[1.5, -1.0, 0.7], [0.2, 0.4, -1.0]], dtype=torch.float64)[:k]
    network = ShallowReLU.from_weights([[1.0], [-2.0], [1.0]], [-0.3, 0.6, 0.1], v, torch.zeros(k).double())
    return network, x, torch.ones(4, k, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2])
def test_modes_are_the_limits_from_both_sides(k):
    network, x, y = _on_samples(k)  # the first two neurons kink at the second sample
    found = switching_sharpness(network, x, y)
    assert found.pairs == ((1, 0), (1, 1))
    expected = []
    for first, second in ((1, 1), (1, -1), (-1, 1), (-1, -1)):  # inactive first: the threshold a little higher
        moved = network.b.detach() + 1e-11 * torch.tensor([first, second, 0], dtype=torch.float64)
        other = ShallowReLU.from_weights(network.w.detach(), moved, network.v.detach(), network.output_bias.detach())
        expected.append(float(torch.linalg.eigvalsh(hessian(other, SquaredLoss(), (x, y)).to_dense())[-1]))
    torch.testing.assert_close(found.sharpness, torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0)
    assert len(set(found.sharpness.tolist())) == 4
    assert found.stable(1.99 / max(expected))
    assert not found.stable(2.01 / max(expected))


def test_without_a_sample_on_a_hyperplane_it_is_the_sharpness():
    network = ShallowReLU(2, 5, seed=1, skip=True, init="torch")
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x[:, :1]
    found = switching_sharpness(network, x, y)
    assert found.pairs == ()
    assert len(found.sharpness) == 1
    assert found.largest.value == pytest.approx(sharpness(network, SquaredLoss(), (x, y), rtol=1e-9).value, rel=1e-8)


@pytest.mark.door
def test_too_many_pairs_are_refused():
    network, x, y = _on_samples()
    with pytest.raises(ParameterError, match="got 1"):
        switching_sharpness(network, x, y, max_pairs=1)
