"""Cells that compute, hang, crash and count, for every engine."""

import ctypes
import functools
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from harness_toys import toy

from steppe.harness import Grid, Store, canonical, compute, run_cells

HANGS = ("loop", "locked", "deadlock")


def power(d: int, seed: int) -> dict:
    """A number whose last bits depend on threads, versions and order of summation."""
    print("noise on standard output")
    matrix = np.random.default_rng(1000 * d + seed).standard_normal((60, 60)) / 8
    left, _, right = np.linalg.svd(matrix)
    for _ in range(30):
        matrix = np.tanh(left @ matrix @ right) + 0.1
    return {"value": float(matrix.sum()), "pid": 0}


def powers(cells):
    """The same as `power`, many in one call."""
    for cell in reversed(cells):
        yield cell, power(cell["d"], cell["seed"])


def slow(d: int, seed: int) -> dict:
    time.sleep(0.05)
    return {"value": d + seed / 7, "pid": 0}


def trouble(folder: str, kind: str, seed: int) -> dict:
    """One kind of trouble; those that hang note first when they began."""
    Path(folder, f"{kind}-{seed}").write_text(str(time.time()))
    if kind == "loop":
        while True:
            pass
    if kind == "locked":
        ctypes.PyDLL(None).sleep(60)  # in C, without ever letting go of the interpreter
    if kind == "deadlock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if kind == "raises":
        raise RuntimeError("this cell raises")
    if kind == "exits":
        os._exit(7)
    if kind == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    return {"value": float(seed), "pid": 0}


def troubled(folder, *kinds, seeds=1):
    return toy(row=functools.partial(trouble, str(folder)), grid=Grid(kind=["fine", *kinds], seed=range(seeds)))


def serial(study):
    """Cell → bytes, computed here and now."""
    found = [outcome for group in study.groups(study.cells()) for outcome in compute(study, group)]
    return {canonical(outcome.cell): outcome.result for outcome in found}


def swept(study, folder, *, cells=None, **options):
    """The summary of a run, and cell → record."""
    with Store(folder) as store:
        summary = run_cells(study, study.cells() if cells is None else cells, store, **{"preload": (), **options})
        return summary, {canonical(dict(record.cell)): record for record in store.records().values()}


def results(records):
    return {cell: record.result for cell, record in records.items()}


class Saboteur:
    """Kills a process below this one, found by a word in its command, some cells after the run began."""

    def __init__(self, word: str, at: tuple[int, ...]) -> None:
        self.word, self.at, self.heard, self.killed, self.times = word, at, 0, [], {}

    def start(self, total, done, work):
        pass

    def advance(self, status, label, work, *, seconds=None, reason=""):
        self.heard += 1
        self.times[label] = time.time()
        if self.at and self.heard >= self.at[0] and (victims := left(self.word)):
            victims[-1].kill()
            self.killed.append(victims[-1].pid)
            self.at = self.at[1:]

    def finish(self):
        pass


def command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def left(word):
    """The processes below this one that are called so."""
    return [process for process in psutil.Process().children(recursive=True) if word in command(process)]


def check_hangs(on, folder, hangs=HANGS, **options):
    """Hung cells end two seconds after their deadline at the latest, with their stack; the others are computed."""
    deadline, listener = 1.0, Saboteur("", ())
    study = troubled(folder, *hangs)
    summary, records = swept(study, folder / "out", on=on, workers=2, deadline=deadline, progress=listener, **options)
    assert (summary.done, summary.timeout, summary.crashed) == (1, len(hangs), len(hangs))
    for record in records.values():
        kind = record.cell["kind"]
        if kind in hangs:
            began = float((folder / f"{kind}-0").read_text())
            assert record.status == "timeout"
            assert record.attempts == 1
            assert "in trouble" in record.error, record.error
            assert deadline * 0.9 <= listener.times[f"kind={kind}, seed=0"] - began <= deadline + 2
