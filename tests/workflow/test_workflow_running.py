import csv
import dataclasses
import json
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from steppe.core import (
    CorruptStoreError,
    InputError,
    NotComputedError,
    ParameterError,
    StoreError,
    UnknownNameError,
)
from steppe.harness import FigureSpec, Store
from steppe.studies import catalog
from steppe.workflow import export, judge, load, load_study, plan, run

TOY = Path(__file__).with_name("toy_study.py")


def quick(study, folder, **options):
    return run(study, size="quick", out=folder, workers=1, **options)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return quick(TOY, tmp_path_factory.mktemp("toy"))


def mine(tmp_path, old, new):
    """The toy study in a file of one's own, with one piece replaced."""
    text = TOY.read_text()
    assert old in text
    path = tmp_path / "mine.py"
    path.write_text(text.replace(old, new))
    return path


def test_a_run_gives_rows_verdicts_figures_and_a_report(ran):
    assert [row.label for row in ran.rows][:2] == ["n=8, seed=0, inputs=fair", "n=8, seed=1, inputs=fair"]
    assert len(ran.rows.done) == 6
    assert ran.verdicts["bounded"] is ran.verdicts["toy/bounded"]
    assert ran.verdicts["bounded"].state == "holds"
    assert "bounded" in ran.verdicts
    assert ran.verdicts.get("nothing") is None
    assert ran.controls["too-small"].rejected is True
    assert ran.headline == "6 means: holds."
    assert ran.report.read_text(encoding="utf-8").count("6 means: holds.") >= 1
    assert ran.ok
    assert ran.exit_code() == ran.exit_code(strict=True) == 0
    assert repr(ran).startswith("StudyResult(toy: 6 rows; claims: 1 holds, 1 ")


def test_the_numbers_are_those_of_the_row_function(ran):
    study = ran.study
    for row in ran.rows:
        parts = {"inputs": study.slots["inputs"].parts["fair"]}
        assert dict(row.result) == study.row(**row.cell, parts=parts)


def test_figures_save_themselves(ran, tmp_path):
    assert ran.figures["decay"].save(tmp_path / "decay.pdf").read_bytes().startswith(b"%PDF")


def test_rows_name_the_command_that_makes_them(ran):
    command = ran.rows[0].command
    assert command.startswith(f"steppe run {TOY} --quick --out ")
    assert command.endswith("""--where 'n==8 and seed==0 and inputs=="fair"'""")


def test_pandas_has_one_line_per_row(ran):
    table = ran.to_pandas()
    assert list(table.columns) == ["status", "key", "n", "seed", "inputs", "error", "bound", "path"]
    assert np.array_equal(table["error"], ran.rows.column("error"))


def test_without_pandas_the_remedy_is_named(ran, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotComputedError, match=r"pip install 'steppe\[data\]'"):
        ran.to_pandas()


def test_sizes_share_the_store_and_judge_what_was_asked_for(ran):
    whole = run(TOY, out=ran.folder, workers=1)
    assert (whole.summary.total, whole.summary.reused, whole.summary.computed) == (12, 6, 6)
    assert judge(TOY, out=ran.folder).verdicts["bounded"].rows == 12  # what the last run asked for
    again = quick(TOY, ran.folder)
    assert again.summary.computed == 0
    assert again.verdicts["bounded"].rows == 6
    assert judge(TOY, out=ran.folder).verdicts["bounded"].rows == 6
    assert judge(TOY, out=ran.folder, size="default").verdicts["bounded"].rows == 12
    assert judge(TOY, out=ran.folder, where="n>8").verdicts["bounded"].rows == 4
    assert len(load(TOY, out=ran.folder, grid={"n": [8]}, size="quick").rows) == 2
    assert [row.key for row in again.rows] == [row.key for row in ran.rows]
    assert [dict(row.result) for row in again.rows] == [dict(row.result) for row in ran.rows]


def test_load_touches_nothing(ran):
    before = {path.name: path.stat().st_mtime_ns for path in ran.folder.iterdir() if path.suffix in (".html", ".json")}
    load(TOY, out=ran.folder)
    assert before == {name: (ran.folder / name).stat().st_mtime_ns for name in before}


def test_csv_holds_every_number(ran, tmp_path):
    path = export(TOY, out=ran.folder, to=tmp_path / "toy.csv")
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if int(line["seed"]) < 2]
    assert [float(line["error"]) for line in lines] == list(ran.rows.column("error"))
    assert [json.loads(line["path"]) for line in lines] == [row["path"] for row in ran.rows]
    assert {line["status"] for line in lines} == {"done"}


def test_parquet_holds_curves_as_lists(ran, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = export(TOY, out=ran.folder, to=tmp_path / "toy.parquet")
    found = parquet.read_table(path, columns=["path", "n", "seed"]).to_pylist()
    assert [line["path"] for line in found if line["seed"] < 2] == [row["path"] for row in ran.rows]


def test_without_pyarrow_the_remedy_is_named_and_nothing_is_left(ran, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotComputedError, match="or export with --format csv"):
        export(TOY, out=ran.folder, to=tmp_path / "toy.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_says_so(ran, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be written .*; pass --to a file in another folder"):
        export(TOY, out=ran.folder, to=tmp_path / "file" / "toy.csv")


def test_cells_that_crash_do_not_cost_the_others_or_the_report(tmp_path):
    path = mine(tmp_path, "    mean = ", "    if seed == 1:\n        raise ValueError('no luck')\n    mean = ")
    found = quick(path, tmp_path / "out")
    assert (len(found.rows.done), len(found.crashed)) == (3, 3)
    assert found.exit_code() == found.exit_code(strict=True) == 4
    assert not found.ok
    assert "no luck" in found.report.read_text(encoding="utf-8")
    again = quick(mine(tmp_path, "n=(8", "n=(8"), tmp_path / "out")  # the file is mended: only the crashed are computed
    assert (again.summary.computed, again.exit_code()) == (3, 0)


def test_a_report_is_written_even_if_no_cell_succeeded(tmp_path):
    found = quick(mine(tmp_path, "    mean = ", "    raise OSError('nothing works')\n    mean = "), tmp_path / "out")
    assert len(found.rows.done) == 0
    assert {verdict.state for verdict in found.verdicts.values()} == {"not judged"}
    assert found.exit_code() == 4
    assert found.verdict_code() == 3
    assert "nothing works" in found.report.read_text(encoding="utf-8")


def test_divergence_is_a_status_and_not_a_crash(tmp_path):
    text = "    if n == 8:\n        return Diverged('too large a step')\n    mean = "
    path = mine(tmp_path, "    mean = ", text)
    path.write_text(path.read_text().replace("import AtMost", "import Diverged, AtMost"))
    found = quick(path, tmp_path / "out")
    assert len(found.rows.with_status("diverged")) == 2
    assert found.exit_code() == 0
    csv_file = export(path, out=tmp_path / "out").read_text()
    assert "too large a step" in csv_file


def test_one_bad_figure_does_not_cost_the_others(ran):
    study = dataclasses.replace(
        ran.study,
        figures=(*ran.study.figures, FigureSpec("bad", lambda rows: 1 / 0), FigureSpec("odd", lambda rows: "a text")),
        headline=lambda rows, verdicts: verdicts["nothing-of-the-kind"].words,
    )
    found = judge(study, out=ran.folder)
    assert list(found.figures) == ["decay"]
    assert found.headline == ""
    assert found.problems["figure bad"].endswith("ZeroDivisionError: division by zero")
    assert "must return a Figure, got str" in found.problems["figure odd"]
    assert "there are bounded, rate" in found.problems["headline"]
    page = found.report.read_text(encoding="utf-8")
    assert "ZeroDivisionError" in page
    assert "there are bounded, rate" in page


def test_a_failing_theorem_and_a_powerless_control_reach_the_exit_code(ran, tmp_path):
    bounded, rate = ran.study.claims
    wrong = dataclasses.replace(ran.study, claims=(dataclasses.replace(bounded, right=0.0), rate))
    assert judge(wrong, out=ran.folder).verdict_code() == 1
    (control,) = ran.study.controls
    powerless = dataclasses.replace(control, claim=dataclasses.replace(control.claim, right=5.0))
    found = judge(dataclasses.replace(ran.study, controls=(powerless,)), out=ran.folder)
    assert (found.verdict_code(), found.exit_code()) == (3, 0)
    assert not found.ok


def test_changed_bands_and_stale_rows_are_told(ran, tmp_path):
    page = judge(TOY, out=ran.folder).report.read_text(encoding="utf-8")
    assert "fixed before the first row" in page
    bounded, rate = ran.study.claims
    moved = dataclasses.replace(ran.study, claims=(bounded, dataclasses.replace(rate, low=-1.0)))
    assert "changed after the first row" in judge(moved, out=ran.folder).report.read_text(encoding="utf-8")
    path = mine(tmp_path, "Means of signs", "Means of signs")
    assert quick(path, tmp_path / "out").stale == 0
    mine(tmp_path, "signs[:3]", "signs[:2]")
    assert quick(path, tmp_path / "out").stale == 6
    fresh = quick(path, tmp_path / "out", refresh="stale")
    assert (fresh.stale, fresh.summary.computed) == (0, 6)
    assert len(fresh.rows[0]["path"]) == 2


def test_a_folder_is_judged_by_the_study_it_names(ran):
    with pytest.raises(
        UnknownNameError, match=r"holds rows of 'toy', which steppe does not know.*steppe judge \./yours\.py"
    ):
        judge(ran.folder)
    with pytest.raises(InputError, match="are both folders"):
        judge(ran.folder, out=ran.folder)


def test_a_folder_of_a_known_study_is_judged_and_exported(ran, tmp_path, monkeypatch):
    (tmp_path / "toy_package_of_another.py").write_text(TOY.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("toy", "toy_package_of_another:STUDY", catalog.ENTRY_POINTS)
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point])
    assert judge(ran.folder, size="quick").verdicts["bounded"].state == "holds"
    assert (
        export(ran.folder, to=tmp_path / "rows.csv")
        .read_text()
        .startswith("key,status,reason,stale,absent,n,seed,inputs,error")
    )


def test_a_plan_says_what_is_left(ran, tmp_path):
    assert len(plan(TOY, out=tmp_path / "new").todo()) == 12
    planned = plan(TOY, out=ran.folder, quick=True, extend={"seed": [7]}, where="n==8")
    assert planned.todo() == [{"n": 8, "seed": 7, "inputs": "fair"}]
    assert planned.command == f"steppe run {TOY} --quick --add seed=7 --where n==8 --out {ran.folder}"
    assert len(plan(TOY, out=ran.folder, quick=True, refresh="all").todo()) == 6
    assert not (tmp_path / "new").exists()


def test_the_default_folder_is_below_the_current_one():
    assert plan(TOY).folder == Path("runs/toy")


@pytest.mark.door
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"on": "cloud://host:8786"}, "`on` must be 'local', .*, got 'cloud://host:8786'"),
        ({"on": "local:0"}, r"`on` must be"),
        ({"on": "local:2", "workers": 3}, "contradict each other"),
        ({"workers": 0}, "`workers` must be ≥ 1, got 0"),
        ({"deadline": 0}, "`deadline` must be > 0"),
        ({"retries": -1}, "`retries` must be ≥ 0"),
        ({"stack": 0}, "`stack` must be ≥ 1"),
        ({"refresh": "old"}, "`refresh` must be one of 'stale', 'all'"),
        ({"quick": True, "size": "full"}, "exclude each other"),
    ],
)
def test_options_that_cannot_be_used(options, says):
    with pytest.raises((ParameterError, UnknownNameError), match=says):
        plan(TOY, **options)
    assert plan(TOY, on="local:3").workers == 3


def test_an_executor_of_ones_own_computes_and_limits_are_part_of_the_command(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        found = quick(TOY, tmp_path, on=pool, deadline=60, retries=2, stack=None)
    assert found.summary.done == 6
    assert {row.provenance["engine"] for row in found.rows} == {"ThreadPoolExecutor"}
    planned = plan(TOY, on="local:2", deadline=60, retries=2, stack=3)
    assert planned.command == f"steppe run {TOY} --deadline 60 --retries 2"
    assert (planned.deadline, planned.retries, planned.stack) == (60, 2, 3)
    assert plan(TOY).command == f"steppe run {TOY}"


def test_another_study_in_the_folder_is_refused(ran, tmp_path):
    other = mine(tmp_path, 'slug="toy"', 'slug="other"')
    with pytest.raises(StoreError, match="must hold the study `other`, got rows of `toy`"):
        quick(other, ran.folder)


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(StoreError, match="run the study first"):
        judge(TOY, out=tmp_path)
    with Store(tmp_path / "empty"):
        pass
    with pytest.raises(NotComputedError, match="holds no row of toy, revision 1"):
        judge(TOY, out=tmp_path / "empty")


def test_a_foreign_store_is_reported_and_kept(tmp_path):
    path = tmp_path / "study.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE recipes (name)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match="database of another program"):
        quick(TOY, tmp_path)
    assert path.read_bytes() == before


def test_a_damaged_note_of_the_last_run_is_reported_and_kept(ran):
    note = ran.folder / "asked.json"
    content = note.read_text()
    try:
        note.write_text(content[:-20])
        with pytest.raises(CorruptStoreError, match="nothing was deleted"):
            judge(TOY, out=ran.folder)
        assert note.read_text() == content[:-20]
        assert judge(TOY, out=ran.folder, size="quick").ok
    finally:
        note.write_text(content)


def test_progress_hears_of_every_cell(tmp_path):
    class Listener:
        def __init__(self):
            self.heard = []

        def start(self, total, done, work):
            self.heard.append((total, done))

        def advance(self, status, label, work, *, seconds, reason):
            self.heard.append((status, label))

        def finish(self):
            self.heard.append("finished")

    listener = Listener()
    run(load_study(TOY), quick=True, where="n==8", out=tmp_path, workers=1, progress=listener)
    assert listener.heard[0] == (2, 0)
    assert sorted(listener.heard[1:3]) == [("done", "n=8, seed=0, inputs=fair"), ("done", "n=8, seed=1, inputs=fair")]
    assert listener.heard[3:] == ["finished"]
