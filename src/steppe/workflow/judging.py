"""From rows to verdicts, figures and the one sentence; nothing that fails here loses the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steppe.harness import Rows, Study
from steppe.plotting import Figure

from .result import ById


@dataclass(frozen=True)
class Judged:
    """What a study says about rows.

    Args:
        verdicts: Verdict by claim id.
        controls: Verdict on each negative control, by id.
        figures: Figure by id, those that could be built.
        headline: The one sentence, empty if there is none.
        problems: What could not be built: name → why.
    """

    verdicts: ById
    controls: ById
    figures: Mapping[str, Figure]
    headline: str
    problems: Mapping[str, str]


def judge_rows(study: Study, rows: Rows) -> Judged:
    """Judge every claim and control, build every figure and the headline.

    A figure or headline that cannot be built from these rows (few cells, failed cells) is a problem with a reason.
    """
    verdicts, controls = (ById(found) for found in study.judge(rows))
    problems: dict[str, str] = {}
    figures: dict[str, Figure] = {}
    for spec in study.figures:
        try:
            figure = spec.build(rows)
            if not isinstance(figure, Figure):
                raise TypeError(f"`build` must return a Figure, got {type(figure).__name__}")
            figure.to_plotly()  # what cannot be drawn must not cost the report
            figures[spec.id] = figure
        except Exception as error:  # a figure is user code on possibly partial data
            problems[f"figure {spec.id}"] = f"could not be drawn from these rows: {_said(error)}"
    headline = ""
    if study.headline is not None:
        try:
            headline = str(study.headline(rows, verdicts))
        except Exception as error:  # as above
            problems["headline"] = f"could not be made from these rows: {_said(error)}"
    return Judged(verdicts, controls, figures, headline, problems)


def _said(error: BaseException) -> str:
    text: Any = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
