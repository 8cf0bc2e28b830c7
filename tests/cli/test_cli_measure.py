"""`steppe measure`: what it prints, what it refuses, and that no factory leaves a traceback."""

import json
import subprocess
import sys

import pytest

from steppe.cli import main

pytestmark = pytest.mark.door
GOOD = """
import torch
from torch import nn

print("the user's own words")


def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    x = torch.randn(50, 3, dtype=torch.float64)
    return model, nn.MSELoss(), (x, x[:, :1])


def problem():
    print("more of them")
    return parts()


def with_optimizer():
    model, loss, data = parts()
    return {"model": model, "loss": loss, "data": data, "optimizer": torch.optim.SGD(model.parameters(), lr=9.0)}
"""
BAD = """
import torch
from torch import nn

model = nn.Linear(3, 1)
number = 3


def needs(argument):
    return argument


def raises():
    return 1 / 0


def leaves():
    raise SystemExit("bye")


def nothing():
    pass


def pair():
    return 1, 2


def odd():
    return {"model": model, "dada": 1}


def lacking():
    return {"model": model}


def no_model():
    return "model", nn.MSELoss(), (torch.ones(2, 3), torch.ones(2, 1))


def one_shot():
    return model, nn.MSELoss(), iter([(torch.ones(2, 3), torch.ones(2, 1))])


def shapes():
    return model, nn.MSELoss(), (torch.ones(2, 4), torch.ones(2, 1))


def loss_breaks():
    def loss(outputs, targets):
        return outputs.nothing_of_the_kind

    return model, loss, (torch.ones(2, 3), torch.ones(2, 1))


def nan():
    return model, nn.MSELoss(), (torch.ones(2, 3), torch.ones(2, 1) * float("nan"))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "good_train.py").write_text(GOOD)
    (tmp_path / "bad_train.py").write_text(BAD)
    (tmp_path / "broken_train.py").write_text("import torch\nx = (\n")
    (tmp_path / "crashing_train.py").write_text("import torch\n\nraise ValueError('not today')\n")
    (tmp_path / "needy_train.py").write_text("import no_such_package\n")
    (tmp_path / "text.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("good_train", "bad_train", "broken_train", "crashing_train", "needy_train"):
        sys.modules.pop(name, None)


def told(capsys, *arguments):
    code = main(["measure", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    return code, out, err


@pytest.mark.parametrize("factory", ["good_train:problem", "good_train.py:problem", "./good_train.py:problem"])
def test_it_prints_a_table_and_what_the_limits_ignore(here, capsys, factory):
    code, out, err = told(capsys, factory)
    assert code == 0
    assert out.startswith("Sharpness ")
    for words in (
        "50 samples",
        "41 parameters",
        "largest stable step, heavy ball 0.9",
        "path norm",
    ):
        assert words in out
    assert "usually sharpens until it meets its limit" in out
    assert "predicted from" in err


def test_what_the_factory_prints_stays_out_of_the_json(here, capsys):
    code, out, err = told(capsys, "good_train:with_optimizer", "--json", "--budget", "60 products", "--seed", "1")
    assert code == 0
    said = json.loads(out)
    assert said["schema"] == "steppe.measurement/1"
    assert said["optimizer"]["state"] == "beyond"
    assert any("Beyond the limit" in warning for warning in said["warnings"])
    assert "the user's own words" in err


def test_parameters_samples_and_page(here, capsys):
    arguments = ["--parameters", "2.*", "--samples", "20", "--html", "m.html", "--json"]
    code, out, err = told(capsys, "good_train:problem", *arguments)
    assert code == 0
    said = json.loads(out)
    assert said["size"]["measured"] == 9
    assert (said["samples"], said["total"]) == (20, 50)
    assert "page: m.html" in err
    assert (here / "m.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_dry_run_says_the_cost_alone(here, capsys):
    code, out, _ = told(capsys, "good_train:problem", "--dry-run", "--budget", "5 min")
    assert code == 0
    assert "per product" in out
    assert "budget 300 s" in out
    assert "harpness" not in out


MISUSE = {
    "good_train": "must be module:factory or path/to/file.py:factory",
    "good_train:": "must be module:factory",
    ":problem": "must be module:factory",
    "good_train:problm": "did you mean 'problem'",
    "no_such_module:problem": "there is no module 'no_such_module'",
    "no.such:problem": "there is no module 'no'",
    "nowhere.py:problem": "is no file",
    "text.txt/:problem": "must be in a .py file",
    "needy_train:problem": "No module named 'no_such_package'",
    "broken_train:problem": "line 2: SyntaxError",
    "broken_train.py:problem": "line 2: SyntaxError",
    "crashing_train:problem": "line 3: ValueError: not today",
    "crashing_train.py:problem": "line 3: ValueError: not today",
    "bad_train:number": "must be a function that returns (model, loss, data)",
    "bad_train:model": "got Linear",  # a module is callable, but no factory
    "bad_train:needs": "must take no arguments, got argument",
    "bad_train:nothing": "got NoneType",
    "bad_train:pair": "got a tuple of 2",
    "bad_train:odd": "'dada'; did you mean 'data'",
    "bad_train:lacking": "the dict lacks data",
    "bad_train:no_model": "`model` must be a torch module, got str",
    "bad_train:one_shot": "must be re-iterable",
    "bad_train:nan": "must be finite",
    "bad\0train:problem": "must be module:factory",
    "../../etc/passwd:root": "is no file",
    "a;b:problem": "must be module:factory",
}


@pytest.mark.parametrize("factory", MISUSE)
def test_a_factory_that_cannot_be_used_is_misuse(here, capsys, factory):
    code, out, err = told(capsys, factory)
    assert code == 2
    assert out == ""
    assert MISUSE[factory] in err
    assert "mistake in steppe" not in err


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("bad_train:raises", "line 14: ZeroDivisionError"),
        ("bad_train:leaves", "SystemExit: bye"),
        ("bad_train:shapes", "mat1 and mat2 shapes cannot be multiplied"),
        ("bad_train:loss_breaks", "nothing_of_the_kind"),
    ],
)
def test_a_failure_in_the_users_code_is_told_with_its_line(here, capsys, factory, words):
    code, _, err = told(capsys, factory)
    assert code in (2, 5)
    assert words in err
    assert "mistake in steppe" not in err


@pytest.mark.parametrize(
    "arguments",
    [["--budget", "soon"], ["--samples", "0"], ["--seed", "-1"], ["--parameters", "nothing.*"], ["--html", "."]],
)
def test_an_option_that_cannot_be_used_is_misuse(here, capsys, arguments):
    assert told(capsys, "good_train:problem", *arguments)[0] == 2


def test_a_page_that_cannot_be_written_is_told(here, capsys):
    code, _, err = told(capsys, "good_train:problem", "--html", "nowhere/m.html")
    assert code == 5
    assert "choose an existing folder" in err


@pytest.fixture
def checkpoints(here):
    """Three steps of a training, and one file that is none."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    (here / "run").mkdir()
    for step, scale in ((0, 1.0), (100, 2.0), (20, 1.5)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)).double()
        save_file(
            {n: (scale * t).contiguous() for n, t in model.state_dict().items()}, here / f"run/step-{step}.safetensors"
        )
    (here / "run/step-50.safetensors").write_text("no tensors")
    return here


def test_a_curve_over_checkpoints_with_the_limit_of_the_optimizer(checkpoints, capsys):
    arguments = ["good_train:with_optimizer", "--checkpoints", "run/step-*", "--samples", "40"]
    code, out, err = told(capsys, *arguments, "--json", "--html", "curve.html")
    assert code == 0
    said = json.loads(out)
    assert [line["step"] for line in said["checkpoints"]] == [0, 20, 100]
    assert all(line["limit"] == pytest.approx(2 / 9) and line["state"] == "beyond" for line in said["checkpoints"])
    sharpness = [line["sharpness"] for line in said["checkpoints"]]
    assert sharpness == sorted(sharpness)
    assert list(said["skipped"]) == ["run/step-50.safetensors"]
    assert "page: curve.html" in err
    code, out, err = told(capsys, *arguments)
    assert code == 0
    assert out.split()[:2] == ["step", "sharpness"]
    assert "skipped: step-50.safetensors" in out
    assert "Warning" not in err


@pytest.mark.parametrize("arguments", [["run/nothing-*"], ["run/step-*", "--budget", "3"], ["run/step-*", "--dry-run"]])
def test_checkpoints_that_cannot_be_followed_are_misuse(checkpoints, capsys, arguments):
    assert told(capsys, "good_train:problem", "--checkpoints", *arguments)[0] == 2


def test_help_loads_no_torch():
    code = "import sys; from steppe.cli import main; main(['measure', '--help']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0


def test_in_a_pipe_it_is_plain_text(here):
    command = [sys.executable, "-m", "steppe", "measure", "good_train:problem", "--budget", "40 products"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=here)
    assert found.returncode == 0, found.stderr
    assert "\x1b" not in found.stdout
    assert "the user's own words" in found.stderr
    assert "sharpness" in found.stdout
