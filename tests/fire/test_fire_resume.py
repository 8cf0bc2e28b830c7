"""What a resumed run computes: the cells whose key changed, and no others."""

import os
import subprocess
import sys
import threading

import pytest
from fire_cells import lines

from steppe.core import KindError
from steppe.harness import Store, compute, identity, load_rows, run_cells
from steppe.harness.engine import TaskResult
from steppe.harness.shipping import receive
from steppe.workflow import load_study

SOURCE = '''
"""A study in a file."""

import os

from steppe.harness import AtMost, Control, Grid, Slot, Study


def double(x, *, scale=2.0):
    return scale * x


def triple(x, *, scale=3.0):
    """Three times."""
    return scale * x


def row(d, seed, map, parts):
    with open(os.environ["FIRE_LOG"], "a") as file:
        file.write(f"{d}:{seed}:{map}\\\\n")
    return {"value": parts["map"](d) + seed / 8}


STUDY = Study(
    slug="resumed",
    title="One title",
    columns={"value": "1"},
    grid=Grid(d=(1, 2), seed=range(3), map=("double", "triple")),
    slots={"map": Slot("(x) -> float", {"double": double, "triple": triple})},
    row=row,
    claims=(AtMost("small", "the value is at most 1000", left="value", right=1000),),
    controls=(Control(AtMost("tiny", "the value is at most 0", left="value", right=0), "small", "another bound"),),
)
'''.replace("\\\\n", "\\n")

GRID = 'grid=Grid(d=(1, 2), seed=range(3), map=("double", "triple"))'
ALL = {f"{d}:{seed}:{map}" for d in (1, 2) for seed in range(3) for map in ("double", "triple")}
TRIPLE = {cell for cell in ALL if cell.endswith("triple")}
THIRD = {f"3:{seed}:{map}" for seed in range(3) for map in ("double", "triple")}

# What was changed in the file: old and new text, and the cells that must be computed.
CHANGES = {
    "nothing": (("", ""), set()),
    "a comment in the row": (("    return {", "    # the value\n    return {"), set()),
    "a docstring and layout": (
        ("    return scale * x\n\n\ndef row", "    return (scale\n        * x)\n\n\ndef row"),
        set(),
    ),
    "title": (("One title", "Another title"), set()),
    "a bound": (("right=1000", "right=999"), set()),
    "a description of a column": (('"value": "1"', '"value": "metres"'), set()),
    "order of axes": ((GRID, 'grid=Grid(map=("double", "triple"), seed=range(3), d=(1, 2))'), set()),
    "order of values": ((GRID, 'grid=Grid(d=(2, 1), seed=(2, 0, 1), map=("triple", "double"))'), set()),
    "order of parts": (('{"double": double, "triple": triple}', '{"triple": triple, "double": double}'), set()),
    "another part that no cell uses": (('"triple": triple}', '"triple": triple, "none": row}'), set()),
    "fewer cells": ((GRID, 'grid=Grid(d=1, seed=range(2), map="double")'), set()),
    "the default of a part": (("scale=3.0", "scale=3.5"), TRIPLE),
    "the body of a part": (("return scale * x\n\n\ndef row", "return x * scale + 1\n\n\ndef row"), TRIPLE),
    "the function behind a part": (('"triple": triple}', '"triple": double}'), TRIPLE),
    "one more value of an axis": ((GRID, GRID.replace("(1, 2)", "(1, 2, 3)")), THIRD),
    "the revision": (('slug="resumed"', 'slug="resumed", revision=2'), ALL),
    "the body of the row": (("seed / 8", "seed / 9"), set()),  # makes rows stale, see below
}


def variant(folder, old="", new=""):
    """The study from a file in which one piece of text is another."""
    folder.mkdir(parents=True, exist_ok=True)
    assert old in SOURCE
    path = folder / "study.py"
    path.write_text(SOURCE.replace(old, new) if old else SOURCE)
    return path


class Here:
    """An engine in this process: what matters here is which cells are asked for."""

    def results(self, shipped, tasks):
        study = receive(shipped)
        for task in tasks:
            yield [TaskResult(task, compute(study, task.cells), {})]


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """Runs a file in one folder and says which cells were computed, each once."""
    monkeypatch.setenv("FIRE_LOG", str(tmp_path / "log"))
    monkeypatch.setattr("steppe.harness.runner.engine_at", lambda *_: Here())

    def computed(path, where=None, **options):
        (tmp_path / "log").write_text("")
        one = load_study(path)
        cells = one.cells(where=where)
        with Store(tmp_path / "out") as store:
            summary = run_cells(one, cells, store, **options)
            rows = load_rows(one, cells, store)
        found = lines(tmp_path / "log")
        assert len(found) == len(set(found)) == summary.computed
        assert (summary.crashed, len(rows.done)) == (0, len(cells))
        return set(found), rows

    return computed


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_run_computes_what_changed(tmp_path, computed, change):
    (old, new), expected = CHANGES[change]
    assert computed(variant(tmp_path / "before"))[0] == ALL
    found, _ = computed(variant(tmp_path / "after", old, new))
    assert found == expected
    assert computed(variant(tmp_path / "after", old, new))[0] == set()


def test_stale_rows_are_computed_again_on_demand_and_kept_aside(tmp_path, computed):
    computed(variant(tmp_path / "before"))
    changed = variant(tmp_path / "after", "seed / 8", "seed / 9")
    with Store(tmp_path / "out", read_only=True) as store:
        old = store.records()
    nothing, rows = computed(changed)
    assert nothing == set()
    assert all(row.stale for row in rows)
    first = {cell for cell in ALL if cell.startswith("1:")}
    assert computed(changed, where="d==1", refresh="stale")[0] == first  # half of the stale rows are asked for …
    found, rows = computed(changed, refresh="stale")
    assert found == ALL - first  # … and now the other half
    assert not any(row.stale for row in rows)
    assert computed(changed, refresh="stale")[0] == set()
    with Store(tmp_path / "out", read_only=True) as store:
        assert {record.key: record for record in store.superseded()} == old
        new = store.records()
    assert set(new) == set(old)
    assert {r.cell["seed"] for r in new.values() if r.result != old[r.key].result} == {1, 2}


# Run in two processes with different hash seeds: what a part closes over, and whether its identity says so.
PARTS = """
import collections, enum, functools, pathlib, sys, types
import numpy as np
import torch
from steppe.harness import identity


class Config:
    def __init__(self, names):
        self.names, self.itself = set(names), self


class Slotted:
    __slots__ = ("names",)

    def __init__(self, names):
        self.names = frozenset(names)

    def __call__(self):
        return self.names


class Color(enum.Enum):
    RED, BLUE = "red", "blue"


def closing(value):
    def part(x):
        return x, value

    return part


class Net(torch.nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        with torch.no_grad():
            self.layer.weight.fill_(0.5)
            self.layer.bias.fill_(bias)


WORDS = ["alpha", "beta", "gamma", "delta", "epsilon"]
PAIRS = {
    "object": (Config(WORDS), Config(WORDS[1:])),
    "slots": (Slotted(WORDS), Slotted(WORDS[1:])),
    "namespace": (types.SimpleNamespace(a=set(WORDS)), types.SimpleNamespace(a=set(WORDS[1:]))),
    "set of sets": ({frozenset(WORDS), frozenset("ab")}, {frozenset(WORDS[1:]), frozenset("ab")}),
    "enumeration": (Color.RED, Color.BLUE),
    "array": (np.arange(3.0), np.arange(3)),
    "number": (np.float32(0.1), np.float32(0.2)),
    "tensor": (torch.arange(3.0), torch.tensor([0.0, 1.0, 3.0])),
    "tensor's shape": (torch.zeros(2, 1), torch.zeros(1, 2)),
    "tensor's kind": (torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16)),
    "network": (Net(0.0), Net(1.0)),
    "kind": (torch.float64, torch.float32),
    "bytes": (b"ab", b"ac"),
    "path": (pathlib.Path("/a"), pathlib.Path("/b")),
    "module": (np, torch),
    "partial": (functools.partial(max, set(WORDS)), functools.partial(min, set(WORDS))),
    "keys": ({("a", 1): closing(1)}, {("a", 1): closing(2)}),
    "random numbers": (np.random.default_rng(0), np.random.default_rng(1)),
    "ordered": (collections.OrderedDict(a={"x", "y", "z"}), collections.OrderedDict(a={"x", "y"})),
}
for name, (one, other) in PAIRS.items():
    first, second = identity(closing(one)), identity(closing(other))
    assert first != second, name
    assert identity(closing(one)) == first, name
    print(name, first)
print(identity(Slotted(WORDS)), identity(Net(0.0)))
assert identity(Slotted(WORDS)) != identity(Slotted(WORDS[1:]))
"""


def test_what_a_part_closes_over_has_the_same_identity_in_every_process(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    said = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, str(tmp_path / "parts.py")], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.add(done.stdout)
    assert len(said) == 1


def test_a_part_over_something_without_content_is_refused_with_the_remedy():
    lock = threading.Lock()

    def part(x):
        return x, lock

    with pytest.raises(KindError, match=r"what a part closes over must be plain data, got lock.*inside the part"):
        identity(part)
