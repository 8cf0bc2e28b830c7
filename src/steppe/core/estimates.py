"""A number that is not exact, with its error."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from .words import grouped

ErrorKind = Literal["bound", "residual", "standard error", "sampling", "none"]

_WORDS = {
    "bound": "proved bound",
    "residual": "residual bound",
    "standard error": "standard error",
    "sampling": "sampling error",
}
# Half-width of the interval in units of `error`: a standard error spans 95 %, the other kinds are the half-width.
_HALF_WIDTHS = {"standard error": 1.959963984540054}


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """A number that is not exact, with its error and how it was obtained.

    It converts to `float`, compares with plain numbers by value and forgets its error in arithmetic.

    Args:
        value: The number.
        error: Its error in the same unit, of the kind that `error_kind` names; `nan` if there is none.
        error_kind: `"bound"` (proved), `"residual"` (some eigenvalue lies within it), `"standard error"`,
            `"sampling"` (spread over data or seeds) or `"none"`.
        converged: Whether the stopping rule was met.
        reason: Why the computation stopped.
        products: Operator–vector products spent.
        seconds: Wall time.
        backend: Which implementation ran.
        convention: Loss, reduction, samples and parameters that the number refers to.
        source: Paper and theorem, where there is one.
        quantity: Name of the quantity, for printing.
    """

    value: float
    error: float = math.nan
    error_kind: ErrorKind = "none"
    converged: bool = True
    reason: str = ""
    products: int = 0
    seconds: float = 0.0
    backend: str = ""
    convention: str = ""
    source: str = ""
    quantity: str = ""

    @property
    def residual(self) -> float | None:
        """The residual norm, or None if the error is of another kind."""
        return self.error if self.error_kind == "residual" else None

    @property
    def standard_error(self) -> float | None:
        """The standard error, or None if the error is of another kind."""
        return self.error if self.error_kind == "standard error" else None

    def interval(self) -> tuple[float, float]:
        """Lower and upper end: 95 % for a standard error, value ± error for the other kinds."""
        if self.error_kind == "none":
            return self.value, self.value
        half = self.error * _HALF_WIDTHS.get(self.error_kind, 1.0)
        return self.value - half, self.value + half

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return dataclasses.asdict(self)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        parts = [_WORDS[self.error_kind]] if self.error_kind in _WORDS else []
        if self.products:
            parts.append(f"{grouped(self.products)} products")
        if not self.converged:
            parts.append(f"not converged: {self.reason}")
        if self.convention:
            parts.append(self.convention)
        error = "" if self.error_kind == "none" else f" ± {self.error:.2g}"
        name = f"{self.quantity} " if self.quantity else ""
        return f"{name}{self.value:.6g}{error}" + (f" ({'; '.join(parts)})" if parts else "")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return self.value == float(other) if isinstance(other, int | float | Estimate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: "float | Estimate") -> bool:
        return self.value < float(other)

    def __le__(self, other: "float | Estimate") -> bool:
        return self.value <= float(other)

    def __gt__(self, other: "float | Estimate") -> bool:
        return self.value > float(other)

    def __ge__(self, other: "float | Estimate") -> bool:
        return self.value >= float(other)

    def __add__(self, other: "float | Estimate") -> float:
        return self.value + float(other)

    __radd__ = __add__

    def __sub__(self, other: "float | Estimate") -> float:
        return self.value - float(other)

    def __rsub__(self, other: float) -> float:
        return other - self.value

    def __mul__(self, other: "float | Estimate") -> float:
        return self.value * float(other)

    __rmul__ = __mul__

    def __truediv__(self, other: "float | Estimate") -> float:
        return self.value / float(other)

    def __rtruediv__(self, other: float) -> float:
        return other / self.value

    def __pow__(self, other: float) -> float:
        return float(self.value**other)

    def __neg__(self) -> float:
        return -self.value

    def __abs__(self) -> float:
        return abs(self.value)
