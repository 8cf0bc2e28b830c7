"""What a sweep will cost, on toys whose seconds and memory are known by construction."""

import dataclasses
import time

import pytest

from steppe.core import ComputationError, ParameterError
from steppe.harness import AtMost, Control, Grid, Study
from steppe.workflow import costing as module
from steppe.workflow import estimate_cost, run

SMALL = AtMost("small", "small", left="value", right=1e9, kind="theorem")
CONTROL = Control(AtMost("tiny", "tiny", left="value", right=-1.0), "small", "a wrong constant")


def sleeps(size, seed):
    """A tenth of a second, and a twentieth per size."""
    time.sleep(0.1 + 0.05 * size)
    return {"value": float(size)}


def hungry(size, seed):
    return {"value": float(sum(bytearray(size * 2**20)[::4096]) + len(bytearray(b"x") * (size * 2**20)))}


def fails(size, seed):
    raise ValueError("no luck")


def study(row=sleeps, cost=lambda cell: float(cell["size"]), **changes):
    grid = changes.pop("grid", Grid(size=(1, 2, 4, 20), seed=range(3)))
    pieces = {"columns": {"value": "1"}, "claims": (SMALL,), "controls": (CONTROL,)}
    return Study(slug="cost-toy", grid=grid, row=row, cost=cost, **{**pieces, **changes})


def test_time_is_foretold_from_two_cells_and_true(tmp_path):
    found = estimate_cost(study(), workers=2, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (found.cells, found.there, found.to_compute, found.workers) == (12, 0, 12, 2)
    assert [probe.work for probe in found.probes] == [1.0, 20.0]
    truth = 3 * (4 * 0.1 + 0.05 * (1 + 2 + 4 + 20))
    assert found.core_seconds == pytest.approx(truth, rel=0.25)
    assert found.shortest <= found.start_seconds + truth / 2 <= found.longest
    assert found.shortest < found.seconds < found.longest
    summary = run(study(), workers=2, out=tmp_path / "out", live=None).summary
    assert found.seconds / 2 < summary.seconds < found.seconds * 2
    rest = estimate_cost(study(), workers=2, out=tmp_path / "out")
    assert (rest.there, rest.to_compute, rest.probes, rest.seconds) == (12, 0, (), 0.0)
    assert found.store_bytes == pytest.approx(rest.store_bytes, rel=0.5)


def test_memory_is_that_of_the_worker_at_the_costly_cell(tmp_path):
    found = estimate_cost(study(hungry, grid=Grid(size=(1, 300), seed=0)), workers=3, out=tmp_path)
    assert found.workers == 2  # there are no more cells
    cheap, costly = found.probes
    assert costly.memory_mib > 300
    assert found.memory_worker_mib == max(cheap.memory_mib, costly.memory_mib)
    assert found.memory_mib == 2 * found.memory_worker_mib


def test_without_a_stated_cost_all_cells_are_alike(tmp_path):
    found = estimate_cost(study(cost=None, grid=Grid(size=1, seed=range(8))), workers=1, out=tmp_path)
    assert found.core_seconds == pytest.approx(8 * 0.15, rel=0.3)
    assert any("foresees no cost" in note for note in found.notes)


def test_one_cell_is_its_own_probe(tmp_path):
    found = estimate_cost(study(grid=Grid(size=1, seed=0)), workers=4, out=tmp_path)
    assert len(found.probes) == 1
    assert found.core_seconds == pytest.approx(0.15, rel=0.5)


def test_a_probe_that_takes_too_long_gives_a_lower_end_alone(tmp_path):
    found = estimate_cost(study(), workers=1, out=tmp_path, patience=0.5)
    assert [probe.status for probe in found.probes] == ["done", "timeout"]
    assert (found.seconds, found.longest) == (None, None)
    assert found.shortest >= 3 * 0.5
    assert "no upper end: size=20" in " ".join(found.notes)


def test_a_probe_that_fails_says_why(tmp_path):
    with pytest.raises(ComputationError, match=r"got failed at size=\d+, seed=\d: ValueError: no luck; mend the study"):
        estimate_cost(study(fails), out=tmp_path)


def test_the_costly_probe_stands_where_the_time_goes():
    assert module._costly(study(), study().cells())["size"] == 20
    many = Grid(size=1, seed=range(100)) + Grid(size=20, seed=0)
    assert module._costly(study(), study().cells(many))["size"] == 1


def test_lines_through_the_probes():
    one, two = (
        module.Probe(cell={}, label="", status="done", work=w, seconds=s, memory_mib=1.0, stored_bytes=1)
        for w, s in ((1.0, 1.0), (10.0, 5.5))
    )
    assert module._lines((one, two)) == [(0.5, 0.5), (0.0, 0.55)]
    faster = dataclasses.replace(two, seconds=20.0)  # more than in proportion: nothing is fixed
    assert module._lines((one, faster)) == [(0.0, 2.0), (0.0, 1.0)]
    twin = dataclasses.replace(one, seconds=2.0)
    assert module._lines((one, twin)) == [(1.5, 0.0), (1.0, 0.0), (2.0, 0.0)]


def test_cells_are_dealt_out_in_their_order():
    assert module._wall([1.0, 1.0, 1.0, 10.0], 2) == 11.0
    assert module._wall([10.0, 1.0, 1.0, 1.0], 2) == 10.0
    assert module._wall([3.0], 4) == 3.0


def test_a_busy_machine_holds_all_workers_up_more_than_one_probe(monkeypatch):
    load = [0.0]
    monkeypatch.setattr(module.os, "getloadavg", lambda: (load[0], 0.0, 0.0))
    assert module._slowdown(2, 2) == 1.0
    load[0] = 2.0
    assert module._slowdown(2, 2) == pytest.approx(4 / 3)
    assert module._slowdown(1, 2) == 1.0
    assert module._slowdown(2, 64) == 1.0


def test_what_the_numbers_rest_on_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(module, "_slowdown", lambda workers, cores: 1.5)
    found = estimate_cost(study(grid=Grid(size=(1, 2), seed=range(2))), workers=2, out=tmp_path)
    assert any("2 workers share 1 cores" in note for note in found.notes)
    assert any("keep this machine busy" in note for note in found.notes)
    assert found.longest == pytest.approx(found.start_seconds + 2 * 1.5 * found.core_seconds, rel=0.3)
    assert found.seconds == pytest.approx(found.start_seconds + found.core_seconds)


@pytest.mark.door
def test_patience_must_be_positive(tmp_path):
    with pytest.raises(ParameterError, match="`patience`"):
        estimate_cost(study(), out=tmp_path, patience=0)
