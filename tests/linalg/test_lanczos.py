"""Extreme eigenvalues against explicit spectra."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import ComputationError, DataError, DtypeError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.linalg import SymmetricOperator, extreme_eigenvalues
from steppe.linalg import krylov as krylov_module


def rotation(p, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(p, p, generator=rng, dtype=torch.float64))[0]


def with_spectrum(values, seed=0):
    values = torch.as_tensor(values, dtype=torch.float64)
    q = rotation(len(values), seed)
    matrix = (q * values) @ q.T
    return SymmetricOperator.from_matrix(0.5 * (matrix + matrix.T)), q


SPECTRA = {
    "decay": [10 * 0.9**i for i in range(100)],
    "cluster": [5.0, 4.999, 4.998] + [1.0] * 50 + [0.0] * 60,
    "negative dominant": [-100.0] + [2.0] + [i / 100 for i in range(98)],
    "negative definite": [-float(i) for i in range(1, 90)],
    "top is zero": [0.0] * 3 + [-float(i) for i in range(1, 90)],
    "rank one": [7.0] + [0.0] * 99,
    "identity": [3.0] * 80,
    "wide": [1e8, 1e4, 1.0] + [1e-6] * 70,
    "tiny": [1e-12] + [1e-14] * 70,
}


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("name", SPECTRA)
def test_algebraic_end_of_known_spectra(name, which):
    spectrum = torch.tensor(SPECTRA[name], dtype=torch.float64)
    operator, _ = with_spectrum(spectrum)
    truth = float(spectrum.max() if which == "largest" else spectrum.min())
    found = extreme_eigenvalues(operator, which=which, rtol=1e-6)
    assert found.converged
    assert abs(float(found.values[0]) - truth) <= 1e-5 * abs(truth) + 1e-12 * float(spectrum.abs().max())
    # the residual is measured, not inferred
    y = found.vectors[:, 0]
    residual = float((operator @ y - found.values[0] * y).norm())
    assert abs(residual - float(found.residuals[0])) <= 1e-12 * float(spectrum.abs().max())
    assert abs(float(y.norm()) - 1) < 1e-12


@pytest.mark.parametrize(("k", "multiplicity"), [(3, 3), (4, 2), (6, 6), (12, 3)])
def test_top_k_finds_every_copy_of_a_multiple_eigenvalue(k, multiplicity):
    spectrum = [9.0] * multiplicity + [8.0 - 0.5 * i for i in range(12)] + [0.001 * i for i in range(100)]
    operator, _ = with_spectrum(spectrum)
    found = extreme_eigenvalues(operator, k, rtol=1e-4)
    truth = torch.tensor(sorted(spectrum, reverse=True)[:k], dtype=torch.float64)
    assert found.converged
    torch.testing.assert_close(found.values, truth, rtol=1e-4, atol=0)
    gram = found.vectors.T @ found.vectors
    torch.testing.assert_close(gram, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-10)


def test_smallest_end_comes_first():
    operator, _ = with_spectrum([-5.0, -4.0, 3.0] + [0.01 * i for i in range(60)])
    found = extreme_eigenvalues(operator, 2, which="smallest", rtol=1e-6)
    torch.testing.assert_close(found.values, torch.tensor([-5.0, -4.0], dtype=torch.float64))


@pytest.mark.parametrize("p", [1, 2, 5, 32])
def test_small_operators_are_diagonalised(p):
    operator, _ = with_spectrum([float(i) - 1 for i in range(p)])
    found = extreme_eigenvalues(operator)
    assert (found.products, found.backend) == (p, "dense")
    assert float(found.values[0]) == pytest.approx(p - 2, abs=1e-12)
    assert float(found.residuals[0]) < 1e-12


@pytest.mark.parametrize("p", [1, 7, 500])
def test_zero_operator(p):
    found = extreme_eigenvalues(SymmetricOperator(torch.zeros_like, p))
    assert found.converged
    assert float(found.values[0]) == 0
    assert float(found.residuals[0]) == 0
    assert found.products <= max(1, min(p, 32))


def test_a_start_orthogonal_to_the_top_does_not_hide_it():
    operator, q = with_spectrum([10.0, 9.0, 5.0] + [0.01 * i for i in range(200)])
    found = extreme_eigenvalues(operator, start=q[:, 1], rtol=1e-3)  # an exact eigenvector, residual 0
    assert float(found.values[0]) == pytest.approx(10.0, rel=1e-3)
    blind = extreme_eigenvalues(operator, start=q[:, 1], rtol=1e-3, confirm=False)
    assert float(blind.values[0]) == pytest.approx(9.0, rel=1e-6)  # what the companion protects from
    assert blind.products == 1


def test_a_good_start_saves_products():
    operator, q = with_spectrum([10.0 - 0.05 * i for i in range(150)])
    cold = extreme_eigenvalues(operator, rtol=1e-4)
    warm = extreme_eigenvalues(operator, rtol=1e-4, start=q[:, 0] + 1e-6 * q[:, 3], confirm=False)
    assert warm.products < cold.products / 3


def test_products_running_out_is_said():
    operator, _ = with_spectrum([1 - 1e-6 * i for i in range(300)])
    found = extreme_eigenvalues(operator, rtol=1e-12, max_products=5)
    assert not found.converged
    assert "raise `max_products`" in found.reason
    assert found.products == 5
    assert not found.estimate().converged


def test_thick_restart_keeps_the_answer(monkeypatch):
    spectrum = [1 - 0.002 * i for i in range(300)]
    operator, _ = with_spectrum(spectrum)
    free = extreme_eigenvalues(operator, rtol=1e-6)
    monkeypatch.setattr(krylov_module, "_MEMORY", 0)
    tight = extreme_eigenvalues(operator, rtol=1e-6)
    assert free.products > 28  # the small basis has 28 columns
    assert tight.converged
    assert float(tight.values[0]) == pytest.approx(1.0, rel=1e-9)
    y = tight.vectors[:, 0]
    assert float((operator @ y - tight.values[0] * y).norm()) <= 1.01e-6


def test_residual_and_kato_temple_bounds_hold():
    spectrum = torch.tensor([4.0, 3.0] + [0.01 * i for i in range(100)], dtype=torch.float64)
    operator, _ = with_spectrum(spectrum)
    for seed in range(20):
        found = extreme_eigenvalues(operator, rtol=1e-2, seed=seed)
        error = abs(float(found.values[0]) - 4.0)
        assert error <= float(found.residuals[0])
        assert error <= 1.5 * float(found.kato_temple[0]) + 1e-13


def test_float32_operator_converges_to_its_rounding():
    matrix = with_spectrum([3.0, 1.0] + [0.5] * 100)[0].to_dense().float()
    operator = SymmetricOperator.from_matrix(matrix)
    found = extreme_eigenvalues(operator, rtol=1e-12)
    assert found.converged
    assert found.values.dtype == torch.float64
    assert float(found.values[0]) == pytest.approx(3.0, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(33, 90), st.integers(0, 2**31), st.integers(1, 4))
def test_agrees_with_dense_eigenvalues(p, seed, k):
    rng = torch.Generator().manual_seed(seed)
    matrix = torch.randn(p, p, generator=rng, dtype=torch.float64)
    operator = SymmetricOperator.from_matrix(matrix + matrix.T)
    truth = torch.linalg.eigvalsh(matrix + matrix.T).flip(0)[:k]
    found = extreme_eigenvalues(operator, k, rtol=1e-7, seed=seed % 1000)
    assert float((found.values - truth).abs().max()) <= 1e-6 * float(truth.abs().max())


def test_same_seed_same_numbers():
    operator, _ = with_spectrum(SPECTRA["decay"])
    first, second = (extreme_eigenvalues(operator, seed=3) for _ in range(2))
    assert torch.equal(first.values, second.values)
    assert not torch.equal(first.vectors, extreme_eigenvalues(operator, seed=4).vectors)


def test_operator_counts_products_and_takes_blocks():
    operator, _ = with_spectrum([1.0, 2.0, 3.0])
    v = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    block = operator @ v
    torch.testing.assert_close(block[:, 1], operator @ v[:, 1])
    assert operator.products == 3
    assert (operator @ v[:, :0]).shape == (3, 0)
    torch.testing.assert_close(operator.to_dense() @ v, block)
    assert operator.shape == (3, 3)


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda o: o @ torch.zeros(3, dtype=torch.float64), ShapeError, r"\[40\] or \[40, s\], got \[3\]"),
        (lambda o: o @ torch.zeros(40), DtypeError, "float64, got torch.float32"),
        (lambda o: o @ [1.0], KindError, "torch tensor, got list"),
        (lambda o: extreme_eigenvalues(o, 41), ParameterError, "`k` must be"),
        (lambda o: extreme_eigenvalues(o, rtol=0.0), ParameterError, "`rtol` must be > 0"),
        (lambda o: extreme_eigenvalues(o, which="biggest"), UnknownNameError, "'largest', 'smallest'"),
        (lambda o: extreme_eigenvalues(o, start=torch.zeros(40)), DataError, "nonzero"),
        (lambda o: extreme_eigenvalues(o, start=torch.ones(4)), ShapeError, r"`start` must have shape \[40\]"),
        (lambda o: extreme_eigenvalues(torch.eye(3)), KindError, "SymmetricOperator, got Tensor"),
        (lambda o: SymmetricOperator.from_matrix(torch.ones(2, 3)), ShapeError, r"\[p, p\]"),
        (lambda o: SymmetricOperator.from_matrix(torch.tensor([[0.0, 1], [2, 0]])), ParameterError, "symmetric"),
        (lambda o: SymmetricOperator(torch.clone, 0), ParameterError, "`size` must be ≥ 1"),
    ],
)
def test_doors(call, error, says):
    with pytest.raises(error, match=says):
        call(with_spectrum([1.0] * 40)[0])


@pytest.mark.parametrize("p", [4, 400])
def test_a_product_that_is_not_finite_is_an_error(p):
    with pytest.raises(ComputationError, match="NaN or infinite"):
        extreme_eigenvalues(SymmetricOperator(lambda block: block * torch.nan, p))
