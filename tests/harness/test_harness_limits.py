"""Limits that keep a mistake or a bad file from costing the memory, the stack or the store."""

import warnings

import pytest
from harness_toys import toy

from steppe.core import CorruptStoreError, InputError, ParameterError
from steppe.harness import Absent, Condition, Diverged, Grid, Record, Store, canonical, keys_of, stored_rows
from steppe.harness.outcomes import compute, decode

pytestmark = pytest.mark.door


def test_the_bound_counts_a_product_without_making_it():
    axes = range(100_000)
    grid = Grid(d=axes, n=axes) + Grid(d=1, seed=axes)
    assert grid.bound == 10**10 + 10**5
    assert Grid(d=(1, 2), seed=range(3)).where("seed<1").bound == 6  # conditions are left out of account
    assert Grid().bound == 0


@pytest.mark.parametrize(
    "text", ["-" * 900 + "1 < seed", "not " * 240 + "seed", "seed in [" + "[" * 60 + "]" * 60 + "]"]
)
def test_a_condition_of_many_levels_is_refused_and_not_followed(text):
    with pytest.raises(InputError, match="`where` must"):
        Condition(text)({"seed": 1})


def test_a_condition_is_no_reason_for_a_warning_of_python():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Condition("name == 'a\\d'")({"name": "a\\d"})


def test_text_that_no_file_holds_is_refused_as_a_value():
    with pytest.raises(ParameterError, match=r"axis `name` must be valid text, got 'a\\ud800'; remove"):
        Grid(name="a\ud800")


def test_reasons_and_stacks_are_stored_whatever_they_hold(tmp_path):
    def row(d, seed):
        if seed == 0:
            raise ValueError("no file named a\udcff")
        return Diverged("a\udcff") if seed == 1 else {"value": 1.0, "pid": Absent("a\udcff")}

    study = toy(row=row)
    outcomes = compute(study, study.grid.cells()[:3])
    assert [outcome.status for outcome in outcomes] == ["failed", "diverged", "done"]
    keys = keys_of(study, [outcome.cell for outcome in outcomes])
    records = [
        Record(key=key, cell=o.cell, status=o.status, result=o.result, error=o.error)
        for key, o in zip(keys, outcomes, strict=True)
    ]
    with Store(tmp_path) as store:
        store.write(study, records)
        rows = {row.status: row for row in stored_rows(store.records().values(), "toy")}
    assert rows["failed"].error.endswith("no file named a\\udcff\n")
    assert rows["diverged"].error == "a\\udcff"
    assert rows["done"].absent == {"pid": "a\\udcff"}


@pytest.mark.parametrize("result", [b"[1]", b"3", b"\x80", b'{"a": {"b": 1}}', b"[" * 10_000, b'{"a": 1e999}'])
def test_a_result_that_is_no_row_is_told_by_its_key(result):
    with pytest.raises(CorruptStoreError, match="the row k must hold a JSON object of columns"):
        decode(result, "k")


def test_rows_of_unknown_studies_are_read(tmp_path):
    study = toy()
    cells = study.grid.cells()
    with Store(tmp_path) as store:
        for value in (1.0, 2.0):
            result = canonical({"value": value, "pid": {"absent": "none"}})
            store.write(study, [Record(key=keys_of(study, cells)[0], cell=cells[0], status="done", result=result)])
        (now,), (before,) = stored_rows(store.records().values()), stored_rows(store.superseded())
    assert (dict(now.result), dict(before.result)) == ({"value": 2.0}, {"value": 1.0})
    assert (now.absent, now.stale, now.cell) == ({"pid": "none"}, False, cells[0])


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_store_that_is_a_link_is_refused(tmp_path, read_only, target):
    with Store(tmp_path / "other"):
        pass
    (tmp_path / "other" / "study.db").rename(tmp_path / "there")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.db").symlink_to(tmp_path / target)
    with pytest.raises(CorruptStoreError, match="got a link"):
        Store(tmp_path / "run", read_only=read_only)
    assert not (tmp_path / "nowhere").exists()
