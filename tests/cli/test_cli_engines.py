"""The options of `steppe run` that say where and within which limits cells are computed."""

import json
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.harness import Store

TOY = str(Path(__file__).parents[1] / "workflow" / "toy_study.py")


def test_a_run_with_limits(tmp_path, capsys):
    words = ["--on", "local:2", "--deadline", "60", "--retries", "0", "--stack", "all"]
    assert main(["run", TOY, "--quick", "--json", "--out", str(tmp_path), *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == {"done": 6}
    with Store(tmp_path, read_only=True) as store:
        assert {record.provenance["engine"] for record in store.records().values()} == {"local"}


@pytest.mark.door
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--on", "dask://nowhere"], "'dask' or 'dask://host:port', got 'dask://nowhere'"),
        (["--on", "local:2", "--workers", "3"], "contradict each other"),
        (["--deadline", "0"], "`deadline` must be > 0"),
        (["--deadline", "soon"], "deadline"),
        (["--retries=-1"], "`retries` must be ≥ 0"),
        (["--stack", "0"], "`stack` must be ≥ 1"),
        (["--stack", "some"], "stack"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(tmp_path, capsys, words, says):
    assert main(["run", TOY, "--out", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.out == ""
    assert not (tmp_path / "out").exists()
