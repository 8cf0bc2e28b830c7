"""Models that a user names on a command line: `module:factory` or `path/to/file.py:factory`."""

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from steppe.core import ComputationError, InputError, KindError, SteppeError, UnknownNameError, check_known

from .loading import execute_file
from .places import check_path

_FORM = "module:factory or path/to/file.py:factory"
_RETURN = (
    "(model, loss, data), or a dict with model, data and optionally loss, optimizer, objective, parameters, weight"
)
_NAMES = ("model", "loss", "data", "optimizer", "objective", "parameters", "weight", "memory", "load")
_STANDARD = sysconfig.get_path("stdlib")
_PACKAGE = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What a factory made.

    Args:
        name: How the user named the factory.
        model: The model.
        loss: The loss, or None.
        data: The data.
        optimizer: The optimizer, or None.
        options: `parameters`, `weight`, `objective`, `memory` as far as given.
        load: `load(model, path)` for checkpoints, or None.
    """

    name: str
    model: Any
    loss: Any
    data: Any
    optimizer: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    load: Callable[..., Any] | None = None


def load_problem(name: str) -> Problem:
    """Call a factory without arguments and check what it returns.

    A module is imported as by `python -m`, with the current folder first on the path; a file is executed.

    Args:
        name: `module:factory` or `path/to/file.py:factory`.

    Raises:
        InputError: The module, file or factory does not exist, does not run, or needs arguments.
        KindError: It returns something else than (model, loss, data) or a dict with these.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute.isidentifier():
        raise InputError(f"`factory` must be {_FORM}, got {name!r}; write for example train:measured")
    module = _from_file(place) if place.endswith(".py") or "/" in place or os.sep in place else _from_module(place)
    factory = _factory(module, place, attribute)
    _check_arguments(factory, name)
    with told_by_their_line(name):
        returned = factory()
    return _problem(name, returned)


def _from_file(place: str) -> ModuleType:
    path = check_path("factory", place)
    if not path.is_file():
        raise InputError(f"`factory` {place!r} is no file; pass {_FORM}")
    if path.suffix != ".py":
        raise InputError(f"`factory` must be in a .py file, got {place!r}; pass {_FORM}")
    return execute_file(path)


def _from_module(place: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise InputError(f"`factory` must be {_FORM}, got the module {place!r}; write its dotted name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if place == missing or place.startswith(f"{missing}."):
            beside = Path(f"{place.replace('.', '/')}.py")
            remedy = f"it was looked for in {here} and in the installed packages; name the file as path/to/file.py:…"
            raise InputError(f"`factory`: there is no module {missing!r} ({beside}); {remedy}") from error
        raise InputError(_where(place, error)) from error
    except (Exception, SystemExit) as error:
        raise InputError(_where(place, error)) from error


def _factory(module: ModuleType, place: str, attribute: str) -> Callable[[], Any]:
    if not hasattr(module, attribute):
        callables = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        check_known(f"factory in {place}", attribute, callables)
        raise UnknownNameError(f"{place} has no {attribute!r}")  # pragma: no cover - the line above raises
    found = getattr(module, attribute)
    if isinstance(found, type) or not callable(found) or hasattr(found, "state_dict"):
        got = f"the class {attribute}" if isinstance(found, type) else type(found).__name__
        raise KindError(
            f"`{attribute}` in {place} must be a function that returns {_RETURN}, got {got}; write def {attribute}(): …"
        )
    return found  # type: ignore[no-any-return]  # whatever callable the user wrote


def _check_arguments(factory: Callable[..., Any], name: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if needed:
        raise InputError(
            f"`factory` {name} must take no arguments, got {', '.join(needed)}; give them defaults or wrap the function"
        )


def _problem(name: str, returned: Any) -> Problem:
    if isinstance(returned, Mapping):
        for key in returned:
            check_known(f"entry returned by {name}", key, _NAMES)
        missing = [key for key in ("model", "data") if key not in returned]
        if missing:
            raise KindError(f"{name} must return {_RETURN}; the dict lacks {' and '.join(missing)}")
        found = dict(returned)
    elif isinstance(returned, tuple) and len(returned) == 3:
        found = dict(zip(("model", "loss", "data"), returned, strict=True))
    else:
        got = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else type(returned).__name__
        raise KindError(f"{name} must return {_RETURN}; got {got}")
    named = {key: found.pop(key, None) for key in ("model", "loss", "data", "optimizer", "load")}
    return Problem(name=name, **named, options=found)


def measure_problem(problem: Problem | str, **keywords: Any) -> Any:
    """`steppe.panel.measure` of what a factory makes.

    Args:
        problem: The problem, or the name of its factory.
        **keywords: `budget`, `samples`, `seed`, `quantities`, `progress`, and the options of the problem, which count
            more than those of the factory.

    Returns:
        A `steppe.panel.Measurement`.

    Raises:
        InputError, KindError: The factory cannot be used.
        ComputationError: The model or the loss fails; the message names the line.
    """
    from steppe.panel import measure

    found = load_problem(problem) if isinstance(problem, str) else problem
    given = {name: value for name, value in keywords.items() if value is not None}
    with told_by_their_line(found.name):
        return measure(found.model, found.loss, found.data, optimizer=found.optimizer, **{**found.options, **given})


def plan_problem(problem: Problem | str, **keywords: Any) -> Any:
    """`steppe.panel.plan_measurement` of what a factory makes; arguments and errors as in `measure_problem`."""
    from steppe.panel import plan_measurement

    found = load_problem(problem) if isinstance(problem, str) else problem
    given = {name: value for name, value in keywords.items() if value is not None}
    with told_by_their_line(found.name):
        return plan_measurement(found.model, found.loss, found.data, **{**found.options, **given})


def track_problem(problem: Problem | str, pattern: str, *, samples: int = 1024, seed: int = 0, **keywords: Any) -> Any:
    """`steppe.curvature.track_checkpoints` over saved checkpoints of what a factory makes.

    Args:
        problem: The problem, or the name of its factory.
        pattern: Glob of the checkpoints, such as `run/step-*`.
        samples: At most so many samples, the same at every checkpoint.
        seed: Seed of the samples and of random directions.
        **keywords: As `track_checkpoints`.

    Returns:
        A `steppe.curvature.CheckpointCurve`.

    Raises:
        InputError, KindError: The factory or the checkpoints cannot be used.
        ComputationError: The model or the loss fails; the message names the line.
    """
    from steppe.core import Part
    from steppe.curvature import track_checkpoints

    found = load_problem(problem) if isinstance(problem, str) else problem
    given = {name: value for name, value in keywords.items() if value is not None}
    with told_by_their_line(found.name):
        return track_checkpoints(
            pattern,
            found.model,
            found.loss,
            Part(found.data, samples, seed=seed),
            load=found.load,
            optimizer=found.optimizer,
            seed=seed,
            **{**found.options, **given},
        )


@contextmanager
def told_by_their_line(name: str) -> Iterator[None]:
    """Errors of the user's code leave as one sentence with its line; those of this package as they are."""
    try:
        yield
    except SteppeError:
        raise
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if frames and frames[-1].filename.startswith(_PACKAGE) and not isinstance(error, SystemExit):
            raise
        raise ComputationError(_where(name, error)) from error


def _where(name: str, error: BaseException) -> str:
    """What failed, with the last line that is neither of this package nor of an installed one."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{name}: {error.filename}, line {error.lineno}: {said}; correct that line"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _users(frame.filename)]
    if not frames:
        return f"{name} failed: {said}; check that model, loss and data fit together"
    last = frames[-1]
    return f"{name} failed at {last.filename}, line {last.lineno}: {said}\n    {last.line}\ncorrect that line"


def _users(filename: str) -> bool:
    installed = f"{os.sep}site-packages{os.sep}" in filename or filename.startswith(
        ("<", sys.base_prefix + os.sep + "lib")
    )
    return not installed and not filename.startswith(_PACKAGE)
