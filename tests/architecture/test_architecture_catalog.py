"""The literal table agrees with the modules it names."""

import importlib
import tomllib
from pathlib import Path

import pytest

from steppe import studies
from steppe.harness import Study
from steppe.studies import CATALOG
from steppe.workflow import bibliography


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.slug)
def test_catalog_agrees_with_the_study(entry):
    study = importlib.import_module(entry.module).STUDY
    assert isinstance(study, Study)
    assert (study.slug, study.title) == (entry.slug, entry.title)
    assert study.summary
    assert study.reference
    assert study.paper in bibliography()


def test_the_contract_of_independence_names_every_study():
    pyproject = Path(studies.__file__).parents[3] / "pyproject.toml"
    if not pyproject.is_file():
        pytest.skip("needs a checkout")
    contracts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (independence,) = (contract for contract in contracts if contract["type"] == "independence")
    assert independence["modules"] == [entry.module for entry in CATALOG]


def test_every_study_is_in_the_catalog():
    modules = {
        path.stem
        for path in Path(studies.__file__).parent.glob("*.py")
        if not path.stem.startswith("_") and path.stem != "catalog"
    }
    assert modules == {entry.module.rpartition(".")[2] for entry in CATALOG}
