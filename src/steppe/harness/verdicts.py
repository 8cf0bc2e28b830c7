"""What judging gives: judgements, verdicts on claims, verdicts on controls."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["theorem", "figure", "ours"]
State = Literal["holds", "fails", "inconclusive", "not judged"]

_WORDS: dict[tuple[str, str], str] = {
    ("theorem", "holds"): "holds",
    ("theorem", "fails"): "violated",
    ("figure", "holds"): "reproduced",
    ("figure", "fails"): "not reproduced at this size",
    ("ours", "holds"): "observed",
    ("ours", "fails"): "not observed at this size",
}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a claim says about rows, before it is put in words.

    Args:
        state: One of the four states.
        measured: What was found, in words and numbers.
        expected: What was claimed, in words and numbers.
        value: The number that decides, where there is one.
        interval: Its interval (95 %).
        margin: How far inside (positive) or outside (negative) the band, in the unit of `value`.
        worst: Label of the row or group that decides.
        worst_command: The command that computes it again.
        note: What the reader must know besides.
        rows: How many rows took part; None for all that were given.
    """

    state: State
    measured: str = ""
    expected: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    margin: float | None = None
    worst: str | None = None
    worst_command: str | None = None
    note: str = ""
    rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judged claim.

    Args:
        id: `study/claim`.
        statement: The claim in words.
        kind: `"theorem"` (an inequality or identity at finite size), `"figure"` (of the paper) or `"ours"`.
        source: Paper and number.
        state: `"holds"`, `"fails"`, `"inconclusive"` or `"not judged"`.
        measured: What was found.
        expected: What was claimed.
        value: The number that decides, where there is one.
        interval: Its interval (95 %).
        margin: How far inside (positive) or outside (negative) the band.
        rows: How many rows took part.
        worst: Label of the row or group that decides.
        worst_command: The command that computes it again.
        note: Rows left out, and other things to know.
        figure: Id of the figure that shows it.
    """

    id: str
    statement: str
    kind: Kind
    source: str
    state: State
    measured: str = ""
    expected: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    margin: float | None = None
    rows: int = 0
    worst: str | None = None
    worst_command: str | None = None
    note: str = ""
    figure: str | None = None

    @property
    def words(self) -> str:
        """The state in words that fit the kind: a figure is reproduced or not, a theorem holds or is violated."""
        return _WORDS.get((self.kind, self.state), self.state)


@dataclass(frozen=True, kw_only=True)
class ControlVerdict:
    """A judged negative control.

    Args:
        id: `study/control`.
        of: `study/claim` whose power it shows.
        near_miss: What was changed to make the statement false.
        rejected: True if the false statement was rejected, False if not, None if no row was in its scope.
        verdict: The verdict on the false statement.
    """

    id: str
    of: str
    near_miss: str
    rejected: bool | None
    verdict: Verdict

    @property
    def margin(self) -> float | None:
        """By how much the false statement was rejected (positive), or missed being rejected (negative)."""
        return None if self.verdict.margin is None else -self.verdict.margin

    @property
    def measured(self) -> str:
        """What was found."""
        return self.verdict.measured

    @property
    def words(self) -> str:
        """In words: rejected, not rejected (the test had no power), or not judged."""
        if self.rejected is None:
            return "not judged"
        return "rejected" if self.rejected else "not rejected: the test had no power"
