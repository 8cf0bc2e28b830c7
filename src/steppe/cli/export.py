"""`steppe export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .output import answer, print_json


def export(
    study: str,
    *,
    format: Literal["parquet", "csv"] | None = None,
    to: Path | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write the stored rows of a study as one table.

    Args:
        study: Slug, .py file, or the folder of a run.
        format: csv, or parquet (which needs pyarrow); by the ending of --to, else csv.
        to: The file to write; beside the store if left out.
        out: The folder of the run, if it is not ./runs/SLUG.
        json: Print JSON.
    """
    from steppe.workflow import export as export_rows

    path = export_rows(study, to=to, format=format, out=out)
    if json:
        print_json({"path": str(path), "format": path.suffix.removeprefix(".")})
    else:
        answer(f"wrote {path}")
    return 0
