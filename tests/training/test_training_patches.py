"""Networks of patches in training: the compiled kernel, blocks in torch and autograd give the same numbers."""

import math

import pytest
import torch
from torch import nn

from steppe.core import Logistic, SquaredLoss
from steppe.networks import PatchReLU, ShallowReLU, patch_indices
from steppe.training import StopTraining, gradient_descent, paths, train_stacked
from steppe.training.compiled import CompiledEngine
from steppe.training.patches import PatchEngine
from steppe.training.plan import Plan

INSTRUCTIONS = [] if paths.kernels() is None else paths.kernels().instruction_sets()
SIZES = [
    (1, 3, 1, 2, 1, 1),
    (5, 7, 4, 3, 9, 1),
    (130, 20, 11, 5, 37, 1),
    (300, 30, 6, 27, 20, 3),
    (129, 8, 8, 8, 9, 2),
]
NAMES = ["w", "b", "v", "output_bias"]


@pytest.fixture(params=["kernel", "torch"])
def path(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setenv("STEPPE_KERNELS", "off")
    elif paths.kernels() is None:
        pytest.skip("the compiled kernel is not installed; pip install ./kernels")
    return request.param


def problem(n, d, positions, s, m, k, *, shared=True, dtype=torch.float64, seed=0, loss=None):
    rng = torch.Generator().manual_seed(seed)
    patches = torch.stack([torch.randperm(d, generator=rng)[:s] for _ in range(positions)])
    network = PatchReLU(patches, m, k, inputs=d, shared=shared, init="torch", seed=seed, dtype=dtype)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    y = torch.randn(n, k, generator=rng, dtype=torch.float64)
    return network, x.to(dtype), (y.sign() if isinstance(loss, Logistic) else y).to(dtype)


def foreign(outputs, targets):
    """The squared loss, of which training knows nothing."""
    return 0.5 * (outputs - targets).square().sum() / len(targets)


def engines(network, x, y, loss):
    plan = Plan.check(step_size=0.1, steps=1, weight_decay=0.0, clip=None, log_every=None)
    yield PatchEngine(network, x, y, plan, loss)
    for name in INSTRUCTIONS:
        yield CompiledEngine(network, x, y, plan, loss, name)


def gradient_of(engine):
    if isinstance(engine, CompiledEngine):
        return [torch.from_numpy(g).flatten() for g in engine.gradient() if g is not None]
    return [engine.gW[..., :-1].flatten(), -engine.gW[..., -1].flatten(), engine.gv.flatten(), engine.gbeta]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("loss", [SquaredLoss(), Logistic()])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_of_every_path_equal_autograd(shared, dtype, limit, loss, sizes):
    network, x, y = problem(*sizes, shared=shared, dtype=dtype, loss=loss)
    exact = network.copy(dtype=torch.float64)
    value = loss(exact(x.double()), y.double())
    wanted = [g.flatten() for g in torch.autograd.grad(value, [getattr(exact, name) for name in NAMES])]
    total = math.sqrt(sum(float(g.square().sum()) for g in wanted))
    for engine in engines(network, x, y, loss):
        assert engine.evaluate() == pytest.approx(value.item(), rel=limit)
        for name, g, w in zip(NAMES, gradient_of(engine), wanted, strict=True):
            assert float((g.double() - w).abs().max()) <= limit * total, (engine.backend, name)
        assert engine.gradient_norm() == pytest.approx(total, rel=limit)
        assert engine.parameter_size() == pytest.approx(
            math.sqrt(sum(float(p.detach().double().square().sum()) for p in network.parameters()))
            / math.sqrt(sum(p.numel() for p in network.parameters())),
            rel=1e-6,
        )


@pytest.mark.parametrize("shared", [True, False])
def test_trajectories_with_clip_and_decay_equal_autograd(path, shared):
    network, x, y = problem(40, 12, 5, 4, 19, 2, shared=shared)
    other = network.copy()
    options = {"step_size": 0.5, "steps": 60, "weight_decay": 0.01, "clip": 0.3, "log_every": 7}
    clean = 0.5 * y
    mine = gradient_descent(network, x, y, **options, clean=clean, columns=["gradient_norm", "clipped"])
    theirs = gradient_descent(other, x, y, **options, loss=foreign, clean=clean, columns=["gradient_norm", "clipped"])
    assert mine.backend.startswith(path)
    assert theirs.backend == "autograd"
    assert mine.clipped == theirs.clipped > 0
    assert mine.loss == pytest.approx(theirs.loss, rel=1e-11)
    for name in ("gradient_norm", "clipped", "clean_error"):
        assert mine.columns[name] == pytest.approx(theirs.columns[name], rel=1e-9), name
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_live_neurons_are_those_active_anywhere(path, shared):
    network, x, y = problem(30, 6, 3, 2, 16, 1, shared=shared)
    with torch.no_grad():
        network.b += 2.2
    history = gradient_descent(network.copy(), x, y, step_size=0.1, steps=0, columns=["live_neurons"])
    wanted = network.mask(x).any(dim=0)
    wanted = int(wanted.any(dim=0).sum() if shared else wanted.sum())
    assert history.backend.startswith(path)
    assert history.columns["live_neurons"] == [wanted]
    assert 0 < wanted < (16 if shared else 48)
    by_autograd = gradient_descent(network, x, y, step_size=0.1, steps=0, loss=foreign, columns=["live_neurons"])
    assert by_autograd.columns["live_neurons"] == [wanted]


def test_one_patch_of_all_inputs_trains_as_a_shallow_network(path):
    shallow = ShallowReLU(5, 12, seed=3)
    patched = PatchReLU.from_shallow(shallow)
    x = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x[:, :1].abs()
    first = gradient_descent(shallow, x, y, step_size=0.2, steps=100)
    second = gradient_descent(patched, x, y, step_size=0.2, steps=100)
    assert first.loss == pytest.approx(second.loss, rel=1e-12)


def test_shared_and_unshared_agree_where_positions_start_alike_and_see_the_same():
    patches = torch.tensor([[0, 1, 2], [0, 1, 2]])
    one = PatchReLU(patches, 7, seed=1)
    each = PatchReLU.from_weights(patches, one.w.expand(2, 7, 3), one.b.expand(2, 7), one.v, one.output_bias)
    x = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(one(x), each(x))
    for network in (one, each):
        gradient_descent(network, x, x[:, :1], step_size=0.1, steps=0)
    plan = Plan.check(step_size=0.1, steps=1, weight_decay=0.0, clip=None, log_every=None)
    a, b = (PatchEngine(net, x, x[:, :1], plan, SquaredLoss()) for net in (one, each))
    a.evaluate(), b.evaluate()
    torch.testing.assert_close(a.gW[0], b.gW.sum(dim=0))  # each position has its share of the gradient


def test_observers_stop_and_divergence_is_caught(path):
    network, x, y = problem(30, 8, 4, 3, 10, 1)

    def stop(step, model):
        if step >= 5:
            raise StopTraining("enough", {"norm": float(model.w.detach().norm())})
        return {"norm": float(model.w.detach().norm())}

    history = gradient_descent(network.copy(), x, y, step_size=0.1, steps=50, log_every=1, observers=[stop])
    assert (history.state, history.steps) == ("stopped", 5)
    assert len(set(history.columns["norm"])) == 6
    wild = network.copy()
    history = gradient_descent(wild, x, 100 * y, step_size=1e3, steps=50)
    assert history.state == "diverged"
    assert all(torch.isfinite(p).all() for p in wild.parameters())


def test_stacks_repeat_bit_for_bit_whatever_the_companions(path):
    nets = [problem(33, 10, 6, 4, 21, 1, seed=seed)[0] for seed in range(3)]
    _, x, y = problem(33, 10, 6, 4, 21, 1)
    alone = nets[1].copy()
    gradient_descent(alone, x, y, step_size=0.3, steps=40)
    train_stacked(nets, x, y, step_size=0.3, steps=40)
    for a, b in zip(alone.parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_frozen_filters_and_hooks_go_through_autograd():
    network, x, y = problem(9, 6, 3, 2, 4, 1)
    network.w.requires_grad_(False)
    assert paths.path_of(network, SquaredLoss()) == "autograd"
    before = network.w.clone()
    gradient_descent(network, x, y, step_size=0.1, steps=3)
    assert torch.equal(before, network.w)


def test_convolution_of_an_image_trains_like_torch(path):
    patches = patch_indices(6, 6, 3, 3)
    network = PatchReLU(patches, 8, seed=2)
    conv = nn.Conv2d(3, 8, 3, dtype=torch.float64)
    head = nn.Linear(8, 1, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(network.w.view(8, 3, 3, 3))
        conv.bias.copy_(-network.b)
        head.weight.copy_(network.v)
        head.bias.copy_(network.output_bias)
    x = torch.randn(25, 108, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = x[:, :1]
    optimiser = torch.optim.SGD([*conv.parameters(), *head.parameters()], lr=0.2)
    for _ in range(20):
        optimiser.zero_grad()
        outputs = head(conv(x.view(-1, 3, 6, 6)).relu().mean(dim=(2, 3)))
        (0.5 * (outputs - y).square().mean()).backward()
        optimiser.step()
    gradient_descent(network, x, y, step_size=0.2, steps=20)
    torch.testing.assert_close(network.w.view_as(conv.weight), conv.weight, rtol=1e-11, atol=1e-13)


@pytest.mark.skipif(not INSTRUCTIONS, reason="the compiled kernel is not installed; pip install ./kernels")
def test_the_kernel_refuses_patches_that_do_not_fit():
    network, x, y = problem(9, 6, 3, 2, 4, 1)
    kind = paths.kernels().Descent64
    weights = [p.detach().numpy() for p in (network.w, network.b, network.v, network.output_bias)]
    data = (None, x.numpy(), y.numpy())
    with pytest.raises(ValueError, match="columns of x"):
        kind(*weights, *data, patches=network.patches.numpy() + 6)
    with pytest.raises(ValueError, match="patches"):
        kind(*weights, *data, patches=network.patches.numpy()[:, :1].copy())
    with pytest.raises(ValueError, match="patches"):
        kind(*weights, *data)
