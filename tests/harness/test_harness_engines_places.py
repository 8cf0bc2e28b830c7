"""What `on` means, and what is refused before anything is computed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from steppe.core import InputError, KindError, ParameterError
from steppe.harness import check_terms, parse_place


@pytest.mark.parametrize(
    ("on", "kind", "address", "workers"),
    [
        ("local", "local", "", None),
        ("local:8", "local", "", 8),
        ("dask", "dask", "", None),
        ("dask://head.cluster-1.org:8786", "dask", "head.cluster-1.org:8786", None),
        ("dask://[::1]:8786", "dask", "[::1]:8786", None),
        ("ray", "ray", "", None),
        ("ray://127.0.0.1:10001", "ray", "127.0.0.1:10001", None),
        ("slurm:local", "slurm", "local", None),
    ],
)
def test_a_short_string_names_a_place(monkeypatch, on, kind, address, workers):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    place = parse_place(on)
    assert (place.kind, place.address, place.workers, place.name) == (kind, address, workers, kind)


def test_an_executor_is_a_place_called_by_its_class():
    with ThreadPoolExecutor(1) as pool:
        place = parse_place(pool, 3)
    assert (place.kind, place.name, place.workers) == ("executor", "ThreadPoolExecutor", 3)


def test_workers_may_be_said_twice_if_the_same():
    assert parse_place("local:3", 3).workers == 3
    assert parse_place("local", 3).workers == 3


@pytest.mark.door
@pytest.mark.parametrize(
    ("on", "says"),
    [
        ("cloud", r"`on` must be 'local', 'local:N', 'dask'.*got 'cloud'"),
        ("", "`on` must be 'local'"),
        ("Local", "got 'Local'"),
        ("local:", "N ≥ 1, got 'local:'"),
        ("local:0", "N ≥ 1, got 'local:0'"),
        ("local:-1", "N ≥ 1"),
        ("local:two", "N ≥ 1"),
        ("local:²", "N ≥ 1"),
        ("local://4", "N ≥ 1"),
        ("dask:8786", "'dask' or 'dask://host:port', got 'dask:8786'"),
        ("dask://head", "host:port"),
        ("dask://head:0", "host:port"),
        ("dask://head:99999", "host:port"),
        ("dask://head:8786/path", "host:port"),
        ("dask://he ad:8786", "host:port"),
        ("ray://", "'ray' or 'ray://host:port'"),
        ("ray:4", "'ray' or 'ray://host:port'"),
        ("slurm:", "'slurm' or 'slurm:partition'"),
        ("slurm:a;rm -rf", "`sinfo` lists the partitions"),
    ],
)
def test_other_words_are_refused(on, says):
    with pytest.raises(ParameterError, match=says):
        parse_place(on)


@pytest.mark.door
def test_wrong_kinds_and_contradictions_are_refused():
    with pytest.raises(KindError, match=r"or a concurrent\.futures\.Executor, got int"):
        parse_place(4)
    with pytest.raises(ParameterError, match="contradict each other"):
        parse_place("local:2", 3)
    with pytest.raises(ParameterError, match="`workers` must be ≥ 1"):
        parse_place("dask", 0)
    for terms, says in [
        ((0, 1, 1), "`deadline` must be"),
        ((float("nan"), 1, 1), "`deadline` must be"),
        ((1, -1, 1), "`retries` must be ≥ 0"),
        ((1, 1, 0), "`stack` must be ≥ 1"),
    ]:
        with pytest.raises(ParameterError, match=says):
            check_terms(*terms)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for on, extra in [("dask", "dask"), ("ray://a:1", "ray"), ("slurm:gpu", "slurm")]:
        with pytest.raises(InputError, match=rf"pip install 'steppe\[{extra}\]'"):
            parse_place(on)


def test_slurm_without_sbatch_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="login node"):
        parse_place("slurm:gpu")
    assert parse_place("slurm:local").address == "local"


def test_naming_a_place_imports_nothing_heavy():
    code = """
import sys
from steppe.harness import parse_place
for on in ("dask", "dask://a:1", "ray", "slurm:local"):
    try:
        parse_place(on)
    except ValueError:
        pass
print(sorted({"dask", "distributed", "ray", "submitit", "torch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
