"""One input: the exact knot solver against general lasso solvers and a cone solver, and its own size limits.

Data are x uniform on [0, 1], y = sin(6x) or a piecewise linear truth with five knots, plus noise of size 0.3; the
penalty is alpha = 3e-3 (and 1e-4) with the objective (1/2n) Σ (y − f(x))² + alpha·TV(f′) everywhere. celer and
scikit-learn get the n × n matrix of relu(x − x_j) with the free affine part projected out, and `tol` as stated; making
that matrix is not counted. Times are CPU seconds of this process, medians over rounds. A peer that is not installed is
left out with a message.

    OMP_NUM_THREADS=1 python benchmarks/one_dimension.py [--rounds 5] [--largest 1000000] [--slow]
"""

import argparse
import importlib
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from steppe.solvers import (
    VariationProblem,
    fit_one_dimension,
    fit_one_dimension_path,
    one_dimension_alpha_max,
    solve_one_dimension,
)

NOISE = 0.3
KNOTS, BENDS = np.array([0.15, 0.3, 0.5, 0.65, 0.85]), np.array([8.0, -14.0, 12.0, -9.0, 6.0])


def data(n: int, truth: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform inputs, noisy targets."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, n)
    clean = np.sin(6 * x) if truth == "sinusoid" else np.maximum(x[:, None] - KNOTS, 0) @ BENDS - x
    return x, clean + NOISE * rng.standard_normal(n)


def installed(name: str) -> Any:
    """The module, or None where the environment lacks it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        print(f"({name} is not installed here and left out; see `make peers`)")
        return None


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and result."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def design(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One column per data point and the targets, both without their affine part."""
    columns = np.maximum(x[:, None] - np.sort(x)[1:-1], 0.0)
    basis = np.linalg.qr(np.column_stack([x, np.ones(x.size)]))[0]
    for _ in range(2):
        columns, y = columns - basis @ (basis.T @ columns), y - basis @ (basis.T @ y)
    return np.asfortranarray(columns), y


def value(columns: np.ndarray, y: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    """The objective of a lasso solution."""
    residual = y - columns @ weights
    return float(residual @ residual / (2 * y.size) + alpha * np.abs(weights).sum())


def lasso(module: str, columns: np.ndarray, y: np.ndarray, alpha: float, tol: float) -> tuple[float, float]:
    """Seconds and objective of a peer's Lasso."""
    make = importlib.import_module(module).Lasso
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make(alpha=alpha, fit_intercept=False, tol=tol, max_iter=1_000_000 if "sklearn" in module else 1000)
        seconds, _ = timed(lambda: model.fit(columns, y))
    return seconds, value(columns, y, model.coef_, alpha)


def cone(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[float, float]:
    """Seconds and objective of Clarabel through CVXPY, with the default tolerances."""
    import cvxpy as cp

    order = np.argsort(x)
    gaps, f = np.diff(x[order]), cp.Variable(x.size)
    bends = cp.diff(cp.multiply(1 / gaps, cp.diff(f)))
    program = cp.Problem(cp.Minimize(cp.sum_squares(y[order] - f) / (2 * x.size) + alpha * cp.norm1(bends)))
    try:
        seconds, _ = timed(lambda: program.solve(solver=cp.CLARABEL))
    except cp.SolverError:
        return float("nan"), float("nan")
    slopes = np.diff(f.value) / gaps
    loss = float(np.mean(np.square(y[order] - f.value)) / 2)
    return seconds, loss + alpha * float(np.abs(np.diff(slopes)).sum())


def against_peers(n: int, truth: str, alpha: float, rounds: int, *, slow: bool) -> None:
    """One line per solver."""
    x, y = data(n, truth, seed=0)
    ours = [timed(lambda: fit_one_dimension(x, y, alpha)) for _ in range(rounds)]
    seconds, fit = statistics.median(t for t, _ in ours), ours[0][1]
    print(f"| {truth} | {n} | {alpha:g} | steppe | {seconds:.4f} | 1 | gap {fit.relative_gap:.1e} |")
    columns, rest = design(x, y)
    rows: list[tuple[str, float, float]] = []
    if installed("celer"):
        rows += [(f"celer, tol {tol:g}", *lasso("celer", columns, rest, alpha, tol)) for tol in (1e-4, 1e-9)]
    if slow or n <= 200:
        rows += [("scikit-learn Lasso, tol 1e-06", *lasso("sklearn.linear_model", columns, rest, alpha, 1e-6))]
    if installed("cvxpy"):
        rows += [("Clarabel via CVXPY", *cone(x, y, alpha))]
    for name, taken, reached in rows:
        excess = (reached - fit.objective) / fit.objective
        print(f"| {truth} | {n} | {alpha:g} | {name} | {taken:.4f} | {taken / seconds:.0f} | excess {excess:.1e} |")


def sizes(largest: int, rounds: int) -> None:
    """Large n at several alphas."""
    print("\n| truth | n | alpha | CPU s | with certificate | relative gap | knots | rounds |")
    print("|---|---|---|---|---|---|---|---|")
    for n in [n for n in (10_000, 100_000, 1_000_000) if n <= largest]:
        for truth in ("sinusoid", "piecewise linear"):
            for alpha in (3e-3, 1e-4):
                x, y = data(n, truth, seed=0)
                runs = [timed(lambda x=x, y=y, alpha=alpha: fit_one_dimension(x, y, alpha)) for _ in range(rounds)]
                fit = runs[0][1]
                problem = VariationProblem(x[:, None], y, alpha=alpha)
                proved, _ = timed(lambda problem=problem: solve_one_dimension(problem))
                print(
                    f"| {truth} | {n} | {alpha:g} | {statistics.median(t for t, _ in runs):.4f} | {proved:.4f} | "
                    f"{fit.relative_gap:.1e} | {fit.knots.size} | {fit.iterations} |"
                )


def path(n: int) -> None:
    """Twenty alphas from alpha_max down to a ten-thousandth of it."""
    x, y = data(n, "sinusoid", seed=0)
    limit = one_dimension_alpha_max(x, y)
    seconds, fits = timed(lambda: fit_one_dimension_path(x, y, list(np.geomspace(limit, 1e-4 * limit, 20))))
    worst = max(fit.relative_gap for fit in fits)
    print(
        f"\nPath of 20 alphas at n = {n}: {seconds:.2f} CPU s, {seconds / 20:.2f} per point; largest gap {worst:.1e}."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--slow", action="store_true", help="scikit-learn at n = 1000, too")
    options = parser.parse_args()
    fit_one_dimension(*data(100, "sinusoid", 0), 1e-3)  # what is loaded on the first call is not counted
    print("| truth | n | alpha | solver | CPU s | over steppe | accuracy |\n|---|---|---|---|---|---|---|")
    for n in (100, 1000):
        for truth in ("sinusoid", "piecewise linear"):
            against_peers(n, truth, 3e-3, options.rounds, slow=options.slow)
    sizes(options.largest, options.rounds)
    path(options.largest)


if __name__ == "__main__":
    main()
