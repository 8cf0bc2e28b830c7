"""Two runs compared: what moved is told apart from what chance moves, and verdicts are judged on the same cells."""

import json
import random
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest

from steppe.cli import main
from steppe.core import CorruptStoreError, InputError, NotComputedError, ParameterError, StoreError, UnknownNameError
from steppe.harness import AtMost, Control, Grid, Predicate, Record, Row, Rows, Store, Study, canonical, keys_of
from steppe.stats import center_interval
from steppe.workflow import diff
from steppe.workflow.moving import compare

pytestmark = pytest.mark.door
TOY = Path(__file__).with_name("toy_study.py")


def study(**changes):
    pieces = {
        "slug": "pair",
        "columns": {"value": "1", "bound": "1"},
        "grid": Grid(n=(1, 2), seed=range(3)),
        "row": lambda n, seed: {"value": 0.0, "bound": 1.0},
        "claims": (AtMost("below", "the value is at most its bound", left="value", right="bound", kind="theorem"),),
        "controls": (Control(AtMost("half", "at most ½ − 1", left="value", right=-0.5), "below", "another constant"),),
    }
    return Study(**{**pieces, **changes})


STUDY = study()


def record(study, cell, result, status="done", **more):
    provenance = {"source": "s", "commit": "a" * 40, "host": "here", "ended": "2026-01-01", "revision": study.revision}
    (key,) = keys_of(study, [cell])
    encoded = None if result is None else canonical(result)
    error = "Traceback …\nMemoryError: full" if status == "failed" else None
    return Record(key=key, cell=cell, status=status, result=encoded, error=error, provenance={**provenance, **more})


def stored(folder, value, *, study=STUDY, cells=None, status=None, **more):
    """A folder with the rows `value(n, seed) -> columns`."""
    cells = study.grid.cells() if cells is None else cells
    records = [record(study, c, value(**c), (status or (lambda **_: "done"))(**c), **more) for c in cells]
    with Store(folder) as store:
        store.write(study, records)
    return folder


def flat(n, seed):
    return {"value": (10 * n + seed) / 100, "bound": 1.0}


def moved(found):
    return {(m.column, m.condition["n"]) for m in found.columns.moved}


def test_a_run_and_itself_differ_in_nothing(tmp_path):
    folder = stored(tmp_path / "a", flat)
    found = diff(folder, folder, study=STUDY)
    assert (found.common, found.identical, found.columns.equal) == (6, 6, 4)
    assert [(pair.id, pair.a, pair.b) for pair in found.verdicts] == [
        ("pair/below", "holds", "holds"),
        ("pair/half", "rejected", "rejected"),
    ]
    assert found.facts == {}
    assert found.exit_code() == 0


def test_a_shift_of_every_seed_moves_and_a_change_of_one_among_noise_does_not(tmp_path):
    a = stored(tmp_path / "a", flat)
    b = stored(
        tmp_path / "b",
        lambda n, seed: {"value": flat(n, seed)["value"] + (0.01 if n == 1 else 0.01 * (seed == 1)), "bound": 1.0},
    )
    found = diff(a, b, study=STUDY)
    assert moved(found) == {("value", 1)}
    (movement,) = found.columns.moved
    assert (movement.method, movement.replicates) == ("paired", 3)
    assert movement.change == pytest.approx(0.01)
    assert movement.relative == pytest.approx(0.01 / 0.11)
    assert (found.identical, found.columns.equal, found.columns.by_interval) == (2, 2, 2)
    assert found.columns.by_chance == pytest.approx(0.1)
    assert found.exit_code() == 3
    assert diff(a, b, study=STUDY, where="n==2").exit_code() == 0  # rows differ, nothing is beyond its interval


def test_the_paired_interval_is_the_one_of_the_differences():
    rng = random.Random(0)
    a = [rng.gauss(0, 1) for _ in range(8)]
    b = [value + rng.gauss(0.5, 0.3) for value in a]
    rows = [Rows([Row(cell={"n": 1, "seed": s}, result={"value": v}) for s, v in enumerate(side)]) for side in (a, b)]
    (movement,) = compare(*rows, over="seed", level=0.9, rtol=0.0).movements
    assert movement.interval == center_interval([y - x for x, y in zip(a, b, strict=True)], "mean", level=0.9)


def test_other_seeds_are_compared_as_independent_samples():
    def side(values, first):
        return Rows([Row(cell={"n": 1, "seed": first + i}, result={"value": v}) for i, v in enumerate(values)])

    a, b = side([1.0, 1.1, 0.9], 0), side([2.0, 2.1, 1.9], 10)
    (movement,) = compare(a, b, over="seed", level=0.95, rtol=0.0).movements
    assert (movement.method, movement.moved) == ("independent", True)
    low, high = center_interval([1.0, 1.1, 0.9], "mean")
    assert movement.interval[1] - movement.interval[0] == pytest.approx(2**0.5 * (high - low))
    assert not compare(a, side([1.2, 0.8, 1.1], 10), over="seed", level=0.95, rtol=0.0).moved


@pytest.mark.parametrize("method", ["paired", "independent"])
def test_chance_alone_moves_no_more_than_the_level_says(method):
    rng, places = random.Random(1), [(n, s) for n in range(600) for s in range(5)]
    first = 0 if method == "paired" else 100
    rows = [
        Rows([Row(cell={"n": n, "seed": start + s}, result={"value": rng.gauss(0, 1)}) for n, s in places])
        for start in (0, first)
    ]
    found = compare(*rows, over="seed", level=0.95, rtol=0.0)
    assert {m.method for m in found.movements} == {method}
    assert found.by_chance == pytest.approx(30)
    # 600 trials at 5 %: 30 ± 5.3; the interval for independent samples is wider than it needs to be
    assert (14 if method == "paired" else 2) <= len(found.moved) <= 46


def test_one_value_is_held_against_its_error_column_or_compared_exactly():
    def side(value, error):
        return Rows([Row(cell={"n": 1, "seed": 0}, result={"value": value, "value_error": error, "other": value})])

    found = compare(side(1.0, 0.1), side(1.15, 0.1), over="seed", level=0.95, rtol=1e-9)
    assert {(m.column, m.method, m.moved) for m in found.movements} == {
        ("value", "bounds", False),
        ("other", "exact", True),
    }
    found = compare(side(1.0, 0.1), side(1.25, 0.1), over="seed", level=0.95, rtol=1e-9)
    assert [m.column for m in found.moved] == ["value", "other"]
    assert compare(side(1.0, 0.1), side(1.0 + 1e-12, 0.1), over="seed", level=0.95, rtol=1e-9).movements == ()


def test_text_curves_and_missing_values():
    def side(word, curve, value):
        result = {"word": word, "curve": curve, "value": value}
        present = {name: v for name, v in result.items() if v is not None}
        return Rows([Row(cell={"seed": s}, result=present, absent={"value": "none"}) for s in range(2)])

    found = compare(side("settled", [1, 2], 1.0), side("wild", [1, 4], None), over="seed", level=0.95, rtol=1e-9)
    assert {m.column: (m.a, m.b) for m in found.moved} == {"word": ("settled", "wild"), "curve": (1.5, 2.5)}
    assert (found.lost, found.gained) == ({"value": 2}, {})


def test_verdicts_are_judged_on_the_common_cells_and_on_each_sides_own(tmp_path):
    a = stored(tmp_path / "a", flat)
    worse = stored(tmp_path / "b", lambda n, seed: {"value": 2.0 if n == 2 else 0.1, "bound": 1.0})
    found = diff(a, worse, study=STUDY)
    (pair,) = found.changed_verdicts
    assert (pair.id, pair.a, pair.b, pair.worse) == ("pair/below", "holds", "fails", True)
    assert found.exit_code() == 1
    assert diff(worse, a, study=STUDY).exit_code() == 3  # for the better
    cells = [*STUDY.grid.cells(), {"n": 9, "seed": 0}]
    wider = stored(tmp_path / "c", lambda n, seed: flat(n, seed) | ({"value": 5.0} if n == 9 else {}), cells=cells)
    found = diff(a, wider, study=STUDY)
    (pair,) = found.changed_verdicts
    assert (pair.a, pair.b, pair.own_a, pair.own_b) == ("holds", "holds", "holds", "fails")
    assert found.exit_code() == 1
    assert [row.label for row in found.only_b] == ["n=9, seed=0"]


def test_a_study_unknown_here_is_compared_without_verdicts(tmp_path, capsys):
    a, b = stored(tmp_path / "a", flat), stored(tmp_path / "b", lambda n, seed: {"value": 9.0, "bound": 1.0})
    found = diff(a, b)
    assert found.verdicts == ()
    assert "the study 'pair' is not known here" in found.notes[0]
    assert moved(found) == {("value", 1), ("value", 2)}
    assert main(["diff", str(a), str(b)]) == 3
    assert "no verdict is compared" in capsys.readouterr().out


def test_a_store_that_names_a_file_as_its_study_has_it_not_executed(tmp_path):
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    a = tmp_path / "a"
    forged = SimpleNamespace(slug=str(trap), revision=1, claims=STUDY.claims, controls=STUDY.controls)
    with Store(a) as store:
        store.write(forged, [record(STUDY, cell, flat(**cell)) for cell in STUDY.grid.cells()])
    assert diff(a, a).study is None
    from steppe.workflow import export, judge

    for command in (judge, export):
        with pytest.raises(UnknownNameError, match="which steppe does not know by that name"):
            command(a)
    assert not (tmp_path / "ran").exists()


def test_statuses_and_values_that_one_side_lacks(tmp_path):
    a = stored(tmp_path / "a", flat)
    b = stored(
        tmp_path / "b",
        lambda n, seed: None if seed == 2 else flat(n, seed),
        status=lambda n, seed: "failed" if seed == 2 else "done",
    )
    found = diff(a, b, study=STUDY)
    assert found.statuses == (("done", "failed", 2, "n=1, seed=2 (MemoryError: full)"),)
    assert found.columns.lost == {"value": 2, "bound": 2}
    assert found.exit_code() == 3


def test_where_they_came_from(tmp_path):
    a = stored(tmp_path / "a", flat, versions={"torch": "2.12"})
    b = stored(tmp_path / "b", flat, commit="b" * 40, host="there", versions={"torch": "2.13"})
    found = diff(a, b, study=STUDY)
    assert found.facts == {
        "commit": ({"a" * 40: 6}, {"b" * 40: 6}),
        "host": ({"here": 6}, {"there": 6}),
        "torch": ({"2.12": 6}, {"2.13": 6}),
    }
    assert found.exit_code() == 0


def test_states_of_one_folder(tmp_path, monkeypatch):
    folder = stored(tmp_path / "runs" / "pair", flat)
    stored(folder, lambda n, seed: {"value": 0.5, "bound": 1.0}, commit="b" * 40, ended="2026-01-02")
    newer = study(revision=2)
    stored(folder, lambda n, seed: {"value": 0.7, "bound": 1.0}, study=newer, ended="2026-01-03", commit="c" * 40)

    def values(reference):
        return {row["value"] for row in diff(reference, folder).a.rows}

    assert values(str(folder)) == {0.7}
    assert values(f"{folder}@2") == {0.7}
    assert values(f"{folder}@1") == {0.5}
    assert values(f"{folder}@superseded") == {0.1, 0.11, 0.12, 0.2, 0.21, 0.22}
    assert values(f"{folder}@commit:aaaa") == {0.1, 0.11, 0.12, 0.2, 0.21, 0.22}
    assert values(f"{folder}@commit:bbbbbbb") == {0.5}
    found = diff(f"{folder}@1", f"{folder}@2", study=newer)
    assert (found.rekeyed, found.a.revisions, found.b.revisions) == (6, (1,), (2,))
    monkeypatch.chdir(tmp_path)
    assert values("pair@1") == {0.5}
    assert values("runs/pair@1") == {0.5}
    with pytest.raises(
        NotComputedError, match=r"pair@7 holds no row; the folder has 12 rows \(revisions 1, 2; commits"
    ):
        diff("pair@7", "pair")
    with pytest.raises(NotComputedError, match="6 superseded ones"):
        diff("pair@commit:dddd", "pair")


def test_a_folder_with_a_sign_in_its_name(tmp_path):
    folder = stored(tmp_path / "a@2", flat)
    assert diff(folder, f"{folder}@1").exit_code() == 0


def test_edited_claims_are_mentioned(tmp_path):
    a = stored(tmp_path / "a", flat)
    later = study(claims=(AtMost("below", "the value is at most 3", left="value", right=3.0, kind="theorem"),))
    assert diff(a, a, study=STUDY).notes == ()
    assert diff(a, a, study=later).notes == (
        "claims were edited since the first row of A; both sides are judged by today's",
        "claims were edited since the first row of B; both sides are judged by today's",
    )


def test_a_claim_that_cannot_read_the_rows_is_not_judged(tmp_path):
    a = stored(tmp_path / "a", lambda n, seed: {"other": 1.0})
    found = diff(a, a, study=STUDY)
    assert {pair.a for pair in found.verdicts} <= {"not judged", "inconclusive", "not rejected"}
    broken = study(claims=(Predicate("below", "x", function=lambda rows: rows[0]["value"] / 0),))
    assert {pair.a for pair in diff(a, a, study=broken).verdicts} <= {"not judged", "inconclusive", "not rejected"}


@pytest.mark.parametrize(
    ("b", "options", "error", "says"),
    [
        ("nothing", {}, InputError, "neither a folder nor a study"),
        ("a@new", {}, InputError, "got the state 'new'"),
        ("a@commit:xyz", {}, InputError, "got the state 'commit:xyz'"),
        ("", {}, InputError, "`folder` must be a path, got an empty text"),
        ("a\0", {}, InputError, "NUL"),
        ("x" * 10_000, {}, InputError, "10000 bytes"),
        ("empty", {}, StoreError, "run the study first"),
        ("other", {}, InputError, "both sides must hold one study, got 'pair' in a and 'another' in other"),
        ("foreign", {}, CorruptStoreError, "must be a store written by steppe"),
        ("a", {"level": 1.0}, ParameterError, "`level` must be > 0 and < 1"),
        ("a", {"over": "sead"}, UnknownNameError, "unknown `over` 'sead'; did you mean 'seed'"),
        ("a", {"rtol": -1.0}, ParameterError, "`rtol` must be ≥ 0"),
        ("a", {"where": "m==2"}, UnknownNameError, "unknown `axis` 'm'"),
        ("a", {"where": "n=="}, InputError, "`where` must be a condition"),
        ("a", {"study": "neural-shattering"}, InputError, "`study` must be 'pair', which wrote the rows"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, monkeypatch, b, options, error, says):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "a", flat)
    stored(tmp_path / "other", flat, study=study(slug="another"))
    for name in ("empty", "foreign"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "study.db").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(error, match=says):
        diff("a", b, **options)


def test_the_command_tells_what_changed_and_its_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edited = tmp_path / "edited.py"
    edited.write_text(TOY.read_text().replace('{"error": mean +', '{"error": 1.0 + mean +'))
    for path, out in ((TOY, "a"), (edited, "b")):
        assert main(["run", str(path), "--quick", "--workers", "1", "--out", out]) == 0
    capsys.readouterr()
    assert main(["diff", "a", "b", "--study", str(TOY)]) == 1
    out = capsys.readouterr().out
    assert "verdicts: 1 of 3 claims and controls changed" in out
    assert "bounded  theorem  holds  fails" in out
    assert "columns: 3 of 9 comparisons" in out
    assert "6 common cells, 0 identical, 6 differ" in out
    assert main(["diff", "a", "b", "--study", str(TOY), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 1
    assert [m["change"] for m in said["columns"]["moved"]] == pytest.approx([1.0] * 3)
    assert {v["id"]: v["worse"] for v in said["verdicts"]}["toy/bounded"] is True
    assert main(["run", str(edited), "--quick", "--workers", "1", "--out", "a", "--refresh", "stale"]) == 0
    capsys.readouterr()
    assert main(["diff", "a@superseded", "a", "--study", str(TOY)]) == 1
    assert main(["diff", "a", "b", "--study", str(TOY)]) == 0


def test_the_mean_of_a_side_is_the_mean(tmp_path):
    a = stored(tmp_path / "a", flat)
    b = stored(tmp_path / "b", lambda n, seed: {"value": 3 * n + seed, "bound": 1.0})
    found = {m.condition["n"]: m for m in diff(a, b).columns.movements}
    assert found[2].a == pytest.approx(statistics.fmean([0.2, 0.21, 0.22]))
    assert found[2].b == pytest.approx(7)
