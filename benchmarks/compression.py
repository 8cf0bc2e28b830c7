"""Compression of trained networks on digits: exact where samples are fewer than neurons, a curve where they are not.

Fewest neurons and smallest norm (multi-task lasso) side by side, with accuracy on digits that were not used.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/compression.py [--steps 1500] [--seeds 3]
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from steppe.data import handwritten_digits
from steppe.solvers import Compression, compress, compression_curve

TOLERANCES = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2)


def data(n: int, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """N digits and 600 others, pixels 0 to 1, one-hot labels."""
    x, labels = handwritten_digits()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    x, y = x[order] / 16, nn.functional.one_hot(labels[order], 10).double()
    return (x[:n], y[:n]), (x[-600:], y[-600:])


def trained(used: tuple[Tensor, Tensor], width: int, steps: int, seed: int) -> nn.Sequential:
    """Adam with weight decay on the mean square."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(used[0]), used[1]).backward()
        optimizer.step()
    return model


def accuracy(model: nn.Module, held: tuple[Tensor, Tensor]) -> float:
    """Share of digits that are classified rightly."""
    with torch.no_grad():
        return float((model(held[0]).argmax(1) == held[1].argmax(1)).double().mean())


def exact(steps: int, seeds: int) -> bool:
    """Width 1000 on 80 digits: at most 80 neurons, outputs within 1e-6; whether that was met."""
    print("width 1000 on 80 digits, tolerance 1e-6")
    print("| seed | method | neurons | change | norm × | accuracy before, now | CPU s |")
    print("|---|---|---|---|---|---|---|")
    met = True
    for seed in range(seeds):
        used, held = data(80, seed)
        model = trained(used, 1000, steps, seed)
        for method in ("fewest-neurons", "smallest-norm"):
            start = time.process_time()
            found = compress(model, used, tolerance=1e-6, method=method, held_out=held)
            seconds = time.process_time() - start
            line = found.layers[0]
            print(
                f"| {seed} | {method} | {found.neurons_after} | {found.change.relative:.1e} | "
                f"{line.norm_after / line.norm_before:.2f} | {accuracy(model, held):.3f}, "
                f"{accuracy(found.model, held):.3f} | {seconds:.2f} |"
            )
            met &= found.met and (method != "fewest-neurons" or found.neurons_after <= 80)
    print(f"at most 80 neurons within 1e-6: {'yes' if met else 'NO'}\n")
    return met


def curve(steps: int, seeds: int) -> None:
    """Width 200 on 600 digits: neurons left at each tolerance, medians over seeds."""
    print("width 200 on 600 digits, medians; neurons left (change on 600 held-out digits, accuracy there)")
    print("| tolerance | fewest neurons | smallest norm |")
    print("|---|---|---|")
    table: dict[str, list[list[tuple[int, float, float]]]] = {}
    for seed in range(seeds):
        used, held = data(600, seed)
        model = trained(used, 200, steps, seed)
        for method in ("fewest-neurons", "smallest-norm"):
            found = compression_curve(model, used, TOLERANCES, method=method, held_out=held)
            table.setdefault(method, []).append([_point(one, held) for one in found.compressions])
    for place, tolerance in enumerate(TOLERANCES):
        cells = []
        for method in ("fewest-neurons", "smallest-norm"):
            neurons, change, right = zip(*(run[place] for run in table[method]), strict=True)
            medians = [statistics.median(values) for values in (neurons, change, right)]
            cells.append(f"{medians[0]:.0f} ({medians[1]:.1e}, {medians[2]:.3f})")
        print(f"| {tolerance:g} | {cells[0]} | {cells[1]} |")


def _point(found: Compression, held: tuple[Tensor, Tensor]) -> tuple[int, float, float]:
    change = found.held_out.relative if found.held_out else float("nan")
    return found.neurons_after, change, accuracy(found.model, held)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    met = exact(given.steps, given.seeds)
    curve(given.steps, given.seeds)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
