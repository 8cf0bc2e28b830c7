"""A path of certified solutions for falling weights of the penalty, each starting from the one before."""

from collections.abc import Sequence

from steppe.core import ParameterError
from steppe.linalg import Pace, Progress

from .certified import Certified
from .problem import VariationProblem
from .rigorous import Proof
from .solve import Method, solve


def solve_path(
    problem: VariationProblem,
    alphas: Sequence[float],
    *,
    method: Method = "auto",
    tol: float = 1e-4,
    max_iter: int | None = None,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    proof: Proof | None = None,
) -> list[Certified]:
    """`solve` for several alphas in the given order, each from the network before it.

    Args:
        problem: Data, fit and penalty; its own alpha plays no role.
        alphas: Weights of the penalty, best from large to small.
        method: As in `solve`.
        tol: Relative gap of every point.
        max_iter: Rounds allowed per point.
        seed: Seed of everything random.
        budget: Seconds per point.
        progress: True for a bar on stderr over the points, or a callable (done, total, text).
        proof: Work that the rigorous stage may take per point.

    Raises:
        ParameterError: No alphas.
    """
    if len(alphas) == 0:
        raise ParameterError("`alphas` must hold at least one number, got none; pass the weights of the path")
    found: list[Certified] = []
    with Pace(progress=progress, total=len(alphas)) as pace:
        for alpha in alphas:
            stated = problem.with_alpha(alpha)
            start = found[-1].solution if found else None
            solved = solve(
                stated, method=method, tol=tol, max_iter=max_iter, seed=seed, start=start, budget=budget, proof=proof
            )
            found.append(solved)
            pace.advance(1, f"alpha {alpha:.3g}, {found[-1].solution.width} neurons")
    return found
