"""Where words go: answers to stdout, progress and complaints to stderr, no colour into pipes."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What the shell is told. `run` ends with OK whatever the verdicts, unless --strict asks for them.
OK = 0
FAILS = 1  # a theorem claim or a checked inequality fails, or (diff) holds less than it did
MISUSE = 2  # the command or its input cannot be used
INCONCLUSIVE = 3  # a claim could not be decided, a control was not rejected, or (diff) something moved
CRASHED = 4  # a cell crashed without a valid row
UNUSABLE = 5  # the folder (busy, full, not writable, damaged) or the computation failed
INTERRUPTED = 130

EXIT_CODES = (
    "Exit codes: 0 done (judge, run --strict: all theorem claims hold, all controls are rejected) · 1 a theorem claim "
    "fails, a certificate is refused · 2 misuse · 3 inconclusive (diff: something else differs) · 4 a cell crashed "
    "without a valid row · 5 the folder or a computation failed · 130 interrupted."
)
_WIDE = 10_000  # into a pipe nothing is folded
_LONGEST = 1600  # characters of an error

# Names and errors may come from files of others: what moves the cursor, colours or reverses the line is shown instead.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_STYLES = {
    "holds": "green",
    "rejected": "green",
    "fails": "red",
    "not reproduced at this size": "yellow",
    "not rejected": "red",
    "inconclusive": "yellow",
    "not judged": "dim",
    "violated": "red",
    "reproduced": "green",
    "observed": "green",
    "not observed at this size": "yellow",
    "does not apply": "yellow",
    "ok": "green",
    "warning": "yellow",
    "broken": "red",
}


class _Quiet(Console):
    """Leaves a reader that has gone (`steppe list | head`) to `main`, which makes no error of it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(*, error: bool = False) -> Console:
    """A console on stdout or stderr; wide and plain where it is no terminal."""
    stream = sys.stderr if error else sys.stdout
    terminal = stream.isatty()
    return _Quiet(
        file=stream,
        width=None if terminal else _WIDE,
        no_color=None if terminal else True,
        force_terminal=None if terminal else False,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not terminal,
    )


def plain(text: str, encoding: str = "utf-8") -> str:
    """`text` with control characters, reversals, and what the encoding does not know, written as escapes."""
    seen = _UNSEEN.sub(lambda found: ascii(found.group())[1:-1], text)
    return seen.encode(encoding, "backslashreplace").decode(encoding)


def answer(text: str = "") -> None:
    """One paragraph on stdout."""
    out = console()
    out.print(plain(text, out.encoding))


def note(text: str) -> None:
    """One line on stderr."""
    out = console(error=True)
    out.print(plain(text, out.encoding))


def complain(message: str) -> None:
    """One error on stderr; of one that quotes a very long value, the beginning and the remedy at its end."""
    message = plain(message)
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 4 :]}"
    note(f"steppe: {message}")


def print_json(value: Any) -> None:
    """`value` as JSON on stdout."""
    ascii_only = console().encoding.lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout: on a terminal with rules and coloured states, into a pipe plain aligned columns."""
    out = console()
    if not out.is_terminal:
        _print_plain(out, [[plain(str(cell), out.encoding) for cell in row] for row in (headers, *rows)])
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(plain(str(cell), out.encoding), style=_STYLES.get(str(cell).split(":")[0], "")) for cell in row)
        )
    out.print(table)


def _print_plain(out: Console, lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
        out.print("  ".join(padded).rstrip())
    out.print()
