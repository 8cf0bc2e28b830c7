"""Cells that wait, log and hang, so that kills and deadlines hit what they should."""

import ctypes
import functools
import hashlib
import os
import re
import threading
import time
from pathlib import Path

import psutil
from fire_stores import CLAIM, CONTROL

from steppe.harness import Grid, Study


def value_of(seed: int) -> float:
    """What a cell should give, slow to guess and quick to compute."""
    return int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:6], "big") / 2**48


def study(row, folder, cells: int, **changes) -> Study:
    pieces = {
        "slug": "fire",
        "columns": {"value": "1"},
        "grid": Grid(seed=range(cells)),
        "row": functools.partial(row, str(folder)),
        "claims": (CLAIM,),
        "controls": (CONTROL,),
    }
    return Study(**{**pieces, **changes})


def log(path: str, line: object) -> None:
    """One line, whole even if several processes write."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def lines(path) -> list[str]:
    path = Path(path)
    return path.read_text().split() if path.is_file() else []


def behind_a_barrier(folder: str, seed: int) -> dict:
    """Says which process computes it, and waits at the barrier: only seeds below the number in `allowed` pass."""
    pid = Path(folder, "running", str(os.getpid()))
    pid.write_text(str(seed))
    log(f"{folder}/started", seed)
    allowed = Path(folder, "allowed")
    while seed >= int(allowed.read_text() or 0):
        time.sleep(0.01)
    pid.unlink()
    return {"value": value_of(seed)}


def slow(folder: str, seed: int) -> dict:
    """Logs its start and its end, and takes as long as the environment says."""
    log(f"{folder}/started", seed)
    time.sleep(float(os.environ.get("FIRE_SECONDS", "0")))
    log(f"{folder}/ended", seed)
    return {"value": value_of(seed)}


def endless_loop() -> None:
    while True:
        pass


def call_in_c_that_keeps_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(600)  # PyDLL, unlike CDLL, does not release the interpreter lock


def catastrophic_pattern() -> None:
    re.match(r"(a|aa)*b", "a" * 200)


def deadlock() -> None:
    first, second = threading.Lock(), threading.Lock()
    first.acquire()

    def other() -> None:
        with second, first:
            pass

    with second:
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
    thread.join()


HANGS = {1: endless_loop, 3: call_in_c_that_keeps_the_interpreter, 5: catastrophic_pattern, 7: deadlock}


def hanging(folder: str, seed: int) -> dict:
    """Seeds 1, 3, 5 and 7 never end, each in its own way."""
    Path(folder, f"{seed}.pid").write_text(f"{os.getpid()} {time.time()}")
    HANGS.get(seed, lambda: None)()
    return {"value": value_of(seed)}


def alive(pid: int) -> bool:
    """Whether a process runs, zombies not counted."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked(mark: str) -> list[int]:
    """Every running process that has the mark in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and mark in process.environ().values():
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
