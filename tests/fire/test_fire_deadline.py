"""Cells that never end, each in its own way, are ended by the deadline; the others do not notice."""

import os
import threading
import time
from pathlib import Path

import pytest
from fire_cells import HANGS, alive, hanging, study, value_of

from steppe.harness import Store, canonical, run_cells

CELLS = 12


class Listener(threading.Thread):
    """Notes when each row is acknowledged, and watches when each hanging process dies."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.rows, self.dead, self.over = folder, {}, {}, threading.Event()

    def begun(self):
        """Seed → process and time at which its cell began."""
        found = {}
        for seed in HANGS:
            words = Path(self.folder, f"{seed}.pid").read_text().split() if self._is_there(seed) else []
            if len(words) == 2:
                found[seed] = int(words[0]), float(words[1])
        return found

    def _is_there(self, seed):
        return Path(self.folder, f"{seed}.pid").exists()

    def run(self):
        while not self.over.wait(0.01):
            for seed, (pid, _) in self.begun().items():
                if seed not in self.dead and not alive(pid):
                    self.dead[seed] = time.time()

    def advance(self, status, label, *_, **__):
        self.rows[int(label.removeprefix("seed="))] = status, time.time()

    def finish(self):
        time.sleep(0.1)
        self.over.set()


class Heard:
    """A listener of a run; a thread has a `start` of its own."""

    def __init__(self, listener):
        self.advance, self.finish = listener.advance, listener.finish

    def start(self, *_, **__):
        pass


@pytest.mark.parametrize("deadline", [0.5, pytest.param(5.0, marks=pytest.mark.fire)])
def test_what_never_ends_is_ended_and_leaves_its_stack(tmp_path, deadline):
    one, listener = study(hanging, tmp_path, CELLS), Listener(tmp_path)
    listener.start()
    with Store(tmp_path / "out") as store:
        summary = run_cells(one, one.cells(), store, workers=2, preload=(), deadline=deadline, progress=Heard(listener))
        rows = {record.cell["seed"]: record for record in store.records().values()}
    listener.join()
    assert (summary.done, summary.timeout, summary.crashed) == (CELLS - len(HANGS), len(HANGS), len(HANGS))
    begun = {seed: at for seed, (_, at) in listener.begun().items()}
    lived = {HANGS[seed].__name__: listener.dead[seed] - begun[seed] for seed in HANGS}
    told = {HANGS[seed].__name__: listener.rows[seed][1] - begun[seed] for seed in HANGS}
    print(f"deadline {deadline} s; process gone after {lived}; row stored after {told}")
    for seed, hang in HANGS.items():
        assert rows[seed].status == listener.rows[seed][0] == "timeout"
        assert f"in {hang.__name__}" in rows[seed].error
        assert "fire_cells.py" in rows[seed].error
        assert rows[seed].result is None
        assert deadline <= lived[hang.__name__] <= deadline + 2
        assert deadline <= told[hang.__name__] <= deadline + 2
    for seed in set(range(CELLS)) - set(HANGS):
        assert rows[seed].result == canonical({"value": value_of(seed)})
        assert rows[seed].attempts == 1
    assert not any(alive(pid) for pid, _ in listener.begun().values() if pid != os.getpid())


def test_the_clock_starts_with_the_cell_not_with_its_worker(tmp_path, monkeypatch):
    # A worker that takes longer to start than the deadline allows: a module that is slow to import.
    (tmp_path / "slow_to_import_for_fire.py").write_text("import time\ntime.sleep(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fire").mkdir()
    one = study(hanging, tmp_path / "fire", 1)
    with Store(tmp_path / "out") as store:
        summary = run_cells(one, one.cells(), store, workers=1, deadline=0.4, preload=("slow_to_import_for_fire",))
    assert (summary.done, summary.timeout) == (1, 0)
