"""A page with tables and figures in one HTML file that needs nothing but itself: no server, no network."""

import base64
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steppe.core import KindError, StoreError

from .figures import Figure

_FOLDER = Path(__file__).parent / "page"
_ROWS = 2000  # lines of a figure's table that are written out


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences, then a table, then figures; each may be missing.

    Args:
        heading: Its heading; may be empty.
        text: Sentences, one paragraph each.
        headers: Headers of the table.
        rows: Its rows, as text.
        figures: Figures below it.
        warning: Whether the sentences are warnings.
    """

    heading: str
    text: Sequence[str] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    figures: Sequence[Figure] = ()
    warning: bool = False


@dataclass(frozen=True)
class _Drawn:
    """A figure as the template draws it."""

    figure: Figure
    legend: Sequence[dict[str, Any]]
    spec: Any
    columns: int
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: str


def standalone_page(title: str, sections: Sequence[Section], *, lead: str = "", facts: Sequence[str] = ()) -> str:
    """HTML with plotly.js inside (4.8 MB); every text is escaped, and a policy admits only the scripts written here.

    Args:
        title: Its title.
        sections: Its parts, in order.
        lead: A sentence below the title.
        facts: A few words each, on one line below.

    Raises:
        KindError: A section is not one.
    """
    from markupsafe import Markup  # Jinja takes a while to import, and few figures become pages

    for section in sections:
        if not isinstance(section, Section):
            raise KindError(f"`sections` must hold Sections, got {type(section).__name__}; pass Section(heading, …)")
    parts = [{**vars(section), "drawn": [_drawn(figure) for figure in section.figures]} for section in sections]
    scripts = {"script": _read("standalone.js")}
    if any(section.figures for section in sections):
        scripts["plotly"] = plotly_script()
    hashes = " ".join(script_hash(text) for text in ("", *scripts.values()))
    page: str = (
        page_environment(_FOLDER)
        .get_template("standalone.html.j2")
        .render(
            title=title,
            lead=lead,
            facts=facts,
            sections=parts,
            style=Markup(_read("standalone.css")),
            policy=f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            **{name: Markup(scripts.get(name, "")) for name in ("plotly", "script")},
        )
    )
    return page


def _drawn(figure: Figure) -> _Drawn:
    from markupsafe import Markup

    spec = figure.to_plotly()
    headers, rows = figure.table()
    text = json.dumps(spec, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _Drawn(
        figure=figure,
        legend=spec["legend"],
        spec=Markup(text.replace("<", "\\u003c")),  # no text inside can end the script element
        columns=min(figure.columns, len(figure.panels)),
        headers=headers,
        rows=[[_cell(value) for value in row] for row in rows[:_ROWS]],
        more=f"The first {_ROWS} of {len(rows)} rows." if len(rows) > _ROWS else "",
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}".replace("-", "−") if isinstance(value, float) else str(value)


@functools.cache
def page_environment(folder: Path) -> Any:
    """The Jinja environment of the templates in a folder; everything that is put in is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def plotly_script() -> str:
    """The Plotly library itself, 4.8 MB of text."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _read(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8")


@functools.cache
def script_hash(script: str) -> str:
    """How a content security policy names a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def write_page(
    path: str | os.PathLike[str],
    page: str,
    *,
    what: str = "page",
    remedy: str = "choose an existing folder that is writable",
) -> Path:
    """Write a page at once: a reader sees the old one or the new one, and a failure leaves the old one.

    Args:
        path: Where to; an existing file is replaced.
        page: What `standalone_page` returned.
        what: What it is, for the error.
        remedy: What to do if it cannot be written.

    Returns:
        The path.

    Raises:
        StoreError: The folder does not exist, is not writable, or the disk is full.
    """
    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(page)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(f"cannot write the {what} {target}: {error.strerror or error}; {remedy}") from error
    return target
