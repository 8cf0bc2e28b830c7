"""The engine over plain executors: the same bytes, the same typed failures, nothing left behind."""

import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import psutil
import pytest
from engine_toys import check_hangs, left, power, powers, results, serial, slow, swept, troubled
from harness_toys import toy

from steppe.core import ComputationError
from steppe.harness import Grid, Store, bench, run_cells

SMALL = Grid(d=(1, 2, 3), seed=range(4))


@pytest.fixture
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_every_executor_stack_and_order_gives_the_bytes_of_a_serial_loop(tmp_path, threads):
    study = toy(row=None, rows=powers, together=("d",), grid=SMALL)
    expected = serial(study)
    assert expected == serial(toy(row=power, grid=SMALL))
    shuffled = random.Random(0).sample(study.cells(), 12)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawned) as processes:
        ways = {
            "one worker": {"on": "local", "workers": 1},
            "two workers, three together": {"on": "local:2", "stack": 3},
            "four workers, whole groups, shuffled": {"on": "local", "workers": 4, "stack": None, "cells": shuffled},
            "threads": {"on": threads, "stack": 3},
            "processes, shuffled": {"on": processes, "cells": shuffled},
        }
        for name, options in ways.items():
            summary, records = swept(study, tmp_path / name, **options)
            assert (summary.done, summary.crashed) == (12, 0)
            assert results(records) == expected, name
            kinds = {record.provenance["engine"] for record in records.values()}
            assert kinds == {
                {"threads": "ThreadPoolExecutor", "processes, shuffled": "ProcessPoolExecutor"}.get(name, "local")
            }
            assert {record.provenance["threads"] for record in records.values()} == {1}


def test_a_stack_travels_together_and_without_one_only_what_is_missing_does(tmp_path):
    study = toy(row=None, rows=powers, together=("d",), grid=SMALL)
    swept(study, tmp_path, cells=[cell for cell in study.cells() if cell["seed"] == 0])
    _, records = swept(study, tmp_path, stack=2)
    assert {(r.cell["seed"] > 0, r.provenance["group"]) for r in records.values()} == {(False, 1), (True, 2), (True, 1)}
    _, whole = swept(study, tmp_path / "whole", stack=None)
    assert {record.provenance["group"] for record in whole.values()} == {4}


def test_hung_cells_end_with_their_stack_in_worker_processes(tmp_path):
    check_hangs("local", tmp_path)


def test_hung_cells_end_with_their_stack_in_threads(tmp_path, threads):
    check_hangs(threads, tmp_path)


def test_crashes_are_typed_on_any_executor(tmp_path, threads):
    study = troubled(tmp_path, "raises", "exits", "signal")
    _, records = swept(study, tmp_path / "out", on=threads, retries=2)
    by_kind = {record.cell["kind"]: record for record in records.values()}
    assert {kind: record.status for kind, record in by_kind.items()} == {
        "fine": "done",
        "raises": "failed",
        "exits": "killed",
        "signal": "killed",
    }
    assert "RuntimeError: this cell raises" in by_kind["raises"].error
    assert by_kind["raises"].attempts == 1
    assert by_kind["exits"].error == "the worker process ended without an answer (exit code 7), 3 times"
    assert by_kind["exits"].attempts == 3
    assert "exit code -11" in by_kind["signal"].error
    assert {"host", "cpu", "versions"} <= set(by_kind["exits"].provenance)


def test_retries_have_a_limit(tmp_path):
    for on in ("local", "threads"):
        with ThreadPoolExecutor(1) as pool:
            study = troubled(tmp_path, "exits")
            _, records = swept(study, tmp_path / on, on=pool if on == "threads" else on, workers=1, retries=0)
            assert {record.attempts for record in records.values()} == {1}


def test_a_large_study_travels_once_per_worker(tmp_path, threads, monkeypatch):
    ballast = os.urandom(100_000)

    def heavy(d, seed):
        return {"value": float(len(ballast)), "pid": 0}

    sizes = []
    serve = bench.serve

    def counted(request, shipped):
        sizes.append(len(shipped or b""))
        return serve(request, shipped)

    monkeypatch.setattr("steppe.harness.engine_executor.serve", counted)
    summary, _ = swept(toy(row=heavy, grid=Grid(d=1, seed=range(30))), tmp_path, on=threads)
    assert summary.done == 30
    assert sum(size > 0 for size in sizes) <= 4  # those that were on their way before the first answer
    assert sum(size == 0 for size in sizes) >= 30
    assert sum(thread.name == "steppe-retire" for thread in threading.enumerate()) <= 1  # not one per task


def test_a_broken_pool_reports_what_it_held_and_says_how_to_go_on(tmp_path):
    study = toy(row=slow, grid=Grid(d=1, seed=range(40)))
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))

    class Killer:
        def start(self, total, done, work):
            pass

        def advance(self, *words, **more):
            for process in dict(pool._processes or {}).values():
                process.kill()

        def finish(self):
            pass

    try:
        with Store(tmp_path) as store:
            with pytest.raises(ComputationError, match="finished cells are kept"):
                run_cells(study, study.cells(), store, on=pool, preload=(), progress=Killer())
            statuses = [status for status, _ in store.statuses().values()]
    finally:
        pool.shutdown()
    assert statuses.count("done") >= 1
    assert statuses.count("killed") >= 1
    summary, _ = swept(study, tmp_path)
    assert (summary.done, summary.reused) == (40, statuses.count("done"))


def test_workers_that_run_another_version_are_refused(tmp_path, threads, monkeypatch):
    told = bench.driver_facts
    monkeypatch.setattr("steppe.harness.engine_executor.driver_facts", lambda source: {**told(source), "steppe": "9.9"})
    with (
        Store(tmp_path) as store,
        pytest.raises(ComputationError, match=r"driver's steppe 9\.9, got .*install the same"),
    ):
        run_cells(toy(), toy().cells(), store, on=threads, preload=())


def test_other_sources_on_another_host_are_refused(monkeypatch):
    from steppe.harness import child, source_digest
    from steppe.harness.shipping import ship
    from steppe.studies import neural_shattering

    study = neural_shattering.STUDY
    driver = {**bench.driver_facts(source_digest(study)), "host": "another"}
    assert child._refusal(ship(study), driver) == ""
    assert "sources of `neural-shattering`" in child._refusal(ship(study), {**driver, "source": "0" * 64})
    assert child._refusal(ship(toy()), {**driver, "source": "0" * 64}) == "" or ship(toy())[:1] == b"n"


def test_an_interrupt_ends_what_runs_and_cancels_what_waits(tmp_path, threads):
    study = troubled(tmp_path, "locked", seeds=8)

    class Impatient:
        def start(self, total, done, work):
            pass

        def advance(self, *words, **more):
            raise KeyboardInterrupt

        def finish(self):
            pass

    start = time.monotonic()
    with Store(tmp_path / "out") as store, pytest.raises(KeyboardInterrupt, match="cells are kept"):
        run_cells(study, study.cells(), store, on=threads, preload=(), progress=Impatient())
    threads.shutdown()  # nothing is left that it would wait for
    assert time.monotonic() - start < 20
    assert left("harness.child") == []


def test_children_end_with_their_worker_and_an_idle_one_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_IDLE", 0.5)
    request = {
        "run": "r",
        "study": "s",
        "tasks": [[{"d": 1, "seed": 0}]],
        "deadline": None,
        "preload": [],
        "path": sys.path,
        "driver": bench.driver_facts(""),
    }
    from steppe.harness.shipping import ship

    answer = bench.serve(bench.msgspec.json.encode(request), ship(toy(row=slow)))
    assert b'"done"' in answer
    (child,) = left("harness.child")
    gone = psutil.wait_procs([child], timeout=10)[0]
    assert gone == [child]
    assert not [thread for thread in threading.enumerate() if thread.name == "steppe-retire" and not thread.daemon]


DRIVER = """
import sys, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from steppe.harness import AtMost, Control, Grid, Store, Study, run_cells

def row(seed):
    import ctypes, os
    open(sys.argv[1] + "/pids", "a").write(f"{os.getpid()} {os.getppid()}\\n")
    ctypes.PyDLL(None).sleep(60)  # no thread of this process can act meanwhile

CLAIM = AtMost("a", "", left="value", right=1000)
STUDY = Study(slug="scripted", title="", columns={"value": "1"}, grid=Grid(seed=range(4)), row=row,
              claims=[CLAIM], controls=[Control(AtMost("b", "", left="value", right=-1), "a", "sign")])
with Store(sys.argv[1]) as store:
    run_cells(STUDY, STUDY.cells(), store, on=POOL(2), preload=())
"""


@pytest.mark.parametrize("pool", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_killed_driver_leaves_no_process(tmp_path, pool):
    source = DRIVER.replace("POOL", pool).replace("sys.argv[1]", repr(str(tmp_path)))
    (tmp_path / "script.py").write_text(source)
    driver = subprocess.Popen([sys.executable, str(tmp_path / "script.py")])
    until = time.monotonic() + 60
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 4:
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    pids = {int(word) for word in (tmp_path / "pids").read_text().split()} - {os.getpid()}
    driver.kill()
    driver.wait()
    until = time.monotonic() + 2
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert alive(pids) == []


def alive(pids):
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
