"""Names and files made to do harm: nothing is executed, and not a byte goes outside the folder of the run."""

import io
import json
import os
import sqlite3
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from steppe.cli import main
from steppe.harness import Record, Store, canonical, keys_of
from steppe.workflow import diff, export, judge, load_study, run

pytestmark = pytest.mark.door
TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
NAMES = {
    "above": "../outside/x",
    "absolute": "/proc/self/outside",
    "NUL": "in\0out",
    "long": "x" * 10_000,
    "long path": "/".join(["x" * 200] * 25),
    "look-alike": "neural-sh\u0430ttering",
    "reversed": "\u202egnp.txt",
    "surrogate": "a\ud800b",
    "escape": "\x1b]0;owned\x07",
    "newline": "a\nb",
    "option": "--help-me",
    "dots": "..",
    "store": "study.db",
}


def snapshot(folder):
    """Every file below a folder, links not followed, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder for the run, one that must stay as it is, and a current folder."""
    for name in ("here", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    return SimpleNamespace(here=tmp_path / "here", outside=tmp_path / "outside", run=tmp_path / "here" / "run")


def forged(folder, result):
    """The rows of the toy study's quick grid with one result, made without computing."""
    study = load_study(TOY)
    cells = study.grid_of("quick").cells()
    keys = keys_of(study, cells)
    with Store(folder) as store:
        store.write(
            study, [Record(key=k, cell=c, status="done", result=result) for k, c in zip(keys, cells, strict=True)]
        )


@pytest.fixture
def stored(places):
    """A folder with rows, made without computing."""
    forged(places.run, canonical({"error": 0.5, "bound": 1.0, "path": [1.0]}))
    return places


def said(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.out + captured.err
    return code, captured.err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["run", "show", "judge", "export", "diff"])
def test_a_hostile_study_name_is_misuse(places, capsys, command, name):
    word = NAMES[name]
    words = [command, word, "x"] if command == "diff" else [command, word]
    code, err = said(capsys, *words)
    assert code == 2 or (name == "dots" and code == 5)  # a folder without a store
    assert err.startswith("steppe: ")
    assert len(err) < 2000
    assert snapshot(places.here) == {}
    assert snapshot(places.outside) == {"precious": b"mine"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--set", "--add", "--where", "--on"])
def test_a_hostile_value_is_misuse(places, capsys, option, name):
    word = NAMES[name] if option in ("--where", "--on") else f"inputs={NAMES[name]}"
    code, err = said(capsys, "run", TOY, "--quick", "--dry-run", f"{option}={word}")
    assert code == 2
    assert len(err) < 2000
    assert snapshot(places.here) == {}


@pytest.mark.parametrize("name", ["NUL", "long", "long path", "surrogate"])
@pytest.mark.parametrize("words", [("run", "--out"), ("judge", "--out"), ("export", "--out"), ("export", "--to")])
def test_a_path_that_no_system_holds_is_misuse(stored, capsys, words, name):
    before = snapshot(stored.here)
    command, option = words
    more = ["--out", stored.run] if option == "--to" else ["--dry-run"] if command == "run" else []
    code, err = said(capsys, command, TOY, f"{option}={NAMES[name]}", *more)
    assert code == 2
    assert f"`{option[2:]}` must be a path" in err
    assert snapshot(stored.here) == before


@pytest.mark.parametrize(
    "name", ["study.db", "STUDY.DB", "study.lock", "study.mark", "study.db-wal", "asked.json", "report.html"]
)
def test_an_export_takes_no_file_of_the_run(stored, capsys, name):
    before = snapshot(stored.here)
    code, err = said(capsys, "export", TOY, "--out", stored.run, "--to", stored.run / name)
    assert code == 2
    assert "which a run keeps; choose another name" in err
    assert snapshot(stored.here) == before


def test_an_export_replaces_a_link_and_not_what_it_leads_to(stored, capsys):
    link = stored.here / "rows.csv"
    link.symlink_to(stored.outside / "precious")
    (stored.run / "toy.csv").symlink_to(stored.outside / "precious")
    for words in (["--to", link], []):
        assert said(capsys, "export", TOY, "--out", stored.run, *words)[0] == 0
    assert snapshot(stored.outside) == {"precious": b"mine"}
    assert link.read_text().startswith("key,status,")
    assert not link.is_symlink()
    assert (stored.run / "toy.csv").read_text() == link.read_text()


def test_an_export_is_no_folder(stored, capsys):
    code, err = said(capsys, "export", TOY, "--out", stored.run, "--to", stored.outside)
    assert code == 2
    assert "must be a file, got the folder" in err
    assert snapshot(stored.outside) == {"precious": b"mine"}


@pytest.mark.parametrize("name", ["report.html", "asked.json"])
def test_a_page_that_is_a_link_is_replaced_and_not_followed(stored, capsys, name):
    (stored.run / name).unlink(missing_ok=True)
    (stored.run / name).symlink_to(stored.outside / "precious")
    words = ["run", TOY, "--quick", "--workers", "1", "--out", stored.run]
    assert said(capsys, *words)[0] == 0
    assert snapshot(stored.outside) == {"precious": b"mine"}
    assert not (stored.run / name).is_symlink()


@pytest.mark.parametrize("name", ["study.db", "study.lock", "study.db-wal", "study.db-shm", "study.mark"])
@pytest.mark.parametrize("target", ["precious", "new"])
def test_a_store_that_is_a_link_leads_nowhere(places, capsys, name, target):
    places.run.mkdir()
    (places.run / name).symlink_to(places.outside / target)
    code, _ = said(capsys, "run", TOY, "--quick", "--workers", "1", "--where", "n==8 and seed==0", "--out", places.run)
    assert code in (0, 5)  # refused, or the link was put away
    assert snapshot(places.outside) == {"precious": b"mine"}


@pytest.mark.parametrize("command", ["judge", "export", "diff"])
def test_rows_are_not_read_through_a_link(stored, capsys, command):
    stored.run.rename(stored.outside / "run")
    stored.run.mkdir()
    (stored.run / "study.db").symlink_to(stored.outside / "run" / "study.db")
    before = snapshot(stored.outside)
    words = ["diff", stored.run, stored.run] if command == "diff" else [command, TOY, "--out", stored.run]
    code, err = said(capsys, *words)
    assert code == 5
    assert "got a link" in err
    assert snapshot(stored.outside) == before


def test_a_folder_that_is_a_link_is_the_folder_it_leads_to(places, capsys):
    (places.outside / "runs").mkdir()
    (places.here / "linked").symlink_to(places.outside / "runs")
    words = ["run", TOY, "--quick", "--workers", "1", "--where", "n==8 and seed==0", "--out", "linked"]
    assert said(capsys, *words)[0] == 0
    assert (places.outside / "runs" / "study.db").is_file()  # the user named it
    outside = {name for name in snapshot(places.outside) if not name.startswith("runs")}
    assert outside == {"precious"}


def fake_stores(places):
    """Content of a file that is no store of ours."""
    other = places.here / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE cells (key, cell, status, attempts, result, error, provenance)")
    database.close()
    content = {
        "a pickle": f"cbuiltins\nopen\n(V{places.outside / 'ran'}\nVw\ntR.".encode(),
        "a database of another program": other.read_bytes(),
        "random bytes": bytes(range(256)) * 100,
        "a header alone": b"SQLite format 3\0" + b"\xff" * 84,
        "a script": b"#!/bin/sh\ntouch ran\n",
    }
    other.unlink()
    return content


@pytest.mark.parametrize(
    "kind", ["a pickle", "a database of another program", "random bytes", "a header alone", "a script"]
)
@pytest.mark.parametrize("command", ["run", "judge", "export", "diff"])
def test_a_foreign_store_is_told_and_kept(places, capsys, command, kind):
    content = fake_stores(places)[kind]
    places.run.mkdir()
    (places.run / "study.db").write_bytes(content)
    words = ["diff", places.run, places.run] if command == "diff" else [command, TOY, "--out", places.run]
    code, err = said(capsys, *words)
    assert code == 5
    assert "study.db must be a store written by steppe" in err
    assert "nothing was changed or deleted" in err
    assert (places.run / "study.db").read_bytes() == content
    assert snapshot(places.outside) == {"precious": b"mine"}


NOTES = {
    "deep": "[" * 100_000,
    "nested": '{"study": "toy", "revision": 1, "size": "quick", "cells": ' + "[" * 50_000,
    "pickle": "cos\nsystem\n(Vtouch ran\ntR.",
    "cells of cells": json.dumps({"study": "toy", "revision": 1, "size": "quick", "cells": [{"n": [[]]}]}),
    "cells of tables": json.dumps({"study": "toy", "revision": 1, "size": "quick", "cells": [{"inputs": {}}]}),
    "no cells": json.dumps({"study": "toy", "revision": 1, "size": "quick", "cells": 3}),
    "a list": "[]",
}


@pytest.mark.parametrize("kind", NOTES)
def test_a_hostile_note_of_the_last_run_is_told(stored, capsys, kind):
    (stored.run / "asked.json").write_text(NOTES[kind], encoding="latin-1")
    code, err = said(capsys, "judge", TOY, "--out", stored.run)
    assert code == 5
    assert "asked.json must be the note of the last run" in err
    assert (stored.run / "asked.json").read_text(encoding="latin-1") == NOTES[kind]


RESULTS = {
    "no JSON": b"\x80\x04.",
    "a list": b"[1]",
    "a number": b"3",
    "deep": b'{"error": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a table": b'{"error": {"a": 1}, "bound": 1.0, "path": [1.0]}',
    "words in a curve": b'{"error": 1, "bound": 1.0, "path": ["<b>", null, {}]}',
    "other columns": b'{"evil": 1}',
    "a huge integer": b'{"error": ' + b"9" * 4000 + b', "bound": 1.0, "path": [1.0]}',
    "infinite": b'{"error": 1e999, "bound": 1.0, "path": [1.0]}',
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("command", ["judge", "export", "diff"])
def test_forged_rows_are_told_or_shown_and_never_a_traceback(places, capsys, command, kind):
    forged(places.run, RESULTS[kind])
    words = ["diff", places.run, places.run, "--study"] if command == "diff" else [command, "--out", places.run]
    words.append(TOY)
    code, err = said(capsys, *words)
    assert code in (0, 1, 3, 5), err
    assert "mistake in steppe" not in err, err


def test_markup_and_control_signs_of_others_reach_no_terminal(places, capsys):
    study = load_study(TOY)
    escape = "\x1b[2J\x1b]0;owned\x07\u202eevil"
    with Store(places.run) as store:
        forged = SimpleNamespace(slug=escape, revision=1, claims=study.claims, controls=study.controls)
        record = Record(key="0" * 64, cell={"n": escape}, status="failed", error=escape, provenance={"host": escape})
        store.write(forged, [record])
    for words in (["diff", places.run, places.run], ["judge", places.run], ["export", places.run]):
        main([str(word) for word in words])
        captured = capsys.readouterr()
        for sign in ("\x1b", "\x07", "\u202e"):
            assert sign not in captured.out + captured.err


def header(content, length=None):
    """A safetensors file with this header."""
    return struct.pack("<Q", len(content) if length is None else length) + content


NETWORKS = {
    "a pickle": b"cbuiltins\nopen\n(Vran\nVw\ntR.",
    "empty": b"",
    "half a length": b"\x01\x02",
    "a length beyond everything": header(b"{}", 2**63),
    "a length beyond the file": header(b"{}", 10**6),
    "a deep header": header(b"[" * 200_000),
    "a header of numbers": header(b"[1, 2]"),
    "entries of numbers": header(b'{"w": 1}'),
    "entries without dtype": header(b'{"w": {}}'),
    "a shape beyond memory": header(b'{"w": {"dtype": "F64", "shape": [1099511627776], "data_offsets": [0, 8]}}'),
    "no UTF-8": header(b"\xff\xfe"),
}  # fmt: skip
DATA = {
    "pickled.npz": b"PK\x03\x04" + b"\x00" * 40,
    "objects.npz": None,
    "bomb.npz": None,
    "wide.csv": b'"' + b"x" * 200_000 + b'"\n1,2\n',
    "nul.csv": b"1,2\n3,\x004\n",
    "long.csv": b"1," * 50_000 + b"1\n2\n",
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_hostile_networks_are_misuse(places, capsys, kind):
    pytest.importorskip("safetensors")
    (places.here / "evil.safetensors").write_bytes(NETWORKS[kind])
    (places.here / "data.csv").write_text("1,2\n3,4\n")
    code, err = said(capsys, "check", "evil.safetensors", "data.csv")
    assert code == 2
    assert "is not a safetensors file" in err
    assert sorted(snapshot(places.here)) == ["data.csv", "evil.safetensors"]


@pytest.mark.parametrize("kind", DATA)
def test_hostile_data_are_misuse(places, capsys, kind):
    numpy, safetensors = pytest.importorskip("numpy"), pytest.importorskip("safetensors.numpy")
    safetensors.save_file({n: numpy.ones(s) for n, s in (("w", (2, 1)), ("b", 2), ("v", (1, 2)))}, "net.safetensors")
    path = places.here / kind
    if kind == "objects.npz":
        numpy.savez(path, x=numpy.array([{"a": 1}], dtype=object), y=numpy.ones(1))
    elif kind == "bomb.npz":
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x", "y"):
                claim = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }\n"
                archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(claim)) + claim)
    else:
        path.write_bytes(DATA[kind])
    code, err = said(capsys, "check", "net.safetensors", path)
    assert code == 2
    assert kind in err


def test_deep_values_on_the_command_line_are_text(capsys):
    code, err = said(capsys, "run", TOY, "--dry-run", "--set", "n=" + "[" * 100_000)
    assert code == 2
    assert "axis `n` holds numbers" in err


def test_a_terminal_that_knows_no_signs_beyond_ascii_costs_no_answer(places, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["rates", "--d", "2", "--alpha", "0.5"]) == 0
    screen.seek(0)
    assert "n^(-e)" in screen.read()


def test_python_functions_refuse_the_same_names(stored):
    for call in (
        lambda name: run(TOY, quick=True, out=name),
        lambda name: judge(TOY, out=name),
        lambda name: export(TOY, out=stored.run, to=name),
        lambda name: diff(name, stored.run),
        load_study,
    ):
        for name in ("in\0out", "x" * 10_000):
            with warnings.catch_warnings(), pytest.raises(ValueError, match=r"must be a path|unknown `study`"):
                call(name)
    assert os.listdir(stored.outside) == ["precious"]
