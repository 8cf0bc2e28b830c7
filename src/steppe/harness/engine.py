"""Where cells are computed: what an engine promises, and the short words that choose one."""

import importlib.util
import re
import shutil
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from steppe.core import InputError, KindError, ParameterError, check_integer

from .outcomes import Outcome

_PACKAGES = {"dask": "distributed", "ray": "ray", "slurm": "submitit"}
_HOST = re.compile(r"[A-Za-z0-9_.-]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}")
_PARTITION = re.compile(r"[A-Za-z0-9_.,-]+")
_REHEARSALS = ("local",)  # submitit's stand-in, which needs no SLURM
_WAYS = "'local', 'local:N', 'dask', 'dask://host:port', 'ray', 'ray://host:port' or 'slurm:partition'"


@dataclass(frozen=True)
class Task:
    """Cells of one group on their way to a worker."""

    index: int
    cells: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class TaskResult:
    """What came back: outcomes, or `lost` with the reason that the worker died.

    Args:
        task: The task.
        outcomes: One per cell; empty if the worker died.
        facts: What the worker knows about the making.
        lost: `"killed"` or `"timeout"`, or None.
        error: Why it was lost.
        tries: How often it was tried.
    """

    task: Task
    outcomes: list[Outcome]
    facts: dict[str, Any]
    lost: str | None = None
    error: str = ""
    tries: int = 1


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What holds for every task, whatever the engine.

    Args:
        deadline: Seconds that one cell may take in its worker, or None; a task has so many for each of its cells.
        retries: How often a task whose worker died is tried again.
        preload: Modules that each worker imports before its first task, so that no deadline pays for them.
    """

    deadline: int | float | None = None
    retries: int = 1
    preload: tuple[str, ...] = ("torch",)


@runtime_checkable
class Engine(Protocol):
    """Computes tasks somewhere. It neither reads nor writes a store, and knows nothing of what was computed before."""

    def results(self, shipped: bytes, tasks: Sequence[Task]) -> Generator[list[TaskResult], None, None]:
        """Each task exactly once, in any order; those that ended together come together.

        A cell that crashes, hangs or kills its process is a result. Closing the generator stops the work.

        Args:
            shipped: The study, from `ship`.
            tasks: What to compute.

        Raises:
            ComputationError: The workers cannot be used at all.
        """


@dataclass(frozen=True)
class Place:
    """Where to compute.

    Args:
        kind: Which engine.
        address: Host and port, or the partition; empty for this machine.
        workers: How many cells at once; None for as many as the place has.
        executor: The caller's own executor.
    """

    kind: Literal["local", "dask", "ray", "slurm", "executor"]
    address: str = ""
    workers: int | None = None
    executor: Executor | None = None

    @property
    def name(self) -> str:
        """What the provenance of a row calls it."""
        return self.kind if self.executor is None else type(self.executor).__name__


def parse_place(on: str | Executor, workers: int | None = None) -> Place:
    """What `on` means. Imports none of the packages behind it.

    Args:
        on: `"local"`, `"local:N"`, `"dask"` (a cluster of its own on this machine), `"dask://host:port"`, `"ray"`
            (joins or starts one on this machine), `"ray://host:port"`, `"slurm:partition"`, or an executor.
        workers: How many cells at once.

    Raises:
        ParameterError: It is none of these, or contradicts `workers`.
        InputError: The extra or the program behind it is not installed.
    """
    if workers is not None:
        check_integer("workers", workers, minimum=1)
    if isinstance(on, Executor):
        return Place("executor", workers=workers, executor=on)
    if not isinstance(on, str):
        raise KindError(f"`on` must be {_WAYS}, or a concurrent.futures.Executor, got {type(on).__name__}")
    kind = re.split(":", on, maxsplit=1)[0]
    if kind == "local":
        return Place("local", workers=_local_workers(on, workers))
    if kind not in _PACKAGES:
        raise ParameterError(f"`on` must be {_WAYS}, got {on!r}; choose one of them")
    address = _partition(on) if kind == "slurm" else _address(on, kind)
    _check_installed(on, kind, address)
    return Place(kind, address, workers)  # type: ignore[arg-type]  # one of the keys above


def _local_workers(on: str, workers: int | None) -> int | None:
    _, colon, count = on.partition(":")
    if colon and (not count.isdecimal() or not count.isascii() or int(count) < 1):
        raise ParameterError(f"`on` must be 'local' or 'local:N' with N ≥ 1, got {on!r}; write for example 'local:4'")
    asked = int(count) if colon else None
    if None not in (asked, workers) and asked != workers:
        raise ParameterError(f"`on` {on!r} and `workers` {workers} contradict each other; give one of them")
    return asked if workers is None else workers


def _address(on: str, kind: str) -> str:
    if on == kind:
        return ""
    address = on.removeprefix(f"{kind}://")
    if address == on or not _HOST.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 2**16:
        raise ParameterError(
            f"`on` must be '{kind}' or '{kind}://host:port', got {on!r}; name the scheduler's host and its port"
        )
    return address


def _partition(on: str) -> str:
    _, colon, partition = on.partition(":")
    if colon and not _PARTITION.fullmatch(partition):
        raise ParameterError(f"`on` must be 'slurm' or 'slurm:partition', got {on!r}; `sinfo` lists the partitions")
    return partition


def _check_installed(on: str, kind: str, address: str) -> None:
    if importlib.util.find_spec(_PACKAGES[kind]) is None:
        raise InputError(
            f"`on` {on!r} must find the package `{_PACKAGES[kind]}`, got none; pip install 'steppe[{kind}]'"
        )
    if kind == "slurm" and address not in _REHEARSALS and shutil.which("sbatch") is None:
        raise InputError(f"`on` {on!r} must find the command `sbatch`, got none; start the run on a login node")
