"""One self-contained HTML page from rows, verdicts and figures."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from steppe.plotting import Figure, page_environment, plotly_script, script_hash, write_page

from . import sections as parts
from . import words
from .live import Live
from .omissions import omissions
from .verdicts import Line, lines, short, tally

_FOLDER = Path(__file__).parent / "page"
_BUDGET = 6_000_000  # bytes of the whole page; plotly.js takes 4.8 of them
_TABLE_ROWS = (500, 200, 50, 10)


def render(
    study: Any,
    rows: Sequence[Any],
    verdicts: Sequence[Any] | Mapping[str, Any],
    control_verdicts: Sequence[Any],
    figures: Mapping[str, Figure],
    provenance: Mapping[str, Any],
    *,
    headline: str | None = None,
    left_out: Sequence[str] = (),
    live: Live | None = None,
) -> str:
    """The report as HTML that needs nothing but itself: no server, no network, no other file.

    Reading order: one sentence from the numbers; the verdict table with negative controls; figures with their numbers;
    further sections such as real data; what did not hold, diverged or was left out; provenance. Every text is escaped,
    and a content security policy admits only the scripts written here.

    Args:
        study: The `Study`.
        rows: All rows, of whatever status.
        verdicts: The verdicts, as a list or by id.
        control_verdicts: The verdicts on negative controls.
        figures: Figures by the id of their `FigureSpec`. Figures of the study that are missing are said to be.
        provenance: What is known about the run. Understood: `command`, `date` (ISO), `seconds`, `size`, `workers`,
            `steppe`, `commit`, `python`, `platform`, `cpu`, `claims_digest`, `bands_fixed` (bool), `stale` (number of
            rows), `refresh` (the command that computes those again), `cite`; other keys are shown as they come.
        headline: The sentence at the top; None asks `study.headline`.
        left_out: Sentences on what is missing, such as cells that were not reached.
        live: Where the run stands, if it has not ended: the page says so and, while it goes on, reloads itself.

    Returns:
        The page. Below 6 MB as long as the figures' numbers allow; tables are shortened first, CSVs never.
    """
    found = list(verdicts.values()) if isinstance(verdicts, Mapping) else list(verdicts)
    missing = [f"Figure {spec.id} could not be drawn." for spec in study.figures if spec.id not in figures]
    said = " ".join(left_out)
    notes = [*left_out, *(m for m, spec in zip(missing, _absent(study, figures), strict=True) if spec not in said)]
    sentence, trouble = (headline, "") if headline is not None else _headline(study, rows, found)
    context = {
        "study": study,
        "headline": sentence,
        "facts": parts.facts(rows, provenance),
        "axes": parts.axes(rows),
        "all_rows": parts.all_rows(study.slug, rows),
        "tally": tally(lines(found, control_verdicts, ()), control_verdicts),
        "powerless": [control for control in control_verdicts if control.rejected is False],
        "provenance": parts.provenance_lines(provenance),
        "command": provenance.get("command", ""),
        "bands": parts.bands(provenance),
        "stale": provenance.get("stale") or sum(bool(getattr(row, "stale", False)) for row in rows),
        "cite": provenance.get("cite") or _citation(study, provenance),
        "refresh": provenance.get("refresh", "--refresh stale"),
        "running": live is not None and live.state == "running",
        "banner": Markup(banner(live, provenance.get("command", ""))) if live is not None else "",
    }
    claims = lines(found, control_verdicts, figures)
    context["omissions"] = omissions(claims, control_verdicts, rows, [*notes, *([trouble] if trouble else [])])
    return _fitted(context, study, claims, figures)


def _absent(study: Any, figures: Mapping[str, Figure]) -> list[str]:
    return [spec.id for spec in study.figures if spec.id not in figures]


def _fitted(context: dict[str, Any], study: Any, claims: Sequence[Line], figures: Mapping[str, Figure]) -> str:
    page = ""
    main, others = parts.sections(study, claims, figures, table_rows=_TABLE_ROWS[0])
    for limit in _TABLE_ROWS:
        short_ones = [parts.shortened(section, limit) for section in others]
        page = _template(context | {"main": parts.shortened(main, limit), "others": short_ones})
        if len(page.encode()) <= _BUDGET:
            break
    return page


def _headline(study: Any, rows: Sequence[Any], verdicts: Sequence[Any]) -> tuple[str, str]:
    """The study's sentence; if it cannot be made, its title, and why."""
    if study.headline is None:
        return study.title, ""
    by_id = {v.id: v for v in verdicts} | {short(v.id): v for v in verdicts}
    try:
        return str(study.headline(rows, by_id)), ""
    except Exception as error:  # a sentence must not cost the report
        return study.title, f"The headline could not be made from these rows: {type(error).__name__}: {error}"


def _citation(study: Any, provenance: Mapping[str, Any]) -> str:
    version = f" {provenance['steppe']}" if provenance.get("steppe") else ""
    paper = f" {study.reference}" if study.reference else ""
    return f"Study {study.slug}, revision {study.revision}, steppe{version}.{paper}"


def banner(live: Live, command: str) -> str:
    """What the page says above everything else while its run has not ended.

    Args:
        live: Where the run stands.
        command: The command that goes on with it.
    """
    return _environment().get_template("live.html.j2").render(live=live, command=command).strip()


def _template(context: Mapping[str, Any]) -> str:
    scripts = {"plotly": plotly_script(), "script": _read("report.js")}
    if context["banner"]:
        scripts["live_script"] = _read("live.js")
    hashes = " ".join(script_hash(text) for text in scripts.values())
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **context,
            style=Markup(_read("report.css")),
            policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
            "base-uri 'none'; form-action 'none'",
            **{name: Markup(text) for name, text in scripts.items()},
        )
    )


@functools.cache
def _environment() -> Environment:
    environment: Environment = page_environment(_FOLDER)
    environment.globals.update(
        count=words.count, counted=words.counted, typeset=words.typeset, figure_anchor=parts.figure_anchor
    )
    return environment


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


def write(path: str | os.PathLike[str], page: str) -> Path:
    """Replace the report at once: a reader sees the old page or the new one, and a failure leaves the old one.

    Args:
        path: Where the page goes, such as `runs/<slug>/report.html`.
        page: What `render` returned.

    Returns:
        The path.

    Raises:
        StoreError: The folder does not exist, is not writable, or the disk is full.
    """
    return write_page(path, page, what="report", remedy="free space or choose another folder with --out")
