"""Faster backends agree with double backward or are not taken; several vectors at once; wrapped and foreign models."""

import os
import random

import numpy as np
import pytest
import torch
from engine_models import MODELS, batches_of, problem
from torch import nn
from torch.nn.parallel import DataParallel

from steppe.core import ComputationError, CrossEntropy, Logistic, Objective, SquaredLoss
from steppe.curvature import gauss_newton, hessian, replay, sharpness
from steppe.networks import DeepLinear

F64 = torch.float64


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def data(n=9):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=rng, dtype=F64), torch.randn(n, 2, generator=rng, dtype=F64)


def vector(operator, seed=0):
    return torch.randn(operator.shape[0], generator=torch.Generator().manual_seed(seed), dtype=operator.dtype)


def always_faster(monkeypatch):
    """Every way seems faster than the one before, so that whatever agrees is taken."""
    real = replay.seconds
    times = iter(10.0**-i for i in range(50))
    monkeypatch.setattr(replay, "seconds", lambda *given: (next(times), real(*given)[1]))


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("batch_norm_in_training",)])
def test_forward_mode_and_replay_give_the_same_product(name, monkeypatch):
    always_faster(monkeypatch)
    found = problem(name)
    y = torch.randn(6, 3, generator=torch.Generator().manual_seed(7), dtype=F64)
    operator = gauss_newton(found.model, SquaredLoss(), batches_of(found.given, y, [6])[0])
    v = vector(operator)
    reference, backends = operator @ v, [operator.backend]
    for _ in range(4):
        assert torch.equal(operator @ v, reference)  # unless announced, no decision depends on a clock
    operator.expect(10**9)
    for _ in range(3):
        torch.testing.assert_close(operator @ v, reference, rtol=1e-8, atol=1e-11)
        backends.append(operator.backend)
    assert backends[0] == "double backward"
    if name not in ("recurrent", "lstm", "gru"):  # PyTorch has no forward mode for some kernels
        assert "forward mode and retained pullback" in backends
    if name in ("dense", "convolution", "residual"):
        assert backends[-1] == "replayed linearised forward and retained pullback"


@pytest.mark.parametrize("loss", [SquaredLoss(), nn.MSELoss(), CrossEntropy(), nn.CrossEntropyLoss(), Logistic()])
def test_a_replayed_hessian_is_taken_only_when_many_products_are_announced(loss, monkeypatch):
    always_faster(monkeypatch)
    x, y = data()
    y = (
        y
        if isinstance(loss, SquaredLoss | nn.MSELoss)
        else y.sign()
        if isinstance(loss, Logistic)
        else (y[:, 0] > 0).long()
    )
    operator = hessian(network(), loss, (x, y))
    v = vector(operator)
    reference = operator @ v
    assert operator.backend == "double backward"
    operator.expect(1000)
    for _ in range(2):
        torch.testing.assert_close(operator @ v, reference, rtol=1e-9, atol=1e-12)
    assert operator.backend == "replayed linearised gradient"
    torch.testing.assert_close(operator.to_dense() @ v, reference, rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_known_to_be_safe_is_never_replayed(monkeypatch):
    always_faster(monkeypatch)
    operator = hessian(network(), nn.SmoothL1Loss(), data())
    operator.expect(1000)
    for _ in range(2):
        operator @ vector(operator)
    assert operator.backend == "double backward"


def test_a_backend_that_disagrees_or_fails_is_not_taken(monkeypatch):
    always_faster(monkeypatch)
    for broken in (lambda *_: lambda direction: torch.zeros(9, 2, dtype=F64), lambda *_: 1 / 0):
        monkeypatch.setattr("steppe.curvature.autograd.forward_mode", broken)
        monkeypatch.setattr("steppe.curvature.autograd.linearised_outputs", broken)
        operator = gauss_newton(network(), SquaredLoss(), data())
        operator.expect(10**9)
        reference = operator @ vector(operator)
        torch.testing.assert_close(operator @ vector(operator), reference)
        assert operator.backend == "double backward"


@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_several_vectors_at_once_equal_one_by_one(make):
    operator = make(network(), nn.CrossEntropyLoss(), (data()[0], (data()[1][:, 0] > 0).long()))
    block = torch.stack([vector(operator, seed) for seed in range(5)], dim=1)
    one_by_one = operator @ block
    operator.source._batched = True
    torch.testing.assert_close(operator @ block, one_by_one, rtol=1e-10, atol=1e-12)
    assert operator.source._batched


@pytest.mark.gpu
@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_products_on_a_gpu_equal_those_on_the_cpu(make):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x, y = data()
    here = make(network(), SquaredLoss(), (x, y))
    there = make(network().cuda(), SquaredLoss(), (x.cuda(), y.cuda()))
    block = torch.stack([vector(here, seed) for seed in range(5)], dim=1)
    torch.testing.assert_close((there @ block.cuda()).cpu(), here @ block, rtol=1e-9, atol=1e-11)
    assert there.source._batched
    there.source._batched = False
    torch.testing.assert_close((there @ block.cuda()).cpu(), here @ block, rtol=1e-9, atol=1e-11)


def test_an_operation_without_a_batched_form_goes_one_by_one():
    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, slope):
            (x,) = ctx.saved_tensors
            if slope.shape != x.shape or torch._C._functorch.is_batchedtensor(slope):
                raise RuntimeError("no batched form")
            return 3 * x**2 * slope

    class Cubic(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return Odd.apply(self.inner(x))

    operator = hessian(Cubic(), SquaredLoss(), data())
    dense = operator.to_dense()
    operator.source._batched = True
    torch.testing.assert_close(operator.to_dense(), dense)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when the compiler is first imported
def test_wrapped_modules_are_unwrapped():
    inner = network()
    plain = hessian(inner, SquaredLoss(), data())
    for model in (DataParallel(inner), torch.compile(inner, backend="eager"), torch.compile(DataParallel(inner))):
        operator = hessian(model, SquaredLoss(), data())
        assert operator.names == plain.names
        assert torch.equal(operator.to_dense(), plain.to_dense())
    inner[0].compile(backend="aot_eager")  # compiled in place
    assert torch.equal(hessian(inner, SquaredLoss(), data()).to_dense(), plain.to_dense())


def test_deep_linear_networks_have_a_closed_form():
    torch.manual_seed(0)
    model = DeepLinear.from_layers([torch.randn(4, 3, dtype=F64), torch.randn(2, 4, dtype=F64)])
    for make in (hessian, gauss_newton):
        closed = make(model, SquaredLoss(), data())
        assert closed.backend == "closed form"
        general = make(model, lambda out, y: SquaredLoss()(out, y), data())
        assert general.backend == "double backward"
        torch.testing.assert_close(closed.to_dense(), general.to_dense(), rtol=1e-9, atol=1e-11)
        assert closed.names == general.names


def test_changes_behind_the_back_of_autograd_are_noticed():
    for change in (
        lambda m: m[0].weight.data.add_(1e-3),
        lambda m: setattr(m[2].bias, "data", torch.ones(2, dtype=F64)),
        lambda m: setattr(m[2], "bias", nn.Parameter(m[2].bias.detach().clone())),
        lambda m: m.float(),
    ):
        model = network()
        operator = hessian(model, SquaredLoss(), data())
        v = vector(operator)
        operator @ v
        change(model)
        with pytest.raises(ComputationError, match="build a new operator"):
            operator @ v


class Fails(nn.Module):
    """Changes what a forward pass can change, and fails at one of its calls."""

    def __init__(self, fail_at):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).double()
        self.calls, self.fail_at = 0, fail_at

    def forward(self, x):
        self.calls += 1
        torch.rand(1), random.random(), np.random.random()  # noqa: NPY002 - what users do
        torch.set_default_dtype(torch.float16)
        self.inner[1].eval()
        outputs = self.inner(x)
        if self.calls == self.fail_at:
            raise ZeroDivisionError("in the middle")
        return outputs


def state_of(model):
    return (
        [module.training for module in model.modules()],
        [(id(p), p.requires_grad, id(p.grad), p._version) for p in model.parameters()],
        [buffer.tolist() for buffer in model.buffers()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_default_dtype(),
    )


@pytest.mark.door  # the shape hook draws random numbers itself
@pytest.mark.parametrize("fail_at", range(1, 8))
def test_nothing_is_left_behind_wherever_a_forward_pass_fails(fail_at):
    for options in ({"memory": 0}, {}):
        model = Fails(fail_at)
        model.inner[3].weight.grad = torch.ones(2, 5, dtype=F64)
        before = state_of(model)
        x, y = data()
        failed = False
        try:
            operator = hessian(model, SquaredLoss(), [(x[:4], y[:4]), (x[4:], y[4:])], **options)
            operator @ torch.ones(operator.shape[0], dtype=F64)
        except ZeroDivisionError:
            failed = True
        assert failed == (fail_at <= (6 if options else 4))
        assert state_of(model) == before


def test_a_user_who_gives_the_loss_a_reduction_gets_it_stated():
    sums = hessian(network(), nn.MSELoss(reduction="sum"), data())
    assert sums.convention == "MSELoss, sum over 9 samples, all 32 parameters"
    mean = hessian(network(), nn.MSELoss(), data())
    assert mean.convention == "MSELoss, mean of 9 samples, all 32 parameters"
    torch.testing.assert_close(sums.to_dense() / 18, mean.to_dense())


def test_the_loss_at_the_point_is_known():
    model, (x, y) = network(), data()
    expected = float(SquaredLoss()(model(x), y).detach())
    for options in ({}, {"memory": 0}):
        assert hessian(model, SquaredLoss(), (x, y), **options).source.loss == pytest.approx(expected)
    assert Objective(SquaredLoss()).convention in hessian(model, SquaredLoss(), (x, y)).convention


_CHOSEN = {
    "gpt2": ["transformer.h.0.*.bias", "transformer.ln_f.weight"],
    "llama": ["model.norm.weight", "*.0.*layernorm.weight", "*.1.mlp.down_proj.weight"],
    "bert": "bert.encoder.layer.0.*bias",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", _CHOSEN)
def test_language_models_made_from_a_configuration(kind, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2)
        model = transformers.GPT2LMHeadModel(config)
    elif kind == "llama":
        config = transformers.LlamaConfig(
            vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.BertConfig(
            vocab_size=11, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
        )
        model = transformers.BertForMaskedLM(config)
    model = model.double().eval()
    ids = torch.randint(0, 11, (3, 6))
    labels = ids.clone()
    labels[0, :3] = -100
    batch = {"input_ids": ids, "labels": labels}
    operator = hessian(model, None, batch, parameters=_CHOSEN[kind])
    assert "tokens" in operator.convention
    v = vector(operator)
    assert operator.check_symmetry() < 1e-7  # these models compute their loss in single precision
    step, image = 2e-4, operator @ v
    chosen = [dict(model.named_parameters())[name] for name in operator.names]

    def gradient():
        found = torch.autograd.grad(model(**batch).loss, chosen)
        return torch.cat([part.reshape(-1) for part in found])

    parts = operator.as_dict(v)
    with torch.no_grad():
        for name, parameter in zip(operator.names, chosen, strict=True):
            parameter.add_(parts[name], alpha=step)
    up = gradient()
    with torch.no_grad():
        for name, parameter in zip(operator.names, chosen, strict=True):
            parameter.sub_(parts[name], alpha=2 * step)
    central = (up - gradient()) / (2 * step)
    torch.testing.assert_close(image, central, rtol=0, atol=2e-3 * float(central.abs().max()))
    assert sharpness(model, None, batch, rtol=1e-2).converged
    assert os.environ["HF_HUB_OFFLINE"] == "1"
