"""Hessian products of a shallow ReLU network: closed form against a retained double backward.

Usage: OMP_NUM_THREADS=1 python benchmarks/hessian_products.py [--rounds 31]

Both sides in one run, alternating, on one thread, in float32; medians over rounds of the time per vector. The other
side is the best general way on a CPU: the gradient graph is built once and retained, one backward pass per product.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from steppe.core import SquaredLoss, generator
from steppe.curvature import CurvatureOperator, hessian
from steppe.networks import ShallowReLU

INPUTS, WIDTH, SAMPLES, BLOCK = 10, 1000, 2000, 8
WANTED = {"single": 1.7, "block": 6.0}


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def double_backward(network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[torch.Tensor], object]:
    """The plain retained product, written out: no checks, nothing of the library."""
    parameters = list(network.parameters())
    loss = 0.5 * (network(x) - y).square().sum() / len(x)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    sizes = [parameter.numel() for parameter in parameters]

    def product(vector: torch.Tensor) -> torch.Tensor:
        parts = [part.view_as(p) for part, p in zip(vector.split(sizes), parameters, strict=True)]
        image = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image])

    return product


def problem() -> tuple[ShallowReLU, torch.Tensor, torch.Tensor]:
    rng = generator("core.test", 0)
    x = torch.randn(SAMPLES, INPUTS, generator=rng)
    y = x[:, :1] + torch.randn(SAMPLES, 1, generator=rng)
    return ShallowReLU(INPUTS, WIDTH, dtype=torch.float32), x, y


def agreement(operator: CurvatureOperator, product: Callable[[torch.Tensor], object], block: torch.Tensor) -> float:
    closed = operator @ block
    general = torch.stack([torch.as_tensor(product(column)) for column in block.T], dim=1)
    return float((closed - general).norm() / general.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    network, x, y = problem()
    operator = hessian(network, SquaredLoss(), (x, y), dtype=torch.float32)
    product = double_backward(network, x, y)
    block = torch.randn(operator.shape[0], BLOCK, generator=generator("core.test", 1))
    vector = block[:, 0].contiguous()
    times = medians(
        {"closed": lambda: operator @ vector, "general": lambda: product(vector), "block": lambda: operator @ block},
        rounds,
    )
    general = statistics.median(times["general"])
    single, per_vector = statistics.median(times["closed"]), statistics.median(times["block"]) / BLOCK
    error = agreement(operator, product, block)
    print(f"{processor()}, 1 thread; Python {platform.python_version()}, torch {torch.__version__}; ", end="")
    print(f"{datetime.now(UTC):%Y-%m-%d}; medians of {rounds} alternating rounds")
    print(f"d = {INPUTS}, width {WIDTH}, n = {SAMPLES}, float32; the two sides agree to {error:.1e}\n")
    print("| Hessian product, per vector | ms | faster than double backward | wanted |")
    print("|---|---|---|---|")
    print(f"| retained double backward | {1e3 * general:.2f} | 1 | |")
    print(f"| closed form, one vector | {1e3 * single:.2f} | {general / single:.1f} | {WANTED['single']} |")
    print(
        f"| closed form, block of {BLOCK} | {1e3 * per_vector:.2f} | {general / per_vector:.1f} | {WANTED['block']} |"
    )


if __name__ == "__main__":
    main()
