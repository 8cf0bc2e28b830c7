"""Models, losses and data at their worst: right to a dense float64 oracle, or refused with the cause; no trace left."""

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from hostile_cases import CONTEXTS, F64, REFUSED, RIGHT, Answer, case, net, quadratic, xy
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, TensorDataset

from steppe.core import ParameterError, SteppeError
from steppe.curvature import diagonal, eigenvalues, gauss_newton, hessian, sharpness, trace

pytestmark = pytest.mark.door  # the shape hook draws random numbers itself


def snapshot(model):
    """All that a measurement could leave behind."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    state = np.random.get_state()  # noqa: NPY002 - the global state must stay as it is
    return {
        "flags": [module.training for module in model.modules()],
        "names": [sorted(vars(module)) for module in model.modules()],
        "hooks": [[dict(getattr(module, name)) for name in hooks] for module in model.modules()],
        "parameters": [(id(p), p.requires_grad, id(p.grad), dict(p._backward_hooks or {})) for p in model.parameters()],
        "values": [_copy(p) for p in model.parameters()],
        "gradients": [_copy(p.grad) for p in model.parameters()],
        "buffers": [(id(b), _copy(b)) for b in model.buffers()],
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": (state[0], state[1].tolist(), *state[2:]),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "kernels": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _copy(tensor):
    if tensor is None or tensor.is_meta or nn.parameter.is_lazy(tensor):
        return None
    return torch.view_as_real(tensor).tolist() if tensor.is_complex() else repr(tensor.detach().tolist())


@pytest.fixture
def leaves_no_trace():
    """Called with a model and data before a measurement, compares both afterwards, whatever the measurement did."""
    watched = []

    def watch(model, data):
        for parameter in list(model.parameters())[:1]:
            if parameter.is_leaf and not parameter.is_meta and not nn.parameter.is_lazy(parameter):
                parameter.grad = torch.ones_like(parameter)
        tensors = [t for t in _tensors(data) if not t.is_meta]
        watched.append((model, snapshot(model), [(t, t.clone(), t._version) for t in tensors]))

    yield watch
    for model, before, tensors in watched:
        after = snapshot(model)
        assert {name for name in before if before[name] != after[name]} == set()
        for tensor, value, version in tensors:
            assert torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(value)), "data were changed"
            assert tensor._version == version or torch.equal(tensor, value)


def _tensors(data):
    if isinstance(data, torch.Tensor):
        return [data]
    if isinstance(data, dict):
        return [t for t in data.values() if isinstance(t, torch.Tensor)]
    return [t for part in data for t in _tensors(part)] if isinstance(data, list | tuple) else []


def dense_oracle(found):
    """The Hessian by torch.autograd.functional in float64, on a copy; batches weighed by their number of targets."""
    model = copy.deepcopy(getattr(found.plain, "_orig_mod", found.plain)).double()
    for module in model.modules():
        module._forward_hooks.clear()
        module._backward_hooks.clear()
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    flat = torch.cat([value.reshape(-1) for value in named.values()])
    single = isinstance(found.data, tuple)
    batches = [tuple(_double(t) for t in batch) for batch in ([found.data] if single else found.data)]
    adds_up = hasattr(found, "adds_up")
    weights = [1 if adds_up else len(y) for _, y in batches]
    total = 1 if adds_up else sum(weights)
    buffers = {name: b.clone() for name, b in model.named_buffers()}

    def value(vector):
        parts = vector.split([v.numel() for v in named.values()])
        state = {name: part.view_as(v) for part, (name, v) in zip(parts, named.items(), strict=True)}
        losses = []
        for (x, y), weight in zip(batches, weights, strict=True):
            now = {name: b.clone() for name, b in buffers.items()}
            outputs = torch.func.functional_call(model, {**state, **now}, (x.clone(),))
            losses.append(weight * found.loss(outputs.double(), y))
        return sum(losses) / total

    with sdpa_kernel(SDPBackend.MATH), torch.inference_mode(mode=False), torch.enable_grad():
        return torch.autograd.functional.hessian(value, flat)


def _double(tensor):
    return tensor.double() if tensor.is_floating_point() else tensor


@pytest.mark.parametrize("name", RIGHT)
def test_right(name, leaves_no_trace):
    torch.manual_seed(0)
    truth = dense_oracle(RIGHT[name]())
    torch.manual_seed(0)
    found = RIGHT[name]()
    problem, rtol = (found.model, found.loss, found.data), getattr(found, "rtol", 1e-8)
    leaves_no_trace(found.model, found.data)
    scale = float(truth.abs().max()) or 1.0
    torch.testing.assert_close(hessian(*problem).to_dense().double(), truth, rtol=0, atol=rtol * scale)
    spectrum = torch.linalg.eigvalsh(truth)
    within = max(rtol, 1e-3) * float(spectrum.abs().max())
    measured = sharpness(*problem)
    assert measured.converged, measured
    assert abs(measured.value - float(spectrum[-1])) <= within
    low = eigenvalues(*problem, k=2, which="smallest") if len(truth) > 1 else None
    assert low is None or float((low.values.double() - spectrum[:2]).abs().max()) <= within
    total = trace(*problem, probes=max(2, len(truth)))
    assert abs(total.value - float(truth.trace())) <= rtol * scale * len(truth)
    assert float((diagonal(*problem).double() - truth.diagonal()).abs().max()) <= rtol * scale


@pytest.mark.parametrize("measure", [sharpness, trace, eigenvalues], ids=lambda function: function.__name__)
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, measure, leaves_no_trace):
    torch.manual_seed(0)
    make, error, says = REFUSED[name]
    found = make()
    leaves_no_trace(found.model, found.data)
    with pytest.raises((SteppeError, ValueError), match=says) as caught:
        measure(found.model, found.loss, found.data)
    names = {kind.__name__ for kind in type(caught.value).__mro__}
    assert names & set(error.strip("()").split("|")), caught.value


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_caller_may_be_anywhere(context, leaves_no_trace):
    found = case(net())
    truth = dense_oracle(found)
    leaves_no_trace(found.model, found.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # anomaly mode says that it is on
        with CONTEXTS[context]():
            operator = hessian(found.model, found.loss, found.data)
            dense = operator.to_dense()
    torch.testing.assert_close(dense.clone(), truth, rtol=1e-9, atol=1e-11)


def test_a_model_with_its_own_loss_in_dict_batches(leaves_no_trace):
    ids = torch.randint(0, 7, (6, 4), generator=torch.Generator().manual_seed(0))
    labels = torch.where(torch.arange(24).view(6, 4) % 5 == 0, -100, ids)
    batches = [
        {"input_ids": ids[part], "labels": labels[part], "mode": "x"}
        for part in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    model = Answer()
    leaves_no_trace(model, batches)
    logits = nn.functional.embedding  # the oracle: one batch of all tokens, logits by hand

    def value(weight):
        outputs = torch.tanh(logits(ids, weight)) @ weight.T
        return nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())

    with torch.enable_grad():
        truth = torch.autograd.functional.hessian(value, model.embed.weight.detach()).reshape(21, 21)
    torch.testing.assert_close(hessian(model, None, batches).to_dense(), truth, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "vit"])
def test_hugging_face_models_as_configured(kind, leaves_no_trace):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        make = transformers.GPT2LMHeadModel._from_config
    elif kind == "llama":
        config = transformers.LlamaConfig(vocab_size=11, num_key_value_heads=1, max_position_embeddings=8, **small)
        make = transformers.LlamaForCausalLM._from_config
    else:
        config = transformers.ViTConfig(image_size=4, patch_size=2, num_channels=1, num_labels=3, **small)
        make = transformers.ViTForImageClassification._from_config
    torch.manual_seed(0)
    model = make(config).double().eval()
    torch.manual_seed(0)
    eager = make(config, attn_implementation="eager").double().eval()
    batch = {"input_ids": torch.randint(0, 11, (3, 6)), "labels": torch.randint(0, 11, (3, 6))}
    if kind == "vit":
        batch = {"pixel_values": torch.randn(3, 1, 4, 4, dtype=F64), "labels": torch.tensor([0, 2, 1])}
    eager.load_state_dict(model.state_dict())
    leaves_no_trace(model, batch)
    operator = hessian(model, None, batch)
    v = torch.randn(operator.shape[0], dtype=F64, generator=torch.Generator().manual_seed(0))
    parameters = list(eager.parameters())
    with torch.enable_grad():
        gradient = torch.autograd.grad(eager(**batch).loss, parameters, create_graph=True)

    def oracle(vector):
        parts = vector.split([p.numel() for p in parameters])
        shaped = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        image = torch.autograd.grad(gradient, parameters, shaped, allow_unused=True, retain_graph=True)
        found = zip(image, parameters, strict=True)
        return torch.cat([torch.zeros(p.numel(), dtype=F64) if i is None else i.reshape(-1) for i, p in found])

    torch.testing.assert_close(operator @ v, oracle(v), rtol=1e-8, atol=1e-10)
    top = eigenvalues(operator, 1, rtol=1e-6)
    vector, value = top.vectors[:, 0].double(), float(top.values[0])
    assert float((oracle(vector) - value * vector).norm()) <= 1e-5 * value
    assert sharpness(model, None, batch).value == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.MSELoss(reduction="sum")], ids=["mean", "sum"])
def test_uneven_batches_that_do_not_fit_into_memory(loss, leaves_no_trace):
    x, y = xy(60)
    found = case(net(), loss, [(x[:50], y[:50]), (x[50:], y[50:])])
    if loss.reduction == "sum":
        found.adds_up = True
    truth = dense_oracle(found)
    leaves_no_trace(found.model, found.data)
    operator = hessian(found.model, loss, found.data, memory=4000)
    torch.testing.assert_close(operator.to_dense(), truth, rtol=0, atol=1e-10 * float(truth.abs().max()))
    assert len(operator.source._chunks) > 2


@pytest.mark.slow
def test_a_loader_with_workers(leaves_no_trace):
    x, y = xy()
    loader = DataLoader(TensorDataset(x, y), batch_size=4, num_workers=2)
    found = case(net(), data=loader)
    truth = dense_oracle(case(net()))
    leaves_no_trace(found.model, (x, y))
    torch.testing.assert_close(hessian(found.model, found.loss, loader).to_dense(), truth, rtol=1e-9, atol=1e-11)


class TestSpectra:
    def test_a_multiple_eigenvalue_is_found_as_often_as_it_occurs(self):
        for curvature in ([5.0] * 3 + [1.0] * 60, [2.0] * 70, [0.0] * 70):
            found = quadratic(torch.tensor(curvature))
            values = eigenvalues(found.model, found.loss, found.data, k=5).values
            torch.testing.assert_close(values, torch.tensor(curvature[:5], dtype=F64), rtol=1e-3, atol=1e-8)

    def test_the_largest_is_not_the_largest_magnitude(self):
        found = quadratic(torch.cat([torch.full((60,), -100.0), torch.tensor([0.5, 0.25])]))
        assert sharpness(found.model, found.loss, found.data).value == pytest.approx(0.5, rel=1e-3)

    @pytest.mark.parametrize("k", [0, -1, 71, 10**6])
    def test_more_eigenvalues_than_there_are(self, k):
        found = quadratic(torch.ones(70))
        with pytest.raises(ParameterError, match="`k` must be"):
            eigenvalues(found.model, found.loss, found.data, k=k)

    def test_as_many_eigenvalues_as_there_are(self):
        found = quadratic(torch.linspace(1, 70, 70))
        values = eigenvalues(found.model, found.loss, found.data, k=70).values
        torch.testing.assert_close(values, torch.linspace(70, 1, 70, dtype=F64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("measure", [gauss_newton, hessian])
def test_the_defaults_of_the_user_stay(measure, leaves_no_trace):
    found = case(net(), nn.MSELoss())
    truth = dense_oracle(found)
    leaves_no_trace(found.model, found.data)
    torch.set_default_dtype(F64)
    torch.use_deterministic_algorithms(mode=True)
    try:
        operator = measure(found.model, found.loss, found.data)
        assert operator.check_symmetry(seed=0) < 1e-10 if measure is gauss_newton else operator.dtype == F64
        if measure is hessian:
            torch.testing.assert_close(operator.to_dense(), truth, rtol=1e-9, atol=1e-11)
        assert torch.get_default_dtype() == F64
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_default_dtype(torch.float32)


def test_autocast_of_the_caller_is_left_outside(leaves_no_trace):
    found = case(net(dtype=torch.float32), data=xy(dtype=torch.float32))
    expected = dense_oracle(found)
    leaves_no_trace(found.model, found.data)
    with torch.autocast("cpu", torch.bfloat16):
        dense = hessian(found.model, found.loss, found.data).to_dense()
    torch.testing.assert_close(dense.double(), expected, rtol=1e-4, atol=1e-5)
