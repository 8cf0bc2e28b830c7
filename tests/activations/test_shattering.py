import math

import pytest
import torch

from steppe import activations
from steppe.activations import activation_fraction, activation_weight, live_fraction, shattering
from steppe.core import DtypeError, KindError, ShapeError, UnknownNameError
from steppe.networks import ShallowReLU

CROSS = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]], dtype=torch.float64)


def known():
    """Neurons: active on one sample, on three, on none, constant and active, constant and inactive."""
    return ShallowReLU.from_weights(
        w=[[2.0, 0.0], [0.0, -4.0], [3.0, 4.0], [0.0, 0.0], [0.0, 0.0]],
        b=[0.5, -0.5, 5.0, -1.0, 1.0],
        v=[[3.0, 1.0, 1.0, 2.0, 2.0], [4.0, 0.0, 0.0, 0.0, 0.0]],
    )


def test_known_network():
    table = shattering(known(), CROSS)
    assert table.fraction.tolist() == [0.25, 0.75, 0.0, 1.0, 0.0]
    assert table.input_norm.tolist() == [2, 4, 5, 0, 0]
    assert table.output_norm.tolist() == [5, 1, 1, 2, 2]
    assert table.path_norm.tolist() == [10, 4, 5, 0, 0]
    assert table.threshold.tolist() == [0.25, -0.125, 1.0, -math.inf, math.inf]
    assert table.weight_active[0].item() == pytest.approx(0.0174692811, abs=1e-10)
    assert table.weight_inactive[0].item() == pytest.approx(0.2376079113, abs=1e-10)
    assert table.weight[2:].tolist() == [0, 0, 0]
    assert table.live.tolist() == [True, True, False, True, False]
    assert table.live_fraction == live_fraction(known(), CROSS) == 0.6
    assert table.rare_fraction(0.25) == pytest.approx(1 / 3)
    assert table.rare_fraction() == 0
    assert len(table) == 5
    assert set(table.to_dict()) == set(table.columns)


def test_agrees_with_the_mask_and_the_weight():
    network = ShallowReLU(3, 40, outputs=2, init="torch", seed=1)
    x = torch.randn(25, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = shattering(network, x)
    torch.testing.assert_close(activation_fraction(network, x), network.mask(x).double().mean(0), rtol=0, atol=0)
    norm = network.w.detach().norm(dim=1)
    u, t = network.w.detach() / norm[:, None], network.b.detach() / norm
    torch.testing.assert_close(table.weight, activation_weight(x, u, t))
    torch.testing.assert_close(table.weight_active, activation_weight(x, u, t, sides="one"))


def test_rescaling_leaves_everything_but_the_two_norms():
    network = ShallowReLU(3, 10, init="torch", seed=1)
    x = torch.randn(25, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scale = torch.logspace(-2, 2, 10, dtype=torch.float64)
    rescaled = ShallowReLU.from_weights(network.w * scale[:, None], network.b * scale, network.v / scale)
    before, after = shattering(network, x), shattering(rescaled, x)
    for name in set(before.columns) - {"input_norm", "output_norm"}:
        torch.testing.assert_close(after.columns[name], before.columns[name])
    assert not torch.allclose(before.input_norm, after.input_norm)


def test_summary_says_the_shares():
    text = str(shattering(known(), CROSS))
    assert "5 neurons on 4 samples: 60.0% live; of the live ones 0.0% are active on at most 10%" in text
    assert "Σ|v|‖w‖ = 19" in text
    assert text.count("\n") == 6
    dead = ShallowReLU.from_weights([[1.0, 0.0]], [9.0], [1.0])
    assert str(shattering(dead, CROSS)) == "1 neurons on 4 samples: 0.0% live; no sample activates any neuron"
    assert shattering(dead, CROSS).rare_fraction() == 0


def test_quantiles_are_over_live_neurons():
    table = shattering(known(), CROSS)
    assert table.quantiles("fraction")[-1] == 0.75
    assert table.quantiles("fraction")[0] == pytest.approx(0.275)


def test_plot_has_one_point_per_live_neuron():
    figure = shattering(known(), CROSS).plot()
    (points,) = figure.panels[0].layers
    assert list(points.x) == [0.25, 0.75]
    assert list(points.y) == [10, 4]
    assert "2 live neurons; 3 that are active nowhere, or constant" in figure.caption
    (points,) = shattering(known(), CROSS).plot(norm="input_norm").panels[0].layers
    assert list(points.y) == [2, 4]


@pytest.mark.door
def test_bad_input():
    with pytest.raises(UnknownNameError, match="`norm` must be one of"):
        shattering(known(), CROSS).plot(norm="width")
    with pytest.raises(KindError, match=r"must be a ShallowReLU, got Linear; convert"):
        shattering(torch.nn.Linear(2, 1), CROSS)
    with pytest.raises(ShapeError, match=r"\[n, 2\]"):
        live_fraction(known(), CROSS[:, :1])
    with pytest.raises(DtypeError, match="float32"):
        activation_fraction(known(), CROSS.float())


def test_door_is_sorted():
    assert activations.__all__ == sorted(activations.__all__)
