"""Times the driver in a process of its own, where no shapes are checked: `python fire_timing.py WHAT FOLDER CELLS`."""

import json
import sys
import time

from fire_stores import study_of

from steppe.harness import Grid, Record, Store, keys_of, load_rows, run_cells, source_digest


def empty(seed: int) -> dict:
    return {"value": 0.0}


class Stopwatch:
    """Starts with the first row, so that the start of the workers is not counted."""

    def __init__(self):
        self.first = None

    def start(self, *_, **__):
        pass

    def advance(self, *_, **__):
        self.first = self.first or time.perf_counter()

    def finish(self):
        pass


def noop(folder, cells):
    """Opening the store, listing the cells, their keys, and finding all of them done; then reading the rows."""
    one = study_of(1, grid=Grid(seed=range(cells)))
    facts = {"source": source_digest(one), "versions": {"torch": "2.13.0", "numpy": "2.4.0"}, "host": "h" * 300}
    listed = one.cells()
    made = [
        Record(key=key, cell=dict(cell), status="done", result=b'{"value":1.5}', provenance=facts)
        for key, cell in zip(keys_of(one, listed), listed, strict=True)
    ]
    with Store(folder) as store:
        store.write(one, made)
    resumed, read = [], []
    for _ in range(3):
        begin = time.perf_counter()
        with Store(folder) as store:
            summary = run_cells(one, one.cells(), store)
        resumed.append(time.perf_counter() - begin)
        assert (summary.reused, summary.computed) == (cells, 0)
        begin = time.perf_counter()
        with Store(folder, read_only=True) as store:
            assert len(load_rows(one, listed, store)) == cells
        read.append(time.perf_counter() - begin)
    return {"resumed": sorted(resumed), "read": sorted(read)}


def overhead(folder, cells):
    """Milliseconds of wall time per empty cell with two workers, without and with their start."""
    one, watch = study_of(1, row=empty, grid=Grid(seed=range(cells))), Stopwatch()
    with Store(folder) as store:
        begin = time.perf_counter()
        summary = run_cells(one, one.cells(), store, workers=2, preload=(), progress=watch)
        end = time.perf_counter()
    assert summary.done == cells
    return {"each": 1000 * (end - watch.first) / cells, "with_start": 1000 * (end - begin) / cells}


if __name__ == "__main__":
    what, folder, cells = sys.argv[1:]
    print(json.dumps({"noop": noop, "overhead": overhead}[what](folder, int(cells))))
