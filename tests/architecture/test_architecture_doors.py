"""What is public is written out, complete and documented."""

import importlib
import inspect
import types
from pathlib import Path

import pytest

import steppe

PACKAGE = Path(steppe.__file__).parent
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
DOORS = ["steppe", *(f"steppe.{room}" for room in ROOMS)]


def isort_style(name):
    """CONSTANTS, then Classes, then functions, as ruff sorts `__all__`."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("door", DOORS)
def test_all_is_sorted_and_complete(door):
    module = importlib.import_module(door)
    assert module.__all__ == sorted(module.__all__, key=isort_style)
    assert len(set(module.__all__)) == len(module.__all__)
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "").startswith("steppe")
    }
    assert own <= set(module.__all__), "a public name is missing from __all__"
    for name in module.__all__:
        getattr(module, name)


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_says_what_it_is(door):
    module = importlib.import_module(door)
    assert "provisional until 1.0" in " ".join(module.__doc__.split()).lower()
    silent = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            silent += [] if _documented(value) else [name]
        if inspect.isclass(value):
            silent += [f"{name}.{member}" for member in _public_members(value) if not _documented_member(value, member)]
    assert not silent


def _documented(value):
    doc = (value.__doc__ or "").strip()
    generated = doc.startswith(f"{value.__name__}(")  # dataclasses and named tuples write their own
    return bool(doc) and not generated


def _public_members(value):
    for name, member in vars(value).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod)):
            yield name


def _documented_member(value, name):
    member = inspect.getattr_static(value, name)
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    inherited = any((getattr(base.__dict__.get(name), "__doc__", None) or "") for base in value.__mro__[1:])
    return bool((function.__doc__ or "").strip()) or inherited


def test_the_root_offers_names_and_rooms_on_first_use():
    assert set(dir(steppe)) >= {"ShallowReLU", "run", "Study", "Grid", "norms", "__version__"}
    assert set(steppe._ROOMS) == set(ROOMS)
    assert steppe.path_norm is steppe.norms.path_norm
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        steppe.nothing_of_the_kind  # noqa: B018 - reading it is the test


def test_names_for_type_checkers_agree_with_names_at_run_time():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    for name, home in steppe._HOMES.items():
        assert getattr(steppe, name) is getattr(importlib.import_module(f"steppe.{home}"), name)
        assert f"from .{home} import" in source
