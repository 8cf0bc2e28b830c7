"""Full-batch gradient descent: `train_stacked` against the plain PyTorch loop, all sides in one run.

    python benchmarks/training_throughput.py

Squared loss with weight decay. The PyTorch side is what people write: nn.Sequential(Linear, ReLU, Linear), autograd
and torch.optim.SGD. Each round times every side once; a table shows medians over the rounds, in runs · steps per
second, and medians of the ratios of a round. `--instructions avx2` makes the kernel use other vectors; `--gpu` times a
CUDA device, with one core's kernel beside it.
"""

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from steppe import __version__
from steppe.data import noise, uniform_ball, unit_linear_teacher
from steppe.networks import ShallowReLU
from steppe.training import train_stacked

# (d, n, width), steps of one network per round on the PyTorch side, and how many times more steppe's sides take
CASES = (((2, 128, 64), 2000, 40), ((5, 512, 256), 600, 8), ((10, 2048, 1024), 20, 12))
WANTED = {torch.float32: (150, 9, 18), torch.float64: (35, 8, 18)}  # by the kernel on AVX-512; half of it on AVX2
STEP_SIZE, DECAY, NETWORKS = 0.01, 1e-3, 4
Shape = tuple[int, int, int]


def problem(
    shape: Shape, dtype: torch.dtype, r: int = NETWORKS
) -> tuple[torch.Tensor, torch.Tensor, list[ShallowReLU]]:
    d, n, width = shape
    x = uniform_ball(n, d, seed=0)
    y = unit_linear_teacher(d, seed=0)(x) + noise(n, sigma=1.0, seed=0)
    return x.to(dtype), y.to(dtype), [ShallowReLU(d, width, seed=seed, dtype=dtype) for seed in range(r)]


def plain_pytorch(module: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    optimiser = torch.optim.SGD(module.parameters(), lr=STEP_SIZE, weight_decay=DECAY)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (module(x) - y).square().mean()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return 0.5 * (module(x) - y).square().mean().item()


def rate(work: float, call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return work / (time.perf_counter() - began)


def steppe_rate(shape: Shape, dtype: torch.dtype, steps: int, kernels: str, r: int = NETWORKS) -> float:
    os.environ["STEPPE_KERNELS"] = kernels
    x, y, networks = problem(shape, dtype, r)
    options = {"step_size": STEP_SIZE, "steps": steps, "weight_decay": DECAY, "log_every": steps}
    return rate(r * steps, lambda: train_stacked(networks, x, y, **options))


def pytorch_rate(shape: Shape, dtype: torch.dtype, steps: int) -> float:
    x, y, networks = problem(shape, dtype)
    modules = [network.to_sequential() for network in networks]
    losses: list[float] = []
    found = rate(NETWORKS * steps, lambda: losses.extend(plain_pytorch(m, x, y, steps) for m in modules))
    histories = train_stacked(networks, x, y, step_size=STEP_SIZE, steps=steps, weight_decay=DECAY)
    for history, loss in zip(histories, losses, strict=True):  # all sides do the same work
        assert abs(history.final_loss - loss) < 1e-3 * loss, (history.final_loss, loss)
    return found


def one_core(rounds: int, kernels: str) -> None:
    print("\n| dtype | d, n, width | kernel | NumPy | PyTorch loop | kernel / loop | wanted | NumPy / loop |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype, targets in WANTED.items():
        for (shape, steps, more), wanted in zip(CASES, targets, strict=True):
            rows = [
                (
                    steppe_rate(shape, dtype, steps * more, kernels),
                    steppe_rate(shape, dtype, steps, "off"),
                    pytorch_rate(shape, dtype, steps),
                )
                for _ in range(rounds)
            ]
            ours, numpy, loop = (statistics.median(side) for side in zip(*rows, strict=True))
            ratio = statistics.median(k / p for k, _, p in rows)
            other = statistics.median(n / p for _, n, p in rows)
            print(
                f"| {str(dtype).removeprefix('torch.')} | {', '.join(map(str, shape))} | {ours:,.0f} | {numpy:,.0f} | "
                f"{loop:,.0f} | {ratio:.1f}x | {wanted}x | {other:.1f}x |",
                flush=True,
            )


def two_cores(rounds: int, kernels: str) -> None:
    print("\n| float32, 8 networks | 1 thread | 2 threads | ratio | wanted |\n|---|---|---|---|---|")
    for shape, steps, more in CASES:
        rows = []
        for _ in range(rounds):
            pair = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                pair.append(steppe_rate(shape, torch.float32, steps * more, kernels, r=8))
            rows.append(pair)
        torch.set_num_threads(1)
        one, two = (statistics.median(side) for side in zip(*rows, strict=True))
        ratio = statistics.median(b / a for a, b in rows)
        print(f"| {', '.join(map(str, shape))} | {one:,.0f} | {two:,.0f} | {ratio:.2f}x | 1.8x |", flush=True)


def gpu(rounds: int, kernels: str) -> None:
    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device that torch can use; this machine has none")
    print(f"\n{torch.cuda.get_device_name(0)}, float32, runs·steps/s")
    print("\n| d, n, width | 1 core, kernel | GPU, 1 network | 64 | 1024 | 1024 / core |\n|---|---|---|---|---|---|")
    for shape, steps, more in CASES:
        rows = []
        for _ in range(rounds):
            core = steppe_rate(shape, torch.float32, steps * more, kernels)
            rows.append([core, *(on_gpu(shape, 300, r) for r in (1, 64, 1024))])
        core, one, some, many = (statistics.median(side) for side in zip(*rows, strict=True))
        cells = ", ".join(map(str, shape)), f"{core:,.0f}", f"{one:,.0f}", f"{some:,.0f}", f"{many:,.0f}"
        print(f"| {' | '.join(cells)} | {many / core:.1f}x |", flush=True)


def on_gpu(shape: Shape, steps: int, r: int) -> float:
    x, y, networks = problem(shape, torch.float32, r)
    networks = [network.cuda() for network in networks]
    options = {"step_size": STEP_SIZE, "steps": steps, "weight_decay": DECAY, "log_every": steps}
    torch.cuda.synchronize()
    return rate(r * steps, lambda: (train_stacked(networks, x.cuda(), y.cuda(), **options), torch.cuda.synchronize()))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--instructions", default="", help="avx512, avx2 or plain; the fastest if not given")
    parser.add_argument("--gpu", action="store_true", help="time a CUDA device")
    given = parser.parse_args()
    torch.set_num_threads(1)
    today = datetime.datetime.now(datetime.UTC).date()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    print(f"{today}, {processor()}, {given.rounds} rounds, runs·steps/s; {versions}, steppe {__version__}")
    if given.gpu:
        gpu(given.rounds, given.instructions)
    else:
        one_core(given.rounds, given.instructions)
        two_cores(given.rounds, given.instructions)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
