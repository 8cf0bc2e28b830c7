"""What a person sees who watches a sweep: progress with the worst so far, forecasts, stale rows computed again."""

import io
import json
import sys
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.cli.progress import Progress
from steppe.core import duration
from steppe.harness import Store

TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
pytestmark = pytest.mark.door


def told(capsys, *arguments):
    """Exit code, stdout, stderr."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# -- progress ---------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_tell_the_worst_when_it_is_new(capsys):
    now = [0.0]
    with Progress("toy", clock=lambda: now[0]) as progress:
        progress.start(100, 0, 100.0)
        for number in range(90):
            now[0] += 1.0
            status, reason = ("killed", "exit code 9") if number == 35 else ("done", "")
            progress.advance(status, f"seed={number}", 1.0, seconds=5.0 if number == 3 else 1.0, reason=reason)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "toy: 30 of 100, 1 min 10 s left; last: seed=29",
        "  slowest: 5.0 s, seed=3",
        "toy: 60 of 100, 1 failed, 40 s left; last: seed=59",
        "  killed: exit code 9 (seed=35)",
        "toy: 90 of 100, 1 failed, 10 s left; last: seed=89",
    ]


def test_a_terminal_shows_the_worst_below_the_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    now = [0.0]
    with Progress("toy", clock=lambda: now[0]) as progress:
        progress.start(4, 0, 40.0)
        for status, reason in (("failed", "ValueError: [bold]no[/bold] luck"), ("diverged", "too large"), ("done", "")):
            now[0] += 10.0
            label = f"status={status}, " + "long=1, " * 10
            progress.advance(status, label, 10.0, seconds=2.0, reason=reason)
    said = screen.getvalue()
    assert "3 of 4, 1 failed, 1 diverged, 10 s left" in said
    assert "failed: ValueError: [bold]no[/bold] luck (status=fai" in said
    assert "slowest: 2.0 s, status=failed" in said
    assert "…" in said  # cut at the edge of the screen


def test_a_run_tells_seconds_and_reasons_of_its_cells(capsys, tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    trouble = (
        "    if seed:\n        raise ValueError('no luck\\nat all')\n    import time; time.sleep(0.2)\n    mean = "
    )
    path.write_text(TOY.read_text().replace("    mean = ", trouble))
    monkeypatch.setattr("steppe.cli.progress._EVERY", 0.0)
    code, _, err = told(capsys, "run", path, "--quick", "--where", "n==8", "--workers", "1", "--out", tmp_path / "out")
    assert code == 4
    assert f"  to watch: {tmp_path / 'out' / 'report.html'}, which reloads itself" in err
    assert "  failed: at all (n=8, seed=1, inputs=fair)" in err
    assert "  slowest: 0.2 s, n=8, seed=0, inputs=fair" in err


# -- cost -------------------------------------------------------------------------------------------------------------


def test_show_cost_tells_time_memory_and_disk(capsys, tmp_path):
    out = tmp_path / "out"
    code, said, _ = told(capsys, "show", TOY, "--cost", "--quick", "--workers", "2", "--out", out)
    assert code == 0
    assert said.startswith("toy, quick size: 6 cells, 0 there already, 6 to compute by 2 workers\n")
    lines = dict(line.split(maxsplit=1) for line in said.splitlines() if line[:4] in ("time", "memo", "disk"))
    assert lines["time"].startswith("about ")
    assert ", between " in lines["time"]
    assert " for each worker, as in the probes" in lines["memory"]
    assert lines["disk"].endswith("MiB for the store")
    assert "not a confidence interval" in said
    assert not out.exists()


def test_show_cost_as_json_and_with_nothing_left(capsys, tmp_path):
    out = tmp_path / "out"
    assert told(capsys, "run", TOY, "--quick", "--where", "n==8", "--workers", "1", "--out", out)[0] == 0
    arguments = ("show", TOY, "--cost", "--quick", "--where", "n==8", "--out", out)
    code, said, _ = told(capsys, *arguments, "--json")
    assert code == 0
    found = json.loads(said)
    assert (found["cells"], found["there"], found["to_compute"], found["seconds"]) == (2, 2, 0, 0.0)
    assert "Nothing is left to compute." in told(capsys, *arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--quick"], "`--quick` goes with `--cost`"),
        (["--workers", "2"], "`--workers` goes with `--cost`"),
        (["--cost", "--quick", "--full"], "exclude each other"),
        (["--cost", "--workers", "0"], "`workers` must be ≥ 1"),
        (["--cost", "--where", "seed>99"], "no cell of toy is left"),
    ],
)
def test_misuse_of_show_is_one_message_and_code_2(capsys, arguments, says):
    code, out, err = told(capsys, "show", TOY, *arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_durations_have_the_digits_they_deserve():
    assert [duration(s) for s in (0.034, 8.13, 41.4, 490, 11100)] == [
        "0.034 s",
        "8.1 s",
        "41 s",
        "8 min 10 s",
        "3 h 05 min",
    ]


# -- stale rows -------------------------------------------------------------------------------------------------------


def facts(folder):
    """Cell → its first signs and when it was computed; and how many rows were replaced."""
    with Store(folder, read_only=True) as store:
        records = list(store.records().values())
        replaced = [record.cell for record in store.superseded()]
    return {r.cell["n"]: (len(json.loads(r.result)["path"]), r.provenance["ended"]) for r in records}, replaced


def test_refresh_stale_computes_exactly_the_rows_of_the_old_source(capsys, tmp_path):
    path, out = tmp_path / "mine.py", tmp_path / "out"
    path.write_text(TOY.read_text())
    common = ("--quick", "--workers", "1", "--out", out)
    assert told(capsys, "run", path, *common, "--where", "seed==0 and n==8")[0] == 0
    path.write_text(TOY.read_text().replace("signs[:3]", "signs[:2]"))
    code, _, said = told(capsys, "run", path, *common, "--where", "seed==0")
    assert code == 0
    before, replaced = facts(out)
    assert ({n: length for n, (length, _) in before.items()}, replaced) == ({8: 3, 32: 2, 128: 2}, [])

    command = f"steppe run {path} --quick --out {out} --refresh stale"
    assert f"1 of 3 rows were computed with other sources than today's; `{command}` computes them again" in said
    assert f"1 row was computed with an earlier version of the sources; <code>{command}</code>" in page(out)
    code, _, err = told(capsys, "judge", path, "--out", out)
    assert code == 0
    assert f"1 of 3 rows were computed with other sources than today's; `steppe run {path} --out {out} --refresh" in err
    assert f"steppe run {path} --out {out} --refresh stale" in page(out)

    assert told(capsys, "run", path, *common, "--where", "seed==0", "--refresh", "stale")[0] == 0
    after, replaced = facts(out)
    assert after[8][0] == 2
    assert {n: after[n] for n in (32, 128)} == {n: before[n] for n in (32, 128)}  # untouched
    assert [cell["n"] for cell in replaced] == [8]
    assert "All rows were computed with the present sources." in page(out)
    again = told(capsys, "run", path, *common, "--where", "seed==0", "--refresh", "stale")
    assert "all 3 cells are there already" in again[2]


def page(folder):
    return (folder / "report.html").read_text("utf-8")
