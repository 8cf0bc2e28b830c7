"""What a study must satisfy to run anywhere, in any order, and to be judged."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steppe.harness import Outcome, Row, Rows, Study, compute
from steppe.plotting import Figure

_SHOWN = 2000


def check_study(
    study: Any, *, size: str = "quick", cells: int | None = None, progress: Callable[[str], None] | None = None
) -> Rows:
    """Assert that a study keeps the promises that the runner, the store and the report rely on.

    Each cell of the size is computed alone, in the company of its whole group, and in the company in reverse order: the
    results are the same bytes, on one machine. Rows have the declared columns with finite JSON values; cells are JSON;
    ids are unique; every claim has a source unless it is our own; every control names a claim and a near miss; figures,
    claims and headline can be made from the rows.

    Everything is computed here, in this process, with the threads it has; for a study that uses torch, set
    `OMP_NUM_THREADS=1` before the first import, as the runner does.

    Args:
        study: A `Study`, a slug or the path of a .py file.
        size: Which grid to compute.
        cells: Compute only the groups of the first so many cells; None for all.
        progress: Told what is being checked.

    Returns:
        The rows, so that a test can go on from there.

    Raises:
        AssertionError: A promise is broken; the message names the cell, the column or the id.

    Cost: four times that of the cells: together, again, reversed, and each alone.
    """
    found = _loaded(study)
    say = progress or (lambda text: None)
    say("identity")
    _check_words(found)
    asked = [dict(cell) for cell in found.cells(size)]  # type: ignore[arg-type]  # checked by the study
    _check_json(asked)
    chosen = asked if cells is None else asked[:cells]
    groups = [group for group in found.groups(asked) if any(dict(cell) in chosen for cell in group)]
    outcomes: list[Outcome] = []
    for position, group in enumerate(groups, start=1):
        say(f"group {position} of {len(groups)}: {len(group)} cells in company, reversed, alone")
        outcomes += _check_company(found, [dict(cell) for cell in group])
    rows = Rows([_row(outcome) for outcome in outcomes], found.slug)
    say("claims, figures, headline")
    _check_judged(found, rows, whole=cells is None)
    return rows


def _loaded(study: Any) -> Study:
    if isinstance(study, Study):
        return study
    from steppe.workflow import load_study

    return load_study(os.fspath(study))


def _check_words(study: Study) -> None:
    for name in ("title", "summary"):
        assert getattr(study, name).strip(), f"{study.slug}: `{name}` must say something"
    for column, meaning in study.columns.items():
        assert meaning.strip(), f"{study.slug}: column `{column}` must have a description with its unit"
    assert study.claims, f"{study.slug}: there must be a claim"
    assert study.controls, f"{study.slug}: there must be a negative control"
    ids = [claim.id for claim in study.claims] + [control.id for control in study.controls]
    assert len(set(ids)) == len(ids), f"{study.slug}: ids of claims and controls must be unique, got {ids}"
    for claim in study.claims:
        assert claim.statement.strip(), f"{study.slug}/{claim.id}: a claim must be stated in words"
        assert claim.kind == "ours" or claim.source.strip(), (
            f"{study.slug}/{claim.id}: a {claim.kind} must have a source"
        )
        drawn = [figure.id for figure in study.figures]
        assert claim.figure in (None, *drawn), f"{study.slug}/{claim.id}: there is no figure {claim.figure!r}"
    for control in study.controls:
        assert control.of in ids, f"{study.slug}/{control.id}: there is no claim {control.of!r}"
        assert control.near_miss.strip(), f"{study.slug}/{control.id}: a control must say what was changed"


def _check_json(cells: Sequence[Mapping[str, Any]]) -> None:
    for cell in cells:
        again = json.loads(json.dumps(cell, allow_nan=False))
        assert again == cell, f"a cell must survive JSON, got {cell} → {again}"


def _check_company(study: Study, group: list[dict[str, Any]]) -> list[Outcome]:
    together = compute(study, group)
    for outcome in together:
        assert outcome.status != "failed", f"{outcome.cell} failed:\n{(outcome.error or '')[-_SHOWN:]}"
    results = {_name(outcome): outcome for outcome in together}
    assert len(results) == len(group), f"{len(group)} cells gave {len(results)} rows"
    _compare(results, compute(study, group), "the second time")
    if len(group) > 1:
        _compare(results, compute(study, group[::-1]), "in reverse order")
        for cell in group:
            _compare(results, compute(study, [cell]), "alone")
    return together


def _name(outcome: Outcome) -> str:
    return json.dumps(outcome.cell, sort_keys=True)


def _compare(expected: Mapping[str, Outcome], outcomes: Sequence[Outcome], how: str) -> None:
    for outcome in outcomes:
        before = expected[_name(outcome)]
        if (outcome.status, outcome.result) == (before.status, before.result):
            continue
        old, new = (json.loads(found.result or b"{}") for found in (before, outcome))
        moved = [name for name in old if old[name] != new.get(name)] or [f"{before.status} → {outcome.status}"]
        first = f"{moved[0]}: {old.get(moved[0])!r:.80} → {new.get(moved[0])!r:.80}"
        raise AssertionError(
            f"{outcome.cell} computed {how} must give the same bytes; {len(moved)} differ, first {first}"
        )


def _row(outcome: Outcome) -> Row:
    columns = json.loads(outcome.result or b"{}")
    absent = {name: value["absent"] for name, value in columns.items() if isinstance(value, dict)}
    result = {name: value for name, value in columns.items() if name not in absent}
    return Row(cell=outcome.cell, result=result, absent=absent, status=outcome.status, error=outcome.error or "")


def _check_judged(study: Study, rows: Rows, *, whole: bool) -> None:
    verdicts, controls = study.judge(rows)
    for verdict in [*verdicts, *(control.verdict for control in controls)]:
        assert "could not be judged" not in verdict.note, f"{verdict.id}: {verdict.note}"
    if not whole:
        return
    for spec in study.figures:
        figure = spec.build(rows)
        assert isinstance(figure, Figure), f"figure `{spec.id}` must be a plotting.Figure, got {type(figure).__name__}"
        figure.to_plotly()
        assert figure.table()[1], f"figure `{spec.id}` shows no number"
    if study.headline is not None:
        by_id = {verdict.id: verdict for verdict in verdicts} | {v.id.rpartition("/")[2]: v for v in verdicts}
        assert str(study.headline(rows, by_id)).strip(), "the headline must say something"
