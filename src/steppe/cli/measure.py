"""`steppe measure`."""

import contextlib
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from steppe.core import InputError

from .output import OK, answer, console, note, print_json, print_table

_Flag = Annotated[bool, Parameter(negative=())]
_EVERY = 30.0


def measure(
    factory: str,
    *,
    parameters: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    budget: str | None = None,
    samples: int = 1024,
    seed: int = 0,
    checkpoints: str | None = None,
    html: Path | None = None,
    dry_run: _Flag = False,
    json: _Flag = False,
) -> int:
    """Measure your model: loss, sharpness, limits of optimizers, which layer, trace, density, norms, activations.

    At most 60 s or 200 products on at most 1024 samples, unless you say otherwise; time and memory are predicted first.

    Args:
        factory: module:function, or path/to/file.py:function; called without arguments, it returns (model, loss, data)
            or a dict with model, data and optionally loss, optimizer, objective, parameters, weight, load.
        parameters: Only the parameters whose names match, such as 'layers.*.weight'; may be repeated.
        budget: Seconds, or words such as '5 min', '500 products' or '5 min, 500 products'.
        samples: At most so many samples, drawn at random.
        seed: Seed of the samples and of all random directions.
        checkpoints: Follow sharpness over saved checkpoints instead, such as 'run/step-*'.
        html: Also write a page with figures.
        dry_run: Say what it would cost, and stop.
        json: Print JSON.
    """
    from steppe.workflow import check_target, load_problem, measure_problem, plan_problem, track_problem

    if checkpoints is not None and (dry_run or budget is not None):
        raise InputError(
            "`--checkpoints` takes neither `--budget` nor `--dry-run`: a curve costs about two products a checkpoint; "
            "lower --samples to make them cheaper"
        )
    target = None if html is None else check_target("html", html)
    options: dict[str, Any] = {"samples": samples, "seed": seed, "parameters": list(parameters) or None}
    # What the user's code prints must not end up inside the answer.
    with contextlib.redirect_stdout(sys.stderr):
        problem = load_problem(factory)
        if dry_run:
            found = plan_problem(problem, budget=budget, **options)
        else:
            with Products(factory) as progress, warnings.catch_warnings():
                warnings.filterwarnings("ignore", "checkpoint .* was skipped")  # the answer names them
                if checkpoints is not None:
                    found = track_problem(problem, checkpoints, progress=progress, **options)
                else:
                    found = measure_problem(problem, budget=budget, progress=progress, **options)
    if json:
        print_json(found.to_dict())
    elif dry_run:
        answer(str(found))
    elif checkpoints is not None:
        _print_curve(found)
    else:
        _print(found)
    if target is not None and not dry_run:
        written = found.save_html(target)
        note(f"page: {written}") if json else answer(f"page: {written}")
    return OK


def _print(found: Any) -> None:
    answer(found.headline)
    answer()
    print_table(["quantity", "value", "how"], found.lines())
    for warning in found.warnings:
        answer(f"warning: {warning}")
    for line in found.notes():
        answer(line)


def _print_curve(curve: Any) -> None:
    rows = []
    for line in curve.to_dict()["checkpoints"]:
        limit = "" if line["limit"] is None else f"{line['limit']:.6g}"
        margin = "" if line["margin"] is None else f"{line['margin']:.3f}"
        layer = f"{line['layer']} {line['layer_share']:.0%}" if line["layer"] else ""
        numbers = [f"{line['sharpness']:.6g}", f"{line['residual']:.2g}", limit, margin]
        rows.append([line["step"], *numbers, line["state"] or "", layer])
    print_table(["step", "sharpness", "±", "limit", "of limit", "state", "mostly in"], rows)
    answer(curve.sentence())
    if any(reading.limit < float("inf") for reading in curve.readings):
        answer("A limit is one of linear stability on these samples; training usually sharpens until it meets it.")


class Products:
    """Shows products or checkpoints on stderr: the plan, then a bar on a terminal, a line every 30 s elsewhere."""

    def __init__(self, title: str) -> None:
        self._title, self._said = title, time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Products":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None, text: str) -> None:
        """Products done, products expected, and a few words; the first words are the plan."""
        if done == 0:
            note(f"{self._title}: {text}")
        elif sys.stderr.isatty():
            self._draw(done, total, text)
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            note(f"{self._title}: {done} of about {total or '?'}, {text}")

    def _draw(self, done: int, total: int | None, text: str) -> None:
        if self._bar is None:
            from rich import progress

            columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn())
            self._bar = progress.Progress(*columns, console=console(error=True), transient=True)
            self._task = self._bar.add_task(text, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total, description=text or "products")
