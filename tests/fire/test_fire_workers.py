"""Workers killed while they compute: every cell gets its row, once."""

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest
from fire_cells import alive, behind_a_barrier, lines, study, value_of

from steppe.harness import Store, canonical, run_cells

WORKERS = 4


class Killer(threading.Thread):
    """Kills a random worker that waits inside a cell, again and again, and lets some cells pass now and then.

    A cell that has been hit `mercy` times is spared: with as many retries no cell can be lost by bad luck.
    """

    def __init__(self, folder, *, cells, kills, interval, mercy, seed):
        super().__init__(daemon=True)
        self.folder, self.cells, self.kills, self.interval, self.mercy = folder, cells, kills, interval, mercy
        self.chance, self.hits, self.over = random.Random(seed), Counter(), threading.Event()
        (folder / "running").mkdir()
        self.allow(0)

    def allow(self, number):
        (self.folder / "next").write_text(str(number))
        os.replace(self.folder / "next", self.folder / "allowed")

    def run(self):
        passed = 0
        step = self.cells // (self.kills + 2)
        while sum(self.hits.values()) < self.kills and not self.over.wait(self.interval):
            waiting = [one for one in self.waiting(passed) if self.hits[one[1]] < self.mercy]
            if waiting:
                pid, seed = self.chance.choice(waiting)
                os.kill(pid, signal.SIGKILL)
                self.hits[seed] += 1
                (self.folder / "running" / str(pid)).unlink()
            if self.hits and (not waiting or self.chance.random() < 1 / 6):  # or the same cells stand there again
                passed = min(passed + 3 * step, self.cells - 2 * WORKERS)
                self.allow(passed)
        self.allow(self.cells)

    def waiting(self, passed):
        """Process and seed of each cell that stands at the barrier now."""
        found = []
        for file in (self.folder / "running").iterdir():
            try:
                pid, seed = int(file.name), int(file.read_text() or -1)
            except FileNotFoundError:
                continue
            if seed >= passed and alive(pid):
                found.append((pid, seed))
        return found


class Listener:
    """Counts what is acknowledged."""

    def __init__(self):
        self.heard = Counter()

    def start(self, *_, **__):
        pass

    def advance(self, status, label, *_, **__):
        self.heard[label, status] += 1

    def finish(self):
        pass


def worker_start(folder) -> float:
    """Seconds from the call of a run to the end of its first cell."""
    (folder / "running").mkdir(parents=True)
    (folder / "allowed").write_text("1")
    begin = time.perf_counter()
    one = study(behind_a_barrier, folder, 1)
    with Store(folder / "out") as store:
        run_cells(one, one.cells(), store, workers=1, preload=())
    return time.perf_counter() - begin


def under_fire(tmp_path, *, cells, kills, interval, retries, mercy):
    folder = tmp_path / "fire"
    folder.mkdir()
    killer = Killer(folder, cells=cells, kills=kills, interval=interval, mercy=mercy, seed=cells)
    one, listener = study(behind_a_barrier, folder, cells), Listener()
    killer.start()
    with Store(folder / "out") as store:
        try:
            summary = run_cells(
                one, one.cells(), store, workers=WORKERS, preload=(), retries=retries, progress=listener
            )
        finally:
            killer.over.set()
            killer.join()
    with Store(folder / "out", read_only=True) as store:
        return summary, store.records(), listener.heard, killer.hits, Counter(map(int, lines(folder / "started")))


@pytest.mark.parametrize(
    ("cells", "kills"), [(24, 3), pytest.param(1000, 55, marks=[pytest.mark.fire, pytest.mark.timeout(900)])]
)
def test_killed_workers_cost_no_cell(tmp_path, cells, kills):
    start = 0.0 if kills < 10 else min(worker_start(tmp_path / str(index)) for index in range(3))
    interval = max(0.5, 3 * start)
    summary, records, heard, hits, started = under_fire(
        tmp_path, cells=cells, kills=kills, interval=interval, retries=3, mercy=3
    )
    print(f"worker start {start:.2f} s, a kill every {interval:.2f} s: {sum(hits.values())} kills on {len(hits)} cells")
    assert sum(hits.values()) == kills
    assert (summary.done, summary.crashed) == (cells, 0)
    assert {r.cell["seed"]: r.result for r in records.values()} == {
        seed: canonical({"value": value_of(seed)}) for seed in range(cells)
    }
    assert heard == {(f"seed={seed}", "done"): 1 for seed in range(cells)}  # each acknowledged once
    assert {seed: count - 1 for seed, count in started.items() if count > 1} == dict(hits)  # only the hit ones again
    assert {r.cell["seed"]: r.attempts - 1 for r in records.values() if r.attempts > 1} == dict(hits)


@pytest.mark.parametrize(
    ("cells", "kills"), [(20, 2), pytest.param(200, 20, marks=[pytest.mark.fire, pytest.mark.timeout(900)])]
)
def test_without_retries_the_same_kills_lose_cells(tmp_path, cells, kills):
    summary, records, heard, hits, _ = under_fire(tmp_path, cells=cells, kills=kills, interval=0.5, retries=0, mercy=1)
    lost = {r.cell["seed"]: r for r in records.values() if r.status == "killed"}
    assert set(lost) == set(hits)
    assert len(lost) == kills == summary.killed
    assert summary.done == cells - kills
    assert all("exit code -9" in record.error for record in lost.values())
    assert sum(heard.values()) == len(heard) == cells
