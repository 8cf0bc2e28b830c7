"""What a run gives back."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steppe.core import NotComputedError
from steppe.harness import ControlVerdict, Rows, Study, Verdict
from steppe.plotting import Figure

HOLDS, FAILS, INCONCLUSIVE, CRASHED = 0, 1, 3, 4
_CRASHES = ("failed", "timeout", "killed")


class ById(dict[str, Any]):
    """Values by their full id `study/claim`; the part after the slash finds them too."""

    def __init__(self, values: Iterable[Verdict | ControlVerdict]) -> None:
        super().__init__({value.id: value for value in values})
        self._short = {id.rpartition("/")[2]: id for id in self}

    def __missing__(self, id: str) -> Any:
        if id not in self._short:
            raise KeyError(f"no claim {id!r}; there are {', '.join(self._short) or 'none'}")
        return super().__getitem__(self._short[id])

    def __contains__(self, id: object) -> bool:
        return super().__contains__(id) or id in self._short

    def get(self, id: str, default: Any = None) -> Any:
        """The value of an id, full or short, or the default."""
        try:
            return self[id]
        except KeyError:
            return default


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyResult:
    """Rows, verdicts, figures and the report of one study.

    Args:
        study: The study.
        rows: One row per cell that was asked for and has a recorded status, in the order of the grid.
        verdicts: Verdict by claim id, `study/claim` or `claim`.
        controls: Verdict on each negative control, by id.
        figures: Figure by id, each with `.save("fig.pdf")`; those whose data suffice.
        problems: What could not be built (a figure, the headline): name → why.
        headline: The one sentence made from the numbers.
        report: The HTML page.
        folder: Where the store and the report are.
        missing: How many cells that were asked for have no row.
        summary: What the runner says: seconds, counts.
    """

    study: Study
    rows: Rows
    verdicts: Mapping[str, Verdict]
    controls: Mapping[str, ControlVerdict]
    figures: Mapping[str, Figure]
    headline: str
    report: Path
    folder: Path
    problems: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    summary: Any = None

    @property
    def ok(self) -> bool:
        """Whether every cell has a valid row, every theorem claim holds and every control was rejected."""
        return self.exit_code(strict=True) == HOLDS and not self.crashed and not self.missing

    @property
    def crashed(self) -> Rows:
        """The rows of cells that crashed without a result (failed, timed out or were killed)."""
        return self.rows.with_status(*_CRASHES)

    @property
    def stale(self) -> int:
        """How many rows were computed with other sources than today's."""
        return sum(row.stale for row in self.rows)

    def exit_code(self, *, strict: bool = False) -> int:
        """What the shell is told.

        Args:
            strict: Whether the verdicts count.

        Returns:
            With `strict` 1 if a theorem claim fails; else 4 if a cell crashed without a valid row; else with `strict` 3
            if a theorem claim is inconclusive or not judged or a control was not rejected; else 0.
        """
        verdict = self.verdict_code() if strict else HOLDS
        return CRASHED if self.crashed and verdict != FAILS else verdict

    def verdict_code(self) -> int:
        """0 all theorem claims hold and all controls are rejected, 1 a theorem claim fails, 3 otherwise."""
        theorems = [verdict.state for verdict in self.verdicts.values() if verdict.kind == "theorem"]
        if "fails" in theorems:
            return FAILS
        powerful = all(control.rejected for control in self.controls.values())
        return HOLDS if powerful and all(state == "holds" for state in theorems) else INCONCLUSIVE

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame: axes, columns, status, key. Absent values are missing.

        Raises:
            NotComputedError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise NotComputedError(
                "to_pandas() needs pandas, which is not installed; pip install 'steppe[data]', or read result.rows"
            ) from error
        names = list(
            dict.fromkeys(["status", "key", *(name for row in self.rows for name in row.cell), *self.study.columns])
        )
        records = [{**row, "status": row.status, "key": row.key} for row in self.rows]
        return pandas.DataFrame(records, columns=names)

    def __repr__(self) -> str:
        states = [verdict.state for verdict in self.verdicts.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return (
            f"StudyResult({self.study.slug}: {len(self.rows)} rows; claims: {counts or 'none'}; report {self.report})"
        )
