import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DtypeError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.networks import PatchReLU, ShallowReLU

sizes = st.integers(1, 4)
law = settings(deadline=None, max_examples=12, derandomize=True)
PATCHES = [[0, 1], [1, 2], [3, 4]]


def network_and_inputs(positions, s, m, k, seed, *, shared):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    patches = torch.randint(6, (positions, s), generator=rng)
    own = () if shared else (positions,)
    network = PatchReLU.from_weights(patches, draw(*own, m, s), draw(*own, m), draw(k, m), draw(k), inputs=6)
    return network, draw(7, 6)


def test_value_by_hand_with_shared_and_own_filters():
    x = torch.tensor([[1.0, 2.0, -5.0, 4.0, 0.0]], dtype=torch.float64)
    # filter x₁ + x₂ − 1 on (1, 2), (2, −5), (4, 0): 2, 0, 3; mean 5/3, times 6, plus 0.5
    assert PatchReLU.from_weights(PATCHES, [[1.0, 1.0]], [1.0], [6.0], [0.5])(x).item() == pytest.approx(10.5)
    own = PatchReLU.from_weights(PATCHES, [[[1.0, 0.0]], [[0.0, -1.0]], [[0.0, 1.0]]], [[0.0], [1.0], [-7.0]], [3.0])
    assert own(x).item() == pytest.approx(1 + 4 + 7)


@law
@given(positions=sizes, s=sizes, m=sizes, k=sizes, seed=st.integers(0, 1000), shared=st.booleans())
def test_forward_is_the_sum_over_neurons_and_patches(positions, s, m, k, seed, shared):
    network, x = network_and_inputs(positions, s, m, k, seed, shared=shared)
    w = network.w.expand(positions, m, s)
    b = network.b.expand(positions, m)
    for i in range(2):
        for out in range(k):
            total = network.output_bias[out].item()
            for j in range(positions):
                patch = [x[i, index].item() for index in network.patches[j].tolist()]
                for neuron in range(m):
                    z = sum(a * c for a, c in zip(w[j, neuron].tolist(), patch, strict=True)) - b[j, neuron].item()
                    total += network.v[out, neuron].item() * max(z, 0.0) / positions
            assert math.isclose(network(x)[i, out].item(), total, rel_tol=1e-9, abs_tol=1e-9)


@law
@given(seed=st.integers(0, 1000), shared=st.booleans())
def test_one_patch_of_everything_is_a_shallow_network(seed, shared):
    shallow = ShallowReLU(5, 6, 2, init="torch", seed=seed)
    network = PatchReLU.from_shallow(shallow)
    if not shared:
        network = PatchReLU.from_weights(
            network.patches, network.w[None], network.b[None], network.v, network.output_bias
        )
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(network(x), shallow(x), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(network.preactivations(x)[:, 0], shallow.preactivations(x), rtol=1e-13, atol=1e-13)
    assert torch.equal(network.mask(x)[:, 0], shallow.mask(x))


def test_equal_filters_everywhere_are_shared_filters():
    network, x = network_and_inputs(4, 3, 5, 2, 0, shared=True)
    w, b = network.w.expand(4, 5, 3), network.b.expand(4, 5)
    own = PatchReLU.from_weights(network.patches, w, b, network.v, network.output_bias, inputs=6)
    assert network.shared
    assert not own.shared
    torch.testing.assert_close(own(x), network(x), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shared", [True, False])
def test_blocks_of_samples_do_not_change_the_value(shared, monkeypatch):
    network, x = network_and_inputs(3, 2, 4, 2, 1, shared=shared)
    whole = network(x).detach()
    monkeypatch.setattr("steppe.networks.patch_relu._BLOCK", 1)
    with torch.no_grad():
        torch.testing.assert_close(network(x), whole, rtol=1e-13, atol=1e-13)
        assert network(x[:0]).shape == (0, 2)


def test_extract_takes_the_stated_coordinates():
    network = PatchReLU(PATCHES, 2, inputs=7)
    x = torch.arange(14.0, dtype=torch.float64).reshape(2, 7)
    assert network.extract(x).tolist() == [[[0, 1], [1, 2], [3, 4]], [[7, 8], [8, 9], [10, 11]]]


def test_sizes_names_and_seeds():
    network = PatchReLU(PATCHES, 4, 2, inputs=8, shared=False, seed=1)
    assert {name: list(p.shape) for name, p in network.named_parameters()} == {
        "w": [3, 4, 2], "b": [3, 4], "v": [2, 4], "output_bias": [2],
    }  # fmt: skip
    sizes = (network.inputs, network.positions, network.patch_size, network.width, network.outputs)
    assert sizes == (8, 3, 2, 4, 2)
    assert torch.equal(network.w, PatchReLU(PATCHES, 4, 2, shared=False, seed=1).w)
    assert not torch.equal(network.w, PatchReLU(PATCHES, 4, 2, shared=False, seed=2).w)
    # m(s + 2) + 1 with shared weights and one output
    assert sum(p.numel() for p in PatchReLU(torch.zeros(900, 27, dtype=torch.long), 1024).parameters()) == 29697


def test_initialisations_have_their_variances():
    patches, m = torch.arange(50)[None, :], 4000
    for init, scale in (("he", 2), ("paper", 1)):
        network = PatchReLU(patches, m, init=init)
        assert not network.b.any()
        # a variance estimated from N normal samples has relative standard error √(2/N)
        assert abs(network.w.var().item() / (2 / 50) - 1) < 5 * math.sqrt(2 / (50 * m))
        assert abs(network.v.var().item() / (scale / m) - 1) < 5 * math.sqrt(2 / m)
    network = PatchReLU(patches, m, init="torch")
    assert network.b.abs().max() <= 50**-0.5
    assert network.w.abs().max() > 0.999 * 50**-0.5
    assert not any(p.any() for p in PatchReLU(patches, m, init="zeros").parameters())


def test_copies_are_exact_and_independent():
    network = PatchReLU(PATCHES, 4, inputs=9, shared=False, init="torch", dtype=torch.float32)
    double = network.copy(dtype=torch.float64)
    assert double.inputs == 9
    for p, q in zip(network.parameters(), double.parameters(), strict=True):
        assert q.dtype == torch.float64
        assert torch.equal(p.double(), q)
    with torch.no_grad():
        double.w.add_(1)
    assert not torch.equal(double.w, network.w.double())


def test_the_state_holds_the_patches():
    network, other = PatchReLU(PATCHES, 4, seed=1), PatchReLU([[0, 0], [0, 0], [0, 4]], 4, seed=2)
    other.load_state_dict(network.state_dict())
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(other(x), network(x))


@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "says"),
    [
        (([[0, 5]], 3), {"inputs": 5}, ParameterError, "from 0 to 4 to lie inside the 5 inputs, got 0 to 5"),
        (([[0, 1], [-1, 2]], 3), {}, ParameterError, "got -1 to 2, first in patch 1"),
        (([0, 1], 3), {}, ShapeError, r"`patches` must have shape \[l, s\]"),
        ((torch.zeros(0, 3, dtype=torch.long), 3), {}, ShapeError, r"got \[0, 3\]"),
        (([[0.5, 1.0]], 3), {}, DtypeError, r"`patches` must hold integers"),
        (("patches", 3), {}, KindError, "`patches` must be a matrix of indices, got str"),
        (([[0, 1], [2]], 3), {}, KindError, "one row of indices per patch"),
        ((PATCHES, 0), {}, ParameterError, "`width` must be ≥ 1, got 0"),
        ((PATCHES, 3), {"init": "hee"}, UnknownNameError, "did you mean 'he'"),
        ((PATCHES, 3), {"dtype": torch.int64}, DtypeError, "floating"),
        ((PATCHES, 3), {"random_state": 3}, KindError, "pass `seed=3` instead"),
    ],
)
def test_constructor_says_what_was_expected(arguments, keywords, error, says):
    with pytest.raises(error, match=says):
        PatchReLU(*arguments, **keywords)


@pytest.mark.door
def test_weights_and_inputs_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"`w` must have shape \[1, 2\]"):
        PatchReLU.from_weights(PATCHES, [[1.0]], [0.0], [1.0])
    with pytest.raises(ShapeError, match=r"`b` must have shape \[3, 1\]"):
        PatchReLU.from_weights(PATCHES, torch.zeros(3, 1, 2).double(), [0.0], [1.0])
    with pytest.raises(DtypeError, match="dtype of v"):
        PatchReLU.from_weights(PATCHES, torch.zeros(1, 2), [0.0], [1.0])
    with pytest.raises(InputError, match="skip connection"):
        PatchReLU.from_shallow(ShallowReLU(2, 3, skip=True))
    network = PatchReLU(PATCHES, 2)
    with pytest.raises(ShapeError, match=r"\[n, 5\], got \[3, 4\]"):
        network(torch.zeros(3, 4, dtype=torch.float64))
    with pytest.raises(DtypeError, match=r"float64 and torch\.float32"):
        network(torch.zeros(3, 5))
