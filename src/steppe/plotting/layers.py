"""What can be drawn in a panel: points, lines, intervals, histograms, tables of colour. Frozen values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from steppe.core import DataError, ParameterError, ShapeError, check_integer, check_number

from .checks import Numbers, Texts, as_matrix, as_numbers, as_text, as_texts, check_lengths

# One line of a figure's table: kind, series, x, y, low, high, value, cell, command.
Record = tuple[str, str, float | None, float | None, float | None, float | None, float | None, str, str]


def _name(kind: str, layer: Any) -> str:
    as_text(f"`name` of {kind}", layer.name)
    return f"{kind} {layer.name!r}"


def _store(layer: Any, **fields: Any) -> None:
    for name, value in fields.items():
        object.__setattr__(layer, name, value)


def _check_group(where: str, group: int | None) -> None:
    if group is not None:
        check_integer(f"group of {where}", group, minimum=0)


@dataclass(frozen=True)
class Scatter:
    """One point per row.

    Args:
        name: Name of the series; series of one name share a colour in all panels.
        x: Abscissae.
        y: Ordinates, as many.
        hover: What each point is, such as the label of its row; one string for all or one per point.
        commands: The command that reproduces each point; one string for all or one per point.
        group: Index of the colour and marker, 0 to 7 then repeating; None gives the next free one.
        size: Diameter of the marker in points; None adapts to the number of points.
        connect: Whether a thin line joins the points in the order given.
        low: Lower ends of vertical intervals, with `high`.
        high: Upper ends.

    Raises:
        ShapeError: Lengths differ.
        DataError: A number is not finite, or an interval is reversed.
    """

    name: str
    x: Numbers
    y: Numbers
    hover: Texts = None
    commands: Texts = None
    group: int | None = None
    size: float | None = None
    connect: bool = False
    low: Numbers | None = None
    high: Numbers | None = None
    kind: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        where = _name("Scatter", self)
        x, y = as_numbers(f"`x` of {where}", self.x), as_numbers(f"`y` of {where}", self.y)
        check_lengths(where, x=x, y=y)
        if (self.low is None) != (self.high is None):
            raise ParameterError(f"{where} needs both `low` and `high` or neither; pass both ends of the intervals")
        if self.low is not None and self.high is not None:
            _store(
                self, low=as_numbers(f"`low` of {where}", self.low), high=as_numbers(f"`high` of {where}", self.high)
            )
            _check_interval(where, x, self.low, self.high)
        _check_group(where, self.group)
        if self.size is not None:
            check_number(f"size of {where}", self.size, above=0, maximum=100)
        texts = {name: as_texts(where, name, getattr(self, name), len(x)) for name in ("hover", "commands")}
        _store(self, x=x, y=y, **texts)

    def extent(self) -> tuple[Sequence[float], Sequence[float]]:
        """All abscissae and all ordinates that must be visible."""
        return tuple(self.x), (*self.y, *(self.low or ()), *(self.high or ()))

    def records(self) -> Iterator[Record]:
        """The lines of the figure's table."""
        count = len(self.x)
        blank, none = ("",) * count, (None,) * count
        columns = (self.x, self.y, self.low or none, self.high or none, self.hover or blank, self.commands or blank)
        for x, y, low, high, cell, command in zip(*columns, strict=True):
            yield self.kind, self.name, x, y, low, high, None, cell, command


@dataclass(frozen=True)
class Lines:
    """A line through points in the order given.

    Args:
        name: Name of the series.
        x: Abscissae.
        y: Ordinates, as many.
        theory: Whether it is what theory says: dashed and dark.
        group: Index of the colour; None gives the next free one (theory: dark grey).

    Raises:
        ShapeError: Lengths differ.
        DataError: A number is not finite.
    """

    name: str
    x: Numbers
    y: Numbers
    theory: bool = False
    group: int | None = None

    def __post_init__(self) -> None:
        where = _name("Lines", self)
        x, y = as_numbers(f"`x` of {where}", self.x), as_numbers(f"`y` of {where}", self.y)
        check_lengths(where, x=x, y=y)
        _check_group(where, self.group)
        _store(self, x=x, y=y)

    @property
    def kind(self) -> str:
        """How the table calls it."""
        return "theory" if self.theory else "line"

    def extent(self) -> tuple[Sequence[float], Sequence[float]]:
        """All abscissae and all ordinates that must be visible."""
        return tuple(self.x), tuple(self.y)

    def records(self) -> Iterator[Record]:
        """The lines of the figure's table."""
        for x, y in zip(self.x, self.y, strict=True):
            yield self.kind, self.name, x, y, None, None, None, "", ""


@dataclass(frozen=True)
class Band:
    """A shaded interval along x.

    Args:
        name: Name of the series; give it the name of the points it belongs to and it takes their colour.
        x: Abscissae in increasing order.
        low: Lower ends.
        high: Upper ends, nowhere below the lower.
        group: Index of the colour; None gives the next free one.

    Raises:
        ShapeError: Lengths differ.
        DataError: A number is not finite, an interval is reversed or x decreases.
    """

    name: str
    x: Numbers
    low: Numbers
    high: Numbers
    group: int | None = None
    kind: ClassVar[str] = "band"

    def __post_init__(self) -> None:
        where = _name("Band", self)
        columns = {name: as_numbers(f"`{name}` of {where}", getattr(self, name)) for name in ("x", "low", "high")}
        _check_interval(where, columns["x"], columns["low"], columns["high"])
        for index, (before, after) in enumerate(pairwise(columns["x"])):
            if after < before:
                raise DataError(f"`x` of {where} must increase, got {before:g} then {after:g} at {index + 1}; sort it")
        _check_group(where, self.group)
        _store(self, **columns)

    def extent(self) -> tuple[Sequence[float], Sequence[float]]:
        """All abscissae and all ordinates that must be visible."""
        return tuple(self.x), (*self.low, *self.high)

    def records(self) -> Iterator[Record]:
        """The lines of the figure's table."""
        for x, low, high in zip(self.x, self.low, self.high, strict=True):
            yield self.kind, self.name, x, None, low, high, None, "", ""


def _check_interval(where: str, x: Numbers, low: Numbers, high: Numbers) -> None:
    check_lengths(where, x=x, low=low, high=high)
    for index, (below, above) in enumerate(zip(low, high, strict=True)):
        if below > above:
            raise DataError(f"{where} needs low ≤ high, got {below:g} > {above:g} at position {index}; swap the ends")


@dataclass(frozen=True)
class Histogram:
    """How values are spread over bins.

    Args:
        name: Name of the series.
        values: The values; every one is a line of the table.
        bins: Number of equal bins over the panel's x range (equal ratios on a log axis), or their increasing edges.
        commands: The command that reproduces each value; one string for all or one per value.
        group: Index of the colour; None gives the next free one.
        share: Whether heights are shares of the values rather than counts.
        hover: What each value is, for the table.

    Raises:
        DataError: A value is not finite, or the edges do not increase.
        ParameterError: There is no bin.
    """

    name: str
    values: Numbers
    bins: int | Numbers = 20
    commands: Texts = None
    group: int | None = None
    share: bool = False
    hover: Texts = None
    kind: ClassVar[str] = "value"

    def __post_init__(self) -> None:
        where = _name("Histogram", self)
        values = as_numbers(f"`values` of {where}", self.values)
        bins: int | tuple[float, ...]
        if hasattr(self.bins, "__iter__"):
            bins = as_numbers(f"`bins` of {where}", self.bins)
            if len(bins) < 2 or any(b <= a for a, b in pairwise(bins)):
                raise DataError(f"`bins` of {where} must be at least two increasing edges, got {bins}; sort them")
        else:
            bins = check_integer(f"bins of {where}", self.bins, minimum=1, maximum=1000)
        _check_group(where, self.group)
        texts = {name: as_texts(where, name, getattr(self, name), len(values)) for name in ("hover", "commands")}
        _store(self, values=values, bins=bins, **texts)

    def extent(self) -> tuple[Sequence[float], Sequence[float]]:
        """All abscissae that must be visible; heights follow from the bins."""
        return (*self.values, *(() if isinstance(self.bins, int) else self.bins)), ()

    def heights(self, low: float, high: float, *, log: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Edges of the bins and height of each.

        Args:
            low: Lower end of the panel's x range; used when `bins` is a number.
            high: Upper end.
            log: Whether the x axis is logarithmic.
        """
        space = np.geomspace if log else np.linspace
        edges = space(low, high, self.bins + 1) if isinstance(self.bins, int) else np.asarray(self.bins)
        counts = np.histogram(np.asarray(self.values), edges)[0].astype(float)
        if self.share and self.values:
            counts = counts / len(self.values)
        return tuple(map(float, edges)), tuple(map(float, counts))

    def records(self) -> Iterator[Record]:
        """The lines of the figure's table."""
        blank = ("",) * len(self.values)
        for value, cell, command in zip(self.values, self.hover or blank, self.commands or blank, strict=True):
            yield self.kind, self.name, value, None, None, None, None, cell, command


@dataclass(frozen=True)
class Heatmap:
    """A table of numbers as colours, light to dark.

    Args:
        x: Increasing centres of the columns.
        y: Increasing centres of the rows.
        z: One row per y and one column per x; None where there is no value.
        name: What the numbers are, with unit; the title of the colour bar.

    Raises:
        ShapeError: z is not [len(y), len(x)].
        DataError: A number is not finite, or centres do not increase.
    """

    x: Numbers
    y: Numbers
    z: Any
    name: str
    kind: ClassVar[str] = "cell"
    group: ClassVar[None] = None

    def __post_init__(self) -> None:
        where = _name(type(self).__name__, self)
        x, y = as_numbers(f"`x` of {where}", self.x), as_numbers(f"`y` of {where}", self.y)
        for name, centres in (("x", x), ("y", y)):
            if not centres or any(b <= a for a, b in pairwise(centres)):
                raise DataError(f"`{name}` of {where} must be increasing and not empty, got {centres}; sort it")
        z = as_matrix(f"`z` of {where}", self.z, (len(y), len(x)))
        if all(value is None for row in z for value in row):
            raise ShapeError(f"`z` of {where} needs at least one number, got none; leave the layer out")
        _store(self, x=x, y=y, z=z)

    def extent(self) -> tuple[Sequence[float], Sequence[float]]:
        """The centres; the axes end at the outer edges of the cells."""
        return tuple(self.x), tuple(self.y)

    def edges(self, axis: str, *, log: bool) -> tuple[float, ...]:
        """Edges of the cells along an axis: midpoints of neighbouring centres, geometric on a log axis."""
        centres = np.asarray(self.x if axis == "x" else self.y)
        c = np.log(centres) if log else centres
        half = np.diff(c) / 2 if len(c) > 1 else np.array([0.5])
        edges = np.concatenate([[c[0] - half[0]], c[:-1] + half[: len(c) - 1], [c[-1] + half[-1]]])
        return tuple(map(float, np.exp(edges) if log else edges))

    def records(self) -> Iterator[Record]:
        """The lines of the figure's table."""
        for y, row in zip(self.y, self.z, strict=True):
            for x, value in zip(self.x, row, strict=True):
                if value is not None:
                    yield self.kind, self.name, x, y, None, None, value, "", ""


@dataclass(frozen=True)
class Contours(Heatmap):
    """A function of two variables by its level lines, filled light to dark between them.

    Args:
        x: Increasing abscissae, at least two; the picture ends at the first and last.
        y: Increasing ordinates, at least two.
        z: Values, one row per y and one column per x; None where there is none.
        name: What the numbers are, with unit; the title of the colour bar.
        levels: Number of equally spaced levels inside the range of z, at least 2.

    Raises:
        ShapeError: z is not [len(y), len(x)], or there are fewer than two abscissae or ordinates.
        DataError: A number is not finite, abscissae or ordinates do not increase, or z is constant.
        ParameterError: There are too few or too many levels.
    """

    levels: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        where = _name("Contours", self)
        if min(len(self.x), len(self.y)) < 2:
            raise ShapeError(f"{where} needs at least two of x and of y, got {len(self.x)} and {len(self.y)}; add some")
        check_integer(f"levels of {where}", self.levels, minimum=2, maximum=200)
        values = self.values()
        if any(b <= a for a, b in pairwise(values)):
            raise DataError(f"`z` of {where} must vary, got {values[0]:g} throughout; leave the layer out")

    def edges(self, axis: str, *, log: bool) -> tuple[float, ...]:
        """The abscissae or ordinates themselves: the picture ends at the outermost."""
        return tuple(self.x if axis == "x" else self.y)

    def values(self) -> tuple[float, ...]:
        """The levels."""
        found = [value for row in self.z for value in row if value is not None]
        return tuple(map(float, np.linspace(min(found), max(found), self.levels + 2)[1:-1]))


Layer = Scatter | Lines | Band | Histogram | Heatmap
