"""SLURM through submitit: a bounded number of jobs, each of which computes a batch of tasks on one core."""

import importlib
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steppe.core import ComputationError

from .engine import Place, Task, Terms
from .engine_executor import Crew

_JOBS = 8  # at once, unless `workers` says otherwise
_ROUNDS = 4  # batches per job slot: fewer waste what a lost job held, more wait in the queue
_MINUTES = 24 * 60  # what a job asks for without a deadline
_SPARE = 5  # minutes beyond the deadlines of its cells, for start and imports
_REHEARSALS = {"local": 0.1}  # seconds between two looks; a real queue is looked at every second
_FOLDER = "STEPPE_JOBS"


class SlurmExecutor(Executor):
    """The part of the executor protocol that an engine needs, over submitit jobs.

    Args:
        executor: submitit's, with its parameters set.
        look: Seconds between two looks at the jobs.
    """

    def __init__(self, executor: Any, look: float) -> None:
        self._executor, self._look = executor, look
        self._jobs: dict[Future[Any], Any] = {}
        self._changed = threading.Lock()
        self._open = True
        self.trouble = False
        threading.Thread(target=self._watch, daemon=True, name="steppe-jobs").start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand in one job.

        Raises:
            ComputationError: SLURM refuses it.
        """
        try:
            job = self._executor.submit(fn, *args, **kwargs)
        except Exception as error:
            raise ComputationError(
                f"SLURM must accept the job, got {type(error).__name__}: {error}; check the partition, and with "
                "--deadline that the job fits its time limit"
            ) from error
        future: Future[Any] = Future()
        with self._changed:
            self._jobs[future] = job
        return future

    def _watch(self) -> None:
        while self._open:
            with self._changed:
                jobs = dict(self._jobs)
            for future, job in jobs.items():
                if job.done():
                    with self._changed:
                        self._jobs.pop(future, None)
                    self._tell(future, job)
            time.sleep(self._look)

    def _tell(self, future: Future[Any], job: Any) -> None:
        from submitit.core.utils import FailedJobError

        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job.result())
        except FailedJobError as error:  # the job ran and raised
            self.trouble = True
            told = str(error).strip().splitlines()
            future.set_exception(ComputationError(next((line for line in reversed(told) if "Error" in line), told[-1])))
        except Exception as error:
            self.trouble = True
            future.set_exception(error)

    def stop(self) -> None:
        """Cancel all jobs, and look at none any more."""
        self._open = False
        with self._changed:
            jobs, self._jobs = dict(self._jobs), {}
        for job in jobs.values():
            with suppress(Exception):  # it may have ended meanwhile
                job.cancel(check=False)


@contextmanager
def slurm_crew(place: Place, terms: Terms, tasks: Sequence[Task]) -> Generator[Crew, None, None]:
    """Jobs of SLURM: at most `workers` at once (8 if not given), in about four rounds.

    Orders and results are files that submitit pickles and reads in a folder of their own below `~/.steppe/jobs`, or
    below the folder named by the environment variable `STEPPE_JOBS`; it must be on a file system that the nodes share.
    Nobody else can read or write it. It is removed at the end unless a job failed, so that its logs can be
    read. After `kill -9` of the driver the jobs that run go on to their end; `scancel --name steppe` ends them.

    Args:
        place: The partition.
        terms: The deadline, from which the time limit of a job follows; 24 hours without one.
        tasks: What there is to compute.

    Raises:
        ComputationError: submitit cannot be imported, or the folder cannot be made.
    """
    jobs = place.workers or _JOBS
    batch = max(1, math.ceil(len(tasks) / (jobs * _ROUNDS)))
    folder = _folder()
    minutes = _minutes(terms, batch * max(len(task.cells) for task in tasks))
    executor = SlurmExecutor(_submitit(place, folder, minutes), _REHEARSALS.get(place.address, 1.0))
    try:
        yield Crew(
            executor=executor,
            slots=lambda: jobs,
            losses=(_lost(), OSError, EOFError, CancelledError, BrokenExecutor),
            stop=lambda run: executor.stop(),
            batch=batch,
        )
    finally:
        executor.stop()
        if not executor.trouble:
            shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """A new folder for the orders and results of one run."""
    folder = Path(os.environ.get(_FOLDER) or Path.home() / ".steppe" / "jobs") / f"{os.getpid()}-{time.time_ns()}"
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise ComputationError(
            f"the folder of the jobs must be writable, got {error}; set {_FOLDER} to one that all nodes share"
        ) from error
    return folder


def _submitit(place: Place, folder: Path, minutes: int) -> Any:
    """The executor of submitit with the parameters of a job."""
    try:
        submitit: Any = importlib.import_module("submitit")
    except ImportError as error:
        raise ComputationError(
            f"submitit must be importable, got {error}; repair it with pip install 'steppe[slurm]'"
        ) from error
    rehearsal = place.address in _REHEARSALS
    executor = submitit.AutoExecutor(folder=folder, cluster=place.address if rehearsal else "slurm")
    executor.update_parameters(name="steppe", timeout_min=minutes, cpus_per_task=1, tasks_per_node=1, nodes=1)
    if place.address and not rehearsal:
        executor.update_parameters(slurm_partition=place.address)
    return executor


def _lost() -> type[BaseException]:
    """What submitit raises when a job ended without a result."""
    lost: type[BaseException] = importlib.import_module("submitit.core.utils").UncompletedJobError
    return lost


def _minutes(terms: Terms, cells: int) -> int:
    if terms.deadline is None:
        return _MINUTES
    return math.ceil(cells * terms.deadline / 60) + _SPARE
