"""Sharpness, spectrum and trace of deep linear networks: the known instances, and autograd."""

import pytest
import torch

from steppe.core import SquaredLoss
from steppe.curvature import (
    deep_linear_eigenvalues,
    deep_linear_hessian_product,
    deep_linear_sharpness,
    deep_linear_sharpness_bounds,
    deep_linear_spectrum,
    deep_linear_trace,
    eigenvalues,
    flatness_ratio,
    flattest_sharpness,
    gauss_newton,
    hessian,
    is_flattest,
    sharpness,
)
from steppe.linalg import extreme_eigenvalues
from steppe.networks import DeepLinear

FIXED = [[[1.0, 2], [0, 1], [1, 0]], [[1.0, 0, 1], [2, 1, 0]], [[1.0, 1], [0, 2]]]
DIAGONAL = [[[2.0, 0], [0, 1]], [[1.0, 0], [0, 3]], [[2.0, 0], [0, 1]]]
SHAPES = [[2, 4, 3, 5, 3], [3, 3], [3, 5, 2], [1, 3, 2, 1], [1, 4, 2, 3], [4, 1, 3], [3, 2, 4, 1], [7, 2, 7]]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(network, x, outputs, scale):
    """The Hessian of scale · ‖T − W X‖² by double backward."""
    sizes = [layer.numel() for layer in network.layers]

    def value(flat):
        found = x.T
        for part, layer in zip(flat.split(sizes), network.layers, strict=True):
            found = part.view_as(layer) @ found
        return scale * (outputs.T - found).square().sum()

    return torch.autograd.functional.hessian(value, torch.cat([p.detach().reshape(-1) for p in network.layers]))


def test_the_fixed_instance():
    spectrum = deep_linear_spectrum(FIXED)
    expected = [195.08029957123975, 82.9197004287602, 72.8378486313773, 5.1621513686227]
    assert spectrum[:4].tolist() == pytest.approx(expected, rel=1e-13)
    assert spectrum[4:].tolist() == [0.0] * 12
    assert deep_linear_sharpness(FIXED).value == pytest.approx(195.08029957123975, rel=1e-14)
    assert deep_linear_trace(FIXED) == 356
    assert deep_linear_sharpness_bounds(FIXED).upper == pytest.approx(195.24369806970293, rel=1e-14)
    target = DeepLinear.from_layers(FIXED).matrix().detach()
    assert target.tolist() == [[4, 7], [4, 10]]
    sigma = float(torch.linalg.matrix_norm(target, ord=2))
    assert sigma == pytest.approx(13.423892574709011, rel=1e-14)
    assert flattest_sharpness(target, 3) == pytest.approx(6 * sigma ** (4 / 3), rel=1e-14)


def test_the_sum_of_norm_products_is_not_the_sharpness():
    assert deep_linear_sharpness(DIAGONAL).value == pytest.approx(48, rel=1e-14)
    assert deep_linear_sharpness_bounds(DIAGONAL) == pytest.approx((32, 68), rel=1e-14)
    assert deep_linear_spectrum(DIAGONAL)[:4].tolist() == pytest.approx([48, 38, 34, 34], rel=1e-14)


def test_flat_without_balance():
    layers = [[[2.0, 0], [0, 2]], [[2.0, 0], [0, 0.5]]]
    assert deep_linear_sharpness(layers).value == pytest.approx(16, rel=1e-14)
    assert flattest_sharpness([[4.0, 0], [0, 1]], 2) == pytest.approx(16, rel=1e-14)
    assert is_flattest(layers)
    assert [sum(v * v for row in layer for v in row) for layer in layers] == [8, 4.25]


def test_equal_norms_that_are_too_large_are_not_flat():
    layers = [[[100.0], [-0.99]], [[1.0, 100]]]
    assert deep_linear_sharpness(layers).value == pytest.approx(40003.9602, rel=1e-14)
    assert float(flatness_ratio(layers)) == pytest.approx(10000.99005, rel=1e-9)
    assert not is_flattest(layers)


def test_balanced_factorizations_are_flattest():
    target = torch.tensor([[3.0, 1], [0, 2], [1, 1]], dtype=torch.float64)
    for seed in range(3):
        network = DeepLinear.balanced(target, [2, 4, 3, 5, 3], seed=seed)
        found = deep_linear_sharpness(network)
        assert found.value == pytest.approx(53.0940206298, rel=1e-11)
        assert found.backend == "closed form, norms of layers"
        assert is_flattest(network)
    spread = DeepLinear.random_minimizer(target, [2, 4, 3, 5, 3], spread=0.1)
    assert not is_flattest(spread)
    assert deep_linear_sharpness(spread).value > 53.1


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("samples", [None, 2, 9])
@pytest.mark.parametrize("noise", [None, 0.0, 1.0])
def test_everything_equals_dense_autograd(sizes, samples, noise):
    """With and without data, at zero residual, given or known, and with a residual."""
    network = DeepLinear(sizes, seed=2)
    x = torch.eye(sizes[0], dtype=torch.float64) if samples is None else normal(samples, sizes[0])
    outputs = network(x).detach()
    goal = outputs if noise is None else outputs + noise * normal(*outputs.shape, seed=1)
    problem = {
        "data": None if samples is None else x,
        "target": None if noise is None else goal if samples is not None else goal.T.contiguous(),
        "scale": 0.7,
    }
    matrix = dense(network, x, goal, 0.7)
    truth = torch.linalg.eigvalsh(matrix).flip(0)
    top = float(truth[0])
    torch.testing.assert_close(deep_linear_spectrum(network, **problem), truth, rtol=1e-12, atol=1e-12 * top)
    for method in ("auto", "lanczos"):
        found = deep_linear_eigenvalues(network, method=method, **problem)
        assert float(found.values[0]) == pytest.approx(top, rel=1e-12)
        residual = (matrix @ found.vectors - found.vectors * found.values).norm()
        assert float(residual) <= float(found.residuals[0]) + 1e-13 * top
        assert float(found.vectors.norm()) == pytest.approx(1, abs=1e-12)
        assert [part.shape for part in found.layer_vectors()] == [layer.shape for layer in network.layers]
        torch.testing.assert_close(torch.cat([part.reshape(-1) for part in found.layer_vectors()]), found.vectors[:, 0])
    del problem["target"]
    assert deep_linear_trace(network, **problem) == pytest.approx(float(matrix.trace()), rel=1e-12)
    if not noise:
        lower, upper = deep_linear_sharpness_bounds(network, **problem)
        assert lower * (1 - 1e-13) <= top <= upper * (1 + 1e-13)


@pytest.mark.parametrize("sizes", SHAPES[:4])
@pytest.mark.parametrize("noise", [None, 1.0])
def test_hessian_products_away_from_minimizers_equal_autograd(sizes, noise):
    network = DeepLinear(sizes, seed=2)
    x = normal(6, sizes[0])
    goal = network(x).detach() + (noise or 0.0) * normal(6, sizes[-1], seed=1)
    directions = [normal(*layer.shape, seed=index) for index, layer in enumerate(network.layers)]
    found = deep_linear_hessian_product(network, directions, None if noise is None else goal, data=x, scale=0.3)
    truth = dense(network, x, goal, 0.3) @ torch.cat([part.reshape(-1) for part in directions])
    torch.testing.assert_close(torch.cat([part.reshape(-1) for part in found]), truth, rtol=1e-12, atol=1e-11)


def test_a_residual_that_is_not_zero_is_answered_by_the_exact_hessian_and_says_so():
    network = DeepLinear([4, 5, 4, 3], seed=0)
    target = network.matrix().detach() + 1
    found = deep_linear_sharpness(network, target=target)
    assert "residual norm 3.46" in found.convention
    assert "exact Hessian off the minimizers" in found.convention
    assert found.value != pytest.approx(deep_linear_sharpness(network).value, rel=1e-3)
    assert "zero residual" in deep_linear_sharpness(network).convention


def test_label_noise_that_no_map_can_fit_bends_nothing():
    """At the least-squares map E Xᵀ = 0, so the output space is enough though the residual is large."""
    x, noise = normal(50, 4), normal(50, 3, seed=1)
    basis = torch.linalg.qr(x).Q
    network = DeepLinear([4, 6, 5, 3], seed=1)
    y = network(x).detach() + noise - basis @ (basis.T @ noise)
    found = deep_linear_eigenvalues(network, data=x, target=y)
    assert found.backend.endswith("output space")
    truth = torch.linalg.eigvalsh(dense(network, x, y, 1.0))[-1]
    assert float(found.values[0]) == pytest.approx(float(truth), rel=1e-13)


def test_a_tiny_residual_joins_the_error():
    network = DeepLinear([4, 6, 5, 3], seed=1)
    target = network.matrix().detach() + 1e-9
    near, exact = (deep_linear_sharpness(network, target=target, rtol=rtol) for rtol in (1e-5, 1e-13))
    assert "the residual moves it by at most" in near.reason
    assert 0 < abs(near.value - exact.value) <= near.error < 1e-6 * near.value
    assert "off the minimizers" in exact.convention


def test_several_eigenvalues_with_orthonormal_vectors_layer_by_layer():
    network = DeepLinear([5, 6, 7, 5], seed=3)
    truth = deep_linear_spectrum(network)
    matrix = dense(network, torch.eye(5, dtype=torch.float64), network.matrix().detach().T, 1.0)
    for method in ("dense", "lanczos"):
        found = deep_linear_eigenvalues(network, 6, method=method)
        torch.testing.assert_close(found.values, truth[:6], rtol=1e-11, atol=0)
        torch.testing.assert_close(found.vectors.T @ found.vectors, torch.eye(6).double(), rtol=0, atol=1e-9)
        residuals = (matrix @ found.vectors - found.vectors * found.values).norm(dim=0)
        assert (residuals <= found.residuals + 1e-12 * truth[0]).all()


@pytest.mark.parametrize("method", ["auto", "dense", "lanczos"])
def test_a_repeated_top_eigenvalue_has_a_right_vector_and_a_small_residual(method):
    target = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    network = DeepLinear.balanced(target, [4, 5, 5, 4], seed=1)
    found = deep_linear_eigenvalues(network, method=method)
    assert float(found.values[0]) == pytest.approx(float(flattest_sharpness(target, 3)), rel=1e-12)
    assert float(found.residuals[0]) < 1e-9
    matrix = dense(network, torch.eye(4, dtype=torch.float64), target, 1.0)
    assert float((matrix @ found.vectors - found.vectors * found.values).norm()) < 1e-9
    assert deep_linear_spectrum(network)[:9].tolist() == pytest.approx([float(found.values[0])] * 9, rel=1e-12)
    if method != "auto":
        nine = deep_linear_eigenvalues(network, 10, method=method)
        assert nine.values[:9].tolist() == pytest.approx([float(found.values[0])] * 9, rel=1e-9)
        assert float(nine.values[9]) < float(found.values[0]) - 1


def test_the_spectrum_without_a_common_basis_and_with_one_agree():
    network = DeepLinear.balanced(normal(4, 5), [5, 6, 4, 4], seed=1)
    nudged = [layer.detach() + 1e-9 * normal(*layer.shape, seed=9) for layer in network.layers]
    torch.testing.assert_close(deep_linear_spectrum(network), deep_linear_spectrum(nudged), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [hessian, gauss_newton])
def test_the_general_interface_takes_the_output_space_where_it_is_sound(kind):
    network = DeepLinear([6, 9, 9, 5], seed=2)
    x = normal(40, 6)
    y = network(x).detach()
    operator = kind(network, SquaredLoss(), (x, y))
    found = eigenvalues(operator, 3, rtol=1e-10)
    assert found.backend.endswith("output space")
    plain = extreme_eigenvalues(operator, 3, rtol=1e-10)
    assert plain.backend == "closed form"
    torch.testing.assert_close(found.values, plain.values, rtol=1e-11, atol=0)
    torch.testing.assert_close((found.vectors * plain.vectors).sum(dim=0).abs(), torch.ones(3).double())
    assert found.convention == plain.convention == operator.convention
    assert found.vectors.shape == plain.vectors.shape
    assert sharpness(operator).backend == "dense, output space"
    assert float(sharpness(network, SquaredLoss(), (x, y))) == pytest.approx(
        deep_linear_sharpness(network, data=x, scale=1 / 80).value, rel=1e-13
    )


def test_the_general_interface_keeps_to_the_exact_hessian_elsewhere():
    network = DeepLinear([6, 9, 9, 5], seed=2)
    x = normal(40, 6)
    off = network(x).detach() + 0.1 * x[:, :5]
    operator = hessian(network, SquaredLoss(), (x, off))
    assert sharpness(operator).backend == "closed form"
    assert eigenvalues(operator, 2, which="smallest", rtol=1e-6).backend == "closed form"
    assert float(sharpness(operator, rtol=1e-10)) == pytest.approx(
        float(torch.linalg.eigvalsh(operator.to_dense())[-1]), rel=1e-12
    )
    assert sharpness(gauss_newton(network, SquaredLoss(), (x, off))).backend == "dense, output space"
    most = eigenvalues(hessian(network, SquaredLoss(), (x, network(x).detach())), 40, rtol=1e-6)  # of rank 30
    assert float(most.values[30:].abs().max()) < 1e-9


def test_sampled_regularized_minimizers_have_one_spectrum():
    """Off the minimizers of the squared error; weight decay λ adds 2λ to every eigenvalue."""
    target, sizes, weight = torch.diag(torch.tensor([3.0, 2.0, 0.5], dtype=torch.float64)), [3, 3, 3, 3], 0.1
    spectra = [
        deep_linear_spectrum(DeepLinear.regularized_minimizer(target, sizes, weight=weight, seed=seed), target=target)
        + 2 * weight
        for seed in range(3)
    ]
    for other in spectra[1:]:
        torch.testing.assert_close(other, spectra[0], rtol=0, atol=1e-9)
    assert float(spectra[0][0]) == pytest.approx(24.9573289, rel=1e-8)
    assert float(spectra[0].sum()) == pytest.approx(120.9885237311, rel=1e-11)
    network = DeepLinear.regularized_minimizer(target, sizes, weight=weight, seed=1)
    found = deep_linear_sharpness(network, target=target)
    assert found.value + 2 * weight == pytest.approx(24.9573289, rel=1e-8)
    assert "exact Hessian off the minimizers" in found.convention
