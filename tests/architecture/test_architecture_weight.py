"""Light rooms stay light: shown in fresh processes, where nothing is imported yet."""

import subprocess
import sys

import pytest

LIGHT = ["cli", "core", "harness", "plotting", "report", "stats", "studies", "testing", "theory", "workflow"]
HEAVY = "torch", "sklearn"


def loaded_by(statement):
    """The heavy packages that a fresh process holds after a statement."""
    code = f"import sys\n{statement}\nprint('heavy:', *(name for name in {HEAVY} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()[-1].removeprefix("heavy:").split()


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_load_no_torch(room):
    assert loaded_by(f"import steppe.{room}") == []


def test_the_root_loads_no_room():
    code = "import sys, steppe; print(*sorted(m for m in sys.modules if m.startswith('steppe.')))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.split() == ["steppe._version"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["run", "--help"], ["rates"], ["show", "neural-shattering"]]
)
def test_commands_that_only_tell_load_no_torch(arguments):
    assert loaded_by(f"from steppe.cli import main\nassert main({arguments}) == 0") == []


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_help_and_list_load_no_numpy(arguments):
    statement = f"from steppe.cli import main\nassert main({arguments}) == 0\nassert 'numpy' not in sys.modules"
    loaded_by(statement)
