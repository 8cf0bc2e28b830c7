"""Matrices as products: factors, and minimizers made to order."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DataError, DtypeError, KindError, ParameterError, ShapeError
from steppe.networks import DeepLinear, factors, layer_matrices

SHAPES = [[3, 2], [2, 4, 3], [3, 3, 5, 3, 4], [1, 3, 1], [5, 2, 6, 4]]


def target(sizes, seed=0, rank=None):
    rng = torch.Generator().manual_seed(seed)
    rank = min(sizes) if rank is None else rank
    left, right = (torch.randn(size, rank, generator=rng, dtype=torch.float64) for size in (sizes[-1], sizes[0]))
    return left @ right.T


def imbalance(network):
    layers = [layer.detach() for layer in network.layers]
    return max(float((b.T @ b - a @ a.T).abs().max()) for a, b in pairwise(layers))


@pytest.mark.parametrize("sizes", SHAPES)
def test_factors_split_the_product_at_every_layer(sizes):
    network = DeepLinear(sizes, seed=1)
    x = torch.randn(7, sizes[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for data, whole in ((None, network.matrix()), (x, network.matrix() @ x.T)):
        for after, layer, before in zip(
            *[factors(network, data)[0], network.layers, factors(network, data)[1]], strict=True
        ):
            torch.testing.assert_close(after @ layer @ before, whole)


@pytest.mark.parametrize("sizes", SHAPES)
def test_balanced_factorizations_are_balanced_and_multiply_to_the_target(sizes):
    matrix = target(sizes)
    network = DeepLinear.balanced(matrix, sizes, seed=3)
    assert network.sizes == sizes
    torch.testing.assert_close(network.matrix().detach(), matrix)
    if len(sizes) > 2:
        assert imbalance(network) < 1e-13 * float(matrix.norm())
        other = DeepLinear.balanced(matrix, sizes, seed=4)
        assert not torch.allclose(other.layers[0], network.layers[0])


@given(
    st.sampled_from(SHAPES),
    st.floats(0, 1.5),
    st.integers(0, 2**20),
    st.integers(0, 3),
    st.sampled_from([1e-120, 1, 1e90]),
)
@settings(max_examples=40, deadline=None)
def test_random_minimizers_multiply_to_the_target(sizes, spread, seed, rank, size):
    matrix = size * target(sizes, seed=seed % 7, rank=min(rank, *sizes))
    network = DeepLinear.random_minimizer(matrix, sizes, spread=spread, seed=seed)
    torch.testing.assert_close(network.matrix().detach(), matrix, rtol=1e-9, atol=1e-9 * float(matrix.abs().max()))
    if spread == 0:
        for one, two in zip(network.layers, DeepLinear.balanced(matrix, sizes, seed=seed).layers, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_spread_layers_have_idle_units_and_reach_beyond_the_orbit_of_balanced_ones():
    """Their ranks exceed the target's: no change of basis of a balanced factorization does that."""
    matrix = target([4, 4], rank=1)
    ranks = [
        [
            int(torch.linalg.matrix_rank(layer))
            for layer in DeepLinear.random_minimizer(matrix, [4, 5, 5, 4], seed=seed).layers
        ]
        for seed in range(6)
    ]
    assert all(sorted(row)[0] == 1 < sorted(row)[1] for row in ranks)  # one layer interrupts the idle paths
    assert len({row.index(1) for row in ranks}) > 1


@pytest.mark.parametrize("weight", [0.2, [0.2, 0.1, 0.4]])
def test_regularized_minimizers_are_critical_points_of_the_regularized_loss(weight):
    matrix, sizes = torch.tensor([[2.0, 1], [0, 1]], dtype=torch.float64), [2, 3, 4, 2]
    weights = [weight] * 3 if isinstance(weight, float) else weight
    values = set()
    for seed in range(3):
        network = DeepLinear.regularized_minimizer(matrix, sizes, weight=weight, seed=seed)
        decay = sum(w * layer.square().sum() for w, layer in zip(weights, network.layers, strict=True))
        loss = (matrix - network.matrix()).square().sum() + decay
        loss.backward()
        assert max(float(layer.grad.abs().max()) for layer in network.layers) < 1e-12
        values.add(round(float(loss.detach()), 10))
    assert len(values) == 1


def test_weight_decay_conventions_convert():
    matrix, sizes = target([3, 3]), [3, 4, 3]
    plain = DeepLinear.regularized_minimizer(matrix, sizes, weight=0.3, seed=1)
    halved = DeepLinear.regularized_minimizer(matrix, sizes, weight=0.15, scale=0.5, seed=1)
    for one, two in zip(plain.layers, halved.layers, strict=True):
        torch.testing.assert_close(one, two)


def test_narrow_layers_keep_the_largest_singular_values():
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    network = DeepLinear.regularized_minimizer(matrix, [3, 2, 3], weight=0.1, seed=0)
    expected = torch.diag(torch.tensor([2.9, 1.9, 0.0], dtype=torch.float64))
    torch.testing.assert_close(network.matrix().detach(), expected)
    with pytest.raises(ParameterError, match=r"rank of `target`, 3, got \[3, 2, 3\]"):
        DeepLinear.balanced(matrix, [3, 2, 3])


def test_layers_come_as_lists_arrays_networks_and_narrow_dtypes():
    network = DeepLinear([2, 3, 1], dtype=torch.float32)
    for layers in (network, list(network.layers), [layer.detach().numpy() for layer in network.layers]):
        found = layer_matrices(layers)
        assert [matrix.dtype for matrix in found] == [torch.float64] * 2
        assert not any(matrix.requires_grad for matrix in found)
        for one, two in zip(found, network.layers, strict=True):
            torch.testing.assert_close(one, two.detach().double(), rtol=0, atol=0)


@pytest.mark.door
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: layer_matrices([]), ShapeError, "at least one matrix"),
        (lambda: layer_matrices([[[1.0]], [[1.0, 2.0]]]), ShapeError, r"W_2 must have shape \[d_2, 1\]"),
        (lambda: layer_matrices([[1.0, 2.0]]), ShapeError, "W_1"),
        (lambda: layer_matrices([[[1.0, float("nan")]]]), DataError, "W_1 must be finite"),
        (lambda: layer_matrices([[["a"]]]), KindError, "W_1"),
        (lambda: layer_matrices([[[1.0], [1.0, 2.0]]]), KindError, "W_1"),
        (lambda: layer_matrices(torch.eye(2)), KindError, r"pass \[W_1"),
        (lambda: layer_matrices(torch.nn.Linear(2, 2)), KindError, "from_sequential"),
        (lambda: layer_matrices(3), KindError, "list of matrices"),
        (lambda: layer_matrices([torch.eye(2), torch.eye(2).double()]), DtypeError, "W_2"),
        (lambda: layer_matrices([torch.eye(2, dtype=torch.int64)]), DtypeError, "floating"),
        (lambda: factors([torch.eye(2)], torch.zeros(3, 4).double()), ShapeError, "data"),
        (lambda: DeepLinear.balanced([[1.0]], [1]), ShapeError, r"pass \[1, …, 1\]"),
        (lambda: DeepLinear.balanced([[1.0, 2.0]], [1, 3, 2]), ShapeError, r"pass \[2, …, 1\]"),
        (lambda: DeepLinear.balanced([[1.0]], [1, 0, 1]), ParameterError, "sizes"),
        (lambda: DeepLinear.balanced([1.0], [1, 1]), ShapeError, "target"),
        (lambda: DeepLinear.balanced([[float("inf")]], [1, 1]), DataError, "target"),
        (lambda: DeepLinear.balanced([[1.0]], "11"), KindError, "list of integers"),
        (lambda: DeepLinear.balanced([[1.0]], [1, 1], seed=-1), ParameterError, "seed"),
        (lambda: DeepLinear.random_minimizer([[1.0]], [1, 1], spread=-1), ParameterError, "spread"),
        (lambda: DeepLinear.regularized_minimizer([[1.0]], [1, 1, 1], weight=0), ParameterError, "weight"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(make, error, words):
    with pytest.raises(error, match=words):
        make()
