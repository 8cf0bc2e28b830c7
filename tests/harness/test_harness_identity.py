import dataclasses
import functools
import importlib.util
import sys
import textwrap

import pytest
from harness_toys import MAPS, SMALL, TINY, double, row, sloted, toy, triple

from steppe.harness import AtMost, Control, Grid, claims_digest, compute, identity, keys_of, source_digest
from steppe.harness.sources import source_hashes


def load(path, source, name):
    path.write_text(textwrap.dedent(source))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def part(tmp_path, monkeypatch):
    def make(source):
        module = load(tmp_path / "mine_part.py", source, "mine_part")
        return module.part

    yield make
    sys.modules.pop("mine_part", None)


def test_identity_follows_the_source_and_nothing_else(part):
    first = identity(part("def part(x):\n    return x + 1\n"))
    assert identity(part('def part(x):\n    """Adds."""\n    # one\n    return (x +\n        1)\n')) == first
    assert identity(part("def part(x):\n    return x + 2\n")) != first
    assert identity(part("def part(x, y=3):\n    return x + 1\n")) != first


def test_identity_sees_closures_defaults_and_state():
    def make(power, offset=0):
        def part(x, *, offset=offset):
            return x**power + offset

        return part

    assert identity(make(2)) == identity(make(2)) != identity(make(3))
    assert identity(make(2, 1)) != identity(make(2))
    assert identity(functools.partial(double, x=1)) != identity(functools.partial(double, x=2))

    @dataclasses.dataclass
    class Part:
        scale: float

        def __call__(self, x):
            return self.scale * x

    assert identity(Part(1.0)) == identity(Part(1.0)) != identity(Part(2.0))
    assert identity(Part(1.0).__call__) != identity(Part(2.0).__call__)
    assert identity(Part) != identity(double)
    assert identity(len).startswith("len:")


def test_identity_without_source_is_that_of_the_code():
    def typed(source):
        space = {}
        exec(compile(source, "<stdin>", "exec"), space)
        return space["part"]

    first = typed("def part(x):\n    return x in {'a', 'b'}")
    assert identity(first) == identity(typed("# other lines\ndef part(x):\n    return x in {'a', 'b'}"))
    assert identity(first) != identity(typed("def part(x):\n    return x in {'a', 'c'}"))
    assert identity(typed("class part:\n    def f(self): return 1")) != identity(
        typed("class part:\n    def f(self): return 2")
    )


def test_a_function_that_calls_itself_has_an_identity():
    def fold(x):
        return fold(x - 1) if x else 0

    assert identity(fold) == identity(fold)


def slotted(**parts):
    slot = dataclasses.replace(MAPS["map"], parts={"double": double, "triple": triple, **parts})
    return toy(slots={"map": slot}, row=sloted, grid=Grid(x=1.0, seed=(0, 1), map=("double", "triple")))


def test_keys_depend_on_slug_revision_cell_and_the_parts_used():
    base = slotted()
    keys = keys_of(base, base.cells())
    assert len(set(keys)) == 4
    assert all(len(key) == 64 for key in keys)
    other = slotted(triple=lambda x: 3.0 * x)
    changed = [new != old for new, old in zip(keys_of(other, other.cells()), keys, strict=True)]
    assert changed == [cell["map"] == "triple" for cell in base.cells()]
    for study in (dataclasses.replace(base, revision=2), dataclasses.replace(base, slug="other")):
        assert not set(keys_of(study, study.cells())) & set(keys)


def test_keys_do_not_depend_on_order_or_on_words():
    base = toy()
    same = toy(title="Other", summary="words", columns={"pid": "?", "value": "!"}, claims=(SMALL,))
    cells = base.cells()
    turned = [dict(reversed(cell.items())) for cell in cells]
    assert keys_of(base, cells) == keys_of(same, turned)
    assert keys_of(base, cells[::-1]) == keys_of(base, cells)[::-1]


def test_keys_stay_the_same_for_ever():
    # Written down on purpose: a change would compute every stored row anew.
    (key,) = keys_of(toy(), [{"d": 1, "seed": 0}])
    import hashlib

    text = b'{"cell":{"d":1,"seed":0},"parts":{},"revision":1,"study":"toy"}'
    assert key == hashlib.sha256(text).hexdigest()


def test_ten_thousand_keys_are_quick():
    import time

    study = toy()
    cells = Grid(d=range(100), seed=range(100)).cells()
    start = time.perf_counter()
    assert len(set(keys_of(study, cells))) == 10_000
    assert time.perf_counter() - start < 5


def test_claims_digest_sees_bands_scopes_and_functions():
    def digest(claim, control=TINY):
        return claims_digest(toy(claims=(claim,), controls=(control,)))

    def bound(factor):
        return dataclasses.replace(SMALL, right=lambda row: factor * row["d"])

    base = digest(SMALL)
    assert base == digest(AtMost("small", SMALL.statement, left="value", right=1000, kind="theorem"))
    others = [
        dataclasses.replace(SMALL, right=1001),
        dataclasses.replace(SMALL, scope={"d": 1}),
        dataclasses.replace(SMALL, scope=lambda row: row["d"] == 1),
        dataclasses.replace(SMALL, statement="other words"),
        bound(2),
        bound(3),
    ]
    assert len({base, *map(digest, others)}) == 7
    assert digest(bound(2)) == digest(bound(2))
    assert digest(SMALL, Control(TINY.claim, "small", "another near miss")) != base


def test_source_digest_names_the_files_that_are_reached():
    files = set(source_hashes(toy()))
    assert "harness_toys.py" in files
    assert not any(name.startswith(("harness/", "networks/", "theory/")) for name in files)


def test_source_digest_looks_into_functions_and_through_doors_without_importing(tmp_path):
    before = set(sys.modules)
    module = load(
        tmp_path / "mine_study.py",
        """
        from steppe.harness import AtMost, Control, Grid, Study

        def row(d):
            from steppe.core import generator
            return {"v": 0.0}

        A = AtMost("a", "", left="v", right=1)
        STUDY = Study(slug="mine", title="", columns={"v": ""}, grid=Grid(d=1), row=row, claims=(A,),
                      controls=(Control(AtMost("b", "", left="v", right=-1), "a", ""),))
        """,
        "mine_study",
    )
    study = module.STUDY
    hashes = source_hashes(study)
    first = source_digest(study)
    assert {"mine_study.py", "core/generators.py", "core/seeds.py"} <= set(hashes)
    assert "core/devices.py" not in hashes  # same door, not asked for
    assert "steppe.core.generators" not in set(sys.modules) - before
    path = tmp_path / "mine_study.py"
    path.write_text(path.read_text() + "\n# a comment\n")
    assert source_digest(study) == first
    path.write_text(path.read_text().replace("0.0", "0.5"))
    assert source_digest(study) != first
    sys.modules.pop("mine_study", None)


def test_compute_gives_canonical_bytes_of_the_declared_columns():
    (outcome,) = compute(toy(), [{"d": 1, "seed": 0}])
    assert outcome.status == "done"
    assert outcome.result == b'{"pid":0,"value":1.0}'
    assert row(1, 0) == {"value": 1.0, "pid": 0}
