"""Inside a worker of any pool: a child process computes, so that the worker survives whatever a cell does.

A hung loop, a hung call in C or a crash ends the child, never the worker; the stack that a deadline leaves comes back
through an open file that needs no file system in common. Children have one thread, say nothing on standard output,
end with their worker, serve one run only (its modules may be edited before the next), and leave after a minute without
work.
"""

import atexit
import collections
import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from steppe.core import ComputationError

from .child import identity_here, send
from .provenance import machine
from .spawning import binding
from .worker import ONE_THREAD, watch

_RUN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from steppe.harness.child import main; main()"
_IDLE = 60.0  # seconds after which a child without work is ended
_GRACE = 1.0  # seconds after which a child that its own deadline did not end is killed
_STARTS = 3
_LOOK = 0.25  # seconds between two looks at a child that says nothing
_CHUNK = 2**16

_lock = threading.Lock()
_idle: list[tuple[float, "_Child"]] = []
_busy: dict[str, set["_Child"]] = collections.defaultdict(set)
_stopped: collections.deque[str] = collections.deque(maxlen=64)
_studies: collections.OrderedDict[str, bytes] = collections.OrderedDict()
_watched: set[int] = set()
_retiring = False
_spawner = ThreadPoolExecutor(1, "steppe-spawner")  # the kernel ends children with the thread that started them


def _forget() -> None:
    """After a fork: the children, the lock and the thread are those of another process."""
    global _lock, _retiring, _spawner
    _retiring = False
    _lock, _spawner = threading.Lock(), ThreadPoolExecutor(1, "steppe-spawner")
    _idle.clear()
    _busy.clear()


os.register_at_fork(after_in_child=_forget)


def digest_of(shipped: bytes) -> str:
    """The name under which workers keep a study."""
    return hashlib.sha256(shipped).hexdigest()


def driver_facts(source: str) -> dict[str, Any]:
    """What the driver tells of itself, for workers to compare."""
    return {**identity_here(), "source": source, "pid": os.getpid()}


def serve(request: bytes, shipped: bytes | None) -> bytes:
    """Compute the tasks of a request, one after the other.

    Args:
        request: JSON with `run`, `study` (its digest), `tasks` (lists of cells), `deadline`, `preload`, `path` and
            `driver`.
        shipped: The study, or None if this worker should have it.

    Returns:
        JSON: a list with `outcomes` and `facts`, or `lost` and `error`, for each task; null if the study is not here.

    Raises:
        ComputationError: No child can be started, or this installation is not the driver's.
    """
    asked = msgspec.json.decode(request)
    _outlive_not(asked["driver"])
    with _lock:
        if shipped is not None:
            _studies[asked["study"]] = shipped
            while len(_studies) > 4:
                _studies.popitem(last=False)
        known = _studies.get(asked["study"])
    if known is None:
        return b"null"
    return msgspec.json.encode([_one(asked, cells, known) for cells in asked["tasks"]])


def stop(run: str) -> None:
    """End the children of a run, and start no more for it."""
    with _lock:
        _stopped.append(run)
        for child in _busy.get(run, ()):
            child.kill()
        waiting = [entry for entry in _idle if entry[1].prepared[0] == run]
        for entry in waiting:
            _idle.remove(entry)
    for _, child in waiting:
        child.end()


def _outlive_not(driver: dict[str, Any]) -> None:
    """In a pool that the driver itself started here, end with it; such pools do not see to that."""
    parent = os.getppid()
    if parent == driver["pid"] and machine()["host"] == driver["host"] and parent not in _watched:
        _watched.add(parent)
        watch(parent)


def _one(asked: dict[str, Any], cells: list[dict[str, Any]], shipped: bytes) -> dict[str, Any]:
    run = asked["run"]
    child = _take(run, tuple(asked["preload"]), tuple(asked["path"]))
    try:
        answer = child.compute(asked, cells, shipped)
    except BaseException:
        child.end()
        raise
    finally:
        _leave(run, child)
    if "refused" in answer:
        child.end()
        raise ComputationError(answer["refused"])
    if answer.get("lost"):
        child.end()
    else:
        _give_back(child)
    return answer


def _take(run: str, preload: tuple[str, ...], path: tuple[str, ...]) -> "_Child":
    """A child that waits, or a new one."""
    for _ in range(_STARTS):
        with _lock:
            if run in _stopped:
                raise ComputationError("the run was stopped")
            fit = next((entry for entry in _idle if entry[1].prepared == (run, preload, path)), None)
            if fit is not None:
                _idle.remove(fit)
            child = fit[1] if fit is not None else _Child(run, preload, path)
            _busy[run].add(child)
        if child.ready():
            return child
        _leave(run, child)
        child.end()
    raise ComputationError(
        f"a process must start on {machine()['host']}, got {_STARTS} that died at once; check memory, and that "
        "`python -c 'import steppe.harness'` works there"
    )


def _leave(run: str, child: "_Child") -> None:
    """Note that a child works no more for a run."""
    with _lock:
        _busy[run].discard(child)
        if not _busy[run]:
            del _busy[run]


def _give_back(child: "_Child") -> None:
    """Let a child wait for the next task of its run; end it if the run was stopped meanwhile."""
    global _retiring
    with _lock:
        over = child.prepared[0] in _stopped
        first = not over and not _retiring
        if not over:
            _idle.append((time.monotonic(), child))
            _retiring = True
    if over:
        child.end()
    elif first:
        threading.Thread(target=_retire, daemon=True, name="steppe-retire").start()


def _retire() -> None:
    """End children that had no work for a while; ends itself when none is left."""
    global _retiring
    while True:
        time.sleep(_IDLE / 10)
        with _lock:
            old = [entry for entry in _idle if time.monotonic() - entry[0] > _IDLE]
            for entry in old:
                _idle.remove(entry)
            _retiring = left = bool(_idle or _busy)
        for _, child in old:
            child.end()
        if not left:
            return


@atexit.register
def _end_all() -> None:
    with _lock:
        children = [child for _, child in _idle] + [child for busy in _busy.values() for child in busy]
        _idle.clear()
    for child in children:
        child.end()


class _Child:
    """One computing process and the pipes to it.

    Args:
        run: The run that it serves.
        preload: Modules to import at the start.
        path: Where the driver finds modules, looked at after this process's own places.
    """

    def __init__(self, run: str, preload: tuple[str, ...], path: tuple[str, ...]) -> None:
        self.prepared = (run, preload, path)
        self._study = ""
        self._buffer = b""
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        here = [*sys.path, *(place for place in path if place not in sys.path and os.path.exists(place))]
        self._process = _spawner.submit(
            subprocess.Popen,
            [sys.executable, "-c", binding() + _RUN, json.dumps(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            pass_fds=[self._trace.fileno()],
            start_new_session=True,  # Ctrl-C at the terminal is the driver's business
        ).result()
        hello = {"parent": os.getpid(), "preload": preload, "trace": self._trace.fileno()}
        self._tell(msgspec.json.encode(hello))
        self._said_hello = False

    def ready(self) -> bool:
        """Whether it is alive, after what it preloads is there."""
        if not self._said_hello:
            self._said_hello = self._hear(None) is not None
        return self._said_hello and self._process.poll() is None

    def compute(self, asked: dict[str, Any], cells: list[dict[str, Any]], shipped: bytes) -> dict[str, Any]:
        """What it answers for some cells, or why it was lost."""
        ships = self._study != asked["study"]
        deadline = asked["deadline"]
        limit = None if deadline is None else deadline * len(cells)
        self._tell(
            msgspec.json.encode({"cells": cells, "deadline": deadline, "ships": ships, "driver": asked["driver"]}),
            *([shipped] if ships else []),
        )
        # Loading the study is not on the clock, which runs in the child; here it only guards against a stopped child.
        message = self._hear(limit if not ships or limit is None else None)
        if message is not None:
            self._study = asked["study"]
            return dict(msgspec.json.decode(message))
        self.kill()
        code = self._process.wait()
        trace = self._evidence()
        facts = machine()
        if "Timeout" in trace:
            return {"lost": "timeout", "error": trace, "facts": {**facts, "seconds": limit}}
        return {"lost": "killed", "error": f"(exit code {code})", "facts": facts}

    def _tell(self, *messages: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died; `_hear` finds out
            for message in messages:
                send(self._process.stdin, message)  # type: ignore[arg-type]  # a raw pipe writes too

    def _hear(self, limit: float | None) -> bytes | None:
        """Its next message; None if it died, or said nothing until well after the limit."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        until = None if limit is None else time.monotonic() + limit + _GRACE
        while not self._whole():
            if select.select([pipe], [], [], _LOOK)[0]:
                chunk = os.read(pipe, _CHUNK)
                if not chunk:
                    return None
                self._buffer += chunk
            elif self._process.poll() is not None:  # a grandchild may hold the pipe open
                return None
            elif until is not None and time.monotonic() > until:
                self._late(limit or 0)
                return None
        length = int.from_bytes(self._buffer[:8], "big")
        message, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
        return message

    def _whole(self) -> bool:
        return len(self._buffer) >= 8 and len(self._buffer) - 8 >= int.from_bytes(self._buffer[:8], "big")

    def _late(self, limit: float) -> None:
        if "Timeout" not in self._evidence():
            os.pwrite(
                self._trace.fileno(), f"Timeout ({limit:g} s)! The process could not show its stack.\n".encode(), 0
            )

    def _evidence(self) -> str:
        return os.pread(self._trace.fileno(), _CHUNK, 0).decode(errors="replace")

    def kill(self) -> None:
        """End it at once, and what it started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """End it and forget it."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._trace):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
