"""Deep linear networks: construction, and their closed-form curvature against autograd and the exact spectra."""

import pytest
import torch
from torch import nn

from steppe.core import DataError, DtypeError, KindError, ParameterError, ShapeError, SquaredLoss, UnknownNameError
from steppe.curvature import gauss_newton, hessian, sharpness, trace
from steppe.networks import DeepLinear


def data(n, d, k, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=rng).double(), torch.randn(n, k, generator=rng).double()


def dense(network, x, y):
    sizes = [layer.numel() for layer in network.layers]

    def value(flat):
        out = x
        for part, layer in zip(flat.split(sizes), network.layers, strict=True):
            out = out @ part.view_as(layer).T
        return SquaredLoss()(out, y)

    flat = torch.cat([layer.detach().reshape(-1) for layer in network.layers])
    return torch.autograd.functional.hessian(value, flat)


def test_the_function_is_the_product_of_the_layers():
    network = DeepLinear([3, 4, 2, 5], seed=1)
    x, _ = data(7, 3, 1)
    torch.testing.assert_close(network(x), x @ network.matrix().T)
    assert network.sizes == [3, 4, 2, 5]
    assert (network.inputs, network.outputs, network.depth) == (3, 5, 3)
    torch.testing.assert_close(DeepLinear.from_sequential(network.to_sequential())(x), network(x), rtol=0, atol=0)
    single = DeepLinear([3, 2])
    torch.testing.assert_close(single.matrix(), single.layers[0])


def test_initialisations():
    normal = DeepLinear([400, 300], seed=3).layers[0].detach()
    assert float(normal.var() * 400) == pytest.approx(1, rel=0.05)
    for layer in DeepLinear([5, 3, 6], init="orthogonal").layers:
        gram = layer @ layer.T if layer.shape[0] <= layer.shape[1] else layer.T @ layer
        torch.testing.assert_close(gram.detach(), torch.eye(len(gram), dtype=torch.float64))
    assert all((layer == 0).all() for layer in DeepLinear([2, 2], init="zeros").layers)
    assert torch.equal(DeepLinear([3, 3], seed=5).layers[0], DeepLinear([3, 3], seed=5).layers[0])


@pytest.mark.parametrize(("sizes", "n"), [([3, 4, 2], 9), ([6, 2, 3, 2], 4), ([2, 1], 5), ([1, 1, 1, 1], 1)])
def test_curvature_equals_dense_autograd(sizes, n):
    network = DeepLinear(sizes, seed=2)
    x, y = data(n, sizes[0], sizes[-1])
    truth = dense(network, x, y)
    operator = hessian(network, SquaredLoss(), (x, y))
    assert operator.backend == "closed form"
    torch.testing.assert_close(operator.to_dense(), truth, rtol=1e-11, atol=1e-12)
    assert float(trace(operator)) == pytest.approx(float(truth.trace()), rel=1e-12)
    assert trace(operator).error_kind == "none"
    general = gauss_newton(network, lambda out, target: SquaredLoss()(out, target), (x, y))
    assert "closed form" not in general.backend
    torch.testing.assert_close(
        gauss_newton(network, SquaredLoss(), (x, y)).to_dense(), general.to_dense(), rtol=1e-11, atol=1e-12
    )


def test_exact_spectrum_at_a_minimizer():
    """The instance of Kamber and Parhi: nonzero eigenvalues of ‖M − W‖² at W = M; the house loss is half of it."""
    layers = [[[1.0, 2], [0, 1], [1, 0]], [[1.0, 0, 1], [2, 1, 0]], [[1.0, 1], [0, 2]]]
    network = DeepLinear.from_layers(layers)
    x = torch.eye(2, dtype=torch.float64)
    y = network(x).detach()
    assert y.T.tolist() == [[4, 7], [4, 10]]
    # (1/2n) with n = 2 is a quarter of the papers' loss.
    spectrum = 4 * torch.linalg.eigvalsh(hessian(network, SquaredLoss(), (x, y)).to_dense()).flip(0)
    expected = [195.08029957123975, 82.9197004287602, 72.8378486313773, 5.1621513686227]
    assert spectrum[:4].tolist() == pytest.approx(expected, rel=1e-12)
    assert float(spectrum[4:].abs().max()) < 1e-11
    assert 4 * float(trace(network, SquaredLoss(), (x, y))) == pytest.approx(356, rel=1e-13)


def test_flat_without_balance():
    network = DeepLinear.from_layers([torch.diag(torch.tensor([2.0, 2])), torch.diag(torch.tensor([2, 0.5]))])
    x = torch.eye(2)
    assert 4 * float(sharpness(network, SquaredLoss(), (x, network(x).detach()))) == pytest.approx(16, rel=1e-10)


def test_float32_is_upcast_and_batches_are_joined():
    network = DeepLinear([3, 4, 2], dtype=torch.float32)
    x, y = (part.float() for part in data(11, 3, 2))
    whole = hessian(network, SquaredLoss(), (x, y))
    assert whole.dtype == torch.float64
    split = hessian(network, SquaredLoss(), list(zip(x.split(4), y.split(4), strict=True)))
    torch.testing.assert_close(whole.to_dense(), split.to_dense(), rtol=1e-12, atol=1e-12)


@pytest.mark.door
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DeepLinear([3]), ShapeError, "at least two"),
        (lambda: DeepLinear([3, 0]), ParameterError, "sizes"),
        (lambda: DeepLinear("33"), KindError, "list of integers"),
        (lambda: DeepLinear([3, 2], init="xavier"), UnknownNameError, "init"),
        (lambda: DeepLinear([3, 2], widths=3), KindError, "widths"),
        (lambda: DeepLinear([3, 2], dtype=torch.int64), DtypeError, "floating"),
        (lambda: DeepLinear.from_layers([]), ShapeError, "at least one"),
        (lambda: DeepLinear.from_layers([torch.eye(2), torch.eye(3)]), ShapeError, "W_2"),
        (lambda: DeepLinear.from_layers([torch.eye(2), torch.eye(2).double()]), DtypeError, "W_2"),
        (lambda: DeepLinear.from_sequential(nn.Sequential(nn.Linear(2, 2))), KindError, "without bias"),
        (lambda: DeepLinear([2, 2])(torch.zeros(3, 4).double()), ShapeError, "one row per sample"),
        (lambda: DeepLinear([2, 2])(torch.zeros(3, 2)), DtypeError, "dtype"),
        (lambda: hessian(DeepLinear([2, 2]), SquaredLoss(), data(3, 2, 1)), ShapeError, "targets"),
        (
            lambda: hessian(DeepLinear([2, 1]), SquaredLoss(), (torch.tensor([[0.0, torch.inf]]).double(),) * 2),
            DataError,
            "finite",
        ),
    ],
)
def test_bad_input_is_refused_with_the_remedy(make, error, words):
    with pytest.raises(error, match=words):
        make()
