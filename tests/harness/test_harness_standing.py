"""What a run tells its listener, and what a listener that keeps count makes of it."""

import threading

import pytest
from harness_toys import hangs, toy, troubled

from steppe.harness import Both, Crash, Grid, Progress, Slow, Standing, Store, Watch, load_rows, reason_of, run_cells


class Ear:
    def __init__(self):
        self.heard = []

    def start(self, total, done, work):
        self.heard.append(("start", total, done, work))

    def advance(self, status, label, work, *, seconds=None, reason=""):
        self.heard.append((status, label, seconds, reason))

    def finish(self):
        self.heard.append("finish")


def test_a_watch_keeps_the_worst():
    now = [0.0]
    watch = Watch(lambda: now[0])
    assert watch.standing == Standing()
    watch.start(10, 2, 80.0)
    for status, seconds in (("done", 1.0), ("failed", 4.0), ("diverged", 2.0), ("killed", None)):
        now[0] += 5.0
        watch.advance(status, f"cell {status}", 10.0, seconds=seconds, reason=f"why {status}")
    watch.finish()
    assert watch.standing == Standing(
        total=10,
        ended=6,
        computed=4,
        failed=2,
        diverged=1,
        seconds_left=20.0,
        crash=Crash(label="cell killed", status="killed", reason="why killed"),
        slowest=Slow(label="cell failed", seconds=4.0),
    )


def test_a_watch_may_be_asked_while_cells_end():
    watch, stop, seen = Watch(), threading.Event(), []

    def ask():
        while not stop.is_set():
            standing = watch.standing
            seen.append((standing.ended, standing.failed))

    asking = threading.Thread(target=ask)
    watch.start(20_000, 0, 20_000.0)
    asking.start()
    for _ in range(20_000):
        watch.advance("failed", "cell", 1.0, seconds=1.0)
    stop.set()
    asking.join()
    assert all(ended == failed for ended, failed in seen)
    assert watch.standing.ended == 20_000


def test_two_listeners_hear_the_same():
    first, second = Ear(), Ear()
    both = Both(first, second)
    assert isinstance(both, Progress)
    both.start(2, 1, 3.0)
    both.advance("done", "a=1", 1.0, seconds=2.0, reason="r")
    both.finish()
    assert first.heard == second.heard == [("start", 2, 1, 3.0), ("done", "a=1", 2.0, "r"), "finish"]


def test_a_run_tells_seconds_and_reasons(tmp_path):
    ear = Ear()
    study = toy(row=troubled, grid=Grid(d=1, seed=range(4)))
    with Store(tmp_path) as store:
        run_cells(study, study.cells(), store, workers=1, progress=ear, preload=(), retries=0)
    said = {label: (status, seconds, reason) for status, label, seconds, reason in ear.heard[1:-1]}
    assert said["d=1, seed=0"][0] == "done"
    assert said["d=1, seed=0"][1] >= 0.0
    assert said["d=1, seed=0"][2] == ""
    assert said["d=1, seed=1"][2] == "RuntimeError: seed 1 always raises"
    assert said["d=1, seed=2"][::2] == ("diverged", "loss above 1e10")
    status, seconds, reason = said["d=1, seed=3"]
    assert (status, seconds) == ("killed", None)
    assert "exit code 7" in reason


def test_a_deadline_says_where_the_cell_stood(tmp_path):
    ear = Ear()
    study = toy(row=hangs, grid=Grid(d=1, seed=1))
    with Store(tmp_path) as store:
        run_cells(study, study.cells(), store, workers=1, progress=ear, preload=(), deadline=1)
        rows = load_rows(study, study.cells(), store)
    (status, _, seconds, reason) = ear.heard[1]
    assert status == "timeout"
    assert seconds is None or seconds >= 1
    assert reason == rows[0].reason
    assert "in hangs" in reason
    assert "harness_toys.py" in reason


TRACE = """Timeout (0:00:02)!
Thread 0x01 (most recent call first):
  File "watch.py", line 1 in _watch
Thread 0x02 [worker] (most recent call first):
  File "study.py", line 7 in row
  File "outcomes.py", line 3 in compute
Thread 0x03 (most recent call first):
  File "selectors.py", line 9 in select
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, ""),
        ("", ""),
        ("loss above 1e10", "loss above 1e10"),
        ("Traceback:\n  File x\nValueError: no\n\n", "ValueError: no"),
        (TRACE, 'Timeout (0:00:02)! It stood at File "study.py", line 7 in row'),
        (TRACE.replace("outcomes", "other"), 'Timeout (0:00:02)! It stood at File "selectors.py", line 9 in select'),
        ("Timeout (0:00:02)!", "Timeout (0:00:02)!"),
    ],
)
def test_a_reason_is_one_line(error, reason):
    assert reason_of(error) == reason
