"""Spectral density of curvature operators, and the survey that asks several questions at once."""

import dataclasses
import time
from typing import Any, Unpack

import torch

from steppe.core import check_integer
from steppe.linalg import Density as PlainDensity
from steppe.linalg import Progress, Survey, remaining
from steppe.linalg import spectral_density as plain_density
from steppe.linalg import survey as plain_survey
from steppe.plotting import Axis, Band, Figure, Lines, Panel

from .operators import as_operator, kind_of
from .options import ProblemOptions, refuse_unknown_options


class Density(PlainDensity):
    """The eigenvalue distribution of a curvature operator; `steppe.linalg.Density` with a picture."""

    def plot(self, *, points: int = 400, width: float | None = None) -> Figure:
        """The density on a logarithmic scale, and the share of eigenvalues beyond each value with its 95 % band.

        Args:
            points: Points of the grid.
            width: Standard deviation of the blur; 1 % of the range if None.
        """
        points = check_integer("points", points, minimum=2)
        low, high = float(self.nodes.min()), float(self.nodes.max())
        margin = 0.05 * (high - low) or max(abs(high), 1.0)
        grid = torch.linspace(low - margin, high + margin, points, dtype=torch.float64)
        density = self.density(grid, width=width)
        # What is less than a hundredth of one eigenvalue in the whole range is not drawn.
        floor = 0.01 / (self.size * (grid[-1] - grid[0]))
        above = density >= floor
        x = grid.tolist()
        under, over = (1 - end for end in reversed(self.cumulative_band(grid)))
        beyond = (1 - self.cumulative(grid)).tolist()
        return Figure(
            "spectral-density",
            "Eigenvalues: how many, and where",
            [
                Panel(
                    "density",
                    Axis("eigenvalue"),
                    Axis("density", scale="log"),
                    [Lines("density", grid[above].tolist(), density[above].tolist())],
                ),
                Panel(
                    "share beyond",
                    Axis("eigenvalue"),
                    Axis("share of eigenvalues beyond"),
                    [Band("share", x, under.tolist(), over.tolist()), Lines("share", x, beyond)],
                ),
            ],
        )


def spectral_density(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    steps: int = 40,
    probes: int = 3,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    max_products: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Density:
    """The density of the Hessian's eigenvalues (or those of one operator), by stochastic Lanczos quadrature.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        steps: Length of each Lanczos chain: the resolution.
        probes: Number of chains: the statistical error.
        seed: Seed of the probes.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected, text).
        max_products: Products allowed, None for steps·probes.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        Nodes and weights with `.density(grid)`, `.cumulative(grid)`, `.eigenvalue_count(low, high)`, `.moment(order)`
        and `.plot()`. With p ≤ steps·probes the nodes are all the eigenvalues.

    Raises:
        SteppeError: As `hessian`.

    Cost: steps·probes products; see `steppe.linalg.spectral_density`.
    """
    refuse_unknown_options("spectral_density", options, "steps", "probes", "seed", "budget", "progress", "max_products")
    began = time.perf_counter()
    operator = as_operator(model, loss, data, function="spectral_density", **options)
    if (expect := getattr(operator, "expect", None)) is not None:
        expect(min(steps * probes, operator.shape[0]))
    found = plain_density(
        operator,
        steps=steps,
        probes=probes,
        seed=seed,
        budget=remaining(budget, began),
        progress=progress,
        max_products=max_products,
    )
    return dataclasses.replace(_drawable(found), seconds=time.perf_counter() - began)


def survey(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    rtol: float = 1e-3,
    steps: int = 40,
    probes: int = 20,
    seed: int = 0,
    budget: float | None = None,
    progress: Progress = False,
    max_products: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Survey:
    """Sharpness, smallest eigenvalue, density and trace of the Hessian (or of one operator) from the same products.

    Args:
        model: A module (then loss and data follow), or an operator alone.
        loss: `loss(outputs, targets) -> scalar`, or None if the model returns an object with `.loss`.
        data: One batch, a tuple (x, y) or a dict, or a re-iterable of batches.
        rtol: Relative tolerance of the residuals.
        steps: Least length of the Krylov chain, and most steps that the smallest eigenvalue may take more.
        probes: Probes of the trace, ≥ 2.
        seed: Seed of all random vectors.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected, text).
        max_products: Products allowed, 1000 if None.
        **options: `parameters`, `weight`, `objective` and `memory`, as in `ProblemOptions`; others are refused.

    Returns:
        `largest`, `smallest`, `vector`, `density` and `trace`; what the budget did not reach is None, and `reason` says
        why.

    Raises:
        SteppeError: As `hessian`.

    Cost: 60–80 products as a rule; see `steppe.linalg.survey`.
    """
    refuse_unknown_options("survey", options, "rtol", "steps", "probes", "seed", "budget", "progress", "max_products")
    began = time.perf_counter()
    operator = as_operator(model, loss, data, function="survey", **options)
    if (expect := getattr(operator, "expect", None)) is not None:
        expect(steps + probes)
    found = plain_survey(
        operator,
        rtol=rtol,
        steps=steps,
        probes=probes,
        seed=seed,
        budget=remaining(budget, began),
        progress=progress,
        max_products=max_products,
    )
    name = {"Hessian": "sharpness"}.get(kind_of(operator), "largest eigenvalue")
    return dataclasses.replace(
        found,
        largest=dataclasses.replace(found.largest, quantity=name),
        density=_drawable(found.density),
        seconds=time.perf_counter() - began,
    )


def _drawable(found: PlainDensity) -> Density:
    return Density(**{field.name: getattr(found, field.name) for field in dataclasses.fields(found)})
