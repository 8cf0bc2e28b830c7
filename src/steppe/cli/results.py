"""Plans and results as words and as JSON; imported by the commands that need them, when they do."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from steppe.workflow import Plan, StudyResult

from .output import answer, note, print_json, print_table

_COLUMNS = 60  # of measured and expected; the report has the rest


def print_result(result: StudyResult, *, json: bool) -> None:
    """Headline, verdicts, what went wrong, and where the report is; or all of it as JSON."""
    if json:
        print_json(as_dict(result))
        return
    if result.headline:
        answer(result.headline + "\n")
    rows = [
        [verdict.id.rpartition("/")[2], verdict.kind, verdict.words, _short(verdict.measured), _short(verdict.expected)]
        for verdict in result.verdicts.values()
    ]
    if rows:
        print_table(["claim", "kind", "verdict", "measured", "expected"], rows)
    print_controls(result)
    for line in _troubles(result):
        answer(line)
    answer(f"report: {relative(result.report)}")


def note_stale(result: StudyResult) -> None:
    """Say on stderr how many rows have old sources, and how to compute them again."""
    if result.stale:
        note(
            f"{result.stale} of {len(result.rows)} rows were computed with other sources than today's; "
            f"`{result.rows[0].run} --refresh stale` computes them again"
        )


def print_controls(result: StudyResult) -> None:
    """How many controls were rejected, and by name those that were not."""
    controls = list(result.controls.values())
    kept = [control for control in controls if not control.rejected]
    answer(f"controls: {len(controls) - len(kept)} of {len(controls)} near misses rejected")
    for control in kept:
        answer(f"  {control.id.rpartition('/')[2]}: {control.words} ({control.near_miss})")


def _troubles(result: StudyResult) -> list[str]:
    lines = []
    diverged = len(result.rows.with_status("diverged"))
    if diverged:
        lines.append(f"{diverged} of {len(result.rows)} cells diverged; the report lists them")
    lines += [
        f"{row.status}: {row.label}: {row.reason or row.status}\n  again: {row.command}" for row in result.crashed[:5]
    ]
    if len(result.crashed) > 5:
        lines.append(f"… and {len(result.crashed) - 5} more cells without a valid row; the report lists them")
    if result.missing:
        lines.append(f"{result.missing} cells have no row yet; run the same command again")
    lines += [f"{name}: {why}" for name, why in result.problems.items()]
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _COLUMNS else text[: _COLUMNS - 1] + "…"


def relative(path: Path) -> str:
    """The path as it is shortest to type from here."""
    resolved = path.resolve()
    return os.path.relpath(resolved) if resolved.is_relative_to(Path.cwd()) else str(resolved)


def as_dict(result: StudyResult) -> dict[str, Any]:
    """A result as plain values."""
    statuses = [row.status for row in result.rows]
    return {
        "study": result.study.slug,
        "headline": result.headline,
        "ok": result.ok,
        "rows": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
        "missing": result.missing,
        "stale": result.stale,
        "verdicts": [dataclasses.asdict(verdict) | {"words": verdict.words} for verdict in result.verdicts.values()],
        "controls": [
            {
                "id": c.id,
                "of": c.of,
                "near_miss": c.near_miss,
                "rejected": c.rejected,
                "margin": c.margin,
                "measured": c.measured,
            }
            for c in result.controls.values()
        ],
        "problems": dict(result.problems),
        "crashed": [{"cell": dict(row.cell), "error": row.error, "command": row.command} for row in result.crashed],
        "figures": list(result.figures),
        "report": str(result.report),
        "folder": str(result.folder),
    }


def print_plan(planned: Plan, *, json: bool) -> None:
    """What a run would compute."""
    todo = planned.todo()
    if json:
        counts = {"cells": len(planned.cells), "to_compute": todo}
        print_json({"study": planned.study.slug, **counts, "folder": str(planned.folder)})
        return
    answer(f"{planned.study.slug}: {len(planned.cells)} cells, {len(todo)} to compute, in {relative(planned.folder)}")
    for cell in todo:
        answer("  " + ", ".join(f"{name}={value}" for name, value in cell.items()))
