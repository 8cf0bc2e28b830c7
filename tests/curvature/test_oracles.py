"""Products, trace and top eigenvalue against curvlinops and PyHessian, run in their environment."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-peers/bin/python"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["layers", "convolutions"])
def test_equal_to_curvlinops_and_pyhessian(name):
    if not (ROOT / ".venv-peers/.stamp").exists():
        pytest.skip("the environment of the peers is absent; make it with `make peers`")
    script = str(Path(__file__).with_name("oracle_script.py"))
    done = subprocess.run([str(PYTHON), "-W", "ignore", script, name], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == 6
    assert {name: value for name, value in differences.items() if not value <= 1e-5} == {}
