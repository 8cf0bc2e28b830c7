"""Certified networks against first-order training and sampled convex programs: objective and CPU time, all in one run.

Five problems, squared loss, biases inside the norm, no skip connection, alpha = 0.05 alpha_max, standardised columns
and targets: two sums of three random ridge functions of standard normal inputs with noise 0.1 (n = 100, d = 2 and
n = 200, d = 5; the draws are fixed by seed 0), Friedman's first function (n = 300, d = 10, noise 1), diabetes
(n = 442, d = 10) and breast cancer (n = 569, d = 30, labels 0 and 1 as numbers).

    OMP_NUM_THREADS=1 .venv-peers/bin/python -W ignore benchmarks/certified.py

The sampled convex program is that of scnn (augmented Lagrangian, 500 patterns, at most 200 dual steps, float32, columns
not rescaled) where it is installed; Adam trains 200 neurons with weight decay alpha on 20 000 full batches, its step
falling from 0.01 to 0 along a cosine, best of three seeds.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import datasets

from steppe.solvers import Certified, Solution, VariationProblem, alpha_max, solve
from steppe.solvers.oracle import Effort, local_maxima

TOLERANCES = {"ridge n=100 d=2": 5e-8}  # 1e-6 elsewhere
LIMITS = {"ridge n=100 d=2": 0.3, "ridge n=200 d=5": 1.5, "diabetes": 5.0}
AUDIT = 100_000


def standardised(X: Any) -> Any:
    """Columns of mean zero and variance one."""
    return (X - X.mean(axis=0)) / X.std(axis=0)


def ridges(n: int, d: int) -> tuple[Any, Any]:
    """A sum of three ridge functions along random directions, and noise."""
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(n, d)), rng.normal(size=(3, d))
    W /= np.linalg.norm(W, axis=1)[:, None]
    y = np.sin(2 * X @ W[0]) + np.abs(X @ W[1]) + np.tanh(X @ W[2])
    return X, y + 0.1 * rng.normal(size=n)


PROBLEMS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "ridge n=100 d=2": lambda: ridges(100, 2),
    "ridge n=200 d=5": lambda: ridges(200, 5),
    "friedman1": lambda: datasets.make_friedman1(n_samples=300, n_features=10, noise=1.0, random_state=0),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
}


def problem_named(name: str) -> VariationProblem:
    """One of the five problems."""
    X, y = PROBLEMS[name]()
    y = np.asarray(y, dtype=float)
    problem = VariationProblem(standardised(X), standardised(y), alpha=1.0, bias="penalized", skip=False)
    return problem.with_alpha(0.05 * alpha_max(problem).value)


def certified(name: str, problem: VariationProblem, rounds: int) -> tuple[float, Certified]:
    """Median CPU seconds and the result."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        found = solve(problem, tol=TOLERANCES.get(name, 1e-6))
        seconds.append(time.process_time() - began)
    return float(np.median(seconds)), found


def audited(problem: VariationProblem, found: Certified, starts: int) -> tuple[int, float, float]:
    """Repairs until a search from many starts finds no violation above 1e-6: repairs, last violation, objective."""
    repairs, tol = 0, found.certificate.relative_gap
    while True:
        rho = problem.rho(problem.evaluate(found.solution))
        violation = 0.0
        for seed in range(max(1, starts // 8192)):
            rng = np.random.default_rng([77, repairs, seed])
            looked = local_maxima(problem, rho, rng=rng, effort=Effort(4096, 25, 100))
            violation = max(violation, looked.value / problem.alpha - 1)
            if violation > 1e-6:
                break
        if violation <= 1e-6 or repairs == 20:
            return repairs, violation, found.certificate.primal
        repairs += 1
        # What was found starts with next to no size; the solver gives it its own.
        signs = np.sign(rho @ problem.features(looked.units))
        u = np.concatenate([found.solution.u, looked.units])
        v = np.concatenate([found.solution.v, 1e-6 * signs])
        found = solve(problem, tol=min(1e-8, tol), start=Solution(u, v), seed=repairs)


def adam(problem: VariationProblem, seeds: int, steps: int) -> tuple[float, float]:
    """Best objective of several runs, and CPU seconds of one."""
    Z, y = torch.from_numpy(problem.Z.copy()), torch.from_numpy(problem.y.copy())
    values, began = [], time.process_time()
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        W = torch.randn(Z.shape[1], 200, generator=generator, dtype=torch.float64) / Z.shape[1] ** 0.5
        v = torch.randn(200, generator=generator, dtype=torch.float64) / 200**0.5
        for parameter in (W, v):
            parameter.requires_grad_()
        optimizer = torch.optim.Adam([W, v], lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = 0.5 * ((Z @ W).relu() @ v - y).square().mean()
            (loss + 0.5 * problem.alpha * (W.square().sum() + v.square().sum())).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            f = (Z @ W).relu() @ v
            penalty = (W.norm(dim=0) * v.abs()).sum()
            values.append(float(0.5 * (f - y).square().mean() + problem.alpha * penalty))
    return min(values), (time.process_time() - began) / seeds


def sampled(problem: VariationProblem, patterns: int) -> tuple[float, float] | None:
    """Objective and CPU seconds of scnn; None where it is not installed."""
    try:
        models = importlib.import_module("scnn.models")
    except ImportError:
        return None
    gates = importlib.import_module("scnn.activations").sample_gate_vectors(0, problem.Z.shape[1], patterns)
    model = models.ConvexReLU(gates)
    solver = importlib.import_module("scnn.solvers").AL(model, max_dual_iters=200)
    penalty = importlib.import_module("scnn.regularizers").NeuronGL1(problem.alpha)
    metrics = importlib.import_module("scnn.metrics").Metrics()
    optimize = importlib.import_module("scnn.optimize").optimize_model
    began = time.process_time()
    Z = np.array(problem.Z)
    network, _ = optimize(model, solver, metrics, Z, problem.y[:, None], regularizer=penalty, unitize_data=False)
    seconds = time.process_time() - began
    W, v = (np.asarray(part, dtype=float) for part in network.parameters)
    f = np.maximum(Z @ W.T, 0.0) @ v[0]
    return problem.loss(f) + problem.alpha * float(np.linalg.norm(W, axis=1) @ np.abs(v[0])), seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20_000, help="of Adam; 0 leaves it out")
    parser.add_argument("--patterns", type=int, default=500, help="of scnn; 0 leaves it out")
    parser.add_argument("--audit", type=int, default=AUDIT, help="starts; 0 leaves it out")
    given = parser.parse_args()
    print(
        "| problem | objective | neurons | gap, kind | CPU s (limit) | audit: repairs, violation "
        "| Adam: excess, CPU s | scnn: excess, CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in given.problems:
        problem = problem_named(name)
        seconds, found = certified(name, problem, given.rounds)
        certificate, limit = found.certificate, LIMITS.get(name)
        cells = [name, f"{certificate.primal:.8f}", str(found.solution.width)]
        cells += [f"{certificate.relative_gap:.1e} {certificate.kind}", f"{seconds:.2f} ({limit or '-'})"]
        best = certificate.primal
        if given.audit:
            repairs, violation, best = audited(problem, found, given.audit)
            cells.append(f"{repairs}, {violation:.1e}")
        else:
            cells.append("-")
        if given.steps:
            value, cost = adam(problem, 3, given.steps)
            cells.append(f"{value / best - 1:.1e}, {cost:.1f}")
        else:
            cells.append("-")
        peer = sampled(problem, given.patterns) if given.patterns else None
        cells.append("not installed: make peers" if peer is None else f"{peer[0] / best - 1:.1e}, {peer[1]:.1f}")
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
