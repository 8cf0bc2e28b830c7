"""Half-space depth of many points: blocks of directions against one direction after the other, and the plane.

10⁵ Gaussian points in d = 50 within themselves, 1000 random directions; and 10⁴ points of the plane within themselves,
exactly. The loop takes each direction by itself: project, sort, two searches. Both sides get the same directions and
must give the same depths. Each side runs in its own process, `rounds` times in turn: wall and CPU seconds are medians,
the peak is that of the resident memory, data included.

    python benchmarks/depth.py [--points 100000] [--directions 1000] [--threads 2] [--rounds 3]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor

from steppe.activations import half_space_depth, half_space_depth_bound

D = 50
PLANE = 10_000


def loop(x: Tensor, u: Tensor) -> Tensor:
    """One direction at a time."""
    n, depth = len(x), torch.ones(len(x), dtype=torch.float64)
    for direction in u:
        at = x @ direction
        z = at.sort().values
        below, above = torch.searchsorted(z, at, right=True), n - torch.searchsorted(z, at)
        depth = torch.minimum(depth, torch.minimum(below, above).double() / n)
    return depth


def measured(side: str, points: int, directions: int, threads: int) -> dict[str, Any]:
    """One side, once, in this process."""
    torch.set_num_threads(threads)
    rng = torch.Generator().manual_seed(0)
    d = 2 if side == "plane" else D
    x = torch.randn(points, d, generator=rng, dtype=torch.float64)
    u = torch.randn(directions, d, generator=rng, dtype=torch.float64)
    u /= u.norm(dim=1, keepdim=True)
    wall, cpu = time.perf_counter(), time.process_time()
    if side == "plane":
        depth = half_space_depth(x, x)
    else:
        depth = loop(x, u) if side == "loop" else half_space_depth_bound(x, x, directions=u)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"wall": wall, "cpu": cpu, "peak": peak, "area": float(depth.mean())}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--directions", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["blocks", "loop", "plane"])
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(measured(asked.side, asked.points, asked.directions, asked.threads)))
        return
    found: dict[str, list[dict[str, Any]]] = {"blocks": [], "loop": [], "plane": []}
    for _ in range(asked.rounds):
        for side, rounds in found.items():
            points = PLANE if side == "plane" else asked.points
            options = {"side": side, "points": points, "directions": asked.directions, "threads": asked.threads}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            run = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            rounds.append(json.loads(run.stdout))
    print("| side | wall, s | CPU, s | peak, GiB | mean depth |\n|---|---|---|---|---|")
    for side, rounds in found.items():
        wall, cpu, peak = (statistics.median(r[key] for r in rounds) for key in ("wall", "cpu", "peak"))
        print(f"| {side} | {wall:.1f} | {cpu:.1f} | {peak:.2f} | {rounds[0]['area']:.6f} |")
    assert abs(found["blocks"][0]["area"] - found["loop"][0]["area"]) < 1e-12, "the two sides must agree"


if __name__ == "__main__":
    main()
