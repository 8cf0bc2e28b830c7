"""What a sweep will cost, foretold from two of its cells."""

import heapq
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from steppe.core import ComputationError, check_number
from steppe.harness import Cell, Grid, Record, Store, Study, canonical, label_of, reason_of, run_cells

from .planning import Size
from .running import plan

_SPREAD = 2.0  # both ways: the author's `cost` is a guess, and cells that share it differ
_BUSY = 1.1  # a slowdown worth a word
_EMPTY = 20_480  # bytes of a store without rows
_ROW_OVERHEAD = 200  # bytes of a row beside its fields: key, checksum, pages
_VALID = ("done", "diverged", "timeout")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A cell that was computed to learn what the others cost; its result is thrown away.

    Args:
        cell: The axes.
        label: The cell in words.
        status: `"done"`, `"diverged"`, or `"timeout"` if it took longer than the probe's patience.
        work: Its cost as the study foresees it, in the study's unit.
        seconds: How long it took in its worker.
        memory_mib: Largest resident memory of its worker until its end, in MiB; None if it timed out.
        stored_bytes: What its row takes in the store.
    """

    cell: Mapping[str, Any]
    label: str
    status: str
    work: float
    seconds: float
    memory_mib: float | None
    stored_bytes: int


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What a sweep will cost. A forecast from one or two cells, not a confidence interval.

    Args:
        study: The study's slug.
        size: The size that was asked for.
        cells: Cells asked for.
        there: How many of them have a valid row already.
        to_compute: How many are to be computed.
        workers: Cells at once.
        probes: The cells that were computed for it: the cheapest, and the one up to which half of all work lies.
        seconds: Wall time of the whole run, start of the workers included; None if a probe lost its patience.
        shortest: The lower end of the range in seconds: half of the shorter reading of the probes.
        longest: The upper end: twice the longer reading, and more where other programs keep the machine busy; None if
            a probe lost its patience, since then there is none.
        core_seconds: Seconds that all cells take together, on one core.
        start_seconds: Of `seconds`, what it takes until workers are ready.
        memory_worker_mib: Largest memory of the worker of the probes in MiB; larger cells may take more.
        memory_mib: The same for all workers together; less is used, since workers share their libraries.
        store_bytes: Size of the store after the run.
        notes: What the numbers rest on, in sentences.
    """

    study: str
    size: str
    cells: int
    there: int
    to_compute: int
    workers: int
    probes: tuple[Probe, ...] = ()
    seconds: float | None = 0.0
    shortest: float = 0.0
    longest: float | None = 0.0
    core_seconds: float = 0.0
    start_seconds: float = 0.0
    memory_worker_mib: float | None = None
    memory_mib: float | None = None
    store_bytes: int = 0
    notes: tuple[str, ...] = ()


def estimate_cost(
    study: Study | str | os.PathLike[str],
    *,
    size: Size = "default",
    grid: Grid | Mapping[str, Any] | None = None,
    where: Any = None,
    workers: int | None = None,
    out: str | os.PathLike[str] | None = None,
    on: str | Executor = "local",
    patience: float = 120.0,
) -> CostEstimate:
    """Foretell time and memory of a run from two of its cells, computed here in a worker process and thrown away.

    Seconds are an affine function of the study's `cost`, through the cheapest cell and a costly one. The second reading
    is a line through the origin and the costly cell; the range holds both, widened by a factor of two to either side,
    and further above where the machine is busy. Cells are dealt out to the workers in their order, so that a long last
    cell counts.

    Args:
        study: As for `run`.
        size: As for `run`.
        grid: As for `run`.
        where: As for `run`.
        workers: As for `run`.
        out: The folder whose rows count as there; `./runs/<slug>` if None. Nothing is written to it.
        on: As for `run`; the probes run on this machine in any case.
        patience: Seconds after which a probe is ended; then only a lower end is known.

    Returns:
        The forecast.

    Raises:
        InputError: As for `run`.
        ComputationError: A probe failed; the message has its reason.
        StoreError: There is a store in the folder, and it is damaged.

    Cost: Two cells, a third cheap one to warm up, and the start of one worker.
    """
    check_number("patience", patience, above=0.0)
    planned = plan(study, size=size, grid=grid, where=where, workers=workers, out=out, on=on)
    found, todo = planned.study, [planned.study.cell(cell) for cell in planned.todo()]
    count = len(planned.cells)
    cores = os.cpu_count() or 1
    common: dict[str, Any] = {
        "study": found.slug,
        "size": planned.size,
        "cells": count,
        "there": count - len(todo),
        "to_compute": len(todo),
        "workers": max(1, min(planned.workers or cores, len(todo))),
    }
    file = planned.folder / "study.db"
    stored = file.stat().st_size if file.is_file() else _EMPTY
    if not todo:
        return CostEstimate(**common, store_bytes=stored, notes=("Nothing is left to compute.",))
    here = on == "local" or str(on).startswith("local:")
    at_once = min(common["workers"], cores) if here else common["workers"]
    slowdown = _slowdown(at_once, cores) if here else 1.0
    probes, start = _probe(found, todo, patience)
    return CostEstimate(
        **common,
        **_time(found, todo, probes, start, at_once, slowdown),
        **_space(probes, common["workers"], stored, len(todo)),
        probes=probes,
        notes=tuple(_notes(found, probes, common["workers"], cores, slowdown, here=here)),
    )


def _slowdown(workers: int, cores: int) -> float:
    """By how much more than a lone probe all workers are held up by what else runs here now."""
    others = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1.0, (others + workers) / cores) / max(1.0, (others + 1) / cores)


def _probe(study: Study, todo: Sequence[Cell], patience: float) -> tuple[tuple[Probe, ...], float]:
    """The cheapest and a costly cell, computed one after the other by one worker, and the seconds until it started."""
    order = sorted(todo, key=study.work)
    cheap, costly = order[0], _costly(study, order)
    # The first cell in a worker also pays for what it imports on demand; a further cheap one does that if there is one.
    warm = next((cell for cell in order[1:] if cell is not costly), None)
    cells = [costly, cheap] if warm is None else [warm, cheap, costly]
    with tempfile.TemporaryDirectory(prefix="steppe-cost-") as folder, Store(folder) as store:
        summary = run_cells(study, cells, store, workers=1, deadline=patience, retries=0)
        records = {canonical(dict(record.cell)): record for record in store.records().values()}
    listed = [records[canonical(dict(cell))] for cell in cells]
    spent = sum(float(record.provenance.get("seconds") or 0.0) for record in listed)
    measured = [cheap] if costly is cheap else [cheap, costly]
    probes = tuple(_as_probe(study, records[canonical(dict(cell))], patience) for cell in measured)
    return probes, max(summary.seconds - spent, 0.0)


def _costly(study: Study, order: Sequence[Cell]) -> Cell:
    """Of cells in the order of their work, the one at which half of all work is reached: where the time goes."""
    half, reached = sum(study.work(cell) for cell in order) / 2, 0.0
    for cell in order:
        reached += study.work(cell)
        if reached >= half:
            return cell
    return order[-1]


def _as_probe(study: Study, record: Record, patience: float) -> Probe:
    label, facts = label_of(record.cell), record.provenance
    if record.status not in _VALID:
        raise ComputationError(
            f"the probe must give a row to tell what others cost, got {record.status} at {label}: "
            f"{reason_of(record.error)}; mend the study, or leave such cells out with `where`"
        )
    fields = (canonical(dict(record.cell)), record.result or b"", canonical(dict(facts)), (record.error or "").encode())
    memory = facts.get("peak_memory_mib")
    return Probe(
        cell=dict(record.cell),
        label=label,
        status=record.status,
        work=study.work(record.cell),
        seconds=patience if record.status == "timeout" else float(facts["seconds"]),
        memory_mib=None if memory is None else float(memory),
        stored_bytes=sum(map(len, fields)) + _ROW_OVERHEAD,
    )


def _time(
    study: Study, todo: Sequence[Cell], probes: tuple[Probe, ...], start: float, workers: int, slowdown: float
) -> dict[str, Any]:
    work = [study.work(cell) for cell in todo]
    readings = [[fixed + slope * each for each in work] for fixed, slope in _lines(probes)]
    walls = [start + _wall(seconds, workers) for seconds in readings]
    endless = any(probe.status == "timeout" for probe in probes)
    return {
        "seconds": None if endless else walls[0],
        "shortest": start + (min(walls) - start) / (1.0 if endless else _SPREAD),
        "longest": None if endless else start + (max(walls) - start) * _SPREAD * slowdown,
        "core_seconds": sum(readings[0]),
        "start_seconds": start,
    }


def _lines(probes: tuple[Probe, ...]) -> list[tuple[float, float]]:
    """Readings of the probes, the best first: seconds at no work, and seconds per unit of work."""
    cheap, costly = probes[0], probes[-1]
    through = (0.0, costly.seconds / costly.work)
    if cheap.work == costly.work:  # the study foresees no difference: both tell the same thing
        mean = (cheap.seconds + costly.seconds) / 2
        return [(mean, 0.0), (cheap.seconds, 0.0), (costly.seconds, 0.0)]
    slope = (costly.seconds - cheap.seconds) / (costly.work - cheap.work)
    fixed = cheap.seconds - slope * cheap.work
    return [(fixed, slope), through] if fixed >= 0 and slope >= 0 else [through, (0.0, cheap.seconds / cheap.work)]


def _wall(seconds: Sequence[float], workers: int) -> float:
    """When the last worker is done, if each takes the next cell as soon as it is free."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def _space(probes: tuple[Probe, ...], workers: int, stored: int, rows: int) -> dict[str, Any]:
    known = [probe.memory_mib for probe in probes if probe.memory_mib is not None]
    each = max(known) if known else None
    row = sum(probe.stored_bytes for probe in probes) / len(probes)
    return {
        "memory_worker_mib": each,
        "memory_mib": None if each is None else each * workers,
        "store_bytes": stored + round(row * rows),
    }


def _notes(
    study: Study, probes: tuple[Probe, ...], workers: int, cores: int, slowdown: float, *, here: bool
) -> list[str]:
    notes = [f"A forecast from {len(probes)} of the cells, each computed alone; not a confidence interval."]
    if study.cost is None:
        notes.append("The study foresees no cost of its cells, so all are taken as alike.")
    late = [probe.label for probe in probes if probe.status == "timeout"]
    if late:
        notes.append(f"Not finished when the patience was over, so there is no upper end: {'; '.join(late)}.")
    if not here:
        notes.append("The probes ran on this machine; those of the cluster may be faster or slower.")
    elif workers > cores:
        notes.append(f"{workers} workers share {cores} cores, so the time is that of {cores}.")
    if slowdown > _BUSY:
        notes.append("Other programs keep this machine busy; while they do, expect a time near the upper end.")
    return notes
