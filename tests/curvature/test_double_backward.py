"""Curvature of ordinary modules against dense autograd Hessians; nothing is left behind."""

import gc
import random
import weakref

import pytest
import torch
from torch import nn

from steppe.core import (
    ComputationError,
    DataError,
    DtypeError,
    InputError,
    KindError,
    NotDeterministicError,
    ParameterError,
    ShapeError,
    SquaredLoss,
)
from steppe.curvature import diagonal, eigenvalues, gauss_newton, hessian, sharpness, trace
from steppe.networks import ShallowReLU


def module(seed=0, *extra, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), *extra, nn.Linear(5, 2)).to(dtype)


def data(n=11, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=rng).to(dtype), torch.randn(n, 2, generator=rng).to(dtype)


def flat_functions(model, loss, x, y):
    names, values = zip(*[(n, p) for n, p in model.named_parameters() if p.requires_grad], strict=True)
    flat = torch.cat([value.detach().reshape(-1) for value in values])

    def outputs(vector):
        parts = vector.split([v.numel() for v in values])
        state = {name: part.view_as(v) for name, part, v in zip(names, parts, values, strict=True)}
        return torch.func.functional_call(model, state, (x,))

    return flat, outputs, lambda vector: loss(outputs(vector), y)


LOSSES = [
    (SquaredLoss(), lambda y: y),
    (nn.MSELoss(), lambda y: y),
    (nn.CrossEntropyLoss(), lambda y: y.argmax(dim=1)),
    (nn.BCEWithLogitsLoss(), lambda y: (y > 0).to(y.dtype)),
]


@pytest.mark.parametrize(("loss", "target"), LOSSES, ids=lambda value: type(value).__name__)
def test_equals_dense_autograd(loss, target):
    model, (x, y) = module(), data()
    y = target(y)
    flat, outputs, value = flat_functions(model, loss, x, y)
    truth = torch.autograd.functional.hessian(value, flat)
    operator = hessian(model, loss, (x, y))
    assert operator.backend == "double backward"
    torch.testing.assert_close(operator.to_dense(), truth, rtol=1e-10, atol=1e-12)
    jacobian = torch.autograd.functional.jacobian(outputs, flat).flatten(0, 1)
    z = outputs(flat)
    inner = torch.autograd.functional.hessian(lambda out: loss(out, y), z).reshape(z.numel(), z.numel())
    torch.testing.assert_close(
        gauss_newton(model, loss, (x, y)).to_dense(), jacobian.T @ inner @ jacobian, rtol=1e-10, atol=1e-12
    )
    spectrum = torch.linalg.eigvalsh(truth)
    assert float(sharpness(model, loss, (x, y))) == pytest.approx(float(spectrum[-1]), rel=1e-8)
    torch.testing.assert_close(diagonal(model, loss, (x, y)), truth.diagonal(), rtol=1e-9, atol=1e-12)
    assert float(trace(model, loss, (x, y))) == pytest.approx(float(truth.trace()), rel=1e-9)
    low = eigenvalues(model, loss, (x, y), k=2, which="smallest")
    torch.testing.assert_close(low.values, spectrum[:2], rtol=1e-8, atol=1e-10)
    low = eigenvalues(operator, 2, which="smallest")
    torch.testing.assert_close(low.values, spectrum[:2], rtol=1e-8, atol=1e-10)


def test_agrees_with_the_closed_form():
    network = ShallowReLU(4, 30, 2, init="torch", skip=True)
    rng = torch.Generator().manual_seed(1)
    x, y = (torch.randn(20, size, generator=rng, dtype=torch.float64) for size in (4, 2))
    exact = hessian(network, SquaredLoss(), (x, y)).to_dense()
    general = hessian(network, lambda out, target: SquaredLoss()(out, target), (x, y))
    assert general.backend == "double backward"
    torch.testing.assert_close(general.to_dense(), exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_any_split_into_batches_equals_one_batch(make):
    model, (x, y) = module(), data(23)
    whole = make(model, SquaredLoss(), (x, y)).to_dense()
    pairs = list(torch.utils.data.TensorDataset(x, y))
    loader = torch.utils.data.DataLoader(pairs, batch_size=7)
    for batches in (list(zip(x.split([1, 20, 2]), y.split([1, 20, 2]), strict=True)), loader):
        operator = make(model, SquaredLoss(), batches)
        assert float((operator.to_dense() - whole).abs().max()) <= 1e-12
        assert "23 samples" in operator.convention
    assert make(model, SquaredLoss(), loader).backend == "double backward, graphs rebuilt"


def state_of(model):
    return (
        [m.training for m in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        [b.clone() for b in model.buffers()],
        torch.get_rng_state(),
        random.getstate(),
    )


def assert_same_state(before, after):
    assert before[0] == after[0]
    assert all(a == b and g is h for (a, g), (b, h) in zip(before[1], after[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before[2], after[2], strict=True))
    assert torch.equal(before[3], after[3])
    assert before[4] == after[4]


class Naughty(nn.Module):
    """Changes everything that a forward pass can change, then perhaps fails."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.inner = module(0, nn.BatchNorm1d(5))
        self.register_buffer("calls", torch.zeros(()))
        self.count, self.fail_at = 0, fail_at

    def forward(self, x):
        torch.rand(1)
        random.random()
        self.calls += 1
        self.inner[1].train()
        self.count += 1
        if self.count == self.fail_at:
            raise ValueError("stop")
        return self.inner(x)


@pytest.mark.door  # the shape hook draws random numbers itself
@pytest.mark.parametrize("fail_at", [None, 1, 2])
def test_nothing_is_left_behind(fail_at):
    model = Naughty(fail_at)
    model.inner[0].weight.grad = torch.ones_like(model.inner[0].weight)
    model.inner[1].eval()
    model.inner[0].bias.requires_grad_(False)
    before = state_of(model)
    if fail_at is None:
        sharpness(model, SquaredLoss(), data())
    else:
        with pytest.raises(ValueError, match="stop"):
            sharpness(model, SquaredLoss(), data())
    assert_same_state(before, state_of(model))


def test_batch_normalisation_in_both_modes():
    model, (x, y) = module(0, nn.BatchNorm1d(5)), data()
    for training in (True, False):
        model.train(training)
        flat, _, value = flat_functions(model, SquaredLoss(), x, y)
        buffers = [b.clone() for b in model.buffers()]
        operator = hessian(model, SquaredLoss(), (x, y))
        dense = operator.to_dense()
        assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
        torch.testing.assert_close(dense, torch.autograd.functional.hessian(value, flat), rtol=1e-9, atol=1e-11)


def test_frozen_tied_and_unused_parameters():
    x, y = data()
    net = nn.Module()
    net.body, net.unused = module(), nn.Parameter(torch.ones(2, dtype=torch.float64))
    net.tied = net.body
    net.forward = lambda inputs: net.tied(inputs)
    flat, _, value = flat_functions(net.body, SquaredLoss(), x, y)
    truth = torch.autograd.functional.hessian(value, flat)
    dense = hessian(net, SquaredLoss(), (x, y)).to_dense()
    p = len(flat)
    order = [name for name, _ in net.named_parameters()]
    assert order[0] == "unused"
    torch.testing.assert_close(dense[2:, 2:], truth, rtol=1e-10, atol=1e-12)
    assert float(dense[:2].abs().max()) == 0
    assert dense.shape == (p + 2, p + 2)
    net.body[0].bias.requires_grad_(False)
    found = sharpness(net, SquaredLoss(), (x, y))
    assert f"{p - 5 + 2} of {p + 2} parameters" in found.convention


def test_attention_on_its_default_kernel():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.qkv = nn.Linear(4, 12).double()

        def forward(self, x):
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            return nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0].mean(dim=1)

    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 5, 4, generator=rng).double(), torch.randn(3, 4, generator=rng).double()
    model = Attention()
    operator = hessian(model, SquaredLoss(), (x, y))
    dense = operator.to_dense()
    torch.testing.assert_close(dense, dense.T, rtol=1e-9, atol=1e-12)
    eps = 1e-5
    params = list(model.parameters())

    def gradient():
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(SquaredLoss()(model(x), y), params)])

    with torch.no_grad():
        params[1][3] += eps
    up = gradient()
    with torch.no_grad():
        params[1][3] -= 2 * eps
    column = (up - gradient()) / (2 * eps)
    torch.testing.assert_close(dense[:, 48 + 3], column, rtol=1e-6, atol=1e-8)


def test_stochastic_trace_covers_the_truth_and_knows_its_error():
    model, pair = module(), data()
    operator = hessian(model, SquaredLoss(), pair)
    dense = operator.to_dense()
    truth = float(dense.trace())
    off = dense - torch.diag(dense.diagonal())
    deviation = float((2 * off.square().sum() / 20).sqrt())
    errors = []
    for seed in range(40):
        found = trace(operator, probes=20, seed=seed)
        assert (found.error_kind, found.products) == ("standard error", 20)
        errors.append(float(found) - truth)
        assert 0.3 * deviation < found.standard_error < 3 * deviation
    assert abs(sum(errors) / 40) < 5 * deviation / 40**0.5
    assert trace(operator, probes=20, seed=1).value == trace(operator, probes=20, seed=1).value


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.RReLU()])
def test_random_layers_in_training_mode_are_named(layer):
    model = module(0, layer)
    with pytest.raises(NotDeterministicError, match=rf"`2: {type(layer).__name__}`; call model.eval\(\)"):
        sharpness(model, SquaredLoss(), data())
    assert sharpness(model.eval(), SquaredLoss(), data()).converged


def test_a_shuffling_loader_that_drops_samples_is_refused():
    torch.manual_seed(0)
    pairs = list(torch.utils.data.TensorDataset(*data(23)))
    loader = torch.utils.data.DataLoader(pairs, batch_size=5, shuffle=True, drop_last=True)
    with pytest.raises(NotDeterministicError, match="a loader that shuffles"):
        hessian(module(), SquaredLoss(), loader)


def test_an_operator_of_a_point_that_is_gone_is_refused():
    model = module()
    operator = hessian(model, SquaredLoss(), data())
    v = torch.ones(operator.shape[0], dtype=torch.float64)
    assert torch.isfinite(operator @ v).all()
    with torch.no_grad():
        model[0].weight.mul_(2)
    with pytest.raises(ComputationError, match="build a new operator"):
        operator @ v


@pytest.mark.parametrize("make", [hessian, gauss_newton])
def test_the_graph_goes_with_the_operator(make):
    operator = make(module(), SquaredLoss(), data())
    assert torch.isfinite(operator @ torch.ones(operator.shape[0], dtype=torch.float64)).all()
    gc.collect()
    gc.disable()
    try:
        source = weakref.ref(operator._product.__self__)
        del operator
        assert source() is None
    finally:
        gc.enable()


def test_works_inside_no_grad_and_with_one_parameter():
    model = nn.Linear(1, 1, bias=False).double()
    x = torch.tensor([[2.0]], dtype=torch.float64)
    with torch.no_grad():
        found = sharpness(model, SquaredLoss(), (x, x))
    assert float(found) == 4.0  # x²
    assert found.backend == "dense"


def test_linear_loss_has_zero_curvature():
    model = nn.Linear(3, 2).double()
    for make in (hessian, gauss_newton):
        operator = make(model, lambda out, target: (out * target).sum(dim=1).mean(), data())
        assert float(operator.to_dense().abs().max()) == 0


@pytest.mark.door
class TestDoors:
    @pytest.mark.parametrize("model", [module(), ShallowReLU(3, 4, 2)], ids=["module", "shallow"])
    @pytest.mark.parametrize(
        ("change", "error", "says"),
        [
            (lambda x, y: (x * float("nan"), y), DataError, "`x` must be finite, got 33 NaN"),
            (lambda x, y: (x, y / 0), DataError, "`y` must be finite, got 22 NaN or infinite"),
            (lambda x, y: (x.float(), y), DtypeError, "float64 and torch.float32"),
            (lambda x, y: (x, y.float()), DtypeError, "`y` must have the same dtype"),
            (lambda x, y: (x[:0], y[:0]), DataError, "at least 1 sample"),
            (lambda x, y: [], DataError, "at least one batch"),
            (lambda x, y: x, KindError, "got Tensor; pass"),
            (lambda x, y: [x, y], KindError, "list of two tensors"),
            (lambda x, y: iter([(x, y)]), KindError, "one-shot list_iterator"),
            (lambda x, y: {"x": x}, KindError, "a dict batch must have its targets under one of"),
            (lambda x, y: (x, y.reshape(-1)), ShapeError, r"reshape\(11, 2\)"),
        ],
    )
    def test_bad_data(self, model, change, error, says):
        with pytest.raises(error, match=says):
            sharpness(model, SquaredLoss(), change(*data()))

    def test_flat_targets_against_a_column_of_outputs(self):
        model = nn.Sequential(nn.Linear(3, 1)).double()
        x, y = data()
        for loss in (SquaredLoss(), nn.MSELoss()):
            for each in (model, ShallowReLU(3, 4)):
                with pytest.raises(ShapeError, match=r"\[11, 1\], got \[11\].*reshape\(11, 1\)"):
                    sharpness(each, loss, (x, y[:, 0]))

    @pytest.mark.parametrize(
        ("call", "error", "says"),
        [
            (lambda m, d: sharpness(m, SquaredLoss(), d, tol=1e-3), KindError, "pass `rtol=0.001`"),
            (lambda m, d: sharpness(m, SquaredLoss(), d, random_state=1), KindError, "pass `seed=1`"),
            (lambda m, d: hessian(m, SquaredLoss(), d, lr=1), KindError, "does not know the keyword `lr`"),
            (lambda m, d: sharpness(m, SquaredLoss, d), KindError, r"the class SquaredLoss; pass SquaredLoss\(\)"),
            (lambda m, d: sharpness(m, None, d), KindError, "without a loss the model is called with the whole batch"),
            (lambda m, d: sharpness(m), KindError, "got no data"),
            (lambda m, d: sharpness(3, SquaredLoss(), d), KindError, "`model` must be a torch module"),
            (lambda m, d: sharpness(m, SquaredLoss(), d, rtol=-1.0), ParameterError, "`rtol` must be > 0"),
            (lambda m, d: sharpness(hessian(m, SquaredLoss(), d), SquaredLoss(), d), KindError, "an operator and more"),
            (lambda m, d: eigenvalues(hessian(m, SquaredLoss(), d), 2, k=2), KindError, "pass k once"),
            (lambda m, d: hessian(m, SquaredLoss(), d, dtype=torch.float32), DtypeError, "for products by double"),
            (lambda m, d: diagonal(m, SquaredLoss(), d, max_products=3), ParameterError, "`max_products` must be ≥ 32"),
            (lambda m, d: trace(m, SquaredLoss(), d, probes=1), ParameterError, "`probes` must be ≥ 2"),
            (lambda m, d: sharpness(m.requires_grad_(False), SquaredLoss(), d), InputError, "requires a gradient"),
            (
                lambda m, d: sharpness(m, lambda o, t: (o - t) ** 2, d),
                ShapeError,
                r"scalar tensor, got shape \[11, 2\]",
            ),
            (lambda m, d: sharpness(m, lambda o, t: (o - t).sum() / 0, d), ComputationError, "the loss is"),
            (lambda m, d: sharpness(m, SquaredLoss(), d, start=torch.zeros(32)), None, ""),
        ],
    )
    def test_bad_arguments(self, call, error, says):
        if error is None:
            assert call(module(), data()).backend == "dense"  # a start is not needed there
            return
        with pytest.raises(error, match=says):
            call(module(), data())

    def test_complex_and_mixed_parameters(self):
        model = module()
        model[0].float()
        with pytest.raises(DtypeError, match="one real floating dtype"):
            sharpness(model, SquaredLoss(), data())

    def test_labels_out_of_range(self):
        from steppe.core import CrossEntropy

        x, _ = data()
        with pytest.raises(DataError, match="labels from 0 to 1, got 5 to 5"):
            sharpness(ShallowReLU(3, 4, 2), CrossEntropy(), (x, torch.full((11,), 5)))

    def test_diverged_weights(self):
        network = ShallowReLU(3, 4, 2)
        with torch.no_grad():
            network.v.fill_(float("inf"))
        with pytest.raises(ComputationError, match="diverged"):
            sharpness(network, SquaredLoss(), data())
