"""Cells to rows: what is missing is computed, what is there stays."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from steppe.core import ParameterError, check_choice, check_integer, check_number

from .canonical import canonical
from .engine import Engine, Place, Task, TaskResult, Terms, parse_place
from .engines import engine_at
from .grid import Cell
from .identity import keys_of
from .outcomes import Outcome
from .progress import Progress, Silent
from .provenance import checkout, now
from .rows import Rows, label_of, reason_of
from .shipping import ship
from .sources import source_digest, source_file
from .store import Record, Store
from .stored import row_of
from .study import Study

Refresh = Literal["none", "stale", "all"]
_FINAL = ("done", "diverged")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended, over the cells asked for.

    Args:
        total: Cells asked for.
        reused: Cells whose row was there.
        computed: Cells computed now.
        done: Rows with numbers.
        diverged: Rows that diverged.
        failed: Cells that raised.
        killed: Cells whose worker died at every try.
        timeout: Cells over the deadline.
        seconds: Wall time of the run.
    """

    total: int
    reused: int
    computed: int
    done: int
    diverged: int
    failed: int
    killed: int
    timeout: int
    seconds: float

    @property
    def crashed(self) -> int:
        """Cells without a valid row."""
        return self.failed + self.killed + self.timeout


def run_cells(
    study: Study,
    cells: Iterable[Mapping[str, Any]],
    store: Store,
    *,
    on: str | Executor = "local",
    workers: int | None = None,
    deadline: int | float | None = None,
    retries: int = 1,
    stack: int | None = 1,
    progress: Progress | None = None,
    refresh: Refresh = "none",
    preload: Sequence[str] = ("torch",),
) -> Summary:
    """Compute the cells that have no row yet and commit them as they come.

    Rows with status `done` or `diverged` stay; failed, killed and timed-out cells are tried again. A worker that dies
    costs its own task, which is repeated. Rows are the same on every engine, with any `stack` and in any order, if the
    study keeps its promise that a cell's numbers do not depend on its company (`steppe.testing.check_study`). This
    process alone writes to the store; only cells and their results travel.

    Args:
        study: The study.
        cells: The cells asked for; groups follow from them.
        store: Where rows go, open for writing.
        on: Where to compute, as for `parse_place`: `"local"`, `"local:N"`, `"dask"`, `"dask://host:port"`, `"ray"`,
            `"ray://host:port"`, `"slurm:partition"`, or any `concurrent.futures.Executor`.
        workers: Cells at once, with one thread each; None for as many as there are cores here or slots there.
        deadline: Seconds that one cell may take in its worker, or None.
        retries: How often a cell whose worker died is tried again.
        stack: At most so many cells of one group are computed in one call; None for whole groups, of which only the
            missing rows are written.
        progress: Who listens.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` all rows; what they replace is kept aside.
        preload: Modules that each worker imports at its start.

    Returns:
        The summary.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the workers stopped; its message says what is kept.
        StoreError: Rows cannot be written; those committed before are kept.
        ComputationError: Workers cannot be started or reached, or run another version.
    """
    place = parse_place(on, workers)
    terms = check_terms(deadline, retries, stack, preload)
    check_choice("refresh", refresh, ("none", "stale", "all"))
    if store.read_only:
        raise ParameterError("`store` must be open for writing, got a read-only one; open it with Store(folder)")
    return _Run(study, cells, store, refresh).compute(place, terms, stack, progress or Silent())


def check_terms(
    deadline: int | float | None, retries: int, stack: int | None, preload: Sequence[str] = ("torch",)
) -> Terms:
    """The options that hold on every engine, checked.

    Raises:
        ParameterError: One is out of range.
    """
    if deadline is not None:
        check_number("deadline", deadline, above=0)
    check_integer("retries", retries, minimum=0)
    if stack is not None:
        check_integer("stack", stack, minimum=1)
    return Terms(deadline=deadline, retries=retries, preload=tuple(preload))


class _Run:
    """One call of `run_cells`."""

    def __init__(self, study: Study, cells: Iterable[Mapping[str, Any]], store: Store, refresh: Refresh) -> None:
        store.check_slug(study)
        self.study, self.store = study, store
        self.groups = study.groups({canonical(dict(cell)): dict(cell) for cell in cells}.values())
        listed = [cell for group in self.groups for cell in group]
        self.keys = dict(zip((canonical(dict(cell)) for cell in listed), keys_of(study, listed), strict=True))
        self.before = store.statuses()
        self.source = source_digest(study)
        final = {key for key in self.keys.values() if self.before.get(key, ("", 0))[0] in _FINAL}
        self.kept = final - self._to_refresh(final, refresh)
        self.statuses = Counter(self.before[key][0] for key in self.kept)
        self.common: dict[str, Any] = {}

    def _to_refresh(self, final: set[str], refresh: Refresh) -> set[str]:
        if refresh != "stale":
            return final if refresh == "all" else set()
        records = self.store.records(final)
        return {key for key, record in records.items() if record.provenance.get("source") != self.source}

    def _key(self, cell: Mapping[str, Any]) -> str:
        return self.keys[canonical(dict(cell))]

    def compute(self, place: Place, terms: Terms, stack: int | None, progress: Progress) -> Summary:
        start = time.perf_counter()
        tasks = self._tasks(stack)
        missing = (cell for group in self.groups for cell in group if self._key(cell) not in self.kept)
        progress.start(len(self.keys), len(self.kept), sum(self.study.work(cell) for cell in missing))
        try:
            if tasks:
                facts = {"source": self.source, "revision": self.study.revision}
                self.common = {**checkout(source_file(self.study)), **facts}
                self._drain(engine_at(place, terms, len(tasks), self.source), tasks, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._stopped()) from None
        finally:
            progress.finish()
        return self._summary(time.perf_counter() - start)

    def _tasks(self, stack: int | None) -> list[Task]:
        """What is missing, at most `stack` cells of a group together; whole groups if None."""
        parts: list[list[Cell]] = []
        for group in self.groups:
            missing = [cell for cell in group if self._key(cell) not in self.kept]
            if stack is None:
                parts += [group] if missing else []
            else:
                parts += [missing[at : at + stack] for at in range(0, len(missing), stack)]
        return [Task(index, tuple(dict(cell) for cell in part)) for index, part in enumerate(parts)]

    def _drain(self, engine: Engine, tasks: list[Task], progress: Progress) -> None:
        with closing(engine.results(ship(self.study), tasks)) as batches:
            for batch in batches:
                for record in self._commit(batch):
                    label, work = label_of(record.cell), self.study.work(record.cell)
                    progress.advance(record.status, label, work, seconds=_share(record), reason=reason_of(record.error))

    def _commit(self, batch: Sequence[TaskResult]) -> list[Record]:
        """The missing rows among those that came together, in one transaction."""
        ended = now()
        records = [record for result in batch for record in self._records(result, ended)]
        self.store.write(self.study, records)
        self.statuses.update(record.status for record in records)
        return records

    def _records(self, result: TaskResult, ended: str) -> Iterator[Record]:
        outcomes: list[tuple[str, Outcome]] = [(found.status, found) for found in result.outcomes]
        if result.lost:
            lost = (Outcome(cell, "failed", error=result.error) for cell in result.task.cells)
            outcomes = [(result.lost, outcome) for outcome in lost]
        facts = {**self.common, **result.facts, "group": len(result.task.cells), "ended": ended}
        for status, outcome in outcomes:
            key = self._key(outcome.cell)
            if key not in self.kept:
                yield Record(
                    key=key,
                    cell=outcome.cell,
                    status=status,
                    attempts=self.before.get(key, ("", 0))[1] + result.tries,
                    result=outcome.result,
                    error=outcome.error,
                    provenance=facts,
                )

    def _stopped(self) -> str:
        kept = sum(self.statuses[status] for status in _FINAL)
        return (
            f"stopped: {kept} of {len(self.keys)} cells are kept in {self.store.path}; "
            "run the same command again to go on"
        )

    def _summary(self, seconds: float) -> Summary:
        counts = {status: self.statuses[status] for status in ("done", "diverged", "failed", "killed", "timeout")}
        reused = len(self.kept)
        return Summary(total=len(self.keys), reused=reused, computed=len(self.keys) - reused, seconds=seconds, **counts)


def _share(record: Record) -> float | None:
    """A cell's share of the seconds of its task; None if the worker did not live to tell."""
    seconds = record.provenance.get("seconds")
    return None if seconds is None else float(seconds) / int(record.provenance["group"])


def load_rows(study: Study, cells: Iterable[Mapping[str, Any]], store: Store, *, command: str | None = None) -> Rows:
    """The rows of these cells that the store has, with any status, in the order of the cells.

    Args:
        study: The study.
        cells: The cells asked for.
        store: Open for reading or writing.
        command: The command that computes the study at this size, to which a row adds its cell;
            `steppe run <slug>` if not given.

    Raises:
        CorruptStoreError: A record is damaged.
        StoreError: The folder holds another study.
    """
    store.check_slug(study)
    listed = list({canonical(dict(cell)): dict(cell) for cell in cells}.values())
    keys = keys_of(study, listed)
    records, source = store.records(keys), source_digest(study)
    run = command or f"steppe run {study.slug}"
    found = ((records[key], cell) for key, cell in zip(keys, listed, strict=True) if key in records)
    rows = [row_of(record, cell, run=run, stale=record.provenance.get("source") != source) for record, cell in found]
    return Rows(rows, study.slug)
