"""The parts of the page: sections of figures, the size of the run, its provenance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steppe.core import duration
from steppe.plotting import Figure

from .tables import Table, packed, table
from .verdicts import Group, Line, grouped, short
from .words import anchor, counted, day, listed, moment, number

MAIN = "main"


@dataclass(frozen=True)
class Drawn:
    """A figure as the template draws it."""

    anchor: str
    figure: Figure
    legend: list[dict[str, Any]]
    spec: str
    table: Table
    points: int
    claims: list[Line]


@dataclass(frozen=True)
class Section:
    """Claims and figures under one heading."""

    anchor: str
    heading: str
    groups: list[Group]
    figures: list[Drawn]


def figure_anchor(identity: str) -> str:
    """Where the page shows a figure."""
    return "figure-" + anchor(identity)


def sections(
    study: Any, lines: Sequence[Line], figures: Mapping[str, Figure], *, table_rows: int
) -> tuple[Section, list[Section]]:
    """The main section and the others, such as real data, each with the claims whose figure it shows.

    Args:
        study: The study, for the section and claims of each figure.
        lines: All claims.
        figures: Figures by id; ids that the study does not know come last in the main section.
        table_rows: How many rows of each figure's table are shown.
    """
    specs = {spec.id: spec for spec in study.figures}
    order = [*(i for i in specs if i in figures), *(i for i in figures if i not in specs)]
    place = {i: getattr(specs.get(i), "section", MAIN) or MAIN for i in order}
    found: dict[str, list[Drawn]] = {MAIN: []}
    for identity in order:
        wanted = {short(c) for c in getattr(specs.get(identity), "claims", ())}
        shown = [line for line in lines if line.short in wanted or line.figure == identity]
        found.setdefault(place[identity], []).append(_drawn(identity, figures[identity], shown, table_rows))
    owner = {line.id: _owner(line, study.figures) for line in lines}
    for name in owner.values():
        found.setdefault(name, [])
    result = [
        Section(
            anchor=anchor(name),
            heading=_heading(name),
            groups=grouped([line for line in lines if owner[line.id] == name]),
            figures=drawn,
        )
        for name, drawn in found.items()
    ]
    return result[0], result[1:]


def shortened(section: Section, limit: int) -> Section:
    """The same section with at most so many rows shown in each table; the CSVs keep all."""
    tables = [(drawn, replace(drawn.table, rows=drawn.table.rows[:limit])) for drawn in section.figures]
    return replace(section, figures=[replace(drawn, table=table) for drawn, table in tables])


def _owner(line: Line, specs: Sequence[Any]) -> str:
    """The section of the figure that a claim names, or else of the figures that show it, if they agree."""
    named = [spec for spec in specs if spec.id == line.belongs]
    showing = named or [spec for spec in specs if line.short in {short(claim) for claim in spec.claims}]
    found = {getattr(spec, "section", MAIN) or MAIN for spec in showing}
    return found.pop() if len(found) == 1 else MAIN


def _heading(name: str) -> str:
    return {MAIN: "Figures", "real data": "On real data"}.get(name, name[:1].upper() + name[1:])


def _drawn(identity: str, figure: Figure, claims: list[Line], table_rows: int) -> Drawn:
    spec = figure.to_plotly()
    headers, rows = figure.table()
    points = sum(row[headers.index("kind")] == "point" for row in rows)
    return Drawn(
        anchor=figure_anchor(identity),
        figure=figure,
        legend=spec["legend"] if len(spec["legend"]) > 1 or _has_theory(spec) else [],
        spec=packed(json.dumps(spec, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()),
        table=table(identity, headers, rows, limit=table_rows, hidden="command"),
        points=points,
        claims=claims,
    )


def _has_theory(spec: Mapping[str, Any]) -> bool:
    return any(entry["kind"] == "theory" for entry in spec["legend"])


def facts(rows: Sequence[Any], provenance: Mapping[str, Any]) -> list[str]:
    """The size of the run, its seeds, its date and its time, in a few words each."""
    result = [counted(len(rows), "run")]
    if provenance.get("size"):
        result[0] += f" ({provenance['size']} size)"
    seeds = _values(rows, "seed")
    if seeds:
        result.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {listed(seeds)}")
    if provenance.get("date"):
        result.append(day(provenance["date"]))
    if isinstance(provenance.get("seconds"), int | float):
        result.append(duration(provenance["seconds"]))
    return result


def axes(rows: Sequence[Any]) -> list[tuple[str, str]]:
    """Each axis of the grid with its values."""
    names = dict.fromkeys(name for row in rows for name in row.cell)
    return [(name, listed(_values(rows, name))) for name in names]


def _values(rows: Sequence[Any], axis: str) -> list[Any]:
    found = list(dict.fromkeys(row.cell[axis] for row in rows if axis in row.cell))
    return sorted(found) if all(isinstance(v, int | float) for v in found) else found


def all_rows(slug: str, rows: Sequence[Any]) -> Table:
    """Every row of the study with its single numbers; curves stay in the store."""
    cells = list(dict.fromkeys(name for row in rows for name in row.cell))
    columns = list(dict.fromkeys(name for row in rows for name, value in row.result.items() if _single(value)))
    headers = [*cells, "status", *columns]
    values = [
        [*(row.cell.get(n) for n in cells), row.status, *(_cell(row.result.get(n)) for n in columns)] for row in rows
    ]
    return table(slug, headers, values, limit=0)


def _single(value: Any) -> bool:
    return not isinstance(value, list | tuple)


def _cell(value: Any) -> Any:
    return value if _single(value) else None


_LABELS = {
    "command": "Command",
    "date": "Date",
    "seconds": "Time",
    "size": "Size",
    "workers": "Workers",
    "steppe": "steppe",
    "commit": "Commit",
    "python": "Python",
    "versions": "Packages",
    "platform": "System",
    "host": "Host",
    "cpu": "Processor",
    "gpu": "Graphics processor",
    "revision": "Revision of the study",
    "claims_digest": "Digest of the claims",
    "source_digest": "Digest of the source",
}
_ELSEWHERE = ("bands_fixed", "stale", "refresh", "cite", "command")


def provenance_lines(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of everything known about the run; mappings and lists are spread over one line each."""
    order = [*(k for k in _LABELS if k in provenance), *(k for k in provenance if k not in _LABELS)]
    found = ((name, provenance[name]) for name in order if name not in _ELSEWHERE)
    return [
        (_LABELS.get(name, name[:1].upper() + name[1:].replace("_", " ")), _spoken(name, value))
        for name, value in found
        if value is not None and value != ""
    ]


def _spoken(name: str, value: Any) -> str:
    if name == "seconds" and isinstance(value, int | float):
        return duration(value)
    if name == "date":
        return moment(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_spoken('', item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_spoken("", item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def bands(provenance: Mapping[str, Any]) -> tuple[str, str]:
    """Whether claims were fixed before the run, as a state and a sentence."""
    fixed = provenance.get("bands_fixed")
    if fixed is None:
        return "not judged", "It was not recorded whether the claims were fixed before the run."
    if fixed:
        return "holds", "All claims and their bands were fixed before the first row was computed."
    return "fails", "Claims or their bands were changed after the first row was computed: read the verdicts with that."
