"""Mutated configuration files and mutated words: never a traceback, always a place and a remedy, always at once."""

import json
import random
import string
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.studies import catalog
from steppe.workflow import Configuration

pytestmark = pytest.mark.door
TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
PLACES_NAMED = ("`", ", line ", ", byte ", "at line ", "end of document", "nested too deep", "a dotted key")
PATIENCE = 0.5  # seconds of this process per document

DOCUMENTS = (
    {"study": "toy"},
    {"study": "toy", "size": "quick", "set": {"n": [8, 16], "seed": [0, 1, 2]}, "where": "seed<2"},
    {"study": "toy", "add": {"seed": [5, 6]}, "where": "n in (8, 32) and not seed==1", "workers": 2, "out": "mine"},
    {"study": "toy", "set": {"inputs": "fair", "n": 4}, "on": "local:2", "refresh": "stale"},
    {"study": "neural-shattering", "size": "quick", "set": {"seed": [0, 1]}, "where": 'experiment == "network"'},
)
ODD = (
    None, True, False, 0, -1, 1, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, 3.0, 1e19, float("nan"), float("-inf"),
    "", " ", "\0", "a\nb", "\x1b[31mred", "x" * 10_000, "\u0430", "\u202egnp.exe", "\ud800", "{{7*7}}", "f'{seed}'",
    "../../etc/passwd", "/dev/null", "./mine.py", "study.db", "os.system('x')", "__import__('os')", "!!python/object",
    "<script>alert(1)</script>", "local:", "local:0", "local:-1", "dask:", "slurm:", "quick", "fulll", "all", "stale ",
    "seed<", "seed = 1", "n" * 999, "(" * 300 + "1" + ")" * 300, "not " * 200 + "1", "-" * 900 + "1", "seed<3 " * 100,
    "lambda: 1", "seed.real", [], [[]], {}, {"a": {"b": {}}}, [None], [True, 1, "1"], list(range(50)), ["x"] * 50,
    [1, 2, [3]], [{"a": 1}], [float("inf")], [0, 1, "two"],
)  # fmt: skip
WORDS = (
    "seed",
    "n",
    "inputs",
    "set",
    "add",
    "where",
    "study",
    "size",
    "out",
    "x",
    "",
    "a.b",
    "é",
    "\u202e",
    "__class__",
    "$ref",
)


def structured(rng, document):
    """The document with one to three of its values or names replaced, moved or taken away."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.randint(1, 3)):
        table = rng.choice([document, *(v for v in document.values() if isinstance(v, dict))])
        names = list(table) or ["study"]
        name = rng.choice([*names, rng.choice(list(Configuration.__struct_fields__)), rng.choice(WORDS)])
        match rng.randrange(6):
            case 0:
                table.pop(name, None)
            case 1 if name in table:
                table[typo(rng, name)] = table.pop(name)
            case 2 if isinstance(table.get(name), list) and table[name]:
                table[name][rng.randrange(len(table[name]))] = rng.choice(ODD)
            case 3 if name in table:
                table[name] = [table[name]] if rng.random() < 0.5 else {name: table[name]}
            case _:
                table[name] = rng.choice(ODD)
    return document


def typo(rng, word):
    at = rng.randrange(len(word) + 1)
    return rng.choice([word[:at] + word[at + 1 :], word[:at] + rng.choice(string.printable) + word[at:], word.upper()])


def toml(value):
    """A value as TOML; what TOML does not know is written so that it must be refused."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def as_toml(document):
    plain = [f"{json.dumps(name)} = {toml(value)}" for name, value in document.items() if not isinstance(value, dict)]
    tables = [
        "\n".join([f"[{json.dumps(name)}]", *(f"{json.dumps(a)} = {toml(v)}" for a, v in value.items())])
        for name, value in document.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def bytewise(rng, content):
    """The bytes with one to four pieces flipped, dropped, doubled, inserted or cut off."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 1, 2, 8)))
        match rng.randrange(6):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at:end]
            case 2:
                content[at:at] = content[at:end] * rng.choice((1, 5, 200))
            case 3:
                content[at:at] = rng.choice(
                    (b'"', b"'", b'"""', b"[", b"]", b"{", b"}", b"=", b"#", b"\\", b"\x00", b"\xff", b"\r")
                )
            case 4:
                content[at:at] = bytes(rng.randrange(256) for _ in range(3))
            case 5 if rng.random() < 0.2:
                del content[at:]
    return bytes(content)


def mutated(rng):
    """The ending and content of one mutated document."""
    document, ending = rng.choice(DOCUMENTS), rng.choice((".toml", ".json"))
    if rng.random() < 0.6:
        document = structured(rng, document)
    text = as_toml(document) if ending == ".toml" else json.dumps(document, ensure_ascii=rng.random() < 0.5)
    content = text.encode("utf-8", "surrogatepass")
    return ending, bytewise(rng, content) if rng.random() < 0.6 else content


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty current folder, and a toy study that is known by its slug."""
    package = tmp_path / "packages"
    package.mkdir()
    (package / "toy_package_for_mutants.py").write_text(TOY.read_text())
    monkeypatch.syspath_prepend(package)
    point = EntryPoint("toy", "toy_package_for_mutants:STUDY", catalog.ENTRY_POINTS)
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point])
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield here
    sys.modules.pop("toy_package_for_mutants", None)


def told(capsys, arguments):
    """Exit code, stderr, and the seconds of computing it took."""
    start = time.process_time()
    code = main(arguments)
    seconds = time.process_time() - start
    return code, capsys.readouterr().err, seconds


def check_told(code, err, seconds, case):
    assert code in (0, 2), (code, err, case)
    assert "Traceback" not in err, (err, case)
    assert seconds <= PATIENCE, (seconds, case)
    if code == 2:
        assert err.startswith("steppe: "), (err, case)
        assert "\x1b" not in err, (err, case)
        assert len(err) < 2000, (len(err), case)


def check_documents(alone, capsys, seed, count):
    rng = random.Random(seed)
    refused = 0
    main(["run", "neural-shattering", "--quick", "--dry-run"])  # what is imported once is not a document's time
    for _ in range(count):
        ending, content = mutated(rng)
        path = alone / f"sweep{ending}"
        path.write_bytes(content)
        code, err, seconds = told(capsys, ["run", "--config", str(path), "--dry-run"])
        check_told(code, err, seconds, content)
        if code == 2:
            refused += 1
            assert path.name in err, (err, content)
            assert any(place in err for place in PLACES_NAMED), (err, content)
            assert ";" in err, (err, content)
        path.unlink()
    assert list(alone.iterdir()) == []
    assert 0.4 * count < refused < count  # some mutants are valid documents


def test_three_hundred_mutated_documents(alone, capsys):
    check_documents(alone, capsys, seed=0, count=300)


@pytest.mark.fire
@pytest.mark.timeout(1800)
def test_ten_thousand_mutated_documents(alone, capsys):
    check_documents(alone, capsys, seed=1, count=10_000)


BOMBS = {
    "brackets.toml": "set = " + "[" * 30_000,
    "brackets.json": '{"set": ' + "[" * 30_000,
    "closed.json": '{"set": ' + "[" * 9_000 + "]" * 9_000 + "}",
    "hidden.toml": "set = [" + '"]]]]]", [' * 9 + "]" * 10,
    "tables.toml": "[" + ".".join("a" * 9) + "]\nx = 1",
    "dotted.toml": ".".join("a" for _ in range(30_000)) + " = 1",
    "quoted.toml": ".".join('"a,="' for _ in range(10_000)) + " = 1",
    "spaced.toml": " . ".join("a" for _ in range(10_000)) + " = 1",
    "inline.toml": "set = " + "{a = " * 10_000,
    "unclosed.toml": 'study = "' + "x" * 60_000,
    "unclosed3.toml": 'study = """' + '\\"""' * 10_000,
    "apostrophes.toml": "study = " + "'''" * 15_001,
    "large.toml": "study = 'toy'\n" + "# \n" * 100_000,
    "large.json": '{"study": "' + "x" * 10_000_000 + '"}',
    "integer.json": '{"workers": ' + "9" * 60_000 + "}",
    "integer.toml": "workers = " + "9" * 60_000,
    "float.json": '{"deadline": 1e999999}',
    "keys.json": '{"' + '": 1, "'.join(map(str, range(5000))) + '": 1}',
    "twice.json": '{"study": "toy", "study": "neural-shattering"}',
    "twice.toml": "study = 'toy'\nstudy = 'toy'",
    "product.json": json.dumps({"study": "toy", "set": {"n": list(range(1, 5000)), "seed": list(range(5000))}}),
    "added.json": json.dumps({"study": "toy", "add": {"n": list(range(1, 5000)), "seed": list(range(5000))}}),
    "values.json": json.dumps({"study": "toy", "set": {"seed": [*range(9000), "x"]}}),
    "utf16.toml": "study = 'toy'".encode("utf-16"),
    "empty.json": "",
    "list.json": "[1]",
    "null.json": "null",
    "none.toml": "",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_depth_and_size_are_refused_at_once(alone, capsys, name):
    path = alone / name
    content = BOMBS[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, err, seconds = told(capsys, ["run", "--config", str(path), "--dry-run"])
    check_told(code, err, seconds, name)
    assert code == 2
    assert name in err
    assert ";" in err
    assert name.startswith(("large", "utf16", "empty", "none", "list", "null")) or any(p in err for p in PLACES_NAMED)


CONDITIONS = (
    "seed<3",
    "seed<3 and n==8",
    'inputs == "fair"',
    "n in (8, 32)",
    "not seed == 1",
    "1 < n <= 32",
    "-seed < 0",
)
SETTINGS = ("seed=0,1", "n=8", "inputs=fair", "n=8.0", 'seed="0"')
PLACES = ("local", "local:2", "dask://host:8786", "ray", "slurm:partition")


def mutated_word(rng, word):
    if rng.random() < 0.3:
        odd = rng.choice([value for value in ODD if isinstance(value, str)])
        return rng.choice((odd, word + odd, odd + word))
    content = bytewise(rng, word.encode())
    return content.decode("utf-8", rng.choice(("surrogateescape", "replace")))


def check_words(capsys, seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        option, words = rng.choice(
            (("--where", CONDITIONS), ("--set", SETTINGS), ("--add", SETTINGS), ("--on", PLACES), ("--workers", ("2",)))
        )
        word = mutated_word(rng, rng.choice(words))
        if option == "--on" and word.startswith(("dask", "ray", "slurm")):
            continue  # may reach for a cluster
        arguments = ["run", "toy", "--quick", "--dry-run", f"{option}={word}"]
        check_told(*told(capsys, arguments), arguments)


@pytest.mark.usefixtures("alone")
def test_three_hundred_mutated_words(capsys):
    main(["run", "toy", "--dry-run"])
    check_words(capsys, seed=0, count=300)


@pytest.mark.fire
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("alone")
def test_ten_thousand_mutated_words(capsys):
    main(["run", "toy", "--dry-run"])
    check_words(capsys, seed=1, count=10_000)
