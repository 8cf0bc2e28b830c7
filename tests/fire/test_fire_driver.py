"""Drivers killed at random instants: nothing acknowledged is lost, at most the cells in flight are repeated."""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from fire_cells import lines, marked, value_of

from steppe.core import StoreBusyError
from steppe.harness import Store, canonical

HERE = Path(__file__).parent
WORKERS = 2

DRIVER = """
import os, sys
sys.path.insert(0, {here!r})
import fire_cells
from steppe.harness import Store, run_cells

FOLDER, CELLS, WORKERS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Listener:
    def start(self, *_, **__):
        self.log = os.open(FOLDER + "/acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def advance(self, status, label, *_, **__):
        os.write(self.log, f"{{label}}:{{status}}\\n".encode())
        os.fsync(self.log)

    def finish(self):
        pass


one = fire_cells.study(getattr(fire_cells, sys.argv[4]), FOLDER, CELLS)
with Store(FOLDER + "/out") as store:
    print(run_cells(one, one.cells(), store, workers=WORKERS, preload=(), progress=Listener()).computed)
"""


class Drivers:
    """Drivers of one sweep, one after the other."""

    def __init__(self, folder, cells, row="slow"):
        self.folder, self.cells, self.row = folder, cells, row
        self.mark = f"fire-{uuid.uuid4().hex}"
        self.script = folder / "driver.py"
        self.script.write_text(DRIVER.format(here=str(HERE)))

    def start(self, seconds):
        environment = {**os.environ, "FIRE_MARK": self.mark, "FIRE_SECONDS": str(seconds)}
        command = [sys.executable, str(self.script), str(self.folder), str(self.cells), str(WORKERS), self.row]
        with open(self.folder / "said", "w") as said:
            return subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)

    def begun(self):
        return len(lines(self.folder / "started"))

    def wait_for_a_cell(self, before):
        begin = time.monotonic()
        while self.begun() <= before:
            assert time.monotonic() - begin < 60, (self.folder / "said").read_text()
            time.sleep(0.02)

    def seconds_to_the_first_cell(self):
        begin = time.monotonic()
        driver = self.start(seconds=0.1)
        self.wait_for_a_cell(0)
        took = time.monotonic() - begin
        self.kill(driver, within=2.0)
        return took

    def kill(self, driver, *, within):
        """Kill it and wait for its workers; returns how long the last of them lived on."""
        driver.send_signal(signal.SIGKILL)
        begin = time.monotonic()
        driver.wait()
        while (left := marked(self.mark)) and time.monotonic() - begin < within:
            time.sleep(0.05)
        assert left == [], f"{len(left)} processes live {within} s after their driver"
        return time.monotonic() - begin

    def acknowledged(self):
        return {line.split(":")[0].removeprefix("seed=") for line in lines(self.folder / "acknowledged")}

    def stored(self):
        if not (self.folder / "out" / "study.db").exists():
            return {}
        with Store(self.folder / "out") as store:  # for writing: the lock of the killed driver is free at once
            records = store.records().values()
        return {str(r.cell["seed"]): r for r in records}

    def lost(self):
        """How many cells were begun, and how many of them ended, without being kept: a driver was killed."""
        kept = len(self.stored())
        return self.begun() - kept, len(lines(self.folder / "ended")) - kept


@pytest.mark.parametrize(
    ("kills", "cells"), [(2, 150), pytest.param(50, 1200, marks=[pytest.mark.fire, pytest.mark.timeout(900)])]
)
def test_killed_drivers_lose_nothing_acknowledged(tmp_path, kills, cells):
    drivers, chance = Drivers(tmp_path, cells), random.Random(kills)
    start = drivers.seconds_to_the_first_cell()
    longest, hits, begun, ended = 0.0, 0, *drivers.lost()
    assert max(begun, ended) <= WORKERS
    for number in range(kills):
        before = drivers.begun()
        driver = drivers.start(seconds=0.1)
        if number % 2:  # any time: while it imports, opens the store, starts its workers, computes
            time.sleep(chance.uniform(0.0, 2 * start))
        else:  # while it computes, however slow the machine is today
            drivers.wait_for_a_cell(before)
            time.sleep(chance.uniform(0.0, 1.5))
        longest = max(longest, drivers.kill(driver, within=2.0))
        assert drivers.acknowledged() <= set(drivers.stored())
        more_begun, more_ended = drivers.lost()
        again, flying = more_ended - ended, (more_begun - begun) - (more_ended - ended)
        assert again <= WORKERS  # computed to the end but not yet committed: these are computed twice
        assert flying <= WORKERS  # begun and cut short
        begun, ended, hits = more_begun, more_ended, hits + (drivers.begun() > before)
    assert hits >= kills // 2
    left = cells - len(drivers.stored())
    print(f"{kills} kills, {hits} of them while cells were computed; of {cells} cells {begun} were begun and {ended} ")
    print(f"ended without being kept; last worker gone after {longest:.2f} s; {left} cells left for the end")
    assert left > 0  # the kills fell into the sweep, not behind it
    last = drivers.start(seconds=0)
    assert last.wait(timeout=300) == 0
    assert (tmp_path / "said").read_text().split() == [str(left)]
    stored = drivers.stored()
    assert {seed: r.result for seed, r in stored.items()} == {
        str(seed): canonical({"value": value_of(seed)}) for seed in range(cells)
    }
    assert drivers.acknowledged() <= set(stored)
    assert len(stored) - len(drivers.acknowledged()) <= kills + 1  # kept, but killed before it was told
    assert drivers.lost() == (begun, ended)


def test_a_killed_driver_leaves_no_worker_that_hangs_in_c(tmp_path):
    drivers = Drivers(tmp_path, 4, row="hanging")
    driver = drivers.start(seconds=0)
    begin = time.monotonic()
    while not ((tmp_path / "1.pid").exists() and (tmp_path / "3.pid").exists()):
        assert time.monotonic() - begin < 60
        time.sleep(0.05)
    with pytest.raises(StoreBusyError):
        drivers.stored()
    time.sleep(0.5)
    assert len(marked(drivers.mark)) >= 1 + WORKERS
    drivers.kill(driver, within=2.0)
