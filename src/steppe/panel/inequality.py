"""A theorem's inequality with the numbers of one network in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["checked", "violated", "assumed"]


@dataclass(frozen=True)
class Hypothesis:
    """One hypothesis of a theorem and what became of it.

    Args:
        statement: The hypothesis.
        state: `"checked"` (it holds here), `"violated"` (it does not) or `"assumed"` (not looked at).
        detail: What was found.
    """

    statement: str
    state: State
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.statement}: {self.state}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class Inequality:
    """left ≤ right, as a theorem states it, with the numbers of one network. Prints in one line.

    Args:
        name: Short name of the theorem.
        statement: The inequality in symbols.
        left: Its left side.
        right: Its right side.
        error: Numerical error of right − left: the residual of an eigenvalue, and rounding.
        hypotheses: What the theorem assumes, each checked, violated or assumed.
        source: Paper and theorem.
        status: As in `core.Fact`.
        terms: The numbers that the two sides are made of.
    """

    name: str
    statement: str
    left: float
    right: float
    error: float
    hypotheses: tuple[Hypothesis, ...]
    source: str
    status: str
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def slack(self) -> float:
        """Right minus left."""
        return self.right - self.left

    @property
    def holds(self) -> bool:
        """Whether left ≤ right up to the numerical error. It is a fact about numbers, whatever the hypotheses."""
        return self.left <= self.right + self.error

    @property
    def applies(self) -> bool:
        """Whether no hypothesis is violated, so that the theorem promises the inequality."""
        return all(hypothesis.state != "violated" for hypothesis in self.hypotheses)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        hypotheses = [{"statement": h.statement, "state": h.state, "detail": h.detail} for h in self.hypotheses]
        return {
            "name": self.name,
            "statement": self.statement,
            "left": self.left,
            "right": self.right,
            "slack": self.slack,
            "error": self.error,
            "holds": self.holds,
            "applies": self.applies,
            "hypotheses": hypotheses,
            "source": self.source,
            "status": self.status,
            "terms": dict(self.terms),
        }

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        violated = [h.statement for h in self.hypotheses if h.state == "violated"]
        notes = f"; hypothesis violated: {'; '.join(violated)}" if violated else ""
        sign = "≤" if self.left <= self.right else "≰" if not self.holds else "≲"
        return (
            f"{self.name}: {self.left:.6g} {sign} {self.right:.6g}, {verdict} with slack {self.slack:.4g} "
            f"± {self.error:.1g} ({self.source}{notes})"
        )

    __repr__ = __str__
