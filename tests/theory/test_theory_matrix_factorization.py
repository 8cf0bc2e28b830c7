"""Weight-decayed deep matrix factorization: recorded numbers, brute force, laws, bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from steppe.core import (
    DataError,
    Fact,
    KindError,
    NotComputedError,
    ParameterError,
    ShapeError,
)
from steppe.theory import (
    critical_weight,
    end_to_end_minimizer,
    exceptional_distance,
    minimizer_spectrum,
    minimizer_trace,
    scalar_spectrum,
    singular_value_map,
    singular_value_threshold,
    singular_value_ties,
)

DEPTHS = st.integers(2, 12)
WEIGHTS = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("sigma", "weight", "depth", "expected"),
    [
        (3, 0.1, 3, 2.9301169775),
        (1, 0.1, 3, 0.8962825859),
        (1, 0.3, 3, 0.6544646123),
        (0.3, 0.1, 3, 0.0),
        (2, 1, 3, 0.0),
        (0.5, 0.1, 3, 0.3593421607),
        (3, 0.1, 4, 2.9416956266),
        (1, 0.1, 4, 0.8942525493),
        (1, 0.3, 4, 0.0),
        (0.5, 0.1, 4, 0.0),
        (3, 0.1, 2, 2.9),
    ],
)
def test_map_at_recorded_points(sigma, weight, depth, expected):
    found = singular_value_map(sigma, weight, depth)
    assert found == pytest.approx(expected, abs=6e-11)
    assert isinstance(found, Fact)
    assert found.status == "derived"


def test_thresholds_and_critical_weights_as_recorded():
    thresholds = [float(singular_value_threshold(0.1, depth)) for depth in (2, 3, 4, 5)]
    assert thresholds == pytest.approx([0.1, 0.3556558820, 0.5129927840, 0.6282601603], abs=6e-11)
    weights = [float(critical_weight(1.0, depth)) for depth in (2, 3, 4, 5, 10)]
    assert weights == pytest.approx([1, 0.3968502630, 0.2721655270, 0.2103665898, 0.1011196302], abs=6e-11)
    assert critical_weight(7.0, 5) == pytest.approx(7**1.6 * 0.2103665898, rel=1e-9)
    assert singular_value_threshold(0.1, 4) == pytest.approx(3 * 2 ** (-1 / 3) * 0.1 ** (2 / 3), rel=1e-15)


RECORDED = [
    (
        np.diag([3, 2, 0.5]), (3, 3, 3, 3), 0.1, (2.9301169775, 1.9195360700, 0.3593421607), 1.2604321247464,
        4.0976313871, 120.9885237311, 24.9573289,
    ),
    (
        [[2, 1], [0, 1]], (2, 3, 3, 2, 2), 0.2, (2.1519072008, 0.6200399850), 1.8865915013055, 2.2543642133,
        64.1555160484, 24.4537162,
    ),
    (
        [[2, 1], [0, 1]], (2, 3, 2), 0.2, (2.0882456113, 0.6740320489), 1.1849110640674, None, 26.8982212813,
        8.35298245,
    ),
    (
        [[4, 7], [4, 10], [1, 0]], (2, 4, 3, 3), 0.5, (13.2189341093, 0.7154824036), 9.9431816193, 6.3906313491,
        429.6361653805, 186.53392,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("target", "sizes", "weight", "values", "optimum", "norm", "trace", "top"), RECORDED)
def test_minimizer_as_recorded(target, sizes, weight, values, optimum, norm, trace, top):
    best = end_to_end_minimizer(target, weight, sizes)
    assert best.unique
    assert best.singular_values[: len(values)] == pytest.approx(np.array(values), abs=1.01e-10)
    assert float(best.value) == pytest.approx(optimum, abs=6e-11)
    if norm is not None:
        assert best.layer_norms == pytest.approx(np.full(best.depth, norm), abs=6e-11)
    assert float(best.trace) == pytest.approx(trace, abs=6e-11)
    assert minimizer_trace(target, weight, sizes) == float(best.trace)
    spectrum = minimizer_spectrum(target, weight, sizes)
    assert spectrum[0] == pytest.approx(top, abs=1.1e-7 if top < 100 else 6e-6)
    assert spectrum.sum() == pytest.approx(float(best.trace), rel=1e-12)
    assert np.linalg.svd(best.matrix, compute_uv=False) == pytest.approx(best.singular_values, abs=1e-12)


def test_lower_bound_of_the_trace_as_recorded_and_tight_for_one_singular_value():
    best = end_to_end_minimizer(np.diag([3, 2, 0.5]), 0.1, (3, 3, 3, 3))
    assert float(best.trace_bound) == pytest.approx(101.0752507232, abs=6e-11)
    alone = end_to_end_minimizer(np.diag([3, 0.1]), 0.1, (2, 2, 5, 2))
    assert alone.rank == 1
    assert float(alone.trace) == pytest.approx(float(alone.trace_bound), rel=1e-14)


def test_scalar_spectra_as_recorded():
    def expanded(*arguments):
        return sorted(value for value, count in scalar_spectrum(*arguments) for _ in range(count))

    assert singular_value_map(2.0, 0.3, 3) == pytest.approx(1.7511043865, abs=6e-11)
    assert expanded(2.0, (1, 1, 1, 1), 0.3) == pytest.approx([1.2, 1.2, 12.0638949209], abs=6e-11)
    wide = [*[0.0] * 3, *[0.6] * 2, *[1.2] * 5, 12.0638949209]
    assert expanded(2.0, (1, 3, 2, 1), 0.3) == pytest.approx(wide, abs=6e-11)
    assert singular_value_map(1.5, 0.1, 4) == pytest.approx(1.4159623006, abs=6e-11)
    deep = [*[0.0] * 3, *[0.2] * 2, *[0.4] * 6, 13.0793057005]
    assert expanded(1.5, (1, 2, 2, 2, 1), 0.1) == pytest.approx(deep, abs=6e-11)
    assert expanded(-1.5, (1, 2, 2, 2, 1), 0.1) == expanded(1.5, (1, 2, 2, 2, 1), 0.1)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 4, 1), (1, 3, 2, 1), (1, 2, 2, 3, 1)])
@pytest.mark.parametrize("weight", [0.05, 0.7, 4.0])
def test_scalar_table_is_the_whole_spectrum(sizes, weight):
    table = [value for value, count in scalar_spectrum(1.6, sizes, weight, scale=0.5) for _ in range(count)]
    whole = minimizer_spectrum([[1.6]], weight, sizes, scale=0.5)
    assert whole == pytest.approx(np.array(table), abs=1e-12)


# --- brute force ---


@given(st.floats(0.01, 5), st.floats(0.01, 2), st.integers(2, 6))
def test_map_beats_every_point_of_a_grid(sigma, weight, depth):
    def cost(s):
        return (sigma - s) ** 2 + weight * depth * s ** (2 / depth)

    found = float(singular_value_map(sigma, weight, depth))
    grid = np.linspace(0, sigma, 20001)
    assert cost(found) <= cost(grid).min() + 1e-12 * (1 + sigma**2)
    if not singular_value_ties(sigma, weight, depth, rtol=1e-3):
        assert found == pytest.approx(grid[np.argmin(cost(grid))], abs=0.02 * sigma)


def hessian_at(layers, target, weights, scale):
    shapes = [layer.shape for layer in layers]
    target = torch.as_tensor(np.array(target), dtype=torch.float64)

    def objective(flat):
        parts = flat.split([shape[0] * shape[1] for shape in shapes])
        ws = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        product = torch.linalg.multi_dot(ws[::-1])
        decay = sum(weight * w.square().sum() for weight, w in zip(weights, ws, strict=True))
        return scale * (target - product).square().sum() + decay

    flat = torch.cat([torch.as_tensor(layer).reshape(-1) for layer in layers])
    value, gradient = objective(flat), torch.func.grad(objective)(flat)
    return float(value), gradient, torch.autograd.functional.hessian(objective, flat)


def sampled_layers(best, rng):
    """W_l = c_l Q_l S^(1/L) Q_{l−1}ᵀ with random orthonormal columns."""
    k, depth = best.rank, best.depth
    inner = [np.linalg.qr(rng.standard_normal((width, k)))[0] for width in best.sizes[1:-1]]
    bases = [best.right[:, :k], *inner, best.left[:, :k]]
    roots = best.singular_values[:k] ** (1 / depth)
    shares = np.sqrt(best.weight / np.array(best.weights))
    return [share * (after * roots) @ before.T for share, (before, after) in zip(shares, pairwise(bases), strict=True)]


CASES = [
    ([[2, 1], [0, 1]], (2, 3, 3, 2, 2), 0.2, 1.0),
    ([[4, 7], [4, 10], [1, 0]], (2, 4, 3, 3), (0.5, 0.2, 0.9), 0.7),
    (np.diag([3, 2, 0.5]), (3, 2, 4, 3), 0.1, 1.0),  # a narrow layer
    (np.diag([3, 2, 0.5]), (3, 2, 3), (0.4, 0.9), 2.0),
    (np.diag([0.3, 0.2]), (2, 3, 2), 0.5, 1.0),  # all lost, two layers
    (np.diag([0.3, 0.2]), (2, 3, 2, 2), 0.5, 1.0),  # all lost, three layers
]


@pytest.mark.parametrize(("target", "sizes", "weight", "scale"), CASES)
def test_value_norms_trace_and_whole_spectrum_at_sampled_minimizers(target, sizes, weight, scale):
    best = end_to_end_minimizer(target, weight, sizes, scale=scale)
    for seed in range(2):
        layers = sampled_layers(best, np.random.default_rng(seed))
        value, gradient, hessian = hessian_at(layers, target, best.weights, scale)
        assert value == pytest.approx(float(best.value), rel=1e-12)
        assert gradient.abs().max() < 1e-12
        assert [np.sum(layer**2) for layer in layers] == pytest.approx(best.layer_norms.tolist(), abs=1e-12)
        assert hessian.trace().item() == pytest.approx(float(best.trace), rel=1e-12)
        spectrum = torch.linalg.eigvalsh(hessian).flip(0).numpy()
        assert spectrum == pytest.approx(minimizer_spectrum(target, weight, sizes, scale=scale), abs=1e-9)
        assert spectrum.min() > -1e-9


# --- laws ---


@given(st.floats(0, 100), st.floats(0, 100), WEIGHTS, DEPTHS)
def test_map_is_monotone_and_shrinks(first, second, weight, depth):
    low, high = singular_value_map(sorted([first, second]), weight, depth)
    assert low <= high * (1 + 1e-14)
    assert 0 <= high <= max(first, second)


@given(WEIGHTS, st.integers(3, 40))
def test_map_jumps_at_the_threshold(weight, depth):
    limit = float(singular_value_threshold(weight, depth))
    below, above = singular_value_map([limit * (1 - 1e-9), limit * (1 + 1e-9)], weight, depth)
    assert below == 0
    assert above == pytest.approx(limit * (depth - 2) / (depth - 1), rel=1e-7)


@given(st.floats(0.1, 100), st.integers(2, 40))
def test_collapse_at_the_critical_weight(sigma, depth):
    limit = float(critical_weight(sigma, depth))
    assert singular_value_map(sigma, 1.001 * limit, depth) == 0
    survivor = float(singular_value_map(sigma, 0.9999 * limit, depth))
    assert survivor == pytest.approx(sigma * (depth - 2) / (depth - 1), abs=3e-4 * sigma)
    assert float(singular_value_threshold(limit, depth)) == pytest.approx(sigma, rel=1e-12)


@given(st.floats(1e-3, 1e3), WEIGHTS, st.integers(3, 12))
def test_stationarity_holds_to_rounding(sigma, weight, depth):
    s = float(singular_value_map(sigma, weight, depth))
    assume(s > 0)
    assert s >= sigma * (depth - 2) / (depth - 1) * (1 - 1e-12)
    # s + λ s^(−(L−2)/L) = σ, each term to its own rounding
    assert s + weight * s ** ((2 - depth) / depth) == pytest.approx(sigma, rel=1e-13)


@given(st.floats(0.1, 10), st.floats(0.01, 1), DEPTHS, st.integers(-200, 200))
def test_map_is_covariant_at_extreme_scales(sigma, weight, depth, exponent):
    factor = 2.0**exponent
    assume(not singular_value_ties(sigma, weight, depth, rtol=1e-9))
    power = 2 * (depth - 1) / depth
    scaled = singular_value_map(factor * sigma, weight, depth, scale=factor**-power)
    assert float(scaled) == pytest.approx(factor * float(singular_value_map(sigma, weight, depth)), rel=1e-9)


def test_tiny_and_huge_singular_values_are_exact():
    assert singular_value_map([1e-290, 1e290], 1e-300, 3).tolist() == [0.0, 1e290]
    assert singular_value_map(1e-280, 5e-324, 3) > 0.99e-280 or singular_value_threshold(5e-324, 3) > 1e-280
    assert singular_value_map([0.0, 2.0], 0.0, 4).tolist() == [0.0, 2.0]
    assert singular_value_map(1.0, 1e-12, 1000) == pytest.approx(1 - 1e-12, abs=1e-15)


def test_ties_are_flagged_everywhere():
    assert singular_value_ties(2.0, 1.0, 3) is True
    assert singular_value_ties([2.0, 2.1, 0.0], 1.0, 3).tolist() == [True, False, False]
    assert not singular_value_ties(1.0, 1.0, 2)  # the soft threshold has no jump
    assert "0 and 1 are both optimal" in singular_value_map(2.0, 1.0, 3).statement
    assert "optimal" not in singular_value_map(2.1, 1.0, 3).statement
    tied = end_to_end_minimizer(np.diag([5.0, 2.0]), 1.0, (2, 2, 2, 2))
    assert tied.ties
    assert not tied.unique
    assert "not unique" in str(tied)
    assert exceptional_distance(np.diag([5.0, 2.0]), 1.0, 3) == pytest.approx(0.0, abs=1e-14)
    for ask in (lambda: tied.trace, lambda: tied.trace_bound, lambda: scalar_spectrum(2.0, (1, 1, 1, 1), 1.0)):
        with pytest.raises(NotComputedError, match="differs between minimizers"):
            ask()


def test_both_ends_of_a_tie_have_the_same_value():
    limit = float(singular_value_threshold(0.3, 5))
    top = limit * 3 / 4
    assert (limit - top) ** 2 + 0.3 * 5 * top ** (2 / 5) == pytest.approx(limit**2, rel=1e-14)


def test_narrow_layers_keep_the_largest_and_may_be_ambiguous():
    equal = end_to_end_minimizer(np.eye(2), 0.1, (2, 1, 2, 2))
    assert (equal.rank, equal.unique, equal.ties) == (1, False, False)
    assert end_to_end_minimizer(np.diag([2.0, 1.0]), 0.1, (2, 1, 2, 2)).unique
    assert end_to_end_minimizer(np.eye(2), 1.0, (2, 1, 2, 2)).unique  # both are lost anyhow
    # a singular value at the threshold that no layer can hold does no harm
    assert end_to_end_minimizer(np.diag([5.0, 2.0]), 1.0, (2, 1, 2, 2)).unique


def test_distance_to_the_exceptional_set():
    target, limit = np.diag([3.0, 0.4, 0.2]), float(singular_value_threshold(0.1, 3))
    distance = float(exceptional_distance(target, 0.1, 3))
    assert distance == pytest.approx(0.4 - limit, rel=1e-12)
    moved = np.diag([3.0, 0.4 - distance, 0.2])
    assert not end_to_end_minimizer(moved, 0.1, 3).unique
    assert exceptional_distance(target, 0.1, 2) == math.inf


@given(st.integers(0, 1000), st.floats(0.01, 3), st.integers(2, 6))
@settings(max_examples=50)
def test_loss_conventions_agree(seed, weight, depth):
    target = np.random.default_rng(seed).standard_normal((3, 2))
    sizes = (2, *[4] * (depth - 1), 3)
    assume(exceptional_distance(target, weight, depth) > 1e-6)
    one = end_to_end_minimizer(target, weight, sizes)
    half = end_to_end_minimizer(target, weight / 2, sizes, scale=0.5)
    assert half.matrix == pytest.approx(one.matrix, abs=1e-12)
    assert half.layer_norms == pytest.approx(one.layer_norms, abs=1e-12)
    assert 2 * float(half.value) == pytest.approx(float(one.value), rel=1e-12)
    assert 2 * float(half.trace) == pytest.approx(float(one.trace), rel=1e-12)
    layers = [weight * 2.0 ** (index % 2) / 2.0**index for index in range(depth)]
    mixed = end_to_end_minimizer(target, layers, sizes)
    same = end_to_end_minimizer(target, mixed.weight, sizes)
    assert mixed.matrix == pytest.approx(same.matrix, abs=1e-10)
    assert np.array(layers) * mixed.layer_norms == pytest.approx(mixed.weight * same.layer_norms, abs=1e-10)
    assert float(one.trace_bound) <= float(one.trace) * (1 + 1e-14)


def test_depth_alone_gives_all_but_what_depends_on_widths():
    best = end_to_end_minimizer([[2, 1], [0, 1]], 0.2, 4)
    assert float(best.value) == pytest.approx(1.8865915013055, abs=1e-12)
    assert float(best.threshold) == float(singular_value_threshold(0.2, 4))
    assert float(best.critical_weight) == float(critical_weight(best.target_singular_values[0], 4))
    assert best.layer_spectral_norms == pytest.approx(np.full(4, 2.1519072008**0.25), rel=1e-10)
    with pytest.raises(NotComputedError, match="pass the sizes"):
        _ = best.trace


@pytest.mark.door
@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (DataError, "`sigma` must be finite", lambda: singular_value_map(math.nan, 0.1, 3)),
        (DataError, "`sigma` must be ≥ 0", lambda: singular_value_map([1.0, -1.0], 0.1, 3)),
        (DataError, "`sigma` must hold at least one", lambda: singular_value_map([], 0.1, 3)),
        (KindError, "`sigma` must hold real numbers", lambda: singular_value_map("three", 0.1, 3)),
        (KindError, "`sigma` must hold real numbers", lambda: singular_value_map(1 + 1j, 0.1, 3)),
        (ParameterError, "`weight` must be ≥ 0", lambda: singular_value_map(1.0, -0.1, 3)),
        (ParameterError, "`weight` must be finite", lambda: singular_value_threshold(math.nan, 3)),
        (ParameterError, "`depth` must be ≥ 2", lambda: singular_value_map(1.0, 0.1, 1)),
        (KindError, "`depth` must be an integer", lambda: critical_weight(1.0, 2.5)),
        (ParameterError, "`sigma1` must be ≥ 0", lambda: critical_weight(-1.0, 3)),
        (ParameterError, "`scale` must be > 0", lambda: singular_value_map(1.0, 0.1, 3, scale=0.0)),
        (ParameterError, "`weight` must be > 0", lambda: end_to_end_minimizer(np.eye(2), 0.0, 3)),
        (ParameterError, "`weight` must be > 0", lambda: exceptional_distance(np.eye(2), 0.0, 3)),
        (DataError, "`target` must be finite", lambda: end_to_end_minimizer([[math.nan]], 0.1, 3)),
        (DataError, "`target` must hold", lambda: end_to_end_minimizer(np.zeros((0, 2)), 0.1, 3)),
        (ShapeError, "`target` must be a matrix", lambda: end_to_end_minimizer([1.0], 0.1, 3)),
        (ShapeError, "one per layer, 3, got 2", lambda: end_to_end_minimizer(np.eye(2), [0.1, 0.1], 3)),
        (ShapeError, "must begin with 2 and end with 3", lambda: minimizer_trace(np.ones((3, 2)), 0.1, (3, 4, 2))),
        (NotComputedError, "pass the sizes", lambda: minimizer_trace(np.ones((3, 2)), 0.1, 3)),
        (NotComputedError, "pass the sizes", lambda: minimizer_spectrum(np.ones((3, 2)), 0.1, 3)),
        (KindError, "the sizes d_0", lambda: minimizer_trace(np.ones((3, 2)), 0.1, "233")),
        (ShapeError, "at least 3 numbers", lambda: minimizer_trace(np.ones((3, 2)), 0.1, ())),
        (ParameterError, r"`sizes\[1\]` must be ≥ 1", lambda: minimizer_spectrum(np.eye(2), 0.1, (2, 0, 2))),
        (KindError, "`depth` must be an integer or the sizes", lambda: end_to_end_minimizer(np.eye(2), 0.1, 2.5)),
        (ShapeError, "must begin with 1", lambda: scalar_spectrum(1.0, (2, 3, 1), 0.1)),
    ],
)
def test_bad_input_is_named(error, words, call):
    with pytest.raises(error, match=words):
        call()
