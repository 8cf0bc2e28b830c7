"""Below the edge of stability the geometry of the data decides: what can be shattered is memorised.

Liang, Cloninger, Parhi, Wang, *Generalization Below the Edge of Stability: The Role of Data Geometry*, ICLR 2026
(arXiv 2510.18120). Numbers of theorems and figures refer to version 2.

What is known of the paper at second hand: the set-ups, widths and steps of its experiments, and the exponents of its
theorems. Derived here: the explicit weights on the sphere and their best split, the inequality on each piece of a
mixture, the reach of a rarely active neuron. Secondary sources contradict each other about the fitted exponents on
lines and give unverified ones for the radial family; so orders are claimed and exponents reported. Bands follow
prototype runs of a few seeds.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, FigureSpec, Grid, Rows, Slot, Study, Verdict

from . import _data_geometry_claims as claims
from . import _data_geometry_figures as figures
from ._data_geometry_controls import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor

# --- parts: what a cell holds by name ---


def radial(n: int, d: int, *, alpha: float, seed: int) -> "Tensor":
    """The isotropic law with P(‖X‖ > 1 − δ) = δ^α."""
    from steppe import data

    return data.radial(n, d, alpha=alpha, seed=seed)


def uniform_sphere(n: int, d: int, *, seed: int) -> "Tensor":
    """Uniform on the unit sphere: every point is an extreme one."""
    from steppe import data

    return data.uniform_sphere(n, d, seed=seed)


def twenty_lines(n: int, d: int, *, seed: int) -> "Tensor":
    """Twenty random lines through the origin, uniform on each."""
    from steppe import data

    return data.mixture_of_subspaces(n, d, pieces=20, dim=1, seed=seed)


def digits(n: int, *, seed: int) -> "Tensor":
    """So many of scikit-learn's 1797 handwritten digits, 64 pixels."""
    import torch

    from steppe.core import generator
    from steppe.data import handwritten_digits

    x, _ = handwritten_digits()
    return x[torch.randperm(len(x), generator=generator("data.subset", seed))[:n]]


def photo_patches(n: int, *, seed: int) -> "Tensor":
    """Patches of 4 × 4 colour pixels of scikit-learn's two photographs, columns standardised."""
    from steppe import data

    return data.image_patches(n, size=4, seed=seed).x


SLOTS = {
    "law": Slot(
        "(n, d, *, seed) -> x [n, d] float64; alpha too where the cell has it",
        {"radial": radial, "sphere": uniform_sphere, "lines": twenty_lines},
        "the law of the inputs",
    ),
    "table": Slot(
        "(n, *, seed) -> x [n, d] float64, n rows or all there are",
        {"digits": digits, "photo-patches": photo_patches},
        "real inputs, or a table of your own; centred and divided by the longest row",
    ),
}

# --- cells ---


def _radial(n: list[int], width: int, steps: int, seeds: range) -> Grid:
    base = {"experiment": "radial", "law": "radial", "alpha": [0.1, 0.3, 1.5, 5.0], "d": 5, "step_size": 0.4}
    grids = [Grid(**base, n=size, width=width, steps=steps, seed=seeds) for size in n]
    return sum(grids[1:], start=grids[0])


def _ambient(n: list[int], width: int, seeds: range, **law: Any) -> Grid:
    base: dict[str, Any] = {"experiment": "ambient", "width": width, "step_size": 0.4, "steps": 3000} | law
    grids = [Grid(**base, n=size, seed=seeds) for size in n]
    return sum(grids[1:], start=grids[0])


def _tables(n: int, width: int, steps: int, seeds: range) -> Grid:
    inputs = ["data", "gaussian", "gaussian-covariance"]
    return Grid(
        experiment="table", table=["digits", "photo-patches"], inputs=inputs, n=n, width=width, step_size=0.4,
        steps=steps, seed=seeds,
    )  # fmt: skip


def _sphere(width: int, steps: int, seeds: range) -> Grid:
    return Grid(
        experiment="sphere", law="sphere", d=10, n=128, width=width, step_size=[0.4, 0.6], steps=steps, seed=seeds
    )


def _exact(n: list[int], seeds: range) -> Grid:
    plane = {"experiment": "plane", "d": 2, "n": 100, "width": 200, "step_size": 0.4, "steps": 1000, "seed": seeds}
    return (
        Grid(
            experiment="construction", n=n, d=[3, 50], labels=["signs", "uniform"], size=[1.0, 2.0],
            split=["simple", "balanced"], seed=seeds,
        )
        + Grid(
            experiment="patch-construction", n=30, patches=[1, 4, 16], labels=["signs", "uniform"], size=1.0,
            split="balanced", seed=seeds,
        )
        + Grid(**plane, law="sphere")
        + Grid(**plane, law="radial", alpha=[0.3, 1.5])
        + Grid(experiment="shell", n=200_000, d=5, alpha=[0.1, 0.5, 1.5], delta=[0.04, 0.3], seed=seeds)
    )  # fmt: skip


# The longest cells first, so that no core idles at the end.
GRID = (
    _radial([512, 256, 128, 64], 1000, 20_000, range(6))
    + _tables(1024, 512, 2000, range(6))
    + _ambient([512, 256, 128, 64], 400, range(8), law="lines", d=[10, 50, 100, 500])
    + _ambient([512, 256, 128, 64], 400, range(8), law="radial", alpha=1.0, d=[5, 15, 50])
    + _sphere(1000, 10_000, range(5))
    + _exact([10, 100, 1000], range(3))
)
QUICK = (
    _radial([256, 128, 64], 800, 2000, range(3))
    + _tables(400, 64, 800, range(3))
    + _ambient([256, 128, 64], 100, range(5), law="lines", d=[10, 50, 500])
    + _ambient([256], 100, range(6), law="radial", alpha=1.0, d=[5, 15, 50])
    + _sphere(300, 2000, range(4))
    + _exact([10, 100], range(1))
)
FULL = (
    _radial([1024, 512, 256, 128, 64], 1000, 20_000, range(10))
    + _tables(1024, 1000, 10_000, range(6))
    + _ambient([1024, 512, 256, 128, 64], 1000, range(10), law="lines", d=[10, 50, 100, 500])
    + _ambient([1024, 512, 256, 128, 64], 1000, range(10), law="radial", alpha=1.0, d=[5, 15, 50, 100])
    + _sphere(1000, 20_000, range(10))
    + _exact([10, 100, 1000], range(10))
)


def rows(cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any] | Diverged]]:
    """Compute cells that agree in all of `together`; their networks are trained in one call."""
    from . import _data_geometry_cells as computed

    return computed.rows(cells, list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server, measurements included."""
    if "steps" not in cell:
        return 0.03 if cell["experiment"] == "shell" else 0.02 + 3e-4 * cell["n"]
    d = {"digits": 64, "photo-patches": 48}.get(cell["table"], 64) if "table" in cell else cell["d"]
    if cell.get("law") == "lines":
        d = min(d, 20)
    pairs = cell["n"] * cell["width"]
    return float(0.02 + 2.6e-11 * pairs * cell["steps"] * (d + 3) + 1e-7 * pairs * (d + 5))


COLUMNS = {
    "clean_error": "mean squared error to the clean targets at the training inputs (label units²)",
    "training_error": "mean squared residual on the noisy labels, without ½ (label units²)",
    "noise_variance": "realised mean squared noise of this draw (label units²)",
    "memorised_share": "clean error over realised noise variance; 1 is an interpolant of the noise",
    "sharpness": "largest eigenvalue of the Hessian of ½ mean squared error, all parameters (loss/parameter²)",
    "plateau_sharpness": "median sharpness over the last quarter of training (loss/parameter²)",
    "stability_limit": "2/η (loss/parameter²)",
    "radius": "R, the largest input norm",
    "radius_mean": "mean input norm",
    "live_fraction": "share of neurons active on at least one sample",
    "rare_share": "share of live neurons active on at most 10 % of the samples",
    "median_activation": "median over live neurons of the share of samples that activate them",
    "neuron_fraction": "curve: share of samples that activate each live neuron",
    "path_norm": "Σ |v_k| ‖w_k‖",
    "weighted_norm": "|f|_{V_g}: reduced, two-sided weighted variation seminorm with the empirical weight",
    "one_sided_sum": "Σ |v_k| ‖w_k‖ g̃(u_k, t_k): one-sided, not merged",
    "flatness_bound": "λ/2 − ½ + (R+1) √(2L)",
    "flatness_bound_sharper": "λ/2 − ½ + ½ √(1+R²) √(2L), derived",
    "flatness_error": "numerical error of the two bounds",
    "residual_term": "√(2L) = root mean squared residual",
    "depth_area": "mean half-space depth of the inputs (exact in the plane, else the bound from 200 directions)",
    "depth_rank_correlation": "Spearman's correlation, over the points, of depth and |f(x_i) − clean target|",
    "point_depth": "curve: depth of at most 200 of the points",
    "point_error": "curve: |f(x_i) − clean target| of the same points (label units)",
    "trace_step": "curve: steps at which the two next curves were measured",
    "trace_sharpness": "curve: sharpness at those steps (loss/parameter²)",
    "trace_training_error": "curve: mean squared residual at those steps (label units²)",
    "interpolation_error": "largest |f(x_i) − y_i| of the constructed network (label units)",
    "condition": "factor by which rounding of the inputs is amplified, 2/(1 − largest cosine)",
    "largest_active": "largest number of neurons active on one sample",
    "largest_path": "largest |v_i| ‖w_i‖ of the constructed network",
    "certified_sharpness": "top eigenvalue by the secular equation (loss/parameter²)",
    "certified_error": "bounds on the errors of this and of the next column together (loss/parameter²)",
    "hessian_sharpness": "top eigenvalue of the Hessian, by Lanczos (loss/parameter²)",
    "rescaled_sharpness": "the same after every neuron was rescaled by 1.25 (loss/parameter²)",
    "promised_sharpness": "1 + 2√2 D/(nL), or 1 + (D² + 2)/n for the simple split (loss/parameter²)",
    "reached_depth": "curve: exact depth of the deepest point that each live neuron is active on",
    "reached_share": "curve: share of the points that the same neuron is active on",
    "one_sample": "1/n",
    "piece_ratio": "largest π_j² ‖proj u‖ g_j/(√(1+R_j²) g) over neurons and lines",
    "piece_ratio_near": "the same with π_j in place of π_j²",
    "shell_deviation": "|share of points with norm above 1 − δ, minus δ^α| in standard errors",
    "shell_deviation_near": "the same for the exponent 0.95 α",
}


# --- the study ---


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """The spectrum from sphere to line in plain words."""
    done = rows.done
    sphere, tables = done.where(experiment="sphere", step_size=0.4), done.where(experiment="table")
    words = []
    if sphere:
        words.append(
            f"On a sphere gradient descent fitted pure noise to a training error of "
            f"{sphere.column('training_error').max():.1g} at sharpness {sphere.column('plateau_sharpness').mean():.2f} "
            f"(limit {sphere.column('stability_limit').mean():.2f})."
        )
    shares = [(alpha, f"{_share(found):.0f} %") for (alpha,), found in _largest(done, "radial").by("alpha").items()]
    if shares:
        words.append("Memorised share of the noise by α: " + ", ".join(f"{a:g}: {s}" for a, s in sorted(shares)) + ".")
    for (table,), group in tables.by("table").items():
        parts = ", ".join(f"{name} {_share(found):.0f} %" for (name,), found in group.by("inputs").items())
        words.append(f"{table}: {parts}.")
    return " ".join(words) or "No network was trained in this run."


def _largest(rows: Rows, experiment: str) -> Rows:
    found = rows.where(experiment=experiment)
    return found.where(n=max(found.values("n"))) if found else found


def _share(rows: Rows) -> float:
    return 100 * float(rows.column("memorised_share").mean())


STUDY = Study(
    slug="liang2025-data-geometry",
    title="Data geometry: what flatness protects, and what it leaves to be memorised",
    summary=(
        "Flat networks may do as they like where few data lie. On a sphere that is everywhere, on a line almost "
        "nowhere. Does the error to the clean targets follow the geometry of the inputs, from laws with a known tail "
        "to images and to your own table?"
    ),
    paper="liang2026geometry",
    reference=(
        "T. Liang, A. Cloninger, R. Parhi, Y.-X. Wang. Generalization Below the Edge of Stability: The Role of Data "
        "Geometry. ICLR 2026. arXiv:2510.18120."
    ),
    revision=1,
    grid=GRID,
    quick=QUICK,
    full=FULL,
    columns=COLUMNS,
    rows=rows,
    together=("experiment", "law", "alpha", "table", "inputs", "d", "n", "width", "step_size", "steps"),
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=CONTROLS,
    figures=(
        FigureSpec("radial", figures.radial, claims=("radial-ordered", "radial-slopes-ordered")),
        FigureSpec("ambient", figures.ambient, claims=("lines-overlap", "ball-degrades", "lines-fall")),
        FigureSpec("sphere", figures.sphere, claims=("sphere-memorised", "sphere-stable")),
        FigureSpec("construction", figures.construction, claims=("sphere-flat", "sphere-certified")),
        FigureSpec("activation", figures.activation, claims=("sphere-specialised", "lines-shared")),
        FigureSpec("depth", figures.depth, claims=("shallow-first", "shallow-first-images")),
        FigureSpec("reach", figures.reach, claims=("rare-neurons-reach-shallow-points",)),
        FigureSpec("tables", figures.tables, section="real data", claims=claims.TABLE_IDS),
        FigureSpec("spectrum", figures.spectrum, section="real data"),
    ),
    headline=headline,
    cost=cost,
)
