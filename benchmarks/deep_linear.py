"""Sharpness of deep linear networks: the output space and closed forms against Lanczos on autograd products.

All sides in one run, taking turns, float64, one thread, medians of CPU seconds, from the layers to the number. Sides:
`deep_linear_sharpness`; `sharpness` of the same network as `nn.Sequential` with `SquaredLoss` on the identity as data,
which is Lanczos on retained double backward; and, with `--scipy`, ARPACK (`eigsh`) on the same kind of products. All
are asked for a residual of 1e-8 of the value.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/deep_linear.py [--rounds 5] [--width 256] [--depth 10] [--scipy]
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

import steppe
from steppe.core import SquaredLoss
from steppe.curvature import deep_linear_sharpness, deep_linear_spectrum, deep_linear_trace, sharpness
from steppe.networks import DeepLinear

RTOL = 1e-8
Run = tuple[float, float, int]  # value in the papers' loss, residual over value, products


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds and result."""
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def ours(network: DeepLinear) -> tuple[Run, str]:
    """The closed forms or Lanczos in the output space."""
    found = deep_linear_sharpness(network, rtol=RTOL)
    return (found.value, found.error / found.value, found.products), found.backend


def by_autograd(network: DeepLinear) -> tuple[Run, str]:
    """Lanczos on products by double backward."""
    x = torch.eye(network.inputs, dtype=torch.float64)
    with torch.no_grad():
        y = network(x)
    found = sharpness(network.to_sequential(), SquaredLoss(), (x, y), rtol=RTOL)
    return (2 * len(x) * found.value, found.error / found.value, found.products), found.backend


def by_scipy(network: DeepLinear) -> tuple[Run, str]:
    """ARPACK on products by double backward."""
    model = network.to_sequential()
    parameters = list(model.parameters())
    x = torch.eye(network.inputs, dtype=torch.float64)
    with torch.no_grad():
        y = network(x)
    gradient = torch.autograd.grad((y - model(x)).square().sum(), parameters, create_graph=True)
    sizes = [parameter.numel() for parameter in parameters]
    count = 0

    def product(vector: Any) -> Any:
        nonlocal count
        count += 1
        pieces = torch.from_numpy(vector).split(sizes)
        parts = [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)]
        image: tuple[Tensor, ...] = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image]).numpy()

    operator = LinearOperator((sum(sizes), sum(sizes)), matvec=product, dtype=float)
    value = float(eigsh(operator, k=1, which="LA", tol=RTOL, return_eigenvectors=False)[0])
    return (value, RTOL, count), "ARPACK"


def networks(width: int, depth: int) -> list[tuple[str, DeepLinear, str]]:
    """Name, network and the ratio wanted."""
    sizes = [width] * (depth + 1)
    normal = DeepLinear(sizes, seed=0)
    target = normal.matrix().detach()
    return [
        (f"{depth} layers, normal", normal, "3x"),
        (f"{depth} layers, random minimizer", DeepLinear.random_minimizer(target, sizes, spread=0.3, seed=1), "3x"),
        (f"{depth} layers, balanced", DeepLinear.balanced(target, sizes, seed=1), "20x"),
        ("2 layers, normal", DeepLinear([width] * 3, seed=1), "20x"),
    ]


def sharpness_table(given: argparse.Namespace) -> None:
    """One line per network."""
    sides = [ours, by_autograd] + ([by_scipy] if given.scipy else [])
    for network in (DeepLinear([8] * 4), DeepLinear.balanced([[1.0, 0.5], [0.0, 1.0]], [2, 3, 2])):
        for side in sides:  # what is loaded on the first call is not counted
            side(network)
    print(
        f"| width {given.width} | way | CPU s | residual / value | products | autograd, CPU s | products | ratio | "
        f"wanted |{' ARPACK, CPU s | ratio |' if given.scipy else ''} largest difference |"
    )
    print("|---" * (10 + 2 * given.scipy) + "|")
    for name, network, wanted in networks(given.width, given.depth):
        runs: list[list[tuple[float, tuple[Run, str]]]] = [[] for _ in sides]
        for _ in range(given.rounds):
            for side, kept in zip(sides, runs, strict=True):
                kept.append(timed(lambda side=side, network=network: side(network)))
        seconds = [statistics.median(t for t, _ in kept) for kept in runs]
        (value, residual, products), way = runs[0][0][1]
        others = [kept[0][1][0] for kept in runs[1:]]
        difference = max(abs(other[0] - value) / value for other in others)
        arpack = f" {seconds[2]:.3f} | {seconds[2] / seconds[0]:.1f}x |" if given.scipy else ""
        print(
            f"| {name} | {way} | {seconds[0]:.3f} | {residual:.1e} | {products} | {seconds[1]:.3f} | {others[0][2]} | "
            f"{seconds[1] / seconds[0]:.1f}x | {wanted} |{arpack} {difference:.0e} |",
            flush=True,
        )


def spectrum_table(rounds: int) -> None:
    """The whole spectrum; its sum is the trace, which is known exactly."""
    print("\n| whole spectrum | eigenvalues | nonzero | CPU s | sum over trace − 1 |\n|---|---|---|---|---|")
    cases = [
        ("4 layers of width 64", DeepLinear([64] * 5, seed=0), rounds),
        ("4 balanced layers of width 64", DeepLinear.balanced(DeepLinear([64] * 2).matrix(), [64] * 5), rounds),
        ("10 balanced layers of width 256", DeepLinear.balanced(DeepLinear([256] * 2).matrix(), [256] * 11), rounds),
    ]
    for name, network, count in cases:
        runs = [timed(lambda network=network: deep_linear_spectrum(network)) for _ in range(count)]
        values = runs[0][1]
        off = float(values.sum()) / deep_linear_trace(network) - 1
        above = int((values > 1e-12 * values[0]).sum())
        print(f"| {name} | {len(values):,} | {above:,} | {statistics.median(t for t, _ in runs):.3f} | {off:.0e} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--scipy", action="store_true", help="ARPACK on autograd products, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{datetime.now(tz=UTC):%Y-%m-%d}, {platform.machine()}, 1 thread, {given.rounds} rounds, Python "
        f"{platform.python_version()}, torch {torch.__version__}, steppe {steppe.__version__}\n"
    )
    sharpness_table(given)
    spectrum_table(given.rounds)


if __name__ == "__main__":
    main()
