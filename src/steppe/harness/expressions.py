"""Conditions on cells, written as text: `seed<3 and d==5`. Checked against a whitelist, never evaluated as code."""

import ast
import functools
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from steppe.core import InputError, KindError, check_known

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, collection: value in collection,
    ast.NotIn: lambda value, collection: value not in collection,
}
_GRAMMAR = "use comparisons of axis names with numbers or quoted words, joined by and, or, not, in"
_LONGEST = 1000
_DEEPEST = 50


@dataclass(frozen=True)
class Condition:
    """A condition on a cell, such as `seed<3 and d in (1, 5)`.

    Allowed are comparisons (also chained and `in`), `and`, `or`, `not`, parentheses, numbers, quoted words, tuples and
    names. A cell that lacks a name occurring in the condition does not match.

    Args:
        text: The condition.

    Raises:
        KindError: It is not text.
        InputError: It is not a condition; the message says which piece is not allowed.
    """

    text: str

    def __post_init__(self) -> None:
        _parse(self.text)

    @property
    def names(self) -> tuple[str, ...]:
        """The axis names that occur, sorted."""
        nodes = ast.walk(_parse(self.text))
        return tuple(sorted({node.id for node in nodes if isinstance(node, ast.Name)}))

    def check_names(self, known: Iterable[str]) -> None:
        """Refuse a name that no axis has.

        Raises:
            UnknownNameError: With the closest known name.
        """
        listed = list(known)
        for name in self.names:
            check_known("axis", name, listed)

    def __call__(self, cell: Mapping[str, Any]) -> bool:
        """Whether a cell satisfies it."""
        tree = _parse(self.text)
        if any(name not in cell for name in self.names):
            return False
        try:
            return bool(_evaluate(tree, cell))
        except TypeError as error:
            raise InputError(
                f"`where` must compare values of one kind, got {self.text!r} for the cell {dict(cell)}: {error}; "
                "quote words and leave numbers bare"
            ) from error


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> ast.expr:
    if not isinstance(text, str):
        raise KindError(f"`where` must be a text or a function of the cell, got {type(text).__name__}; {_GRAMMAR}")
    if not text.strip() or len(text) > _LONGEST:
        raise InputError(f"`where` must have between 1 and {_LONGEST} characters, got {len(text)}; {_GRAMMAR}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of `'\d'` or `0or 1` is no concern of the reader
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        hint = "; compare with == (two signs)" if "==" in str(reason) or _single_equals(text) else f"; {_GRAMMAR}"
        raise InputError(f"`where` must be a condition, got {text!r} ({reason}){hint}") from error
    _check(tree, text)
    return tree


def _single_equals(text: str) -> bool:
    return "=" in text.replace("==", "").replace("<=", "").replace(">=", "").replace("!=", "")


def _check(node: ast.AST, text: str) -> None:
    if _deeper(node, _DEEPEST):
        raise InputError(f"`where` must not be nested deeper than {_DEEPEST} levels, got {text[:40]!r}…; {_GRAMMAR}")
    for piece in ast.walk(node):
        if isinstance(piece, ast.Constant):
            allowed = isinstance(piece.value, int | float | str | bool) or piece.value is None
        else:
            allowed = isinstance(
                piece,
                ast.BoolOp | ast.And | ast.Or | ast.UnaryOp | ast.Not | ast.USub | ast.UAdd | ast.Compare | ast.Name
                | ast.Load | ast.Tuple | ast.List | ast.Set | ast.cmpop,
            ) and not isinstance(piece, ast.Is | ast.IsNot)  # fmt: skip
        if not allowed:
            raise InputError(f"`where` does not allow {type(piece).__name__.lower()} in {text!r}; {_GRAMMAR}")


def _deeper(node: ast.AST, levels: int) -> bool:
    """Whether a tree has more levels; not by recursion, which such a tree would exhaust."""
    layer = [node]
    for _ in range(levels):
        layer = [below for above in layer for below in ast.iter_child_nodes(above)]
    return bool(layer)


def _evaluate(node: ast.expr, cell: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return cell[name]
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            return [_evaluate(item, cell) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, cell)
        case ast.UnaryOp(op=sign, operand=operand):
            value = _evaluate(operand, cell)
            return -value if isinstance(sign, ast.USub) else +value
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_evaluate(value, cell) for value in values)
        case ast.BoolOp(values=values):
            return any(_evaluate(value, cell) for value in values)
        case ast.Compare(left=first, ops=signs, comparators=others):
            sides = [_evaluate(side, cell) for side in (first, *others)]
            pairs = zip(signs, sides, sides[1:], strict=False)
            return all(_COMPARISONS[type(sign)](left, right) for sign, left, right in pairs)
    raise InputError(f"`where` does not allow {type(node).__name__.lower()}; {_GRAMMAR}")
