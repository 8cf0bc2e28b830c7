"""What is written as a table is what the rows hold, as other programs read it."""

import csv
import json
import math
import os
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.core import InputError, StoreError, UnknownNameError
from steppe.harness import AtMost, Control, Grid, Record, Row, Rows, Store, Study, canonical, keys_of
from steppe.workflow import export
from steppe.workflow.exporting import write_rows

pytestmark = pytest.mark.door
TOY = Path(__file__).with_name("toy_study.py")
WORDS = [
    "plain",
    "",
    "Grüße, „Größe“ 🙂",
    'a "quoted", line\nand another\r\n',
    "=1+1",
    "1",
    "nan",
    "\u202eright",
    "None",
]


def rows_of(*results, status="done", error="", absent=None):
    return Rows(
        [
            Row(cell={"n": i}, result=result, absent=absent or {}, key=f"k{i}", status=status, error=error)
            for i, result in enumerate(results)
        ],
        "made",
    )


def columns(rows):
    return list(dict.fromkeys(name for row in rows for name in row.result))


def parquet(path, rows, names=None):
    module = pytest.importorskip("pyarrow.parquet")
    write_rows(rows, columns(rows) if names is None else names, path, "parquet")
    return module.read_table(path)


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


VALUES = {
    "float": [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3],
    "integer": [0, -1, 2**63 - 1, -(2**63), 7],
    "bool": [True, False, True, True, False],
    "text": ["plain", "Grüße 🙂", 'a "quoted", line\nand another', "=1+1", "\u202eright"],
    "curve": [[1.0, 0.5], [], [1e-300], [2.0, -0.0], [0.1] * 3],
    "steps": [[1, 2], [2**60 + 1], [], [0], [-5]],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("holes", [False, True])
def test_parquet_keeps_values_and_types_exactly(tmp_path, name, holes):
    arrow = pytest.importorskip("pyarrow")
    types = {"float": arrow.float64(), "integer": arrow.int64(), "bool": arrow.bool_(), "text": arrow.string(),
             "curve": arrow.list_(arrow.float64()), "steps": arrow.list_(arrow.int64())}  # fmt: skip
    values = [*VALUES[name][:-1], None if holes else VALUES[name][-1]]
    rows = rows_of(*({} if value is None else {"x": value} for value in values))
    table = parquet(tmp_path / "rows.parquet", rows)
    assert table.schema.field("x").type.equals(types[name])
    found = table.column("x").to_pylist()
    assert repr(found) == repr(values)
    assert table.column("n").to_pylist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1, 2**53], "int64", [1, 2**53]),
        ([2**53 + 1, 0.5], "string", [str(2**53 + 1), "0.5"]),
        ([True, 1], "string", ["true", "1"]),
        (["a", 1, None], "string", ["a", "1", None]),
        ([[1, 2.5], [3]], "list<element: double>", [[1.0, 2.5], [3.0]]),
        ([[2**53 + 1, 0.5], [3]], "string", [f"[{2**53 + 1}, 0.5]", "[3]"]),
        ([[1.0], 2.0], "string", ["[1.0]", "2.0"]),
        ([None, None], "double", [None, None]),
        ([[], []], "list<element: double>", [[], []]),
    ],
)
def test_a_parquet_column_has_one_type_and_loses_no_digit(tmp_path, values, kind, read):
    rows = rows_of(*({} if value is None else {"x": value} for value in values))
    table = parquet(tmp_path / "rows.parquet", rows, ["x"])
    assert str(table.schema.field("x").type) == kind
    assert table.column("x").to_pylist() == read


def test_parquet_is_zstd_and_pandas_reads_it(tmp_path):
    module, pandas = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pandas")
    path = tmp_path / "rows.parquet"
    parquet(path, rows_of({"x": 1.5, "word": "ü", "curve": [1.0]}, {"x": 2.5}))
    group = module.ParquetFile(path).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    frame = pandas.read_parquet(path)
    assert list(frame["x"]) == [1.5, 2.5]
    assert frame["word"][0] == "ü"
    assert pandas.isna(frame["word"][1])


def test_csv_keeps_every_number_and_letter(tmp_path):
    rows = rows_of(*({"x": x, "word": w, "curve": [x, 1.0]} for x, w in zip(VALUES["float"], WORDS, strict=False)))
    lines = read_csv(write_rows(rows, columns(rows), tmp_path / "rows.csv", "csv"))
    assert [float(line["x"]) for line in lines] == VALUES["float"]
    assert math.copysign(1, float(lines[1]["x"])) == -1
    assert [line["word"] for line in lines] == WORDS[:5]
    assert [json.loads(line["curve"]) for line in lines] == [[x, 1.0] for x in VALUES["float"]]


def test_pandas_reads_the_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    rows = rows_of({"x": 1, "y": 0.1, "ok": True}, {"x": 2}, {"x": 3, "y": 1 / 3, "ok": False})
    frame = pandas.read_csv(write_rows(rows, ["x", "y", "ok"], tmp_path / "rows.csv", "csv"))
    assert list(frame["x"]) == [1, 2, 3]
    assert frame["y"][2] == 1 / 3
    assert pandas.isna(frame["y"][1])
    assert list(frame["ok"].dropna()) == [True, False]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_the_status_and_reason_of_rows_without_numbers_survive(tmp_path, format):
    pandas = pytest.importorskip("pandas")
    stack = "Traceback (most recent call last):\n  File 'x'\nMemoryError: 4 GB asked for, naïvely"
    rows = Rows(
        [
            *rows_of({"x": 1.0}),
            *rows_of({}, status="failed", error=stack),
            *rows_of({}, status="diverged", error="loss is ∞", absent={"x": "diverged: loss is ∞"}),
            *rows_of({}, status="killed"),
        ]
    )
    path = write_rows(rows, ["x"], tmp_path / f"rows.{format}", format)
    frame = pandas.read_csv(path) if format == "csv" else pandas.read_parquet(path)
    assert list(frame["status"]) == ["done", "failed", "diverged", "killed"]
    assert list(frame["reason"][1:3]) == ["MemoryError: 4 GB asked for, naïvely", "loss is ∞"]
    assert pandas.isna(frame["reason"][3])
    assert json.loads(frame["absent"][2]) == {"x": "diverged: loss is ∞"}
    assert list(frame["x"].isna()) == [False, True, True, True]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_study_may_use_our_names(tmp_path, format):
    pandas = pytest.importorskip("pandas")
    rows = Rows([Row(cell={"key": "mine", "n": 1}, result={"status": 3, "reason": "told"}, key="k")])
    path = write_rows(rows, ["status", "reason"], tmp_path / f"rows.{format}", format)
    frame = pandas.read_csv(path) if format == "csv" else pandas.read_parquet(path)
    assert list(frame.columns) == [
        "row_key",
        "row_status",
        "row_reason",
        "stale",
        "absent",
        "key",
        "n",
        "status",
        "reason",
    ]
    assert (frame["row_key"][0], frame["key"][0], frame["row_status"][0], frame["status"][0]) == (
        "k",
        "mine",
        "done",
        3,
    )


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_no_rows_are_a_table_with_names(tmp_path, format):
    pandas = pytest.importorskip("pandas")
    path = write_rows(Rows([]), ["x"], tmp_path / f"rows.{format}", format)
    frame = pandas.read_csv(path) if format == "csv" else pandas.read_parquet(path)
    assert list(frame.columns) == ["key", "status", "reason", "stale", "absent", "x"]
    assert len(frame) == 0


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("before")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_rows(rows_of({"x": 1}), ["x"], path, "csv")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


@pytest.fixture
def folder(tmp_path):
    """A folder with the rows of the toy study, one of them failed."""
    from steppe.workflow import load_study

    study = load_study(TOY)
    cells = study.grid_of("quick").cells()
    result = canonical({"error": 0.5, "bound": 1.0, "path": [1.0]})
    records = [
        Record(key=key, cell=cell, status="failed" if i == 1 else "done", result=None if i == 1 else result)
        for i, (key, cell) in enumerate(zip(keys_of(study, cells), cells, strict=True))
    ]
    with Store(tmp_path / "run") as store:
        store.write(study, records)
    return tmp_path / "run"


def test_the_command_goes_by_the_ending(folder, tmp_path, capsys):
    module = pytest.importorskip("pyarrow.parquet")
    for name in ("x.parquet", "y.PARQUET", "z.csv", "new/folder/w.parquet"):
        assert main(["export", str(TOY), "--out", str(folder), "--to", str(tmp_path / name)]) == 0
    assert module.read_table(tmp_path / "x.parquet").column("status").to_pylist().count("failed") == 1
    assert [module.read_table(tmp_path / name).num_rows for name in ("y.PARQUET", "new/folder/w.parquet")] == [6, 6]
    assert len(read_csv(tmp_path / "z.csv")) == 6
    assert main(["export", str(TOY), "--out", str(folder), "--format", "parquet"]) == 0
    assert (folder / "toy.parquet").read_bytes().startswith(b"PAR1")
    assert str(folder / "toy.parquet") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"to": "x.parquet", "format": "csv"}, InputError, "contradict each other"),
        ({"to": "x.csv", "format": "parquet"}, InputError, "contradict each other"),
        ({"format": "xlsx"}, UnknownNameError, "`format` must be one of 'parquet', 'csv'"),
    ],
)
def test_contradictions_are_refused(folder, options, error, says):
    with pytest.raises(error, match=says):
        export(TOY, out=folder, **options)


def test_declared_columns_without_a_value_are_there(tmp_path):
    study = Study(
        slug="made",
        columns={"x": "1", "never": "1"},
        grid=Grid(n=(1,)),
        row=lambda n: {},
        claims=(AtMost("a", "a", left="x", right=1),),
        controls=(Control(AtMost("b", "b", left="x", right=0), "a", "0"),),
    )
    record = Record(key=keys_of(study, [{"n": 1}])[0], cell={"n": 1}, status="failed", error="boom")
    with Store(tmp_path) as store:
        store.write(study, [record])
    (line,) = read_csv(export(study, out=tmp_path))
    assert (line["status"], line["reason"], line["x"], line["never"]) == ("failed", "boom", "", "")
