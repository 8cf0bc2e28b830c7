"""What a claim is, how it is judged, and its negative control."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steppe.core import InputError, KindError, ParameterError, check_choice

from .rows import AbsentColumnError, Row, Rows
from .verdicts import ControlVerdict, Judgement, Kind, Verdict

Side = str | int | float | Callable[[Row], Any]
Scope = Mapping[str, Any] | Callable[[Row], bool]


@dataclass(frozen=True)
class Claim:
    """A statement about the rows of a study, with its source and its band written before the run.

    Only rows with a status in `statuses` and inside `scope` take part; rows where a column it reads is absent are left
    out; all that is left out is counted in the verdict's note. With no row in scope the claim is not judged.

    Args:
        id: Unique in its study: lower-case words joined by hyphens.
        statement: The claim in plain words.
        source: Paper and number of theorem or figure.
        kind: `"theorem"` for inequalities and identities that hold at finite size, `"figure"` for what a paper's figure
            shows (fitted rates included), `"ours"` for what we expect.
        scope: Which rows: axis or column → value or list of values, or a function of the row. None is all.
        figure: Id of the figure that shows it.
        statuses: Which statuses take part.
    """

    id: str
    statement: str
    source: str = field(default="", kw_only=True)
    kind: Kind = field(default="ours", kw_only=True)
    scope: Scope | None = field(default=None, kw_only=True)
    figure: str | None = field(default=None, kw_only=True)
    statuses: Sequence[str] = field(default=("done",), kw_only=True)

    def __post_init__(self) -> None:
        if not self.id or not set(self.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            raise InputError(f"claim `id` must be lower-case words joined by hyphens, got {self.id!r}; rename it")
        check_choice("kind", self.kind, ("theorem", "figure", "ours"))
        self._check()

    def _check(self) -> None:
        """Checks of a subclass's own fields."""

    @property
    def expected(self) -> str:
        """What is claimed, in words and numbers."""
        return self.statement

    def in_scope(self, rows: Rows) -> Rows:
        """The rows inside the scope, whatever their status."""
        if self.scope is None:
            return rows
        return rows.where(self.scope) if callable(self.scope) else rows.where(**dict(self.scope))

    def judge(self, rows: Rows) -> Verdict:
        """The verdict on these rows. It never raises: a claim that cannot be computed is inconclusive, and says why."""
        try:
            scope = self.in_scope(rows)
            used = scope.with_status(*self.statuses)
            judgement = self._judge(used) if used else Judgement(state="not judged", note="no row in scope", rows=0)
        except Exception as error:  # a claim is user code; the other claims and the report must survive it
            note = f"could not be judged: {type(error).__name__}: {error}"
            scope, used, judgement = rows, rows, Judgement(state="inconclusive", note=note, rows=0)
        return self._verdict(rows.slug, judgement, used, scope)

    def _judge(self, rows: Rows) -> Judgement:
        raise NotImplementedError(f"{type(self).__name__} must say how it judges")

    def _verdict(self, slug: str, judgement: Judgement, used: Rows, scope: Rows) -> Verdict:
        notes = [judgement.note] if judgement.note else []
        left_out = [row.status for row in scope if row.status not in self.statuses]
        notes += [f"{left_out.count(s)} {s} left out" for s in dict.fromkeys(left_out)]
        return Verdict(
            id=f"{slug}/{self.id}" if slug else self.id,
            statement=self.statement,
            kind=self.kind,
            source=self.source,
            figure=self.figure,
            state=judgement.state,
            measured=judgement.measured,
            expected=judgement.expected or self.expected,
            value=judgement.value,
            interval=judgement.interval,
            margin=judgement.margin,
            rows=len(used) if judgement.rows is None else judgement.rows,
            worst=judgement.worst,
            worst_command=judgement.worst_command,
            note="; ".join(notes),
        )


@dataclass(frozen=True)
class Control:
    """A negative control: a near miss of a claim that is false and must be rejected.

    Args:
        claim: The false statement, judged like any claim.
        of: Id of the claim whose power it shows.
        near_miss: What was changed: a missing ½, another constant, another regime, shuffled labels.
    """

    claim: Claim
    of: str
    near_miss: str

    @property
    def id(self) -> str:
        """The id of the false statement."""
        return self.claim.id

    def judge(self, rows: Rows) -> ControlVerdict:
        """Rejected if and only if the false statement fails; None if no row was in its scope."""
        verdict = self.claim.judge(rows)
        rejected = None if verdict.state == "not judged" else verdict.state == "fails"
        of = f"{rows.slug}/{self.of}" if rows.slug else self.of
        return ControlVerdict(id=verdict.id, of=of, near_miss=self.near_miss, rejected=rejected, verdict=verdict)


def read(side: Side, row: Row) -> Any:
    """The value of one side of a claim for a row, or None if it has none there.

    Raises:
        ParameterError: It is NaN.
        KeyError: There is no such column.
    """
    try:
        value = row[side] if isinstance(side, str) else side(row) if callable(side) else side
    except AbsentColumnError:
        return None
    if value is not None and value != value:
        raise ParameterError(f"a side of the claim is NaN at {row.label}; return None where it is undefined")
    return value


def name_of(side: Side) -> str:
    """A side of a claim in words."""
    if isinstance(side, str):
        return side.replace("_", " ")
    if callable(side):
        doc = (getattr(side, "__doc__", None) or "").strip().splitlines()
        return (
            doc[0].rstrip(".")
            if doc
            else getattr(side, "__name__", "a function of the row").replace("<lambda>", "its bound")
        )
    return f"{side:g}"


def check_side(name: str, side: Any) -> None:
    """Refuse what is neither a column, a number nor a function of the row.

    Raises:
        KindError: It is none of these.
    """
    if not (isinstance(side, str | int | float) or callable(side)) or isinstance(side, bool):
        raise KindError(f"`{name}` must be a column, a number or a function of the row, got {side!r}; pass one")


def as_tuple(value: Any) -> tuple[str, ...]:
    """A name or a sequence of names, as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def worst_state(states: Sequence[str]) -> Any:
    """Fails if one fails, else inconclusive if one is, else holds."""
    return next((state for state in ("fails", "inconclusive") if state in states), "holds")
