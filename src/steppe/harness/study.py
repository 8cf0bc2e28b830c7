"""A study: one question, its grid, its rows, its claims."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from steppe.core import InputError, KindError, ParameterError, check_integer, check_known, check_number

from .claims import Claim, Control
from .grid import Cell, Grid
from .rows import Rows
from .slots import Diverged, Slot
from .verdicts import ControlVerdict, Verdict

Size = Literal["default", "quick", "full"]
SIZES: tuple[Size, ...] = ("default", "quick", "full")
RowsFunction = Callable[[list[Cell]], Iterator[tuple[Cell, Mapping[str, Any] | Diverged]]]
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_SLUG = 80


@dataclass(frozen=True)
class FigureSpec:
    """A figure of a study: how to build it from rows. The harness only stores it.

    Args:
        id: Unique in its study.
        build: Rows → figure.
        section: Where in the report it stands.
        claims: Ids of the claims that it shows.
    """

    id: str
    build: Callable[[Rows], Any]
    section: str = "main"
    claims: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise KindError(f"`build` of figure `{self.id}` must be callable, got {type(self.build).__name__}")
        object.__setattr__(self, "claims", tuple(self.claims))


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """One question put to numbers.

    Args:
        slug: Its name: lower-case words joined by hyphens.
        title: Its title; the slug if not given.
        summary: What it asks, in plain words.
        paper: Citation key.
        reference: The full reference.
        revision: Raised when the meaning of a row changes; rows of another revision are never mixed in.
        grid: The default cells.
        quick: Cells for at most 90 s on two cores; the default ones if not given.
        full: The paper's sizes; the default ones if not given.
        columns: Name → description with unit; every row has exactly these.
        row: One cell in, one record out: `row(**cell)`, or `row(**cell, parts={slot: callable})` if there are slots.
        rows: Many cells in, `(cell, record)` out, as an iterator; instead of `row`.
        together: The axes that must agree for cells to be computed in one call of `rows`.
        slots: Axis → what the names on this axis stand for.
        claims: What is claimed.
        controls: Near misses that must be rejected; at least one.
        figures: How to draw it.
        headline: Rows and verdicts (by claim id) → the one sentence from the numbers.
        cost: Cell → about how much work it is, in any unit > 0, so that the time left can be foreseen.

    Raises:
        InputError: A piece is missing, or two pieces contradict each other; the message names both.
        UnknownNameError: A control, figure, axis or part names something that is not there.
    """

    slug: str
    columns: Mapping[str, str]
    grid: Grid
    title: str = ""
    summary: str = ""
    paper: str = ""
    reference: str = ""
    revision: int = 1
    quick: Grid | None = None
    full: Grid | None = None
    row: Callable[..., Mapping[str, Any] | Diverged] | None = None
    rows: RowsFunction | None = None
    together: Sequence[str] = ()
    slots: Mapping[str, Slot] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    controls: Sequence[Control] = ()
    figures: Sequence[FigureSpec] = ()
    headline: Callable[[Rows, dict[str, Verdict]], str] | None = None
    cost: Callable[[Mapping[str, Any]], float] | None = None

    def __post_init__(self) -> None:
        for name in ("together", "claims", "controls", "figures"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("columns", "slots"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        _check_identity(self)
        object.__setattr__(self, "title", self.title or self.slug)
        _check_function(self)
        _check_claims(self)
        _check_grids(self)

    def grid_of(self, size: Size | Grid = "default") -> Grid:
        """The grid of a size; a grid is returned as it is.

        Raises:
            UnknownNameError: There is no such size.
        """
        if isinstance(size, Grid):
            return size
        check_known("size", size, SIZES)
        return {"default": self.grid, "quick": self.quick or self.grid, "full": self.full or self.grid}[size]

    def cells(self, size: Size | Grid = "default", *, where: Any = None) -> list[Cell]:
        """The cells of a size or grid, in order, with their parts.

        Raises:
            UnknownNameError: A cell names a part that is not there.
            InputError: `where` is not a condition.
        """
        grid = self.grid_of(size)
        return [self.cell(axes) for axes in (grid if where is None else grid.where(where)).cells()]

    def cell(self, axes: Mapping[str, Any]) -> Cell:
        """One cell with its parts.

        Raises:
            UnknownNameError: It names a part that is not there.
        """
        return cell_of(axes, self.slots)

    def groups(self, cells: Iterable[Mapping[str, Any]]) -> list[list[Cell]]:
        """The cells in the groups in which they are computed. They follow from the cells alone."""
        listed = [self.cell(cell) for cell in cells]
        if self.rows is None:
            return [[cell] for cell in listed]
        found: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in listed:
            found.setdefault(tuple((axis in cell, cell.get(axis)) for axis in self.together), []).append(cell)
        return list(found.values())

    def work(self, cell: Mapping[str, Any]) -> float:
        """How much work a cell is, in the unit of `cost`; 1 if the study does not say.

        Raises:
            ParameterError: `cost` gives no number above zero.
        """
        return 1.0 if self.cost is None else check_number("cost", self.cost(cell), above=0.0)

    def judge(self, rows: Rows) -> tuple[list[Verdict], list[ControlVerdict]]:
        """The verdicts on all claims and all controls, in their order."""
        return [claim.judge(rows) for claim in self.claims], [control.judge(rows) for control in self.controls]

    def with_grid(self, grid: Grid) -> "Study":
        """The same study (same rows, same store) asked on another grid at every size."""
        return dataclasses.replace(self, grid=grid, quick=None, full=None, together=self._together_in(grid))

    def _together_in(self, *grids: Grid) -> tuple[str, ...]:
        """The axes of `together` that these grids have; cells agree in the others anyway."""
        names = {name for grid in grids for name in grid.names}
        return tuple(axis for axis in self.together if axis in names)

    def variant(
        self,
        name: str,
        *,
        grid: Grid | Mapping[str, Any] | None = None,
        parts: Mapping[str, Mapping[str, Callable[..., Any]]] | None = None,
        claims: Sequence[Claim] | None = None,
        controls: Sequence[Control] | None = None,
        figures: Sequence[FigureSpec] | None = None,
        quick: Grid | Mapping[str, Any] | None = None,
        full: Grid | Mapping[str, Any] | None = None,
        title: str | None = None,
        summary: str | None = None,
        headline: Callable[[Rows, dict[str, Verdict]], str] | None = None,
    ) -> "Study":
        """A study of one's own beside the paper's: other cells, other parts, other claims.

        Args:
            name: Added to the slug.
            grid: A grid for all sizes; or a dict of axes that replace those of each size.
            parts: Slot → name → callable, added to those that are there.
            claims: Instead of the claims that are there; controls of claims that are gone go with them.
            controls: Instead of the controls that are there.
            figures: Instead of the figures that are there.
            quick: Grid or axes of the quick size, if it should differ.
            full: Grid or axes of the full size, if it should differ.
            title: Instead of the title.
            summary: Instead of the summary.
            headline: Instead of the headline.

        Raises:
            UnknownNameError: A slot or axis is not there.
            InputError: A part's name is taken, or no control is left.
        """
        slots = dict(self.slots)
        for slot, added in (parts or {}).items():
            check_known("slot", slot, slots)
            slots[slot] = slots[slot].extended(added)
        kept = tuple(self.claims if claims is None else claims)
        ids = {claim.id for claim in kept}
        given = {"figures": figures, "title": title, "summary": summary, "headline": headline}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(
            self,
            slug=f"{self.slug}-{name}",
            grid=_regrid(self.grid, grid),
            quick=_regrid(self.grid_of("quick"), quick, otherwise=grid),
            full=_regrid(self.grid_of("full"), full, otherwise=grid),
            slots=slots,
            claims=kept,
            controls=tuple(c for c in self.controls if c.of in ids) if controls is None else tuple(controls),
            **changes,
        )

    def __repr__(self) -> str:
        return f"Study({self.slug!r}, revision {self.revision}, {len(self.claims)} claims)"


def cell_of(axes: Mapping[str, Any], slots: Mapping[str, Slot]) -> Cell:
    """A cell with the parts that its axes name.

    Raises:
        UnknownNameError: It names a part that is not there.
    """
    parts = {}
    for slot in slots:
        if slot in axes:
            check_known(slot, axes[slot], slots[slot].parts)
            parts[slot] = slots[slot].parts[axes[slot]]
    return Cell(axes, parts)


def _regrid(old: Grid, new: Grid | Mapping[str, Any] | None, *, otherwise: Any = None) -> Grid:
    """`old` with the axes of `new`; without `new`, with those axes of `otherwise` that it has."""
    if new is None and isinstance(otherwise, Mapping):
        new = {axis: values for axis, values in otherwise.items() if axis in old.names}
    elif new is None:
        new = otherwise
    if new is None or isinstance(new, Grid):
        return new or old
    return old.override(new)


def _check_identity(study: Study) -> None:
    if not isinstance(study.slug, str) or not _SLUG.fullmatch(study.slug) or len(study.slug) > _LONGEST_SLUG:
        raise InputError(
            f"`slug` must be lower-case words joined by hyphens, at most {_LONGEST_SLUG} characters, "
            f"got {study.slug!r}; rename the study"
        )
    check_integer("revision", study.revision, minimum=1)
    if not study.columns:
        raise InputError(f"study `{study.slug}` must declare its columns, got none; give name → description with unit")


def _check_function(study: Study) -> None:
    if (study.row is None) == (study.rows is None):
        found = "neither" if study.row is None else "both"
        raise InputError(f"study `{study.slug}` must have exactly one of `row` and `rows`, got {found}; give one")
    if not callable(study.row or study.rows):
        raise KindError(f"`row` of study `{study.slug}` must be callable, got {type(study.row or study.rows).__name__}")
    if study.together and study.rows is None:
        raise InputError(f"`together` goes with `rows`, got `row` in study `{study.slug}`; drop it or give `rows`")


def _check_claims(study: Study) -> None:
    for name, kind in (("claims", Claim), ("controls", Control), ("figures", FigureSpec)):
        for value in getattr(study, name):
            if not isinstance(value, kind):
                raise KindError(
                    f"`{name}` must hold {kind.__name__} values, got {type(value).__name__}; wrap it in one"
                )
    claims = [claim.id for claim in study.claims]
    ids = claims + [control.id for control in study.controls]
    figures = [figure.id for figure in study.figures]
    for what, listed in (("claim", ids), ("figure", figures)):
        twice = next((id for id in listed if listed.count(id) > 1), None)
        if twice is not None:
            raise InputError(f"{what} ids must be unique in study `{study.slug}`, got `{twice}` twice; rename one")
    if not study.controls:
        raise InputError(
            f"study `{study.slug}` must have at least one negative control, got none; "
            "add Control(claim=<a near miss that is false>, of=<claim id>, near_miss=<what was changed>)"
        )
    for control in study.controls:
        check_known("of", control.of, claims)
    for figure in study.figures:
        for id in figure.claims:
            check_known(f"claim of figure {figure.id}", id, ids)


def _check_grids(study: Study) -> None:
    grids = [grid for grid in map(study.grid_of, SIZES) if isinstance(grid, Grid)]
    names = dict.fromkeys(name for grid in grids for name in grid.names)
    for axis in study.together:
        check_known("together", axis, names)
    for size in SIZES:
        grid = study.grid_of(size)
        if not isinstance(grid, Grid):
            raise KindError(f"`{size}` grid must be a Grid, got {type(grid).__name__}; write Grid(d=…, seed=…)")
        if not len(grid):
            raise ParameterError(f"the {size} grid of study `{study.slug}` must have cells, got none; give axes")
        clash = set(grid.names) & set(study.columns)
        if clash:
            raise InputError(f"axes and columns must differ, got {sorted(clash)} as both in `{study.slug}`; rename one")
        for slot, known in study.slots.items():
            for name in grid.axes.get(slot, []):
                check_known(slot, name, known.parts)
