"""Closed-form curvature of networks of patches against dense autograd Hessians and known answers."""

import pytest
import torch

from steppe.core import CrossEntropy, Logistic, SquaredLoss
from steppe.curvature import eigenvalues, gauss_newton, gauss_newton_spectrum, hessian, sharpness, trace
from steppe.networks import PatchProducts, PatchReLU, ShallowReLU, patch_products, patch_sphere_interpolator

LOSSES = {"squared": SquaredLoss(), "cross-entropy": CrossEntropy(), "logistic": Logistic()}
CASES = [(1, "squared"), (3, "squared"), (1, "logistic"), (3, "cross-entropy")]


def problem(k=1, loss="squared", *, shared=True, n=13, seed=0):
    rng = torch.Generator().manual_seed(seed)
    patches = torch.stack([torch.randperm(9, generator=rng)[:3] for _ in range(4)])
    network = PatchReLU(patches, 6, k, inputs=9, shared=shared, init="torch", seed=seed)
    x = torch.randn(n, 9, generator=rng, dtype=torch.float64)
    if loss == "cross-entropy":
        return network, LOSSES[loss], (x, torch.randint(0, k, (n,), generator=rng))
    y = torch.randn(n, k, generator=rng, dtype=torch.float64)
    return network, LOSSES[loss], (x, y.sign() if loss == "logistic" else y)


def flat(network):
    """Its parameters as one vector, and the function outputs(vector, x)."""
    named = dict(network.named_parameters())

    def outputs(vector, x):
        parts = vector.split([p.numel() for p in named.values()])
        state = {name: part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}
        return torch.func.functional_call(network, state, (x,))

    return torch.cat([p.detach().reshape(-1) for p in named.values()]), outputs


def dense(network, loss, data):
    """Jacobian [nk, p] and Hessian [p, p] by autograd."""
    vector, outputs = flat(network)
    x, y = data
    jacobian = torch.autograd.functional.jacobian(lambda v: outputs(v, x).reshape(-1), vector)
    return jacobian, torch.autograd.functional.hessian(lambda v: loss(outputs(v, x), y), vector)


@pytest.fixture(params=["one block", "blocks", "blocks without masks"])
def blocks(request, monkeypatch):
    if request.param != "one block":
        monkeypatch.setattr(patch_products, "_BLOCK", 60)
    if request.param == "blocks without masks":
        monkeypatch.setattr(patch_products, "_KEPT", 0)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("k", "loss"), CASES)
def test_hessian_equals_autograd(k, loss, shared):
    network, loss, data = problem(k, loss, shared=shared)
    _, wanted = dense(network, loss, data)
    operator = hessian(network, loss, data)
    assert operator.source.backend == "closed form"
    found = operator @ torch.eye(len(wanted), dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(operator.source.diagonal(), wanted.diagonal(), rtol=0, atol=1e-15)
    assert float(trace(operator)) == pytest.approx(float(wanted.trace()), rel=1e-13)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_jacobian_products_and_gauss_newton_equal_autograd(k, shared):
    network, loss, (x, y) = problem(k, shared=shared)
    jacobian, _ = dense(network, loss, (x, y))
    products, n, p = PatchProducts(network, x), len(x), jacobian.shape[1]
    eye = {size: torch.eye(size, dtype=torch.float64) for size in (p, n * k)}
    torch.testing.assert_close(products.jvp(eye[p]).reshape(n * k, p), jacobian, rtol=0, atol=1e-14)
    torch.testing.assert_close(products.vjp(eye[n * k].view(n, k, -1)), jacobian.T, rtol=0, atol=1e-14)
    torch.testing.assert_close(products.gram(), jacobian @ jacobian.T, rtol=0, atol=1e-13)
    found = gauss_newton(network, loss, (x, y)) @ eye[p]
    torch.testing.assert_close(found, jacobian.T @ jacobian / n, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_spectra_equal_those_of_the_dense_matrices(shared):
    network, loss, data = problem(shared=shared)
    jacobian, wanted = dense(network, loss, data)
    top = torch.linalg.eigvalsh(wanted).flip(0)
    assert float(sharpness(network, loss, data)) == pytest.approx(float(top[0]), rel=1e-8)
    assert eigenvalues(network, loss, data, k=3).values.tolist() == pytest.approx(top[:3].tolist(), rel=1e-6)
    found = gauss_newton_spectrum(network, loss, data)
    gram = torch.linalg.eigvalsh(jacobian @ jacobian.T / len(data[0])).flip(0)
    assert found.values.tolist() == pytest.approx(gram.tolist(), abs=1e-13)
    rest = wanted - jacobian.T @ jacobian / len(data[0])
    assert found.residual_norm == pytest.approx(float(torch.linalg.matrix_norm(rest, ord=2)), rel=1e-10)


def test_one_patch_of_all_inputs_has_the_curvature_of_the_shallow_network():
    shallow = ShallowReLU(5, 8, 2, init="torch", seed=1)
    x = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = (x, x[:, :2])
    vector = torch.randn(sum(p.numel() for p in shallow.parameters()), dtype=torch.float64)
    wanted = hessian(shallow, SquaredLoss(), data) @ vector
    found = hessian(PatchReLU.from_shallow(shallow), SquaredLoss(), data) @ vector
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_the_patch_sphere_construction_has_the_curvature_of_the_formula():
    """n = 30, l = 4, s = 6, |y| = 1: λ_max = 1 + 2√2/(n l) = 1.02357022604."""
    rng = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(30, 4, 6, generator=rng, dtype=torch.float64), dim=2)
    y = torch.randn(30, 1, generator=rng, dtype=torch.float64).sign()
    data = (x.reshape(30, 24), y)
    network = patch_sphere_interpolator(*data, torch.arange(24).view(4, 6)).network
    assert float(sharpness(network, SquaredLoss(), data, rtol=1e-12)) == pytest.approx(1 + 2 * 2**0.5 / 120, abs=1e-11)


def test_float32_networks_are_measured_in_float64_and_frozen_parts_by_autograd():
    network, loss, (x, y) = problem()
    small = network.copy(dtype=torch.float32)
    operator = hessian(small, loss, (x.float(), y.float()))
    assert operator.source.backend == "closed form"
    assert operator.dtype == torch.float64
    network.w.requires_grad_(False)
    assert hessian(network, loss, (x, y)).source.backend != "closed form"
