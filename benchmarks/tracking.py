"""What following the sharpness along a training costs: products per check, residuals, and the accuracy claimed.

Gradient descent and Adam run at the edge of stability on the three workloads (`workloads.py`), with a check at every
step or every tenth. A run starts with a tenth of the step size that the limit allows (2/S for gradient descent, 38/S
for Adam with S preconditioned) and trains until the sharpness has risen to the limit, at most `--approach` steps; then
the step size is set to 0.98 of the limit. Gradient descent is held there, its step size set again after each check;
Adam, whose preconditioner remembers the steps before, goes on with its step size until a check finds it beyond the
limit, and is then set back to 0.98 of it; with `--fixed` both keep one step size and may diverge, which ends a run.
The checks counted come after the approach, the cold first one among them. Printed for each run:

* the mean number of products per check and the largest (target: mean at most 2.1);
* the largest residual relative to the value (target: at most 1e-2, always);
* the share of checks that claim 1e-3 (Kato–Temple with the estimated gap);
* with `--truth`, the largest error against a cold search to 1e-8, for all checks and for those that claim 1e-3;
* how the sharpness stands to its limit, mean over the run, and the time of the checks per time of training.

    python benchmarks/tracking.py [--workloads mlp,gpt,resnet] [--checks 40] [--every 1,10] [--truth]
"""

import argparse
import time
from typing import Any

import torch
from workloads import WORKLOADS

from steppe.core import ComputationError
from steppe.curvature import SharpnessTracker, stability_limit

torch.set_num_threads(1)
START = 0.1  # part of the limit that the first step size is
MEET = 0.98  # part of the limit that the sharpness is held at


def optimizer_of(kind: str, model: Any) -> torch.optim.Optimizer:
    """Gradient descent or Adam."""
    if kind == "gd":
        return torch.optim.SGD(model.parameters(), lr=1e-2)
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def to_the_edge(optimizer: torch.optim.Optimizer, sharpness: float) -> None:
    """Set the step size to `MEET` of its limit at this sharpness."""
    factor = MEET * float(stability_limit(optimizer)) / sharpness
    for group in optimizer.param_groups:
        group["lr"] *= factor


def train(optimizer: torch.optim.Optimizer, model: Any, loss: Any, data: Any, steps: int) -> float:
    """Seconds that so many full-batch steps take."""
    began = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - began


def run(
    name: str, kind: str, every: int, checks: int, *, approach: int, fixed: bool, truth: bool, small: bool
) -> dict[str, float]:
    """One training with a check after every `every` steps."""
    model, loss, data = WORKLOADS[name](small=small)
    optimizer = optimizer_of(kind, model)
    train(optimizer, model, loss, data, 10)
    start = SharpnessTracker(model, loss, data, optimizer=optimizer)
    to_the_edge(optimizer, start.measure().value / START)
    for _ in range(approach // 10):
        train(optimizer, model, loss, data, 10)
        if start.measure().value >= MEET * float(stability_limit(optimizer)):
            break
    to_the_edge(optimizer, start.history[-1].value)
    tracker = SharpnessTracker(model, loss, data, optimizer=optimizer)
    training, margins, errors, claimed = 0.0, [], [], []
    for check in range(checks):
        training += train(optimizer, model, loss, data, every)
        try:
            found = tracker.measure(check * every)
        except ComputationError:
            print(f"{name} {kind}: diverged at check {check}", flush=True)
            break
        margins.append(found.value / float(stability_limit(optimizer)))
        if not fixed and (kind == "gd" or margins[-1] > 1):
            to_the_edge(optimizer, found.value)
        if truth:
            exact = SharpnessTracker(model, loss, data, rtol=1e-6, optimizer=optimizer, seed=1 + check).measure()
            errors.append(abs(found.value - exact.value) / exact.value)
            if tracker.history[-1].claims(1e-3):
                claimed.append(errors[-1])
    history = tracker.history
    if len(history) < 2:
        return {"checks": len(history)}
    return {
        "checks": len(history),
        "mean products": sum(check.products for check in history) / len(history),
        "mean warm": sum(check.products for check in history[1:]) / max(len(history) - 1, 1),
        "max warm": max(check.products for check in history[1:]),
        "max residual": max(check.residual / abs(check.value) for check in history),
        "share 1e-3": sum(check.claims(1e-3) for check in history) / len(history),
        "max error": max(errors, default=float("nan")),
        "max error claimed": max(claimed, default=float("nan")),
        "margin": sum(margins) / len(margins),
        "overhead": tracker.pacing.measuring / training,
    }


def main() -> None:
    """Run all and print one line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default="mlp,gpt,resnet")
    parser.add_argument("--optimizers", default="gd,adam")
    parser.add_argument("--every", default="1,10")
    parser.add_argument("--checks", type=int, default=40)
    parser.add_argument("--approach", type=int, default=200, help="steps in which the edge may be met by itself")
    parser.add_argument("--fixed", action="store_true", help="do not let the step size follow the limit")
    parser.add_argument("--small", action="store_true", help="gpt and resnet small enough for 10 ms a product")
    parser.add_argument("--truth", action="store_true", help="compare every check with a cold search")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, one thread, {options.checks} checks a run, the cold first one included")
    for name in options.workloads.split(","):
        for kind in options.optimizers.split(","):
            for every in map(int, options.every.split(",")):
                found = run(
                    name,
                    kind,
                    every,
                    options.checks,
                    approach=options.approach,
                    fixed=options.fixed,
                    truth=options.truth,
                    small=options.small,
                )
                numbers = ", ".join(f"{word} {value:.3g}" for word, value in found.items())
                print(f"{name:6} {kind:4} every {every:2}: {numbers}", flush=True)


if __name__ == "__main__":
    main()
