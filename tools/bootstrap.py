"""Create or refresh the virtual environment `.venv` of this checkout.

Usage: python3 tools/bootstrap.py run|dev

torch is installed first and alone, so that a machine without an NVIDIA GPU never downloads CUDA
packages; everything else follows under `constraints.txt`. A stamp makes a second call free.

Environment:
    STEPPE_TORCH_INDEX: the package index to take torch from (default: chosen by the machine).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
KERNELS = ROOT / "kernels"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
GROUPS = {"run": [], "dev": ["--group", "dev"]}
EXTRAS = {"run": "data", "dev": "data,dask,ray,slurm,hf,lightning"}


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def torch_index(requirement: str) -> list[str]:
    """Where to take torch from: the user's word, else the plain index where that brings no CUDA build."""
    if index := os.environ.get("STEPPE_TORCH_INDEX"):
        return ["--index-url", index]
    if not sys.platform.startswith("linux") or shutil.which("nvidia-smi"):
        return []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        quiet = ["--quiet", "--dry-run", "--no-deps", "--ignore-installed", "--report", str(report)]
        asked = subprocess.run([str(PYTHON), "-m", "pip", "install", *quiet, requirement], cwd=ROOT, check=False)
        if asked.returncode == 0:
            found = json.loads(report.read_text())["install"][0]
            if "+cpu" in found["metadata"]["version"]:
                return []
    return ["--index-url", CPU_INDEX]


def kernel_sources() -> list[Path]:
    return sorted(path for path in KERNELS.rglob("*") if path.is_file() and "build" not in path.parts)


def build_kernels() -> None:
    """The compiled training kernel, where there is a C++ compiler; without it numbers hold and speed does not."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        print("no C++ compiler found: training falls back to NumPy, slower; see `steppe doctor`", flush=True)
        return
    try:
        pip("install", "--quiet", "--constraint", "constraints.txt", str(KERNELS))
    except subprocess.CalledProcessError:
        print("the training kernel could not be built: training falls back to NumPy, slower; see above", flush=True)


def nvidia_packages() -> list[str]:
    listed = subprocess.run(
        [str(PYTHON), "-m", "pip", "list", "--format=json"], capture_output=True, check=True, text=True
    )
    return [p["name"] for p in json.loads(listed.stdout) if p["name"].startswith("nvidia-")]


def main(profile: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the bootstrap itself may be started by an older Python
        sys.exit(f"steppe needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")
    inputs = [ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__), *kernel_sources()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    # A `dev` environment also serves `run`, so its stamp satisfies both.
    stamps = {name: VENV / f".stamp-{name}" for name in GROUPS}
    satisfied_by = [stamps["dev"]] if profile == "dev" else list(stamps.values())
    if PYTHON.exists() and any(s.exists() and s.read_text() == digest for s in satisfied_by):
        return
    if not PYTHON.exists():
        print(f"creating {VENV}", flush=True)
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    # Dependency groups need pip 25.1.
    pip("install", "--quiet", "--upgrade", "pip>=25.1")
    pins = (ROOT / "constraints.txt").read_text().split()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    pip("install", "--quiet", *torch_index(torch), torch)
    pip(
        "install", "--quiet", "--constraint", "constraints.txt", *GROUPS[profile], "--editable", f".[{EXTRAS[profile]}]"
    )
    build_kernels()
    asked_for_cuda = bool(os.environ.get("STEPPE_TORCH_INDEX")) or shutil.which("nvidia-smi")
    if not asked_for_cuda and (found := nvidia_packages()):
        sys.exit(f"CUDA packages were installed although this machine has no NVIDIA GPU: {', '.join(found)}")
    stamps[profile].write_text(digest)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in GROUPS:
        sys.exit(__doc__)
    main(sys.argv[1])
