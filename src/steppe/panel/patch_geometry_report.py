"""What `patch_geometry` found: a table, words, pictures and a page."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

from steppe.core import Estimate, grouped
from steppe.networks import PATCH_SCHEMES
from steppe.plotting import Axis, Figure, Heatmap, Lines, Panel, Scatter, Section, standalone_page, write_page

SCHEMA = "steppe.patch-geometry/1"
LEVELS = tuple(index / 100 for index in range(51))
_ORDER = ("convolution", "shuffled", "full")  # the claim: deep to shallow, and few components to many
_WORDS = {"convolution": "contiguous patches", "shuffled": "patches of shuffled pixels", "full": "whole images"}
_SURE = 2.0  # standard errors


@dataclass(frozen=True, kw_only=True)
class SchemeGeometry:
    """One way of taking patches.

    Args:
        name: Its name in `PATCH_SCHEMES`.
        positions: Patches per image.
        inputs: Inputs per patch.
        sample: Patches that the components were found from.
        components: Principal components that hold 90 % of the variance.
        top: Share of the variance of the first.
        area: E depth = ∫ Ψ(T) dT, with its standard error; an over-estimate, by finitely many directions.
        curve: Ψ(T) at T = 0, 0.01, …, 0.5.
        pixels: The pixels of a few patches.
        extremes: The shallowest and then the deepest query patches, mean over channels.
    """

    name: str
    positions: int
    inputs: int
    sample: int
    components: int
    top: float
    area: Estimate
    curve: tuple[float, ...]
    pixels: tuple[tuple[int, ...], ...]
    extremes: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Numbers as plain values; the pictures are left out."""
        own = {key: value for key, value in asdict(self).items() if key not in ("area", "pixels", "extremes")}
        return {**own, "curve": list(self.curve), "area": self.area.to_dict()}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One step of the order that natural images are said to have.

    Args:
        quantity: `"depth area"` or `"components"`.
        first: The scheme that should have the larger area, or fewer components.
        second: The other.
        values: Theirs.
        verdict: `"holds"`, `"fails"` or `"undecided"` (areas within two standard errors; components equal).
    """

    quantity: str
    first: str
    second: str
    values: tuple[float, float]
    verdict: str

    def __str__(self) -> str:
        sign = ">" if self.quantity == "depth area" else "<"
        a, b = (f"{value:.4g}" for value in self.values)
        return f"{self.quantity}: {self.first} {a} {sign} {self.second} {b} {self.verdict}"


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchGeometry:
    """What `patch_geometry` found; it prints as a table.

    Args:
        images: Images or tiles.
        shape: Height, width and channels of each.
        rule: How they were made.
        size: Side of the window.
        stride: Distance between windows.
        directions: Random directions of every depth.
        references: Patches that made up the cloud of every depth.
        queries: Patches whose depth was measured.
        seed: Of everything that was drawn.
        schemes: One entry per scheme.
    """

    images: int
    shape: tuple[int, int, int]
    rule: str
    size: int
    stride: int
    directions: int
    references: int
    queries: int
    seed: int
    schemes: tuple[SchemeGeometry, ...]
    headers = ("scheme", "inputs", "positions", "components for 90 %", "top share", "depth area", "±")

    def __getitem__(self, name: str) -> SchemeGeometry:
        """The scheme of this name."""
        return next(scheme for scheme in self.schemes if scheme.name == name)

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """The order contiguous, shuffled, whole: depth area downwards, components upwards; as far as measured."""
        found = []
        present = [self[name] for name in _ORDER if name in {scheme.name for scheme in self.schemes}]
        for a, b in pairwise(present):
            gap, error = a.area.value - b.area.value, math.hypot(a.area.error, b.area.error)
            verdict = "undecided" if abs(gap) <= _SURE * error else "holds" if gap > 0 else "fails"
            areas, counts = (a.area.value, b.area.value), (a.components, b.components)
            found.append(Comparison(quantity="depth area", first=a.name, second=b.name, values=areas, verdict=verdict))
            verdict = "holds" if counts[0] < counts[1] else "fails" if counts[0] > counts[1] else "undecided"
            found.append(Comparison(quantity="components", first=a.name, second=b.name, values=counts, verdict=verdict))
        return tuple(found)

    @property
    def headline(self) -> str:
        """One sentence from the numbers."""
        deepest = max(self.schemes, key=lambda scheme: scheme.area.value)
        sentence = f"Deepest: {deepest.name}, depth area {deepest.area.value:.4f} of at most 0.25"
        if not self.comparisons:
            return f"{sentence}."
        wrong = [c for c in self.comparisons if c.verdict != "holds"]
        if wrong:
            state = "does not hold" if any(c.verdict == "fails" for c in wrong) else "is not decided"
            return f"{sentence}; the order of natural images {state} throughout: {'; '.join(map(str, wrong))}."
        order = ", then ".join(_WORDS[name] for name in _ORDER if any(name == scheme.name for scheme in self.schemes))
        return f"{sentence}. As for natural images: deepest and of lowest rank are {order}."

    def lines(self) -> list[tuple[str, ...]]:
        """The table, one line per scheme."""
        return [
            (s.name, str(s.inputs), str(s.positions), str(s.components), f"{s.top:.3f}", f"{s.area.value:.4f}",
             f"{s.area.error:.4f}")
            for s in self.schemes
        ]  # fmt: skip

    def notes(self) -> list[str]:
        """Sentences below the table: what was measured, and what is proved."""
        height, width, channels = self.shape
        counted = (
            f"{grouped(self.images)} images of {height} × {width} × {channels} ({self.rule}); "
            f"windows of {self.size} × {self.size} pixels, stride {self.stride}; channels standardised"
        )
        depth = (
            f"depth: {grouped(self.queries)} patches in a cloud of {grouped(self.references)} of each scheme, least of "
            f"{grouped(self.directions)} random directions (an upper bound, looser for more inputs), seed {self.seed}"
        )
        samples = ", ".join(f"{s.name} {grouped(s.sample)}" for s in self.schemes)
        notes = [counted, depth, f"components found from: {samples}"]
        if self.references < 1000:
            notes.append(f"only {self.references} references: no depth below {1 / self.references:.2g} can be seen")
        return [*notes, *map(str, self.comparisons), PROVED]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON, without the pictures."""
        own = {key: value for key, value in vars(self).items() if key not in ("schemes", "shape")}
        return {
            "schema": SCHEMA,
            **own,
            "shape": list(self.shape),
            "schemes": [scheme.to_dict() for scheme in self.schemes],
            "comparisons": [{**asdict(c), "values": list(c.values)} for c in self.comparisons],
        }

    @property
    def figures(self) -> dict[str, Figure]:
        """Figures by name: what each scheme takes, the curves Ψ, rank against depth, shallow and deep patches."""
        found = {"schemes": self._schemes(), "curves": self._curves(), "rank": self._rank()}
        squares = [s for s in self.schemes if s.name != "full" and s.name not in _SHAPELESS]
        return {**found, "patches": self._patches(squares[0])} if squares else found

    def save(self, path: str | PathLike[str]) -> Path:
        """Write a page with the table and the figures, which needs no network.

        Args:
            path: Where to; an existing file is replaced.

        Raises:
            StoreError: The file cannot be written.
        """
        words = [f"{scheme.name}: {PATCH_SCHEMES[scheme.name]}" for scheme in self.schemes]
        sections = [
            Section("Numbers", [], self.headers, self.lines()),
            Section("What was measured, and what is proved", self.notes()),
            Section("Schemes", words, figures=tuple(self.figures.values())),
        ]
        return write_page(path, standalone_page("Patch geometry", sections, lead=self.headline))

    def _schemes(self) -> Figure:
        height, width, _ = self.shape
        panels = []
        for scheme in self.schemes:
            cells: list[list[float | None]] = [[None] * width for _ in range(height)]
            for number, pixels in enumerate(scheme.pixels, start=1):
                for pixel in pixels:
                    cells[pixel // width][pixel % width] = float(number)
            z = cells[::-1]  # the first row of an image is its top
            picture = Heatmap(list(range(1, width + 1)), list(range(1, height + 1)), z, "patch")
            panels.append(Panel(scheme.name, Axis("column"), Axis("row from below"), [picture]))
        count = max(len(scheme.pixels) for scheme in self.schemes)
        title = f"What a patch takes: up to {count} of the patches of each scheme"
        return Figure("schemes", title, panels, columns=min(len(panels), 3), share=False)

    def _curves(self) -> Figure:
        lines = [Lines(scheme.name, list(LEVELS), list(scheme.curve)) for scheme in self.schemes]
        axes = Axis("depth T", range=(0.0, 0.5)), Axis("share of patches at least T deep, Ψ(T)", range=(0.0, 1.0))
        deepest = max(self.schemes, key=lambda scheme: scheme.area.value)
        bound = Lines("one dimension, the most there can be", [0.0, 0.5], [1.0, 0.0], theory=True)
        title = f"How deep patches lie: {deepest.name} deepest, area {deepest.area.value:.4f}"
        return Figure("curves", title, [Panel("", *axes, [*lines, bound])], columns=1)

    def _rank(self) -> Figure:
        points = [
            Scatter(
                s.name, [s.components], [s.area.value], hover=[s.name],
                low=[s.area.value - 2 * s.area.error], high=[s.area.value + 2 * s.area.error],
            )
            for s in self.schemes
        ]  # fmt: skip
        axes = Axis("principal components for 90 % of the variance", "log"), Axis("depth area, ± 2 standard errors")
        title = "Patches that vary in few directions lie deep"
        if not _falls([(s.components, s.area.value) for s in self.schemes]):
            title = "Depth and effective rank of the schemes"
        return Figure("rank", title, [Panel("", *axes, points)], columns=1)

    def _patches(self, scheme: SchemeGeometry) -> Figure:
        half = len(scheme.extremes) // 2
        pictures = {"shallowest": scheme.extremes[:half], "deepest": scheme.extremes[half:]}
        panels = [
            Panel(name, Axis("column"), Axis("row"), [_mosaic(rows, self.size)]) for name, rows in pictures.items()
        ]
        title = f"The shallowest and the deepest {scheme.name} patches, mean over channels"
        return Figure("patches", title, panels, columns=2)

    def __str__(self) -> str:
        rows = [self.headers, *self.lines()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self.headers))]
        table = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        return "\n".join([self.headline, "", *table, "", *self.notes()])

    __repr__ = __str__


PROVED = (
    "proved: flatness bounds the norm of a patch network weighed by its patches (by the proof for whole inputs); "
    "heuristic: that a larger depth area means less memorising, since areas rank data sets but bound no error"
)
_SHAPELESS = ("shuffled", "cross", "random-local", "voronoi")  # their patches are no pictures


def _falls(pairs: list[tuple[int, float]]) -> bool:
    """Whether the second falls as the first grows."""
    ordered = sorted(pairs)
    return len(ordered) > 1 and all(a[1] >= b[1] for a, b in pairwise(ordered))


def _mosaic(patches: tuple[tuple[float, ...], ...], size: int) -> Heatmap:
    """Square patches side by side in rows of four, the first at the top left; dark is bright, as on a negative."""
    across = 4
    down = math.ceil(len(patches) / across)
    z: list[list[float | None]] = [[None] * (across * (size + 1) - 1) for _ in range(down * (size + 1) - 1)]
    for index, patch in enumerate(patches):
        top, left = index // across * (size + 1), index % across * (size + 1)
        for pixel, value in enumerate(patch):
            z[top + pixel // size][left + pixel % size] = value
    return Heatmap(list(range(1, len(z[0]) + 1)), list(range(1, len(z) + 1)), z[::-1], "brightness, standardised")
