"""Ray: a cluster somewhere, or one on this machine."""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steppe.core import ComputationError

from .bench import serve
from .engine import Place
from .engine_executor import Crew

_COUNT_AGAIN = 2.0  # seconds after which cores are counted anew: nodes come and go


class RayExecutor(Executor):
    """The part of the executor protocol that an engine needs, over Ray tasks with one core and no retries of Ray's.

    Args:
        ray: The module, initialized.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._remote = ray.remote(max_retries=0, num_cpus=1)(serve)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a task."""
        remote = self._remote if fn is serve else self._ray.remote(max_retries=0, num_cpus=1)(fn)
        reference = remote.remote(*args, **kwargs)
        future: Future[Any] = reference.future()
        self._running[future] = reference
        future.add_done_callback(lambda done: self._running.pop(done, None))
        return future

    def stop(self) -> None:
        """End all that runs or waits, with the processes that run it."""
        for reference in list(self._running.values()):
            self._ray.cancel(reference, force=True)
        self._running.clear()


@contextmanager
def ray_crew(place: Place, tasks: int) -> Generator[Crew, None, None]:
    """Workers of a Ray cluster: one task per core.

    Without an address it joins the Ray of this process, or the one started here with `ray start`, or the one that
    RAY_ADDRESS names; if there is none it starts one and ends it with the run.
    After `kill -9` of the driver Ray ends its workers, and most of what it started, by itself within seconds.

    Args:
        place: The address of a Ray client server; empty for this machine.
        tasks: How many tasks there will be.

    Raises:
        ComputationError: Ray cannot be imported, or does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ComputationError(f"Ray must be importable, got {error}; repair it: pip install 'steppe[ray]'") from error
    joined = ray.is_initialized()
    before = sys.stdout
    sys.stdout = _Aside(before)
    try:
        if not joined:
            _connect(ray, place, tasks)
        executor = RayExecutor(ray)
        yield Crew(
            executor=executor,
            slots=_slots(ray, place.workers),
            losses=(*_losses(ray), CancelledError, BrokenExecutor),
            stop=lambda run: executor.stop(),
        )
    finally:
        if not joined:
            ray.shutdown()
        sys.stdout = before


def _connect(ray: Any, place: Place, tasks: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    try:
        if place.address:
            ray.init(address=f"ray://{place.address}", **quiet)
            return
        running = _running_here()
        if running:
            ray.init(address=running, **quiet)
        else:
            count = min(place.workers or os.cpu_count() or 1, tasks)
            ray.init(address="local", num_cpus=count, include_dashboard=False, **quiet)
    except Exception as error:
        raise ComputationError(
            f"Ray{f' at {place.address}' if place.address else ''} must answer, got {type(error).__name__}: {error}; "
            "start it with `ray start --head`, open its client port (10001), and give the same RAY_AUTH_TOKEN to both"
        ) from error


def _running_here() -> str:
    """The address of the Ray that RAY_ADDRESS names or `ray start` noted, if it answers.

    Ray itself would wait minutes for one that died without taking its note along, and would join one that belongs to
    another run and ends with it.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named:
        return named
    note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    with suppress(OSError, ValueError):
        host, _, port = note.read_text().strip().rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return f"{host}:{port}"
    return ""


class _Aside:
    """Standard output, except for what Ray's own threads print there: that goes to standard error."""

    def __init__(self, out: Any) -> None:
        self._out = out

    def write(self, text: str) -> int:
        ours = not threading.current_thread().name.startswith("ray_")
        return int((self._out if ours else sys.stderr).write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def _losses(ray: Any) -> tuple[type[BaseException], ...]:
    found = ray.exceptions
    return (
        found.WorkerCrashedError,
        found.NodeDiedError,
        found.ObjectLostError,
        found.OutOfMemoryError,
        found.LocalRayletDiedError,
        found.TaskCancelledError,
    )


def _slots(ray: Any, workers: int | None) -> Callable[[], int]:
    counted, until = 1, 0.0

    def slots() -> int:
        nonlocal counted, until
        if time.monotonic() > until:
            with suppress(OSError, TimeoutError, RuntimeError):  # the tasks themselves will say that it is gone
                counted = max(1, int(ray.cluster_resources().get("CPU", 1)))
            until = time.monotonic() + _COUNT_AGAIN
        return workers or 2 * counted  # one waits behind each that runs

    return slots
