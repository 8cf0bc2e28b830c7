"""The answer about a table as a value: numbers, what is proved and what is heuristic, in words, JSON and HTML."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from steppe.activations import RadiusTail
from steppe.core import Estimate, Fact, grouped
from steppe.plotting import Figure, Section, standalone_page, write_page

from .measure_words import spoken
from .shatterability_figures import figures

SCHEMA = "steppe.shatterability/1"
Line = tuple[str, str, str]
_LEVELS = (0.01, 0.05, 0.1, 0.25)


@dataclass(frozen=True, kw_only=True, eq=False)
class LawDepth:
    """Depth of the rows of a table, or of one drawn from a reference law, among themselves.

    Args:
        name: `"data"`, or the law.
        depth: The best upper bound of each row's depth; the depth itself for one and two columns.
        area: ∫Ψ of the random-direction bound, which is the one to compare with other sources.
        least_area: ∫Ψ of `depth`.
        alone_share: Share of the rows that some half-space separates from all others.
        shallow_share: Share of the rows of depth at most the level.
        levels: T.
        curve: Ψ(T) of the random-direction bound.
        least_curve: Ψ(T) of `depth`.
    """

    name: str
    depth: Float[Tensor, " n"]
    area: Estimate
    least_area: Estimate
    alone_share: float
    shallow_share: float
    levels: tuple[float, ...]
    curve: tuple[float, ...]
    least_curve: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """An exponent e of the gap n^(−e) under a law that the data may resemble.

    Args:
        law: Under which law, with what was fitted.
        fact: The exponent.
        interval: Its ends from the interval of what was fitted, or None.
    """

    law: str
    fact: Fact
    interval: tuple[float, float] | None = None

    @property
    def rows_to_halve(self) -> float:
        """By which factor the rows must grow until n^(−e) is half of what it was."""
        return 2.0 ** (1 / self.fact) if self.fact > 1 / 1000 else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Shatterability:
    """What `shatterability` found; it prints in one screen.

    Args:
        name: The table.
        rows: Rows used.
        total: Rows there are.
        columns: Names of the columns used.
        dropped: Names of the constant columns.
        left_out: Rows left out because a value was missing.
        repeated: Rows that repeat another one.
        rank: Dimension of the affine hull of the rows.
        components: Principal components that explain 90 % of the variance.
        scaling: `"columns"`, each standardised, or `"none"`.
        exact: Whether depth is exact.
        directions: Number of random directions of the bound.
        shallow: The depth up to which a row is called shallow.
        data: Depth of the rows.
        references: The same for reference laws with as many rows, columns and directions.
        radii: Norm of each different row, as scaled, over the largest.
        longest: The largest of these norms.
        radius: Tail exponent of the radius, or None.
        dimension: Intrinsic dimension at the nearest neighbours, or None.
        wide_dimension: The same at 20 neighbours, or None.
        exponents: What flatness, and low norm, would give under several laws.
        labels: How depth goes with the label: lines of the table.
        absent: Reason of what is None, by field.
    """

    name: str
    rows: int
    total: int
    columns: tuple[str, ...]
    dropped: tuple[str, ...]
    left_out: int
    repeated: int
    rank: int
    components: int
    scaling: str
    exact: bool
    directions: int
    shallow: float
    data: LawDepth
    references: tuple[LawDepth, ...]
    radii: Float[Tensor, " m"]
    longest: float
    radius: RadiusTail | None
    dimension: Estimate | None
    wide_dimension: Estimate | None
    exponents: tuple[Exponent, ...]
    labels: tuple[Line, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    headers: ClassVar[tuple[str, str, str]] = ("quantity", "value", "how")

    @property
    def depth(self) -> Float[Tensor, " n"]:
        """Depth of each row used, or its best upper bound."""
        return self.data.depth

    @property
    def shallow_share(self) -> float:
        """Share of the rows that are shallow; a lower bound unless `exact`."""
        return self.data.shallow_share

    @property
    def alone_share(self) -> float:
        """Share of the rows that some half-space separates from all others; a lower bound unless `exact`."""
        return self.data.alone_share

    @property
    def area(self) -> Estimate:
        """∫Ψ of the random-direction bound (of the depth itself where that is exact)."""
        return self.data.area

    @property
    def figures(self) -> dict[str, Figure]:
        """Figures by name: concentration, depth, radius, rates."""
        return figures(self)

    @property
    def headline(self) -> str:
        """How much is shallow, and what that is worth."""
        at_least = "" if self.exact else "at least "
        flat, low = self.exponents[0].fact, self.exponents[-1].fact
        return (
            f"Of {grouped(self.rows)} rows, {at_least}{self.alone_share:.0%} stand alone in some half-space and "
            f"{at_least}{self.shallow_share:.0%} in one with at most {self.shallow:.0%} of the rows. As in a ball of "
            f"dimension {self.rank}, flatness gives n^(−{flat:.3g}), low norm n^(−{low:.3g})."
        )

    def lines(self) -> list[Line]:
        """The table: what, its value, and how it was obtained or why it is absent."""
        explained = f"{self.components} principal components explain 90% of the variance"
        return [
            ("table", f"{grouped(self.rows)} rows, {len(self.columns)} columns", self._table()),
            ("scaling", *_SCALING[self.scaling]),
            ("rank", str(self.rank), explained),
            *self._depth_lines(),
            self._radius_line(),
            ("radius", self._spread(), "5%, 50% and 95% quantile over the largest"),
            self._dimension_line(),
            *(_exponent_line(exponent, self.total) for exponent in self.exponents),
            *self.labels,
        ]

    def _depth_lines(self) -> list[Line]:
        """Shares at several levels, and areas, beside those of the reference laws."""
        best = f"the best of {grouped(self.directions)} random directions and one outward"
        how = "exact" if self.exact else f"at least; {best}"
        lines = [
            ("rows alone in a half-space", f"{self.alone_share:.1%}", self._alone()),
        ]
        lines += [
            (f"rows of depth ≤ {level:g}", f"{_share(self.data, level):.1%}", self._beside(level, how))
            for level in sorted({*_LEVELS, self.shallow})
        ]
        lines.append(("depth area", f"{self.area.value:.4f}", f"{self._areas('area')}; at most 0.25"))
        if not self.exact:
            lines.append(("… outward too", f"{self.data.least_area.value:.4f}", self._areas("least_area")))
        own = self.references[-1].area.value
        ratio = f"{self.area.value / own:.2f}" if own > 0 else "–"
        return [*lines, ("area over own Gaussian", ratio, "that of a Gaussian with the covariance of the table")]

    def _alone(self) -> str:
        return ", ".join(f"{_SHORT[law.name]} {law.alone_share:.1%}" for law in self.references)

    def _beside(self, level: float, bound: str) -> str:
        """The references at this level; how it was obtained stands at the level that is called shallow."""
        named = ", ".join(f"{_SHORT[law.name]} {_share(law, level):.1%}" for law in self.references)
        return f"{named}; {bound}" if level == self.shallow else named

    def _areas(self, kind: str) -> str:
        return ", ".join(f"{_SHORT[law.name]} {getattr(law, kind).value:.4f}" for law in self.references)

    def _table(self) -> str:
        total = [f"of {grouped(self.total)}"] if self.total > self.rows else []
        left = [f"{grouped(self.left_out)} incomplete rows left out"] if self.left_out else []
        constant = [f"{len(self.dropped)} constant columns dropped"] if self.dropped else []
        repeated = [f"{grouped(self.repeated)} rows repeat others"] if self.repeated else []
        return ", ".join([*total, *left, *constant, *repeated])

    def _spread(self) -> str:
        return ", ".join(f"{float(self.radii.quantile(q)):.2f}" for q in (0.05, 0.5, 0.95))

    def _radius_line(self) -> Line:
        if self.radius is None:
            return "radius tail α", "–", "fewer than 20 different rows"
        low, high = self.radius.interval
        seen = f"{_number(self.radius.alpha)} [{_number(low)}, {_number(high)}]"
        where = "0 sphere, 1 ball, large: few rows near the boundary"
        if math.isinf(low):
            where = "the largest radii show no end: heavy tails, no radial law of the theory"
        return "radius tail α", seen, f"{where}; {self.radius.tail} largest radii"

    def _dimension_line(self) -> Line:
        if self.dimension is None:
            return "intrinsic dimension", "–", self.absent["dimension"]
        wide = "" if self.wide_dimension is None else f"; {spoken(self.wide_dimension)} at 20 neighbours"
        return "intrinsic dimension", spoken(self.dimension), f"TwoNN, nearest neighbours{wide}"

    def notes(self) -> list[str]:
        """Sentences below the table: what is proved, what is heuristic, what to compare with what."""
        depth = (
            "Proved for these rows: depth is exact."
            if self.exact
            else "Proved for these rows: every depth is an upper bound, so at least these shares are shallow. In high "
            "dimension the true shares may be far larger."
        )
        few = (
            f"With {grouped(self.rows)} rows in {self.rank} dimensions nearly every row is extreme under any law; "
            "more rows or fewer columns tell more."
        )
        price = 2 * math.sqrt(1 + self.longest**2) / self.rows
        return [
            depth,
            "Proved for these rows: one neuron for each row that stands alone gives it any label |y| ≤ D, and together "
            f"they have sharpness at most 1 + 2√(1 + R²) D / n = 1 + {price:.2g} D, R the longest row.",
            "Proved for the named laws only: the exponents, up to constants and logarithms, for all networks of "
            "sharpness at most 2 / step. Which law is yours is heuristic; so is taking the fitted α and dimension for "
            "its own, and that shallow rows are memorised first.",
            "Areas and shares depend on the numbers of rows and directions: compare within a line, not between tables.",
            *([few] if self.rows <= 2 * self.rank else []),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; what is not a finite number is None."""
        same = (
            "name", "rows", "total", "dropped", "left_out", "repeated", "rank", "components", "scaling", "exact",
            "directions", "shallow", "alone_share", "shallow_share", "longest",
        )  # fmt: skip
        radius = None
        if self.radius is not None:
            radius = {key: _finite(value) for key, value in vars(self.radius).items()}
            radius["interval"] = [_finite(end) for end in self.radius.interval]
        return {
            "schema": SCHEMA,
            **{key: list(value) if isinstance(value := getattr(self, key), tuple) else value for key in same},
            "columns": list(self.columns),
            "data": _law_values(self.data),
            "references": {law.name: _law_values(law) for law in self.references},
            "radius": radius,
            "dimension": None if self.dimension is None else self.dimension.to_dict(),
            "wide_dimension": None if self.wide_dimension is None else self.wide_dimension.to_dict(),
            "exponents": [_exponent_values(exponent) for exponent in self.exponents],
            "labels": [list(line) for line in self.labels],
            "absent": dict(self.absent),
            "notes": self.notes(),
        }

    def save(self, path: str | PathLike[str]) -> Path:
        """Write a page with the table, the words and the figures, which needs no network.

        Args:
            path: Where to; an existing file is replaced.

        Raises:
            StoreError: The file cannot be written.
        """
        sections = [
            Section("Numbers", [], self.headers, self.lines()),
            Section("What is proved and what is not", self.notes()),
            Section("Figures", figures=tuple(self.figures.values())),
        ]
        facts = [f"{grouped(self.rows)} rows", f"{len(self.columns)} columns", f"scaling: {_SCALING[self.scaling][0]}"]
        return write_page(
            path, standalone_page(f"Shatterability of {self.name}", sections, lead=self.headline, facts=facts)
        )

    def __str__(self) -> str:
        lines = self.lines()
        widths = [max(len(line[i]) for line in lines) for i in (0, 1)]
        table = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines]
        return "\n".join([self.headline, *table, *self.notes()])

    __repr__ = __str__


_SHORT = {
    "uniform ball": "ball",
    "sphere": "sphere",
    "Gaussian": "Gaussian",
    "Gaussian of this covariance": "own Gaussian",
}


_SCALING = {
    "columns": ("columns standardised", "mean 0, variance 1 each; depth itself does not depend on it, the rest does"),
    "none": ("none", "numbers as they are, radii from the origin"),
}
_MANY = 1e12


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "∞"


def _share(law: LawDepth, level: float) -> float:
    return float((law.depth <= level + 1e-12).double().mean())


def _exponent_line(exponent: Exponent, n: int) -> Line:
    ends = "" if exponent.interval is None else f" [{exponent.interval[0]:.3g}, {exponent.interval[1]:.3g}]"
    factor = exponent.rows_to_halve
    grows = f"{factor:.2g} times the rows to halve it" if factor < _MANY else "halved by no realistic number of rows"
    now = f"now n^(−e) = {n ** -float(exponent.fact):.2g}"
    return exponent.law, f"n^(−{exponent.fact:.3g}){ends}", f"{exponent.fact.status}; {now}, {grows}"


def _exponent_values(exponent: Exponent) -> dict[str, Any]:
    fact = exponent.fact
    return {
        "law": exponent.law,
        "exponent": float(fact),
        "interval": None if exponent.interval is None else list(exponent.interval),
        "status": fact.status,
        "source": fact.source,
        "hypotheses": list(fact.hypotheses),
    }


def _law_values(law: LawDepth) -> dict[str, Any]:
    return {
        "area": law.area.to_dict(),
        "least_area": law.least_area.to_dict(),
        "shallow_share": law.shallow_share,
        "levels": list(law.levels),
        "curve": list(law.curve),
        "least_curve": list(law.least_curve),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
