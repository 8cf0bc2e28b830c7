"""One engine over any `concurrent.futures.Executor`, and with it over Dask, Ray and SLURM."""

import os
import queue
import sys
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from steppe.core import ComputationError, SteppeError

from .bench import digest_of, driver_facts, serve, stop
from .engine import Place, Task, TaskResult, Terms
from .outcomes import Outcome

_SMALL = 16_384  # bytes of a study that may travel with every task; a larger one goes to each worker once
_LISTEN = 1.0
_GIVE_UP = 4  # workers lost in a row without a single answer, per slot


def _no_news() -> None:
    """Nothing is known to be wrong."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Workers, as an executor.

    Args:
        executor: Takes tasks.
        slots: How many tasks it should hold at this moment.
        losses: What a future raises when its worker is gone, which is worth another try.
        stop: Ends the work of a run there, as far as that can be done.
        check: Raises ComputationError when the place is gone for good.
        batch: Tasks that travel together.
    """

    executor: Executor
    slots: Callable[[], int]
    losses: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)
    stop: Callable[[str], None] = stop
    check: Callable[[], None] = _no_news
    batch: int = 1


class ExecutorEngine:
    """Cells computed by somebody else's workers.

    Each worker has a child process in which cells run (see `bench`), so that deadlines, crashes and stacks are those of
    the local engine on every executor, threads included, and a cell never costs the worker. Beyond that:

    * A worker that dies itself (a lost node, `kill -9`) costs the tasks it held; they are tried again, and after
      `retries` more losses reported as `killed`.
    * A `ProcessPoolExecutor` cannot lose a worker and go on: what it held is reported, and the run ends with a
      ComputationError; the same command goes on.
    * After Ctrl-C, tasks that already run in the processes of such a pool end in their own time; on Dask, Ray, SLURM
      and in threads they are ended.

    Args:
        place: Where.
        terms: Deadline, retries and preloaded modules.
        source: Digest of the study's sources.
    """

    def __init__(self, place: Place, terms: Terms, source: str) -> None:
        self._place, self._terms, self._source = place, terms, source

    def results(self, shipped: bytes, tasks: Sequence[Task]) -> Generator[list[TaskResult], None, None]:
        """The results of all tasks, as they come. Closing the iterator cancels what waits and ends what runs.

        Raises:
            ComputationError: The place cannot be reached, broke for good, or runs another version.
        """
        with ExitStack() as stack:
            crew = stack.enter_context(crew_at(self._place, self._terms, tasks))
            work = _Work(crew, self._place.name, self._terms, shipped, self._source)
            stack.callback(work.close)
            yield from work.results(tasks)


class _Work:
    """One call of `results`."""

    def __init__(self, crew: Crew, name: str, terms: Terms, shipped: bytes, source: str) -> None:
        self._crew, self._name, self._terms, self._shipped = crew, name, terms, shipped
        self._run = uuid.uuid4().hex
        self._common = {
            "run": self._run,
            "study": digest_of(shipped),
            "deadline": terms.deadline,
            "preload": terms.preload,
            "path": [os.path.abspath(place) for place in sys.path],
            "driver": driver_facts(source),
        }
        self._sends = len(shipped) <= _SMALL
        self._held: dict[Future[bytes], list[Task]] = {}
        self._finished: queue.SimpleQueue[Future[bytes]] = queue.SimpleQueue()
        self._tries: dict[int, int] = {}
        self._losses = 0

    def results(self, tasks: Sequence[Task]) -> Generator[list[TaskResult], None, None]:
        size = self._crew.batch
        waiting = deque(list(tasks[at : at + size]) for at in range(0, len(tasks), size))
        while waiting or self._held:
            broken = self._feed(waiting)
            found: list[TaskResult] = []
            for future in self._arrived():
                results, again = self._received(future)
                found += results
                waiting.extendleft([again] if again else [])
            if found:
                yield found
            if broken and not self._held:
                yield from self._give_up(waiting, broken)
            self._crew.check()

    def _feed(self, waiting: "deque[list[Task]]") -> BaseException | None:
        """Hand out as much as there is room for; what the executor says if it takes no more."""
        while waiting and len(self._held) < self._crew.slots():
            try:
                self._submit(waiting[0], self._shipped if self._sends else None)
            except SteppeError:
                raise
            except Exception as error:  # whatever a pool says that broke, was shut down or lost its connection
                return error
            waiting.popleft()
        return None

    def _submit(self, batch: list[Task], shipped: bytes | None) -> None:
        request = msgspec.json.encode({**self._common, "tasks": [task.cells for task in batch]})
        future = self._crew.executor.submit(serve, request, shipped)
        self._held[future] = batch
        future.add_done_callback(self._finished.put)

    def _arrived(self) -> list[Future[bytes]]:
        found = []
        with suppress(queue.Empty):
            found.append(self._finished.get(timeout=_LISTEN))
            while True:
                found.append(self._finished.get_nowait())
        return found

    def _received(self, future: Future[bytes]) -> tuple[list[TaskResult], list[Task]]:
        """The results of a future, and the tasks that must be tried again."""
        batch = self._held.pop(future)
        try:
            answers = msgspec.json.decode(future.result())
        except self._crew.losses as error:
            self._lost_one(error)
            reason = f"({type(error).__name__}: {error})"
            answers = [{"lost": "killed", "error": reason, "facts": {}} for _ in batch]
        except SteppeError as error:
            raise getattr(error, "cause", None) or error from None  # Ray wraps it in a traceback of its own
        except (OSError, TimeoutError) as error:
            raise ComputationError(
                f"{self._name!r} must stay within reach, got {type(error).__name__}: {error}; finished cells are kept, "
                "and the same command goes on"
            ) from error
        except Exception as error:
            raise ComputationError(
                f"workers of {self._name!r} must run steppe, got {type(error).__name__}: {error}; install the same "
                "steppe and the same Python there as here"
            ) from error
        else:
            self._losses = 0
        if answers is None:  # a worker that has not seen this study
            try:
                self._submit(batch, self._shipped)
            except Exception:  # it broke meanwhile; the next task finds out
                return [], batch
            return [], []
        found = [self._result(task, answer) for task, answer in zip(batch, answers, strict=True)]
        again = [task for task, result in zip(batch, found, strict=True) if result is None]
        return [result for result in found if result is not None], again

    def _lost_one(self, error: BaseException) -> None:
        self._losses += 1
        if self._losses > _GIVE_UP * max(1, self._crew.slots()):
            raise ComputationError(
                f"workers of {self._name!r} must stay alive, got {self._losses} lost in a row, the last with "
                f"{type(error).__name__}: {error}; look into the logs of the workers"
            )

    def _result(self, task: Task, answer: dict[str, Any]) -> TaskResult | None:
        """What came of a task, or None if it must be tried again."""
        tries = self._tries[task.index] = self._tries.get(task.index, 0) + 1
        facts = {"engine": self._name, **answer["facts"]}
        lost = answer.get("lost")
        if lost is None:
            outcomes = [
                Outcome(dict(cell), status, result and result.encode(), error)
                for cell, (status, result, error) in zip(task.cells, answer["outcomes"], strict=True)
            ]
            return TaskResult(task, outcomes, facts, tries=tries)
        if lost == "timeout":
            return TaskResult(task, [], facts, lost, answer["error"], tries)
        if tries <= self._terms.retries:
            return None
        reason = f"the worker process ended without an answer {answer['error']}, {tries} times"
        return TaskResult(task, [], facts, lost, reason, tries)

    def _give_up(self, waiting: "deque[list[Task]]", broken: BaseException) -> Generator[list[TaskResult], None, None]:
        """Report what the broken executor had held; the rest was never tried and stays missing."""
        reason = f"the executor broke ({type(broken).__name__}: {broken})"
        tried = [task for batch in waiting for task in batch if task.index in self._tries]
        if tried:
            yield [
                TaskResult(task, [], {"engine": self._name}, "killed", reason, self._tries[task.index])
                for task in tried
            ]
        raise ComputationError(
            f"{reason}; finished cells are kept. Run the same again with a new executor; on='local' survives this"
        )

    def close(self) -> None:
        """Cancel what waits, end what runs."""
        for future in self._held:
            future.cancel()
        with suppress(Exception):  # the place may be gone; then nothing runs there
            self._crew.stop(self._run)


def crew_at(place: Place, terms: Terms, tasks: Sequence[Task]) -> AbstractContextManager[Crew]:
    """The workers of a place, for as long as the context lasts."""
    if place.kind == "dask":
        from .engine_dask import dask_crew

        return dask_crew(place, len(tasks))
    if place.kind == "ray":
        from .engine_ray import ray_crew

        return ray_crew(place, len(tasks))
    if place.kind == "slurm":
        from .engine_slurm import slurm_crew

        return slurm_crew(place, terms, tasks)
    return _own_crew(place)


@contextmanager
def _own_crew(place: Place) -> Generator[Crew, None, None]:
    """The caller's executor, which stays open."""
    assert place.executor is not None
    most = getattr(place.executor, "_max_workers", None) or os.cpu_count() or 1
    slots = place.workers or 2 * most  # one waits behind each that runs
    yield Crew(executor=place.executor, slots=lambda: slots)
