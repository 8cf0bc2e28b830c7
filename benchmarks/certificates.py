"""How fast are optima proved, and is a certificate ever false?

Usage: OMP_NUM_THREADS=1 python benchmarks/certificates.py [--only time,truth] [--problems 200] [--rounds 5] [--full]

What is fixed before any run:

* `time`: a table of inputs of standard normal columns and targets that are a sum of three ridge functions with noise,
  both standardised, alpha = 0.05 alpha_max, bias penalized, no free part, solved to a relative gap of 1e-7 by local
  search alone. Then the proof is timed at the residual of that solution: branch and bound to 1.003 alpha, that is a gap
  of 0.3 %, medians of `--rounds`, with one thread. Neurons that a proof finds re-enter; the proof of the final solution
  is the one that is timed. Untimed, the whole solver with its rigorous stage goes on to 1e-4 and 1e-6 where d is at
  most 3, with either penalty. `--full` adds d = 6.
* `truth`: random problems with at most three inputs: normal, rounded, repeated and collinear rows, either penalty. Each
  is solved with the solver's own proof and certified a second time by branch and bound. Both certificates meet: the
  maximum over all neurons by an enumeration that shares no code with either (for d = 3 with penalized bias, where
  there is none, 4,000 ascents); the smaller of the two objectives; and themselves, verified on the data. Then four
  attacks with the digest made to fit: a neuron changed, the dual point scaled, other inputs, targets in another order.

A contradiction is: a claimed bound of the dual constraint below what enumeration finds, a dual value above a primal
one, or a certificate that does not verify. What it cannot show: that no other data contradict.
"""

import argparse
import dataclasses
import os
import platform
import statistics
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

from steppe.solvers import Certificate, Maximum, VariationProblem, alpha_max, certify, solve
from steppe.solvers.branching import boundable, bounded_maximum
from steppe.solvers.certificate_files import seal
from steppe.solvers.exact_check import largest_correlation
from steppe.solvers.homogeneous import kernels
from steppe.solvers.oracle import Effort, local_maxima_of
from steppe.solvers.rigorous import Proof

SHARE, TARGET, LOCAL = 0.05, 1.003, 1e-7
TIMED = [(3, 150, 0.1), (4, 200, 0.6), (5, 200, 60.0)]
LONGER = [(6, 200, float("nan"))]
ROUNDING = 1e-9  # relative; enumerations that share no code agree to this


def ridge(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A sum of three ridge functions and noise; standardised columns."""
    rng = np.random.default_rng([n, d, seed])
    X = rng.standard_normal((n, d))
    W = rng.standard_normal((3, d))
    hidden = np.maximum(X @ (W / np.linalg.norm(W, axis=1)[:, None]).T - 0.3 * rng.standard_normal(3), 0.0)
    y = hidden @ np.array([1.0, -1.0, 1.5]) + 0.1 * rng.standard_normal(n)
    return (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()


def stated(X: np.ndarray, y: np.ndarray, bias: str, share: float = SHARE) -> VariationProblem:
    """The problem at a share of alpha_max."""
    problem = VariationProblem(X, y, alpha=1.0, bias=bias, skip=bias == "free")
    return problem.with_alpha(share * alpha_max(problem, seed=0).value)


def residual(problem: VariationProblem, solution: object) -> np.ndarray:
    return problem.rho(problem.evaluate(solution))


def timed(n: int, d: int, rounds: int) -> str:
    """One line: the proof of an optimum to 0.3 %."""
    problem = stated(*ridge(n, d), "penalized")
    done = solve(problem, method="column-generation", tol=LOCAL, proof=Proof(max_cones=0))
    entered = 0
    while True:
        rho = residual(problem, done.solution)
        found = bounded_maximum(problem, rho, target=TARGET * problem.alpha, max_cones=100_000_000)
        if not len(found.units):
            break
        entered += len(found.units)
        done = solve(problem, method="column-generation", tol=1e-4, proof=Proof(max_cones=100_000_000, dimensions=7))
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        found = bounded_maximum(problem, rho, target=TARGET * problem.alpha, max_cones=100_000_000)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        if walls[-1] > 10:
            break
    made = certify(problem, done.solution, found, method="column-generation")
    return (
        f"| {d} | {n} | {100 * made.relative_gap:.3f} % | {100 * (found.upper / problem.alpha - 1):.3f} % | "
        f"{statistics.median(walls):.3f} | {statistics.median(cpus):.3f} | {found.work:,} | "
        f"{1e6 * statistics.median(cpus) / found.work:.1f} | {entered} |"
    )


def onwards(n: int, d: int, bias: str, tol: float) -> str:
    """One line: the whole solver with its rigorous stage to tol."""
    problem = stated(*ridge(n, d), bias)
    cpu = time.process_time()
    done = solve(problem, tol=tol, proof=Proof(max_cones=10_000_000))
    spent = time.process_time() - cpu
    made = done.certificate
    return (
        f"| {d} | {n} | {bias} | {tol:g} | {made.kind} | {made.relative_gap:.1e} | {spent:.2f} | {made.work:,} | "
        f"{len(done.solution.v)} |"
    )


def times(rounds: int, *, full: bool) -> None:
    print(
        "| d | n | gap (wanted <= 0.3 %) | M above alpha | wall s | CPU s | cones | us/cone | re-entered | wanted, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for d, n, limit in TIMED + (LONGER if full else []):
        print(f"{timed(n, d, rounds)} {limit:g} |", flush=True)
    print("\n| d | n | bias | tol | kind | relative gap | CPU s, whole solve | work of the last proof | neurons |")
    print("|---|---|---|---|---|---|---|---|---|")
    for bias in ("penalized", "free"):
        for d in (1, 2, 3):
            for tol in (1e-4, 1e-6):
                print(onwards(100, d, bias, tol), flush=True)


def random_problems(count: int) -> Iterator[tuple[str, VariationProblem]]:
    """Small problems, half of them degenerate."""
    for seed in range(count):
        rng = np.random.default_rng([7, seed])
        d, bias = int(rng.integers(1, 4)), ("free", "penalized")[seed % 2]
        n = int(rng.integers(6, 25 if d == 3 else 60))
        X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
        kind = ("normal", "rounded", "repeated", "collinear")[int(rng.integers(0, 4))]
        if kind == "rounded":
            X = np.round(X)
        elif kind == "repeated":
            X = X[rng.integers(0, n, n)]
        elif kind == "collinear":
            X = X[:, :1] * rng.standard_normal(d)
        yield f"{kind} d={d} n={n} {bias}", stated(X, y, bias, float(10 ** rng.uniform(-2, -0.3)))


def listed(problem: VariationProblem, theta: np.ndarray, seed: int) -> float:
    """The largest correlation of a dual point with a neuron, from outside."""
    value = largest_correlation(problem.X, theta, bias=problem.bias)
    if value is not None:
        return value
    rng, effort = np.random.default_rng(seed), Effort(starts=4000, steps=40, climbs=200)
    return float(
        np.abs(local_maxima_of(problem.Z, theta, problem.Z.shape[1], rng=rng, effort=effort)[1]).max(initial=0.0)
    )


def second(problem: VariationProblem, solution: object) -> Certificate | None:
    """The same network, certified by branch and bound."""
    rho = residual(problem, solution)
    if not boundable(problem) or not rho.any():
        return None
    found: Maximum = bounded_maximum(problem, rho, target=1.001 * problem.alpha, max_cones=200_000, early=False)
    return certify(problem, solution, found, method="column-generation")


def forged(made: Certificate, rng: np.random.Generator) -> Iterator[Certificate]:
    """The certificate with its largest neuron changed, and with its dual point scaled; digests fit."""
    solution = made.solution
    if len(solution.v):
        v = solution.v.copy()
        v[np.argmax(np.abs(v))] *= float(rng.choice([-1.0, 0.5, 0.9, 1.1]))
        yield dataclasses.replace(made, solution=dataclasses.replace(solution, v=v))
    if made.theta.any():
        yield dataclasses.replace(made, theta=made.theta * float(rng.choice([-1.0, 0.5, 0.9, 1.05, 2.0])))


def attacked(made: Certificate, problem: VariationProblem, rng: np.random.Generator) -> tuple[int, int]:
    """Attacks made and attacks refused."""
    tried = []
    for changed in forged(made, rng):
        object.__setattr__(changed, "digest", seal(changed))
        tried.append(not changed.verify(problem.X, problem.y))
    X = problem.X + 0.3 * rng.standard_normal(problem.X.shape)
    y = np.roll(problem.y, 1)
    tried += [not made.verify(X, problem.y), not made.verify(problem.X, y)]
    return len(tried), sum(tried)


def truth(count: int) -> None:
    kinds: dict[str, int] = {}
    contradicted, attacks, refused, unproved = [], 0, 0, 0
    for seed, (name, problem) in enumerate(random_problems(count)):
        rng = np.random.default_rng([8, seed])
        done = solve(problem, tol=1e-4)
        certificates = [made for made in (done.certificate, second(problem, done.solution)) if made is not None]
        for made in certificates:
            kinds[made.kind] = kinds.get(made.kind, 0) + 1
            theta = made.theta.reshape(-1)
            reached = listed(problem, theta, seed)
            wrong = made.kind != "heuristic" and reached > problem.alpha * (1 + ROUNDING)
            wrong = wrong or made.dual > min(other.primal for other in certificates) * (1 + ROUNDING) + made.floor
            wrong = wrong or not made.verify(problem.X, problem.y)
            unproved += made.kind == "heuristic"
            if wrong:
                contradicted.append(f"{name} {made.kind}: M / alpha - 1 = {reached / problem.alpha - 1:.1e}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made_attacks, stopped = attacked(done.certificate, problem, rng)
        attacks, refused = attacks + made_attacks, refused + stopped
    print(f"* {count} problems; certificates: {', '.join(f'{value} {key}' for key, value in sorted(kinds.items()))}")
    print(f"* contradicted: {len(contradicted)}" + "".join(f"\n  * {line}" for line in contradicted))
    print(f"* attacks refused: {refused} of {attacks}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="time,truth", help="sections, with commas between them")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="also d = 6")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, 1 thread; Python {platform.python_version()}, ", end="")
    compiled = "compiled kernel" if kernels() is not None else "no compiled kernel"
    print(f"NumPy {np.__version__}, {compiled}; {datetime.now(UTC):%Y-%m-%d}\n")
    if "time" in arguments.only:
        times(arguments.rounds, full=arguments.full)
        print()
    if "truth" in arguments.only:
        truth(arguments.problems)


if __name__ == "__main__":
    main()
