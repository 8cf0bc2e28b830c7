"""Compression of a model that a user names on a command line."""

from typing import Any

from .measuring import Problem, load_problem, told_by_their_line


def compress_problem(problem: Problem | str, **keywords: Any) -> Any:
    """`steppe.solvers.compress` of what a factory makes.

    Args:
        problem: The problem, or the name of its factory; of what it returns, model and data are used.
        **keywords: `tolerance`, `layers`, `method`, `fine_tune`, `step_size`.

    Returns:
        A `steppe.solvers.Compression`.

    Raises:
        InputError, KindError: The factory cannot be used.
        ComputationError: The model or the loss fails; the message names the line.
    """
    from steppe.solvers import compress

    found = load_problem(problem) if isinstance(problem, str) else problem
    given = {name: value for name, value in keywords.items() if value is not None}
    with told_by_their_line(found.name):
        return compress(found.model, found.data, **given)


def compress_problem_curve(problem: Problem | str, tolerances: list[float] | None = None, **keywords: Any) -> Any:
    """`steppe.solvers.compression_curve` of what a factory makes; arguments and errors as in `compress_problem`."""
    from steppe.solvers import compression_curve

    found = load_problem(problem) if isinstance(problem, str) else problem
    given = {name: value for name, value in keywords.items() if value is not None}
    if tolerances:
        given["tolerances"] = tolerances
    with told_by_their_line(found.name):
        return compression_curve(found.model, found.data, **given)
