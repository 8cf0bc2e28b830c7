"""Differences as words and as JSON; imported by `steppe diff` when it is called."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from steppe.workflow import Difference, Movement, Side

from .output import answer, print_json, print_table

_FIRST = 20


def print_difference(found: Difference, *, json: bool, all: bool) -> None:
    """What differs, most important first; or all of it as JSON."""
    if json:
        print_json(as_dict(found))
        return
    for name, side in zip("AB", (found.a, found.b), strict=True):
        answer(f"{name}  {side.reference}: {_described(side)}")
    for note in found.notes:
        answer(f"note: {note}")
    answer()
    _print_verdicts(found, all=all)
    _print_columns(found, all=all)
    _print_rows(found)
    _print_facts(found)


def _described(side: Side) -> str:
    revisions = ", ".join(map(str, side.revisions))
    ended = sorted(str(row.provenance.get("ended", "")) for row in side.rows)
    return f"{side.slug or 'no study'}, revision {revisions}, {len(side.rows)} rows, the last of {ended[-1] or '?'}"


def _print_verdicts(found: Difference, *, all: bool) -> None:
    if not found.verdicts:
        return
    changed = found.changed_verdicts
    shown = found.verdicts if all else changed
    answer(
        f"verdicts: {len(changed)} of {len(found.verdicts)} claims and controls changed "
        f"(A and B: on the {found.common} common cells; own: on all cells of each side)"
    )
    if shown:
        rows = [
            [p.id.rpartition("/")[2], p.kind, p.a, p.b, p.own_a, p.own_b, "worse" if p.worse else ""] for p in shown
        ]
        print_table(["claim", "kind", "A", "B", "own A", "own B", ""], rows)
    lines = [
        f"  {pair.id.rpartition('/')[2]}: {pair.measured_a or 'nothing'} → {pair.measured_b or 'nothing'}"
        for pair in changed
        if pair.a != pair.b
    ]
    _print_below(lines, table=bool(shown))


def _print_columns(found: Difference, *, all: bool) -> None:
    columns, moved = found.columns, found.columns.moved
    compared = columns.equal + len(columns.movements)
    answer(
        f"columns: {len(moved)} of {compared} comparisons (column × condition) moved beyond their interval; "
        f"{columns.equal} are equal, {columns.by_interval} were measured against a {columns.level:.4g} interval, of "
        f"which {columns.by_chance:.2g} would move by chance"
    )
    shown = moved if all else moved[:_FIRST]
    if shown:
        rows = [[m.column, _words(m.condition), m.method, m.replicates, *_numbers(m)] for m in shown]
        print_table(["column", "where", "method", "n", "A", "B", "change", "interval"], rows)
    lines = [f"  … and {len(moved) - len(shown)} more; --all shows them"] if len(moved) > len(shown) else []
    for counts, word in ((columns.lost, "lost in B"), (columns.gained, "gained in B")):
        lines += [f"  {column}: value {word} in {number} cells" for column, number in counts.items()]
    _print_below(lines, table=bool(shown))


def _print_below(lines: Sequence[str], *, table: bool) -> None:
    """Lines and an empty one; a table brought its own."""
    for line in lines:
        answer(line)
    if lines or not table:
        answer()


def _numbers(movement: Movement) -> list[str]:
    if movement.change is None:
        return [_short(movement.a), _short(movement.b), "", ""]
    relative = movement.relative
    change = f"{movement.change:+.4g}" + (
        "" if relative is None or not math.isfinite(relative) else f" ({relative:+.2%})"
    )
    low, high = movement.interval or (None, None)
    return [f"{movement.a:.6g}", f"{movement.b:.6g}", change, "" if low is None else f"[{low:+.3g}, {high:+.3g}]"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 30 else text[:29] + "…"


def _words(condition: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in condition.items())


def _print_rows(found: Difference) -> None:
    differ = found.common - found.identical
    answer(
        f"rows: {found.common} common cells, {found.identical} identical, {differ} differ; "
        f"{len(found.only_a)} only in A, {len(found.only_b)} only in B"
    )
    for name, rows in (("A", found.only_a), ("B", found.only_b)):
        if rows:
            answer(f"  only in {name}, first: {rows[0].label}")
    if found.rekeyed:
        answer(f"  {found.rekeyed} common cells have other keys: another revision, or edited parts")
    for change in found.statuses:
        answer(f"  status {change.a} → {change.b}: {change.cells} cells, first: {change.first}")


def _print_facts(found: Difference) -> None:
    for name, (a, b) in found.facts.items():
        answer(f"{name}: {_counted(a)} → {_counted(b)}")


def _counted(values: Mapping[str, int]) -> str:
    if len(values) == 1:
        return _digest(next(iter(values)))
    return ", ".join(f"{_digest(value)} ({count} rows)" for value, count in values.items()) or "not stated"


def _digest(value: str) -> str:
    """A commit or a digest by its first digits, anything else in the length of a line."""
    return value[:12] if re.fullmatch(r"[0-9a-f]{40,}", value) else value[:60]


def as_dict(found: Difference) -> dict[str, Any]:
    """A difference as plain values."""
    columns = found.columns
    return {
        "a": _side(found.a),
        "b": _side(found.b),
        "exit_code": found.exit_code(),
        "notes": list(found.notes),
        "verdicts": [pair._asdict() | {"changed": pair.changed, "worse": pair.worse} for pair in found.verdicts],
        "columns": {
            "equal": columns.equal,
            "differ": len(columns.movements),
            "by_interval": columns.by_interval,
            "level": columns.level,
            "by_chance": columns.by_chance,
            "moved": [_movement(movement) for movement in columns.moved],
            "lost": dict(columns.lost),
            "gained": dict(columns.gained),
        },
        "rows": {
            "common": found.common,
            "identical": found.identical,
            "rekeyed": found.rekeyed,
            "only_a": [dict(row.cell) for row in found.only_a],
            "only_b": [dict(row.cell) for row in found.only_b],
        },
        "statuses": [change._asdict() for change in found.statuses],
        "facts": {name: {"a": dict(a), "b": dict(b)} for name, (a, b) in found.facts.items()},
    }


def _side(side: Side) -> dict[str, Any]:
    revisions = list(side.revisions)
    return {"reference": side.reference, "study": side.slug, "revisions": revisions, "rows": len(side.rows)}


def _movement(movement: Movement) -> dict[str, Any]:
    return {
        "column": movement.column,
        "condition": dict(movement.condition),
        "method": movement.method,
        "replicates": movement.replicates,
        "a": movement.a,
        "b": movement.b,
        "change": movement.change,
        "relative": movement.relative,
        "interval": None if movement.interval is None else list(movement.interval),
    }
