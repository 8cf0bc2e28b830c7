import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe import norms
from steppe.core import KindError, ParameterError
from steppe.networks import ShallowReLU
from steppe.norms import balance, canonicalize, path_norm, variation_norm


def example():
    return ShallowReLU.from_weights(w=[[3, 4], [-3, -4], [1, 0], [0, 0]], b=[5, -5, 2, -1], v=[2, -1, 0.5, 1])


def tangled(seed, *, m=6, d=3, k=2, skip=True):
    """A network with split, flipped, constant, dead and rescaled neurons."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    w, b, v = normal(m, d), normal(m), normal(k, m)
    scale = torch.exp(2 * normal(m))
    w = torch.cat([w, -w * scale[:, None], w[:2] * 3, torch.zeros(2, d, dtype=torch.float64), w[:1]])
    b = torch.cat([b, -b * scale, b[:2] * 3, torch.tensor([-1.0, 1.0], dtype=torch.float64), b[:1]])
    v = torch.cat([v, normal(k, m + 4), torch.zeros(k, 1, dtype=torch.float64)], dim=1)
    return ShallowReLU.from_weights(w, b, v, normal(k), normal(k, d) if skip else None)


def ball(n, d, radius, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return radius * x / x.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=rng, dtype=torch.float64) ** (1 / d)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(1, 4), k=st.integers(1, 2), skip=st.booleans())
def test_function_is_preserved_and_hyperplanes_are_distinct(seed, d, k, skip):
    network = tangled(seed, d=d, k=k, skip=skip)
    form = canonicalize(network)
    x = 3 * torch.randn(50, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(form(x), network(x), rtol=1e-9, atol=1e-9)
    assert form.width == 6
    torch.testing.assert_close(form.w.norm(dim=1), torch.ones(6, dtype=torch.float64))
    first = form.w.gather(1, (form.w.abs() > 1e-12).double().argmax(1, keepdim=True))
    assert (first > 0).all()
    torch.testing.assert_close(canonicalize(form)(x), form(x))
    assert path_norm(canonicalize(form)) == pytest.approx(path_norm(form))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.floats(0.1, 2.0))
def test_on_a_ball_the_function_is_preserved_there(seed, radius):
    network = tangled(seed)
    form = canonicalize(network, radius=radius)
    x = ball(60, 3, radius)
    torch.testing.assert_close(form(x), network(x), rtol=1e-9, atol=1e-9)
    assert (form.b.abs() < radius).all()


def test_on_a_small_ball_everything_is_affine():
    form = canonicalize(example(), radius=1.0)  # the first hyperplane is tangent
    assert form.width == 1
    assert path_norm(form) == 0
    x = ball(40, 2, 1.0)
    torch.testing.assert_close(form(x), example()(x))
    assert not torch.allclose(form(3 * x), example()(3 * x))


def test_merged_form_of_the_example():
    form = canonicalize(example())
    order = torch.argsort(form.b)
    torch.testing.assert_close(form.w[order], torch.tensor([[0.6, 0.8], [1.0, 0.0]], dtype=torch.float64))
    assert form.b[order].tolist() == [1, 2]
    assert form.v[0, order].tolist() == [5, 0.5]  # 2·5 − 1·5, whatever the orientation
    torch.testing.assert_close(form.skip, torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    assert form.output_bias.item() == 1 - 5


def test_network_is_not_changed():
    network = tangled(0)
    before = [p.detach().clone() for p in network.parameters()]
    canonicalize(network, radius=0.5)
    balance(network)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_orientation_near_a_coordinate_plane_does_not_split_a_hyperplane():
    network = ShallowReLU.from_weights([[1e-17, 1.0], [1e-17, -1.0], [-1e-17, 1.0]], [0.3, -0.3, 0.3], [1.0, 2.0, 4.0])
    assert canonicalize(network).width == 1
    assert variation_norm(network) == pytest.approx(7.0)


def test_tolerance_decides_what_is_one_hyperplane():
    network = ShallowReLU.from_weights([[1.0, 0.0], [1.0, 0.0]], [0.3, 0.3 + 1e-8], [1.0, -1.0])
    assert variation_norm(network) == pytest.approx(2.0)
    assert variation_norm(network, tolerance=1e-6) == 0.0


def test_many_copies_of_few_hyperplanes():
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    b = torch.randn(5, generator=rng, dtype=torch.float64)
    pick = torch.randint(5, (500,), generator=rng)
    scale = torch.randn(500, generator=rng, dtype=torch.float64)
    v = torch.randn(500, generator=rng, dtype=torch.float64)
    network = ShallowReLU.from_weights(w[pick] * scale[:, None], b[pick] * scale, v)
    size = w.norm(dim=1)[pick] * scale.abs() * v
    expected = torch.zeros(5, dtype=torch.float64).index_add_(0, pick, size).abs().sum()
    assert variation_norm(network) == pytest.approx(float(expected))
    assert canonicalize(network).width == 5


def test_float32_networks_are_taken_into_float64_exactly():
    network = tangled(3).copy(dtype=torch.float32)
    form = canonicalize(network, tolerance=1e-5)
    assert form.w.dtype == torch.float64
    assert form.width == 6
    x = ball(20, 3, 1.0)
    torch.testing.assert_close(form(x), network.copy(dtype=torch.float64)(x), rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_balance(seed):
    network = tangled(seed)
    balanced = balance(network)
    x = ball(30, 3, 2.0)
    torch.testing.assert_close(balanced(x), network(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(balanced.w.norm(dim=1), balanced.v.norm(dim=0))
    energy = 0.5 * float(sum(p.detach().square().sum() for p in (balanced.w, balanced.v)))
    assert energy == pytest.approx(path_norm(network))
    assert energy < 0.5 * float(sum(p.detach().square().sum() for p in (network.w, network.v)))
    constant = (network.w == 0).all(1)
    assert (balanced.w[constant] == 0).all()
    assert (balanced.v[:, constant] == 0).all()


def test_balance_keeps_the_dtype_and_extreme_scales():
    network = ShallowReLU.from_weights([[1e-150], [1e150]], [1e-150, 1e150], [1e150, 1e-150])
    balanced = balance(network)
    assert balanced.w.flatten().tolist() == pytest.approx([1, 1])
    assert balance(ShallowReLU(2, 3, dtype=torch.float32)).w.dtype == torch.float32


@pytest.mark.door
def test_bad_input():
    with pytest.raises(KindError, match="must be a ShallowReLU, got Linear"):
        canonicalize(torch.nn.Linear(2, 2))
    with pytest.raises(KindError, match="ShallowReLU"):
        balance(torch.nn.Linear(2, 2))
    with pytest.raises(ParameterError, match="`radius` must be > 0, got 0"):
        canonicalize(example(), radius=0.0)
    with pytest.raises(ParameterError, match="`tolerance`"):
        canonicalize(example(), tolerance=1.0)


def test_door_is_sorted():
    assert norms.__all__ == sorted(norms.__all__)


def test_coefficients_that_cancel_up_to_rounding_leave_no_neuron():
    network = ShallowReLU.from_weights([[1.0, 1.0]] * 3, [0.3] * 3, [0.1, 0.2, -0.3])  # 0.1 + 0.2 ≠ 0.3 in floats
    form = canonicalize(network)
    assert form.width == 1
    assert (form.w == 0).all()
    assert variation_norm(network) == 0
