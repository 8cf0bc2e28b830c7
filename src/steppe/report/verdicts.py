"""The verdict table: claims by kind, each with its state, its figure and its negative controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .words import anchor, joined, number, typeset

SHAPES = {"holds": "✓", "fails": "✗", "inconclusive": "?", "not judged": "–"}
KINDS = {
    "theorem": ("Theorems", "hold at every finite size. A failure points at us, not at the paper."),
    "figure": ("Figures of the paper", "were drawn and fitted at its sizes. At ours they may not be reproduced."),
    "ours": ("Our own", "are statements of this study. No paper claims them."),
}
_GOOD = {"theorem": "hold", "figure": "reproduced", "ours": "observed"}


@dataclass(frozen=True)
class Control:
    """A negative control as the table shows it."""

    near_miss: str
    state: str
    shape: str
    words: str
    measured: str
    expected: str


@dataclass(frozen=True)
class Line:
    """A claim as the table shows it."""

    id: str
    anchor: str
    short: str
    statement: str
    source: str
    kind: str
    state: str
    shape: str
    words: str
    measured: str
    expected: str
    details: list[str]
    worst: str
    worst_command: str
    figure: str
    belongs: str
    controls: list[Control]


@dataclass(frozen=True)
class Group:
    """The claims of one kind, under a heading that says what the kind means."""

    kind: str
    heading: str
    meaning: str
    lines: list[Line]


def short(identity: str) -> str:
    """The last part of `study/claim`."""
    return identity.rsplit("/", 1)[-1]


def lines(verdicts: Sequence[Any], controls: Sequence[Any], drawn: Iterable[str]) -> list[Line]:
    """One line per verdict, with the controls that test it.

    Args:
        verdicts: The verdicts.
        controls: The verdicts on controls.
        drawn: Ids of the figures that the page shows.
    """
    known = set(drawn)
    return [_line(verdict, [c for c in controls if short(c.of) == short(verdict.id)], known) for verdict in verdicts]


def _line(verdict: Any, controls: Sequence[Any], drawn: set[str]) -> Line:
    details = [verdict.note] if verdict.note else []
    if verdict.margin is not None and verdict.state in ("holds", "fails") and "slack" not in verdict.measured:
        inside = "inside the band" if verdict.margin >= 0 else "outside the band"
        details.append(f"{number(abs(verdict.margin), 3)} {inside}")
    return Line(
        id=verdict.id,
        anchor="claim-" + anchor(short(verdict.id)),
        short=short(verdict.id),
        statement=verdict.statement,
        source=verdict.source,
        kind=verdict.kind,
        state=verdict.state,
        shape=SHAPES[verdict.state],
        words=verdict.words,
        measured=typeset(_measured(verdict)),
        expected=typeset(verdict.expected),
        details=[typeset(detail[:1].upper() + detail[1:]) for detail in details],
        worst=verdict.worst or "",
        worst_command=verdict.worst_command or "",
        figure=verdict.figure if verdict.figure in drawn else "",
        belongs=verdict.figure or "",
        controls=[_control(control) for control in controls],
    )


def _measured(verdict: Any) -> str:
    if verdict.measured:
        text = str(verdict.measured)
        if verdict.interval is None or "[" in text or " to " in text:
            return text
        low, high = verdict.interval
        return f"{text} [{number(low, 3)}, {number(high, 3)}]"
    if verdict.value is None:
        return "–"
    interval = f" [{number(verdict.interval[0], 3)}, {number(verdict.interval[1], 3)}]" if verdict.interval else ""
    return number(verdict.value, 3) + interval


def _control(control: Any) -> Control:
    state = {True: "holds", False: "fails", None: "not judged"}[control.rejected]
    words = {True: "rejected", False: "not rejected: no power", None: "not judged"}[control.rejected]
    if control.rejected and control.margin is not None:
        words += f" by {number(control.margin, 3)}"
    verdict = getattr(control, "verdict", None)
    measured = _measured(verdict) if verdict is not None else ""
    expected = verdict.expected if verdict is not None else ""
    return Control(control.near_miss, state, SHAPES[state], words, typeset(measured), typeset(expected))


def grouped(found: Sequence[Line]) -> list[Group]:
    """The lines by kind: theorems, figures, ours."""
    return [
        Group(kind, heading, meaning, chosen)
        for kind, (heading, meaning) in KINDS.items()
        if (chosen := [line for line in found if line.kind == kind])
    ]


def tally(found: Sequence[Line], controls: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Counts for the head of the page: one entry per kind and one for the controls, with a shape."""
    result: list[Mapping[str, Any]] = []
    for group in grouped(found):
        states = [line.state for line in group.lines]
        good = states.count("holds")
        worst = next((s for s in ("fails", "inconclusive", "not judged") if s in states), "holds")
        rest = [
            f"{states.count(s)} {w}"
            for s, w in (("fails", "not"), ("inconclusive", "inconclusive"), ("not judged", "not judged"))
            if s in states
        ]
        words = f"{good} of {len(states)} {_GOOD[group.kind]}" + (f", {joined(rest)}" if rest else "")
        result.append({"name": group.heading, "state": worst, "kind": group.kind, "words": words})
    if controls:
        rejected = [control.rejected for control in controls]
        worst = "fails" if False in rejected else "not judged" if None in rejected else "holds"
        words = f"{rejected.count(True)} of {len(rejected)} rejected"
        words += f", {rejected.count(None)} not judged" if None in rejected else ""
        result.append({"name": "Negative controls", "state": worst, "kind": "theorem", "words": words})
    return [entry | {"shape": SHAPES[entry["state"]]} for entry in map(dict, result)]
