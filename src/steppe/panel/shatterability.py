"""How much of a table flat networks could memorise for free: depth of its rows, its radius, its dimension."""

import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from steppe.activations import (
    RadiusTail,
    concentration_curve,
    depth_area,
    half_space_depth,
    half_space_depth_bound,
    intrinsic_dimension,
    outward_depth_bound,
    radius_tail_exponent,
)
from steppe.core import DataError, Estimate, check_choice, check_integer, check_number, generator
from steppe.data import uniform_ball, uniform_sphere
from steppe.theory import rates

from .shatterability_result import Exponent, LawDepth, Shatterability
from .shatterability_table import InputTable, Missing, read_table

Scaling = Literal["columns", "none"]
_FEWEST = 20
_WIDE = 20  # neighbours of the second, coarser dimension
_LEVELS = 101  # evenly spaced, and as many by equal ratios
_ROUNDING = 1e-12
_EXPLAINED = 0.9  # share of the variance that the principal components are counted for
_CLASSES = 20


def shatterability(
    x: Any,
    *,
    target: Any = None,
    drop: Iterable[str] = (),
    missing: Missing = "refuse",
    scaling: Scaling = "columns",
    shallow: float = 0.05,
    directions: int = 1000,
    samples: int = 5000,
    seed: int = 0,
    name: str | None = None,
) -> Shatterability:
    """How much of a table is shallow, where it lies between sphere and ball, and what exponent flatness would give.

    A row stands alone if some half-space contains it and no other row: a ReLU neuron can be active there only, and fit
    its label at next to no sharpness. It is shallow if a half-space that contains it holds at most the share `shallow`
    of the rows; flatness lets neurons on few rows carry large weights. Depth is exact for one and two columns;
    otherwise the smaller of two upper bounds, over random directions and over one outward direction per row, so that
    these shares are lower bounds. The same is computed for reference laws with as many rows, columns
    and directions: uniform ball, sphere, Gaussian, and Gaussian with the covariance of the table.

    Args:
        x: A tensor or array [n, d], a data frame, or the path of a .csv, .tsv, .npy or .parquet file.
        target: The label, which is no input: the name of its column, or one value per row. Its relation to depth is
            reported.
        drop: Names of columns to leave out.
        missing: `"refuse"` rows that lack a value, or `"drop"` them.
        scaling: `"columns"` standardises each column, so that radii are distances from the mean; `"none"` takes the
            numbers as they are, radii from the origin. Depth itself does not depend on it, its random bound, radius and
            dimension do.
        shallow: The depth up to which a row is called shallow, in (0, 1/2).
        directions: Random directions ≥ 1.
        samples: At most so many rows, drawn at random. Areas and shares depend on the number of rows too.
        seed: Seed of rows, directions and references.
        name: What to call the table.

    Returns:
        The answer: it prints in one screen; `.figures`, `.to_dict()`, `.save("shatter.html")`.

    Raises:
        InputError: A file cannot be read.
        KindError: `x` is no table.
        DataError: Text, missing or infinite values, fewer than 20 rows, or no column that varies; each with a remedy.

    Cost: about 5 · samples · (directions · log samples + samples · d) operations: some 10 s for 5000 rows, 50 columns
    and 1000 directions on two cores.

    Example:
        >>> from steppe.data import uniform_sphere
        >>> found = shatterability(uniform_sphere(500, 20, seed=0), directions=100)
        >>> found.shallow_share > 0.99, found.radius.alpha > 1  # standardised columns are no sphere any more
        (True, True)
    """
    check_choice("scaling", scaling, get_args(Scaling))
    check_number("shallow", shallow, above=0.0, below=0.5)
    check_integer("directions", directions, minimum=1)
    check_integer("samples", samples, minimum=_FEWEST)
    check_integer("seed", seed, minimum=0)
    table = read_table(x, target=target, drop=drop, missing=missing, name=name)
    rows, dropped = _scaled(table, scaling)
    chosen = torch.arange(len(rows))
    if len(rows) > samples:
        chosen = torch.randperm(len(rows), generator=generator("core.part", seed))[:samples]
    used = rows[chosen]
    variances, axes = _principal(used)
    rank = int((variances > _ROUNDING * variances[0]).sum())
    components = int((variances.cumsum(0) < _EXPLAINED * variances.sum()).sum()) + 1
    # Depth is that within the affine hull, where it is exact in a line or plane.
    cloud = used @ axes[:, :rank] if rank <= 2 else used
    own = _law("data", cloud, directions, seed, shallow)
    references = [_law(key, law, directions, seed, shallow) for key, law in _references(cloud, rank, seed)]
    distinct = torch.unique(rows, dim=0)
    norms = distinct.norm(dim=1)
    radii = norms / norms.max()
    tail = radius_tail_exponent(radii) if len(distinct) >= _FEWEST else None
    dimension, wide, why = _dimensions(used, seed)
    return Shatterability(
        name=table.name,
        rows=len(used),
        total=len(rows),
        columns=tuple(c for c in table.columns if c not in dropped),
        dropped=dropped,
        left_out=table.left_out,
        repeated=len(rows) - len(distinct),
        rank=rank,
        components=components,
        scaling=scaling,
        exact=rank <= 2,
        directions=directions,
        shallow=shallow,
        data=own,
        references=tuple(references),
        radii=radii,
        longest=float(norms.max()),
        radius=tail,
        dimension=dimension,
        wide_dimension=wide,
        exponents=_exponents(rank, tail, dimension),
        labels=_labels(table, own.depth, chosen.numpy(), shallow),
        absent=why,
    )


def _scaled(table: InputTable, scaling: Scaling) -> tuple[Tensor, tuple[str, ...]]:
    """The columns that vary, and the names of those that do not."""
    x = torch.from_numpy(table.x)
    if len(x) < _FEWEST:
        raise DataError(
            f"{table.name} must have at least {_FEWEST} rows, got {len(x)}: depth is a share of rows; pass more data"
        )
    deviation = x.std(dim=0, correction=0)
    varies = deviation > _ROUNDING * x.abs().amax(dim=0)
    if not varies.any():
        raise DataError(f"{table.name} must have a column that varies, got {x.shape[1]} constant ones; pass other data")
    kept = x[:, varies]
    dropped = tuple(column for column, keep in zip(table.columns, varies.tolist(), strict=True) if not keep)
    return ((kept - kept.mean(dim=0)) / deviation[varies] if scaling == "columns" else kept), dropped


def _principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Variances along the principal axes, descending, and the axes as columns."""
    centred = rows - rows.mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    return variances.flip(0).clamp(min=0), axes.flip(1)


def _law(name: str, rows: Tensor, directions: int, seed: int, shallow: float) -> LawDepth:
    """Depth of the rows among themselves."""
    if rows.shape[1] <= 2:
        bound = depth = half_space_depth(rows, rows)
    else:
        bound = half_space_depth_bound(rows, rows, directions=directions, seed=seed)
        depth = torch.minimum(bound, outward_depth_bound(rows, rows))
    even = torch.linspace(0, 0.5, _LEVELS, dtype=torch.float64)
    ratios = torch.logspace(math.log10(0.9 / len(rows)), math.log10(0.5), _LEVELS, dtype=torch.float64)
    levels = torch.cat([even, ratios]).unique()
    return LawDepth(
        name=name,
        depth=depth,
        area=depth_area(bound),
        least_area=depth_area(depth),
        alone_share=float((depth * len(rows) < 1.5).double().mean()),
        shallow_share=float((depth <= shallow + _ROUNDING).double().mean()),
        levels=tuple(levels.tolist()),
        curve=tuple(concentration_curve(bound, levels).tolist()),
        least_curve=tuple(concentration_curve(depth, levels).tolist()),
    )


def _references(rows: Tensor, rank: int, seed: int) -> list[tuple[str, Tensor]]:
    """Laws with as many rows in as many dimensions; the last has the covariance of the table."""
    n = len(rows)
    gaussian = torch.randn(n, rank, generator=generator("panel.reference_laws", seed), dtype=torch.float64)
    variances, axes = _principal(rows)
    alike = gaussian @ (axes[:, :rank] * variances[:rank].sqrt()).T
    return [
        ("uniform ball", uniform_ball(n, rank, seed=seed)),
        ("sphere", uniform_sphere(n, rank, seed=seed)),
        ("Gaussian", gaussian),
        ("Gaussian of this covariance", alike),
    ]


def _dimensions(rows: Tensor, seed: int) -> tuple[Estimate | None, Estimate | None, dict[str, str]]:
    found: list[Estimate | None] = []
    absent = {}
    for key, neighbors in (("dimension", 2), ("wide_dimension", _WIDE)):
        try:
            found.append(intrinsic_dimension(rows, neighbors=neighbors, seed=seed))
        except DataError as error:
            found.append(None)
            absent[key] = str(error)
    return found[0], found[1], absent


def _exponents(d: int, tail: RadiusTail | None, dimension: Estimate | None) -> tuple[Exponent, ...]:
    """What theory gives for laws that the data resemble more or less."""
    found = [Exponent(law=f"if uniform in a ball, d = {d}", fact=rates.flat_upper(d))]
    if tail is not None:
        alpha, low = tail.alpha, tail.interval[0]
        at, words = (alpha, f"α = {alpha:.3g}") if math.isfinite(alpha) else (low, f"α ≥ {low:.3g}")
        for kind, spoken in (("published", "as published"), ("valid", "with a valid empirical weight")):
            if 0 < at < math.inf:
                ends = tuple(_radial(d, end, kind) for end in tail.interval)
                fact = rates.radial_upper(d, at, kind=kind)  # type: ignore[arg-type]  # one of its three kinds
                found.append(Exponent(law=f"if radial, {words}, {spoken}", fact=fact, interval=(ends[0], ends[1])))
    if dimension is not None:
        m = max(math.ceil(dimension.value - 0.05), 1)  # 2.03 ± 0.1 is a plane
        if m < d:
            found.append(Exponent(law=f"if a mixture of {m}-dimensional balls", fact=rates.mixture_upper(m)))
    found.append(Exponent(law="low norm (weight decay) instead of flatness", fact=rates.low_norm_gap(d)))
    return tuple(found)


def _radial(d: int, alpha: float, kind: Any) -> float:
    """The exponent at an end of the interval, its limits included."""
    return 0.0 if alpha <= 0 else float(rates.radial_upper(d, min(alpha, 1e12), kind=kind))


def _labels(table: InputTable, depth: Tensor, chosen: np.ndarray, shallow: float) -> tuple[tuple[str, str, str], ...]:
    """Depth against the label: by class, or as a rank correlation."""
    if table.target is None:
        return ()
    label = table.target[chosen]
    classes = sorted(set(label.tolist()), key=str)
    numeric = _as_numbers(label)
    if len(classes) <= _CLASSES:
        return tuple(
            _class(f"label {table.target_name} = {value}", depth[label == value], len(depth), shallow)
            for value in classes
        )
    if numeric is None:
        return ((f"label {table.target_name}", "–", f"{len(classes)} different texts: neither classes nor numbers"),)
    if depth.max() == depth.min():
        return ((f"label {table.target_name}", "–", "all rows are equally deep"),)
    from scipy.stats import spearmanr

    far = np.abs(numeric - np.median(numeric))
    correlation = spearmanr(depth.numpy(), far)
    return (
        (
            f"label {table.target_name}",
            f"rank correlation {correlation.statistic:+.2f}".replace("-", "−"),
            f"of depth with distance from the median label; p = {correlation.pvalue:.2g} if rows are independent",
        ),
    )


def _class(name: str, depth: Tensor, rows: int, shallow: float) -> tuple[str, str, str]:
    alone, low = (float((depth <= level).double().mean()) for level in (1.5 / rows, shallow + _ROUNDING))
    return name, f"{alone:.1%} alone", f"{low:.1%} shallow, of {len(depth)} rows; mean depth {float(depth.mean()):.3g}"


def _as_numbers(label: np.ndarray) -> np.ndarray | None:
    try:
        numeric = np.asarray(label, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return numeric if np.isfinite(numeric).all() else None
