"""Numbers, durations and lists as a reader meets them."""

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

THIN = "\u202f"  # narrow no-break space between thousands
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: Any, digits: int = 4) -> str:
    """A number to `digits` significant digits, with a true minus and powers of ten in the usual notation."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return count(value) if abs(value) >= 10_000 else str(value).replace("-", "−")
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
    return text.replace("-", "−")


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", THIN).replace("-", "−")


def counted(value: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def day(value: Any) -> str:
    """A date or ISO text as `21 November 2026`; other text unchanged."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = datetime.datetime.fromtimestamp(value, tz=datetime.UTC)
    date: datetime.date | None = value if isinstance(value, datetime.date) else None
    return str(value) if date is None else f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def listed(values: Sequence[Any], limit: int = 8) -> str:
    """Values of an axis: runs of integers as `0–4`, long lists with their ends."""
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if len(whole) == len(values) > 2 and sorted(whole) == list(range(min(whole), max(whole) + 1)):
        return f"{min(whole)}–{max(whole)}"
    words = [number(value) for value in values]
    if len(words) > limit:
        words = [*words[: limit - 2], "…", words[-1]]
    return ", ".join(words)


def typeset(text: str) -> str:
    """Text of a computer as in print: true minus signs, ∞, and powers of ten for `1e-09`."""
    text = re.sub(r"(?<![\w.)\]-])-(?=[\d.]|inf\b)", "−", text)
    text = re.sub(r"\binf\b", "∞", text)
    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]?\d+)\b", _power, text)


def _power(found: re.Match[str]) -> str:
    power = "10" + str(int(found[2])).translate(_SUPERSCRIPTS)
    return power if found[1] == "1" else f"{found[1]}·{power}"


def moment(value: Any) -> str:
    """A date with its time, such as `21 November 2026, 03:10 UTC`; other text unchanged."""
    try:
        when = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return f"{day(when)}, {when:%H:%M} {when.tzname() or ''}".rstrip()


def joined(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(words)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def anchor(text: str) -> str:
    """Text as an identifier for links inside the page."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "x"
