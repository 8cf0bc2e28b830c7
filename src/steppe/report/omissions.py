"""What did not hold, diverged, failed, was absent or was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .tables import csv_link
from .verdicts import Line, short
from .words import count, counted

_SHOWN = 50  # lines of a kind before the rest is only in the CSV
_STATUSES = {
    "diverged": (
        "Diverged",
        "Training left the finite numbers. A result, not a crash; claims and fits leave them out.",
    ),
    "failed": ("Failed", "The cell raised an error and has no numbers."),
    "timeout": ("Out of time", "The cell was ended at its deadline."),
    "killed": ("Killed", "The worker died before the cell was done."),
}


@dataclass(frozen=True)
class Lost:
    """Rows of one status other than done."""

    heading: str
    meaning: str
    total: int
    shown: list[dict[str, str]]
    csv: str
    name: str


@dataclass(frozen=True)
class Omissions:
    """Everything that a reader might miss.

    Args:
        claims: Claims that fail or are inconclusive.
        controls: Sentences on controls that were not rejected.
        unjudged: Claims and controls without a row in scope, each with the anchor of its claim.
        lost: Rows without numbers, by status.
        absent: Sentences on columns without value, each with the names of the columns.
        left_out: Sentences on figures and cells that are missing.
    """

    claims: list[Line] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    unjudged: list[tuple[str, str]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    absent: list[tuple[str, list[str]]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.claims or self.controls or self.unjudged or self.lost or self.absent or self.left_out)


def omissions(
    lines: Sequence[Line], controls: Sequence[Any], rows: Sequence[Any], left_out: Sequence[str]
) -> Omissions:
    """Collect them.

    Args:
        lines: All claims.
        controls: The verdicts on controls.
        rows: All rows, of whatever status.
        left_out: What the caller knows to be missing, in sentences.
    """
    return Omissions(
        claims=[line for line in lines if line.state in ("fails", "inconclusive")],
        controls=[_unpowered(control) for control in controls if control.rejected is False],
        unjudged=_unjudged(lines, controls),
        lost=_lost(rows),
        absent=_absent(rows),
        left_out=list(left_out),
    )


def _unpowered(control: Any) -> str:
    return (
        f"{control.id} ({control.near_miss}) is false and was not rejected: the test of {control.of} had no power here."
    )


def _unjudged(lines: Sequence[Line], controls: Sequence[Any]) -> list[tuple[str, str]]:
    """Claims first; then controls of claims that were judged, which would otherwise look tested."""
    claims = [line for line in lines if line.state == "not judged"]
    without = {line.short for line in claims}
    alone = [c for c in controls if c.rejected is None and short(c.of) not in without]
    return [(line.statement, line.anchor) for line in claims] + [
        (f"The control “{c.near_miss}” of {short(c.of).replace('-', ' ')}", "") for c in alone
    ]


def _lost(rows: Sequence[Any]) -> list[Lost]:
    by_status: dict[str, list[Any]] = {}
    for row in rows:
        if row.status != "done":
            by_status.setdefault(row.status, []).append(row)
    result = []
    for status, members in by_status.items():
        heading, meaning = _STATUSES.get(status, (status.capitalize(), "The cell has no numbers."))
        entries = [
            {"label": row.label, "reason": row.reason or "no reason was recorded", "command": row.command}
            for row in members
        ]
        link = csv_link(("cell", "reason", "command"), [(row.label, row.error, row.command) for row in members])
        result.append(Lost(heading, meaning, len(members), entries[:_SHOWN], link, f"{status}.csv"))
    return result


def _absent(rows: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Columns that are absent for the same reason in the same number of rows, in one sentence with their names."""
    reasons: Counter[tuple[str, str]] = Counter(
        (column, reason) for row in rows if row.status == "done" for column, reason in _items(row.absent)
    )
    together: dict[tuple[str, int], list[str]] = {}
    for (column, reason), times in reasons.items():
        together.setdefault((reason, times), []).append(column)
    total = count(len(rows))
    return [
        (
            f"{counted(len(columns), 'column')} without value in {counted(times, 'row')} of {total}: {reason}",
            columns,
        )
        for (reason, times), columns in together.items()
    ]


def _items(absent: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(absent.items())
