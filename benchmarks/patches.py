"""Networks of patches: training and Hessian products against plain PyTorch, all sides in one run.

    python benchmarks/patches.py

n = 1024 images of 12 × 12 × 3 pixels, 3 × 3 patches of 27 numbers at 100 positions, width 256, squared loss. The
PyTorch side is what people write: nn.Conv2d (or unfold and a linear layer), ReLU, mean, nn.Linear, autograd and
torch.optim.SGD; for products, a retained double backward. Each round times every side once; medians over the rounds,
and medians of the ratios of a round. `--processor` measures processor time instead of wall time.
"""

import argparse
import datetime
import os
import statistics
import time
from collections.abc import Callable

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from training_throughput import processor

from steppe.core import SquaredLoss
from steppe.curvature import hessian
from steppe.networks import PatchReLU, patch_indices
from steppe.training import gradient_descent

N, SIDE, WIDTH, STEP_SIZE = 1024, 12, 256, 0.1
STEPS = {"kernel": 8, "torch": 3, "loop": 2}


class Unfolded(nn.Module):
    """The same network by unfold and one linear layer."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.filters = nn.Linear(27, WIDTH, dtype=conv.weight.dtype)
        self.filters.load_state_dict({"weight": conv.weight.detach().flatten(1), "bias": conv.bias.detach()})

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - said by the class
        return self.filters(nn.functional.unfold(x, 3).transpose(1, 2)).relu().mean(dim=1)


class Pooled(nn.Module):
    """The mean over the positions."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - said by the class
        return x.mean(dim=(2, 3))


def modules(network: PatchReLU) -> dict[str, nn.Module]:
    conv = nn.Conv2d(3, WIDTH, 3, dtype=network.w.dtype)
    heads = [nn.Linear(WIDTH, 1, dtype=network.w.dtype) for _ in range(2)]
    with torch.no_grad():
        conv.weight.copy_(network.w.view_as(conv.weight))
        conv.bias.copy_(-network.b)
        for head in heads:
            head.weight.copy_(network.v)
            head.bias.copy_(network.output_bias)
    unfolded = nn.Sequential(Unfolded(conv), heads[1])
    return {"conv": nn.Sequential(conv, nn.ReLU(), Pooled(), heads[0]), "unfold": unfolded}


def loop(module: nn.Module, x: Tensor, y: Tensor, steps: int) -> float:
    optimiser = torch.optim.SGD(module.parameters(), lr=STEP_SIZE)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = 0.5 * (module(x) - y).square().mean()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return 0.5 * float((module(x) - y).square().mean())


def double_backward(module: nn.Module, x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    parameters = list(module.parameters())
    gradient = torch.autograd.grad(0.5 * (module(x) - y).square().mean(), parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])

    def product(vector: Tensor) -> Tensor:
        found = torch.autograd.grad(flat, parameters, vector, retain_graph=True)
        return torch.cat([g.reshape(-1) for g in found])

    return product


def seconds(clock: Callable[[], float], call: Callable[[], object], count: int) -> float:
    began = clock()
    call()
    return (clock() - began) / count


def round_of(dtype: torch.dtype, clock: Callable[[], float], kernels: str) -> dict[str, float]:
    network = PatchReLU(patch_indices(SIDE, SIDE, 3, 3), WIDTH, dtype=dtype)
    x = torch.randn(N, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0), dtype=dtype)
    y, images = x[:, :1], x.view(N, 3, SIDE, SIDE)
    times, losses = {}, {}
    for name in ("kernel", "torch"):
        os.environ["STEPPE_KERNELS"] = kernels if name == "kernel" else "off"
        own, steps = network.copy(), STEPS[name]
        times[name] = seconds(
            clock, lambda own=own, steps=steps: gradient_descent(own, x, y, step_size=STEP_SIZE, steps=steps), steps
        )
        own = network.copy()
        losses[name] = gradient_descent(own, x, y, step_size=STEP_SIZE, steps=STEPS["loop"]).final_loss
    for name, module in modules(network).items():
        times[name] = seconds(
            clock, lambda m=module, name=name: losses.update({name: loop(m, images, y, STEPS["loop"])}), STEPS["loop"]
        )
    assert max(losses.values()) - min(losses.values()) < 1e-4 * losses["conv"], losses  # all sides do the same work
    return times | products(network, x, y, images, clock)


def products(network: PatchReLU, x: Tensor, y: Tensor, images: Tensor, clock: Callable[[], float]) -> dict[str, float]:
    operator = hessian(network, SquaredLoss(), (x, y), dtype=network.w.dtype)
    block = torch.randn(operator.shape[0], 8, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    theirs = double_backward(modules(network)["conv"], images, y)
    sign = torch.cat([torch.full_like(p, -1.0 if p is network.b else 1.0).flatten() for p in network.parameters()])
    ours, reference = operator @ block[:, 0], sign * theirs(sign * block[:, 0])
    assert float((ours - reference).norm() / reference.norm()) < 1e-3  # one threshold crossed by rounding moves it
    return {
        "double backward": seconds(clock, lambda: theirs(block[:, 0]), 1),
        "product": seconds(clock, lambda: operator @ block[:, 0], 1),
        "block of 8": seconds(clock, lambda: operator @ block, 8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instructions", default="", help="avx512, avx2 or plain; the fastest if not given")
    parser.add_argument("--processor", action="store_true", help="processor time, on a machine that is busy")
    given = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time if given.processor else time.perf_counter
    today = datetime.datetime.now(datetime.UTC).date()
    print(f"{today}, {processor()}, {given.rounds} rounds, torch {torch.__version__}; ms per step or product\n")
    print("| dtype | side | ms | faster than PyTorch | wanted |\n|---|---|---|---|---|")
    for dtype in (torch.float32, torch.float64):
        rounds = [round_of(dtype, clock, given.instructions) for _ in range(given.rounds)]
        for side in rounds[0]:
            against = "double backward" if side in ("double backward", "product", "block of 8") else "loop"
            # The faster of the two loops is the one to beat.
            ratios = [(r[against] if against in r else min(r["conv"], r["unfold"])) / r[side] for r in rounds]
            wanted = {"kernel": "5x"}.get(side, "")
            name, ms = str(dtype).removeprefix("torch."), 1e3 * statistics.median(r[side] for r in rounds)
            print(f"| {name} | {side} | {ms:.1f} | {statistics.median(ratios):.1f}x | {wanted} |", flush=True)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
