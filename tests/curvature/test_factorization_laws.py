"""Laws of deep linear sharpness: scale, rotation, range of floats, degenerate layers, and what is refused."""

import contextlib
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steppe.core import (
    ComputationError,
    DataError,
    KindError,
    NotComputedError,
    ParameterError,
    ShapeError,
    UnknownNameError,
)
from steppe.curvature import (
    deep_linear_eigenvalues,
    deep_linear_hessian_product,
    deep_linear_sharpness,
    deep_linear_sharpness_bounds,
    deep_linear_spectrum,
    deep_linear_trace,
    flatness_ratio,
    flattest_sharpness,
    is_flattest,
)
from steppe.curvature.factorization_bracket import bracket, layer_norms
from steppe.curvature.factorization_space import OutputSpace
from steppe.networks import DeepLinear

SIZES = st.lists(st.integers(1, 5), min_size=2, max_size=6)
SEEDS = st.integers(0, 2**20)


def layers_of(sizes, seed):
    return [layer.detach() for layer in DeepLinear(sizes, seed=seed).layers]


def orthogonal(size, seed):
    return torch.linalg.qr(
        torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).Q


@given(SIZES, SEEDS, st.floats(1e-30, 1e30), st.sampled_from([None, 3]))
@settings(max_examples=30, deadline=None)
def test_everything_scales_with_the_loss(sizes, seed, scale, samples):
    layers = layers_of(sizes, seed)
    data = None if samples is None else torch.randn(samples, sizes[0], dtype=torch.float64)
    for function in (deep_linear_sharpness, deep_linear_trace):
        one, many = (float(function(layers, data=data, scale=factor)) for factor in (1.0, scale))
        assert many == pytest.approx(scale * one, rel=1e-12)
    torch.testing.assert_close(
        deep_linear_spectrum(layers, data=data, scale=scale) / scale,
        deep_linear_spectrum(layers, data=data),
        rtol=1e-12,
        atol=1e-12 * one,
    )


@given(SIZES, SEEDS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_spectrum_is_invariant_under_rotations_of_every_layer(sizes, seed, off):
    """W_l → O_l W_l O_{l−1}ᵀ, with the target turned along; so at minimizers and elsewhere."""
    layers = layers_of(sizes, seed)
    turns = [orthogonal(size, seed + index) for index, size in enumerate(sizes)]
    turned = [turns[i + 1] @ layer @ turns[i].T for i, layer in enumerate(layers)]
    target = torch.ones(sizes[-1], sizes[0], dtype=torch.float64) if off else None
    other = turns[-1] @ target @ turns[0].T if off else None
    one, two = (deep_linear_spectrum(*case[:1], target=case[1]) for case in ((layers, target), (turned, other)))
    size = float(one.abs().max())
    torch.testing.assert_close(one, two, rtol=0, atol=1e-11 * size)
    if not off:
        assert float(deep_linear_sharpness(turned)) == pytest.approx(float(one[0]), rel=1e-11)
        assert deep_linear_sharpness_bounds(turned) == pytest.approx(deep_linear_sharpness_bounds(layers), rel=1e-10)
        assert float(flatness_ratio(turned)) >= 1 - 1e-12


@given(SIZES, SEEDS)
@settings(max_examples=30, deadline=None)
def test_bounds_hold_and_all_ways_agree(sizes, seed):
    layers = layers_of(sizes, seed)
    values = deep_linear_spectrum(layers)
    top = float(values[0])
    assert float(values.sum()) == pytest.approx(deep_linear_trace(layers), rel=1e-11)
    assert int((values > 1e-12 * top).sum()) <= min(sizes[0] * sizes[-1], len(values))
    for method in ("auto", "dense", "lanczos"):
        assert float(deep_linear_sharpness(layers, method=method)) == pytest.approx(top, rel=1e-12)
    lower, upper = deep_linear_sharpness_bounds(layers)
    assert lower * (1 - 1e-12) <= top <= upper * (1 + 1e-12)
    space = OutputSpace(layers)
    two = bracket(space, layer_norms(space))
    ends = [2 * math.ldexp(value, two.exponent) for value in (two.lower, two.upper)]
    assert ends[0] * (1 - 1e-12) <= top <= ends[1] * (1 + 1e-12)
    assert top >= float(flattest_sharpness(DeepLinear.from_layers(layers).matrix(), len(layers))) * (1 - 1e-12)


@given(SIZES, SEEDS, st.lists(st.floats(-150, 150), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_layers_of_very_different_size_neither_overflow_nor_vanish(sizes, seed, powers):
    """At depth one and two the exact answer is at hand; the powers of ten sum to zero over the layers."""
    layers = layers_of(sizes, seed)
    used = torch.tensor(powers[: len(layers)], dtype=torch.float64)
    used -= used.mean()
    big = [layer * 10.0 ** float(power) for layer, power in zip(layers, used, strict=True)]
    if abs(float(used.min())) > 140:  # the largest term lacks the smallest layer: 10^±280 and beyond
        with contextlib.suppress(ComputationError):
            assert deep_linear_sharpness(big).value > 0
        return
    found = deep_linear_sharpness(big)
    assert math.isfinite(found.value)
    assert found.value > 0
    lower, upper = deep_linear_sharpness_bounds(big)
    assert lower * (1 - 1e-9) <= found.value <= upper * (1 + 1e-9)
    assert len(big) > 2 or found.value == pytest.approx(upper, rel=1e-12)


def test_extreme_layers_at_depth_two():
    layers = [[[1e100, 0.0], [0.0, 1e99]], [[1e-100, 0.0], [0.0, 1e-101]]]
    assert deep_linear_sharpness(layers).value == pytest.approx(2e200, rel=1e-14)
    assert deep_linear_spectrum(layers)[:4].tolist() == pytest.approx([2e200, 2e200, 2e198, 2e198], rel=1e-14)
    assert deep_linear_trace(layers) == pytest.approx(4.04e200, rel=1e-14)
    assert float(flatness_ratio(layers)) == pytest.approx(2e200 / 4, rel=1e-12)
    vector = deep_linear_eigenvalues(layers).layer_vectors()
    assert float(sum(part.square().sum() for part in vector)) == pytest.approx(1, abs=1e-13)
    for size in (1e200, 1e-200):
        with pytest.raises(ComputationError, match=r"10\^-?400, which float64 does not hold; rescale"):
            deep_linear_sharpness([[[size]], [[size]]])
    assert deep_linear_sharpness([[[1e200]], [[1e200]]], scale=1e-200).value == pytest.approx(4e200, rel=1e-13)
    many = [[[1e10]], [[1e-10]]] * 200  # partial products alone would not overflow, their squares would
    assert deep_linear_sharpness(many).value == pytest.approx(400e20, rel=1e-10)
    with pytest.raises(ComputationError, match="not finite in float64"):
        deep_linear_sharpness([[[1e200]], [[1e200]], [[1e-250]]], target=[[1.0]])


@given(SIZES.filter(lambda sizes: len(sizes) > 2), SEEDS, st.sampled_from([1e-60, 1e-40, 1e30]))
@example([1, 1, 2, 5, 4], 0, 1e30)
@settings(max_examples=30, deadline=None)
def test_a_tiny_problem_keeps_its_residual(sizes, seed, size):
    """Layers times s and target times s^L: the Hessian times s^(2L − 2), residual included."""
    layers, depth = layers_of(sizes, seed), len(sizes) - 1
    target = DeepLinear.from_layers(layers).matrix().detach() + 1
    small = [layer * size for layer in layers]
    power = round(math.log10(size)) * (2 * depth - 2)
    if abs(power) > 290:
        return
    found = deep_linear_sharpness(small, target=target * size**depth)
    expected = deep_linear_sharpness(layers, target=target)
    assert found.value == pytest.approx(expected.value * 10.0**power, rel=1e-8)
    assert ("off the minimizers" in found.convention) == ("off the minimizers" in expected.convention)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([[[0.0, 0.0]], [[0.0]]], 0.0),
        ([[[0.0]], [[0.0]], [[3.0]]], 0.0),
        ([[[0.0]], [[2.0]], [[3.0]]], 72.0),  # only W_1 acts: 2 (2 · 3)²
        ([[[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [2.0, 4.0]]], 50.0),
        ([[[5.0, 1.0, 2.0]]], 2.0),  # depth one
        ([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]], 16.0),  # rank one
        ([[[1.0], [2.0]], [[2.0, 1.0]]], 20.0),
    ],
)
def test_degenerate_layers_have_their_sharpness(layers, expected):
    for method in ("auto", "dense", "lanczos"):
        found = deep_linear_eigenvalues(layers, method=method)
        assert float(found.values[0]) == pytest.approx(expected, rel=1e-13)
        assert float(found.vectors.norm()) == pytest.approx(1, abs=1e-13)
        image = deep_linear_hessian_product(layers, found.layer_vectors())
        for one, two in zip(image, found.layer_vectors(), strict=True):
            torch.testing.assert_close(one, expected * two, rtol=1e-12, atol=1e-12)
    assert float(deep_linear_spectrum(layers)[0]) == pytest.approx(expected, rel=1e-13)
    assert float(flatness_ratio(layers)) >= 1


def test_flatness_of_nothing():
    assert is_flattest([[[0.0]], [[0.0]]])
    assert float(flatness_ratio([[[0.0]], [[1.0]]])) == math.inf
    assert flattest_sharpness([[0.0]], 3) == 0
    assert flattest_sharpness([[5.0]], 1) == 2
    assert flattest_sharpness([[1e300]], 2, scale=1e-300) == pytest.approx(4, rel=1e-13)
    assert flattest_sharpness([[8.0]], 3).status == "theorem"


def test_narrow_dtypes_are_upcast():
    network = DeepLinear([4, 5, 3, 4], seed=1, dtype=torch.float32)
    wide = [layer.detach().double() for layer in network.layers]
    assert deep_linear_sharpness(network).value == deep_linear_sharpness(wide).value
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert deep_linear_sharpness(network, data=x).value == deep_linear_sharpness(wide, data=x.double()).value
    network.layers[0].data.mul_(0)  # what was asked before is not changed by training on
    assert network.layers[0].dtype == torch.float32


def test_a_batch_of_columns_is_a_batch_of_maps():
    """The narrow way (few hidden units) and the wide one give the matrix that Kronecker products give."""
    for sizes in ([5, 2, 4, 6], [4, 9, 7, 3]):
        for features in (None, torch.randn(sizes[0], 3, dtype=torch.float64)):
            space = OutputSpace(layers_of(sizes, 1), features)
            identity = torch.eye(space.size, dtype=torch.float64)
            torch.testing.assert_close(space.product(identity), space.dense(), rtol=1e-12, atol=1e-12)
            single = torch.cat([space.product(identity[:, i : i + 1]) for i in range(space.size)], dim=1)
            torch.testing.assert_close(single, space.dense(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(space.jacobian() @ space.jacobian().T, space.dense(), rtol=1e-11, atol=1e-12)


@pytest.mark.door
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: deep_linear_sharpness([]), ShapeError, "at least one matrix"),
        (lambda: deep_linear_sharpness([[[1.0]], [[1.0, 2.0]]]), ShapeError, "W_2"),
        (lambda: deep_linear_sharpness([[[math.nan]]]), DataError, "W_1 must be finite"),
        (lambda: deep_linear_sharpness(torch.nn.Linear(2, 2)), KindError, "from_sequential"),
        (lambda: deep_linear_sharpness([[[1.0]]], scale=0), ParameterError, "scale"),
        (lambda: deep_linear_sharpness([[[1.0]]], scale=math.nan), ParameterError, "scale"),
        (lambda: deep_linear_sharpness([[[1.0]]], rtol=0), ParameterError, "rtol"),
        (lambda: deep_linear_sharpness([[[1.0]]], method="power"), UnknownNameError, "method"),
        (lambda: deep_linear_sharpness([[[1.0]]], target=[[1.0, 2.0]]), ShapeError, "target"),
        (lambda: deep_linear_sharpness([[[1.0]]], target=[[math.inf]]), DataError, "finite"),
        (lambda: deep_linear_sharpness([[[1.0]]], data=torch.ones(3, 2).double()), ShapeError, "data"),
        (lambda: deep_linear_sharpness([[[1.0]]], data=[[1.0]]), KindError, "data"),
        (
            lambda: deep_linear_sharpness([[[1.0]]], data=torch.ones(3, 1).double(), target=torch.ones(1, 3).double()),
            ShapeError,
            "target",
        ),
        (
            lambda: deep_linear_sharpness(layers_of([3, 3, 3, 3], 0), method="closed form"),
            NotComputedError,
            "do not meet",
        ),
        (
            lambda: deep_linear_sharpness([[[1.0]], [[1.0]]], target=[[3.0]], method="dense"),
            NotComputedError,
            "residual is not zero",
        ),
        (lambda: deep_linear_eigenvalues([[[1.0, 2.0]]], 0), ParameterError, "k"),
        (lambda: deep_linear_eigenvalues([[[1.0, 2.0]]], 3), ParameterError, "k"),
        (lambda: deep_linear_eigenvalues([[[1.0]], [[1.0]]], 2), ParameterError, "above rounding, 1, got 2"),
        (lambda: deep_linear_eigenvalues([[[1.0]]], 1.5), KindError, "integer"),
        (lambda: deep_linear_eigenvalues(layers_of([3, 3], 0), 2, method="closed form"), ParameterError, "must be 1"),
        (lambda: deep_linear_spectrum(layers_of([4, 3, 3, 4], 0), max_size=15), ParameterError, "≥ 16"),
        (lambda: deep_linear_spectrum(layers_of([2, 2], 0), max_size=0), ParameterError, "max_size"),
        (lambda: deep_linear_hessian_product([[[1.0]]], [[[1.0, 2.0]]]), ShapeError, "one matrix per layer"),
        (lambda: deep_linear_hessian_product([[[1.0]]], []), ShapeError, "at least one"),
        (lambda: flattest_sharpness([[1.0]], 0), ParameterError, "depth"),
        (lambda: flattest_sharpness([1.0], 2), ShapeError, "target"),
        (lambda: is_flattest([[[1.0]]], rtol=-1), ParameterError, "rtol"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(make, error, words):
    with pytest.raises(error, match=words):
        make()
