"""The repository speaks of itself only."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Somebody's folders. Spelled in pieces, so that this file does not find itself.
PLACES = re.compile(
    r"(?<![\w.~*}])/(?:"
    + "|".join(["ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk", "scr" + "atch"])
    + r")/[\w.-]+"
)


def texts():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue


def test_no_file_names_a_place_on_somebodys_machine():
    found = {name: match.group() for name, text in texts() if (match := PLACES.search(text))}
    assert not found


def test_the_pattern_finds_what_it_should():
    assert PLACES.search("see /" + "home/ada/notes")
    assert not PLACES.search("https://example.org/" + "home/ada")
