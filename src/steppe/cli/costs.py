"""What a run will cost, in words and as JSON; imported by `steppe show --cost` when it is called."""

import dataclasses
from typing import Any

from steppe.core import duration
from steppe.workflow import CostEstimate

from .output import answer, print_table


def as_dict(found: CostEstimate) -> dict[str, Any]:
    """A forecast as plain values."""
    return dataclasses.asdict(found)


def print_cost(found: CostEstimate) -> None:
    """Time, memory and disk, and the cells that they rest on."""
    at_once = f"{found.workers} worker{'' if found.workers == 1 else 's'}"
    answer(
        f"{found.study}, {found.size} size: {found.cells} cells, {found.there} there already, "
        f"{found.to_compute} to compute by {at_once}\n"
    )
    if found.probes:
        rows = [[p.label, f"{p.work:.3g}", _lasted(p.status, p.seconds), _mib(p.memory_mib)] for p in found.probes]
        print_table(["probe", "cost", "took", "memory"], rows)
        answer(f"time    {_time(found)}")
        answer(f"memory  {_memory(found)}")
    answer(f"disk    {_mib(found.store_bytes / 2**20)} for the store")
    for note in found.notes:
        answer(f"\n{note}" if note is found.notes[0] else note)


def _lasted(status: str, seconds: float) -> str:
    return f"over {duration(seconds)}" if status == "timeout" else duration(seconds)


def _time(found: CostEstimate) -> str:
    if found.seconds is None or found.longest is None:
        return f"at least {duration(found.shortest)}"
    work = f"{duration(found.core_seconds)} of computing and {duration(found.start_seconds)} to start"
    return f"about {duration(found.seconds)}, between {duration(found.shortest)} and {duration(found.longest)} ({work})"


def _memory(found: CostEstimate) -> str:
    if found.memory_mib is None:
        return "not known"
    return (
        f"at most {_mib(found.memory_mib)}: {_mib(found.memory_worker_mib)} for each worker, as in the probes; "
        "larger cells may take more"
    )


def _mib(value: float | None) -> str:
    if value is None:
        return "not known"
    return f"{value / 1024:.1f} GiB" if value >= 1024 else f"{value:.0f} MiB" if value >= 10 else f"{value:.1f} MiB"
