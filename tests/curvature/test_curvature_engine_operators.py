"""Names, dictionaries, blocks, sums, SciPy, symmetry and sizes of operators."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

from steppe.core import (
    ComputationError,
    DtypeError,
    InputError,
    KindError,
    ParameterError,
    ShapeError,
    SquaredLoss,
    UnknownNameError,
)
from steppe.curvature import gauss_newton, hessian, sharpness, trace
from steppe.linalg import SymmetricOperator
from steppe.networks import ShallowReLU

F64 = torch.float64


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def data():
    rng = torch.Generator().manual_seed(1)
    return torch.randn(9, 3, generator=rng, dtype=F64), torch.randn(9, 2, generator=rng, dtype=F64)


def test_vectors_and_dictionaries_are_one_thing():
    operator = hessian(network(), SquaredLoss(), data())
    v = torch.randn(operator.shape[0], generator=torch.Generator().manual_seed(0), dtype=F64)
    named = operator.as_dict(v)
    assert list(named) == operator.names == ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert named["2.weight"].shape == (4, 5)
    assert torch.equal(operator.as_vector(named), v)
    image = operator @ named
    assert torch.equal(operator.as_vector(image), operator @ v)
    only = operator @ {"2.bias": torch.ones(4, dtype=F64)}
    ones = torch.zeros_like(v)
    ones[20 + 20 : 20 + 24] = 1
    torch.testing.assert_close(operator.as_vector(only), operator @ ones)


@pytest.mark.parametrize("model", [network(), ShallowReLU(3, 6, 2)], ids=["double backward", "closed form"])
def test_blocks_by_parameter_and_module(model):
    operator = hessian(model, SquaredLoss(), data())
    dense = operator.to_dense()
    for by in ("parameter", "module"):
        start = 0
        for block in operator.blocks(by).values():
            end = start + block.shape[0]
            torch.testing.assert_close(block.to_dense(), dense[start:end, start:end], rtol=1e-10, atol=1e-13)
            start = end
        assert start == len(dense)
    names = ["0", "2", "4"] if isinstance(model, nn.Sequential) else [""]
    assert list(operator.blocks("module")) == names
    assert "diagonal block of" in operator.blocks("module")[names[0]].convention


def test_parameters_by_name_glob_and_list():
    model = network()
    whole = hessian(model, SquaredLoss(), data()).to_dense()
    weights = hessian(model, SquaredLoss(), data(), parameters="*.weight")
    assert weights.names == ["0.weight", "2.weight", "4.weight"]
    keep = torch.cat([torch.arange(0, 15), torch.arange(20, 40), torch.arange(44, 52)])
    torch.testing.assert_close(weights.to_dense(), whole[keep][:, keep])
    assert "43 of 54 parameters" in weights.convention
    both = hessian(model, SquaredLoss(), data(), parameters=["4.*", "0.bias"])
    assert both.names == ["0.bias", "4.weight", "4.bias"]
    last = hessian(model, SquaredLoss(), data(), parameters="4.*")
    assert float(trace(last)) == pytest.approx(float(whole.diagonal()[44:].sum()), rel=1e-10)
    model[0].weight.requires_grad_(requires_grad=False)
    assert hessian(model, SquaredLoss(), data(), parameters="0.*").names == ["0.bias"]


def test_tied_parameters_answer_to_both_names_and_count_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    model[2].weight = model[0].weight
    for name in ("0.weight", "2.weight"):
        operator = hessian(model, SquaredLoss(), (data()[0][:, :2], data()[1]), parameters=name)
        assert operator.names == ["0.weight"]
        assert operator.shape == (4, 4)


def test_sums_scalings_and_differences():
    model = network()
    h, g = hessian(model, SquaredLoss(), data()), gauss_newton(model, SquaredLoss(), data())
    a, b = h.to_dense(), g.to_dense()
    for found, truth in (
        (h + g, a + b),
        (h - g, a - b),
        (0.5 * h, a / 2),
        (h / 4, a / 4),
        (-h, -a),
        (2 * (h - g) + g, 2 * a - b),
    ):
        torch.testing.assert_close(found.to_dense(), truth, rtol=1e-10, atol=1e-12)
        assert found.names == h.names
    rest = h - g
    torch.testing.assert_close(rest.blocks()["2.weight"].to_dense(), (a - b)[20:40, 20:40], rtol=1e-10, atol=1e-12)
    assert rest.convention.startswith(
        "(Hessian, ½ squared error, mean of 9 samples, all 54 parameters) − (Gauss–Newton,"
    )
    assert (0.5 * h).convention.startswith("0.5 × (Hessian, ½ squared error")
    assert "double backward" in rest.backend
    plain = SymmetricOperator.from_matrix(torch.eye(54, dtype=F64))
    damped = h + 0.1 * plain
    torch.testing.assert_close(damped.to_dense(), a + 0.1 * torch.eye(54, dtype=F64))
    assert float(sharpness(damped, rtol=1e-8)) == pytest.approx(float(sharpness(h, rtol=1e-8)) + 0.1, rel=1e-6)


def test_scipy_sees_the_same_matrix():
    operator = hessian(network(), SquaredLoss(), data())
    dense = operator.to_dense()
    outside = operator.to_scipy()
    rng = np.random.default_rng(0)
    v, block = rng.standard_normal(54), rng.standard_normal((54, 3))
    np.testing.assert_allclose(outside @ v, dense.numpy() @ v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(outside @ block, dense.numpy() @ block, rtol=1e-9, atol=1e-12)
    top = eigsh(outside, k=1, which="LA", return_eigenvectors=False)[0]
    assert top == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-8)


def test_symmetry_is_checked():
    torch.manual_seed(0)
    matrix = torch.randn(20, 20, dtype=F64)
    with pytest.raises(ComputationError, match="not symmetric"):
        SymmetricOperator(lambda block: matrix @ block, 20).check_symmetry()
    assert SymmetricOperator.from_matrix(matrix + matrix.T).check_symmetry() < 1e-14
    assert SymmetricOperator(torch.zeros_like, 3).check_symmetry() == 0


def test_a_matrix_that_is_too_large_is_predicted():
    operator = SymmetricOperator(lambda block: block, 30_000)
    with pytest.raises(ParameterError, match=r"30.000 products and 7.2 GB.*max_size=10000"):
        operator.to_dense()


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, d: hessian(m, SquaredLoss(), d, parameters="layer.*"), UnknownNameError, "matches no parameter"),
        (lambda m, d: hessian(m, SquaredLoss(), d, parameters="0.wieght"), UnknownNameError, "mean '0.weight'"),
        (lambda m, d: hessian(m, SquaredLoss(), d, parameters=[]), KindError, "at least one parameter"),
        (lambda m, d: hessian(m, SquaredLoss(), d, parameters=3), KindError, "a name, a glob or a list"),
        (lambda m, d: hessian(m, SquaredLoss(), d, parameters=["0.bias", "2.bias"]), InputError, "only frozen"),
        (lambda m, d: hessian(m, SquaredLoss(), d) @ {"5.bias": d[0]}, UnknownNameError, "did you mean '4.bias'"),
        (lambda m, d: hessian(m, SquaredLoss(), d) @ {"4.bias": d[0]}, ShapeError, r"shape \[2\], got \[9, 3\]"),
        (lambda m, d: hessian(m, SquaredLoss(), d) @ {"4.bias": torch.ones(2)}, DtypeError, "operator's dtype"),
        (lambda m, d: hessian(m, SquaredLoss(), d).as_dict(torch.ones(3)), ShapeError, r"got \[3\]"),
        (lambda m, d: hessian(m, SquaredLoss(), d).blocks("layer"), UnknownNameError, "'parameter', 'module'"),
        (lambda m, d: hessian(m, SquaredLoss(), d) + 3, TypeError, "unsupported operand"),
        (lambda m, d: hessian(m, SquaredLoss(), d) / 0, ParameterError, "differ from 0"),
        (
            lambda m, d: hessian(m, SquaredLoss(), d) + SymmetricOperator(torch.neg, 3),
            ShapeError,
            "operators must have one shape",
        ),
        (
            lambda m, d: hessian(m, SquaredLoss(), d) + SymmetricOperator(torch.neg, 49, dtype=torch.float32),
            DtypeError,
            "one dtype",
        ),
        (lambda m, d: hessian(m, SquaredLoss(), d, memory=-1), ParameterError, "`memory` must be ≥ 0"),
        (lambda m, d: hessian(m, SquaredLoss(), d, params="x"), KindError, "does not know the keyword `params`"),
    ],
)
def test_bad_requests_are_told_what_to_do(call, error, says):
    model = network()
    model[0].bias.requires_grad_(requires_grad=False)
    with pytest.raises(error, match=says):
        call(model, data())
