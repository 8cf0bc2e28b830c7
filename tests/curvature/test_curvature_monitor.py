"""An edge monitor says below, at and beyond where a dense eigenvalue solver says so."""

import json
import math

import pytest
import torch
from torch import nn

from steppe.core import InputError, KindError, ParameterError
from steppe.curvature import (
    CriticalTracker,
    EdgeMonitor,
    SharpnessTracker,
    hessian,
    stability_limit,
    stability_threshold,
)
from steppe.curvature.monitor import _state
from steppe.curvature.pacing import Pacing
from steppe.networks import ShallowReLU
from steppe.training import gradient_descent

X = torch.ones(1, 1, dtype=torch.float64)


class Quadratic(nn.Module):
    """Σ λ_i θ_i²/2 in two blocks of 20, whatever the input."""

    def __init__(self, top=4.0):
        super().__init__()
        self.first = nn.ParameterList([nn.Parameter(torch.ones(20, dtype=torch.float64))])
        self.second = nn.ParameterList([nn.Parameter(torch.ones(20, dtype=torch.float64))])
        self.register_buffer("curvature", torch.linspace(0.1, 1.0, 40, dtype=torch.float64))
        self.curvature[25] = top

    def forward(self, x):
        theta = torch.cat([self.first[0], self.second[0]])
        return x * 0.5 * (self.curvature * theta.square()).sum()


def value(outputs, _):
    return outputs.mean()


@pytest.mark.parametrize(
    ("step_size", "state"),
    [(0.2, "below"), (0.47, "below"), (0.5, "at"), (0.51, "at"), (0.55, "beyond"), (0.0, "below")],
)
def test_states_on_a_quadratic(step_size, state):
    model = Quadratic(top=4.0)
    monitor = EdgeMonitor(model, value, (X, X), optimizer=torch.optim.SGD(model.parameters(), lr=step_size))
    assert monitor.state is None
    reading = monitor.measure(7)
    assert monitor.state == reading.state == state
    assert reading.margin == pytest.approx(4.0 * step_size / 2, rel=1e-3)
    assert reading.step == 7
    assert reading.layer == "second"
    assert reading.layer_share > 0.99
    assert monitor.share(by="parameter").top == "second.0"


def test_an_error_that_straddles_the_limit_is_at():
    assert _state(3.9, 4.1, 4.0, 0.0) == "at"
    assert _state(3.9, 3.99, 4.0, 0.0) == "below"
    assert _state(4.01, 4.1, 4.0, 0.0) == "beyond"
    assert _state(3.7, 3.9, 4.0, 0.05) == "at"
    assert _state(4.1, 9.0, 4.0, 0.05) == "at"
    assert _state(1.0, 2.0, math.inf, 0.05) == "below"


def test_gradient_descent_meets_its_limit_and_the_columns_are_right():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.sin(2 * x.sum(1, keepdim=True))
    network = ShallowReLU(3, 40, seed=0)
    limit = stability_threshold(0.35)
    logged = []
    monitor = EdgeMonitor(network, nn.MSELoss(), (x, y), limit=limit, log=lambda row, step: logged.append((step, row)))
    history = gradient_descent(network, x, y, loss=nn.MSELoss(), step_size=0.35, steps=300, observers=[monitor])
    steps, margins = history.column("stability_margin")
    assert [step for step, _ in logged] == steps
    assert len(monitor.history) == len(steps)
    dense = torch.linalg.eigvalsh(hessian(network, nn.MSELoss(), (x, y)).to_dense())[-1]
    assert monitor.history[-1].sharpness.value == pytest.approx(float(dense), rel=1e-2)
    assert margins[-1] == pytest.approx(float(dense) / limit, rel=1e-2)
    for _, row in logged:
        expected = -1 if row["stability_margin"] < 0.95 else 1 if row["stability_margin"] > 1.06 else None
        assert expected is None or row["edge"] == expected
        assert row["stability_limit"] == pytest.approx(2 / 0.35)


def test_adam_is_held_against_its_preconditioned_sharpness():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    x, y = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)
    a, b = list(model[0].parameters()), list(model[2].parameters())
    optimizer = torch.optim.Adam([{"params": a}, {"params": b, "lr": 3e-2, "weight_decay": 0.1}], lr=1e-2)
    monitor = EdgeMonitor(model, nn.MSELoss(), (x, y), optimizer=optimizer, rtol=1e-6)
    assert monitor(0, model) is None  # no preconditioner before the first step
    with pytest.raises(InputError, match="taken a step"):
        monitor.measure()
    for step in range(30):
        optimizer.zero_grad()
        loss = nn.MSELoss()(model(x), y)
        loss.backward()
        optimizer.step()
        monitor(step, model, loss=loss)
    dense = hessian(model, nn.MSELoss(), (x, y)).to_dense()
    rates, decays = [1e-2] * 2 + [3e-2] * 2, [0.0] * 2 + [0.1] * 2
    scale, decay = [], []
    for parameter, rate, weight in zip(model.parameters(), rates, decays, strict=True):
        state = optimizer.state[parameter]
        root = (state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8
        scale.append((rate / root).reshape(-1))
        decay.append(torch.full_like(root, weight).reshape(-1))
    root = torch.cat(scale).sqrt()
    top = torch.linalg.eigvalsh(root[:, None] * (dense + torch.diag(torch.cat(decay))) * root)[-1]
    reading = monitor.history[-1]
    # ηP⁻¹(H + Λ) has the limit 38 whatever the groups' step sizes.
    assert reading.margin == pytest.approx(float(top) / 38, rel=1e-3)
    assert reading.limit == pytest.approx(float(stability_limit(optimizer)))
    assert len(monitor.losses) == 31 - 1
    assert reading.sharpness.quantity == "preconditioned sharpness"


def test_by_forward_passes_alone():
    model = Quadratic(top=4.0)
    with torch.no_grad():
        model.first[0].zero_()
        model.second[0].zero_()[5] = 1.0  # on the top eigenvector
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    monitor = EdgeMonitor(model, value, (X, X), optimizer=optimizer, method="critical")
    assert isinstance(monitor.source, CriticalTracker)
    reading = monitor.measure()
    assert reading.state == "at"
    assert reading.low <= 4.0 * (1 + 1e-9)
    assert reading.high >= 4.0 * (1 - 1e-9)
    assert reading.limit == 4.0
    optimizer.param_groups[0]["lr"] = 0.25
    assert monitor.measure().state == "below"
    optimizer.param_groups[0]["lr"] = 0.6
    assert monitor.measure().state == "beyond"
    with pytest.raises(InputError, match="needs an eigenvector"):
        monitor.share()
    uphill = CriticalTracker(model, value, (X, X), direction=[-torch.ones(20).double(), -torch.ones(20).double()])
    rising = EdgeMonitor(uphill, optimizer=optimizer)
    assert rising.measure().state == "beyond"
    assert rising.history[0].high == math.inf
    assert rising.plot().panels


def test_optimizers_without_a_known_limit_are_followed_by_forward_passes():
    model = Quadratic()
    assert isinstance(
        EdgeMonitor(model, value, (X, X), optimizer=torch.optim.Rprop(model.parameters())).source, CriticalTracker
    )
    assert isinstance(
        EdgeMonitor(model, value, (X, X), optimizer=torch.optim.SGD(model.parameters(), lr=1.0)).source,
        SharpnessTracker,
    )


def test_the_page_shows_sharpness_limit_loss_and_overhead(tmp_path):
    model = Quadratic(top=4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    monitor = EdgeMonitor(model, value, (X, X), optimizer=optimizer)
    for step, rate in enumerate((0.0, 0.3, 0.5, 0.6)):
        optimizer.param_groups[0]["lr"] = rate
        monitor(step, model, loss=1.0 / (1 + step))
    figure = monitor.plot()
    names = [layer.name for panel in figure.panels for layer in panel.layers]
    assert {"stability limit", "below", "at", "beyond", "loss", "at the limit"} <= set(names)
    assert any("% of the training time" in name for name in names)
    limits = next(layer for layer in figure.panels[0].layers if layer.name == "stability limit")
    assert list(limits.y) == pytest.approx([2 / 0.3, 4.0, 2 / 0.6])  # where the step size is 0 there is none
    page = monitor.save_html(tmp_path / "edge.html").read_text(encoding="utf-8")
    assert "at its limit first at step 2" in page
    assert "beyond its limit first at step 3" in page
    assert "http-equiv" in page
    assert "<script src" not in page
    json.dumps(figure.to_plotly(), allow_nan=False)
    assert "second" in monitor.sentence()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_pacing_keeps_to_a_share_of_the_training_and_to_a_budget():
    clock = Clock()
    pacing = Pacing(overhead=0.05, clock=clock)
    measured = []
    for step in range(1000):
        clock.now += 1.0  # a step of training
        if pacing.due(step):
            with pacing.spending():
                clock.now += 2.0
            measured.append(step)
    assert measured[0] == 0
    assert pacing.overhead <= 0.05
    assert pacing.overhead > 0.04
    assert len(measured) == pytest.approx(25, abs=1)
    clock, counts = Clock(), 0
    pacing = Pacing(every=10, budget=7.0, clock=clock)
    for step in range(1000):
        if pacing.due(step):
            assert step % 10 == 0
            with pacing.spending():
                clock.now += 2.0
            counts += 1
    assert counts == 3
    assert "budget of 7 s" in pacing.over


def test_nothing_is_left_on_model_and_optimizer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    nn.MSELoss()(model(x), y).backward()
    optimizer.step()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    moments = [optimizer.state[parameter]["exp_avg_sq"].clone() for parameter in model.parameters()]
    for method in ("sharpness", "critical"):
        EdgeMonitor(model, nn.MSELoss(), (x, y), optimizer=optimizer, method=method).measure()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
    for parameter, moment in zip(model.parameters(), moments, strict=True):
        assert torch.equal(optimizer.state[parameter]["exp_avg_sq"], moment)
        assert float(optimizer.state[parameter]["step"]) == 1
    assert model.training


@pytest.mark.door
def test_doors():
    model = Quadratic()
    with pytest.raises(InputError, match="`optimizer` or `limit` must be given"):
        EdgeMonitor(model, value, (X, X))
    with pytest.raises(KindError, match="within"):
        EdgeMonitor(model, value, (X, X), limit=2.0, tolerance=0.1)
    with pytest.raises(ParameterError, match="`overhead` must be > 0"):
        EdgeMonitor(model, value, (X, X), limit=2.0, overhead=0.0)
    with pytest.raises(InputError, match="at least one reading"):
        EdgeMonitor(model, value, (X, X), limit=2.0).plot()
    assert math.isnan(EdgeMonitor(model, value, (X, X), limit=2.0).overhead)


def test_a_spike_is_drawn_on_a_logarithmic_axis_and_named_by_its_first_layer(tmp_path):
    model = Quadratic(top=4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    monitor = EdgeMonitor(model, value, (X, X), optimizer=optimizer)
    monitor.measure(1)
    assert monitor.plot().panels[0].y.scale == "linear"
    optimizer.param_groups[0]["lr"] = 0.8
    monitor.measure(2)
    # The new direction was of no importance before: the challenger of a warm tracker meets it within a few checks.
    model.curvature[3] = 4000.0
    noticed = next(step for step in range(3, 24) if monitor.measure(step).sharpness > 3999)
    assert noticed <= 8
    assert monitor.plot().panels[0].y.scale == "log"
    assert "beyond its limit first at step 2 (100 % of the top eigenvector in second)" in monitor.sentence()
    assert monitor.save_html(tmp_path / "page.html").stat().st_size > 0


def test_an_update_that_points_uphill_has_no_finite_critical_sharpness():
    model = Quadratic(top=4.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = -100 * parameter.detach()
    monitor = EdgeMonitor(model, value, (X, X), optimizer=optimizer, method="critical")
    assert math.isinf(monitor.measure(1).sharpness.value)
    assert "sharpness" not in monitor(2, model)
    assert monitor.plot().panels[0].layers  # without those readings
