import dataclasses
import functools
import sys
import time

import numpy as np
import pytest
import torch
from harness_toys import MAPS, hangs, logged, sloted, stacked, toy, troubled

from steppe.core import Estimate, InputError, ParameterError
from steppe.harness import Absent, Diverged, Grid, Store, compute, load_rows, run_cells

quietly = functools.partial(run_cells, preload=())


def run(study, folder, size="default", *, cells=None, **options):
    with Store(folder) as store:
        summary = quietly(study, study.cells(size) if cells is None else cells, store, **options)
        return summary, store.records()


def test_rows_are_those_of_the_function_and_a_second_run_does_nothing(tmp_path):
    study = toy()
    summary, records = run(study, tmp_path, workers=2)
    assert (summary.total, summary.computed, summary.done, summary.crashed) == (6, 6, 6, 0)
    with Store(tmp_path, read_only=True) as store:
        rows = load_rows(study, study.cells(), store, command="steppe run toy --quick")
    assert [row["value"] for row in rows] == [row["d"] + row["seed"] / 7 for row in rows]
    assert [dict(row.cell) for row in rows] == [dict(cell) for cell in study.cells()]
    assert rows[0].command == "steppe run toy --quick --where 'd==1 and seed==0'"
    assert not any(row.stale for row in rows)
    again, same = run(study, tmp_path)
    assert (again.computed, again.reused) == (0, 6)
    assert same == records


def test_provenance_names_host_versions_threads_and_time(tmp_path):
    _, records = run(toy(grid=Grid(d=1, seed=0)), tmp_path)
    (record,) = records.values()
    assert {"host", "platform", "python", "versions", "cpu", "commit", "dirty", "source", "seconds"} <= set(
        record.provenance
    )
    assert record.provenance["threads"] == 1
    assert record.provenance["peak_memory_mib"] > 1
    assert record.result == b'{"pid":0,"value":1.0}'  # none of it in the result


def test_one_and_two_workers_and_any_order_give_the_same_bytes(tmp_path):
    study = toy(row=None, rows=stacked, together=("d",))
    results = []
    for index, (workers, cells) in enumerate([(1, study.cells()), (2, study.cells()), (2, study.cells()[::-1])]):
        _, records = run(study, tmp_path / str(index), cells=cells, workers=workers, stack=None)
        results.append({key: record.result for key, record in records.items()})
    assert results[0] == results[1] == results[2]


def test_without_a_stack_a_group_is_computed_whole_after_a_resume_and_only_missing_rows_are_written(tmp_path):
    study = toy(row=None, rows=stacked, together=("d",))
    _, whole = run(study, tmp_path / "whole", stack=None)
    with Store(tmp_path / "part") as store:
        kept = [record for record in whole.values() if record.cell["seed"] == 0]
        store.write(study, [dataclasses.replace(record, provenance={"mark": 1}) for record in kept])
    summary, records = run(study, tmp_path / "part", stack=None)
    assert (summary.reused, summary.computed) == (2, 4)
    assert {k: r.result for k, r in records.items()} == {k: r.result for k, r in whole.items()}
    assert sum("mark" in record.provenance for record in records.values()) == 2


def test_trouble_in_one_cell_stays_in_that_cell(tmp_path):
    study = toy(row=troubled, grid=Grid(d=1, seed=range(7)))
    heard = []

    class Listener:
        def start(self, total, done, work):
            heard.append(("start", total, done))

        def advance(self, status, label, work, *, seconds, reason):
            heard.append((status, label))

        def finish(self):
            heard.append("finish")

    summary, records = run(study, tmp_path, workers=2, progress=Listener())
    by_seed = {record.cell["seed"]: record for record in records.values()}
    assert [by_seed[s].status for s in range(7)] == ["done", "failed", "diverged", "killed", "failed", "done", "done"]
    assert "RuntimeError: seed 1 always raises" in by_seed[1].error
    assert "in troubled" in by_seed[1].error
    assert by_seed[2].result == b'{"pid":{"absent":"diverged: loss above 1e10"},"value":5.0}'
    assert "exit code 7" in by_seed[3].error
    assert by_seed[3].attempts == 2  # once repeated
    assert "column `value` must be finite, got nan" in by_seed[4].error
    assert (summary.done, summary.diverged, summary.failed, summary.killed, summary.crashed) == (3, 1, 2, 1, 3)
    assert heard[0] == ("start", 7, 0)
    assert heard[-1] == "finish"
    assert sorted(heard[1:-1])[0] == ("diverged", "d=1, seed=2")
    assert len(heard) == 9

    again, records = run(dataclasses.replace(study, row=lambda d, seed: {"value": 0.0, "pid": 1}), tmp_path)
    assert (again.reused, again.computed, again.done, again.diverged) == (4, 3, 6, 1)  # crashes are tried again
    with Store(tmp_path, read_only=True) as store:
        rows = load_rows(study, study.cells(), store)
    assert rows[2].status == "diverged"
    assert rows[2].absent == {"pid": "diverged: loss above 1e10"}
    assert rows[0].stale is False
    assert rows[1].stale is True  # another function computed it


def test_a_deadline_ends_the_task_alone_and_leaves_its_stack(tmp_path):
    study = toy(row=hangs, grid=Grid(d=1, seed=range(3)))
    start = time.perf_counter()
    summary, records = run(study, tmp_path, workers=2, deadline=1.0)
    (late,) = [record for record in records.values() if record.cell["seed"] == 1]
    assert (summary.done, summary.timeout) == (2, 1)
    assert late.status == "timeout"
    assert "in hangs" in late.error
    assert time.perf_counter() - start < 30


def test_another_revision_does_not_mix(tmp_path):
    first, second = toy(), toy(revision=2)
    run(first, tmp_path)
    summary, records = run(second, tmp_path)
    assert (summary.reused, summary.computed) == (0, 6)
    assert len(records) == 12
    with Store(tmp_path, read_only=True) as store:
        assert len(load_rows(second, second.cells(), store)) == 6


def test_a_changed_part_computes_its_cells_and_no_others(tmp_path):
    study = toy(slots=MAPS, row=sloted, grid=Grid(x=1.0, seed=(0, 1), map=("double", "triple")))
    run(study, tmp_path)
    slot = dataclasses.replace(MAPS["map"], parts={**MAPS["map"].parts, "triple": lambda x: 3.5 * x})
    summary, _ = run(dataclasses.replace(study, slots={"map": slot}), tmp_path)
    assert (summary.reused, summary.computed) == (2, 2)


def test_stale_rows_are_computed_again_when_asked(tmp_path):
    calls = tmp_path / "calls"
    study = toy(row=functools.partial(logged, str(tmp_path)))
    run(study, tmp_path / "out")
    with Store(tmp_path / "out") as store:
        old = list(store.records().values())[:2]
        store.write(study, [dataclasses.replace(r, provenance={**r.provenance, "source": "older"}) for r in old])
    assert run(study, tmp_path / "out")[0].computed == 0
    assert run(study, tmp_path / "out", refresh="stale")[0].computed == 2
    assert run(study, tmp_path / "out", refresh="stale")[0].computed == 0
    assert len(calls.read_text().splitlines()) == 8
    assert run(study, tmp_path / "out", refresh="all")[0].computed == 6


def test_studies_made_on_the_spot_travel_by_value(tmp_path):
    offset = 0.25

    def here(d, seed):
        return {"value": d + offset, "pid": Absent("no process")}

    _, records = run(toy(row=here), tmp_path, workers=1)
    assert {record.result for record in records.values()} == {
        b'{"pid":{"absent":"no process"},"value":1.25}',
        b'{"pid":{"absent":"no process"},"value":2.25}',
    }


def test_nothing_to_compute_starts_no_process(tmp_path, monkeypatch):
    run(toy(), tmp_path)
    monkeypatch.setattr("steppe.harness.runner.engine_at", None)
    assert run(toy(), tmp_path)[0].reused == 6
    assert run(toy(), tmp_path, cells=[])[0].total == 0


@pytest.mark.door
def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="`workers` must be ≥ 1, got 0"):
        run(toy(), tmp_path, workers=0)
    with pytest.raises(InputError, match="`refresh` must be one of"):
        run(toy(), tmp_path, refresh="some")
    with Store(tmp_path, read_only=True) as store, pytest.raises(ParameterError, match="open for writing"):
        quietly(toy(), [], store)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"value": 1.0}, r"got none for \['pid'\]; return Absent"),
        ({"value": 1.0, "pid": 1, "vallue": 2}, "did you mean 'value'"),
        ({"value": [1.0, float("inf")], "pid": 1}, r"column `value`\[1\] must be finite"),
        ({"value": {"a": 1}, "pid": 1}, "column `value` must be one value or a list"),
        ({"value": ["a"], "pid": 1}, "list of numbers"),
        ([1, 2], "a row must be a dict or Diverged, got list"),
    ],
)
def test_a_row_that_is_not_as_declared_fails_and_says_why(record, says):
    import re

    (outcome,) = compute(toy(row=lambda d, seed: record), [{"d": 1, "seed": 0}])
    assert outcome.status == "failed"
    assert re.search(says, outcome.error)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.arange(3.0), b"[0.0,1.0,2.0]"),
        (torch.arange(3), b"[0,1,2]"),
        (torch.tensor(0.5, dtype=torch.float64, requires_grad=True), b"0.5"),
        (np.array(2.5), b"2.5"),
        (np.float64(0.1), b"0.1"),
        (np.bool_(True), b"true"),
        (Estimate(value=0.25, error=0.1), b"0.25"),
        ("word", b'"word"'),
        (None, b"null"),
        ([], b"[]"),
    ],
)
def test_what_studies_return_becomes_plain(value, plain):
    record = {"value": value, "pid": np.int64(4)}
    (outcome,) = compute(toy(row=lambda d, seed: record), [{"d": 1, "seed": 0}])
    assert outcome.result == b'{"pid":4,"value":' + plain + b"}"


def test_rows_that_stop_or_repeat_fail_where_they_do():
    def stops(cells):
        yield cells[0], {"value": 1.0, "pid": 1}
        yield cells[1], Diverged("too large")
        raise RuntimeError("stopped here")

    outcomes = compute(toy(row=None, rows=stops), toy().cells())
    assert [o.status for o in outcomes] == ["done", "diverged", *["failed"] * 4]
    assert "stopped here" in outcomes[2].error

    def repeats(cells):
        yield cells[0], {"value": 1.0, "pid": 1}
        yield cells[0], {"value": 2.0, "pid": 1}

    outcomes = compute(toy(row=None, rows=repeats), toy().cells())
    assert "each cell once" in outcomes[1].error
    assert outcomes[0].result == b'{"pid":1,"value":1.0}'

    outcomes = compute(toy(row=None, rows=lambda cells: iter(())), toy().cells())
    assert "without yielding this cell" in outcomes[0].error


def test_exit_in_a_cell_is_a_failure_not_an_end():
    (outcome,) = compute(toy(row=lambda d, seed: sys.exit(3)), [{"d": 1, "seed": 0}])
    assert outcome.status == "failed"
    assert "SystemExit: 3" in outcome.error
