"""The parts of the curvature benchmark that count: accuracy over seeds, products, coverage and peak memory.

None of them depends on how busy the machine is.
"""

import argparse
import copy
import math
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from workloads import WORKLOADS, Workload, gpt, mlp, resnet

from steppe.core import SquaredLoss
from steppe.curvature import eigenvalues, hessian, sharpness, trace
from steppe.networks import ShallowReLU

PROBLEMS = 10  # draws of model and data; the seeds of the algorithm are spread over them


def plain_product(work: Workload, *, double: bool = True) -> tuple[int, Any]:
    """Size and product of the Hessian by a retained double backward in float64: the reference."""
    model = copy.deepcopy(work.model).double() if double else work.model
    x, y = (t.double() if double and t.is_floating_point() else t for t in work.data)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(work.loss(model(x), y), parameters, create_graph=True)
    sizes = [p.numel() for p in parameters]

    def product(vector: Tensor) -> Tensor:
        parts = [part.view_as(p) for part, p in zip(vector.split(sizes), parameters, strict=True)]
        image = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image])

    return sum(sizes), product


def reference(work: Workload, k: int) -> list[float]:
    """The k largest eigenvalues by SciPy's eigsh on that product, asked for more so that none is skipped."""
    size, product = plain_product(work)
    operator = LinearOperator(
        (size, size), matvec=lambda v: product(torch.from_numpy(v).reshape(-1)).numpy(), dtype=float
    )
    found = eigsh(operator, k=k + 3, ncv=max(30, 3 * k + 15), which="LA", tol=1e-6, return_eigenvectors=False)
    return sorted(found, reverse=True)[:k]


def problems(given: argparse.Namespace) -> list[tuple[str, Any, int, int]]:
    """Name, maker by seed, draws of the problem and runs: small ones in `--seeds` runs, full ones in `--full-seeds`."""
    draws = min(PROBLEMS, given.seeds)
    small = [
        ("mlp", mlp, draws, given.seeds),
        ("gpt, small", lambda seed: gpt(seed=seed, small=True), draws, given.seeds),
        ("resnet, small", lambda seed: resnet(seed=seed, small=True), draws, given.seeds),
    ]
    full = [("gpt", lambda seed: gpt(seed=seed), 1, given.full_seeds)]
    full += [("resnet", lambda seed: resnet(seed=seed), 1, given.full_seeds)]
    return [entry for entry in small + full if entry[0].split(",")[0] in given.workloads]


def accuracy(given: argparse.Namespace) -> None:
    """How often sharpness is right to 1e-3 and within its printed bound."""
    head(
        "sharpness over seeds",
        "runs",
        "right to 1e-3",
        "within its bound",
        "converged",
        "products, mean (max)",
        "worst",
    )
    for name, make, draws, runs in problems(given):
        right = within = converged = 0
        worst, products = 0.0, []
        for problem in range(draws):
            work = make(seed=problem)
            truth = reference(work, 1)[0]
            operator = hessian(*work)
            for seed in range(problem, runs, draws):
                found = sharpness(operator, rtol=1e-3, seed=seed)
                error = abs(found.value - truth)
                right += error <= 1e-3 * abs(truth)
                within += error <= found.error + 1e-5 * abs(truth)  # float32 products against float64 ones
                converged += found.converged
                worst = max(worst, error / abs(truth))
                products.append(found.products)
        line(name, runs, right, within, converged, f"{statistics.mean(products):.1f} ({max(products)})", f"{worst:.1e}")


def top5(given: argparse.Namespace) -> None:
    """Whether any of the five largest eigenvalues is skipped."""
    head(
        "five largest over seeds",
        "runs",
        "none skipped (all right to 2e-3)",
        "converged",
        "products, mean (max)",
        "worst of five",
    )
    for name, make, draws, runs in problems(given):
        complete = converged = 0
        worst, products = 0.0, []
        for problem in range(draws):
            work = make(seed=problem)
            truth = torch.tensor(reference(work, 5), dtype=torch.float64)
            operator = hessian(*work)
            for seed in range(problem, runs, draws):
                found = eigenvalues(operator, 5, rtol=1e-3, seed=seed)
                error = float(((found.values.double() - truth).abs() / truth.abs()).max())
                complete += error <= 2e-3
                converged += found.converged
                worst = max(worst, error)
                products.append(found.products)
        line(name, runs, complete, converged, f"{statistics.mean(products):.1f} ({max(products)})", f"{worst:.1e}")


def traces(given: argparse.Namespace) -> None:
    """Coverage of the 95 % interval where the trace is known, and products for 2 % on the full resnet."""
    head(
        "trace to 2 %",
        "runs",
        "95 % interval covers (≥ 92 %)",
        "products, mean (max)",
        "error, root mean square",
        "truth",
    )
    small, shallow = resnet(small=True), mlp()
    closed = trace(ShallowReLU.from_sequential(shallow.model), SquaredLoss(), shallow.data).value
    general = Workload(shallow.model, lambda out, y: SquaredLoss()(out, y), shallow.data)  # not in closed form
    for name, work, truth in (("resnet, small", small, None), ("mlp, by products", general, closed)):
        if name.split(",")[0] in given.workloads:
            truth = dense_trace(small) if truth is None else truth
            operator = hessian(*work)
            found = [trace(operator, rtol=0.02, seed=seed) for seed in range(given.seeds)]
            covered = sum(low <= truth <= high for low, high in (estimate.interval() for estimate in found))
            error = math.sqrt(statistics.mean((e.value / truth - 1) ** 2 for e in found))
            many = [e.products for e in found]
            line(name, len(found), f"{covered} ({100 * covered / len(found):.1f} %)",
                 f"{statistics.mean(many):.1f} ({max(many)})", f"{100 * error:.2f} %", f"{truth:.6g}")  # fmt: skip
    if "resnet" in given.workloads:
        full_resnet(given)


def full_resnet(given: argparse.Namespace) -> None:
    """Products for a standard error of 2 % against what plain Hutchinson needs at the variance measured here."""
    work = resnet()
    probes = 150 if given.seeds >= 100 else 20
    size, product = plain_product(work, double=False)
    rng = torch.Generator().manual_seed(0)
    signs = (2 * torch.randint(0, 2, (size,), generator=rng).float() - 1 for _ in range(probes))
    samples = [float(z @ product(z)) for z in signs]
    plain = (statistics.stdev(samples) / statistics.mean(samples) / 0.02) ** 2
    found = [trace(*work, rtol=0.02, seed=seed) for seed in range(min(5, given.full_seeds))]
    head("trace of resnet to 2 %", "products, mean (max)", "plain Hutchinson needs", "ratio (≤ 1/8)", "estimates")
    mean = statistics.mean(e.products for e in found)
    estimates = ", ".join(f"{e.value:.4g} ± {e.error:.2g}" for e in found)
    line("steppe", f"{mean:.1f} ({max(e.products for e in found)})", f"{plain:.0f}", f"1/{plain / mean:.1f}", estimates)


def dense_trace(work: Workload) -> float:
    """The exact trace, one product per parameter."""
    size, product = plain_product(work, double=False)
    unit, total = torch.zeros(size), 0.0
    for i in range(size):
        unit[i] = 1.0
        total += float(product(unit)[i])
        unit[i] = 0.0
    return total


PEAKS = {
    "mlp": ("product", "probes 8", "probes 512", "density 1", "curvlinops 64"),
    "gpt": ("product", "probes 4", "probes 32", "sharpness"),
    "resnet": ("product", "probes 4", "probes 32", "sharpness"),
}


def memory(given: argparse.Namespace) -> None:
    """Peak memory of whole processes, one for each measurement."""
    head("peak memory", "measured", "MiB", "/ one product (≤ 1.3)", "above the model, / one product")
    for name in given.workloads:
        floor, base = peak(f"{name}:nothing"), 0.0
        for what in PEAKS[name]:
            if what.startswith("curvlinops") and not peers.installed("curvlinops"):
                continue
            found = peak(f"{name}:{what}")
            base = base or found
            line(name, what, f"{found:.0f}", f"{found / base:.2f}x", f"{(found - floor) / max(base - floor, 1.0):.2f}x")


def peak(case: str) -> float:
    """MiB that a fresh process took at most."""
    script = str(Path(__file__).with_name("curvature.py"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, "--peak", case], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def one_peak(case: str) -> None:
    """Measure one thing in this process and print the peak in MiB."""
    name, what = case.split(":")
    work = WORKLOADS[name]()
    kind, _, number = what.partition(" ")
    if kind == "product":
        operator = hessian(*work)
        operator @ torch.ones(operator.shape[0])
    elif kind == "probes":
        trace(*work, probes=int(number))
    elif kind == "sharpness":
        sharpness(*work)
    elif kind == "density":
        from steppe.curvature import spectral_density

        spectral_density(*work)
    elif kind == "curvlinops":
        peers.curvlinops_estimators(work, int(number))["curvlinops Hutchinson"][1]()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(used / (2**20 if sys.platform == "darwin" else 2**10))


def head(*columns: str) -> None:
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def line(*cells: Any) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
