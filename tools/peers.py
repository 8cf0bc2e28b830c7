"""Create or refresh `.venv-peers`: this checkout beside the packages that the curvature benchmark compares it with.

Usage: python3 tools/peers.py   (or: make peers)

The packages of `benchmarks/peers.txt` live apart because they bring a torchvision that does not match a CPU build of
torch and breaks other packages. Nothing in steppe imports them. The compiled kernels stand beside them, which takes a
C++ compiler.
"""

import hashlib
import subprocess
import venv
from pathlib import Path

from bootstrap import ROOT, kernel_sources, torch_index

VENV = ROOT / ".venv-peers"
PYTHON = VENV / "bin/python"
PINS = ROOT / "benchmarks/peers.txt"
STAMP = VENV / ".stamp"


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    constraints = ROOT / "constraints.txt"
    inputs = [ROOT / "pyproject.toml", constraints, PINS, Path(__file__), *kernel_sources()]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    if STAMP.exists() and STAMP.read_text() == digest:
        return
    if not PYTHON.exists():
        print(f"creating {VENV}", flush=True)
        venv.create(VENV, with_pip=True, clear=VENV.exists())
    pip("--upgrade", "pip>=25.1")
    torch = next(pin for pin in constraints.read_text().split() if pin.startswith("torch=="))
    pip(*torch_index(torch), torch)
    pip("--constraint", str(constraints), "--requirement", str(PINS), "--editable", ".", "./kernels")
    STAMP.write_text(digest)


if __name__ == "__main__":
    main()
