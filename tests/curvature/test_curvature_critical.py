"""The critical step: 2/λ on quadratics, ten forward passes, and no trace on model or optimizer."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from steppe.core import (
    ComputationError,
    InputError,
    KindError,
    ParameterError,
    ShapeError,
    SquaredLoss,
    UnknownNameError,
)
from steppe.curvature import CriticalTracker, critical_sharpness, critical_step, sharpness
from steppe.curvature.bracket import Bracket
from steppe.networks import ShallowReLU

X = torch.ones(1, 1, dtype=torch.float64)


class Quadratic(nn.Module):
    """θᵀHθ/2 + cᵀθ, whatever the input."""

    def __init__(self, matrix, theta, linear=None):
        super().__init__()
        self.theta = nn.Parameter(theta.clone())
        self.register_buffer("matrix", matrix)
        self.register_buffer("linear", torch.zeros_like(theta) if linear is None else linear)

    def forward(self, x):
        return x * (0.5 * self.theta @ self.matrix @ self.theta + self.linear @ self.theta)


def value(outputs, _):
    return outputs.mean()


def matrix(p=6, seed=0):
    root = torch.randn(p, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T / p


@pytest.mark.parametrize("index", [0, 3, 5])
@pytest.mark.parametrize("rtol", [1e-2, 1e-5])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_it_is_two_over_the_eigenvalue_along_an_eigenvector(index, rtol, offset):
    values, vectors = torch.linalg.eigh(matrix())
    model = Quadratic(matrix(), vectors[:, index])
    found = critical_step(model, lambda outputs, _: outputs.mean() + offset, (X, X), rtol=rtol)
    truth = 2 / float(values[index])
    assert found.converged, found.reason
    assert found.error <= rtol * found.value
    assert abs(found.value - truth) <= found.error * (1 + 1e-9)
    curvature = critical_sharpness(model, lambda outputs, _: outputs.mean() + offset, (X, X), rtol=rtol)
    assert abs(curvature.value - float(values[index])) <= curvature.error * (1 + 1e-9)


def test_along_tensors_it_is_the_root_of_the_parabola():
    hessian, theta = matrix(), torch.arange(1.0, 7.0, dtype=torch.float64)
    direction = theta.flip(0)
    model = Quadratic(hessian, theta)
    truth = 2 * (hessian @ theta) @ direction / (direction @ hessian @ direction)
    for given in ([direction], {"theta": direction}, (direction,)):
        found = critical_step(model, value, (X, X), direction=given)
        assert abs(found.value - float(truth)) <= found.error
    assert found.interval()[0] < float(truth) < found.interval()[1]


def count_forwards(model):
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    return passes


class Rugged(nn.Module):
    """Losses along which a parabola is a poor guide."""

    def __init__(self, shape, theta=1.0):
        super().__init__()
        self.shape, self.theta = shape, nn.Parameter(torch.tensor([theta], dtype=torch.float64))

    def forward(self, x):
        return x * self.shape(self.theta).sum()


RUGGED = {
    "quartic": (lambda t: t**4, 2.0),
    "exponential": (lambda t: torch.exp(5 * t) + torch.exp(-5 * t), 2.0),
    "kink": (lambda t: t.abs() + 0.1 * t**2, 2.0),
    "wall": (lambda t: torch.where(t > -0.9, t**2, torch.full_like(t, math.inf)), 1.9),
}


@pytest.mark.parametrize(("shape", "truth"), RUGGED.values(), ids=RUGGED)
def test_even_shapes_turn_where_the_loss_returns(shape, truth):
    model = Rugged(shape)
    passes = count_forwards(model)
    found = critical_step(model, value, (X, X), direction=[torch.ones(1, dtype=torch.float64)])
    assert len(passes) <= 10
    low, high = found.interval()
    assert low * (1 - 1e-9) <= truth <= high * (1 + 1e-9)
    assert found.converged
    assert "forward passes" in found.reason


def test_a_hard_shape_ends_with_its_bracket_after_ten_forwards():
    model = Rugged(lambda t: torch.log1p(1e4 * t**2))
    passes = count_forwards(model)
    found = critical_step(model, value, (X, X), direction=[torch.ones(1, dtype=torch.float64)])
    assert len(passes) == 10
    assert found.interval()[0] <= 2.0 <= found.interval()[1]
    assert not found.converged
    assert "raise `max_forwards`" in found.reason
    assert critical_step(
        model, value, (X, X), direction=[torch.ones(1, dtype=torch.float64)], max_forwards=30
    ).converged


def test_at_most_ten_forwards_and_about_four_from_a_warm_start():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 1))
    x = torch.randn(50, 5)
    y = torch.sin(x.sum(1, keepdim=True))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tracker = CriticalTracker(model, nn.MSELoss(), (x, y), direction=optimizer)
    passes = count_forwards(model)
    counts = []
    for _ in range(30):
        optimizer.zero_grad()
        nn.MSELoss()(model(x), y).backward()
        optimizer.step()
        passes.clear()
        found = tracker.measure()
        assert found.converged, found.reason
        counts.append(len(passes) - 1)  # one of them is the forward of the gradient
    assert max(counts) <= 10
    assert sum(counts[1:]) / len(counts[1:]) <= 5


def test_the_loss_falls_below_the_step_and_rises_above_it():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 3)).double()
    x, y = torch.randn(40, 5, dtype=torch.float64), torch.randint(0, 3, (40,))
    found = critical_step(model, nn.CrossEntropyLoss(), (x, y))
    gradient = torch.autograd.grad(nn.CrossEntropyLoss()(model(x), y), list(model.parameters()))

    def loss_at(step):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter, part in zip(moved.parameters(), gradient, strict=True):
                parameter -= step * part
            return float(nn.CrossEntropyLoss()(moved(x), y))

    low, high = found.interval()
    assert loss_at(low) <= loss_at(0.0) < loss_at(high)


def test_critical_sharpness_along_the_gradient_is_at_most_the_sharpness_of_a_quadratic():
    model = Quadratic(matrix(), torch.ones(6, dtype=torch.float64))
    top = float(torch.linalg.eigvalsh(matrix())[-1])
    assert critical_sharpness(model, value, (X, X)).value <= top
    network = ShallowReLU(3, 20, seed=0)
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(critical_sharpness(network, SquaredLoss(), (x, x[:, :1]))) <= 1.5 * float(
        sharpness(network, SquaredLoss(), (x, x[:, :1]))
    )


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-2),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-2), weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=1e-2, centered=True, momentum=0.5),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, lr_decay=0.1),
    "Quantised": lambda p: Quantised(p, lr=1e-2),
}


class Quantised(torch.optim.Optimizer):
    """Signs of a momentum kept in bytes, which are replaced rather than updated, and a counter on the side."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        self.steps = [0]

    @torch.no_grad()
    def step(self, closure=None):
        self.steps[0] += 1
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                old = (state["bytes"].to(p) - 128) * state["scale"] if state else torch.zeros_like(p)
                momentum = 0.9 * old + 0.1 * p.grad
                scale = momentum.abs().max() / 127
                state["bytes"], state["scale"] = (momentum / scale).round().add(128).to(torch.uint8), scale
                p.sub_(group["lr"] * (state["bytes"].to(p) - 128) * scale / momentum.norm())


def image(optimizer):
    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.detach().clone()
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items() if not callable(entry)}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return plain({name: entry for name, entry in vars(optimizer).items() if not name.endswith("hooks")})


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.dtype == second.dtype
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.door  # the shape hook draws from `random`
@pytest.mark.parametrize("trained", [0, 3])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizers_next_update_is_found_and_nothing_is_left(make, trained):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 1))
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    optimizer = make(list(model.parameters()))
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    for _ in range(trained):
        nn.MSELoss()(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    called.clear()
    out = nn.MSELoss()(model(x), y)  # a graph that is still to be used
    tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    before, hooks = image(optimizer), list(optimizer._optimizer_step_post_hooks)
    versions = [parameter._version for parameter in model.parameters()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one
    found = critical_step(model, nn.MSELoss(), (x, y), direction=optimizer)
    assert found.value > 0
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter._version for parameter in model.parameters()] == versions
    assert same(image(optimizer), before)
    assert list(optimizer._optimizer_step_post_hooks) == hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])  # noqa: NPY002 - the global one
    assert not called
    assert model.training
    out.backward()
    # The direction is that of the update which then really happens.
    gradient_before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.step()
    assert called
    assert any(not torch.equal(a, b) for a, b in zip(gradient_before, model.parameters(), strict=True))
    del scheduler


def test_the_direction_of_an_optimizer_is_its_update_per_step_size():
    torch.manual_seed(0)
    model = nn.Linear(3, 1).double()
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 1, dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        nn.MSELoss()(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    nn.MSELoss()(model(x), y).backward()
    stored = critical_step(model, nn.MSELoss(), (x, y), direction=optimizer, gradients="stored", rtol=1e-4)
    computed = critical_step(model, nn.MSELoss(), (x, y), direction=optimizer, rtol=1e-4)
    other = copy.deepcopy((model, optimizer))
    for copied, parameter in zip(other[0].parameters(), model.parameters(), strict=True):
        copied.grad = parameter.grad.clone()
    other[1].step()
    moves = [(a.detach() - b.detach()) / 0.01 for a, b in zip(model.parameters(), other[0].parameters(), strict=True)]
    given = critical_step(model, nn.MSELoss(), (x, y), direction=moves, rtol=1e-4)
    assert stored.value == computed.value
    assert given.value == pytest.approx(stored.value, rel=2e-4)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # a warm-up begins: the direction is that of any other step size
    still = critical_step(model, nn.MSELoss(), (x, y), direction=optimizer, rtol=1e-4)
    assert still.value == pytest.approx(stored.value, rel=2e-4)
    assert optimizer.param_groups[0]["lr"] == 0.0


def test_at_the_edge_the_critical_step_is_the_step_size():
    # Gradient descent on a quadratic with λ = 2/η keeps its loss: the critical step of its next update is η itself.
    hessian = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
    model = Quadratic(hessian, torch.tensor([1.0, 0.0], dtype=torch.float64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    assert critical_step(model, value, (X, X), direction=optimizer, rtol=1e-6).value == pytest.approx(0.5, rel=1e-6)


def test_default_attention_compiled_and_checkpointed_models_need_no_second_derivative():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.head = nn.Linear(8, 24), nn.Linear(8, 1)

        def forward(self, x):
            q, k, v = self.project(x).chunk(3, dim=-1)
            return self.head(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)).mean(dim=1)

    torch.manual_seed(0)
    model = Attention()
    x, y = torch.randn(6, 5, 8), torch.randn(6, 1)
    used = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def watched(*args, **kwargs):
        used.append(torch.backends.cuda.math_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled())
        return plain(*args, **kwargs)

    nn.functional.scaled_dot_product_attention = watched
    try:
        found = critical_step(model, nn.MSELoss(), (x, y))
    finally:
        nn.functional.scaled_dot_product_attention = plain
    assert found.converged
    assert all(used)  # no kernel was switched off
    compiled = torch.compile(Attention(), backend="eager")
    compiled._orig_mod.load_state_dict(model.state_dict())
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    assert critical_step(compiled, nn.MSELoss(), (x, y), direction=optimizer).value == pytest.approx(
        found.value, rel=0.03
    )


def test_a_loss_that_never_rises_gives_a_lower_bound():
    model = Quadratic(
        torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), linear=torch.ones(2).double()
    )
    found = critical_step(model, value, (X, X))
    assert not found.converged
    assert found.error_kind == "none"
    assert math.isnan(found.error)
    assert found.value > 1e3
    assert "did not rise" in found.reason
    assert critical_sharpness(model, value, (X, X)).value < 1e-3


def test_an_ascent_direction_and_a_flat_point_are_said_to_be_so():
    model = Quadratic(matrix(), torch.ones(6, dtype=torch.float64))
    uphill = critical_step(model, value, (X, X), direction=[-(matrix() @ torch.ones(6, dtype=torch.float64))])
    assert not uphill.converged
    assert uphill.interval()[0] == 0
    assert "rises at every step tried" in uphill.reason
    with pytest.raises(ComputationError, match="the gradient is zero"):
        critical_step(Quadratic(matrix(), torch.zeros(6, dtype=torch.float64)), value, (X, X))


def test_a_wrapper_that_holds_copies_of_the_parameters_is_found_out():
    class Cached(nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = nn.Parameter(torch.ones(2, dtype=torch.float64))
            self.kept = self.theta.detach().clone()

        def forward(self, x):
            return x * (self.kept.square().sum() + 0 * self.theta.sum())

    with pytest.raises(ComputationError, match="does not change at all"):
        critical_step(Cached(), value, (X, X), direction=[torch.ones(2, dtype=torch.float64)])


def test_sharded_models_move_their_shards(tmp_path):
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard") or not torch.distributed.is_gloo_available():
        pytest.skip("needs fully_shard and gloo")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    plain = copy.deepcopy(model)
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        fsdp.fully_shard(model, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))
        optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-2) for each in (model, plain)]
        expected = critical_step(plain, nn.MSELoss(), (x, y), direction=optimizers[1], rtol=1e-4)
        nn.MSELoss()(model(x), y).backward()
        stored = critical_step(
            model, nn.MSELoss(), (x, y), direction=optimizers[0], gradients="stored", rtol=1e-4, max_forwards=15
        )
        assert stored.value == pytest.approx(expected.value, rel=1e-3)
        with pytest.raises(ComputationError, match="pass gradients='stored'"):
            critical_step(model, nn.MSELoss(), (x, y), direction=optimizers[0])
        optimizers[0].step()  # the shards are those of before
        nn.MSELoss()(plain(x), y).backward()
        optimizers[1].step()
        model.reshard()
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.allclose(ours.full_tensor(), theirs, atol=1e-6)
    finally:
        torch.distributed.destroy_process_group()


def test_several_batches_weights_and_processes():
    model = nn.Linear(3, 1).double()
    x, y = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 1, dtype=torch.float64)
    whole = critical_step(model, SquaredLoss(), (x, y), rtol=1e-6)
    parts = [(x[:20], y[:20]), (x[20:], y[20:])]
    assert critical_step(model, SquaredLoss(), parts, rtol=1e-6).value == pytest.approx(whole.value, rel=1e-6)
    doubled = critical_step(model, SquaredLoss(), (x, y), rtol=1e-6, reduce=lambda number: 2 * number)
    assert doubled.value == whole.value
    shuffled = torch.utils.data.DataLoader(list(zip(x, y, strict=True)), batch_size=7, shuffle=True)
    assert critical_step(model, SquaredLoss(), shuffled, rtol=1e-6).value == pytest.approx(whole.value, rel=1e-6)


def test_some_parameters_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 1, dtype=torch.float64)
    frozen = copy.deepcopy(model)
    frozen[0].requires_grad_(False)
    named = critical_step(model, SquaredLoss(), (x, y), parameters="2.*")
    assert named.value == critical_step(frozen, SquaredLoss(), (x, y)).value


def test_an_exception_leaves_the_parameters_as_found():
    model = Quadratic(matrix(), torch.ones(6, dtype=torch.float64))
    calls = []

    def failing(outputs, _):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("no more")
        return outputs.mean()

    with pytest.raises(RuntimeError, match="no more"):
        critical_step(model, failing, (X, X))
    assert torch.equal(model.theta, torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("guess", [1e-2, 1.0, 30.0])
def test_the_bracket_holds_the_crossing_of_any_cubic(scale, guess):
    # f = −η + η² + bend·η³ in units of scale; with a negative bend it falls again, but far out.
    for bend in (-0.1, 0.0, 0.2, 1.0, 5.0) if guess < 30 else (0.0, 0.2, 1.0, 5.0):
        roots = np.roots([bend, 1.0, -1.0])
        truth = scale * min(r.real for r in np.atleast_1d(roots) if abs(r.imag) < 1e-12 and r.real > 0)
        seen = []

        def rise(step, bend=bend, seen=seen):
            seen.append(step)
            t = step / scale
            return -t + t**2 + bend * t**3

        bracket = Bracket(rise, slope=1 / scale, noise=0.0, rtol=1e-2)
        bracket.search(guess * scale, 9)
        assert bracket.closed, (bend, guess, seen)
        assert bracket.below <= truth <= bracket.above


@pytest.mark.door
def test_doors():
    model = Quadratic(matrix(), torch.ones(6, dtype=torch.float64))
    with pytest.raises(UnknownNameError, match="must be 'gradient'"):
        critical_step(model, value, (X, X), direction="newton")
    with pytest.raises(ParameterError, match="`max_forwards` must be ≥ 3"):
        critical_step(model, value, (X, X), max_forwards=2)
    with pytest.raises(ShapeError, match=r"must have shape \[6\]"):
        critical_step(model, value, (X, X), direction=[torch.ones(3)])
    with pytest.raises(InputError, match="call backward"):
        critical_step(model, value, (X, X), gradients="stored")
    with pytest.raises(InputError, match="holds none of them"):
        critical_step(model, value, (X, X), direction=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    with pytest.raises(KindError, match="needs no closure"):
        critical_step(model, value, (X, X), direction=torch.optim.LBFGS(model.parameters()))
    with pytest.raises(KindError, match="forwards"):
        critical_step(model, value, (X, X), forwards=3)
    zero = Quadratic(matrix(), torch.zeros(6, dtype=torch.float64))
    with pytest.raises(ComputationError, match="next update is zero"):
        critical_step(zero, value, (X, X), direction=torch.optim.SGD(zero.parameters(), lr=0.1))
