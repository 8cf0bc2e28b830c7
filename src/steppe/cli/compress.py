"""`steppe compress`."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from steppe.core import InputError

from .output import OK, answer, note, print_json, print_table
from .values import numbers

_Flag = Annotated[bool, Parameter(negative=())]


def compress(
    factory: str,
    *,
    tolerance: float | None = None,
    layer: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    method: Literal["fewest-neurons", "smallest-norm"] = "fewest-neurons",
    fine_tune: int = 0,
    curve: str | None = None,
    out: Path | None = None,
    json: _Flag = False,
) -> int:
    """Take out neurons that a trained model can do without: the same outputs on the data, within a tolerance.

    Nothing of yours is changed. Layers that cannot be served are named, with the reason.

    Args:
        factory: module:function, or path/to/file.py:function; called without arguments, it returns (model, loss, data)
            or a dict with model and data, as for steppe measure.
        tolerance: Largest relative change of the outputs over all data; 1e-6 if not given.
        layer: Only layers of these names, such as 'blocks.*.fc1'; may be repeated.
        method: As few neurons as suffice, or those of smallest norm (multi-task lasso).
        fine_tune: Steps of Adam afterwards that bring the outputs back, each on one batch.
        curve: Size at several tolerances instead, such as '1e-6,1e-3,0.01,0.1'.
        out: Write the weights to this .safetensors file, and the report to .json beside it.
        json: Print JSON.
    """
    from steppe.workflow import compress_problem, compress_problem_curve, load_problem

    if curve is not None and (out is not None or tolerance is not None or fine_tune):
        raise InputError(
            "`--curve` takes none of --out, --tolerance, --fine-tune; it compares sizes, so choose one and run again"
        )
    target = None if out is None else _target(out)
    options: dict[str, Any] = {"layers": list(layer) or None, "method": method}
    # What the user's code prints must not end up inside the answer.
    with contextlib.redirect_stdout(sys.stderr):
        problem = load_problem(factory)
        if curve is not None:
            found = compress_problem_curve(problem, numbers("curve", curve) or None, **options)
        else:
            found = compress_problem(problem, tolerance=tolerance, fine_tune=fine_tune, **options)
    if json:
        print_json(found.to_dict())
    elif curve is not None:
        print_table(found.headers, found.lines())
    else:
        _print(found)
    if target is not None:
        written = found.save(target)
        said = f"weights: {written}, report: {written.with_suffix('.json')}"
        note(said) if json else answer(said)
    return OK


def _target(out: Path) -> Path:
    from steppe.workflow import check_target

    if out.suffix != ".safetensors":
        raise InputError(f"`--out` must end in .safetensors, got {str(out)!r}; rename it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"`--out` {str(out)!r} lies in a folder that does not exist; create {out.absolute().parent}")
    check_target("out", out.with_suffix(".json"))
    return check_target("out", out)


def _print(found: Any) -> None:
    answer(found.headline())
    answer()
    print_table(found.headers, found.lines())
    for line in found.notes():
        answer(line)
