"""A number that theory gives, with its source."""

from typing import Literal, get_args

Status = Literal["theorem", "figure", "derived", "recalled", "ours"]


class Fact(float):
    """A number that theory gives: a float that knows where it comes from.

    Args:
        value: The number.
        source: Paper and theorem, section or figure.
        status: `"theorem"` (proved in the source), `"figure"` (read off a figure), `"derived"` (follows from the
            source by our own derivation), `"recalled"` (not read in the source) or `"ours"`.
        statement: What the number says, in one sentence.
        hypotheses: What must hold for it.
    """

    source: str
    status: Status
    statement: str
    hypotheses: tuple[str, ...]

    def __new__(
        cls,
        value: float,
        *,
        source: str,
        status: Status,
        statement: str = "",
        hypotheses: tuple[str, ...] = (),
    ) -> "Fact":
        """Attach the source to the number."""
        if status not in get_args(Status):
            raise ValueError(f"status must be one of {', '.join(get_args(Status))}, got {status!r}")
        self = super().__new__(cls, value)
        self.source, self.status, self.statement, self.hypotheses = source, status, statement, hypotheses
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[float], dict[str, object]]:
        return (float(self),), {
            "source": self.source,
            "status": self.status,
            "statement": self.statement,
            "hypotheses": self.hypotheses,
        }

    def __str__(self) -> str:
        return f"{float(self):.6g} [{self.status}: {self.source}]"

    __repr__ = __str__
