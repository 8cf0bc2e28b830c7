"""Spawned processes that do not run the caller's script again, and that do not outlive their parent."""

import contextlib
import multiprocessing.spawn
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

# The child's first statement. 1 is PR_SET_PDEATHSIG and 9 is SIGKILL; a parent that died before it is seen by its id.
_BOUND = "import ctypes, os; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); os.getppid() == {parent} or os._exit(1); "


@contextlib.contextmanager
def without_main(spares: Callable[[str], bool]) -> Iterator[None]:
    """Spawn tells a child which script to run again as `__main__`; ours must not (no guard needed, no stdin read).

    Args:
        spares: Whether the process of this name is ours; those that a caller spawns meanwhile stay as they are.
    """
    told = multiprocessing.spawn.get_preparation_data

    def silent(name: str) -> dict[str, Any]:
        data = told(name)
        return {key: value for key, value in data.items() if not (spares(name) and key.startswith("init_main_from"))}

    multiprocessing.spawn.get_preparation_data = silent
    try:
        yield
    finally:
        multiprocessing.spawn.get_preparation_data = told


def binding() -> str:
    """The first statement of a Python process that shall end with the thread that starts it, where the kernel can."""
    return _BOUND.format(parent=os.getpid()) if sys.platform == "linux" else ""


@contextlib.contextmanager
def bound_to_parent() -> Iterator[None]:
    """Let the kernel end what this thread spawns now with this process, where it can (Linux).

    A thread in the child that looks after its parent starts only after the imports, and cannot act while C code holds
    the interpreter. The signal comes when the thread that spawned the child ends, so that thread must live as long.
    """
    told, spawning = multiprocessing.spawn.get_command_line, threading.get_ident()

    def bound(**handles: Any) -> list[Any]:  # the interpreter may be named in bytes
        words = list(told(**handles))
        if threading.get_ident() == spawning and "-c" in words:
            place = words.index("-c") + 1
            words[place] = binding() + words[place]
        return words

    multiprocessing.spawn.get_command_line = bound if sys.platform == "linux" else told
    try:
        yield
    finally:
        multiprocessing.spawn.get_command_line = told
