import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steppe.core import InputError, ParameterError, UnknownNameError
from steppe.networks import PatchReLU
from steppe.panel import check_theorems
from steppe.workflow import check_network


@pytest.fixture
def files(tmp_path):
    network = PatchReLU([[0, 1], [1, 2]], 3, inputs=5, init="torch", seed=1)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(8, 5)), y=rng.normal(size=8))
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    return network, tmp_path


@pytest.mark.door
def test_the_state_of_a_patch_network_is_checked(files):
    network, folder = files
    data = np.load(folder / "data.npz")
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])[:, None]
    found = check_network(folder / "network.safetensors", folder / "data.npz", step_size=0.1)
    expected = check_theorems(network, x, y, step_size=0.1)
    assert [(c.left, c.right) for c in found] == [(c.left, c.right) for c in expected]


@pytest.mark.door
def test_states_that_do_not_fit_are_named(files):
    network, folder = files
    state = network.state_dict()
    np.savez(folder / "narrow.npz", x=np.ones((4, 2)), y=np.ones(4))
    with pytest.raises(ParameterError, match="from 0 to 1 to lie inside the 2 inputs, got 0 to 2"):
        check_network(folder / "network.safetensors", folder / "narrow.npz")
    save_file({**state, "patches": state["patches"].double()}, folder / "floats.safetensors")
    with pytest.raises(InputError, match=r"`patches` in .* must be one of I64, I32, got F64; convert with \.long"):
        check_network(folder / "floats.safetensors", folder / "data.npz")
    save_file({**state, "skip": torch.zeros(1, 5)}, folder / "more.safetensors")
    with pytest.raises(UnknownNameError, match="must hold w, b, v"):
        check_network(folder / "more.safetensors", folder / "data.npz")
