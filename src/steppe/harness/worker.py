"""What runs inside a worker process. One thread, no orphan, no word on standard output."""

import contextlib
import faulthandler
import importlib
import importlib.util
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from steppe.core import listening

from .outcomes import Outcome, compute, failed
from .shipping import receive

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_WATCH = 0.3  # seconds between two looks at the parent
_shipped = b""  # the study of a local worker, which serves one run only


def enter(parent: int, preload: Sequence[str], shipped: bytes) -> None:
    """Prepare a worker of the local engine, which keeps the study for all its tasks."""
    global _shipped
    initialize(parent, preload)
    _shipped = shipped


def initialize(parent: int, preload: Sequence[str]) -> None:
    """Prepare a fresh worker: end it when its parent does, import what is heavy, use one thread.

    Args:
        parent: Process id of the driver.
        preload: Modules to import now, so that no deadline pays for them; missing ones are skipped.
    """
    watch(parent)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what a study prints must not mix with the driver's answers
    for name in preload:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def watch(parent: int) -> None:
    """End this process soon after its parent ended, however that died."""
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="watchdog").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def work_here(
    cells: list[dict[str, Any]], deadline: int | float | None, evidence: str
) -> tuple[list[Outcome], dict[str, Any]]:
    """Compute one task of the local engine.

    Args:
        cells: The cells of the task.
        deadline: As for `work`.
        evidence: The file for its trace; beside it a file with this process's id.
    """
    Path(f"{evidence}.pid").write_text(str(os.getpid()))
    if deadline is None:
        return work(_shipped, cells, None, None)
    with open(evidence, "w") as trace:
        return work(_shipped, cells, deadline, trace)


def work(
    shipped: bytes, cells: list[dict[str, Any]], deadline: int | float | None, trace: TextIO | int | None
) -> tuple[list[Outcome], dict[str, Any]]:
    """Compute one task.

    Args:
        shipped: The study.
        cells: The cells of the task, all of one group.
        deadline: Seconds for each cell; after so many times the number of cells this process ends. The clock starts
            when the study and what it imports are there.
        trace: Where every thread's stack is written then.

    Returns:
        The outcomes, and what this process knows about their making.
    """
    try:
        study = receive(shipped)
    except Exception as error:
        message = f"the study could not be loaded in the worker: {type(error).__name__}: {error}"
        return failed(cells, message), {"seconds": 0.0}
    start = time.perf_counter()
    with _deadline(None if deadline is None else deadline * len(cells), trace), listening() as notes:
        outcomes = compute(study, cells)
    return outcomes, {
        **{name: ", ".join(sorted(values)) for name, values in sorted(notes.items())},
        "seconds": round(time.perf_counter() - start, 6),
        "peak_memory_mib": round(_peak_mib(), 1),
        "threads": _threads(),
    }


@contextlib.contextmanager
def _deadline(seconds: int | float | None, trace: TextIO | int | None) -> Iterator[None]:
    """A timer in C, which fires even while the interpreter is locked, and leaves a stack."""
    if seconds is None or trace is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _threads() -> int:
    torch: Any = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else 1
