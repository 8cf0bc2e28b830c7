"""One batch or many, tuples or dicts, weighed by samples, tokens or a callable: the same numbers as by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from steppe.core import KindError, ParameterError, SquaredLoss, UnknownNameError
from steppe.curvature import SharpnessTracker, diagonal, gauss_newton, hessian, sharpness, trace
from steppe.networks import ShallowReLU

F64 = torch.float64


class Tagger(nn.Module):
    """A language model in small: tokens to labels, with its own loss over the labels that count."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 5)
        self.double()

    def forward(self, input_ids, labels=None):
        logits = self.head(torch.tanh(self.embed(input_ids)))
        loss = None if labels is None else functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return SimpleNamespace(loss=loss, logits=logits)


def token_batches():
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 7, (6, 4), generator=rng)
    labels = torch.randint(0, 5, (6, 4), generator=rng)
    labels[0, :3] = labels[5, 1:] = -100  # uneven numbers of tokens
    whole = {"input_ids": ids, "labels": labels}
    parts = [{name: value[part] for name, value in whole.items()} for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    return whole, parts


def dense_hessian(model, value):
    parameters = list(model.parameters())
    flat = torch.cat([p.detach().flatten() for p in parameters])

    def of(vector):
        pieces = vector.split([p.numel() for p in parameters])
        named = {n: t.view_as(p) for (n, p), t in zip(model.named_parameters(), pieces, strict=True)}
        return value(lambda *a, **k: torch.func.functional_call(model, named, a, k))

    return torch.autograd.functional.hessian(of, flat)


def test_a_model_with_its_own_loss_is_weighed_by_tokens():
    model = Tagger()
    whole, parts = token_batches()
    expected = dense_hessian(model, lambda call: call(**whole).loss)
    for data in (whole, parts):
        operator = hessian(model, None, data)
        assert torch.allclose(operator.to_dense(), expected, atol=1e-12)
        assert "the model's own loss, mean of 18 tokens" in operator.convention
    by_samples = hessian(model, None, parts, weight="samples").to_dense()
    assert not torch.allclose(by_samples, expected, atol=1e-6)


def test_an_objective_and_a_callable_weight():
    model = nn.Linear(2, 1).double()
    x, y = torch.randn(10, 2, dtype=F64), torch.randn(10, 1, dtype=F64)

    def huber(model, batch):
        return functional.huber_loss(model(batch["x"]), batch["y"])

    parts = [{"x": x[:3], "y": y[:3]}, {"x": x[3:], "y": y[3:]}]
    weights = {3: 5.0, 7: 1.0}
    operator = hessian(model, None, parts, objective=huber, weight=lambda batch: weights[len(batch["x"])])
    losses = [dense_hessian(model, lambda call, b=b: functional.huber_loss(call(b["x"]), b["y"])) for b in parts]
    assert torch.allclose(operator.to_dense(), (5 * losses[0] + losses[1]) / 6, atol=1e-12)
    assert operator.convention.startswith("huber, mean of 6 a callable's weight")


def test_a_dict_with_a_loss_equals_the_tuple():
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.randn(9, 2, dtype=F64), torch.randn(9, 1, dtype=F64)
    expected = hessian(model, SquaredLoss(), (x, y)).to_dense()
    for key in ("y", "targets", "labels"):
        assert torch.equal(hessian(model, SquaredLoss(), {"input": x, key: y}).to_dense(), expected)
    assert torch.allclose(
        gauss_newton(model, SquaredLoss(), {"input": x, "y": y}).to_dense(),
        gauss_newton(model, SquaredLoss(), (x, y)).to_dense(),
    )


def test_options_reach_every_quantity():
    model = Tagger()
    _, parts = token_batches()
    dense = hessian(model, None, parts, weight="samples").to_dense()
    assert float(sharpness(model, None, parts, weight="samples", rtol=1e-8)) == pytest.approx(
        float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-6
    )
    assert float(trace(model, None, parts, weight="samples")) == pytest.approx(float(dense.trace()), rel=1e-10)
    assert torch.allclose(diagonal(model, None, parts, weight="samples"), dense.diagonal(), atol=1e-12)
    tracked = SharpnessTracker(model, None, parts, weight="samples", rtol=1e-6).measure()
    assert float(tracked) == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-4)


def test_a_shallow_network_with_a_callable_weight_takes_the_general_path():
    network = ShallowReLU(2, 5)
    x, y = torch.randn(8, 2, dtype=F64), torch.randn(8, 1, dtype=F64)
    closed = hessian(network, SquaredLoss(), [(x[:3], y[:3]), (x[3:], y[3:])])
    general = hessian(network, SquaredLoss(), [(x[:3], y[:3]), (x[3:], y[3:])], weight=lambda batch: len(batch[0]))
    assert closed.backend == "closed form"
    assert general.backend == "double backward"
    assert torch.allclose(closed.to_dense(), general.to_dense(), atol=1e-12)


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m, b: hessian(m, None, b, weight="words"), UnknownNameError, "must be one of 'samples', 'tokens'"),
        (lambda m, b: hessian(m, None, b, weight=lambda _: 0), ParameterError, "must be a number > 0, got 0"),
        (lambda m, b: hessian(m, None, {"input_ids": b["input_ids"]}), KindError, "object with `.loss`"),
        (lambda m, b: hessian(m, SquaredLoss(), {"x": b["input_ids"]}), KindError, "targets under one of 'labels'"),
        (lambda m, b: hessian(m, SquaredLoss(), b, objective=print), KindError, "alone, got a loss too"),
        (lambda m, b: hessian(m, SquaredLoss, b), KindError, r"got the class SquaredLoss; pass SquaredLoss\(\)"),
        (lambda m, b: gauss_newton(m, None, b), KindError, "needs loss"),
        (
            lambda m, b: hessian(m, None, [[1, 2]]),
            KindError,
            r"pairs \(x, y\) of tensors, or dicts, got list in batch 0|",
        ),
        (lambda m, b: sharpness(hessian(m, None, b), weight="tokens"), KindError, "got an operator and weight"),
    ],
)
def test_bad_requests_are_told_what_to_do(call, error, says):
    whole, _ = token_batches()
    with pytest.raises(error, match=says):
        call(Tagger(), whole)
