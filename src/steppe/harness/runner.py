"""Cells to rows: what is missing is computed, what is there stays."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from steppe.core import ParameterError, check_choice, check_integer, check_number

from .canonical import canonical
from .engine import LocalEngine, Task, TaskResult
from .identity import keys_of
from .outcomes import Outcome, decode
from .progress import Progress, Silent
from .provenance import environment, now
from .rows import Row, Rows, label_of
from .shipping import ship
from .sources import source_digest, source_file
from .store import Record, Store
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
        killed: Cells whose worker died, twice.
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
    workers: int | None = None,
    progress: Progress | None = None,
    refresh: Refresh = "none",
    deadline: int | float | None = None,
    preload: Sequence[str] = ("torch",),
) -> Summary:
    """Compute the cells that have no row yet and commit them, group by group.

    Rows with status `done` or `diverged` stay; failed, killed and timed-out cells are tried again. A group of which a
    cell is missing is computed whole and only its missing rows are written, so that numbers depend neither on workers
    nor on what an interrupted run had left. A worker that dies costs its own task, once repeated.

    Args:
        study: The study.
        cells: The cells asked for; groups follow from them.
        store: Where rows go, open for writing.
        workers: Worker processes with one thread each; None for as many as there are cores, tasks at most.
        progress: Who listens.
        refresh: `"stale"` computes rows again whose sources changed, `"all"` all rows; what they replace is kept aside.
        deadline: Seconds that one task may take, or None.
        preload: Modules that each worker imports at its start.

    Returns:
        The summary.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the workers stopped; its message says what is kept.
        StoreError: Rows cannot be written; those committed before are kept.
        ComputationError: Workers cannot be started.
    """
    if workers is not None:
        check_integer("workers", workers, minimum=1)
    if deadline is not None:
        check_number("deadline", deadline, above=0)
    check_choice("refresh", refresh, ("none", "stale", "all"))
    if store.read_only:
        raise ParameterError("`store` must be open for writing, got a read-only one; open it with Store(folder)")
    return _Run(study, cells, store, refresh).compute(workers, progress or Silent(), deadline, preload)


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

    def compute(
        self, workers: int | None, progress: Progress, deadline: int | float | None, preload: Sequence[str]
    ) -> Summary:
        start = time.perf_counter()
        wanted = [group for group in self.groups if any(self._key(cell) not in self.kept for cell in group)]
        tasks = [Task(index, tuple(dict(cell) for cell in group)) for index, group in enumerate(wanted)]
        ahead = sum(self.study.work(cell) for group in wanted for cell in group if self._key(cell) not in self.kept)
        progress.start(len(self.keys), len(self.kept), ahead)
        try:
            if tasks:
                self.common = {**environment(source_file(self.study)), "source": self.source}
                count = min(workers or os.cpu_count() or 1, len(tasks))
                self._drain(LocalEngine(count, preload=preload, deadline=deadline), tasks, progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._stopped()) from None
        finally:
            progress.finish()
        return self._summary(time.perf_counter() - start)

    def _drain(self, engine: LocalEngine, tasks: list[Task], progress: Progress) -> None:
        with closing(engine.results(ship(self.study), tasks)) as results:
            for result in results:
                for record in self._commit(result):
                    progress.advance(record.status, label_of(record.cell), self.study.work(record.cell))

    def _commit(self, result: TaskResult) -> list[Record]:
        """The rows of a group that were missing, in one transaction."""
        outcomes: list[tuple[str, Outcome]] = [(found.status, found) for found in result.outcomes]
        if result.lost:
            lost = (Outcome(cell, "failed", error=result.error) for cell in result.task.cells)
            outcomes = [(result.lost, outcome) for outcome in lost]
        facts = {**self.common, **result.facts, "group": len(result.task.cells), "ended": now()}
        records = []
        for status, outcome in outcomes:
            key = self._key(outcome.cell)
            if key not in self.kept:
                attempts = self.before.get(key, ("", 0))[1] + result.tries
                records.append(
                    Record(
                        key=key,
                        cell=outcome.cell,
                        status=status,
                        attempts=attempts,
                        result=outcome.result,
                        error=outcome.error,
                        provenance=facts,
                    )
                )
        self.store.write(self.study, records)
        self.statuses.update(record.status for record in records)
        return records

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
    rows = [_row(records[key], cell, source, run) for key, cell in zip(keys, listed, strict=True) if key in records]
    return Rows(rows, study.slug)


def _row(record: Record, cell: Mapping[str, Any], source: str, run: str) -> Row:
    columns, absent = decode(record.result)
    return Row(
        cell=cell,
        result=columns,
        absent=absent,
        key=record.key,
        status=record.status,  # type: ignore[arg-type]  # what the runner wrote
        error=record.error or "",
        provenance=record.provenance,
        stale=record.provenance.get("source") != source,
        run=run,
    )
