"""Stores to spoil: some hundred rows of every kind, as a closed run and as a killed one leave them."""

import hashlib
import shutil

from steppe.harness import AtMost, Control, Grid, Record, Store, Study, keys_of

CLAIM = AtMost("small", "the value is at most 1000", left="value", right=1000)
CONTROL = Control(AtMost("tiny", "the value is at most -1", left="value", right=-1), "small", "the sign")


def row(seed: int) -> dict:
    return {"value": seed / 7}


def study_of(cells: int, **changes) -> Study:
    pieces = {"slug": "spoiled", "columns": {"value": "1"}, "grid": Grid(seed=range(cells)), "row": row}
    return Study(**{**pieces, "claims": (CLAIM,), "controls": (CONTROL,), **changes})


def records_of(study: Study, *, attempts: int = 1) -> list[Record]:
    """Rows of all kinds: short and long, with and without result, some long enough for SQLite's overflow pages."""
    cells = study.cells()
    statuses = ("done", "done", "diverged", "failed", "killed", "timeout")
    made = []
    for number, (key, cell) in enumerate(zip(keys_of(study, cells), cells, strict=True)):
        status = statuses[number % len(statuses)]
        final = status in ("done", "diverged")
        error = None if status == "done" else f"reason {number} " * (1 if number % 9 else 900)
        provenance = {"host": "here", "source": "a" * 64, "seconds": number / 8, "revision": study.revision}
        result = b'{"value":%d.5}' % number if final else None
        made.append(
            Record(key=key, cell=dict(cell), status=status, attempts=attempts, result=result, error=error,
                   provenance=provenance)
        )  # fmt: skip
    return made


def numbered(number: int) -> Record:
    """One of endlessly many finished rows."""
    key = hashlib.sha256(str(number).encode()).hexdigest()
    return Record(key=key, cell={"seed": number}, status="done", result=b'{"value":%d.5}' % number)


def fill(store: Store, cells: int) -> None:
    """Write all rows, then a third of them again, so that replaced rows stand aside, one commit per sixty rows."""
    study = study_of(cells)
    for records in (records_of(study), records_of(study, attempts=2)[::3]):
        for start in range(0, len(records), 60):
            store.write(study, records[start : start + 60])


def closed_store(folder, cells: int):
    """The folder of a run that ended."""
    with Store(folder) as store:
        fill(store, cells)
    return folder


def killed_store(folder, cells: int):
    """The folder of a run whose driver was killed: a part of the rows stands in the log only."""
    with Store(folder / "live") as store:
        fill(store, cells // 2)
    with Store(folder / "live") as store:
        fill(store, cells)
        shutil.copytree(folder / "live", folder / "killed")
    assert (folder / "killed" / "study.db-wal").stat().st_size > 32
    return folder / "killed"


def contents(store: Store):
    """All that a store holds."""
    return store.records(), store.superseded(), store.statuses(), store.meta()


def truth_of(folder):
    """What is in it, read from a copy so that the folder stays as it is."""
    copy = folder.with_name(f"{folder.name}-read")
    shutil.copytree(folder, copy)
    with Store(copy, read_only=True) as store:
        return contents(store)


def bytes_of(folder):
    """Name → content of every file that holds rows."""
    found = {name: (folder / name).read_bytes() for name in ("study.db", "study.db-wal") if (folder / name).is_file()}
    return {name: data for name, data in found.items() if data}
