"""How much the loss rises near the parameters: at worst, and on average."""

import math
import time
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from steppe.core import (
    Estimate,
    ParameterError,
    check_integer,
    check_number,
    generator,
    samples_of,
    take_samples,
)

from .nearby import Nearby, norm_of, normal_like
from .options import ProblemOptions, refuse_unknown_options

_ALIKE = 1e-6  # relative change of the perturbation at which ascent has settled


def worst_case_sharpness(
    model: Any,
    loss: Any,
    data: Any,
    *,
    radius: float = 0.05,
    adaptive: bool = False,
    steps: int = 20,
    samples: int | None = None,
    seed: int = 0,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The rise max L(θ + ε) − L(θ) over ‖ε‖ ≤ ρ of sharpness-aware minimization, bounded from below by ascent.

    The ball is Euclidean; with `adaptive` it is ‖ε / |θ|‖ ≤ ρ (entries that are zero do not move), and the rise does
    not change when a ReLU neuron is rescaled. That in the fixed ball does.

    Every step goes to the point of the sphere in the direction of the present gradient. The first of them is the
    perturbation of SAM (of ASAM if adaptive). Where the loss is convex in the ball each step raises it; the best point
    met is reported, never less than zero. Nothing short of a global search gives the maximum itself.

    With `samples` the data are cut into consecutive sub-batches of that size (a shorter rest counts by its size), each
    has its own maximum, and the weighted mean is reported: m-sharpness. Its true value does not fall when m is divided.

    Args:
        model: The module.
        loss: As in `hessian`.
        data: As in `hessian`, kept in memory.
        radius: ρ > 0.
        adaptive: Measure ε relative to the parameters.
        steps: Gradients to take, ≥ 1; 1 is SAM's single step.
        samples: m, or None for all samples together.
        seed: Of the direction where the gradient vanishes (purpose `curvature.probe`).
        **options: As in `hessian`.

    Returns:
        A lower bound of the maximum. For m-sharpness its standard error is over sub-batches, as a sample of such.

    Raises:
        ParameterError: A number is out of range, or all parameters are zero and the ball adaptive.
        SteppeError: As `hessian`.

    Cost: at most `steps` gradients and one pass forward, on all samples once.
    Source: Foret et al. 2021 (SAM, m-sharpness), Kwon et al. 2021 (adaptive), Andriushchenko et al. 2023 (recalled).

    Example:
        On ½θ² at θ = 0 the rise in a ball of radius ½ is ⅛.

        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> x = torch.ones(1, 1, dtype=torch.float64)
        >>> float(worst_case_sharpness(model, lambda f, y: 0.5 * (f - y).square().mean(), (x, 0 * x), radius=0.5))
        0.125
    """
    refuse_unknown_options("worst_case_sharpness", options, "radius", "adaptive", "steps", "samples", "seed")
    began = time.perf_counter()
    radius = check_number("radius", radius, above=0.0)
    steps = check_integer("steps", steps, minimum=1)
    m = None if samples is None else check_integer("samples", samples, minimum=1)
    near = Nearby("worst_case_sharpness", model, loss, data, **options)
    scale = _scale(near, adaptive=adaptive)
    with near.session():
        groups = [near.batches] if m is None else [[batch] for batch in _cut(near.batches, m)]
        rises = [_ascend(near, group, radius, scale, steps, seed) for group in groups]
    weights = [sum(map(near.weigh, group)) for group in groups]
    mean = sum(w * rise for w, rise in zip(weights, rises, strict=True)) / sum(weights)
    error = _standard_error(rises) if len(rises) > 1 else math.nan
    ball = f"{'adaptive ' if adaptive else ''}radius {radius:g}"
    parts = "" if m is None else f", mean over {len(groups)} sub-batches of {m}"
    return Estimate(
        value=mean,
        error=error,
        error_kind="none" if len(rises) == 1 else "standard error",
        reason=f"a lower bound of the maximum, by at most {steps} {'step' if steps == 1 else 'steps'} of ascent",
        seconds=time.perf_counter() - began,
        backend=f"{near.evaluations} passes over data",
        convention=f"lower bound, {ball}{parts}; {near.convention}",
        source="Foret et al. 2021" if not adaptive else "Kwon et al. 2021",
        quantity="worst-case sharpness" if m is None else "m-sharpness",
    )


def average_case_sharpness(
    model: Any,
    loss: Any,
    data: Any,
    *,
    sigma: float = 0.01,
    adaptive: bool = False,
    draws: int = 50,
    seed: int = 0,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The mean rise E L(θ + ε) − L(θ) under normal noise ε ~ N(0, σ²), or N(0, σ²θ²) entry by entry if adaptive.

    For small σ it is σ²/2 times the trace of the Hessian (adaptive: times Σ θ_i² H_ii). The adaptive one does not
    change when a ReLU neuron is rescaled.

    Args:
        model: The module.
        loss: As in `hessian`.
        data: As in `hessian`, kept in memory.
        sigma: Standard deviation σ > 0 of every entry, or relative to it.
        adaptive: Scale the noise with the parameters.
        draws: Pairs ±ε to draw, ≥ 2; pairs cancel the part that is linear in ε.
        seed: Seed of the noise (purpose `curvature.probe`).
        **options: As in `hessian`.

    Returns:
        The mean with its standard error over pairs; infinite if a loss was.

    Raises:
        ParameterError: A number is out of range.
        SteppeError: As `hessian`.

    Cost: two forward passes per pair.
    Source: Neyshabur et al. 2017; Andriushchenko et al. 2023 (recalled).
    """
    refuse_unknown_options("average_case_sharpness", options, "sigma", "adaptive", "draws", "seed")
    began = time.perf_counter()
    sigma = check_number("sigma", sigma, above=0.0)
    draws = check_integer("draws", draws, minimum=2)
    rng = generator("curvature.probe", seed)
    near = Nearby("average_case_sharpness", model, loss, data, **options)
    scale = _scale(near, adaptive=adaptive)
    rises = []
    with near.session() as base:
        for _ in range(draws):
            noise = [sigma * z * s for z, s in zip(normal_like(near.parameters, rng), scale, strict=True)]
            there, back = near.value(noise), near.value([-part for part in noise])
            rises.append(0.5 * (there + back) - base)
    finite = all(map(math.isfinite, rises))
    return Estimate(
        value=sum(rises) / draws,
        error=_standard_error(rises) if finite else math.inf,
        error_kind="standard error",
        converged=finite,
        reason=f"{draws} pairs" if finite else "the loss was infinite at a perturbed point; lower `sigma`",
        seconds=time.perf_counter() - began,
        backend=f"{near.evaluations} passes over data",
        convention=f"{'relative ' if adaptive else ''}σ {sigma:g}; {near.convention}",
        source="Andriushchenko et al. 2023",
        quantity="average-case sharpness",
    )


def _scale(near: Nearby, *, adaptive: bool) -> list[Tensor]:
    """|θ| or 1, by parameter."""
    scale = [origin.abs() if adaptive else torch.ones_like(origin) for origin in near.origin]
    if not any(bool(part.any()) for part in scale):
        raise ParameterError("`adaptive` needs a parameter that is not zero, got zeros only; pass adaptive=False")
    return scale


def _ascend(
    near: Nearby, batches: Sequence[Any], radius: float, scale: Sequence[Tensor], steps: int, seed: int
) -> float:
    """The best rise met on the way; a perturbation is ε = scale · u with ‖u‖ = ρ."""
    base, slope = near.gradient(None, batches)
    best, u = 0.0, None
    for step in range(steps):
        direction = [part * s for part, s in zip(slope, scale, strict=True)]
        length = norm_of(direction)
        if not math.isfinite(length):
            break
        if length == 0:
            if step:
                break
            noise = normal_like(near.parameters, generator("curvature.probe", seed))
            direction = [z * s for z, s in zip(noise, scale, strict=True)]
            length = norm_of(direction)
        new = [part * (radius / length) for part in direction]
        change = math.inf if u is None else norm_of([a - b for a, b in zip(new, u, strict=True)])
        u = new
        if change <= _ALIKE * radius:
            break
        offset = [part * s for part, s in zip(u, scale, strict=True)]
        if step == steps - 1:
            value = near.value(offset, batches)
        else:
            value, slope = near.gradient(offset, batches)
        best = max(best, value - base)
    return best


def _cut(batches: Sequence[Any], m: int) -> list[Any]:
    """Consecutive sub-batches of at most m samples."""
    return [
        take_samples(batch, slice(start, start + m)) for batch in batches for start in range(0, samples_of(batch), m)
    ]


def _standard_error(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
