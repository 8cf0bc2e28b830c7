"""Commands in this process: what they print and the code they return."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from steppe.cli import main
from steppe.cli.progress import Progress
from steppe.harness import Store
from steppe.studies import catalog
from steppe.theory import rates

TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
COMMANDS = [
    "list", "show", "run", "judge", "diff", "export", "measure", "shatter", "compress", "check", "verify", "rates",
    "cite", "doctor",
]  # fmt: skip
pytestmark = pytest.mark.door


def told(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def told_json(capsys, *arguments):
    code, out, _ = told(capsys, *arguments, "--json")
    return code, json.loads(out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    assert main(["run", str(TOY), "--quick", "--workers", "1", "--out", str(folder)]) == 0
    return folder


def test_help_lists_every_command_and_the_exit_codes(capsys):
    code, out, _ = told(capsys, "--help")
    assert code == 0
    for command in COMMANDS:
        assert f" {command} " in out
    assert "4 a cell crashed without a valid row" in " ".join(out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    code, out, err = told(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: steppe {command}" in out


def test_version(capsys):
    from steppe import __version__

    assert told(capsys, "--version")[1].strip() == __version__


def test_cite_prints_steppe_and_the_paper_of_a_study(capsys):
    code, out, err = told(capsys, "cite")
    assert (code, err) == (0, "")
    assert out.startswith("@software{steppe,")
    code, found = told_json(capsys, "cite", "neural-shattering")
    assert code == 0
    assert [entry["key"] for entry in found] == ["steppe", "liang2025stable"]
    assert found[1]["bibtex"].startswith("@inproceedings{liang2025stable,")
    assert found[1]["bibtex"].endswith("}")


def test_cite_takes_a_foreign_study_at_its_own_word(capsys):
    code, found = told_json(capsys, "cite", TOY)
    assert code == 0
    assert [entry["key"] for entry in found] == ["steppe"]  # this one names no paper
    assert told(capsys, "cite", "nope")[0] == 2


def test_list(capsys):
    code, out, err = told(capsys, "list")
    assert (code, err) == (0, "")
    assert "neural-shattering" in out
    assert "\x1b[" not in out
    assert told_json(capsys, "list")[1][0]["slug"] == "neural-shattering"


def test_show_tells_sizes_slots_and_claims(capsys):
    code, out, _ = told(capsys, "show", TOY)
    assert code == 0
    assert "Does the mean of n signs shrink with n?" in out
    assert "the error is at most its bound" in out
    assert "0.4 for 0.5" in out
    _, said = told_json(capsys, "show", TOY)
    assert {size: value["cells"] for size, value in said["sizes"].items()} == {"quick": 6, "default": 12, "full": 12}
    assert said["slots"]["inputs"]["parts"] == ["fair"]
    assert [claim["kind"] for claim in said["claims"]] == ["theorem", "figure"]


def test_run_prints_the_headline_the_verdicts_and_the_report(capsys, folder):
    code, out, err = told(capsys, "run", TOY, "--quick", "--out", folder)
    assert code == 0
    assert out.startswith("6 means: holds.\n")
    assert "controls: 1 of 1 near misses rejected" in out
    assert f"report: {folder / 'report.html'}" in out
    assert err == "toy: all 6 cells are there already\n"


def test_run_as_json(capsys, folder):
    code, said = told_json(capsys, "run", TOY, "--quick", "--out", folder)
    assert code == 0
    assert said["rows"] == {"done": 6}
    assert said["ok"] is True
    assert {v["id"]: v["state"] for v in said["verdicts"]}["toy/bounded"] == "holds"
    assert said["controls"][0]["rejected"] is True


def test_dry_run_computes_nothing(capsys, folder):
    arguments = ("run", TOY, "--quick", "--out", folder, "--add", "seed=5", "--where", "n==8", "--dry-run")
    code, out, _ = told(capsys, *arguments)
    assert code == 0
    assert "toy: 3 cells, 1 to compute" in out
    assert "n=8, seed=5, inputs=fair" in out
    assert told_json(capsys, *arguments)[1]["to_compute"] == [{"n": 8, "seed": 5, "inputs": "fair"}]
    with Store(folder, read_only=True) as store:
        assert len(store.statuses()) == 6


def test_judge_tells_the_verdicts_by_its_code(capsys, folder, tmp_path):
    assert told(capsys, "judge", TOY, "--out", folder)[0] == 0
    false = tmp_path / "false.py"
    false.write_text(TOY.read_text().replace('right="bound"', "right=0.0"))
    code, out, _ = told(capsys, "judge", false, "--out", folder)
    assert code == 1
    assert "violated" in out
    powerless = tmp_path / "powerless.py"
    powerless.write_text(TOY.read_text().replace('0.4 / r["n"]', "9.0"))
    assert told(capsys, "judge", powerless, "--out", folder)[0] == 3
    assert told(capsys, "run", powerless, "--quick", "--out", folder)[0] == 0
    assert told(capsys, "run", powerless, "--quick", "--out", folder, "--strict")[0] == 3
    assert told(capsys, "run", false, "--quick", "--out", folder, "--strict")[0] == 1


def test_judge_says_when_rows_are_stale(capsys, folder, tmp_path):
    changed = tmp_path / "changed.py"
    changed.write_text(TOY.read_text().replace("signs[:3]", "signs[:2]"))
    code, _, err = told(capsys, "judge", changed, "--out", folder)
    assert code == 0
    assert "6 of 6 rows were computed with other sources than today's" in err


def test_export_writes_beside_the_store(capsys, folder):
    code, out, _ = told(capsys, "export", TOY, "--out", folder)
    assert code == 0
    assert (folder / "toy.csv").read_text().count("\n") == 7
    assert str(folder / "toy.csv") in out


def test_rates_are_those_of_theory(capsys):
    code, said = told_json(capsys, "rates", "--d", "2,5", "--alpha", "0.3")
    assert code == 0
    found = {(line["quantity"], line["d"]): line["exponent"] for line in said}
    assert found["flat, upper", 5] == pytest.approx(1 / 14)
    assert found["radial, lower", 5] == pytest.approx(float(rates.radial_lower(5, 0.3)))
    _, out, _ = told(capsys, "rates", "--d", "2,5", "--alpha", "0.3")
    assert "0.0714" in out
    assert "flat, upper: Liang, Qiao, Wang, Parhi (NeurIPS 2025), Theorems 3.5 and 3.6 (theorem)" in out


def test_doctor_finds_a_working_installation(capsys, tmp_path):
    code, said = told_json(capsys, "doctor", "--out", tmp_path / "runs")
    assert code == 0, [finding for finding in said if finding["state"] == "broken"]
    names = [finding["name"] for finding in said]
    assert {
        "steppe",
        "Python",
        "torch",
        "torch build",
        "CPU",
        "free disk",
        "store",
        "pandas",
        "browser",
        "rooms",
    } <= set(names)
    assert list(tmp_path.iterdir()) == []
    code, out, _ = told(capsys, "doctor", "--out", tmp_path / "runs")
    assert out.rstrip().endswith("steppe works here.")


@pytest.fixture
def network_and_data(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    w, b, v = rng.normal(size=(5, 3)), rng.normal(size=5) * 0.2, rng.normal(size=(1, 5)) * 0.3
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    safetensors.save_file({"w": w, "b": b, "v": v}, tmp_path / "named.safetensors")
    state = {"0.weight": w, "0.bias": -b, "2.weight": v, "2.bias": np.zeros(1)}
    safetensors.save_file(state, tmp_path / "sequential.safetensors")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    lines = [["a", "b", "c", "y"], *np.column_stack([x, y]).tolist()]
    (tmp_path / "data.csv").write_text("\n".join(",".join(map(repr, line)) for line in lines).replace("'", ""))
    return tmp_path


def test_check_reads_every_form_of_the_same_network(capsys, network_and_data):
    said = [
        told_json(capsys, "check", network_and_data / network, network_and_data / data)
        for network in ("named.safetensors", "sequential.safetensors")
        for data in ("data.npz", "data.csv")
    ]
    assert all(found == said[0] for found in said)
    code, checks = said[0]
    assert code == 0
    assert [check["holds"] for check in checks] == [True] * len(checks)
    assert checks[0]["name"] == "flatness"
    assert checks[0]["slack"] == pytest.approx(checks[0]["right"] - checks[0]["left"])


def test_check_says_when_a_step_is_too_large_for_its_theorem(capsys, network_and_data):
    files = (network_and_data / "named.safetensors", network_and_data / "data.csv")
    assert told(capsys, "check", *files, "--step-size", "0.001")[0] == 0
    code, out, _ = told(capsys, "check", *files, "--step-size", "1000")
    assert code == 3
    assert "does not apply" in out
    assert "λ_max ≤ 2/η: violated" in out


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("data.csv", "1,2,3,4\n1,2,x,4\n", "line 2: could not convert string to float: 'x'"),
        ("data.csv", "1,2,3,4\n1,2,3\n", "line 2: 3 fields, expected 4"),
        ("data.csv", "a,b\n", "must have at least one line of numbers"),
        ("data.csv", "1,nan,3,4\n", "finite"),
        ("data.csv", "1,2\n3,4\n", "[n, 3]"),
        ("data.npz", "no zip", "cannot be read as .npz"),
        ("data.txt", "1 2", "`data` must be an .npz or a .csv"),
        ("named.safetensors", "no tensors at all", "is not a safetensors file"),
    ],
)
def test_files_that_cannot_be_checked(capsys, network_and_data, name, content, says):
    (network_and_data / name).write_text(content)
    data = network_and_data / (name if name.startswith("data") else "data.npz")
    code, out, err = told(capsys, "check", network_and_data / "named.safetensors", data)
    assert (code, out) == (2, "")
    assert says in err


def test_tensors_of_another_network_are_refused_by_name(capsys, network_and_data):
    from safetensors.numpy import save_file

    save_file({"lm_head": np.zeros((2, 2))}, network_and_data / "named.safetensors")
    code, _, err = told(capsys, "check", network_and_data / "named.safetensors", network_and_data / "data.npz")
    assert code == 2
    assert "must hold w, b, v" in err
    assert "got lm_head" in err
    save_file({"w": np.zeros((2, 2), dtype=np.int64)}, network_and_data / "named.safetensors")
    _, _, err = told(capsys, "check", network_and_data / "named.safetensors", network_and_data / "data.npz")
    assert "`w`" in err
    assert "must be one of F64, F32, F16, got I64" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rn"], 'Did you mean "run"?'),
        (["run"], "requires an argument"),
        (["run", "neural-shattering", "--qick"], "Did you mean --quick?"),
        (["run", "neural-shatering"], "did you mean 'neural-shattering'"),
        (["show", "neural-shatering"], "did you mean 'neural-shattering'"),
        (["run", TOY, "--set", "sed=3"], "did you mean 'seed'"),
        (["run", TOY, "--set", "seed"], "`--set` must be axis=value"),
        (["run", TOY, "--add", "width=3"], "unknown `axis` 'width'"),
        (["run", TOY, "--where", "seed<"], "where"),
        (["run", TOY, "--where", "seed>99"], "no cell of toy is left"),
        (["run", TOY, "--workers", "0"], "`workers` must be ≥ 1, got 0"),
        (["run", TOY, "--workers", "two"], 'unable to convert "two" into int'),
        (["run", TOY, "--on", "cloud"], "`on` must be 'local'"),
        (["run", TOY, "--quick", "--full"], "exclude each other"),
        (["run", "./nothing.py"], "is no file"),
        (["rates", "--d", "0"], "`d` must be ≥ 1, got 0"),
        (["rates", "--alpha", "-1"], "alpha"),
        (["check", "a.safetensors", "b.npz"], "is no file"),
    ],
)
def test_misuse_is_one_message_and_code_2(capsys, arguments, says):
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("steppe: ")
    assert "Traceback" not in err


def test_a_mistake_of_ours_is_not_mistaken_for_a_verdict(capsys, monkeypatch):
    monkeypatch.setattr(catalog, "entry_points", lambda group: 1 / 0)
    code, out, err = told(capsys, "list")
    assert (code, out) == (5, "")
    assert "ZeroDivisionError" in err
    assert "please report it" in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_there_is_a_bar_with_counts_and_time(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    now = [0.0]
    with Progress("toy", clock=lambda: now[0]) as progress:
        progress.start(4, 1, 30.0)
        now[0] = 10.0
        progress.advance("failed", "seed=0", 10.0)
        now[0] = 20.0
        progress.advance("done", "seed=1", 10.0)
    said = screen.getvalue()
    assert "toy" in said
    assert "3 of 4, 1 failed, 10 s left" in said


def test_elsewhere_there_is_a_plain_line_every_half_minute(capsys):
    now = [0.0]
    with Progress("toy", clock=lambda: now[0]) as progress:
        progress.start(100, 0, 100.0)
        for _ in range(90):
            now[0] += 1.0
            progress.advance("done", "seed=0", 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "toy: 100 cells, 0 there already"
    assert lines[1:] == [
        "toy: 30 of 100, 1 min 10 s left; last: seed=0",
        "toy: 60 of 100, 40 s left; last: seed=0",
        "toy: 90 of 100, 10 s left; last: seed=0",
    ]
