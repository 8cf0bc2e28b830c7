"""Two sets of rows of one study, compared: verdicts, columns, statuses, and where they came from."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from steppe.core import InputError, check_known, check_number
from steppe.harness import Condition, Control, Rows, Study, canonical, claims_digest
from steppe.studies import known_studies

from .loading import load_study
from .moving import Compared, compare
from .result import FAILS, HOLDS, INCONCLUSIVE
from .sides import Side, read_side

_RANK = {"fails": 0, "not judged": 1, "inconclusive": 1, "holds": 2}
_FACTS = ("commit", "dirty", "source", "host", "platform", "python", "cpu", "cores")


class VerdictPair(NamedTuple):
    """What A and B say about one claim or control.

    Args:
        id: `study/claim` or `study/control`.
        kind: `"theorem"`, `"figure"`, `"ours"`, or `"control"`, whose states are rejected, not rejected, not judged.
        statement: The claim, or what the control changed.
        a: State on A's rows of the common cells.
        b: State on B's rows of the common cells.
        own_a: State on all rows of A.
        own_b: State on all rows of B.
        measured_a: What was found on the common cells of A.
        measured_b: What was found on those of B.
    """

    id: str
    kind: str
    statement: str
    a: str
    b: str
    own_a: str
    own_b: str
    measured_a: str
    measured_b: str

    @property
    def changed(self) -> bool:
        """Whether the states differ, on the common cells or on each side's own."""
        return self.a != self.b or self.own_a != self.own_b

    @property
    def worse(self) -> bool:
        """Whether B says less of a claim than A on the common cells, or it fails on B's own and did not on A's."""
        if self.kind == "control":
            return False
        return _RANK[self.b] < _RANK[self.a] or (self.own_b == "fails" != self.own_a)


class StatusChange(NamedTuple):
    """Cells that ended otherwise.

    Args:
        a: Status in A.
        b: Status in B.
        cells: How many.
        first: The first of them, in words, with B's reason.
    """

    a: str
    b: str
    cells: int
    first: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference:
    """Two sets of rows of one study, compared.

    Args:
        a: Side A.
        b: Side B.
        study: The study whose claims were judged, None if it is not known here.
        verdicts: What both say about every claim and control; empty without a study.
        columns: Which columns moved.
        statuses: Cells that ended otherwise.
        only_a: Rows of cells that only A has.
        only_b: Rows of cells that only B has.
        common: How many cells both have.
        identical: How many of them have the same status and the same bytes.
        rekeyed: How many common cells have another key: another revision, or edited parts.
        facts: What differs in how the rows came to be: name → counts of values in A and in B.
        notes: What the reader must know besides.
    """

    a: Side
    b: Side
    study: Study | None
    verdicts: tuple[VerdictPair, ...]
    columns: Compared
    statuses: tuple[StatusChange, ...]
    only_a: Rows
    only_b: Rows
    common: int
    identical: int
    rekeyed: int
    facts: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]]
    notes: tuple[str, ...]

    @property
    def changed_verdicts(self) -> tuple[VerdictPair, ...]:
        """Claims and controls whose state differs."""
        return tuple(pair for pair in self.verdicts if pair.changed)

    def exit_code(self) -> int:
        """What the shell is told.

        Returns:
            1 if a theorem verdict changed for the worse; else 3 if anything of note differs (a verdict, a status, a
            column beyond its interval, a value that one side lacks, cells that one side lacks); else 0. Rows that
            differ within their intervals, and another host, commit or version, are told and are not of note.
        """
        if any(pair.kind == "theorem" and pair.worse for pair in self.verdicts):
            return FAILS
        columns = self.columns.moved or self.columns.lost or self.columns.gained
        noted = self.changed_verdicts or self.statuses or columns or self.only_a or self.only_b
        return INCONCLUSIVE if noted else HOLDS


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    study: Study | str | os.PathLike[str] | None = None,
    where: str | None = None,
    over: str = "seed",
    level: float = 0.95,
    rtol: float = 1e-9,
) -> Difference:
    """Compare the rows of two runs, or of two states of one.

    A side is a folder or a slug (its folder below `runs`), alone for the rows of the newest revision; with `@2` for
    revision 2, `@superseded` for the finished rows that were computed again since, `@commit:9f38e87` for the rows that
    were computed at that commit. Cells are compared with the same cells, whatever their keys.

    Verdicts are those of today's claims on the rows of either side. A column is compared under each condition (a cell
    without its seed): with two seeds or more on both sides by an interval for the mean difference, paired where the
    seeds are the same; with one by the sum of the error columns (`x_error`, `x_residual` beside `x`), or exactly. A
    curve counts by its mean.

    Args:
        a: Side A, the old one.
        b: Side B, the new one.
        study: Whose claims are judged; the study that wrote the rows if None, if it is known here.
        where: Compare only the cells that satisfy this condition, such as `"seed<3 and d==5"`.
        over: The axis of replicates.
        level: Coverage of the intervals; over many columns some move by chance, and the result says how many.
        rtol: Relative changes up to this are rounding and count as equal.

    Raises:
        InputError: A side, the condition or the axis cannot be used, or the sides hold different studies.
        NotComputedError: A side has no row.
        StoreError: A store is missing or damaged.

    Cost: reads both stores whole; one judgement of all claims per side, two if the cells differ.
    """
    check_number("level", level, above=0, below=1)
    check_number("rtol", rtol, minimum=0)
    sides = _sides(a, b)
    found, notes = _study(sides[0], study)
    rows = [_chosen(side.rows, where) for side in sides]
    if over != "seed":  # which a study need not have
        check_known("over", over, dict.fromkeys(name for side in rows for row in side for name in row.cell))
    places = [{canonical(dict(row.cell)): row for row in side} for side in rows]
    shared = [place for place in places[0] if place in places[1]]
    common = [Rows([side[place] for place in shared], sides[0].slug) for side in places]
    own = [Rows([row for p, row in places[i].items() if p not in places[1 - i]], sides[0].slug) for i in (0, 1)]
    pairs = list(zip(*common, strict=True))
    return Difference(
        a=sides[0],
        b=sides[1],
        study=found,
        verdicts=() if found is None else _verdicts(found, common, rows, same=not (own[0] or own[1])),
        columns=compare(*rows, over=over, level=level, rtol=rtol),
        statuses=_statuses(pairs),
        only_a=own[0],
        only_b=own[1],
        common=len(shared),
        identical=sum(_bytes(one) == _bytes(other) for one, other in pairs),
        rekeyed=sum(one.key != other.key for one, other in pairs),
        facts=_facts(*rows),
        notes=(*notes, *_changed_claims(sides, found)),
    )


def _sides(a: Any, b: Any) -> tuple[Side, Side]:
    one, other = read_side(os.fspath(a)), read_side(os.fspath(b))
    if one.slug != other.slug:
        raise InputError(
            f"both sides must hold one study, got {one.slug!r} in {one.reference} and {other.slug!r} in "
            f"{other.reference}; compare runs of the same study"
        )
    return one, other


def _study(side: Side, study: Any) -> tuple[Study | None, list[str]]:
    """The study to judge by. A store names its study; what it names is looked up, never executed."""
    if study is not None:
        found = load_study(study)
        if found.slug != side.slug:
            raise InputError(f"`study` must be {side.slug!r}, which wrote the rows, got {found.slug!r}; name its file")
        return found, []
    if side.slug not in {entry.slug for entry in known_studies()}:
        return None, [
            f"the study {side.slug!r} is not known here, so that no verdict is compared; name its file with --study"
        ]
    return load_study(side.slug), []


def _chosen(rows: Rows, where: str | None) -> Rows:
    if where is None:
        return rows
    condition = Condition(where)
    condition.check_names(dict.fromkeys(name for row in rows for name in row.cell))
    return rows.where(lambda row: condition(row.cell))


def _verdicts(study: Study, common: list[Rows], rows: list[Rows], *, same: bool) -> tuple[VerdictPair, ...]:
    judged = [_judged(study, side) for side in common]
    own = judged if same else [_judged(study, side) for side in rows]
    pairs = []
    for index, claim in enumerate(_statements(study)):
        (state_a, said_a), (state_b, said_b) = judged[0][index], judged[1][index]
        control = isinstance(claim, Control)
        kind = "control" if control else claim.kind
        statement = claim.near_miss if control else claim.statement
        states = (state_a, state_b, own[0][index][0], own[1][index][0])
        pairs.append(VerdictPair(f"{study.slug}/{claim.id}", kind, statement, *states, said_a, said_b))
    return tuple(pairs)


def _statements(study: Study) -> list[Any]:
    return [*study.claims, *study.controls]


def _judged(study: Study, rows: Rows) -> list[tuple[str, str]]:
    """State and finding of each claim, then of each control."""
    found: list[tuple[str, str]] = []
    for claim in _statements(study):
        try:
            verdict: Any = claim.judge(rows)
        except Exception as error:  # rows of another revision may lack what a claim reads
            found.append(("not judged", f"{type(error).__name__}: {error}"))
            continue
        state = verdict.words.split(":")[0] if isinstance(claim, Control) else verdict.state
        found.append((state, verdict.measured))
    return found


def _statuses(pairs: Any) -> tuple[StatusChange, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for one, other in pairs:
        if one.status != other.status:
            why = f" ({other.reason})" if other.reason else ""
            found.setdefault((one.status, other.status), []).append(one.label + why)
    return tuple(StatusChange(a, b, len(labels), labels[0]) for (a, b), labels in found.items())


def _bytes(row: Any) -> bytes:
    return canonical([row.status, dict(row.result), dict(row.absent)])


def _facts(a: Rows, b: Rows) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Values that differ, with how many rows have them."""
    counts = [Counter(fact for row in side for fact in _told(row.provenance)) for side in (a, b)]
    names = dict.fromkeys(name for side in counts for name, _ in side)
    found = {}
    for name in names:
        values = [{value: n for (other, value), n in side.items() if other == name} for side in counts]
        if values[0].keys() != values[1].keys():
            found[name] = (values[0], values[1])
    return found


def _told(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = provenance.get("versions")
    packages = versions.items() if isinstance(versions, Mapping) else ()
    plain = [(name, str(provenance[name])) for name in _FACTS if provenance.get(name) is not None]
    return [*plain, *((str(name), str(version)) for name, version in packages)]


def _changed_claims(sides: tuple[Side, Side], study: Study | None) -> list[str]:
    """Whether the claims by which both are judged are those that stood when the rows were computed."""
    if study is None:
        return []
    today, notes = claims_digest(study), []
    for name, side in zip("AB", sides, strict=True):
        before = {side.claims.get(revision) for revision in side.revisions} - {None}
        if before - {today}:
            notes.append(f"claims were edited since the first row of {name}; both sides are judged by today's")
    return notes
