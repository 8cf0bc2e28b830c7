import copy
import math

import pytest
import torch
from torch import nn, optim

from steppe.core import InputError, KindError, ParameterError, ShapeError, SquaredLoss, UnknownNameError
from steppe.curvature import hessian
from steppe.curvature.preconditioned import preconditioned, preconditioned_sharpness
from steppe.curvature.preconditioners import preconditioner
from steppe.networks import ShallowReLU

ETA = 0.01
KNOWN = {
    "SGD": lambda p: optim.SGD(p, lr=ETA, momentum=0.9),
    "Adam": lambda p: optim.Adam(p, lr=ETA, betas=(0.8, 0.95)),
    "amsgrad": lambda p: optim.Adam(p, lr=ETA, betas=(0.8, 0.5), amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=ETA, weight_decay=0.1),
    "NAdam": lambda p: optim.NAdam(p, lr=ETA),
    "RAdam": lambda p: optim.RAdam(p, lr=ETA, betas=(0.9, 0.99)),
    "RAdam early": lambda p: optim.RAdam(p, lr=ETA, betas=(0.9, 0.999)),
    "Adamax": lambda p: optim.Adamax(p, lr=ETA),
    "RMSprop": lambda p: optim.RMSprop(p, lr=ETA),
    "RMSprop centered": lambda p: optim.RMSprop(p, lr=ETA, centered=True, alpha=0.7),
    "Adagrad": lambda p: optim.Adagrad(p, lr=ETA, lr_decay=0.3, initial_accumulator_value=0.01),
    "Adadelta": lambda p: optim.Adadelta(p, lr=ETA),
}


def problem(seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    x = torch.randn(12, 3, generator=rng, dtype=torch.float64)
    y = torch.randn(12, 2, generator=rng, dtype=torch.float64)
    return model.to(dtype), (x.to(dtype), y.to(dtype))


def train(model, data, optimizer, steps=4):
    for _ in range(steps):
        optimizer.zero_grad()
        SquaredLoss()(model(data[0]), data[1]).backward()
        optimizer.step()


def response(optimizer, model):
    """P⁻¹ as the optimizer itself applies it: the change of its next step per change of momentum, v held fixed.

    The step is made twice from the same state, with first moments that differ by δ and the same gradient.
    """
    group = optimizer.param_groups[0]
    steps = []
    for delta in (0.0, 1.0):
        twin, again = copy.deepcopy((model, optimizer))
        before = nn.utils.parameters_to_vector(twin.parameters()).detach().clone()
        for parameter in twin.parameters():
            parameter.grad = torch.zeros_like(parameter)
            again.state[parameter]["exp_avg"] += delta
        again.step()
        steps.append(nn.utils.parameters_to_vector(twin.parameters()).detach() - before)
    return (steps[0] - steps[1]) / group["lr"]


def by_hand(name, gradients):
    """P from the recorded gradients, by the recursions of the papers."""
    t = len(gradients)
    v = torch.zeros_like(gradients[0])
    if name == "SGD":
        return torch.ones_like(v)
    largest, mean, total = v.clone(), v.clone(), v.clone() + 0.01
    alpha = {"Adam": 0.95, "amsgrad": 0.5, "RMSprop": 0.99, "RMSprop centered": 0.7, "RAdam": 0.99}.get(name, 0.999)
    for g in gradients:
        v = alpha * v + (1 - alpha) * g * g
        mean = alpha * mean + (1 - alpha) * g
        total = total + g * g
        largest = torch.maximum(largest, v)
    corrected = 1 - alpha**t
    if name.startswith("RMSprop"):
        return torch.sqrt(v - mean**2 if "centered" in name else v) + 1e-8
    if name == "Adagrad":
        return (torch.sqrt(total) + 1e-10) * (1 + (t - 1) * 0.3)
    return torch.sqrt((largest if name == "amsgrad" else v) / corrected) + 1e-8


@pytest.mark.parametrize("name", ["SGD", "Adam", "amsgrad", "AdamW", "NAdam", "RMSprop", "RMSprop centered", "Adagrad"])
def test_operator_is_the_dense_product_after_real_steps(name):
    model, data = problem()
    optimizer = KNOWN[name](model.parameters())
    gradients = []
    optimizer.register_step_pre_hook(
        lambda *args: gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]).clone())
    )
    train(model, data, optimizer)
    h = hessian(model, SquaredLoss(), data).to_dense()
    root = torch.diag(by_hand(name, gradients).rsqrt())
    operator = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    torch.testing.assert_close(operator.to_dense(), root @ h @ root, rtol=1e-9, atol=1e-9)
    found = preconditioned_sharpness(model, SquaredLoss(), data, optimizer=optimizer, rtol=1e-9)
    assert float(found) == pytest.approx(float(torch.linalg.eigvalsh(root @ h @ root)[-1]), rel=1e-9)
    assert found.quantity == "preconditioned sharpness"
    assert type(optimizer).__name__ in found.convention


@pytest.mark.parametrize("name", ["RAdam", "RAdam early"])
def test_rectified_adam_divides_as_its_own_step_does(name):
    model, data = problem()
    optimizer = KNOWN[name](model.parameters())
    train(model, data, optimizer, steps=40 if name == "RAdam" else 3)
    found = preconditioner(optimizer, dict(model.named_parameters())).inverse
    t = float(next(iter(optimizer.state.values()))["step"])
    beta1, beta2 = optimizer.param_groups[0]["betas"]
    # exp_avg + 1 becomes β₁ (exp_avg + 1); its bias correction is that of step t + 1, and so is P.
    measured = response(optimizer, model) * (1 - beta1 ** (t + 1)) / beta1
    limit = 2 / (1 - beta2) - 1

    def factor(step):
        length = limit - 2 * step * beta2**step / (1 - beta2**step)
        if length <= 5:
            return None
        return math.sqrt((1 - beta2**step) * (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))

    if name == "RAdam early":
        assert factor(t + 1) is None
        torch.testing.assert_close(found, torch.ones_like(found))
        torch.testing.assert_close(measured, torch.ones_like(found), rtol=1e-9, atol=0)
    else:
        # From step t to t + 1 with a zero gradient, √v falls by √β₂ (ε aside) and the rectification grows.
        torch.testing.assert_close(found / factor(t) / math.sqrt(beta2) * factor(t + 1), measured, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["Adamax", "Adadelta"])
def test_other_optimizers_take_the_step_that_p_says(name):
    """With one gradient repeated, the next step is −η P⁻¹ g (P of after it)."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = KNOWN[name]([parameter])
    g = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    for _ in range(3):
        before, earlier = parameter.detach().clone(), copy.deepcopy(optimizer.state[parameter])
        parameter.grad = g.clone()
        optimizer.step()
    found = preconditioner(optimizer, {"p": parameter}).inverse
    moved = before - parameter.detach()
    if name == "Adamax":  # bias-corrected first moment of a constant gradient is g
        torch.testing.assert_close(moved, ETA * found * g, rtol=1e-12, atol=0)
    else:  # its P takes the running mean of squared steps from before the step; ours is one step later
        later = (optimizer.state[parameter]["acc_delta"] + 1e-6) / (earlier["acc_delta"] + 1e-6)
        torch.testing.assert_close(moved, ETA * found * g / later.sqrt(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("side", [0.98, 1.02])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "RMSprop momentum"])
def test_predicted_limit_is_where_the_real_optimizer_diverges(kind, side):
    """On a quadratic with P frozen, the optimizer settles below its limit and diverges above."""
    rng = torch.Generator().manual_seed(5)
    a = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    a = a @ a.T
    v = torch.rand(4, generator=rng, dtype=torch.float64) + 0.1
    model = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(1e-9 * torch.randn(1, 4, generator=rng, dtype=torch.float64))
    factor = torch.linalg.cholesky(a * 4).T.contiguous()  # ½ · mean over 4 rows of (Rθ)² = ½ θᵀAθ
    data = (factor, torch.zeros(4, 1, dtype=torch.float64))
    almost = 1 - 1e-13  # v is frozen
    if kind.startswith("Adam"):
        optimizer = getattr(optim, kind)(model.parameters(), lr=1.0, betas=(0.9, almost), weight_decay=0.0)
        state = {"step": torch.tensor(1e18), "exp_avg": torch.zeros(1, 4).double(), "exp_avg_sq": v[None].clone()}
        product = (2 + 2 * 0.9) / (1 - 0.9)
    else:
        momentum = 0.6 if "momentum" in kind else 0.0
        optimizer = optim.RMSprop(model.parameters(), lr=1.0, alpha=almost, momentum=momentum)
        state = {"step": torch.tensor(10.0), "square_avg": v[None].clone()}
        state |= {"momentum_buffer": torch.zeros(1, 4).double()} if momentum else {}
        product = 2 + 2 * momentum
    optimizer.state[model.weight] = state
    found = preconditioned_sharpness(model, SquaredLoss(), data, optimizer=optimizer, rtol=1e-10)
    optimizer.param_groups[0]["lr"] = side * product / float(found)
    sizes = []
    for _ in range(900):
        optimizer.zero_grad()
        SquaredLoss()(model(data[0]), data[1]).backward()
        optimizer.step()
        sizes.append(float(model.weight.detach().norm()))
        if sizes[-1] > 1e-4:
            break
    assert (sizes[-1] > 1e-4) == (side > 1)
    assert side > 1 or sizes[-1] < 1e-2 * max(sizes)


def test_groups_are_scaled_to_the_first_learning_rate():
    model, data = problem()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 4 * ETA}]
    optimizer = optim.Adam(groups, lr=ETA)
    train(model, data, optimizer)
    operator = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    same = copy.deepcopy(optimizer)
    same.param_groups[1]["lr"] = ETA
    plain = preconditioned(model, SquaredLoss(), data, optimizer=optimizer, parameters="0.*")
    torch.testing.assert_close(operator.to_dense()[:16, :16], plain.to_dense(), rtol=1e-9, atol=1e-12)
    twin, again = copy.deepcopy((model, optimizer))
    again.param_groups[1]["lr"] = ETA
    other = preconditioned(twin, SquaredLoss(), data, optimizer=again)
    torch.testing.assert_close(operator.root[16:], 2 * other.root[16:], rtol=1e-12, atol=0)
    assert operator.step_size == ETA
    assert "scaled to 0.01" in operator.convention
    assert "scaled" not in other.convention


def test_a_schedule_at_zero_keeps_the_ratios_of_the_groups():
    model, data = problem()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 4 * ETA}]
    optimizer = optim.AdamW(groups, lr=ETA)
    train(model, data, optimizer)
    before = preconditioned(model, SquaredLoss(), data, optimizer=optimizer).root
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step > 0))
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    at_zero = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    torch.testing.assert_close(at_zero.root, before, rtol=1e-12, atol=0)
    assert at_zero.step_size == 0
    del schedule
    optimizer.param_groups[1]["lr"] = ETA  # the first group stands still: the second is the reference
    moved = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    assert not moved.root[:16].any()
    assert moved.step_size == ETA


def test_coupled_decay_is_added_on_request_only():
    model, data = problem()
    for kind, added in ((optim.Adam, 0.1), (optim.AdamW, 0.0), (optim.RMSprop, 0.1)):
        twin = copy.deepcopy(model)
        optimizer = kind(twin.parameters(), lr=ETA, weight_decay=0.1)
        train(twin, data, optimizer)
        plain = preconditioned(twin, SquaredLoss(), data, optimizer=optimizer)
        decayed = preconditioned(twin, SquaredLoss(), data, optimizer=optimizer, decay=True)
        difference = decayed.to_dense() - plain.to_dense()
        torch.testing.assert_close(difference, added * torch.diag(plain.root**2), rtol=1e-7, atol=1e-8)


def test_rescaled_loss_leaves_it_but_not_sharpness():
    model, data = problem()
    values = []
    for factor in (1.0, 50.0):
        twin = copy.deepcopy(model)
        optimizer = optim.Adam(twin.parameters(), lr=1e-3, eps=0.0)

        def scaled(f, y, factor=factor):
            return factor * SquaredLoss()(f, y)

        for _ in range(3):
            optimizer.zero_grad()
            scaled(twin(data[0]), data[1]).backward()
            optimizer.step()
        values.append(float(preconditioned_sharpness(twin, scaled, data, optimizer=optimizer, rtol=1e-10)))
    assert values[1] == pytest.approx(values[0], rel=1e-8)


def test_direction_is_what_the_eigenvector_means_for_parameters():
    model, data = problem()
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    operator = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    values, vectors = torch.linalg.eigh(operator.to_dense())
    d = operator.direction(vectors[:, -1])
    h = hessian(model, SquaredLoss(), data)
    torch.testing.assert_close(operator.root**2 * (h @ d), values[-1] * d, rtol=1e-8, atol=1e-9)


def test_foreign_optimizers_are_refused_or_take_a_second_moment():
    model, data = problem()

    class Adam8bit(optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {"lr": ETA, "eps": 1e-6})

    foreign = Adam8bit(model.parameters())
    with pytest.raises(KindError, match=r"Adam8bit; pass second_moment="):
        preconditioned(model, SquaredLoss(), data, optimizer=foreign)
    v = {name: torch.rand_like(p) for name, p in model.named_parameters()}
    operator = preconditioned(model, SquaredLoss(), data, optimizer=foreign, second_moment=v)
    expected = torch.cat([(v[name].sqrt() + 1e-6).reshape(-1) for name in v]).rsqrt()
    torch.testing.assert_close(operator.root, expected.detach(), rtol=1e-12, atol=0)
    by_parameter = {p: v[name] for name, p in model.named_parameters()}
    again = preconditioned(model, SquaredLoss(), data, optimizer=foreign, second_moment=by_parameter)
    assert torch.equal(operator.root, again.root)
    with pytest.raises(InputError, match=r"none for '2\.bias'"):
        preconditioned(model, SquaredLoss(), data, optimizer=foreign, second_moment=dict(list(v.items())[:-1]))
    wrong = {name: tensor[:1] for name, tensor in v.items()}
    with pytest.raises(ShapeError, match="must have the parameter's shape"):
        preconditioned(model, SquaredLoss(), data, optimizer=foreign, second_moment=wrong)
    negative = {name: -tensor for name, tensor in v.items()}
    with pytest.raises(ParameterError, match="≥ 0"):
        preconditioned(model, SquaredLoss(), data, optimizer=foreign, second_moment=negative)


def test_wrapped_optimizers_are_read_through():
    model, data = problem()
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    wrapper = type("Accelerated", (), {"optimizer": optimizer, "param_groups": optimizer.param_groups})()
    by_wrapper = preconditioned(model, SquaredLoss(), data, optimizer=wrapper)
    assert torch.equal(by_wrapper.root, preconditioned(model, SquaredLoss(), data, optimizer=optimizer).root)


def test_an_optimizer_that_cannot_answer_says_why():
    model, data = problem()
    for name in ("Adam", "RMSprop", "Adagrad"):
        with pytest.raises(InputError, match="take a step with it first"):
            preconditioned(model, SquaredLoss(), data, optimizer=KNOWN[name](model.parameters()))
    other, _ = problem(seed=1)
    with pytest.raises(KindError, match="holds none of them"):
        preconditioned(model, SquaredLoss(), data, optimizer=KNOWN["Adam"](other.parameters()))
    with pytest.raises(InputError, match=r"none of '2\.weight' and 1 more"):
        preconditioned(model, SquaredLoss(), data, optimizer=KNOWN["Adam"](model[0].parameters()))
    ascent = optim.Adam(model.parameters(), maximize=True)
    with pytest.raises(ParameterError, match="maximize"):
        preconditioned(model, SquaredLoss(), data, optimizer=ascent)
    with pytest.raises(KindError, match="got str"):
        preconditioned(model, SquaredLoss(), data, optimizer="adam")
    with pytest.raises(KindError, match=r"LBFGS; pass second_moment"):
        preconditioned(model, SquaredLoss(), data, optimizer=optim.LBFGS(model.parameters()))
    with pytest.raises(KindError, match="`optimiser`"):
        preconditioned_sharpness(model, SquaredLoss(), data, optimizer=None, optimiser=None)
    sgd = optim.SGD(model.parameters(), lr=ETA)
    with pytest.raises(UnknownNameError):
        preconditioned(model, SquaredLoss(), data, optimizer=sgd, parameters="nothing.*")


def test_unused_parameters_are_held_fixed():
    model, data = problem()
    model.register_parameter("unused", nn.Parameter(torch.ones(2, dtype=torch.float64)))
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    operator = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    assert int((operator.root == 0).sum()) == 2


def test_operator_alone_knows_its_parameters():
    model, data = problem()
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    alone = preconditioned(hessian(model, SquaredLoss(), data), optimizer=optimizer)
    whole = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    torch.testing.assert_close(alone.to_dense(), whole.to_dense())


def test_closed_form_operator_alone_takes_the_parameters_of_its_optimizer():
    network = ShallowReLU(3, 5, seed=1)
    _, (x, y) = problem()
    data = (x, y[:, :1].contiguous())
    optimizer = KNOWN["Adam"](network.parameters())
    train(network, data, optimizer)
    alone = preconditioned(hessian(network, SquaredLoss(), data), optimizer=optimizer)
    whole = preconditioned(network, SquaredLoss(), data, optimizer=optimizer)
    torch.testing.assert_close(alone.to_dense(), whole.to_dense())
    assert alone.backend == "closed form"
    half = optim.SGD([network.w], lr=ETA)
    with pytest.raises(KindError, match="cannot be told"):
        preconditioned(hessian(network, SquaredLoss(), data), optimizer=half)


def test_blocks_and_dictionaries_work_as_for_any_curvature_operator():
    model, data = problem()
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    operator = preconditioned(model, SquaredLoss(), data, optimizer=optimizer)
    dense = operator.to_dense()
    assert operator.names == ["0.weight", "0.bias", "2.weight", "2.bias"]
    torch.testing.assert_close(operator.blocks()["2.weight"].to_dense(), dense[16:24, 16:24])
    image = operator @ {"2.bias": torch.tensor([1.0, 0.0]).double()}
    torch.testing.assert_close(operator.as_vector(image), dense[:, 24])


def test_shallow_networks_in_single_precision_go_through_the_closed_form():
    network = ShallowReLU(3, 5, seed=1, dtype=torch.float32)
    _, (x, y) = problem(dtype=torch.float32)
    data = (x, y[:, :1].contiguous())
    optimizer = KNOWN["Adam"](network.parameters())
    train(network, data, optimizer)
    operator = preconditioned(network, SquaredLoss(), data, optimizer=optimizer)
    h = hessian(network, SquaredLoss(), data).to_dense()
    assert operator.dtype == torch.float64
    torch.testing.assert_close(operator.to_dense(), operator.root[:, None] * h * operator.root, rtol=1e-12, atol=1e-9)


def test_optimizer_and_model_are_left_as_they_were():
    model, data = problem()
    optimizer = KNOWN["Adam"](model.parameters())
    train(model, data, optimizer)
    before = copy.deepcopy((optimizer.state_dict(), model.state_dict()))
    gradients = [p.grad.clone() for p in model.parameters()]
    preconditioned_sharpness(model, SquaredLoss(), data, optimizer=optimizer)
    after = (optimizer.state_dict(), model.state_dict())
    assert str(before) == str(after)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
