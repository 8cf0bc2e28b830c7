"""What this installation can do, and what to do about what it cannot."""

import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from steppe.core import StoreError
from steppe.harness import Store

_ROOMS = (
    "activations", "core", "curvature", "data", "harness", "linalg", "networks", "norms", "panel", "plotting",
    "report", "stats", "studies", "theory", "training", "workflow",
)  # fmt: skip
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "plotly", "matplotlib", "pebble", "safetensors")
_EXTRAS = {  # package → extra and purpose
    "pandas": ("data", "StudyResult.to_pandas()"),
    "pyarrow": ("data", "steppe export --format parquet"),
    "distributed": ("dask", "run --on dask://…"),
    "ray": ("ray", "run --on ray://…"),
    "submitit": ("slurm", "run --on slurm:…"),
}
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LITTLE_DISK = 1 << 30


class Finding(NamedTuple):
    """One thing that was looked at.

    Args:
        name: What it is.
        found: What there is.
        state: `"broken"` means that steppe does not work.
        remedy: What to do, empty if nothing.
    """

    name: str
    found: str
    state: Literal["ok", "warning", "broken"] = "ok"
    remedy: str = ""


def diagnose(folder: str | os.PathLike[str] = ".") -> list[Finding]:
    """Look at versions, torch, threads, hardware, the disk of `folder`, optional packages and every room.

    Args:
        folder: Where runs would be stored.

    Returns:
        One finding per thing; no exception leaves this function.
    """
    return [
        Finding("steppe", _version("steppe") or "not installed as a package"),
        Finding("Python", f"{platform.python_version()} ({sys.executable})"),
        Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        *(_package(name) for name in _PACKAGES),
        *_torch(),
        _blas(),
        _processors(),
        _kernels(),
        *_disk(Path(folder)),
        *(_extra(name, *given) for name, given in _EXTRAS.items()),
        _browser(),
        *_rooms(),
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    found = _version(name)
    if found is None:
        return Finding(name, "missing", "broken", f"pip install {name}")
    return Finding(name, found)


def _torch() -> list[Finding]:
    try:
        torch: Any = importlib.import_module("torch")
    except Exception as error:
        return [Finding("torch import", f"{type(error).__name__}: {error}", "broken", "reinstall torch")]
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    findings = [Finding("torch build", f"{build}, {torch.get_num_threads()} threads in this process")]
    if torch.cuda.is_available():
        findings.append(Finding("GPU", torch.cuda.get_device_name(0)))
    elif torch.version.cuda:
        findings.append(Finding("GPU", "none that torch can use", "warning", "check the driver, or use a CPU build"))
    else:
        findings.append(Finding("GPU", "none; everything runs on the CPU"))
    return findings


def _blas() -> Finding:
    try:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
    except Exception:
        return Finding("BLAS", "unknown")
    words = sorted({f"{p['internal_api']} {p.get('version') or ''}".strip() + f" ×{p['num_threads']}" for p in pools})
    return Finding("BLAS and OpenMP", ", ".join(words) or "unknown")


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return Finding("CPU", f"{usable} of {os.cpu_count()} cores usable, OMP_NUM_THREADS {threads}")


def _kernels() -> Finding:
    remedy = "with a C++ compiler: pip install ./kernels"
    if os.environ.get("STEPPE_KERNELS") == "off":
        return Finding("training kernel", "switched off by STEPPE_KERNELS=off; NumPy trains, slower")
    try:
        sets = importlib.import_module("steppe_kernels").instruction_sets()
    except ModuleNotFoundError:
        return Finding(
            "training kernel", "not installed; NumPy trains, the same to rounding but slower", "warning", remedy
        )
    except Exception as error:
        return Finding("training kernel", f"{type(error).__name__}: {error}", "broken", f"rebuild it; {remedy}")
    return Finding(
        "training kernel", f"steppe-kernels {_version('steppe-kernels')}, {sets[0]} (runs {', '.join(sets)})"
    )


def _disk(folder: Path) -> list[Finding]:
    place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    findings = [
        Finding("free disk", f"{free / 1e9:.1f} GB at {place}")
        if free > _LITTLE_DISK
        else Finding("free disk", f"{free / 1e9:.1f} GB at {place}", "warning", "free some, or use --out elsewhere")
    ]
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".steppe-doctor-") as trial, Store(trial):
            findings.append(Finding("store", f"can be written at {place}, on a local file system"))
    except (StoreError, OSError) as error:
        findings.append(Finding("store", str(error), "warning", "run with --out FOLDER on a local disk you can write"))
    return findings


def _extra(name: str, extra: str, purpose: str) -> Finding:
    found = _version(name)
    if found is None:
        return Finding(name, f"not installed (for {purpose})", "ok", f"pip install 'steppe[{extra}]'")
    return Finding(name, found)


def _browser() -> Finding:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        return Finding("browser", "none (only for the tests of the report)", "ok", "install chromium to run them")
    return Finding("browser", found)


def _rooms() -> list[Finding]:
    start = time.perf_counter()
    broken = []
    for room in _ROOMS:
        try:
            importlib.import_module(f"steppe.{room}")
        except Exception as error:
            remedy = "reinstall steppe, or the package that is named"
            broken.append(Finding(f"steppe.{room}", f"{type(error).__name__}: {error}", "broken", remedy))
    if broken:
        return broken
    return [Finding("rooms", f"all {len(_ROOMS)} import, {time.perf_counter() - start:.1f} s")]
