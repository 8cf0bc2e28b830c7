"""Closed-form curvature of shallow networks against dense autograd Hessians and known answers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import CrossEntropy, Logistic, ParameterError, SquaredLoss
from steppe.curvature import diagonal, eigenvalues, gauss_newton, gauss_newton_spectrum, hessian, sharpness, trace
from steppe.networks import ShallowProducts, ShallowReLU

LOSSES = {"squared": SquaredLoss(), "cross-entropy": CrossEntropy(), "logistic": Logistic()}


def problem(n, d, m, k, skip=False, loss="squared", seed=0, shift=0.0):
    rng = torch.Generator().manual_seed(seed)
    network = ShallowReLU(d, m, k, skip=skip, init="torch", seed=seed)
    with torch.no_grad():
        network.b += shift
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    if loss == "cross-entropy":
        return network, LOSSES[loss], (x, torch.randint(0, k, (n,), generator=rng))
    y = torch.randn(n, k, generator=rng, dtype=torch.float64)
    return network, LOSSES[loss], (x, y.sign() if loss == "logistic" else y)


def dense_hessian(network, loss, data):
    """By nested autograd over the flat vector of named parameters."""
    x, y = data
    names, values = zip(*network.named_parameters(), strict=True)
    flat = torch.cat([value.detach().reshape(-1) for value in values])

    def value(vector):
        parts = vector.split([v.numel() for v in values])
        state = {name: part.view_as(v) for name, part, v in zip(names, parts, values, strict=True)}
        return loss(torch.func.functional_call(network, state, (x,)), y)

    return torch.autograd.functional.hessian(value, flat)


def dense_gauss_newton(network, loss, data):
    x, y = data
    names, values = zip(*network.named_parameters(), strict=True)
    flat = torch.cat([value.detach().reshape(-1) for value in values])

    def outputs(vector):
        parts = vector.split([v.numel() for v in values])
        state = {name: part.view_as(v) for name, part, v in zip(names, parts, values, strict=True)}
        return torch.func.functional_call(network, state, (x,))

    jacobian = torch.autograd.functional.jacobian(outputs, flat).flatten(0, 1)
    z = network(x).detach()
    inner = torch.autograd.functional.hessian(lambda out: loss(out, y), z).reshape(z.numel(), z.numel())
    return jacobian.T @ inner @ jacobian


CASES = [
    (12, 1, 1, 1, False, "squared", 0.0),
    (1, 3, 4, 1, False, "squared", 0.0),
    (20, 3, 9, 1, True, "squared", 0.0),
    (20, 3, 9, 1, False, "squared", 2.0),  # most neurons dead
    (20, 3, 9, 1, True, "squared", 99.0),  # all dead
    (15, 2, 6, 3, False, "squared", 0.0),
    (15, 2, 6, 3, True, "squared", 1.5),
    (10, 24, 5, 4, True, "squared", 0.0),  # wide route
    (10, 24, 5, 4, True, "squared", 5.0),  # wide route, dead neurons
    (10, 24, 5, 4, False, "squared", 99.0),  # wide route, all dead
    (15, 3, 5, 4, True, "cross-entropy", 0.0),
    (15, 20, 5, 5, True, "cross-entropy", 2.0),
    (15, 3, 5, 1, False, "cross-entropy", 0.0),
    (15, 3, 5, 1, True, "logistic", 0.0),
    (15, 3, 5, 2, False, "logistic", 1.0),
]


@pytest.mark.parametrize(("n", "d", "m", "k", "skip", "loss", "shift"), CASES)
def test_equals_dense_autograd(n, d, m, k, skip, loss, shift):
    network, loss, data = problem(n, d, m, k, skip, loss, shift=shift)
    truth, gauss = dense_hessian(network, loss, data), dense_gauss_newton(network, loss, data)
    scale = max(float(truth.abs().max()), 1e-300)
    operator = hessian(network, loss, data)
    assert operator.backend == "closed form"
    assert operator.shape == truth.shape
    assert float((operator.to_dense() - truth).abs().max()) <= 1e-12 * scale
    assert float((gauss_newton(network, loss, data).to_dense() - gauss).abs().max()) <= 1e-12 * scale
    torch.testing.assert_close(diagonal(network, loss, data), truth.diagonal(), rtol=1e-10, atol=1e-13 * scale)
    exact = trace(network, loss, data)
    assert float(exact) == pytest.approx(float(truth.trace()), rel=1e-10, abs=1e-13 * scale)
    assert (exact.error, exact.products) == (0.0, 0)
    found = sharpness(network, loss, data, rtol=1e-6)
    assert float(found) == pytest.approx(float(torch.linalg.eigvalsh(truth)[-1]), rel=1e-8, abs=1e-12 * scale)
    lowest = eigenvalues(operator, 1, which="smallest", rtol=1e-6)
    assert float(lowest.values[0]) == pytest.approx(float(torch.linalg.eigvalsh(truth)[0]), rel=1e-6, abs=1e-9 * scale)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 7), st.integers(1, 3), st.booleans(), st.integers(0, 1000))
def test_symmetric_and_blocks_equal_columns(n, d, m, k, skip, seed):
    network, loss, data = problem(n, d, m, k, skip, seed=seed)
    operator = hessian(network, loss, data)
    rng = torch.Generator().manual_seed(seed + 1)
    block = torch.randn(operator.shape[0], 3, generator=rng, dtype=torch.float64)
    image = operator @ block
    cross = block.T @ image
    torch.testing.assert_close(cross, cross.T, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(image[:, 1], operator @ block[:, 1], rtol=1e-12, atol=1e-12)
    assert operator.products == 4
    # Gauss–Newton is positive semidefinite, and its top eigenvalue is at least 1: the output bias alone gives it.
    gauss = gauss_newton(network, loss, data)
    assert float((block * (gauss @ block)).sum(dim=0).min()) >= -1e-10
    assert float(sharpness(gauss, rtol=1e-8)) >= 1 - 1e-9


@pytest.mark.parametrize("d", [2, 24])
def test_jacobian_products_are_adjoint_and_match_the_gram_matrix(d):
    network, _, (x, _) = problem(9, d, 6, 3, skip=True)
    products = ShallowProducts(network, x)
    assert products.wide == (d == 24)
    rng = torch.Generator().manual_seed(5)
    v = torch.randn(products.size, 2, generator=rng, dtype=torch.float64)
    u = torch.randn(9, 3, 2, generator=rng, dtype=torch.float64)
    left = torch.einsum("nks,nkt->st", products.jvp(v), u)
    torch.testing.assert_close(left, v.T @ products.vjp(u), rtol=1e-11, atol=1e-11)
    jacobian = products.jvp(torch.eye(products.size, dtype=torch.float64)).reshape(27, -1)
    torch.testing.assert_close(products.gram(), jacobian @ jacobian.T, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("n", "d", "m", "k", "skip", "loss", "shift"), CASES)
def test_exact_spectrum_and_its_distance_to_the_hessian(n, d, m, k, skip, loss, shift):
    network, loss, data = problem(n, d, m, k, skip, loss, shift=shift)
    hess, gauss = dense_hessian(network, loss, data), dense_gauss_newton(network, loss, data)
    found = gauss_newton_spectrum(network, loss, data)
    truth = torch.linalg.eigvalsh(gauss).flip(0)
    q = min(n * k, len(truth))
    assert (len(found.values), found.size) == (q, len(truth))
    torch.testing.assert_close(found.values, truth[:q], rtol=1e-9, atol=1e-12)
    assert float(truth[q:].abs().sum()) < 1e-10
    assert found.residual_norm == pytest.approx(float(torch.linalg.matrix_norm(hess - gauss, ord=2)), abs=1e-12)
    low, high = found.sharpness_interval()
    assert low - 1e-12 <= float(torch.linalg.eigvalsh(hess)[-1]) <= high + 1e-12


@pytest.mark.door
def test_exact_spectrum_says_what_it_needs():
    network, loss, data = problem(12, 2, 3, 2)
    with pytest.raises(ParameterError, match="n·k = 24, got 20"):
        gauss_newton_spectrum(network, loss, data, max_size=20)
    assert gauss_newton_spectrum(network, loss, data).residual_kind == "exact"
    assert gauss_newton_spectrum(network, torch.nn.MSELoss(), data).residual_kind == "probability 0.999"


def test_no_active_neuron_and_no_residual_gives_exactly_one():
    network = ShallowReLU(5, 60, seed=1)
    with torch.no_grad():
        network.b.fill_(10.0)
    x = torch.rand(30, 5, dtype=torch.float64)
    found = sharpness(network, SquaredLoss(), (x, torch.zeros(30, 1, dtype=torch.float64)))
    assert float(found) == pytest.approx(1.0, abs=1e-14)
    assert found.converged


@pytest.mark.parametrize(("choice", "expected"), [("simple", 1.06), ("balanced", 1 + 2 * 2**0.5 / 50)])
def test_sphere_construction(choice, expected):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(50, 8, generator=rng, dtype=torch.float64)
    x = x / x.norm(dim=1, keepdim=True)
    y = (torch.randint(0, 2, (50,), generator=rng) * 2 - 1).double()
    gram = x @ x.T - 2 * torch.eye(50, dtype=torch.float64)
    t = (1 + gram.max(dim=1).values) / 2
    v = y if choice == "simple" else y * 2**-0.25
    height = y.abs() / v.abs()
    c = height / (1 - t)
    network = ShallowReLU.from_weights(c[:, None] * x, c * t, v)
    assert float((network(x).detach()[:, 0] - y).abs().max()) < 1e-12
    assert torch.equal(network.mask(x).sum(dim=1), torch.ones(50, dtype=torch.int64))
    found = sharpness(network, SquaredLoss(), (x, y[:, None]), rtol=1e-7)
    assert float(found) == pytest.approx(expected, abs=1e-9)
    small = (torch.ones(50, 50) + torch.diag(2 * v**2 + height**2)) / 50
    assert float(found) == pytest.approx(float(torch.linalg.eigvalsh(small)[-1]), abs=1e-9)


def test_the_exact_hessian_is_not_its_gauss_newton_part():
    network, loss, data = problem(40, 2, 30, 1, seed=3)
    data = (data[0], 30 * data[1])
    full, part = sharpness(network, loss, data, rtol=1e-6), sharpness(gauss_newton(network, loss, data), rtol=1e-6)
    truth = torch.linalg.eigvalsh(dense_hessian(network, loss, data))[-1]
    assert float(full) == pytest.approx(float(truth), rel=1e-8)
    assert abs(full - part) > 1e-2 * abs(full)
    assert part.quantity == "largest Gauss–Newton eigenvalue"


def test_float32_networks_are_upcast_exactly():
    network, loss, (x, y) = problem(30, 4, 40, 1)
    single = network.copy(dtype=torch.float32)
    x, y = x.float(), y.float()
    found = sharpness(single, loss, (x, y))
    assert float(found) == float(sharpness(single.copy(dtype=torch.float64), loss, (x.double(), y.double())))
    assert single.w.dtype == torch.float32
    operator = hessian(single, loss, (x, y), dtype=torch.float32)
    v = torch.ones(operator.shape[0])
    torch.testing.assert_close(
        (operator @ v).double(), hessian(single, loss, (x, y)) @ v.double(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_any_split_into_batches_equals_one_batch(loss):
    network, loss, (x, y) = problem(23, 3, 11, 2, loss=loss)
    whole = hessian(network, loss, (x, y)).to_dense()
    for cuts in ([1, 22], [7, 8, 8], [20, 2, 1]):
        split = list(zip(x.split(cuts), y.split(cuts), strict=True))
        assert float((hessian(network, loss, split).to_dense() - whole).abs().max()) <= 1e-12


def test_the_operator_does_not_follow_later_training():
    network, loss, data = problem(10, 2, 40, 1)
    operator = hessian(network, loss, data)
    v = torch.ones(operator.shape[0], dtype=torch.float64)
    before = operator @ v
    with torch.no_grad():
        network.w.mul_(3)
    assert torch.equal(operator @ v, before)


def test_what_the_estimate_says():
    network = ShallowReLU(10, 2048, seed=0)
    x = torch.rand(512, 10, dtype=torch.float64)
    found = sharpness(network, SquaredLoss(), (x, x[:, :1]))
    assert found.error_kind == "residual"
    assert found.residual <= 1e-3 * found.value
    assert found.backend == "closed form"
    assert found.convention == "½ squared error, mean of 512 samples, all 24\u202f577 parameters"
    assert str(found).startswith("sharpness ")
    assert "products" in str(found)


def test_works_without_gradients_and_with_frozen_networks():
    network, loss, data = problem(10, 2, 40, 1)
    value = float(sharpness(network, loss, data))
    with torch.inference_mode():
        assert float(sharpness(network, loss, data)) == value
    network.requires_grad_(False)
    assert float(sharpness(network, loss, data)) == value
    network.v.requires_grad_(True)  # partly frozen: the variables are v alone
    part = sharpness(network, loss, data)
    assert "40 of 161 parameters" in part.convention
    assert part <= value


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    network, loss, (x, y) = problem(60, 4, 50, 2, skip=True)
    here = sharpness(network, loss, (x, y), rtol=1e-8)
    there = sharpness(network.cuda(), loss, (x.cuda(), y.cuda()), rtol=1e-8)
    assert float(there) == pytest.approx(float(here), rel=1e-9)
    assert float(trace(network, loss, (x.cuda(), y.cuda()))) == pytest.approx(float(trace(network.cpu(), loss, (x, y))))


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_the_spectrum_in_single_precision_is_that_of_double_up_to_rounding(loss):
    network, loss, data = problem(30, 4, 20, 2, loss=loss)
    double = gauss_newton_spectrum(network, loss, data)
    single = gauss_newton_spectrum(network, loss, data, dtype=torch.float32)
    assert single.values.dtype == torch.float32
    assert double.values.dtype == torch.float64
    assert float((single.values.double() - double.values).abs().max()) < 3e-6 * float(double.values[0])
    assert single.residual_norm == pytest.approx(double.residual_norm, rel=1e-5)
    exact = trace(hessian(network, loss, data, dtype=torch.float32))
    assert float(exact) == pytest.approx(float(trace(network, loss, data)), rel=1e-5)
