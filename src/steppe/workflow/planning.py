"""Which cells are asked for."""

from collections.abc import Mapping
from typing import Any, Literal

from steppe.core import InputError, KindError, ParameterError
from steppe.harness import Grid, Study

Size = Literal["default", "quick", "full"]
LARGEST = 1_000_000  # cells


def select(
    study: Study,
    *,
    size: Size = "default",
    grid: Grid | Mapping[str, Any] | None = None,
    extend: Mapping[str, Any] | None = None,
    where: Any = None,
) -> Grid:
    """The cells that a command asks for.

    Args:
        study: The study.
        size: Which of its grids to start from.
        grid: A grid instead of it, or a dict of axes whose values replace those of the grid.
        extend: Axes to which values are added.
        where: A condition such as `"seed<3 and d==5"`, or a function of the cell.

    Raises:
        UnknownNameError: An axis, a part or the size is not known.
        ParameterError: Text was given for an axis of numbers, or the other way round, or the cells are over a million.
        InputError: No cell is left.
    """
    chosen = study.grid_of(size)
    if isinstance(grid, Grid):
        chosen = grid
    elif isinstance(grid, Mapping):
        chosen = _bounded(chosen.override(like_axes(chosen, grid)))
    elif grid is not None:
        raise KindError(f"`grid` must be a Grid or a dict of axes, got {type(grid).__name__}; pass Grid(seed=(0, 1))")
    if extend:
        chosen = _bounded(chosen.extend(like_axes(chosen, extend)))
    if where is not None:
        chosen = chosen.where(where)
    if not study.cells(chosen):
        raise InputError(
            f"no cell of {study.slug} is left by `where` {where!r}; the axes are {_described(study, size)}"
        )
    return chosen


def _bounded(grid: Grid) -> Grid:
    """Refuse a product of axes that would fill the memory before it could be said to be too large."""
    if grid.bound > LARGEST:
        raise ParameterError(
            f"`grid` must have at most {LARGEST} cells, got {grid.bound}; give fewer values, or run it in parts"
        )
    return grid


def _described(study: Study, size: Size) -> str:
    axes = study.grid_of(size).axes
    return "; ".join(f"{name}: {', '.join(map(str, values[:8]))}" for name, values in axes.items())


def like_axes(grid: Grid, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values, in the kind that the axis has: a whole float on an axis of integers is an integer."""
    axes = grid.axes
    found: dict[str, Any] = {}
    for name, values in changes.items():
        listed = list(values) if isinstance(values, list | tuple | range) else [values]
        old = axes.get(name, [])
        texts = [value for value in listed if isinstance(value, str)]
        if texts and old and all(_is_number(value) for value in old):
            raise ParameterError(f"axis `{name}` holds numbers, got {texts[0]!r}; give numbers such as {name}={old[0]}")
        if old and all(isinstance(value, str) for value in old) and len(texts) < len(listed):
            raise ParameterError(f"axis `{name}` holds names, got {listed!r}; known: {', '.join(old)}")
        if old and all(isinstance(value, int) for value in old):
            listed = [int(v) if isinstance(v, float) and v.is_integer() else v for v in listed]
        found[name] = listed
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
