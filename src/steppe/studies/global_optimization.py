"""Convex programs for two-layer ReLU networks: how far from the global optimum do they end, and how robust are they?

Bai, Gautam, Sojoudi, *Efficient Global Optimization of Two-Layer ReLU Networks: Quadratic-Time Algorithms and
Adversarial Training*, SIAM Journal on Mathematics of Data Science 2023 (arXiv 2201.01965), on the convex program
of Pilanci and Ergen, *Neural Networks are Convex Regularizers*, ICML 2020 (arXiv 2002.10553).

Provenance: the program, its recovery map and its robust version are read in or derived from the papers' formulas; the
constants of ADMM are ours; the papers' data and settings were not at hand, so none of their numbers is judged. What is
new beside them is the certified optimum, against which every method is held.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, FigureSpec, Grid, Rows, Slot, Study, Verdict

from . import _global_optimization_claims as claims
from . import _global_optimization_figures as figures
from ._global_optimization_controls import CONTROLS

if TYPE_CHECKING:
    import numpy as np

# --- parts: what a cell holds by name ---


def ridges(n: int, d: int, *, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Gaussian inputs; the target is a sum of three ridge functions, standardised, and noise 0.3."""
    from ._global_optimization_data import ridges as sample

    return sample(n, d, seed=seed)


def diabetes(n: int, d: int, *, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """So many rows and leading columns of scikit-learn's diabetes table, standardised."""
    from ._global_optimization_data import diabetes as sample

    return sample(n, d, seed=seed)


def weak_features(n: int, *, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Four square clusters with the labels of XOR, and three features ±0.3 that give the label away."""
    from ._global_optimization_data import weak_features as sample

    return sample(n, seed=seed)


SLOTS = {
    "inputs": Slot(
        "(n, d, *, seed) -> (X [n, d], y [n]), NumPy float64",
        {"ridges": ridges, "diabetes": diabetes},
        "what is fitted",
    ),
    "clusters": Slot(
        "(n, *, seed) -> (X [n, d], y [n] of −1 and 1), NumPy float64",
        {"weak-features": weak_features},
        "what is classified against an adversary",
    ),
}

# --- cells ---

_METHODS = ["adam", "gradient-descent", "pathprox"]


def _descent(n: int, d: int, steps: int, seeds: range, inputs: str = "ridges") -> Grid:
    return Grid(
        experiment="descent", inputs=inputs, n=n, d=d, alpha_ratio=0.05, method=_METHODS, steps=steps, seed=seeds
    )


def _patterns(n: int, d: int, seeds: range, inputs: str = "ridges") -> Grid:
    return Grid(experiment="patterns", inputs=inputs, n=n, d=d, alpha_ratio=0.05, patterns=120, seed=seeds)


def _rest(seeds: range) -> Grid:
    return (
        Grid(experiment="admm", inputs="ridges", n=60, d=[2, 4], alpha_ratio=0.05, patterns=30, seed=seeds)
        + Grid(experiment="all-patterns", inputs="ridges", n=9, d=[1, 2], alpha_ratio=0.05, seed=seeds)
        + Grid(
            experiment="robust",
            clusters="weak-features",
            radius=0.35,
            alpha=0.003,
            fit=["hinge", "squared"],
            patterns=40,
            seed=seeds,
        )
    )


# The longest cells first, so that no core idles at the end.
GRID = (
    _descent(442, 10, 10_000, range(1), "diabetes")
    + _descent(100, 2, 20_000, range(3))
    + _descent(150, 4, 10_000, range(2))
    + _patterns(100, 2, range(3))
    + _patterns(100, 4, range(3))
    + _patterns(200, 10, range(1), "diabetes")
    + _rest(range(3))
)
QUICK = (
    _descent(60, 2, 3000, range(2))
    + _descent(60, 10, 1000, range(1), "diabetes")
    + _patterns(50, 2, range(2))
    + _patterns(50, 4, range(1))
    + _rest(range(1))
)
FULL = (
    _descent(442, 10, 50_000, range(3), "diabetes")
    + _descent(100, 2, 50_000, range(5))
    + _descent(200, 4, 50_000, range(5))
    + _patterns(200, 2, range(5))
    + _patterns(200, 4, range(5))
    + _patterns(442, 10, range(3), "diabetes")
    + _rest(range(5))
)


def row(*, parts: Mapping[str, Any], **axes: Any) -> Mapping[str, Any] | Diverged:
    """Compute one cell."""
    from . import _global_optimization_cells as computed

    return computed.row(Cell(axes, parts), list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    experiment = cell["experiment"]
    if experiment == "descent":
        return float(0.5 + cell["steps"] * (8e-5 + 6e-9 * cell["n"] * 200 + 1e-10 * cell["n"] * 200 * cell["d"]))
    if experiment == "patterns":
        return float(0.5 + 5e-4 * cell["n"] * (1 + cell["d"]) * 2)
    return {"admm": 0.5, "all-patterns": 0.3, "robust": 4.0}[str(experiment)]


COLUMNS = {
    "certified": "objective of the certified network (loss)",
    "certified_bound": "dual value of its certificate: no network has a smaller objective (loss)",
    "certified_gap": "relative gap of that certificate",
    "proof": "kind of that certificate: exact, bound or heuristic",
    "neurons": "neurons of the certified network",
    "objective": "objective at which the first-order run ended (loss)",
    "excess": "that over the certified objective, minus one",
    "own_gap": "relative gap of the certificate evaluated on the run's own network",
    "own_bound": "dual value of that certificate (loss)",
    "own_neurons": "neurons of the run's network",
    "sampled": "objective of the sampled program with 100 patterns on the same data (loss)",
    "trace_step": "curve: updates",
    "trace_excess": "curve: excess over the certified objective there",
    "pattern_count": "curve: number of sampled patterns",
    "pattern_value": "curve: optimum of the sampled program on the first so many patterns (loss)",
    "pattern_excess": "curve: that over the certified objective, minus one",
    "gated_value": "curve: optimum of the gated relaxation on the same patterns (loss)",
    "gated_excess": "curve: that over the certified objective, minus one",
    "gated_network": "objective of the ReLU network split from the gates with the most patterns (loss)",
    "largest_rise": "largest relative rise of the sampled optimum from one number of patterns to the next, nested",
    "largest_rise_fresh": "the same with patterns drawn anew for each number",
    "sampled_bound": "dual value of the certificate of the sampled program with the fewest patterns (loss)",
    "unscaled_bound": "the same with its dual vector not scaled into the constraint (loss)",
    "admm_ratio": "objective of ADMM over that of the interior point on the same patterns",
    "admm_ratio_early": "the same after 50 iterations",
    "admm_iterations": "iterations of ADMM to a residual of 1e-5",
    "all_patterns": "number of all activation patterns",
    "all_value": "optimum of the program on all of them (loss)",
    "all_gated": "optimum of the gated relaxation on all of them (loss)",
    "plain_clean": "accuracy of plain training on fresh samples",
    "plain_certified": "share of fresh samples proved to keep their label under the adversary, plain training",
    "plain_attacked": "share of fresh samples that no attack turned, plain training",
    "robust_clean": "accuracy of robust training on fresh samples",
    "robust_certified": "share of fresh samples proved to keep their label under the adversary, robust training",
    "robust_attacked": "share of fresh samples that no attack turned, robust training",
    "curve_radius": "curve: radius of the adversary (inputs)",
    "plain_curve": "curve: certified robust accuracy there, plain training",
    "robust_curve": "curve: certified robust accuracy there, robust training",
    "robust_loss": "worst-case training loss of robust training as the program has it",
    "corner_loss": "worst-case training loss of its network over the corners of all boxes",
    "unmoved_loss": "training loss of its network on the unmoved data",
    "robust_value": "optimum of the robust program (loss)",
    "plain_value": "optimum of the program without adversary (loss)",
}


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """What was seen, in plain words."""
    runs, programs = rows.done.where(experiment="descent"), rows.done.where(experiment="patterns")
    robust = rows.done.where(experiment="robust")
    words = []
    if runs:
        below = sum(row["objective"] < row["certified_bound"] for row in runs)
        words.append(
            f"Of {len(runs)} first-order runs {below or 'none'} ended below the certified optimum; the closest was "
            f"{runs.column('excess').min():.1e} above it."
        )
    if programs:
        last = [row["pattern_excess"][-1] for row in programs]
        words.append(
            f"Sampled convex programs with {max(row['pattern_count'][-1] for row in programs)} patterns ended "
            f"{100 * min(last):.2g} to {100 * max(last):.2g} % above."
        )
    if robust:
        words.append(
            f"Against an adversary of radius {robust[0]['radius']} robust training keeps "
            f"{100 * robust.column('robust_certified').mean():.0f} % of fresh labels, provably; plain training "
            f"{100 * robust.column('plain_attacked').mean():.0f} % at most."
        )
    return " ".join(words) or "No cell was computed in this run."


STUDY = Study(
    slug="bai2022-global-optimization",
    title="Convex programs for ReLU networks against the certified optimum",
    summary=(
        "Training a two-layer ReLU network with weight decay is a convex program over activation patterns. Methods "
        "from the literature sample the patterns. How far from the global optimum do they end, and how far does plain "
        "first-order training? And does the robust version keep its promise against an adversary?"
    ),
    paper="bai2022efficient",
    reference=(
        "Y. Bai, T. Gautam, S. Sojoudi. Efficient Global Optimization of Two-Layer ReLU Networks: Quadratic-Time "
        "Algorithms and Adversarial Training. SIAM Journal on Mathematics of Data Science, 2023. arXiv:2201.01965."
    ),
    grid=GRID,
    quick=QUICK,
    full=FULL,
    row=row,
    columns=COLUMNS,
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=CONTROLS,
    figures=(
        FigureSpec("descent", figures.descent, claims=("no-run-below", "no-run-below-heuristic")),
        FigureSpec("patterns", figures.patterns, claims=("patterns-never-hurt", "sampled-above", "gated-below")),
        FigureSpec("robust", figures.robust, claims=("robust-keeps-labels", "plain-loses-labels")),
    ),
    headline=headline,
    cost=cost,
)
