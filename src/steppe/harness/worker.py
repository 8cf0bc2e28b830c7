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
from typing import Any

from .outcomes import Outcome, compute, failed
from .shipping import receive

_WATCH = 0.3  # seconds between two looks at the parent


def initialize(parent: int, preload: Sequence[str]) -> None:
    """Prepare a fresh worker: end it when its parent does, import what is heavy, use one thread.

    Args:
        parent: Process id of the driver.
        preload: Modules to import now, so that no deadline pays for them; missing ones are skipped.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="watchdog").start()
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what a study prints must not mix with the driver's answers
    for name in preload:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os._exit(1)


def work(
    shipped: bytes, cells: list[dict[str, Any]], deadline: int | float | None, evidence: str
) -> tuple[list[Outcome], dict[str, Any]]:
    """Compute one task.

    Args:
        shipped: The study.
        cells: The cells of the task, one group.
        deadline: Seconds after which this process ends with a stack trace, or None.
        evidence: The file for that trace; beside it a file with this process's id.

    Returns:
        The outcomes, and what this process knows about their making.
    """
    Path(f"{evidence}.pid").write_text(str(os.getpid()))
    try:
        study = receive(shipped)
    except Exception as error:
        message = f"the study could not be loaded in the worker: {type(error).__name__}: {error}"
        return failed(cells, message), {"seconds": 0.0}
    start = time.perf_counter()
    with _deadline(deadline, evidence):
        outcomes = compute(study, cells)
    return outcomes, {
        "seconds": round(time.perf_counter() - start, 6),
        "peak_memory_mib": round(_peak_mib(), 1),
        "threads": _threads(),
    }


@contextlib.contextmanager
def _deadline(seconds: int | float | None, evidence: str) -> Iterator[None]:
    if seconds is None:
        yield
        return
    with open(evidence, "w") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
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
