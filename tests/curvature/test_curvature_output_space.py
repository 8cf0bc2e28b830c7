import copy

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.nn import functional

from steppe.core import CrossEntropy, Logistic, Objective, SquaredLoss
from steppe.curvature import output_space
from steppe.curvature.output_space import known_loss, loss_hessian


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def labels(*shape, classes, seed=1):
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


def soft(outputs, seed=2):
    return torch.softmax(randn(*outputs.shape, seed=seed), dim=1)


def dense(loss, outputs, y):
    size = outputs.numel()
    return torch.autograd.functional.hessian(lambda f: loss(f.view_as(outputs), y), outputs.reshape(-1)).view(
        size, size
    )


def by_columns(product, outputs):
    identity = torch.eye(outputs.numel(), dtype=outputs.dtype)
    return torch.stack([product(column.view_as(outputs)).reshape(-1) for column in identity], dim=1)


WEIGHTS = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
IGNORING = labels(5, classes=3).index_fill(0, torch.tensor([1, 4]), -100)
F53, F532 = randn(5, 3), randn(5, 3, 2)
Y532 = labels(5, 2, classes=3)
CASES = {
    "squared": (SquaredLoss(), F53, randn(5, 3, seed=3)),
    "mse": (nn.MSELoss(), F532, randn(5, 3, 2, seed=3)),
    "mse sum": (nn.MSELoss(reduction="sum"), F53, randn(5, 3, seed=3)),
    "mse function": (functional.mse_loss, F53, randn(5, 3, seed=3)),
    "cross-entropy": (CrossEntropy(), F53, labels(5, classes=3)),
    "cross-entropy module": (nn.CrossEntropyLoss(), F53, labels(5, classes=3)),
    "cross-entropy function": (functional.cross_entropy, F53, labels(5, classes=3)),
    "cross-entropy one sample": (nn.CrossEntropyLoss(), F53[0], torch.tensor(2)),
    "ignored labels": (nn.CrossEntropyLoss(), F53, IGNORING),
    "own ignored label": (nn.CrossEntropyLoss(ignore_index=1), F53, labels(5, classes=3)),
    "sum with ignored": (nn.CrossEntropyLoss(reduction="sum"), F53, IGNORING),
    "smoothing": (nn.CrossEntropyLoss(label_smoothing=0.2), F53, IGNORING),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHTS), F53, IGNORING),
    "weights and smoothing": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.3), F532, Y532),
    "sequence": (nn.CrossEntropyLoss(), F532, Y532.index_fill(0, torch.tensor([2]), -100)),
    "soft targets": (nn.CrossEntropyLoss(), F53, soft(F53)),
    "soft unnormalised": (nn.CrossEntropyLoss(), F53, 2 * soft(F53).square()),
    "soft, weights, smoothing": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.3), F532, soft(F532)),
    "soft sum": (nn.CrossEntropyLoss(reduction="sum"), F532, soft(F532)),
    "logistic": (Logistic(), F53, 2.0 * labels(5, 3, classes=2).double() - 1),
    "binary": (nn.BCEWithLogitsLoss(), F53, labels(5, 3, classes=2).double()),
    "binary soft": (nn.BCEWithLogitsLoss(), F53, soft(F53)),
    "binary sum": (nn.BCEWithLogitsLoss(reduction="sum"), F53, soft(F53)),
    "binary function": (functional.binary_cross_entropy_with_logits, F53, soft(F53)),
    "binary weights": (nn.BCEWithLogitsLoss(weight=WEIGHTS, pos_weight=2 * WEIGHTS), F53, soft(F53)),
}
UNKNOWN = {
    "huber": (nn.HuberLoss(), F53, randn(5, 3, seed=3)),
    "subclass": (type("Mine", (nn.MSELoss,), {})(), F53, randn(5, 3, seed=3)),
    "samples coupled": (lambda f, y: (f - y).square().mean().sqrt(), F53, randn(5, 3, seed=3)),
    "linear": (lambda f, y: (f * y).mean(), F53, randn(5, 3, seed=3)),
    "log-likelihood": (nn.NLLLoss(), F53, labels(5, classes=3)),
    "no dependence": (lambda f, y: y.mean(), F53, randn(5, 3, seed=3)),
    "detached gradient": (lambda f, y: (f.detach() * f).mean(), F53, randn(5, 3, seed=3)),
}


@pytest.mark.parametrize("name", [*CASES, *UNKNOWN])
def test_map_is_the_hessian_of_the_loss_in_the_outputs(name):
    loss, outputs, y = {**CASES, **UNKNOWN}[name]
    objective, batch = Objective(loss), (randn(5, 1), y)
    assert (known_loss(objective, outputs, batch) is None) == (name in UNKNOWN)
    found = by_columns(loss_hessian(objective, outputs, batch), outputs)
    expected = torch.zeros_like(found) if name in ("no dependence", "detached gradient") else dense(loss, outputs, y)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(found, found.T) or torch.allclose(found, found.T, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [name for name, (_, f, _) in CASES.items() if f.ndim > 1 and "entropy" in name])
def test_pieces_give_what_the_whole_gives(name, monkeypatch):
    loss, outputs, y = CASES[name]
    u = randn(*outputs.shape, seed=5)
    whole = loss_hessian(Objective(loss), outputs, (u, y))(u)
    monkeypatch.setattr(output_space, "_CHUNK", 4)
    torch.testing.assert_close(loss_hessian(Objective(loss), outputs, (u, y))(u), whole, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", ["sequence", "weights and smoothing", "soft, weights, smoothing", "class weights"])
def test_pieces_carry_the_weight_of_their_positions(name, monkeypatch):
    loss, outputs, y = CASES[name]
    monkeypatch.setattr(output_space, "_CHUNK", 5)
    found = by_columns(loss_hessian(Objective(loss), outputs, (outputs, y)), outputs)
    torch.testing.assert_close(found, dense(loss, outputs, y), rtol=1e-12, atol=1e-14)


def test_a_module_that_was_changed_is_not_taken_for_the_known_one():
    y = randn(5, 3, seed=3)
    hooked, patched = nn.MSELoss(), nn.MSELoss()
    hooked.register_forward_hook(lambda module, args, value: value.square())
    patched.forward = lambda f, y: (f - y).pow(4).mean()
    for loss in (hooked, patched):
        found = by_columns(loss_hessian(Objective(loss), F53, (F53, y)), F53)
        torch.testing.assert_close(found, dense(loss, F53, y), rtol=1e-12, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-30, 30), scale=st.floats(0.01, 60), seed=st.integers(0, 1000))
def test_softmax_map_kills_constants_and_is_positive(shift, scale, seed):
    outputs = scale * randn(4, 6, seed=seed) + shift
    product = loss_hessian(Objective(CrossEntropy()), outputs, (outputs, labels(4, classes=6)))
    u = randn(4, 6, seed=seed + 1)
    assert float(product(torch.ones_like(u)).abs().max()) < 1e-15
    assert float((u * product(u)).sum()) >= -1e-15


def test_half_precision_outputs_are_weighed_in_single_precision():
    outputs = randn(64, 1000, dtype=torch.bfloat16)
    u = randn(64, 1000, seed=4, dtype=torch.bfloat16)
    y = labels(64, classes=1000)
    found = loss_hessian(Objective(nn.CrossEntropyLoss()), outputs, (outputs, y))(u)
    exact = loss_hessian(Objective(nn.CrossEntropyLoss()), outputs.double(), (outputs, y))(u.double())
    assert found.dtype == torch.bfloat16
    assert float((found.double() - exact).norm() / exact.norm()) < 4e-3  # one rounding to 8 bits


def test_loss_is_left_as_it_was():
    loss = nn.CrossEntropyLoss(weight=WEIGHTS.clone(), label_smoothing=0.1)
    before = copy.deepcopy(loss.state_dict())
    loss_hessian(Objective(loss), F53, (F53, IGNORING))(F53)
    assert torch.equal(loss.state_dict()["weight"], before["weight"])


def test_large_vocabulary_takes_no_temporary_of_its_size():
    n, classes = 256, 32768  # 32 MiB of float32 each
    outputs, y = randn(n, classes, dtype=torch.float32), labels(n, classes=classes)
    product = loss_hessian(Objective(nn.CrossEntropyLoss()), outputs, (outputs, y))
    u = randn(n, classes, seed=9, dtype=torch.float32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        product(u)
    largest = sorted((event.self_cpu_memory_usage for event in profile.events()), reverse=True)
    assert largest[0] == outputs.numel() * 4  # the result
    assert largest[1] <= 4 * output_space._CHUNK
