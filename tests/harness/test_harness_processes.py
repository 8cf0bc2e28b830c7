"""What only real processes can show: scripts without a guard, standard input, kills, interrupts, orphans."""

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
from harness_toys import toy

from steppe.core import StoreBusyError
from steppe.harness import Grid, Store, load_rows, run_cells

HEAD = """
import sys
from steppe.harness import AtMost, Control, Grid, Store, Study, load_rows, run_cells
print("once")

def row(d, seed):
    {body}

CLAIM = AtMost("a", "", left="value", right=1000)
STUDY = Study(slug="scripted", title="", columns={{"value": "1"}}, grid=Grid(d=(1, 2), seed=range({seeds})), row=row,
              claims=[CLAIM], controls=[Control(AtMost("b", "", left="value", right=-1), "a", "sign")])
"""

REPORTING = HEAD.format(
    body="""import torch, os
    print("noise on standard output")
    return {"value": torch.get_num_threads() + 10 * int(os.environ["OMP_NUM_THREADS"]) + 100 * d}""",
    seeds=2,
) + textwrap.dedent("""
    with Store(sys.argv[1]) as store:
        run_cells(STUDY, STUDY.cells(), store, workers=2)
        print([row["value"] for row in load_rows(STUDY, STUDY.cells(), store)], "torch" in sys.modules)
""")

SLOW = HEAD.format(
    body="""import os, time
    open(f"{sys.argv[1]}/../pids", "a").write(f"{os.getpid()}\\n")
    time.sleep(0.15)
    return {"value": 1.0 * seed}""",
    seeds=20,
).replace("sys.argv[1]", "FOLDER") + textwrap.dedent("""
    FOLDER = sys.argv[1]
    with Store(FOLDER) as store:
        print(run_cells(STUDY, STUDY.cells(), store, workers=2, preload=()).reused, flush=True)
""")


def script(tmp_path, source):
    path = tmp_path / "script.py"
    path.write_text(source)
    return [sys.executable, str(path), str(tmp_path / "out")]


@pytest.mark.parametrize("way", ["script without a guard", "standard input"])
def test_it_runs_anywhere(tmp_path, way):
    command = script(tmp_path, REPORTING)
    stdin = None
    if way == "standard input":
        command, stdin = [sys.executable, "-", command[2]], REPORTING
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    # Workers neither ran the script again nor spoke on standard output; each had one thread; the driver had no torch.
    assert done.stdout.splitlines() == ["once", "[111, 111, 211, 211] False"]
    assert done.stderr.count("noise on standard output") == 4


def started(tmp_path):
    process = subprocess.Popen(script(tmp_path, SLOW), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while committed(tmp_path) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def committed(tmp_path):
    if not (tmp_path / "out" / "study.db").is_file():
        return 0
    try:
        with Store(tmp_path / "out", read_only=True) as store:
            return len(store.records())
    except Exception:  # the file is being made
        return 0


def workers(tmp_path):
    pids = {int(pid) for pid in (tmp_path / "pids").read_text().split()}
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_killed_driver_loses_nothing_committed_leaves_no_orphan_and_resumes(tmp_path):
    process = started(tmp_path)
    with pytest.raises(StoreBusyError):
        Store(tmp_path / "out")
    assert workers(tmp_path)
    before = committed(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(2)
    assert workers(tmp_path) == []
    kept = committed(tmp_path)
    assert before <= kept < 40
    calls = len((tmp_path / "pids").read_text().split())
    again = subprocess.run(script(tmp_path, SLOW), capture_output=True, text=True, timeout=120, check=True)
    assert again.stdout.splitlines() == ["once", str(kept)]
    assert committed(tmp_path) == 40
    assert len((tmp_path / "pids").read_text().split()) == calls + 40 - kept
    assert calls - kept <= 4  # at most the cells in flight were lost


def test_an_interrupt_keeps_rows_stops_workers_and_says_so(tmp_path):
    process = started(tmp_path)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode != 0
    kept = committed(tmp_path)
    assert f"KeyboardInterrupt: stopped: {kept} of 40 cells are kept in" in error
    assert "run the same command again" in error
    time.sleep(0.5)
    assert workers(tmp_path) == []


def killed_once(folder, d, seed):
    mark = f"{folder}/{d}-{seed}"
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": 1.0, "pid": 0}


def test_workers_killed_once_cost_one_retry_each(tmp_path):
    import functools

    study = toy(row=functools.partial(killed_once, str(tmp_path)), grid=Grid(d=1, seed=range(8)))
    with Store(tmp_path / "out") as store:
        summary = run_cells(study, study.cells(), store, workers=2, preload=())
        assert (summary.done, summary.crashed) == (8, 0)
        assert {record.attempts for record in store.records().values()} == {2}


FILE = """
import sibling_of_the_file
from steppe.harness import AtMost, Control, Grid, Slot, Study

SCALE = 2.0

class Net:
    def __init__(self, d):
        super().__init__()
        self.d = d

    def __call__(self):
        return SCALE * self.d * sibling_of_the_file.FACTOR

def row(d, net, parts):
    return {"value": parts["net"](d)()}

STUDY = Study(slug="filed", title="", columns={"value": "1"}, grid=Grid(d=(1, 2), net="mine"), row=row,
              slots={"net": Slot("(d) -> f", {"mine": Net})}, claims=[AtMost("a", "", left="value", right=1000)],
              controls=[Control(AtMost("b", "", left="value", right=-1), "a", "sign")])
"""


def test_a_study_from_a_users_file_travels_with_its_classes(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "sibling_of_the_file.py").write_text("FACTOR = 3")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = importlib.util.spec_from_file_location("_a_private_name", tmp_path / "mine.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_a_private_name", module)
    spec.loader.exec_module(module)
    with Store(tmp_path / "out") as store:
        run_cells(module.STUDY, module.STUDY.cells(), store, workers=1, preload=())
        rows = load_rows(module.STUDY, module.STUDY.cells(), store)
    assert [(row.status, row["value"]) for row in rows] == [("done", 6.0), ("done", 12.0)]
    sys.modules.pop("sibling_of_the_file", None)
