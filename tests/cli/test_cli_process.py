"""Commands as a shell sees them: exit codes, streams, interrupts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steppe.harness import Store

TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
STEPPE = [sys.executable, "-c", "import sys; from steppe.cli import main; sys.exit(main())"]


def steppe(*arguments, cwd):
    words = [*STEPPE, *map(str, arguments)]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(TOY.read_text())
    return path


def test_a_file_of_ones_own(mine, tmp_path):
    found = steppe("run", "./mine.py", "--quick", "--workers", "1", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("6 means: holds.")
    assert found.stdout.rstrip().endswith(f"report: {Path('runs', 'toy', 'report.html')}")
    assert found.stderr.startswith("toy: 6 cells, 0 there already")
    assert "\x1b[" not in found.stdout + found.stderr
    assert (tmp_path / "runs" / "toy" / "report.html").is_file()


def test_a_crashed_cell_is_code_4_and_the_report_is_there(mine, tmp_path):
    mine.write_text(mine.read_text().replace("    mean = ", "    if seed:\n        1 / 0\n    mean = "))
    found = steppe("run", mine, "--quick", "--workers", "1", "--where", "n==8", cwd=tmp_path)
    assert found.returncode == 4, found.stderr
    assert "failed: n=8, seed=1, inputs=fair: ZeroDivisionError: division by zero" in found.stdout
    assert "again: steppe run " in found.stdout
    assert (tmp_path / "runs" / "toy" / "report.html").is_file()


def test_a_folder_that_cannot_be_written_is_code_5(tmp_path):
    (tmp_path / "file").touch()
    found = steppe("run", TOY, "--quick", "--out", "file/below", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (5, "")
    assert "choose another folder with --out" in found.stderr
    assert "Traceback" not in found.stderr


def test_two_runs_at_once_are_refused_with_code_5(tmp_path):
    with Store(tmp_path / "runs" / "toy"):
        found = steppe("run", TOY, "--quick", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (5, "")
    assert "another run is writing there" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_damaged_store_is_code_5_and_kept(tmp_path):
    (tmp_path / "study.db").write_bytes(b"SQLite format 3\x00" + os.urandom(5000))
    before = (tmp_path / "study.db").read_bytes()
    found = steppe("run", TOY, "--quick", "--out", tmp_path, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (5, "")
    assert "nothing was changed or deleted" in found.stderr
    assert (tmp_path / "study.db").read_bytes() == before


def test_an_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(mine, tmp_path):
    mine.write_text(
        mine.read_text().replace("    mean = ", "    import time; time.sleep(0.3 if n < 100 else 3)\n    mean = ")
    )
    command = [*STEPPE, "run", str(mine), "--quick", "--workers", "1"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    store = tmp_path / "runs" / "toy"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and finished(store) < 2:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (130, "")
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    kept = finished(store)
    assert 2 <= kept < 6
    planned = steppe("run", mine, "--quick", "--dry-run", cwd=tmp_path)
    assert f"6 cells, {6 - kept} to compute" in planned.stdout


def finished(store):
    if not (store / "study.db").is_file() or not (store / "asked.json").is_file():
        return 0
    with Store(store, read_only=True) as opened:
        return sum(status == "done" for status, _ in opened.statuses().values())


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    words = " ".join(f"'{word}'" for word in STEPPE)
    found = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words} rates --d 1,2,3 | head -n 1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    call = f"steppe.run({str(TOY)!r}, quick=True, workers=1, out='here')"
    script.write_text(f"import steppe\nfound = {call}\nprint(found.ok, found.report)\n")
    found = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["True", str(Path("here", "report.html"))]


def test_help_and_list_start_quickly(tmp_path):
    for arguments in (["--help"], ["list"]):
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            assert steppe(*arguments, cwd=tmp_path).returncode == 0
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 1.5, "0.3 s on a quiet machine; this only catches a heavy import"
