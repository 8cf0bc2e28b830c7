"""Grids of cells: what a study is asked to compute."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from steppe.core import DataError, KindError, check_known

from .canonical import Scalar, as_scalar, canonical
from .expressions import Condition

Predicate = Callable[[Mapping[str, Any]], bool]


class Cell(dict[str, Any]):
    """One point of a grid: a dict of axes, and the parts that its slots name.

    Args:
        axes: Axis name → value.
        parts: Slot name → the callable that the cell's axis of that name chose.
    """

    def __init__(self, axes: Mapping[str, Any], parts: Mapping[str, Callable[..., Any]] | None = None) -> None:
        super().__init__(axes)
        self.parts: dict[str, Callable[..., Any]] = dict(parts or {})


@dataclass(frozen=True)
class _Block:
    axes: tuple[tuple[str, tuple[Scalar, ...]], ...]
    filters: tuple[Predicate, ...] = ()

    def cells(self) -> Iterator[dict[str, Any]]:
        names = [name for name, _ in self.axes]
        for values in product(*(values for _, values in self.axes)):
            cell = dict(zip(names, values, strict=True))
            if all(keep(cell) for keep in self.filters):
                yield cell

    def changed(self, name: str, values: tuple[Scalar, ...]) -> "_Block":
        axes = tuple((axis, values if axis == name else old) for axis, old in self.axes)
        return _Block(axes, self.filters)


def _axis(name: str, values: Any) -> tuple[Scalar, ...]:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, Iterable) and not isinstance(values, str | list | tuple | range):
        raise KindError(f"axis `{name}` must be a scalar or a sequence, got {type(values).__name__}; pass a tuple")
    listed = list(values) if isinstance(values, list | tuple | range) else [values]
    if not listed:
        raise DataError(f"axis `{name}` must have at least one value, got none; leave the axis out or give a value")
    scalars = [as_scalar(f"axis `{name}`", value) for value in listed]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in scalars)
    if numeric and any(isinstance(value, float) for value in scalars):
        scalars = [float(value) for value in scalars]  # type: ignore[arg-type]  # just checked
    return tuple({canonical(value): value for value in scalars}.values())


def _like(old: tuple[Scalar, ...], new: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """Integers become floats on an axis of floats, so that `1` and `1.0` name the same cell."""
    if all(isinstance(value, float) for value in old):
        return tuple(float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in new)
    return new


class Grid:
    """A product of axes, or a union of such products.

    `Grid(d=(1, 5), seed=range(3))` has six cells, the last axis running fastest. `Grid(...) + Grid(...)` is their
    union in order, duplicates dropped; the two may have different axes. Every method returns a new grid.

    Args:
        **axes: Name → a scalar (number, bool, text, None) or a non-empty sequence of them. On an axis with a float all
            numbers are floats.

    Raises:
        KindError: A value is not a JSON scalar.
        DataError: An axis is empty.
        ParameterError: A number is NaN, infinite or too large.
    """

    def __init__(self, **axes: Any) -> None:
        self._blocks: tuple[_Block, ...] = (
            (_Block(tuple((name, _axis(name, values)) for name, values in axes.items())),) if axes else ()
        )

    @classmethod
    def _of(cls, blocks: tuple[_Block, ...]) -> "Grid":
        grid = cls()
        grid._blocks = blocks
        return grid

    def cells(self) -> list[dict[str, Any]]:
        """All cells in order, each once."""
        found: dict[bytes, dict[str, Any]] = {}
        for block in self._blocks:
            for cell in block.cells():
                found.setdefault(canonical(cell), cell)
        return list(found.values())

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Name → the values that occur in the cells, in order of first appearance."""
        found: dict[str, dict[bytes, Any]] = {}
        for cell in self.cells():
            for name, value in cell.items():
                found.setdefault(name, {}).setdefault(canonical(value), value)
        return {name: list(values.values()) for name, values in found.items()}

    @property
    def names(self) -> list[str]:
        """The names of all axes, also of blocks that a condition left empty."""
        return list(dict.fromkeys(name for block in self._blocks for name, _ in block.axes))

    @property
    def bound(self) -> int:
        """At most so many cells, counted without making them: conditions and duplicates are left out of account."""
        return sum(math.prod(len(values) for _, values in block.axes) for block in self._blocks)

    def override(self, axes: Mapping[str, Any]) -> "Grid":
        """The grid with these axes replaced in every block that has them.

        Raises:
            UnknownNameError: No block has such an axis.
        """
        return self._replaced(axes, lambda old, new: new)

    def extend(self, axes: Mapping[str, Any]) -> "Grid":
        """The grid with these values added to the axes of every block that has them.

        Raises:
            UnknownNameError: No block has such an axis.
        """
        return self._replaced(axes, lambda old, new: tuple({canonical(v): v for v in (*old, *new)}.values()))

    def _replaced(self, axes: Mapping[str, Any], merge: Callable[..., tuple[Scalar, ...]]) -> "Grid":
        blocks = self._blocks
        for name, values in axes.items():
            check_known("axis", name, self.names)
            new = _axis(name, values)
            blocks = tuple(
                block.changed(name, merge(old, _like(old, new))) if (old := dict(block.axes).get(name)) else block
                for block in blocks
            )
        return self._of(blocks)

    def where(self, condition: "str | Predicate") -> "Grid":
        """The cells that satisfy a condition, a text such as `"seed<3 and d==5"` or a function of the cell.

        A cell that lacks an axis named in the text does not match.

        Raises:
            InputError: The text is not a condition.
            UnknownNameError: It names an axis that no block has.
        """
        if callable(condition):
            keep: Predicate = condition
        else:
            keep = Condition(condition)
            keep.check_names(self.names)
        return self._of(tuple(_Block(block.axes, (*block.filters, keep)) for block in self._blocks))

    def __add__(self, other: "Grid") -> "Grid":
        if not isinstance(other, Grid):
            return NotImplemented
        return self._of(self._blocks + other._blocks)

    def __len__(self) -> int:
        return len(self.cells())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.cells())

    def __eq__(self, other: object) -> bool:
        return self.cells() == other.cells() if isinstance(other, Grid) else NotImplemented

    def __hash__(self) -> int:
        return hash(canonical(self.cells()))

    def __repr__(self) -> str:
        blocks = (", ".join(f"{name}={list(values)}" for name, values in block.axes) for block in self._blocks)
        return " + ".join(f"Grid({block})" for block in blocks) or "Grid()"
