"""From rows to a result with its report."""

import datetime
from pathlib import Path
from typing import Any

from steppe.harness import Rows, Study, Summary, claims_digest
from steppe.report import Live, render, write

from .judging import Judged, judge_rows
from .result import StudyResult


def conclude(
    study: Study,
    rows: Rows,
    folder: Path,
    *,
    missing: int,
    size: str,
    command: str,
    claims_changed: bool | None,
    summary: Summary | None = None,
    report: bool = True,
) -> StudyResult:
    """Judge rows and write the report.

    Args:
        study: The study.
        rows: The rows of the cells asked for.
        folder: Where the report goes.
        missing: Cells asked for that have no row.
        size: What was asked for, in a word.
        command: The command line that does the same.
        claims_changed: Whether a claim changed after the first row.
        summary: What the runner says, if it ran.
        report: Whether the report is written.

    Raises:
        StoreError: The report cannot be written.
    """
    judged = judge_rows(study, rows)
    path = folder / "report.html"
    if report:
        page = page_of(
            study,
            rows,
            judged,
            missing=missing,
            size=size,
            command=command,
            claims_changed=claims_changed,
            summary=summary,
        )
        write(path, page)
    return StudyResult(
        study=study,
        rows=rows,
        verdicts=judged.verdicts,
        controls=judged.controls,
        figures=judged.figures,
        problems=judged.problems,
        headline=judged.headline,
        report=path,
        folder=folder,
        missing=missing,
        summary=summary,
    )


def page_of(
    study: Study,
    rows: Rows,
    judged: Judged,
    *,
    missing: int,
    size: str,
    command: str,
    claims_changed: bool | None,
    summary: Summary | None = None,
    live: Live | None = None,
) -> str:
    """The report of judged rows; arguments as in `conclude`, and where the run stands if it has not ended."""
    left_out = [f"{name[:1].upper()}{name[1:]} {why}." for name, why in judged.problems.items()]
    if missing:
        left_out.append(f"{missing} of {len(rows) + missing} cells have no row yet.")
    return render(
        study,
        rows,
        list(judged.verdicts.values()),
        list(judged.controls.values()),
        judged.figures,
        provenance(study, rows, size=size, command=command, claims_changed=claims_changed, summary=summary),
        headline=judged.headline or study.title,
        left_out=left_out,
        live=live,
    )


def provenance(
    study: Study, rows: Rows, *, size: str, command: str, claims_changed: bool | None, summary: Summary | None
) -> dict[str, Any]:
    """What the report says about how the rows came to be; the newest row speaks for the machine."""
    newest = max((row.provenance for row in rows), key=lambda facts: str(facts.get("ended", "")), default={})
    versions = dict(newest.get("versions") or {})
    commit = newest.get("commit")
    computing = sum(_seconds(row.provenance) for row in rows)
    return {
        "command": command,
        "date": newest.get("ended") or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": computing if summary is None or summary.reused else summary.seconds,
        "size": size,
        "steppe": versions.pop("steppe", None),
        "commit": f"{commit}{' with uncommitted changes' if newest.get('dirty') else ''}" if commit else None,
        "python": newest.get("python"),
        "versions": versions or None,
        "platform": newest.get("platform"),
        "host": newest.get("host"),
        "cpu": newest.get("cpu"),
        "cores": newest.get("cores"),
        "seconds of computing": round(computing, 1),
        "revision": study.revision,
        "claims_digest": claims_digest(study),
        "source_digest": newest.get("source"),
        "bands_fixed": None if claims_changed is None else not claims_changed,
        "stale": sum(row.stale for row in rows),
        "refresh": f"{rows[0].run} --refresh stale" if rows else None,
    }


def _seconds(facts: Any) -> float:
    """A row's share of the time of its group."""
    return float(facts.get("seconds") or 0.0) / max(1, int(facts.get("group") or 1))
