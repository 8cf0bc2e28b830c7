"""The floors, and what a file may import, as written in pyproject.toml."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import steppe

PACKAGE = Path(steppe.__file__).parent
ROOT = PACKAGE.parent.parent
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
# Public submodules: entered by name, because the names inside repeat.
OPEN = {"steppe.theory.rates", "steppe.studies.catalog", "steppe._version"}


def imports(path):
    """Every module that a file imports from this package, with the file's own relative imports left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_import_linter_contracts_hold():
    command = shutil.which("lint-imports", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if command is None or not (ROOT / "pyproject.toml").is_file():
        pytest.skip("needs a checkout and import-linter: pip install --group lint")
    found = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_entered_by_their_doors(room):
    inside = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in (PACKAGE / room).rglob("*.py")
        for name in imports(path)
        if name.startswith("steppe.") and name.count(".") > 1 and name not in OPEN
    ]
    assert not inside, f"import from the door, or by a relative import inside the room: {inside}"


def test_nobody_imports_the_root():
    guilty = [path for path in PACKAGE.glob("*/**/*.py") if "steppe" in imports(path) and _takes_a_name(path)]
    assert not guilty, "import from the room's door, not from the root"


def _takes_a_name(path):
    """`from steppe import norms` names a room; anything else goes through the root."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import) and any(alias.name == "steppe" for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "steppe":
            return any(alias.name not in ROOMS for alias in node.names)
    return False


@pytest.mark.parametrize("package", ["sklearn", "plotly", "sqlite3", "pickle"])
def test_heavy_guests_have_their_rooms(package):
    homes = {
        "sklearn": {"data", "solvers"},
        "plotly": {"plotting", "report"},
        "sqlite3": {"harness"},
        "pickle": set(),
    }[package]
    guilty = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert {path for path in guilty if path.split(os.sep)[0] not in homes} == set()
