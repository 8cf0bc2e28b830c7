"""Dask, Ray and SLURM (through submitit's stand-in on this machine): the real packages, on loopback."""

import functools
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from engine_toys import Saboteur, check_hangs, left, power, results, serial, slow, swept, trouble
from harness_toys import toy

from steppe.core import ComputationError
from steppe.harness import Grid, Store, canonical, compute, run_cells
from steppe.harness.engine_slurm import SlurmExecutor
from steppe.workflow import load_study

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'steppe[dask]'")
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'steppe[ray]'")
needs_slurm = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="pip install 'steppe[slurm]'")
WORKER = {"dask": "multiprocessing-fork", "ray": "ray::"}
ENGINES = [pytest.param("dask", marks=needs_dask), pytest.param("ray", marks=needs_ray)]


def mixed(folder: str, kind: str, seed: int) -> dict:
    return power(3, seed) if kind == "fine" else trouble(folder, kind, seed)


def fatal_once(folder: str, d: int, seed: int) -> dict:
    """One cell kills the job that computes it, the first time."""
    struck = Path(folder, "struck")
    if seed == 7 and not struck.exists():
        struck.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return slow(d, seed)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_JOBS", str(tmp_path / "jobs"))
    return tmp_path / "jobs"


@pytest.mark.parametrize("on", ENGINES)
def test_a_sweep_with_a_killed_worker_a_crash_and_a_hung_call_in_c(tmp_path, on):
    grid = Grid(kind="fine", seed=range(20)) + Grid(kind=("exits", "raises", "locked"), seed=0)
    study = toy(row=functools.partial(mixed, str(tmp_path)), grid=grid)
    expected = serial(toy(row=power, grid=Grid(d=3, seed=range(20))))
    saboteur = Saboteur(WORKER[on], (2,))
    summary, records = swept(study, tmp_path / "out", on=on, workers=2, deadline=1.0, retries=2, progress=saboteur)
    assert len(saboteur.killed) == 1
    fine = {record.cell["seed"]: record for record in records.values() if record.cell["kind"] == "fine"}
    assert (summary.done, summary.failed, summary.killed, summary.timeout) == (20, 1, 1, 1)
    for seed, record in fine.items():
        assert record.result == expected[canonical({"d": 3, "seed": seed})]
    other = {record.cell["kind"]: record for record in records.values() if record.cell["kind"] != "fine"}
    assert {kind: record.status for kind, record in other.items()} == {
        "exits": "killed",
        "raises": "failed",
        "locked": "timeout",
    }
    assert "in trouble" in other["locked"].error  # the stack of a call in C that held the interpreter
    assert "exit code 7" in other["exits"].error
    for record in records.values():
        assert record.provenance["engine"] == on
        assert {"host", "cpu", "versions", "threads", "peak_memory_mib"} <= set(
            record.provenance
        ) or record.result is None
    assert left("harness.child") == []
    assert left(WORKER[on]) == [] or on == "dask"  # Python's own resource tracker stays until this process ends


@needs_slurm
def test_jobs_are_bounded_and_typed_and_their_folder_goes(tmp_path, jobs, monkeypatch):
    monkeypatch.setattr("steppe.harness.engine_slurm._ROUNDS", 2)
    submitted = []
    submit = SlurmExecutor.submit
    monkeypatch.setattr(SlurmExecutor, "submit", lambda self, *a: submitted.append(len(self._jobs)) or submit(self, *a))
    grid = Grid(kind="fine", seed=range(20)) + Grid(kind=("exits", "raises", "locked"), seed=0)
    study = toy(row=functools.partial(mixed, str(tmp_path)), grid=grid)
    expected = serial(toy(row=power, grid=Grid(d=3, seed=range(20))))
    summary, records = swept(study, tmp_path / "out", on="slurm:local", workers=2, deadline=1.0, retries=0)
    assert (summary.done, summary.failed, summary.killed, summary.timeout) == (20, 1, 1, 1)
    assert max(submitted) < 2  # when a job was handed in, at most one other was there
    assert len(submitted) == 4  # two rounds
    for record in records.values():
        assert record.provenance["engine"] == "slurm"
        if record.cell["kind"] == "fine":
            assert record.result == expected[canonical({"d": 3, "seed": record.cell["seed"]})]
    assert list(jobs.iterdir()) == []


@pytest.mark.slow
@needs_slurm
def test_a_lost_job_costs_one_try_and_its_logs_are_kept(tmp_path, jobs):
    study = toy(row=functools.partial(fatal_once, str(tmp_path)), grid=Grid(d=1, seed=range(24)))
    summary, records = swept(study, tmp_path / "out", on="slurm:local", workers=2)
    assert summary.done == 24
    assert {record.attempts for record in records.values()} == {1, 2}
    assert list(jobs.glob("*/*_log.err"))


@needs_slurm
def test_a_folder_of_jobs_that_cannot_be_made_is_said(tmp_path, jobs):
    jobs.write_text("a file")
    with Store(tmp_path / "out") as store, pytest.raises(ComputationError, match="set STEPPE_JOBS to one that all"):
        run_cells(toy(), toy().cells(), store, on="slurm:local", preload=())


@pytest.mark.slow
@needs_dask
@needs_ray
@needs_slurm
def test_cells_of_the_paper_give_the_same_bytes_on_every_engine(tmp_path, jobs):
    study = load_study("neural-shattering")
    condition = "experiment=='sweep' and n<=64 and d==1 and seed<2"
    cells = study.cells("quick", where=condition)
    groups = study.groups(cells)
    expected = {canonical(found.cell): found.result for group in groups for found in compute(study, group)}
    assert len(groups) < len(cells) == len(expected)
    ways = [
        {"on": "local:1"},
        {"on": "local:2", "stack": None},
        {"on": "local:4", "stack": 2, "cells": cells[::-1]},
        {"on": "dask", "workers": 2},
        {"on": "ray", "workers": 2, "cells": cells[::-1]},
        {"on": "slurm:local", "workers": 2},
    ]
    for number, options in enumerate(ways):
        _, records = swept(study, tmp_path / str(number), **{"cells": cells, "preload": ("torch",), **options})
        assert results(records) == expected, options
        assert {record.provenance["threads"] for record in records.values()} == {1}


GUARDLESS = """
import sys
from steppe.harness import AtMost, Control, Grid, Store, Study, run_cells
print("once")

def row(seed):
    print("noise on standard output")
    return {"value": seed / 7}

CLAIM = AtMost("a", "", left="value", right=1000)
STUDY = Study(slug="scripted", title="", columns={"value": "1"}, grid=Grid(seed=range(4)), row=row,
              claims=[CLAIM], controls=[Control(AtMost("b", "", left="value", right=-1), "a", "sign")])
with Store(sys.argv[1]) as store:
    print(run_cells(STUDY, STUDY.cells(), store, on=sys.argv[2], workers=1, preload=()).done)
"""


@needs_dask
def test_a_script_without_a_guard_runs_on_dask(tmp_path):
    (tmp_path / "script.py").write_text(GUARDLESS)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out"), "dask"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "4"]


@needs_dask
def test_a_scheduler_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("steppe.harness.engine_dask._PATIENCE", 1.0)
    with Store(tmp_path) as store, pytest.raises(ComputationError, match="start it with `dask scheduler`"):
        run_cells(toy(), toy().cells(), store, on="dask://127.0.0.1:9", preload=())


def command_line(*words):
    return subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path):
    """Scheduler and three workers as a user starts them, with two threads each: the address and the processes."""
    file = tmp_path / "scheduler.json"
    place = ("--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    running = [command_line("distributed.cli.dask_scheduler", *place)]
    try:
        until = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert time.monotonic() < until
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = ("distributed.cli.dask_worker", address, "--nthreads", "2", "--no-dashboard")
        running += [command_line(*worker) for _ in range(3)]
        yield address.replace("tcp", "dask"), running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)


class Lose:
    """Ends a whole node, its nanny and all that runs there, some cells after the run began."""

    def __init__(self, *nodes, at):
        self.nodes, self.at, self.heard = list(nodes), at, 0

    def start(self, total, done, work):
        pass

    def advance(self, *words, **more):
        self.heard += 1
        if self.heard in self.at:
            node = psutil.Process(self.nodes.pop().pid)
            for process in [node, *node.children(recursive=True)]:
                process.kill()

    def finish(self):
        pass


@pytest.mark.fire
@needs_dask
def test_a_dask_cluster_elsewhere_loses_two_nodes_and_no_cell(tmp_path, cluster):
    address, (_, *nodes) = cluster
    study = toy(row=slow, grid=Grid(d=range(1, 21), seed=range(10)))
    loser = Lose(*nodes, at=(20, 60))
    summary, records = swept(study, tmp_path / "out", on=address, progress=loser)
    assert (summary.done, summary.crashed, len(loser.nodes)) == (200, 0, 1)
    assert results(records) == serial(study)


@pytest.mark.fire
@needs_dask
def test_a_scheduler_that_dies_ends_the_run_with_what_is_finished(tmp_path, cluster):
    address, (scheduler, *_) = cluster
    study = toy(row=slow, grid=Grid(d=range(1, 21), seed=range(10)))
    with Store(tmp_path / "out") as store:
        with pytest.raises(ComputationError, match="the same command goes on"):
            run_cells(study, study.cells(), store, on=address, preload=(), progress=Lose(scheduler, at=(20,)))
        assert 20 <= len(store.statuses()) < 200
    summary, _ = swept(study, tmp_path / "out", on="local:2")
    assert (summary.done, summary.reused >= 20) == (200, True)


@pytest.mark.fire
@pytest.mark.parametrize("on", ENGINES)
def test_two_hundred_cells_survive_kills_of_workers(tmp_path, on):
    study = toy(row=slow, grid=Grid(d=range(1, 21), seed=range(10)))
    saboteur = Saboteur(WORKER[on], (20, 70, 120))
    summary, records = swept(study, tmp_path, on=on, workers=2, retries=3, progress=saboteur)
    assert (summary.done, summary.crashed, len(saboteur.killed)) == (200, 0, 3)
    assert results(records) == serial(study)


@pytest.mark.fire
@pytest.mark.parametrize("on", [*ENGINES, pytest.param("slurm:local", marks=needs_slurm)])
def test_hung_cells_end_with_their_stack_on_clusters(tmp_path, jobs, on):
    check_hangs(on, tmp_path)


@pytest.mark.fire
@needs_ray
def test_a_ray_cluster_loses_a_node_and_no_cell(tmp_path):
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)]
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        study = toy(row=slow, grid=Grid(d=range(1, 21), seed=range(10)))

        class Lose:
            heard = 0

            def start(self, total, done, work):
                pass

            def advance(self, *words, **more):
                self.heard += 1
                if self.heard == 30:
                    cluster.remove_node(nodes.pop(), allow_graceful=False)

            def finish(self):
                pass

        summary, _ = swept(study, tmp_path, on="ray", retries=3, progress=Lose())
        assert (summary.done, summary.crashed) == (200, 0)
        assert ray.is_initialized()  # it was the caller's
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.fire
@needs_ray
def test_a_ray_cluster_elsewhere_computes_for_a_client_with_its_token(tmp_path):
    # What Ray left in this process's environment is not meant for another cluster; and its client server forks while
    # gRPC has threads at work, which ends the child now and then if gRPC tries to follow.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    clean["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    environment = {**clean, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    port, client = free_ports(2)
    here = ("--node-ip-address=127.0.0.1", f"--port={port}", f"--ray-client-server-port={client}")
    words = ("start", "--head", "--block", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", *here)
    command = [str(Path(sys.executable).with_name("ray")), *words]
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not listens(client):
            assert head.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        (tmp_path / "script.py").write_text(GUARDLESS)
        driver = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out"), f"ray://127.0.0.1:{client}"]
        done = subprocess.run(driver, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["once", "4"]
    finally:
        head.terminate()
        head.wait(timeout=60)
        note = Path("/tmp/ray/ray_current_cluster")  # what `ray stop` would remove
        if note.exists() and note.read_text().strip().endswith(f":{port}"):
            note.unlink()


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.fire
@pytest.mark.parametrize("on", ENGINES)
def test_a_killed_driver_ends_the_workers_that_it_started(tmp_path, on):
    source = GUARDLESS.replace(
        "    return",
        f"    open({str(tmp_path / 'pids')!r}, 'a').write('x')\n    import time; time.sleep(60)\n    return",
    )
    (tmp_path / "script.py").write_text(source)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out"), on]
    driver = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 90
    while not Path(tmp_path / "pids").exists():
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    below = psutil.Process(driver.pid).children(recursive=True)
    computing = [process for process in below if "harness.child" in " ".join(process.cmdline())]
    assert computing
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(computing, timeout=10)
    assert alive == []
    _, alive = psutil.wait_procs(below, timeout=100)  # two of Ray's agents take about a minute
    assert [process.name() for process in alive] == []
