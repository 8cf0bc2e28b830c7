"""Hessian and Gauss–Newton matrices of many architectures, losses, reductions and splits against dense autograd."""

import pytest
import torch
from engine_models import F64, MODELS, N, batches_of, dense_gauss_newton, dense_hessian, problem
from torch import nn
from torch.nn import functional

from steppe.core import CrossEntropy, Logistic, SquaredLoss
from steppe.curvature import gauss_newton, hessian, sharpness


def mixed(outputs, targets):
    return functional.huber_loss(outputs, targets, delta=0.5) + 0.1 * outputs.logsumexp(dim=1).mean()


def real(dtype):
    return torch.randn(N, 3, generator=torch.Generator().manual_seed(7), dtype=F64).to(dtype)


def signs(dtype):
    return torch.where(real(dtype) > 0, 1.0, -1.0).to(dtype)


def labels(_):
    return torch.tensor([0, 2, 1, 1, 0, 2])


def half(dtype):
    return (real(dtype) > 0).to(dtype)


LOSSES = {
    "squared": (SquaredLoss(), real),
    "mse": (nn.MSELoss(), real),
    "mse-sum": (nn.MSELoss(reduction="sum"), real),
    "cross-entropy": (nn.CrossEntropyLoss(), labels),
    "cross-entropy-sum": (nn.CrossEntropyLoss(reduction="sum"), labels),
    "house-cross-entropy": (CrossEntropy(), labels),
    "logistic": (Logistic(), signs),
    "bce": (nn.BCEWithLogitsLoss(), half),
    "bce-sum": (nn.BCEWithLogitsLoss(reduction="sum"), half),
    "own": (mixed, real),
}
SPLITS = {"one": [6], "two": [4, 6], "n": [1, 2, 3, 4, 5, 6], "short last": [5, 6]}


def compare(name, loss, split, dtype=F64, rtol=1e-8):
    found, (function, target) = problem(name, dtype), LOSSES[loss]
    y = target(dtype)
    data = batches_of(found.given, y, SPLITS[split])
    exact, (_, exact_target) = problem(name), LOSSES[loss]
    for make, truth in ((hessian, dense_hessian), (gauss_newton, dense_gauss_newton)):
        expected = truth(exact.model, function, exact.given, exact_target(F64), SPLITS[split])
        operator = make(found.model, function, data if len(data) > 1 else data[0])
        assert operator.backend.startswith("double backward")
        assert operator.check_symmetry() <= 1e3 * torch.finfo(dtype).eps
        wrong = (operator.to_dense().double() - expected).abs().max() / expected.abs().max()
        assert wrong <= rtol, (make.__name__, wrong)


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture(name):
    compare(name, "squared", "one" if name == "batch_norm_in_training" else "short last")


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_a_short_last_batch(loss):
    compare("dense", loss, "short last")


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_split(loss, split):
    compare("dense", loss, split)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["one", "short last"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_loss_and_split(name, loss, split):
    if name == "batch_norm_in_training" and split == "short last":
        split = "two"  # a batch of one sample has no statistics
    compare(name, loss, split)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_single_precision(name, loss):
    compare(name, loss, "one", dtype=torch.float32, rtol=1e-3)


@pytest.mark.parametrize("make", [hessian, gauss_newton])
@pytest.mark.parametrize("name", ["dense", "attention"])
def test_batches_of_any_length_give_the_same(name, make):
    found, y = problem(name), labels(F64)
    loss = nn.CrossEntropyLoss()
    whole = make(found.model, loss, batches_of(found.given, y, [6])[0]).to_dense()
    for ends in ([3, 6], [5, 6], [1, 2, 3, 4, 5, 6], [1, 3, 4, 6]):
        parts = make(found.model, loss, batches_of(found.given, y, ends)).to_dense()
        assert float((parts - whole).abs().max()) <= 1e-10 * float(whole.abs().max())


@pytest.mark.parametrize("name", ["tied", "residual"])
def test_a_part_of_the_parameters_is_a_diagonal_block(name):
    found, y = problem(name), real(F64)
    data = batches_of(found.given, y, [6])[0]
    for make in (hessian, gauss_newton):
        whole = make(found.model, SquaredLoss(), data)
        dense, start = whole.to_dense(), 0
        blocks = whole.blocks()
        assert list(blocks) == whole.names
        for key, shape in whole.shapes.items():
            end = start + shape.numel()
            block = dense[start:end, start:end]
            torch.testing.assert_close(blocks[key].to_dense(), block, rtol=1e-9, atol=1e-12)
            alone = make(found.model, SquaredLoss(), data, parameters=key)
            torch.testing.assert_close(alone.to_dense(), block, rtol=1e-9, atol=1e-12)
            start = end
        assert start == len(dense)
    assert float(sharpness(whole, rtol=1e-8)) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-6)
