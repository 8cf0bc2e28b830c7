"""How a study reaches a worker: by name if it lives in an importable module, by value if not."""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import cloudpickle
import msgspec

from .canonical import canonical
from .outcomes import Computable, Workload
from .study import Study


def ship(study: Study) -> bytes:
    """The study as bytes that `receive` opens in another process.

    A study found under a name in an importable module travels as that name. Any other (from a file, a script, a
    notebook, standard input, or a variant made there) travels by value, and with it every function of modules that the
    worker could not import.
    """
    for module in _homes(study):
        for name, value in list(vars(module).items()):
            if value is study:
                return b"n" + canonical([module.__name__, name])
    with _by_value(study):
        load = Workload(study.slug, study.columns, study.slots, study.row, study.rows)
        return b"v" + bytes(cloudpickle.dumps(load))


@functools.lru_cache(maxsize=4)
def receive(shipped: bytes) -> Computable:
    """The study again; loaded once per process."""
    if shipped[:1] == b"n":
        module, name = msgspec.json.decode(shipped[1:])
        study: Computable = getattr(importlib.import_module(module), name)
        return study
    return cloudpickle.loads(shipped[1:])  # type: ignore[no-any-return]  # what `ship` packed in this run


def _functions(study: Study) -> Iterator[Any]:
    yield study.row or study.rows
    for slot in study.slots.values():
        yield from slot.parts.values()
    for claim in study.claims:
        yield from (value for value in vars(claim).values() if callable(value))


def _modules(study: Study) -> Iterator[ModuleType]:
    names = dict.fromkeys(str(getattr(function, "__module__", "")) for function in _functions(study))
    yield from (sys.modules[name] for name in names if name in sys.modules)


def _homes(study: Study) -> Iterator[ModuleType]:
    return (module for module in _modules(study) if importable(module))


def importable(module: ModuleType) -> bool:
    """Whether another process with the same `sys.path` finds this very module under its name."""
    name, file = module.__name__, getattr(module, "__file__", None)
    if name == "__main__" or file is None:
        return name != "__main__" and name in sys.builtin_module_names
    finder_paths = None
    try:
        parent = name.rpartition(".")[0]
        if parent:
            finder_paths = getattr(sys.modules.get(parent), "__path__", None)
            if finder_paths is None:
                return False
        for finder in sys.meta_path:
            spec = finder.find_spec(name, finder_paths) if hasattr(finder, "find_spec") else None
            if spec is not None:
                return bool(spec.origin == file)
    except (ImportError, ValueError, AttributeError):
        return False
    return False


@contextmanager
def _by_value(study: Study) -> Iterator[None]:
    known = set(cloudpickle.list_registry_pickle_by_value())
    with ExitStack() as stack:
        for module in _modules(study):
            if module.__name__ not in known | {"__main__"} and not importable(module):
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield
