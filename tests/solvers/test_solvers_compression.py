"""Compression: what is redundant goes, outputs stay, the user's model is not touched."""

import contextlib
import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from steppe.core import ComputationError, InputError
from steppe.solvers import compress, compression_curve, load_compressed, save_compression


def seeded(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().double()


def images(n=30, channels=3, side=8, seed=1):
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(n=60, d=5, seed=1):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def doubled(layer):
    """The second half of the neurons repeats the first."""
    half = layer.weight.shape[0] // 2
    layer.weight[half:] = layer.weight[:half]
    layer.bias[half:] = layer.bias[:half]


def mlp():
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 3))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3, padding=1), nn.Linear(8 * 9, 4)

    def forward(self, x):
        x = functional.relu(self.first(x))
        x = functional.max_pool2d(torch.tanh(self.second(x)), 2)
        x = x.view(x.size(0), -1)
        return self.last(functional.dropout(x, 0.5, self.training))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.up, self.down, self.leave = (nn.Linear(*s) for s in ((5, 6), (6, 16), (16, 6), (6, 2)))

    def forward(self, x):
        x = self.enter(x)
        return self.leave(x + self.down(functional.gelu(self.up(x))))


ARCHITECTURES = {
    "linear": (mlp, rows()),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 12, bias=True), nn.ReLU(), nn.Linear(12, 3, bias=False)), rows()),
    "three layers, dropout": (
        lambda: nn.Sequential(
            nn.Linear(5, 12), nn.GELU(), nn.Dropout(0.5), nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 2)
        ),
        rows(),
    ),
    "tokens": (mlp, rows(60 * 4).reshape(60, 4, 5)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3)), rows()),
    "parametric relu": (lambda: nn.Sequential(nn.Linear(5, 12), nn.PReLU(12), nn.Linear(12, 3)), rows()),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same", padding_mode="circular"), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 3, stride=2, dilation=1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4),
        ),
        images(),
    ),
    "pooled convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, (3, 1)), nn.SiLU(), nn.Dropout2d(0.3), nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten(1),
            nn.Linear(16, 4),
        ),
        images(),
    ),
    "one axis": (
        lambda: nn.Sequential(nn.Conv1d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv1d(8, 2, 3, dilation=2)),
        images().flatten(2)[:, :, :20],
    ),
    "functional": (Functional, images()),
    "residual": (Residual, rows()),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_duplicated_neurons_go_and_outputs_stay(name):
    build, x = ARCHITECTURES[name]
    model = seeded(build)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)]
    for layer in layers[:-1]:
        doubled(layer)
    before = copy.deepcopy(model.state_dict())
    found = compress(model, (x, x), tolerance=1e-9)
    assert found.met
    assert found.layers
    with torch.no_grad():
        expected, got = (copy.deepcopy(m).eval()(x) for m in (model, found.model))
    change = float((got - expected).norm() / expected.norm())
    assert change <= 1e-9
    assert found.change.relative == pytest.approx(change, abs=1e-14)
    for line in found.layers:
        assert line.after <= line.before // 2
        assert line.after <= line.feature_rank <= line.bound
    assert found.parameters_after == sum(p.numel() for p in found.model.parameters()) < found.parameters_before
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    # Written sizes are those of the weights: a copy of the new model from its own description runs too.
    assert all(
        (m.out_features, m.in_features) == tuple(m.weight.shape)
        for m in found.model.modules()
        if isinstance(m, nn.Linear)
    )


def test_a_neuron_that_is_a_sum_of_others_goes():
    model = seeded(mlp)
    with torch.no_grad():
        model[0].weight.abs_()
        model[0].bias.zero_()
        model[0].weight[11] = model[0].weight[:4].sum(dim=0)  # on positive data every neuron is linear
    x = rows().abs()
    found = compress(model, (x, x), tolerance=1e-10)
    assert found.layers[0].feature_rank == 5
    assert found.neurons_after <= 5


def test_neurons_without_effect_go():
    model = seeded(mlp)
    with torch.no_grad():
        model[2].weight[:, ::2] = 0.0
    found = compress(model, (rows(400), rows(400)), tolerance=1e-12)
    assert found.neurons_after == 6


def test_at_most_the_rank_is_left_and_never_more_than_before():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 200), nn.ReLU(), nn.Linear(200, 4)))
    x = rows(30)
    found = compress(model, (x, x), tolerance=1e-9)
    assert found.layers[0].feature_rank <= 29
    assert found.neurons_after <= found.layers[0].feature_rank
    assert found.met
    full = compress(seeded(mlp), (rows(300), rows(300)), tolerance=1e-9)
    assert full.neurons_after == 12
    assert full.layers[0].note == "all neurons are needed"
    assert full.change.relative == 0.0


def test_more_tolerance_needs_fewer_neurons_and_the_change_stays_below_it():
    model, x = seeded(lambda: nn.Sequential(nn.Linear(5, 60), nn.ReLU(), nn.Linear(60, 4))), rows(200)
    curve = compression_curve(model, (x, x), [0.3, 1e-8, 0.1, 0.01], held_out=(rows(50, seed=3),))
    assert curve.tolerances == [1e-8, 0.01, 0.1, 0.3]
    assert curve.neurons == sorted(curve.neurons, reverse=True)
    assert curve.neurons[-1] < curve.neurons[0]
    assert all(found.met and found.held_out.samples == 50 for found in curve.compressions)
    alone = compress(model, (x, x), tolerance=0.1)
    assert alone.neurons_after == curve.neurons[2]
    assert str(curve).count("\n") == 4
    assert json.dumps(curve.to_dict(), allow_nan=False)
    assert curve.plot().id == "compression-curve"


def test_tolerance_is_that_of_the_whole_model():
    model, x = seeded(ARCHITECTURES["three layers, dropout"][0]), rows(200)
    with torch.no_grad():
        model[5].weight *= 1000
    for tolerance in (1e-3, 0.2):
        assert compress(model, (x, x), tolerance=tolerance).change.relative <= tolerance


def test_smallest_norm_keeps_the_bound_and_does_not_raise_the_norm():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 300), nn.ReLU(), nn.Linear(300, 2)))
    x = rows(12)
    found = compress(model, (x, x), tolerance=1e-6, method="smallest-norm")
    line = found.layers[0]
    assert found.met
    assert line.after <= line.bound == line.feature_rank * line.target_rank
    assert line.norm_after <= line.norm_before * (1 + 1e-6)
    fewest = compress(model, (x, x), tolerance=1e-6)
    assert fewest.neurons_after <= line.after
    assert fewest.layers[0].norm_after >= line.norm_after * (1 - 1e-6)


@pytest.mark.parametrize("name", ["convolutions", "pooled convolutions", "one axis"])
def test_smallest_norm_serves_convolutions(name):
    build, x = ARCHITECTURES[name]
    model = seeded(build)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)]
    for layer in layers[:-1]:
        doubled(layer)
    found = compress(model, (x, x), tolerance=1e-4, method="smallest-norm")
    assert found.met
    for line in found.layers:
        assert line.after <= line.before // 2
        assert line.after <= line.bound
        assert line.norm_after <= line.norm_before * (1 + 2e-3)


def test_norm_is_the_path_norm_of_the_pair():
    model, x = seeded(mlp), rows(300)
    line = compress(model, (x, x)).layers[0]
    expected = (model[0].weight.norm(dim=1) * model[2].weight.norm(dim=0)).sum().detach()
    assert line.norm_before == pytest.approx(float(expected))


def test_one_sample_needs_one_neuron():
    model, x = seeded(mlp), rows(1)
    found = compress(model, (x, x))
    assert found.neurons_after == 1
    assert found.met


def test_batches_pieces_and_dicts_give_the_same_neurons(monkeypatch):
    model, x = seeded(lambda: nn.Sequential(nn.Linear(5, 60), nn.ReLU(), nn.Linear(60, 4))), rows(200)
    whole = compress(model, (x, x), tolerance=0.1)
    batches = compress(model, [(part, part) for part in x.split(23)], tolerance=0.1)
    monkeypatch.setattr("steppe.solvers.compression_calls._ROWS", 17)
    pieces = compress(model, {"input": x, "labels": x[:, 0]}, tolerance=0.1)
    assert whole.neurons_after == batches.neurons_after == pieces.neurons_after
    assert pieces.change.samples == 200
    assert pieces.change.relative == pytest.approx(whole.change.relative, rel=1e-6)


def test_single_precision_stays_single_and_is_measured_as_returned():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 100), nn.ReLU(), nn.Linear(100, 4))).float()
    x = rows(20).float()
    found = compress(model, (x, x), tolerance=1e-4)
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert found.neurons_after <= 20
    assert 1e-9 < found.change.relative <= 1e-4
    hopeless = compress(model, (x, x), tolerance=1e-9)
    assert hopeless.neurons_after == 100
    assert "change the outputs by" in hopeless.layers[0].note


def test_fine_tuning_brings_the_outputs_back_or_follows_the_loss():
    model, x = seeded(lambda: nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 2))), rows(100)
    y = x[:, :2]
    found = compress(model, (x, y), tolerance=0.3, fine_tune=200)
    assert found.change.relative < found.untuned.relative
    follows = compress(model, (x, y), tolerance=0.3, fine_tune=200, loss=nn.MSELoss())
    with torch.no_grad():
        assert nn.MSELoss()(follows.model(x), y) < nn.MSELoss()(model(x), y)


def test_result_unpacks_prints_plots_and_is_plain():
    model, x = seeded(mlp), rows()
    smaller, report = compress(model, (x, x), tolerance=0.2)
    assert smaller is report.model
    assert "neurons" in str(report)
    assert "its outputs are outputs of the model" in str(report)
    assert json.dumps(report.to_dict(), allow_nan=False)
    assert report.to_dict()["layers"][0]["bound"] == report.layers[0].bound
    assert report.plot().id == "compression"


def test_saved_weights_come_back(tmp_path):
    build, x = ARCHITECTURES["convolutions"]
    model = seeded(build)
    doubled(model[0])
    found = compress(model, (x, x), tolerance=1e-9)
    path = save_compression(found, tmp_path / "small.safetensors")
    again = load_compressed(seeded(build, seed=9), path)
    assert torch.equal(again.eval()(x), found.model.eval()(x))
    assert json.loads(path.with_suffix(".json").read_text())["neurons_after"] == found.neurons_after
    with pytest.raises(InputError, match="does not belong to this Sequential"):
        load_compressed(seeded(mlp), path)
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        found.save(tmp_path / "small.pt")
    with pytest.raises(InputError, match="is no file"):
        load_compressed(model, tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_compressed(model, path.with_suffix(".json"))


# --- the user's model ---


def snapshot(model):
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks), m.training) for m in model.modules()]
    values = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad, id(p)) for p in model.parameters()]
    return hooks, values, flags, torch.get_rng_state()


def same(first, second):
    values = all(torch.equal(first[1][name], second[1][name]) for name in first[1])
    return first[0] == second[0] and values and first[2] == second[2] and torch.equal(first[3], second[3])


def test_model_flags_hooks_and_generators_are_left_alone():
    model, x = seeded(ARCHITECTURES["three layers, dropout"][0]), rows()
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[5].register_forward_hook(lambda module, inputs, output: None)
    before = snapshot(model)
    found = compress(model, (x, x), tolerance=0.2, fine_tune=5)
    assert same(before, snapshot(model))
    assert [m.training for m in found.model.modules()] == [m.training for m in model.modules()]
    assert [p.requires_grad for p in found.model.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in found.model.parameters())
    assert found.left["3"] == "it has hooks"


class Fails(nn.Module):
    """Its forward pass of one number fails, in whatever copy."""

    left = 0

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        Fails.left -= 1
        if Fails.left == 0:
            raise RuntimeError("no more")
        return self.last(functional.relu(self.first(x)))


def test_model_is_left_alone_when_a_forward_pass_fails():
    model, x = seeded(Fails), rows()
    before, returned = snapshot(model), 0
    for passes in range(1, 10):
        Fails.left = passes
        with contextlib.suppress(ComputationError, InputError):
            compress(model, (x, x), tolerance=0.2)
            returned += 1
        assert same(before, snapshot(model))
    assert returned <= 4
