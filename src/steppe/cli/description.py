"""A study in words and as JSON; imported by `steppe show` when it is called."""

from typing import Any, Literal

from steppe.harness import Study

from .output import answer, print_table

_SIZES: tuple[Literal["quick", "default", "full"], ...] = ("quick", "default", "full")


def as_dict(study: Study, cost: str) -> dict[str, Any]:
    """A study as plain values."""
    controls = [{"id": c.id, "of": c.of, "near_miss": c.near_miss} for c in study.controls]
    return {
        "slug": study.slug,
        "title": study.title,
        "summary": study.summary,
        "reference": study.reference,
        "revision": study.revision,
        "cost": cost,
        "sizes": {size: {"cells": len(study.grid_of(size)), "axes": study.grid_of(size).axes} for size in _SIZES},
        "columns": dict(study.columns),
        "slots": {n: {"signature": s.signature, "doc": s.doc, "parts": list(s.parts)} for n, s in study.slots.items()},
        "claims": [{"id": c.id, "kind": c.kind, "statement": c.statement, "source": c.source} for c in study.claims],
        "controls": controls,
        "figures": [{"id": f.id, "section": f.section} for f in study.figures],
    }


def print_study(study: Study, cost: str) -> None:
    """What it asks, its grids, slots, claims and columns."""
    answer(f"{study.title}  ({study.slug}, revision {study.revision})\n")
    if study.summary:
        answer(study.summary + "\n")
    if study.reference:
        answer(f"{study.reference}\n")
    answer(f"cost: {cost}\n")
    grids = {size: study.grid_of(size).axes for size in _SIZES}
    names = list(dict.fromkeys(name for axes in grids.values() for name in axes))
    rows: list[list[object]] = [[name, *(_listed(axes.get(name, ())) for axes in grids.values())] for name in names]
    rows.append(["cells", *(len(study.grid_of(size)) for size in _SIZES)])
    print_table(["axis", *_SIZES], rows)
    if study.slots:
        rows = [[name, slot.signature, ", ".join(slot.parts)] for name, slot in study.slots.items()]
        print_table(["slot", "a part is", "parts"], rows)
    near_misses = {claim.id: [c.near_miss for c in study.controls if c.of == claim.id] for claim in study.claims}
    rows = [[c.id, c.kind, c.statement, c.source, "; ".join(near_misses[c.id])] for c in study.claims]
    print_table(["claim", "kind", "statement", "source", "control"], rows)
    print_table(["column", "is"], [[name, meaning] for name, meaning in study.columns.items()])


def _listed(values: Any) -> str:
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values[:8]]
    return ", ".join([*shown, f"… ({len(values)})"] if len(values) > 8 else shown)
