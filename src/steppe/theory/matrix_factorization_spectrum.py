"""The whole Hessian spectrum at the minimizers of weight-decayed deep matrix factorization."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from steppe.core import check_number

from .matrix_factorization import Array
from .matrix_factorization_minimizer import EndToEndMinimizer, end_to_end_minimizer


class SpectrumLine(NamedTuple):
    """One eigenvalue of a Hessian and how often it occurs."""

    eigenvalue: float
    multiplicity: int


def scalar_spectrum(
    target: float, sizes: Sequence[int], weight: float, *, scale: float = 1.0
) -> tuple[SpectrumLine, ...]:
    """The Hessian spectrum at every minimizer for a scalar target, as a table.

    With s = s*(|m|) > 0 and λ = weight, at scale 1: 2L s^(2(L−1)/L) − 2(L − 2)λ once; 4λ, (L − 1) + Σ (d_l − 1) times
    over the hidden layers; 2λ, Σ_l (d_l − 1)(d_(l−1) − 1) times; 0, Σ (d_l − 1) times. At the minimizer zero all are
    2λ (L ≥ 3), or 2λ ± 2|m| (L = 2).

    Args:
        target: m, any real number.
        sizes: 1, d_1, …, d_(L−1), 1.
        weight: λ > 0, the same for all layers.
        scale: Factor > 0 of (m − w)².

    Returns:
        Descending lines; a multiplicity of zero is left out, and equal eigenvalues of different origin are not merged.

    Raises:
        NotComputedError: |m| is at the threshold, where two minimizers with different spectra exist.
        ShapeError: The sizes do not begin and end with 1.
        ParameterError: A number is out of range.

    Example:
        >>> for line in scalar_spectrum(2.0, [1, 1, 1, 1], 0.3):
        ...     print(f"{line.eigenvalue:.6f} {line.multiplicity}")
        12.063895 1
        1.200000 2
    """
    m = check_number("target", target)
    best = end_to_end_minimizer([[m]], check_number("weight", weight, above=0.0), sizes, scale=scale)
    widths, depth, decay = best.require_one_spectrum("scalar_spectrum"), best.depth, best.weight
    s, extra = float(best.singular_values[0]), sum(width - 1 for width in widths[1:-1])
    both = sum((after - 1) * (before - 1) for after, before in zip(widths[1:], widths, strict=False))
    if s > 0:
        top = 2 * depth * best.scale * s ** (2 * (depth - 1) / depth) - 2 * (depth - 2) * decay
        lines = [(top, 1), (4 * decay, depth - 1 + extra), (2 * decay, both), (0.0, extra)]
    elif depth > 2:
        lines = [(2 * decay, sum(a * b for a, b in zip(widths[1:], widths, strict=False)))]
    else:
        lines = [(2 * decay + sign * 2 * best.scale * abs(m), widths[1]) for sign in (1, -1)]
    return tuple(SpectrumLine(*line) for line in sorted(lines, reverse=True) if line[1])


def minimizer_spectrum(
    target: Any, weight: float | Sequence[float], sizes: Sequence[int], *, scale: float = 1.0
) -> Array:
    """All eigenvalues of the objective's Hessian, the same at every minimizer: descending, with multiplicity.

    All minimizers are related by orthogonal changes of the hidden coordinates, so one is enough: that with W_l =
    diag(s_k^(1/L)). There the Hessian falls into blocks: entry (a, b) of the layers meets only entries (a, b) and
    (b, a) of other layers. Our derivation; the source states constancy for scalar targets.

    Args:
        target: M [d_L, d_0].
        weight: One weight > 0 for all layers, or one for each.
        sizes: d_0, d_1, …, d_L.
        scale: Factor > 0 of ‖M − W‖_F².

    Returns:
        One number per parameter.

    Raises:
        NotComputedError: A singular value of the target is at the threshold.
        DataError: The target is empty or not finite.
        ShapeError: The sizes do not fit the target.
        ParameterError: A number is out of range.

    Cost: one symmetric eigenproblem of size 2L for each pair of coordinates, instead of one of all parameters.

    Example:
        >>> [round(float(value), 4) for value in minimizer_spectrum([[2.0]], 0.5, [1, 1, 1])]
        [6.0, 2.0]
    """
    best = end_to_end_minimizer(target, weight, sizes, scale=scale)
    widths = best.require_one_spectrum("minimizer_spectrum")
    roots, residual = np.zeros((2, max(widths)))
    kept = len(best.singular_values)
    roots[:kept] = best.singular_values ** (1 / best.depth)
    residual[:kept] = best.target_singular_values - best.singular_values
    blocks = [
        np.linalg.eigvalsh(_block(best, widths, roots[[a, b]], residual[[a, b]], (a, b)))
        for a in range(max(widths))
        for b in range(a + 1)
    ]
    return np.sort(np.concatenate(blocks))[::-1].copy()


def _block(
    best: EndToEndMinimizer, widths: Sequence[int], roots: Array, residual: Array, pair: tuple[int, int]
) -> Array:
    """The Hessian in the entries (a, b) and (b, a) of all layers that have them."""
    depth = best.depth
    entries = [
        (layer, row, column)
        for layer in range(1, depth + 1)
        for row, column in ((0, 1), (1, 0))[: 1 if pair[0] == pair[1] else 2]
        if pair[row] < widths[layer] and pair[column] < widths[layer - 1]
    ]
    same = pair[0] == pair[1]
    block = np.zeros((len(entries), len(entries)))
    for i, (low, row, column) in enumerate(entries):
        for j, (high, other, _) in enumerate(entries):
            value = 0.0
            if row == other:  # both move the same entry of the product
                value += roots[row] ** (2 * depth - low - high) * roots[column] ** (low + high - 2)
            if low != high and (same or row != other):  # the product is bilinear in them, and the residual is not zero
                first, last = min(low, high), max(low, high)
                p, q = (row, column) if low == last else (column, row)
                value -= residual[p] * roots[p] ** (depth - last + first - 1) * roots[q] ** (last - first - 1)
            share = best.weight / np.sqrt(best.weights[low - 1] * best.weights[high - 1])
            block[i, j] = 2 * best.scale * value / share
    return np.asarray(block + 2 * np.diag([best.weights[layer - 1] for layer, _, _ in entries]))
