"""`steppe compress`: what it prints, writes and refuses."""

import json
import sys

import pytest

from steppe.cli import main

pytestmark = pytest.mark.door
GOOD = """
import torch
from torch import nn

print("the user's own words")


def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2)).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    return model, nn.MSELoss(), (x, x[:, :2])


def broken():
    model, loss, (x, y) = problem()
    return model, loss, (x[:, :2], y)


def bare():
    return nn.ReLU(), nn.MSELoss(), (torch.ones(2, 3), torch.ones(2, 3))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_it_prints_the_table_and_writes_weights_and_report(folder, capsys):
    assert main(["compress", "train.py:problem", "--tolerance", "1e-8", "--out", "small.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Sequential: 40 to ")
    assert "r_Φ·r_Ψ" in out
    assert "its outputs are outputs of the model" in out
    assert "the user's own words" not in out
    assert "the user's own words" in err
    report = json.loads((folder / "small.json").read_text())
    assert report["neurons_after"] <= 19
    assert report["change"]["relative"] <= 1e-8
    assert (folder / "small.safetensors").stat().st_size > 100


def test_json_curve_layers_and_method(folder, capsys):
    assert main(["compress", "train.py:problem", "--layer", "0", "--method", "smallest-norm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "smallest-norm"
    assert main(["compress", "train.py:problem", "--curve", "1e-6,0.3", "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)
    assert [line["tolerance"] for line in curve["compressions"]] == [1e-6, 0.3]
    assert main(["compress", "train.py:problem", "--curve", "1e-6,0.3"]) == 0
    assert capsys.readouterr().out.count("\n") >= 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train.py:problem", "--tolerance", "2"], 2, "`tolerance` must be"),
        (["train.py:problem", "--layer", "9"], 2, "matches no layer"),
        (["train.py:problem", "--out", "small.pt"], 2, "must end in .safetensors"),
        (["train.py:problem", "--out", "nowhere/small.safetensors"], 2, "does not exist"),
        (["train.py:problem", "--curve", "0.1", "--fine-tune", "3"], 2, "--curve"),
        (["train.py:problem", "--curve", "0.1,x"], 2, "numbers separated by commas"),
        (["train.py:problem", "--method", "best"], 2, "method"),
        (["train.py:bare"], 2, "has no layer of Linear"),
        (["train.py:broken"], 5, "a forward pass of `model` failed"),
        (["missing.py:problem"], 2, "is no file"),
    ],
)
def test_misuse_is_one_sentence(folder, capsys, words, code, said):
    assert main(["compress", *words]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""
