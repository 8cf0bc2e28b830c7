"""The explicit interpolating network on the sphere: exact, flat, certified; and what it refuses."""

import math
import time

import numpy as np
import pytest
import torch

from steppe.core import DataError, DtypeError, ParameterError, ShapeError, SquaredLoss
from steppe.curvature import eigenvalues
from steppe.data import uniform_ball, uniform_sphere
from steppe.networks import patch_sphere_interpolator, sphere_interpolator
from steppe.theory import sphere_interpolation_bound

LOSS = SquaredLoss()


def top(network, x, y):
    return float(eigenvalues(network, LOSS, (x, y), k=1, rtol=1e-12).values[0])


def labels(n, *, k=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, k, generator=rng, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize(("balanced", "value"), [(False, 1.06), (True, 1.0565685)])
def test_fifty_points_with_unit_labels(balanced, value):
    x, y = uniform_sphere(50, 5, seed=0), labels(50).sign()
    found = sphere_interpolator(x, y, balanced=balanced)
    assert float(found.sharpness) == pytest.approx(value, abs=0.51e-7)
    assert float(found.sharpness) == pytest.approx(float(found.bound), rel=1e-14)  # an equality
    assert top(found.network, x, y) == pytest.approx(float(found.sharpness), rel=1e-12)
    assert float((found.network(x).detach() - y).abs().max()) < 1e-12
    assert bool((found.network.mask(x) == torch.eye(50, dtype=torch.bool)).all())


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "d", "radius"), [(1, 3, 1.0), (2, 1, 1.0), (30, 2, 0.5), (40, 4, 3.0)])
def test_certified_sharpness_is_that_of_the_hessian(n, d, radius, balanced):
    x = radius * (torch.tensor([[-1.0], [1.0]]).double() if d == 1 else uniform_sphere(n, d, seed=3))
    y = labels(n)
    found = sphere_interpolator(x, y, balanced=balanced)
    matrix = 1 + np.diag((1 + radius**2) * found.network.v[0].detach().numpy() ** 2 + _values(found.network, x) ** 2)
    assert float(found.sharpness) == pytest.approx(np.linalg.eigvalsh(matrix / n)[-1], rel=1e-12)
    assert abs(top(found.network, x, y) - float(found.sharpness)) <= 1e-10 * float(found.sharpness)
    bound = sphere_interpolation_bound(n, float(y.abs().max()), balanced=balanced, radius=radius)
    assert float(found.sharpness) <= float(bound) * (1 + 1e-14)
    assert float(found.bound) == pytest.approx(float(bound), rel=1e-14)


def _values(network, x):
    return network.preactivations(x).detach().clamp(min=0).amax(dim=0).numpy()


def test_the_best_split_is_flatter_than_any_other():
    x, y = uniform_sphere(20, 3, seed=1), 2 * labels(20)
    best = float(sphere_interpolator(x, y).sharpness)
    network = sphere_interpolator(x, y).network
    for factor in (0.9, 1.1):
        with torch.no_grad():
            moved = type(network).from_weights(network.w * factor, network.b * factor, network.v / factor)
        assert float((moved(x).detach() - y).abs().max()) < 1e-12
        assert top(moved, x, y) > best * (1 + 1e-6)
    assert float(sphere_interpolator(x, y, balanced=False).sharpness) > best


def test_a_thousand_points_in_fifty_dimensions():
    x, y = uniform_sphere(1000, 50, seed=0), labels(1000)
    began = time.process_time()
    found = sphere_interpolator(x, y)
    assert time.process_time() - began < 5
    assert found.error < 1e-10
    assert abs(top(found.network, x, y) - float(found.sharpness)) < 1e-12
    assert found.sharpness.error < 1e-12
    assert 1 < float(found.sharpness) < 1 + 2 * math.sqrt(2) / 1000


@pytest.mark.parametrize("balanced", [False, True])
def test_several_outputs_and_zero_labels(balanced):
    x, y = uniform_sphere(25, 4, seed=2), labels(25, k=3)
    y[[0, 7]] = 0
    found = sphere_interpolator(x, y, balanced=balanced)
    assert found.network.width == 23
    assert found.error < 1e-13
    assert top(found.network, x, y) == pytest.approx(float(found.sharpness), rel=1e-11)
    assert float(found.sharpness) <= float(found.bound)


def test_labels_that_are_all_zero_need_no_neuron():
    x, y = uniform_sphere(6, 3, seed=0), torch.zeros(6, 1, dtype=torch.float64)
    found = sphere_interpolator(x, y)
    assert found.error == 0
    assert float(found.sharpness) == pytest.approx(1.0, rel=1e-14)
    assert not found.network.mask(x).any()


@pytest.mark.parametrize("shift", [1e-2, 1e-4])
def test_the_error_stays_below_what_the_condition_promises(shift):
    x, y = uniform_sphere(20, 3, seed=5), labels(20)
    x[1] = x[0] + shift * torch.linalg.cross(x[0], x[2])
    x[1] /= x[1].norm()
    found = sphere_interpolator(x, y)
    assert found.condition > 0.5 / shift**2
    assert found.error <= 2.0**-52 * found.condition * float(y.abs().max())
    assert bool((found.network.mask(x) == torch.eye(20, dtype=torch.bool)).all())
    assert abs(top(found.network, x, y) - float(found.sharpness)) <= found.sharpness.error + 1e-12
    assert "condition" in str(found)


def test_single_precision_is_certified_as_such():
    x, y = uniform_sphere(30, 4, seed=0).float(), labels(30).float()
    found = sphere_interpolator(x, y)
    assert found.network.w.dtype == torch.float32
    assert 1e-9 < found.error < 1e-4
    exact = found.network.copy(dtype=torch.float64)
    difference = abs(top(exact, x.double(), y.double()) - float(found.sharpness))
    assert difference <= found.sharpness.error < 1e-3


@pytest.mark.parametrize("shared", [True, False])
def test_every_patch_on_its_own_sphere(shared):
    x = torch.cat([uniform_sphere(30, 6, seed=seed) for seed in range(4)], dim=1)
    y, patches = labels(30).sign(), torch.arange(24).view(4, 6)
    found = patch_sphere_interpolator(x, y, patches, shared=shared)
    assert round(float(found.sharpness), 10) == 1.0235702260
    assert float(found.sharpness) == pytest.approx(1 + 2 * math.sqrt(2) / (30 * 4), rel=1e-14)
    assert found.network.shared is shared
    assert found.error < 1e-13
    assert int(found.network.mask(x).sum()) == 30
    assert top(found.network, x, y) == pytest.approx(float(found.sharpness), rel=1e-11)
    simple = patch_sphere_interpolator(x, y, patches, shared=shared, balanced=False)
    assert top(simple.network, x, y) == pytest.approx(1 + (1 + 2 / 16) / 30, rel=1e-11)
    assert float(simple.bound) == pytest.approx(float(simple.sharpness), rel=1e-14)


def test_a_patch_that_occurs_twice_is_passed_over():
    x = torch.cat([uniform_sphere(8, 3, seed=seed) for seed in range(2)], dim=1)
    x[1, :3] = x[0, :3]
    y, patches = labels(8), torch.arange(6).view(2, 3)
    assert patch_sphere_interpolator(x, y, patches).error < 1e-12
    x[1, 3:] = x[0, :3]
    assert patch_sphere_interpolator(x, y, patches, shared=False).error < 1e-12  # other places, other weights
    with pytest.raises(DataError, match=r"the best patches of rows must differ .* got 1 and 0 .* drop one"):
        patch_sphere_interpolator(x, y, patches)


# --- bad input ---


@pytest.mark.door
@pytest.mark.parametrize("function", [sphere_interpolator, lambda x, y: patch_sphere_interpolator(x, y, [[0, 1, 2]])])
def test_bad_points_and_labels(function):
    x, y = uniform_sphere(10, 3, seed=0), labels(10)
    with pytest.raises(DataError, match=r"one sphere around the origin, got norms from 0\.\d+ to"):
        function(uniform_ball(10, 3, seed=0), y)
    with pytest.raises(DataError, match="norms from 0 to 0"):
        function(torch.zeros_like(x), y)
    twice = x.clone()
    twice[7] = twice[2]
    with pytest.raises(DataError, match=r"must differ by more than rounding, got 2 and 7 with 1 − cosine 0"):
        function(twice, y)
    close = x.clone()
    close[7] = close[2] + 1e-9
    with pytest.raises(DataError, match=r"must differ by more than rounding, got (2 and 7|7 and 2)"):
        function(close, y)
    broken = x.clone()
    broken[3, 1] = math.nan
    with pytest.raises(DataError, match="`x` must be finite"):
        function(broken, y)
    with pytest.raises(DataError, match="`y` must be finite"):
        function(x, y / 0)
    with pytest.raises(ShapeError, match="`y` must have the shape of the outputs"):
        function(x, y[:9])
    with pytest.raises(ShapeError, match=r"reshape\(10, 1\)"):
        function(x, y[:, 0])
    with pytest.raises(DtypeError, match="same dtype"):
        function(x, y.float())


@pytest.mark.door
def test_patches_outside_the_input_and_bounds_out_of_range():
    x, y = uniform_sphere(10, 3, seed=0), labels(10)
    with pytest.raises(ParameterError, match="indices from 0 to 2"):
        patch_sphere_interpolator(x, y, [[1, 2, 3]])
    with pytest.raises(ParameterError, match="`radius`"):
        sphere_interpolation_bound(3, 1.0, radius=0.0)
    with pytest.raises(ParameterError, match="`patches`"):
        sphere_interpolation_bound(3, 1.0, patches=0)
