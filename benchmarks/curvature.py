"""Curvature: products, sharpness, trace, spectrum and memory, against a bare loop and the peers, all sides in one run.

    make peers
    OMP_NUM_THREADS=1 .venv-peers/bin/python benchmarks/curvature.py

Every table takes all its sides in alternating rounds on one thread and shows medians; ratios are medians of the ratios
of a round. `--only` selects sections: products, sharpness, closed-form need a quiet machine; accuracy, top5, trace,
memory count products and errors, which do not depend on the load. Peers that are not installed are left out with a
message.
The models stand in `workloads.py`, what peers are asked in `peers.py`.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import counts
import peers
import torch
from torch import Tensor
from workloads import WORKLOADS, Workload, mlp

from steppe import __version__
from steppe.core import generator
from steppe.curvature import diagonal, gauss_newton, gauss_newton_spectrum, hessian, sharpness, trace
from steppe.networks import ShallowReLU

Call = Callable[[], Any]
BLOCK = 8


def seconds(call: Call) -> float:
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def rounds_of(calls: dict[str, Call], rounds: int, *, warm: bool = True) -> dict[str, list[float]]:
    """Times of every call in alternating rounds, one untimed call of each before."""
    for call in calls.values() if warm else ():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return times


def ratio(times: dict[str, list[float]], above: str, below: str) -> float | None:
    if above not in times or below not in times:
        return None
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def shown(value: float | None, unit: str = "x", digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def table(*columns: str) -> None:
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def double_backward(work: Workload) -> Callable[[Tensor], Tensor]:
    """The plain retained product, written out: no checks, nothing of the library."""
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    loss = work.loss(work.model(work.data[0]), work.data[1])
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    sizes = [parameter.numel() for parameter in parameters]

    def product(vector: Tensor) -> Tensor:
        parts = [part.view_as(p) for part, p in zip(vector.split(sizes), parameters, strict=True)]
        image = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image])

    return product


def vector_for(work: Workload, columns: int = 0) -> Tensor:
    size = sum(p.numel() for p in work.model.parameters())
    shape = (size, columns) if columns else (size,)
    return torch.randn(*shape, generator=generator("core.test", 1)).to(work.data[0].device)


def products(given: argparse.Namespace) -> None:
    """One Hessian product; wanted: at most 1.10x the bare one, peers at least 1.5x slower."""
    peer_columns = [f"{peer} / steppe (≥ 1.5)" for peer in ("HET", "curvlinops")]
    columns = ["bare, ms", "steppe, ms", "/ bare (≤ 1.10)", *peer_columns, "PyHessian / steppe", "backend", "agree to"]
    table("Hessian product", *columns)
    for name in given.workloads:
        work = WORKLOADS[name]()
        vector, bare, operator = vector_for(work), double_backward(work), hessian(*work)
        calls: dict[str, Call] = {"bare": lambda p=bare, v=vector: p(v), "steppe": lambda o=operator, v=vector: o @ v}
        calls |= {n: lambda p=p, v=vector: p @ v for n, p in built(work, "Hessian").items()}
        reference = bare(vector)
        error = max(float((call() - reference).norm() / reference.norm()) for call in calls.values())
        times = rounds_of(calls, given.rounds)
        against = [shown(ratio(times, peer, "steppe")) for peer in ("HET", "curvlinops", "PyHessian")]
        ms = [f"{1e3 * statistics.median(times[side]):.2f}" for side in ("bare", "steppe")]
        row(name, *ms, shown(ratio(times, "steppe", "bare")), *against, operator.backend, f"{error:.0e}")
    table("Gauss–Newton product", "steppe, ms", "/ bare Hessian product", "HET / steppe", "curvlinops / steppe")
    for name in given.workloads:
        work = WORKLOADS[name]()
        vector, bare, operator = vector_for(work), double_backward(work), gauss_newton(*work)
        calls = {"bare": lambda p=bare, v=vector: p(v), "steppe": lambda o=operator, v=vector: o @ v}
        calls |= {n: lambda p=p, v=vector: p @ v for n, p in built(work, "Gauss–Newton").items()}
        times = rounds_of(calls, given.rounds)
        against = [shown(ratio(times, peer, "steppe")) for peer in ("HET", "curvlinops")]
        row(name, f"{1e3 * statistics.median(times['steppe']):.2f}", shown(ratio(times, "steppe", "bare")), *against)


def built(work: Workload, kind: str) -> dict[str, Any]:
    """The operators of the peers that are installed."""
    found: dict[str, Any] = {}
    if peers.installed("hessian_eigenthings"):
        found["HET"] = peers.EigenThings(work, kind=kind)
    if peers.installed("curvlinops"):
        found["curvlinops"] = peers.Curvlinops(work, kind=kind)
    if peers.installed("pyhessian") and kind == "Hessian" and work.data[0].device.type == "cpu":
        found["PyHessian"] = peers.PyHessian(work)
    return found


def sharpness_times(given: argparse.Namespace) -> None:
    """Sharpness to 1e-3 from model, loss and data, with the building of the operator on every side."""
    table("sharpness to 1e-3", "steppe, s", "products", "printed", "curvlinops + eigsh / steppe (≥ 3)",
          "HET, 20 steps / steppe (≥ 2)", "PyHessian / steppe", "errors: steppe, eigsh, HET, PyHessian")  # fmt: skip
    for name in given.workloads:
        work = WORKLOADS[name]()
        seeds = iter(range(10_000))
        found: dict[str, list[Any]] = {}
        calls: dict[str, Call] = {"steppe": lambda w=work, s=seeds: sharpness(*w, rtol=1e-3, seed=next(s))}
        if peers.installed("curvlinops"):
            calls["curvlinops"] = lambda w=work: peers.Curvlinops(w).sharpness()
        if peers.installed("hessian_eigenthings"):
            calls["HET"] = lambda w=work: peers.EigenThings(w).sharpness()
        if peers.installed("pyhessian") and work.data[0].device.type == "cpu":
            calls["PyHessian"] = lambda w=work: powered(w)
        kept = {n: lambda n=n, c=c, k=found: k.setdefault(n, []).append(c()) for n, c in calls.items()}
        times = rounds_of(kept, given.rounds if name == "mlp" else given.long_rounds, warm=name == "mlp")
        truth = counts.reference(work, 1)[0]
        errors = [max(abs(float(v) - truth) / truth for v in values) for values in found.values()]
        ours = found["steppe"]
        against = [shown(ratio(times, peer, "steppe")) for peer in ("curvlinops", "HET", "PyHessian")]
        row(name, f"{statistics.median(times['steppe']):.3f}", f"{statistics.mean(e.products for e in ours):.1f}",
            f"{ours[0].value:.6g} ± {ours[0].error:.2g}", *against, ", ".join(f"{e:.0e}" for e in errors))  # fmt: skip


def powered(work: Workload) -> float:
    peer = peers.PyHessian(work)
    value = peer.sharpness()
    peer.release()
    return value


def closed_form(given: argparse.Namespace) -> None:
    """The two-layer network in closed form: products in blocks, exact diagonal and trace, exact spectrum."""
    work = mlp()
    network = ShallowReLU.from_sequential(work.model)
    problem = (network, work.loss, work.data)
    operator, block = hessian(*problem, dtype=torch.float32), vector_for(work, BLOCK)
    calls: dict[str, Call] = {"steppe": lambda: operator @ block}
    if peers.installed("curvlinops"):
        peer = peers.Curvlinops(work)
        calls["curvlinops"] = lambda: peer @ block
    times = rounds_of(calls, given.rounds)
    table(f"closed form, mlp, blocks of {BLOCK}", "ms per vector", "/ steppe", "wanted")
    for side, taken in times.items():
        wanted = "≥ 25" if side == "curvlinops" else ""
        ms = f"{1e3 * statistics.median(taken) / BLOCK:.2f}"
        row(side, ms, shown(ratio(times, side, "steppe"), digits=1), wanted)
    estimators(given, problem, work)
    spectra: dict[str, Call] = {
        "steppe, exact": lambda: gauss_newton_spectrum(*problem, dtype=torch.float32),
        "steppe, exact in float64": lambda: gauss_newton_spectrum(*problem),
    }
    if peers.installed("curvlinops"):
        spectra["curvlinops density, default bounds, ncv=40"] = lambda: peers.Curvlinops(work).density()
    times = rounds_of(spectra, given.long_rounds)
    table("spectrum, mlp", "s", "/ steppe", "wanted")
    for side, taken in times.items():
        wanted = "≥ 15" if "curvlinops" in side else ""
        row(side, f"{statistics.median(taken):.3f}", shown(ratio(times, side, "steppe, exact"), digits=1), wanted)


def estimators(given: argparse.Namespace, problem: Any, work: Workload) -> None:
    """Exact diagonal and trace against what stochastic peers need for 4 % error, as averages of equal calls."""
    exact = {
        "trace": lambda: trace(hessian(*problem, dtype=torch.float32)),
        "diagonal": lambda: diagonal(hessian(*problem, dtype=torch.float32)),
    }
    ours = {name: statistics.median(rounds_of({name: call}, given.rounds)[name]) for name, call in exact.items()}
    truth = {"trace": torch.tensor(exact["trace"]().value), "diagonal": exact["diagonal"]()}
    table("mlp, to 4 % error", "products a call", "error of a call", "s a call", "s for 4 %", "/ exact", "wanted")
    for name, taken in ours.items():
        row(f"steppe, exact {name}", "0", "rounding", f"{taken:.4f}", f"{taken:.4f}", "1", "")
    sources = {
        "curvlinops": peers.curvlinops_estimators,
        "hessian_eigenthings": peers.eigenthings_estimators,
        "pyhessian": peers.pyhessian_estimators,
    }
    for library, make in sources.items():
        if not peers.installed(library):
            continue
        best: dict[str, tuple[float, tuple[str, ...]]] = {}
        for count in (12, 48):
            for name, (quantity, call) in make(work, count).items():
                taken, error = trials(call, truth[quantity], given.trials)
                needed = taken * max(1.0, (error / 0.04) ** 2)
                times = f"{taken:.3f}", f"{needed:.2f}", f"{needed / ours[quantity]:.0f}x"
                if name not in best or needed < best[name][0]:
                    best[name] = (needed, (name, str(count), f"{100 * error:.1f} %", *times, "≥ 100"))
        for _, cells in best.values():
            row(*cells)


def trials(call: Call, truth: Tensor, count: int) -> tuple[float, float]:
    """Median time of a stochastic call and its relative error, root mean square."""
    times, errors = [], []
    for _ in range(count):
        found: list[Any] = []
        times.append(seconds(lambda kept=found: kept.append(call())))
        errors.append(float((torch.as_tensor(found[0]).double() - truth).norm() / truth.norm()))
    return statistics.median(times), statistics.mean(e**2 for e in errors) ** 0.5


def on_gpu(given: argparse.Namespace) -> None:
    """Products one by one and in blocks, and sharpness, on a CUDA device."""
    if not torch.cuda.is_available():
        raise SystemExit("--gpu needs a CUDA device that torch can use; this machine has none")
    print(f"\n{torch.cuda.get_device_name(0)}, float32")
    columns = [
        "bare, ms",
        "steppe / bare",
        f"block of {BLOCK}, per vector / bare",
        "HET / steppe",
        "curvlinops / steppe",
    ]
    columns += ["sharpness, s", "curvlinops + eigsh / steppe", "HET, 20 steps / steppe", "peak, 64 probes / 2 probes"]
    table("on the GPU", *columns)
    for name in given.workloads:
        work = WORKLOADS[name]()
        work = Workload(work.model.cuda(), work.loss, tuple(t.cuda() for t in work.data))
        vector, block, bare, operator = vector_for(work), vector_for(work, BLOCK), double_backward(work), hessian(*work)
        calls: dict[str, Call] = {"bare": lambda p=bare, v=vector: p(v), "steppe": lambda o=operator, v=vector: o @ v}
        calls |= {n: lambda p=p, v=vector: p @ v for n, p in built(work, "Hessian").items()}
        calls["block"] = lambda o=operator, b=block: o @ b
        times = rounds_of(calls, given.rounds)
        whole: dict[str, Call] = {"steppe": lambda w=work: sharpness(*w, rtol=1e-3)}
        if peers.installed("curvlinops"):
            whole["curvlinops"] = lambda w=work: peers.Curvlinops(w).sharpness()
        if peers.installed("hessian_eigenthings"):
            whole["HET"] = lambda w=work: peers.EigenThings(w).sharpness()
        long = rounds_of(whole, given.long_rounds)
        per_vector = statistics.median(b / a / BLOCK for b, a in zip(times["block"], times["bare"], strict=True))
        cells = [
            f"{1e3 * statistics.median(times['bare']):.2f}",
            shown(ratio(times, "steppe", "bare")),
            shown(per_vector),
        ]
        cells += [shown(ratio(times, peer, "steppe")) for peer in ("HET", "curvlinops")]
        cells += [f"{statistics.median(long['steppe']):.3f}"]
        cells += [shown(ratio(long, peer, "steppe")) for peer in ("curvlinops", "HET")]
        row(name, *cells, shown(gpu_memory(work)))


def gpu_memory(work: Workload) -> float:
    """Peak of 64 probes over the peak of one product."""
    peaks = []
    for probes in (2, 64):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trace(*work, probes=probes)
        peaks.append(torch.cuda.max_memory_allocated())
    return peaks[1] / peaks[0]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "products": products,
    "sharpness": sharpness_times,
    "closed-form": closed_form,
    "accuracy": counts.accuracy,
    "top5": counts.top5,
    "trace": counts.traces,
    "memory": counts.memory,
}


def chosen(text: str, known: Iterable[str]) -> list[str]:
    names = text.split(",") if text else list(known)
    if wrong := [name for name in names if name not in known]:
        raise SystemExit(f"unknown: {', '.join(wrong)}; choose from {', '.join(known)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"sections, separated by commas: {', '.join(SECTIONS)}")
    parser.add_argument("--workloads", default="", help="mlp, gpt, resnet")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--long-rounds", type=int, default=3, help="rounds where one takes many seconds")
    parser.add_argument("--trials", type=int, default=5, help="calls of each stochastic peer")
    parser.add_argument("--seeds", type=int, default=300, help="runs on mlp and on the small models")
    parser.add_argument("--full-seeds", type=int, default=20, help="runs on the full models")
    parser.add_argument("--quick", action="store_true", help="3 rounds and few seeds, to see that it works")
    parser.add_argument("--gpu", action="store_true", help="measure a CUDA device instead")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak:
        counts.one_peak(given.peak)
        return
    if given.quick:
        given.rounds, given.long_rounds, given.trials, given.seeds, given.full_seeds = 3, 1, 2, 6, 1
    given.workloads = chosen(given.workloads, WORKLOADS)
    rounds = f"medians of {given.rounds} ({given.long_rounds}) rounds"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, steppe {__version__}"
    print(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, 1 thread, {rounds}; {versions}")
    for module, name in peers.NAMES.items():
        if not peers.installed(module):
            print(f"{name} is not installed here: its columns are left out (make peers)")
    if given.gpu:
        on_gpu(given)
        return
    for name in chosen(given.only, SECTIONS):
        SECTIONS[name](given)


if __name__ == "__main__":
    main()
