"""What the driver costs: a resume without work, and a cell without work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def timed(what, folder, cells):
    """In a process of its own: here, every function that is called checks its types."""
    command = [sys.executable, str(HERE / "fire_timing.py"), what, str(folder), str(cells)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(what, cells, found)
    return found


@pytest.mark.parametrize("cells", [1000, pytest.param(10_000, marks=pytest.mark.fire)])
def test_resuming_a_finished_run_takes_less_than_a_second(tmp_path, cells):
    # Counted: opening and verifying the store, listing cells, their keys, the decision. Not counted: imports, report.
    assert timed("noop", tmp_path, cells)["resumed"][1] <= 1.0  # the median of three


@pytest.mark.parametrize(("cells", "bound"), [(500, 10.0), pytest.param(10_000, 5.0, marks=pytest.mark.fire)])
def test_an_empty_cell_costs_few_milliseconds(tmp_path, cells, bound):
    assert timed("overhead", tmp_path, cells)["each"] <= bound
