import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from steppe.core import InputError, KindError, UnknownNameError
from steppe.studies import catalog
from steppe.workflow import load_study

pytestmark = pytest.mark.door
TOY = Path(__file__).with_name("toy_study.py")


def written(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_a_file_is_loaded_under_a_private_name_and_leaves_nothing_beside_it(tmp_path):
    path = written(tmp_path, TOY.read_text())
    study = load_study(path)
    assert study.slug == "toy"
    assert load_study(str(path)).slug == "toy"
    assert study.row.__module__.startswith("_steppe_study_mine_")
    assert study.row.__module__ in sys.modules
    assert "mine" not in sys.modules
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]
    assert load_study(study) is study


def test_an_edit_counts_at_once(tmp_path):
    path = written(tmp_path, TOY.read_text())
    assert load_study(path).title == "Means of signs"
    written(tmp_path, TOY.read_text().replace("Means of signs", "Means of sings"))  # same size, same second
    assert load_study(path).title == "Means of sings"


def test_a_file_may_import_its_neighbour(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("TITLE = 'from beside'\n")
    path = written(
        tmp_path, "import neighbour_of_mine\n" + TOY.read_text().replace('"Means of signs"', "neighbour_of_mine.TITLE")
    )
    assert load_study(path).title == "from beside"


def test_an_unknown_slug_names_the_closest_and_all(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match=r"'neural-shatering'.*did you mean 'neural-shattering'\?"):
        load_study("neural-shatering")
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "")
    with pytest.raises(UnknownNameError, match=r"for the file beside you write \./mine\.py"):
        load_study("mine")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", r"holds no STUDY; add `STUDY = "),
        ("from steppe.harness import *\nSTUDY = 3\n", r"STUDY in .* must be a steppe Study, got int"),
        ("x = 1\ndef f(:\n", r"mine\.py, line 2: SyntaxError: invalid syntax; correct the file"),
        (
            "x = 1\n\ny = undefined_name + 1\n",
            r"mine\.py, line 3: NameError: name 'undefined_name' .*\n    y = undefined_name",
        ),
        (
            "import no_such_package_at_all\n",
            r"mine\.py, line 1: ModuleNotFoundError: No module named 'no_such_package_at_all'",
        ),
        ("import sys\nsys.exit(3)\n", r"mine\.py, line 2: SystemExit: 3"),
        (
            "from steppe.harness import Grid\nGrid(n=[])\n",
            r"mine\.py, line 2: DataError: axis `n` must have at least one value",
        ),
    ],
)
def test_a_file_that_does_not_work_names_its_line(tmp_path, text, says):
    with pytest.raises((InputError, KindError), match=says):
        load_study(written(tmp_path, text))


def test_a_study_under_another_name_is_pointed_at(tmp_path):
    with pytest.raises(InputError, match="rename MINE to STUDY"):
        load_study(written(tmp_path, TOY.read_text().replace("STUDY =", "MINE =")))


@pytest.mark.parametrize(
    ("study", "error", "says"),
    [
        ("./nothing_here.py", InputError, "is no file; pass the path of a .py file"),
        ("./", InputError, "got the folder"),
        (3, KindError, "must be a slug, a Study or the path of a .py file, got 3"),
    ],
)
def test_what_is_no_study_is_refused(study, error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        load_study(study)


def test_another_package_brings_a_study(tmp_path, monkeypatch):
    (tmp_path / "toy_package_of_a_stranger.py").write_text(TOY.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("stranger", "toy_package_of_a_stranger:STUDY", catalog.ENTRY_POINTS)
    taken = EntryPoint("neural-shattering", "toy_package_of_a_stranger:STUDY", catalog.ENTRY_POINTS)
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point, taken])
    assert load_study("stranger").slug == "toy"
    assert [e.slug for e in catalog.known_studies()].count("neural-shattering") == 1
    gone = EntryPoint("gone", "no_such_package_at_all:STUDY", catalog.ENTRY_POINTS)
    monkeypatch.setattr(catalog, "entry_points", lambda group: [gone])
    with pytest.raises(InputError, match="study 'gone' cannot be loaded from no_such_package_at_all:STUDY"):
        load_study("gone")
