"""One side of a comparison: the rows that a reference such as `runs/toy@2` stands for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steppe.core import InputError, NotComputedError
from steppe.harness import Record, Rows, Store, canonical, stored_rows
from steppe.studies import known_studies

from .places import check_path

_REVISION = re.compile(r"claims of revision (\d+)")
_STATES = "FOLDER, FOLDER@2 (a revision), FOLDER@superseded or FOLDER@commit:9f38e87"


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """The rows that one reference stands for, one per cell.

    Args:
        reference: What was asked for.
        folder: The folder of the store.
        slug: The study that wrote the rows.
        revisions: The study's revisions that occur among the rows.
        claims: Revision → digest of the claims as they stood with its first row.
        rows: The rows, the newest of each cell.
    """

    reference: str
    folder: Path
    slug: str
    revisions: tuple[int, ...]
    claims: Mapping[int, str]
    rows: Rows


def read_side(reference: str) -> Side:
    """The rows of a folder, or of a slug's default folder, in one state.

    Args:
        reference: A folder or slug; then `@N` for revision N, `@superseded` for the finished rows that were computed
            again since, or `@commit:HEX` for the rows computed at that commit, superseded ones included. Without a
            state: the rows of the newest revision.

    Returns:
        The side, with the newest row of each cell.

    Raises:
        InputError: The reference is no folder, no slug, or the state is none of these.
        NotComputedError: No row is in this state; the message lists what there is.
        StoreError: There is no store, or it is damaged.
    """
    folder, state = _parsed(reference)
    with Store(folder, read_only=True) as store:
        meta = store.meta()
        current, replaced = list(store.records().values()), store.superseded()
    slug = meta.get("slug", "")
    claims = {int(found[1]): digest for name, digest in meta.items() if (found := _REVISION.fullmatch(name))}
    oldest = min(claims, default=1)
    chosen = _in_state(state, current, replaced, oldest)
    if not chosen:
        raise NotComputedError(f"{reference} holds no row; {_what_there_is(current, replaced, oldest)}")
    rows = stored_rows(_newest(chosen), slug)
    revisions = tuple(sorted({_revision(record, oldest) for record in chosen}))
    return Side(reference=reference, folder=folder, slug=slug, revisions=revisions, claims=claims, rows=rows)


def _parsed(reference: str) -> tuple[Path, str]:
    path = check_path("folder", reference)
    if path.is_dir():
        return path, ""
    base, at, state = reference.rpartition("@")
    if at and not _known_state(state):
        raise InputError(f"`{reference}` must be {_STATES}, got the state {state!r}; write one of these")
    place = base if at else reference
    if place and Path(place).is_dir():
        return Path(place), state if at else ""
    if place in {entry.slug for entry in known_studies()} or (place and (Path("runs") / place).is_dir()):
        return Path("runs") / place, state if at else ""
    raise InputError(f"{place!r} is neither a folder nor a study; pass {_STATES}, or a slug instead of the folder")


def _known_state(state: str) -> bool:
    return state.isdecimal() or state == "superseded" or re.fullmatch(r"commit:[0-9a-f]{4,40}", state) is not None


def _revision(record: Record, oldest: int) -> int:
    """Rows know their revision; the first ones of a store that has several may not, and are of the oldest."""
    found = record.provenance.get("revision")
    return found if isinstance(found, int) else oldest


def _in_state(state: str, current: list[Record], replaced: list[Record], oldest: int) -> list[Record]:
    if state.startswith("commit:"):
        commit = state.removeprefix("commit:")
        return [r for r in (*replaced, *current) if str(r.provenance.get("commit") or "").startswith(commit)]
    pool = replaced if state == "superseded" else current
    newest = max((_revision(record, oldest) for record in pool), default=oldest)
    wanted = int(state) if state.isdecimal() else newest
    return [record for record in pool if _revision(record, oldest) == wanted]


def _newest(records: Iterable[Record]) -> list[Record]:
    """The row of each cell that ended last; of those that ended in the same second, the one that was stored last."""
    found: dict[bytes, Record] = {}
    for record in records:
        place = canonical(dict(record.cell) if isinstance(record.cell, dict) else record.cell)
        before = found.get(place)
        if before is None or _ended(before) <= _ended(record):
            found[place] = record
    return list(found.values())


def _ended(record: Record) -> str:
    return str(record.provenance.get("ended", ""))


def _what_there_is(current: list[Record], replaced: list[Record], oldest: int) -> str:
    revisions = sorted({_revision(record, oldest) for record in current})
    commits = list(dict.fromkeys(str(r.provenance.get("commit") or "none")[:10] for r in (*current, *replaced)))
    return (
        f"the folder has {len(current)} rows (revisions {_listed(revisions)}; commits {_listed(commits)}) and "
        f"{len(replaced)} superseded ones"
    )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values)) or "none"
