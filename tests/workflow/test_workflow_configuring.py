"""A run from a file gives the plan that the options would, and options count more."""

import json
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.core import InputError, KindError
from steppe.harness import Grid
from steppe.workflow import Configuration, plan, plan_configured, read_configuration

pytestmark = pytest.mark.door
TOY = Path(__file__).with_name("toy_study.py")
TOML = """
# a sweep
size = "quick"
where = "seed < 2"
workers = 2
out = "mine"

[set]
n = [8, 16]

[add]
seed = 5
"""
JSON = {"size": "quick", "where": "seed < 2", "workers": 2, "out": "mine", "set": {"n": [8, 16]}, "add": {"seed": 5}}


def written(tmp_path, text, name="sweep.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.fixture(params=["toml", "json"])
def sweep(request, tmp_path):
    text = TOML if request.param == "toml" else json.dumps(JSON)
    return written(tmp_path, text, f"sweep.{request.param}")


def test_a_file_asks_for_what_the_options_ask_for(sweep):
    found = plan_configured(sweep, TOY)
    same = plan(TOY, size="quick", grid={"n": [8, 16]}, extend={"seed": [5]}, where="seed < 2", workers=2, out="mine")
    assert found.cells == same.cells
    assert len(found.cells) == 4
    assert (found.size, found.workers, found.folder) == ("quick", 2, Path("mine"))
    assert found.row_command == same.row_command


def test_options_count_more_than_the_file(sweep):
    found = plan_configured(sweep, TOY, size="default", where="n == 16", workers=1, out="other", extend={"seed": [7]})
    assert (found.size, found.workers, found.folder) == ("default", 1, Path("other"))
    assert [cell["seed"] for cell in found.cells] == [0, 1, 2, 3, 7]
    assert {cell["n"] for cell in found.cells} == {16}
    assert plan_configured(sweep, TOY, grid={"seed": [1]}).grid.axes["n"] == [8, 16]  # other axes stay the file's
    assert plan_configured(sweep, TOY, grid=None, where=None, extend={}).cells == plan_configured(sweep, TOY).cells


def test_the_study_may_stand_in_the_file_by_its_slug(tmp_path):
    found = plan_configured(written(tmp_path, 'study = "neural-shattering"\nsize = "quick"'))
    assert found.study.slug == "neural-shattering"
    assert plan_configured(written(tmp_path, 'study = "neural-shattering"'), TOY).study.slug == "toy"


def test_a_file_imports_and_executes_nothing(tmp_path):
    trap = written(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\n", "trap.py")
    for said in (str(trap), "./trap.py", "trap.py", "folder/trap"):
        with pytest.raises(InputError, match=r"`study` must be a slug, got .* a configuration imports no file"):
            plan_configured(written(tmp_path, f"study = {json.dumps(said)}"))
    for said in ("trap", "trap:STUDY", "os.path"):
        with pytest.raises(InputError, match="unknown `study`"):
            plan_configured(written(tmp_path, f"study = {json.dumps(said)}"))
    assert not (tmp_path / "ran").exists()


def test_everything_it_can_say_is_a_field():
    assert Configuration().set == {}
    assert set(Configuration.__struct_fields__) == {
        "study", "size", "set", "add", "where", "on", "workers", "deadline", "retries", "stack", "out", "refresh",
    }  # fmt: skip


def test_all_options_reach_the_plan(tmp_path):
    text = 'on = "local:3"\ndeadline = 60\nretries = 2\nstack = "all"\nrefresh = "stale"'
    found = plan_configured(written(tmp_path, text), TOY)
    assert (found.on, found.deadline, found.retries, found.stack, found.refresh) == ("local:3", 60, 2, None, "stale")
    assert plan_configured(written(tmp_path, "stack = 4"), TOY).stack == 4
    assert plan_configured(written(tmp_path, "stack = 4"), TOY, stack=None).stack is None
    assert plan_configured(written(tmp_path, "stack = 4"), TOY, stack=2).stack == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stduy = 'toy'", r"unknown `option` 'stduy'; did you mean 'study'\?"),
        ("workers = '2'", r"`workers` must be an integer, got a text; write workers = 4"),
        ("workers = true", r"`workers` must be an integer, got true or false"),
        ("workers = 0", r"`workers` must be ≥ 1, got 0"),
        ("size = 'quik'", r"`size` must be one of .* did you mean 'quick'\?"),
        ("refresh = 3", r"`refresh` must be a text, got an integer; write refresh = "),
        ("set = 3", r"`set` must be a table, got an integer; write \[set\]"),
        ("[set]\nsed = 1", r"`set\.sed`: unknown `axis` 'sed'; did you mean 'seed'\?"),
        ("[set]\nseed = [0, 1, 'x']", r"`set\.seed\[2\]`: axis `seed` holds numbers, got 'x'"),
        ("[set]\nseed = []", r"`set\.seed` must have at least one value, got none"),
        ("[set]\nseed = [0, [1]]", r"`set\.seed\[1\]` must be a number, .* got a list in a list"),
        ("[set]\nseed = {a = 1}", r"`set\.seed` must be a number, .* got a table"),
        ("[set]\nseed = [0, nan]", r"`set\.seed\[1\]` must be finite, got nan"),
        ("[set]\nn = 1979-05-27", r"`set\.n` must be a number, .* got a date; put it in quotes"),
        ("[set]\n'odd name' = 1e400", r"`set\.'odd name'` must be finite, got inf"),
        ("[add]\ninputs = ['fair', 'fairr']", r"`add\.inputs\[1\]`: unknown `inputs` 'fairr'; did you mean 'fair'\?"),
        ("[set]\nn = [9223372036854775808]", r"`set\.n\[0\]` must fit 64 bits"),
        ("where = 'sed < 2'", r"`where`: unknown `axis` 'sed'; did you mean 'seed'\?"),
        ("where = 'seed > 99'", r"`where`: no cell of toy is left"),
        ("out = ''", r"`out` must be a path, got an empty text"),
        ('out = "a\\u0000b"', r"`out` must be a path, got one with a NUL character"),
        ("on = 'cloud'", r"`on` must be"),
        ("size = \nworkers = 1", r"no TOML \(Invalid value \(at line 1, column \d+\)\); correct it"),
        ("size = 'quick'\nsize = 'full'\n", r"no TOML \(Cannot overwrite a value \(at line 2"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_place(tmp_path, text, says):
    with pytest.raises((InputError, KindError), match=r"sweep\.toml: " + says):
        plan_configured(written(tmp_path, text), TOY)


def test_axes_that_only_work_together_are_not_blamed_alone(tmp_path):
    from steppe.workflow import load_study

    pairs = load_study(TOY).with_grid(
        Grid(n=(8, 32), seed=(0, 1), inputs="fair").where(lambda c: c["n"] == 8 * c["seed"])
    )
    text = "[set]\nn = [40]\nseed = [5]"
    assert len(plan_configured(written(tmp_path, text), pairs).cells) == 1
    with pytest.raises(InputError, match=r"sweep\.toml: `set\.seed\[0\]`: axis `seed` holds numbers"):
        plan_configured(written(tmp_path, text.replace("5", "'5'")), pairs)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must be a \.toml or \.json file"):
        read_configuration(written(tmp_path, "", "sweep.yaml"))
    with pytest.raises(InputError, match="is no file"):
        read_configuration(tmp_path / "nothing.toml")
    with pytest.raises(InputError, match=r"`study` must be given, got none"):
        plan_configured(written(tmp_path, ""))


def test_the_command_line_takes_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = written(tmp_path, TOML)
    assert main(["run", str(TOY), "--config", str(sweep), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 4
    assert main(["run", str(TOY), "--config", str(sweep), "--where", "n == 8", "--full", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == 5
    assert main(["run", "--config", str(sweep), "--dry-run"]) == 2
    assert "`study` must be given" in capsys.readouterr().err
    assert main(["run", str(TOY), "--config", str(sweep), "--workers", "1", "--where", "n == 8 and seed == 0"]) == 0
    assert (tmp_path / "mine" / "study.db").is_file()
