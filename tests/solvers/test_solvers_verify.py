"""`steppe verify`, and the thirty lines of NumPy that the pages print."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from steppe.cli import main
from steppe.solvers import Maximum, Solution, VariationProblem, certify
from steppe.solvers.exact_check import largest_correlation

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytestmark = pytest.mark.door


def exactly(problem, solution):
    rho = problem.rho(problem.evaluate(solution))
    value = largest_correlation(problem.X, rho, bias=problem.bias)
    return certify(problem, solution, Maximum(value, solution.u[0], value, "exact", solution.u[:0]))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate (of a network that is not the best one: its gap is honest) with its data."""
    folder = tmp_path_factory.mktemp("verify")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 2))
    y = np.maximum(X[:, 0], 0.0) + 0.01 * rng.normal(size=25)
    problem = VariationProblem(X, y, alpha=0.001)
    exactly(problem, Solution(np.array([[1.0, 0.0, 0.0]]), np.array([0.9]), np.array([0.05, 0.0, 0.0]))).save(
        folder / "c.json"
    )
    np.savetxt(folder / "data.csv", np.column_stack([X, y]), delimiter=",", fmt="%.17g")
    np.savez(folder / "data.npz", x=X, y=y)
    np.savez(folder / "weighted.npz", x=X, y=y, sample_weight=np.full(25, 3.0))
    np.savez(folder / "flipped.npz", x=X, y=np.where(np.arange(25) == int(np.argmax(y)), -y, y))
    np.savez(folder / "scaled.npz", x=100 * X, y=y)
    np.savez(folder / "fewer.npz", x=X[1:], y=y[1:])
    np.savez(folder / "objects.npz", x=X, y=y, sample_weight=np.array([None] * 25))
    return folder


@pytest.mark.parametrize("data", ["data.csv", "data.npz", "weighted.npz"])
def test_data_of_the_fit_are_verified(files, data, capsys):
    assert main(["verify", str(files / "c.json"), str(files / data)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("verified: No ReLU network of any width has an objective more than")
    assert "(exact" in out


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("flipped.npz", "other data, labels"),
        ("scaled.npz", "did you mean the transformed X"),
        ("fewer.npz", "24 samples"),
    ],
)
def test_other_data_are_refused_with_the_reason(files, data, words, capsys):
    assert main(["verify", str(files / "c.json"), str(files / data)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("refused")
    assert words in out
    assert main(["verify", str(files / "c.json"), str(files / data), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verified"] is False


@pytest.mark.parametrize(
    ("certificate", "data"), [("none.json", "data.npz"), ("c.json", "none.npz"), ("data.csv", "data.npz")]
)
def test_misuse_has_its_own_code(files, certificate, data, capsys):
    assert main(["verify", str(files / certificate), str(files / data)]) == 2
    assert "pass a" in capsys.readouterr().err


def test_weights_that_are_no_numbers_are_misuse(files, capsys):
    assert main(["verify", str(files / "c.json"), str(files / "objects.npz")]) == 2
    assert "sample_weight" in capsys.readouterr().err


def thirty_lines(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.search(r"```python\n(import json\n.*?    return bool\(.*?\n)", text, re.DOTALL).group(1)


def test_both_pages_print_the_same_thirty_lines():
    lines = thirty_lines("theory/certificates.md")
    assert lines == thirty_lines("howto/certified-network.md")
    assert sum(bool(line.strip()) for line in lines.splitlines()) <= 30
    assert "steppe" not in lines


def test_the_thirty_lines_verify_and_refuse(files):
    names = {}
    exec(compile(thirty_lines("theory/certificates.md"), "thirty lines", "exec"), names)
    with np.load(files / "data.npz") as data:
        X, y = data["x"], data["y"]
    assert names["verify"](files / "c.json", X, y)
    theta = np.array(json.loads((files / "c.json").read_text())["dual"]["theta"])[:, 0]
    assert names["largest"](X, theta) == pytest.approx(largest_correlation(X, theta, bias="free"), rel=1e-12)
    for i in range(25):
        wrong = y.copy()
        wrong[i] = -wrong[i] + np.sign(y[i]) * 0.1
        assert not names["verify"](files / "c.json", X, wrong)
    forged = json.loads((files / "c.json").read_text())
    forged["dual"]["theta"] = (1.001 * np.array(forged["dual"]["theta"])).tolist()
    (files / "forged.json").write_text(json.dumps(forged))
    assert not names["verify"](files / "forged.json", X, y)
