"""One process of a group, started by test_curvature_distributed: runs a scenario and writes what it saw as JSON."""

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

from steppe.core import CrossEntropy, SquaredLoss
from steppe.curvature import (
    diagonal,
    eigenvalues,
    fisher,
    gauss_newton,
    hessian,
    preconditioned_sharpness,
    sharded,
    sharpness,
    trace,
)
from steppe.networks import ShallowReLU

N = 23


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem():
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=index))
    x = randn(N, 3, seed=50)
    return model, x, randn(N, 4, seed=51), torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(52))


def share_of(rank, world):
    """Uneven shards that cover the data."""
    ends = [0, *[N * (i + 1) ** 2 // world**2 for i in range(world)]]
    return slice(ends[rank], ends[rank + 1])


def quantities(make, model):
    """The same numbers from one process and from many; `make(kind)` gives the operator."""
    found = {}
    h = make("hessian")
    found["sharpness"] = float(sharpness(h, rtol=1e-10))
    found["smallest"] = [float(v) for v in eigenvalues(h, 2, which="smallest", rtol=1e-10).values]
    found["trace"] = float(trace(h))
    found["diagonal"] = diagonal(h).tolist()
    found["product"] = (h @ randn(h.shape[0], seed=7)).tolist()
    found["gauss_newton"] = float(sharpness(make("gauss_newton"), rtol=1e-10))
    found["fisher"] = [float(trace(make(kind))) for kind in ("true", "empirical", "sampled")]
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.step()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), before, strict=True):
            parameter.copy_(value)
    found["preconditioned"] = float(preconditioned_sharpness(make("hessian"), optimizer=optimizer, rtol=1e-10))
    return found


def operators(model, x, y, labels):
    def make(kind):
        if kind == "hessian":
            return hessian(model, SquaredLoss(), (x, y))
        if kind == "gauss_newton":
            return gauss_newton(model, nn.CrossEntropyLoss(), (x, labels))
        return fisher(model, CrossEntropy(), (x, labels), kind=kind, seed=3)

    return make


def agreement(rank, world):
    model, x, y, labels = problem()
    part = share_of(rank, world)
    inner = nn.parallel.DistributedDataParallel(model) if world == 2 else model
    hooked = []
    if world == 2:
        inner.register_comm_hook(None, lambda state, bucket: hooked.append(1) or _summed(bucket))
    local = operators(inner, x[part], y[part], labels[part])
    found = quantities(lambda kind: sharded(lambda: local(kind)), model)
    found["convention"] = sharded(local("hessian")).convention
    found["hooks"] = len(hooked)
    if world == 2:  # training goes on
        inner.zero_grad()
        SquaredLoss()(inner(x[part]), y[part]).backward()
        found["hooks after training"] = len(hooked)
    return found


def _summed(bucket):
    future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def shallow(rank, world):
    """Closed forms, a process without data, batches in lists, losses that sum, and single precision."""
    _, x, y, _ = problem()
    network, target = ShallowReLU(3, 5, seed=1), y[:, :1].contiguous()
    half = N // 2
    mine = {0: slice(0, half), 1: slice(half, N)}.get(rank)
    operator = sharded(None if mine is None else hessian(network, SquaredLoss(), (x[mine], target[mine])))
    found = {
        "sharpness": float(sharpness(operator, rtol=1e-10)),
        "trace": float(trace(operator)),
        "diagonal": diagonal(operator).tolist(),
        "backend": operator.backend,
        "convention": operator.convention,
        "names": operator.names,
        "kind": operator.kind,
        "weight": operator.weight,
    }
    model, x, y, _ = problem()
    if mine is not None:
        batches = [(x[mine][:3], y[mine][:3]), (x[mine][3:], y[mine][3:])]
    summed = sharded(None if mine is None else hessian(model, nn.MSELoss(reduction="sum"), batches))
    found["summed"] = float(sharpness(summed, rtol=1e-10))
    found["agree"] = [operator.agree(rank == 0), operator.agree(False)]
    return found


def stopped_by_one_clock(rank, world):
    """Products of a trace whose budget ends in one process alone."""
    model, x, y, _ = problem()
    part = share_of(rank, world)
    operator = sharded(hessian(model, SquaredLoss(), (x[part], y[part])))
    budget = 0.3 if rank == 1 else 1000.0
    return trace(operator, rtol=1e-9, budget=budget, max_products=10**6).products


def failures(rank, world):
    """What goes wrong in one process becomes an error in all."""
    model, x, y, _ = problem()
    part = share_of(rank, world)
    local = hessian(model, SquaredLoss(), (x[part], y[part]))

    def message(action):
        try:
            action()
        except Exception as error:  # the parent judges it
            return f"{type(error).__name__}: {error}"
        return "no error"

    found = {}
    empty = slice(0, 0) if rank == 1 else part
    found["one fails to build"] = message(lambda: sharded(lambda: hessian(model, SquaredLoss(), (x[empty], y[empty]))))
    operator = sharded(local)
    v = torch.ones(operator.shape[0], dtype=torch.float64)
    found["different vectors"] = message(lambda: operator @ (v * (1 + rank)))
    found["different blocks"] = message(lambda: operator @ torch.ones(len(v), 1 + rank, dtype=torch.float64))
    found["works again"] = message(lambda: operator @ v)
    if rank == 1:
        broken = sharded(local)
        broken.local._product = lambda block: 1 / 0
        found["one product fails"] = message(lambda: broken @ v)
        local = hessian(model, SquaredLoss(), (x[part], y[part]))
    else:
        found["one product fails"] = message(lambda: sharded(local) @ v)
    other = nn.MSELoss() if rank == 1 else SquaredLoss()
    found["different losses"] = message(lambda: sharded(hessian(model, other, (x[part], y[part]))))
    with torch.no_grad():
        model[0].bias[2] += 1e-15 * rank
    found["different parameters"] = message(lambda: sharded(hessian(model, SquaredLoss(), (x[part], y[part]))))
    found["no data anywhere"] = message(lambda: sharded(None))
    found["no operator"] = message(lambda: sharded(model))
    found["stopped by the clock"] = stopped_by_one_clock(rank, world)
    return found


def main() -> None:
    scenario, rank, world, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    found = {"agreement": agreement, "shallow": shallow, "failures": failures}[scenario](rank, world)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
