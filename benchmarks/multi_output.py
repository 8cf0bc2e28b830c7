"""Ten outputs that share neurons: the certified solver beside Adam with a cosine schedule, on one problem in one run.

The problem: the first 600 of scikit-learn's digits, inputs standardised on these 600 (columns that do not vary stay
zero), one-hot targets, bias inside the norm, no skip connection, alpha = 0.1 alpha_max. Targets: relative gap at most
1e-4 (kind heuristic) within 8 CPU seconds with at most 75 neurons, and never above Adam (4000 steps, width 200, best of
three learning rates and of the seeds). Printed for each: objective, CPU seconds, active neurons.

    python benchmarks/multi_output.py [--samples 600] [--ratio 0.1] [--seeds 3] [--adam-steps 4000] [--width 200]
"""

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import load_digits

from steppe.solvers import VariationProblem, multi_output_alpha_max, solve_multi_output

torch.set_num_threads(1)
RATES = (1e-2, 3e-3, 3e-2)


def digits(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Standardised images and one-hot labels."""
    X, labels = load_digits(return_X_y=True)
    X, spread = X[:samples], X[:samples].std(axis=0)
    return (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.eye(10)[labels[:samples]]


def adam(problem: VariationProblem, *, width: int, steps: int, rate: float, seed: int) -> tuple[float, int]:
    """Weight decay by Adam with a cosine schedule, gradients in closed form; objective and active neurons."""
    generator = torch.Generator().manual_seed(seed)
    Z, Y = torch.tensor(problem.Z), torch.tensor(problem.y)
    n, D = Z.shape
    W = torch.randn(width, D, generator=generator, dtype=torch.float64) / D**0.5
    V = torch.randn(width, Y.shape[1], generator=generator, dtype=torch.float64) * 0.1
    optimizer = torch.optim.Adam([W, V], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        hidden = Z @ W.T
        active = hidden.clamp(min=0.0)
        residual = (active @ V - Y) / n
        W.grad = ((residual @ V.T) * (hidden > 0)).T @ Z + problem.alpha * W
        V.grad = active.T @ residual + problem.alpha * V
        optimizer.step()
        schedule.step()
    penalty = W.norm(dim=1) * V.norm(dim=1)  # of the balanced network: never above the weight decay
    loss = ((Z @ W.T).clamp(min=0.0) @ V - Y).square().sum() / (2 * n)
    return float(loss + problem.alpha * penalty.sum()), int((penalty > 1e-6 * penalty.max()).sum())


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=600)
    parser.add_argument("--ratio", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--adam-steps", type=int, default=4000)
    parser.add_argument("--width", type=int, default=200)
    options = parser.parse_args()
    X, Y = digits(options.samples)
    base = VariationProblem(X, Y, alpha=1.0, bias="penalized", skip=False)
    largest = multi_output_alpha_max(base).value
    problem = base.with_alpha(options.ratio * largest)
    print(f"digits: n = {problem.n}, d = {problem.d}, 10 outputs, alpha = {options.ratio:g} x {largest:.8f}")
    found = []
    for seed in range(options.seeds):
        began = time.process_time()
        result = solve_multi_output(problem, seed=seed)
        seconds = time.process_time() - began
        certificate = result.certificate
        found.append(certificate.primal)
        print(
            f"steppe seed {seed}: F = {certificate.primal:.9f}, gap {certificate.relative_gap:.1e} {certificate.kind}, "
            f"{result.solution.width} neurons, {seconds:.2f} CPU s, verified {certificate.verify(X, Y)}"
        )
    best = np.inf
    for seed in range(options.seeds):
        for rate in RATES:
            began = time.process_time()
            value, active = adam(problem, width=options.width, steps=options.adam_steps, rate=rate, seed=seed)
            seconds = time.process_time() - began
            best = min(best, value)
            print(f"Adam seed {seed}, rate {rate:g}: F = {value:.9f}, {active} active, {seconds:.2f} CPU s")
    print(f"steppe, worst of the seeds, against the best Adam: relative difference {max(found) / best - 1:+.2e}")


if __name__ == "__main__":
    main()
