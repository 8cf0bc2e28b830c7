"""Full-batch gradient descent: `train_stacked` against the plain PyTorch loop, both sides in one run.

    python benchmarks/training_throughput.py

Float32, one thread, squared loss with weight decay. The PyTorch side is what people write: nn.Sequential(Linear, ReLU,
Linear), autograd and torch.optim.SGD. Each round times first one side, then the other; the table shows medians over the
rounds, in runs · steps per second, and the median of the ratios of a round.
"""

import argparse
import datetime
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from steppe import __version__
from steppe.data import noise, uniform_ball, unit_linear_teacher
from steppe.networks import ShallowReLU
from steppe.training import train_stacked

# (d, n, width), steps of one network per round, least ratio that this repository promises on a CPU
CASES = (((2, 128, 64), 4000, 3.0), ((5, 512, 256), 800, 1.5), ((10, 2048, 1024), 40, 2.0))
STEP_SIZE, DECAY, NETWORKS = 0.01, 1e-3, 4


def problem(d: int, n: int, width: int) -> tuple[torch.Tensor, torch.Tensor, list[ShallowReLU]]:
    x = uniform_ball(n, d, seed=0)
    y = unit_linear_teacher(d, seed=0)(x) + noise(n, sigma=1.0, seed=0)
    networks = [ShallowReLU(d, width, seed=seed, dtype=torch.float32) for seed in range(NETWORKS)]
    return x.float(), y.float(), networks


def plain_pytorch(module: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    optimiser = torch.optim.SGD(module.parameters(), lr=STEP_SIZE, weight_decay=DECAY)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (module(x) - y).square().mean()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return 0.5 * (module(x) - y).square().mean().item()


def one_round(shape: tuple[int, int, int], steps: int) -> tuple[float, float]:
    x, y, networks = problem(*shape)
    modules = [network.to_sequential() for network in networks]
    began = time.perf_counter()
    losses = [plain_pytorch(module, x, y, steps) for module in modules]
    between = time.perf_counter()
    histories = train_stacked(networks, x, y, step_size=STEP_SIZE, steps=steps, weight_decay=DECAY)
    ended = time.perf_counter()
    for history, loss in zip(histories, losses, strict=True):  # both sides did the same work
        assert abs(history.final_loss - loss) < 1e-3 * loss, (history.final_loss, loss)
    work = NETWORKS * steps
    return work / (ended - between), work / (between - began)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    today = datetime.datetime.now(datetime.UTC).date()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    print(f"{today}, {processor()}, 1 thread, float32, {rounds} rounds; {versions}, steppe {__version__}")
    print("\n| d, n, width | steppe runs·steps/s | PyTorch loop runs·steps/s | ratio | promised |")
    print("|---|---|---|---|---|")
    for shape, steps, promised in CASES:
        one_round(shape, max(1, steps // 10))
        pairs = [one_round(shape, steps) for _ in range(rounds)]
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {', '.join(map(str, shape))} | {ours:,.0f} | {theirs:,.0f} | {ratio:.1f}x | {promised:g}x |")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
