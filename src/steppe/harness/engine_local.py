"""The local engine: worker processes that die alone, never take the run with them, and never outlive it."""

import contextlib
import os
import queue
import tempfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import pebble
import psutil

from steppe.core import ComputationError

from .engine import Task, TaskResult, Terms
from .outcomes import failed
from .provenance import machine
from .spawning import bound_to_parent, without_main
from .worker import ONE_THREAD, enter, work_here

_SPAWNING = threading.Lock()
_REBUILDS = 3  # pools lost in a row without a single result
_AHEAD = 2  # tasks handed out per worker, so that few are lost and stopping is quick
_LISTEN = 0.5  # seconds between two looks at tasks whose process may be gone
_LOOKS = 3


class _Process(SpawnProcess):
    """A spawned process that does not run the caller's script again and has one thread from its first import."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # the standard library's name
        with _SPAWNING, without_main(lambda name: True), bound_to_parent(), _environment(ONE_THREAD):
            return SpawnProcess._Popen(process_obj)


class _Context(SpawnContext):
    Process = _Process


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class LocalEngine:
    """Worker processes on this machine.

    Args:
        workers: How many.
        terms: Deadline, retries and preloaded modules.
    """

    def __init__(self, workers: int, terms: Terms) -> None:
        self._workers = workers
        self._terms = terms
        self._facts = {"engine": "local", **machine()}

    def results(self, shipped: bytes, tasks: Sequence[Task]) -> Generator[list[TaskResult], None, None]:
        """The results of all tasks, as they come. Closing the iterator stops the workers at once.

        Raises:
            ComputationError: Workers cannot be started.
        """
        waiting, tries, rebuilds = list(reversed(tasks)), dict.fromkeys((t.index for t in tasks), 0), 0
        with tempfile.TemporaryDirectory(prefix="steppe-", ignore_cleanup_errors=True) as scratch:
            while waiting:
                before = len(waiting)
                feed = _Feed(self._terms.deadline, Path(scratch))
                lost = yield from self._through_pool(feed, shipped, waiting, tries)
                waiting.extend(reversed(lost))
                rebuilds = rebuilds + 1 if lost and len(waiting) >= before else 0
                if rebuilds > _REBUILDS:
                    raise ComputationError(
                        f"worker processes must start, got {rebuilds} pools that died before their first result; "
                        "check memory, and that `python -c 'import steppe.harness'` works here"
                    )

    def _through_pool(
        self, feed: "_Feed", shipped: bytes, waiting: list[Task], tries: dict[int, int]
    ) -> Generator[list[TaskResult], None, list[Task]]:
        """Feed one pool until all is done or it breaks; returns the tasks that it still held."""
        arguments = (os.getpid(), self._terms.preload, shipped)
        pool = pebble.ProcessPool(self._workers, initializer=enter, initargs=arguments, context=_Context())
        try:
            while waiting or feed.held:
                try:
                    while waiting and len(feed.held) < _AHEAD * self._workers:
                        feed.schedule(pool, waiting.pop())
                    ended = feed.next(pool)
                except BrokenProcessPool:
                    return list(feed.held.values())
                found = []
                for task, error, answer in ended:
                    del feed.held[task.index]
                    tries[task.index] += 1
                    result = self._result(task, error, answer, tries[task.index], feed)
                    if result is None:
                        waiting.append(task)
                    else:
                        found.append(result)
                if found:
                    yield found
            return []
        finally:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble has no annotations
            pool.join()

    def _result(
        self, task: Task, error: BaseException | None, answer: Any, tries: int, feed: "_Feed"
    ) -> TaskResult | None:
        """What came of a task, or None if it must be tried again."""
        if error is None:
            outcomes, facts = answer
            return TaskResult(task, outcomes, {**self._facts, **facts}, tries=tries)
        trace = feed.trace(task)
        if "Timeout" in trace:
            seconds = (self._terms.deadline or 0) * len(task.cells)
            return TaskResult(task, [], {**self._facts, "seconds": seconds}, "timeout", trace, tries)
        if isinstance(error, pebble.ProcessExpired):
            if tries <= self._terms.retries:
                return None
            reason = f"the worker process ended without an answer (exit code {error.exitcode}), {tries} times"
            return TaskResult(task, [], self._facts, "killed", reason, tries)
        return TaskResult(task, failed(task.cells, f"{type(error).__name__}: {error}"), self._facts, tries=tries)


def _lost() -> BaseException:
    error: BaseException = pebble.ProcessExpired("the worker process is gone", code=-9)  # type: ignore[no-untyped-call]  # the same
    return error


_Ended = tuple[Task, BaseException | None, Any]


class _Feed:
    """What one pool holds, and the files by which its workers leave evidence."""

    def __init__(self, deadline: int | float | None, scratch: Path) -> None:
        self.held: dict[int, Task] = {}
        self._deadline, self._scratch = deadline, scratch
        self._finished: queue.SimpleQueue[tuple[Task, Future[Any]]] = queue.SimpleQueue()
        self._dead: Counter[int] = Counter()
        self._times: Counter[int] = Counter()

    def schedule(self, pool: pebble.ProcessPool, task: Task) -> None:
        """Hand a task to the pool.

        Raises:
            BrokenProcessPool: It cannot take any.
        """
        self.held[task.index] = task
        self._times[task.index] += 1  # each try has files of its own
        self._dead.pop(task.index, None)
        cells = [dict(cell) for cell in task.cells]
        try:
            future = pool.schedule(work_here, args=(cells, self._deadline, str(self._path(task))))
        except RuntimeError as error:
            raise BrokenProcessPool("the pool takes no tasks") from error
        future.add_done_callback(lambda done: self._finished.put((task, done)))

    def next(self, pool: pebble.ProcessPool) -> list[_Ended]:
        """Tasks that ended, after waiting for a while.

        Raises:
            BrokenProcessPool: The pool is gone.
        """
        try:
            arrived = [self._finished.get(timeout=_LISTEN)]
        except queue.Empty:
            if not pool.active:
                raise BrokenProcessPool("the pool stopped") from None
            return [(task, _lost(), None) for task in self._without_worker()]
        while not self._finished.empty():
            arrived.append(self._finished.get())
        ended: list[_Ended] = []
        broken = None
        for task, future in arrived:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):  # all that the pool held comes back, to be tried in the next one
                broken = error
            elif task.index in self.held:  # otherwise it answered after it had been given up
                ended.append((task, error, None if error else future.result()))
        if broken and not ended:
            raise broken
        return ended

    def _without_worker(self) -> list[Task]:
        """Tasks whose process is gone at two looks in a row, though the pool has not noticed."""
        gone = [task for task in self.held.values() if (pid := self._pid(task)) and not psutil.pid_exists(pid)]
        self._dead = Counter({task.index: self._dead[task.index] + 1 for task in gone})
        return [task for task in gone if self._dead[task.index] >= _LOOKS]

    def _pid(self, task: Task) -> int:
        try:
            return int(self._path(task, ".pid").read_text() or 0)
        except FileNotFoundError:
            return 0

    def trace(self, task: Task) -> str:
        """The stack that a deadline left behind, or nothing."""
        path = self._path(task)
        return path.read_text() if path.is_file() else ""

    def _path(self, task: Task, ending: str = "") -> Path:
        return self._scratch / f"{task.index}-{self._times[task.index]}{ending}"
