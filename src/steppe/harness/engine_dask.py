"""Dask: a cluster somewhere, or one of its own on this machine."""

import importlib
import logging
import os
import time
from collections.abc import Callable, Generator
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from steppe.core import ComputationError

from .bench import stop
from .engine import Place
from .engine_executor import Crew
from .spawning import without_main

_PATIENCE = 30.0  # seconds for the scheduler to answer, and for a first worker to be there
_COUNT_AGAIN = 2.0  # seconds after which workers are counted anew: they come and go
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is the driver's business
# A lost worker costs the one task that it ran, and counts as one try: tasks do not pile up on workers, and the
# scheduler tries none again by itself. A scheduler that somebody else started has its own settings.
_OURS = {"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.worker-saturation": 1.0}


@contextmanager
def dask_crew(place: Place, tasks: int) -> Generator[Crew, None, None]:
    """Workers of a Dask cluster: one task per thread of each worker.

    Args:
        place: The address of a scheduler; empty for a cluster on this machine that ends with the run.
        tasks: How many tasks there will be.

    Raises:
        ComputationError: Dask cannot be imported, the scheduler does not answer, or it has no worker.
    """
    try:
        dask: Any = importlib.import_module("dask")
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise ComputationError(
            f"Dask must be importable, got {error}; repair it: pip install 'steppe[dask]'"
        ) from error
    with ExitStack() as stack:
        address: Any = f"tcp://{place.address}"
        if not place.address:
            count = min(place.workers or os.cpu_count() or 1, tasks)
            stack.enter_context(dask.config.set(_OURS))
            stack.enter_context(without_main(lambda name: name.startswith("Dask")))  # also when a nanny starts another
            options = {"threads_per_worker": 1, "processes": True, "memory_limit": 0, "preload": [_DEAF]}
            options |= {"n_workers": count, "silence_logs": logging.CRITICAL, "dashboard_address": None}
            address = stack.enter_context(distributed.LocalCluster(**options))
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TimeoutError) as error:
            raise ComputationError(
                f"the Dask scheduler {place.address} must answer and have a worker within {_PATIENCE:g} s, got "
                f"{type(error).__name__}: {error}; start it with `dask scheduler`, and workers with `dask worker`"
            ) from error
        yield Crew(
            executor=client.get_executor(pure=False, retries=0),
            slots=_slots(client, place.workers),
            losses=(distributed.KilledWorker, CancelledError, BrokenExecutor),
            stop=lambda run: _stop(client, run),
            check=lambda: _check(client, place),
        )


def _slots(client: Any, workers: int | None) -> Callable[[], int]:
    counted, until = 1, 0.0

    def slots() -> int:
        nonlocal counted, until
        if time.monotonic() > until:
            with suppress(OSError, TimeoutError, RuntimeError):  # `check` says whether it is gone for good
                counted = max(1, sum(client.nthreads().values()))
            until = time.monotonic() + _COUNT_AGAIN
        return workers or 2 * counted  # one waits at the scheduler behind each that runs

    return slots


def _stop(client: Any, run: str) -> None:
    if client.status == "running":
        client.run(stop, run, on_error="ignore")


def _check(client: Any, place: Place) -> None:
    if client.status not in ("running", "connecting"):
        raise ComputationError(
            f"the Dask scheduler {place.address or 'of this run'} must stay, got a connection that is {client.status}; "
            "finished cells are kept, and the same command goes on"
        )
