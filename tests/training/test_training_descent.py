import math

import pytest
import torch
from torch import nn

from steppe.core import CrossEntropy, Logistic, SquaredLoss
from steppe.networks import ShallowReLU
from steppe.training import AtSteps, Every, StopTraining, gradient_descent, record_steps

pytestmark = pytest.mark.usefixtures("closed_form")


class Product(nn.Module):
    """x ↦ v w x, so that ½ squared error at (1, 1) is ½ (vw − 1)²."""

    def __init__(self, v, w):
        super().__init__()
        self.v = nn.Parameter(torch.tensor(v, dtype=torch.float64))
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x):
        return self.v * self.w * x


ONE = torch.ones(1, 1, dtype=torch.float64)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def problem(n=60, d=3, k=1, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x.to(dtype), torch.randn(n, k, generator=rng, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("step_size", "sharpness"), [(0.1, 5.609), (0.4, 3.641), (0.6, 2.001)])
def test_two_parameter_model_settles_below_two_over_the_step(step_size, sharpness):
    model = Product(2.3, 0.1)
    history = gradient_descent(model, ONE, ONE, step_size=step_size, steps=20_000)
    assert history.state == "settled"
    assert history.backend == "autograd"
    assert round(model.v.item() ** 2 + model.w.item() ** 2, 3) == sharpness
    assert sharpness < 2 / step_size
    assert math.isclose(model.v.item() * model.w.item(), 1.0)


def reference_descent(model, x, y, *, step_size, steps, weight_decay, clip):
    """torch.optim.SGD, as people write it; clip_grad_norm_ would divide by the norm plus 1e-6."""
    optimiser = torch.optim.SGD(model.parameters(), lr=step_size, weight_decay=weight_decay)
    clipped, losses = 0, []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (model(x) - y).square().sum() / len(x)
        loss.backward()
        losses.append(loss.item())
        if clip is not None:
            norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
            clipped += int(norm > clip)
            for p in model.parameters():
                p.grad *= min(1.0, clip / norm.item())
        optimiser.step()
    return losses, clipped


@pytest.mark.parametrize(("k", "skip"), [(1, False), (1, True), (2, True)])
@pytest.mark.parametrize(("weight_decay", "clip"), [(0.0, None), (0.1, None), (0.05, 1.0)])
def test_agrees_with_sgd(k, skip, weight_decay, clip, closed_form):
    x, y = problem(k=k)
    network = ShallowReLU(3, 20, k, skip=skip, seed=1)
    other, foreign = network.copy(), network.copy()
    options = {"step_size": 0.05, "steps": 40, "weight_decay": weight_decay, "clip": clip}
    losses, clipped = reference_descent(other, x, y, **options)
    history = gradient_descent(network, x, y, **options)
    assert history.backend.startswith(closed_form)
    assert (history.state, history.steps) == ("finished", 40)
    torch.testing.assert_close(flat(network), flat(other), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.tensor(history.loss[:-1]), torch.tensor(losses), rtol=1e-10, atol=0)
    assert history.clipped == clipped
    assert (clip is None) or 0 < clipped < 40
    assert history.step == list(range(41))

    slow = gradient_descent(foreign, x, y, **options, loss=lambda f, t: SquaredLoss()(f, t))
    assert (slow.backend, slow.clipped) == ("autograd", clipped)
    torch.testing.assert_close(flat(foreign), flat(other), rtol=1e-10, atol=1e-12)


def test_final_loss_belongs_to_the_final_parameters():
    x, y = problem()
    network = ShallowReLU(3, 10)
    history = gradient_descent(network, x, y, step_size=0.05, steps=1000)
    assert history.step[0] == 0
    assert history.step[-1] == 1000
    assert len(history.step) <= 200
    assert math.isclose(history.final_loss, SquaredLoss()(network(x), y).item(), rel_tol=1e-12)


@pytest.mark.parametrize(
    "model", [ShallowReLU(3, 8, seed=2), nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()]
)
def test_divergence_is_a_state_and_leaves_finite_numbers(model):
    x, y = problem()
    history = gradient_descent(model, x, y, step_size=500.0, steps=300, clip=None)
    if history.state == "finished":  # a tanh network may saturate: then nothing diverged, and nothing is NaN
        assert isinstance(model, nn.Sequential)
    else:
        assert history.state == "diverged"
        assert "exceeds" in history.reason
        assert history.steps == history.step[-1] < 300
    assert all(math.isfinite(value) for value in history.loss)
    assert torch.isfinite(flat(model)).all()
    assert math.isclose(history.final_loss, SquaredLoss()(model(x), y).item(), rel_tol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_of_a_linear_problem(dtype):
    # f = c x on x = 1: the error grows by |1 − η| = 9 a step.
    network = ShallowReLU.from_weights([[0.0]], [0.0], [[0.0]], skip=[[0.0]]).copy(dtype=dtype)
    one = ONE.to(dtype)
    history = gradient_descent(network, one, one, step_size=10.0, steps=10_000)
    assert history.state == "diverged"
    assert history.loss[-1] <= 1e8
    assert torch.isfinite(flat(network)).all()


def test_settled_from_a_minimum_and_not_before():
    x, _ = problem()
    network = ShallowReLU(3, 6, seed=0)
    y = network(x).detach()
    history = gradient_descent(network, x, y, step_size=0.1, steps=50)
    assert (history.state, history.step) == ("settled", [0])
    assert gradient_descent(network, x, y + 1, step_size=0.01, steps=50).state == "finished"


def test_zero_steps_only_measure():
    x, y = problem()
    network = ShallowReLU(3, 6)
    before = flat(network)
    history = gradient_descent(network, x, y, step_size=0.1, steps=0)
    assert history.step == [0]
    assert torch.equal(flat(network), before)


def test_one_sample_is_fitted():
    network = ShallowReLU(2, 5, seed=1)
    history = gradient_descent(network, ONE.expand(1, 2).contiguous(), ONE, step_size=0.1, steps=2000)
    assert history.final_loss < 1e-20


def test_record_steps():
    assert record_steps(5) == [0, 1, 2, 3, 4, 5]
    assert record_steps(10, 4) == [0, 4, 8, 10]
    for steps in (199, 200, 201, 1000, 123_456):
        records = record_steps(steps)
        assert records[0] == 0
        assert records[-1] == steps
        assert 50 < len(records) <= 200
        assert records == sorted(set(records))


@pytest.mark.parametrize("loss", [SquaredLoss(), lambda f, y: SquaredLoss()(f, y)], ids=["closed", "autograd"])
def test_observers_see_the_parameters_after_their_step(loss):
    x, y = problem()
    seen, network = {}, ShallowReLU(3, 6, seed=3)

    def look(step, model):
        seen[step] = flat(model)
        return {"norm": flat(model).norm().item()}

    history = gradient_descent(
        network.copy(), x, y, step_size=0.05, steps=1000, loss=loss,
        observers=[Every(300, look), AtSteps([7, 2000], lambda step, model: {"seven": float(step)})],
    )  # fmt: skip
    assert sorted(seen) == [0, 300, 600, 900, 1000]
    for step, parameters in seen.items():
        again = network.copy()
        gradient_descent(again, x, y, step_size=0.05, steps=step, loss=loss)
        assert torch.equal(flat(again), parameters), step
    steps, norms = history.column("norm")
    assert steps == [0, 300, 600, 900, 1000]
    assert norms == [seen[step].norm().item() for step in steps]
    assert history.column("seven") == ([7], [7.0])
    assert len(history.columns["seven"]) == len(history.step) == len(history.loss)
    assert set(steps) <= set(history.step)


def test_plain_observers_are_called_at_the_records():
    x, y = problem()
    seen = []
    history = gradient_descent(
        ShallowReLU(3, 6), x, y, step_size=0.05, steps=20, log_every=5,
        observers=[lambda step, model: seen.append(step)],
    )  # fmt: skip
    assert seen == history.step == [0, 5, 10, 15, 20]
    assert history.columns == {}


def test_an_observer_stops_the_run():
    x, y = problem()

    def enough(step, model):
        if step >= 12:
            raise StopTraining("loss is small enough", {"at": step})

    network, same = ShallowReLU(3, 6), ShallowReLU(3, 6)
    history = gradient_descent(network, x, y, step_size=0.05, steps=100, observers=[enough])
    assert (history.state, history.reason, history.steps) == ("stopped", "loss is small enough", 12)
    assert history.column("at") == ([12], [12.0])
    gradient_descent(same, x, y, step_size=0.05, steps=12)
    assert torch.equal(flat(network), flat(same))


def test_ordinary_modules_keep_their_flags_and_grads():
    x, _ = problem()
    labels = torch.arange(60) % 4
    model = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 4)).double().eval()
    model[0].bias.requires_grad_(requires_grad=False)
    frozen = model[0].bias.clone()
    model[2].bias.grad = torch.full_like(model[2].bias, 7.0)
    history = gradient_descent(model, x, labels, step_size=0.5, steps=100, loss=CrossEntropy())
    assert history.convention == "cross-entropy in nats"
    assert history.final_loss < history.loss[0]
    assert torch.equal(model[0].bias, frozen)
    assert torch.equal(model[2].bias.grad, torch.full_like(model[2].bias, 7.0))
    assert model[0].weight.grad is None
    assert not model.training
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]


def test_frozen_parameters_of_a_shallow_network_stay():
    x, y = problem()
    network = ShallowReLU(3, 6)
    network.w.requires_grad_(requires_grad=False)
    before = network.w.clone()
    assert gradient_descent(network, x, y, step_size=0.1, steps=5, weight_decay=0.1).backend == "autograd"
    assert torch.equal(network.w, before)


def test_logistic_loss_learns_signs(closed_form):
    x, _ = problem(200)
    network = ShallowReLU(3, 30, seed=0)
    history = gradient_descent(network, x, x[:, :1].sign(), step_size=0.3, steps=500, loss=Logistic())
    assert history.backend.startswith(closed_form)
    assert ((network(x) > 0) == (x[:, :1] > 0)).double().mean() > 0.95


def test_history_prints_in_one_line():
    x, y = problem()
    text = str(gradient_descent(ShallowReLU(3, 6), x, y, step_size=0.1, steps=5))
    assert text.startswith("finished after 5 steps of 0.1: loss ")
    assert "½ squared error" in text
    assert "\n" not in text
