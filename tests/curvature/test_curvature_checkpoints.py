"""One curve over saved checkpoints."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from steppe.core import DataError, KindError
from steppe.curvature import preconditioned_sharpness, sharpness, track_checkpoints
from steppe.curvature.checkpoints import find_checkpoints

STEPS = (0, 5, 10, 100)


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1)).double()
    x = torch.randn(40, 4, dtype=torch.float64)
    return model, (x, torch.sin(x.sum(1, keepdim=True)))


def step(model, data, optimizer):
    optimizer.zero_grad()
    nn.MSELoss()(model(data[0]), data[1]).backward()
    optimizer.step()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of a run in four layouts, and the sharpness at each."""
    folder = tmp_path_factory.mktemp("run")
    model, data = problem()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    truth = {}
    for number in range(1, max(STEPS) + 2):
        step(model, data, optimizer)
        if number - 1 in STEPS:
            name, state = number - 1, {key: tensor.clone() for key, tensor in model.state_dict().items()}
            save_file(state, folder / f"step-{name}.safetensors")
            whole = folder / f"whole-{name}"
            whole.mkdir()
            save_file(state, whole / "model.safetensors")
            torch.save(optimizer.state_dict(), whole / "optimizer.pt")
            torch.save({"model": state, "optimizer": optimizer.state_dict()}, folder / f"both-{name}.pt")
            torch.save({f"module.{key}": tensor for key, tensor in state.items()}, folder / f"ddp-{name}.pth")
            truth[name] = (
                float(sharpness(model, nn.MSELoss(), data, rtol=1e-8)),
                float(preconditioned_sharpness(model, nn.MSELoss(), data, optimizer=optimizer, rtol=1e-8)),
            )
    return folder, truth


@pytest.mark.parametrize("pattern", ["step-*.safetensors", "ddp-*.pth", "whole-*", "both-*.pt"])
def test_the_curve_is_that_of_the_models(saved, pattern):
    folder, truth = saved
    model, data = problem()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    curve = track_checkpoints(folder / pattern, model, nn.MSELoss(), data)
    assert curve.steps == list(STEPS)
    for number, found in zip(curve.steps, curve.estimates, strict=True):
        assert float(found) == pytest.approx(truth[number][0], rel=2e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not curve.skipped
    assert curve.to_dict()["checkpoints"][0]["limit"] is None
    json.dumps(curve.to_dict(), allow_nan=False)


@pytest.mark.parametrize("pattern", ["whole-*", "both-*.pt"])
def test_adams_curve_is_preconditioned_and_has_its_limit(saved, pattern, tmp_path):
    folder, truth = saved
    model, data = problem()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    curve = track_checkpoints(folder / pattern, model, nn.MSELoss(), data, optimizer=optimizer)
    for reading in curve.readings:
        assert reading.sharpness.value == pytest.approx(truth[reading.step][1], rel=2e-3)
        assert reading.limit == pytest.approx(3800)
    assert not optimizer.state  # the user's optimizer is left as found
    page = curve.save_html(tmp_path / "curve.html").read_text(encoding="utf-8")
    assert "Sharpness over the checkpoints" in page
    assert "stability limit" in page
    assert "of the limit" in str(curve)


def test_sgd_has_its_limit_without_saved_states(saved):
    folder, truth = saved
    model, data = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    curve = track_checkpoints(folder / "step-*", model, nn.MSELoss(), data, optimizer=optimizer)
    assert [reading.limit for reading in curve.readings] == [4.0] * 4
    assert curve.readings[-1].margin == pytest.approx(truth[100][0] / 4, rel=2e-3)


def test_broken_checkpoints_are_skipped_and_named(saved, tmp_path):
    folder, _ = saved
    model, data = problem()
    good = (folder / "step-5.safetensors").read_bytes()
    (tmp_path / "step-5.safetensors").write_bytes(good)
    (tmp_path / "step-6.safetensors").write_bytes(good[: len(good) // 2])
    save_file({"0.weight": torch.zeros(3, 3)}, tmp_path / "step-7.safetensors")
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "step-8.pt")  # an object, which is not read
    nan = {name: tensor * torch.nan for name, tensor in model.state_dict().items()}
    save_file(nan, tmp_path / "step-9.safetensors")
    (tmp_path / "step-10").mkdir()
    (tmp_path / "step-11.safetensors").write_bytes(good)
    with pytest.warns(UserWarning, match="was skipped"):
        curve = track_checkpoints(tmp_path / "step-*", model, nn.MSELoss(), data)
    assert curve.steps == [5, 11]
    assert [path.rsplit("-", 1)[1] for path in curve.skipped] == [
        "6.safetensors",
        "7.safetensors",
        "8.pt",
        "9.safetensors",
        "10",
    ]
    assert "do not fit" in curve.skipped[str(tmp_path / "step-7.safetensors")]
    assert "step-6.safetensors" in str(curve)
    with pytest.warns(UserWarning, match="was skipped"), pytest.raises(DataError, match="none could be measured"):
        track_checkpoints(tmp_path / "step-7*", model, nn.MSELoss(), data)


def test_adam_without_saved_states_is_refused(saved):
    folder, _ = saved
    model, data = problem()
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(DataError, match="no optimizer state"):
        track_checkpoints(folder / "step-*", model, nn.MSELoss(), data, optimizer=optimizer)


def test_a_loader_of_the_users_own(saved):
    folder, truth = saved
    model, data = problem()

    def load(path):
        built = problem()[0]
        built.load_state_dict(torch.load(path, weights_only=True)["model"])  # noqa: TID251 - what a user would write
        return built

    curve = track_checkpoints(folder / "both-*", model, nn.MSELoss(), data, load=load)
    assert float(curve.estimates[-1]) == pytest.approx(truth[100][0], rel=2e-3)


def test_tied_weights_need_be_saved_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    torch.manual_seed(0)
    model, x, y = Tied(), torch.arange(5), torch.tensor([1, 2, 3, 4, 0])
    save_file({"embed.weight": model.embed.weight.detach().clone()}, tmp_path / "model-1.safetensors")
    curve = track_checkpoints(tmp_path / "model-*", model, nn.CrossEntropyLoss(), (x, y))
    assert float(curve.estimates[0]) == pytest.approx(float(sharpness(model, nn.CrossEntropyLoss(), (x, y))), rel=2e-3)


def test_steps_are_sorted_as_numbers(tmp_path):
    for name in ("step-10", "step-9", "step-100", "final"):
        (tmp_path / "run7" / name).mkdir(parents=True)
    assert [number for number, _ in find_checkpoints(tmp_path / "run7" / "step-*")] == [9, 10, 100]
    assert [number for number, _ in find_checkpoints(tmp_path / "run*" / "step-9*")] == [9]


@pytest.mark.door
def test_doors(tmp_path):
    model, data = problem()
    with pytest.raises(DataError, match="matches none"):
        track_checkpoints(tmp_path / "step-*", model, nn.MSELoss(), data)
    (tmp_path / "step-1").mkdir()
    with pytest.raises(KindError, match="torch module"):
        track_checkpoints(tmp_path / "step-*", 3, nn.MSELoss(), data)
    with pytest.raises(KindError, match="every"):
        track_checkpoints(tmp_path / "step-*", model, nn.MSELoss(), data, every=2)
