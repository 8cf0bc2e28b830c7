"""What Krylov spaces prove about eigenvalues that they do not show."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.linalg import SymmetricOperator, extreme_eigenvalues
from steppe.linalg.certificates import Spread, ceiling, chance, enclosures
from steppe.linalg.krylov import KrylovBasis


def diagonal(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return SymmetricOperator(lambda block: values[:, None] * block, len(values))


def chain(values, start, steps):
    rng = torch.Generator().manual_seed(0)
    basis = KrylovBasis(diagonal(values), start[None], rng, keep=1)
    basis.step()
    for _ in range(steps - 1):
        basis.advance()
        basis.step()
    return basis


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_no_eigenvector_has_a_larger_share_in_the_start_than_stated(seed, steps):
    rng = torch.Generator().manual_seed(seed)
    values = torch.rand(40, generator=rng, dtype=torch.float64).sort().values
    start = torch.randn(40, generator=rng, dtype=torch.float64)
    start = start / start.norm()
    spread = chain(values, start, steps).spread()
    for value, share in zip(values.tolist(), start.abs().tolist(), strict=True):
        assert share <= spread.share(value) * (1 + 1e-6) + 1e-9


def test_the_bound_of_a_random_start_fails_as_seldom_as_stated():
    # A spectrum made to mislead: one eigenvalue far above a cluster, a short chain, and a probability of 30 %.
    values = torch.cat([torch.tensor([3.0]), torch.linspace(0, 1, 199)]).double()
    failures = 0
    for seed in range(200):
        start = torch.randn(200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        spread = chain(values, start, 3).spread()
        failures += ceiling([spread], 200, miss=0.3) < 3.0
    assert failures / 200 <= 0.3 + 3 * math.sqrt(0.3 * 0.7 / 200)
    assert failures > 0  # the bound is not empty


def test_a_restart_keeps_the_bound(monkeypatch):
    monkeypatch.setattr("steppe.linalg.krylov._MEMORY", 0)
    found = extreme_eigenvalues(diagonal([1 - 0.002 * i for i in range(300)]), rtol=1e-6, seed=1)
    assert found.products > 28  # the basis was compressed
    assert found.converged
    assert 1.0 <= found.beyond < 1.01


def test_a_chain_without_remainder_hides_nothing():
    spread = Spread(np.ones(1), np.ones(1), np.ones(1), 0.0)
    assert spread.share(2.0) == 0
    assert ceiling([spread], 10) == 1.0
    assert chance([spread], 1.5, 10) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.floats(0.0, 2.0))
def test_enclosures_by_the_law_of_inertia_hold(seed, k, slack):
    rng = torch.Generator().manual_seed(seed)
    matrix = torch.randn(30, 30, generator=rng, dtype=torch.float64)
    matrix = matrix + matrix.T
    inner, outer = matrix[:10, :10], matrix[10:, 10:]
    values, vectors = (part.flip(-1) for part in torch.linalg.eigh(inner))
    last = vectors.T @ matrix[:10, 10:]
    limit = float(torch.linalg.eigvalsh(outer)[-1]) + slack
    ends = enclosures(values, last, limit, k)
    truth = torch.linalg.eigvalsh(matrix).flip(0)
    # Eigenvalues beyond the limit are enclosed one by one.
    for i in range(k):
        if float(truth[i]) > limit:
            assert float(values[i]) - 1e-9 <= float(truth[i]) <= float(ends[i]) + 1e-9


def test_equal_limit_and_value_divide_by_nothing():
    values = torch.ones(3, dtype=torch.float64)
    assert torch.isfinite(enclosures(values, torch.zeros(3, 1, dtype=torch.float64), 1.0, 3)).all()


@pytest.mark.parametrize("kind", ["outliers", "cluster", "pairs", "dense"])
def test_top_five_are_complete_and_enclosed_in_every_run(kind):
    rng = torch.Generator().manual_seed(5)
    bulk = torch.rand(595, generator=rng, dtype=torch.float64) * 0.5
    head = {
        "outliers": [10.0, 6, 4, 3, 2],
        "cluster": [1.0, 0.9999, 0.9998, 0.9997, 0.8],
        "pairs": [3.0, 3, 2, 2, 1],
        "dense": [0.56, 0.55, 0.54, 0.53, 0.52],
    }[kind]
    values = torch.cat([torch.tensor(head, dtype=torch.float64), bulk])
    truth = values.sort(descending=True).values[:5]
    enclosed = 0
    for seed in range(8 if kind == "dense" else 20):
        found = extreme_eigenvalues(diagonal(values), 5, rtol=1e-3, seed=seed)
        assert found.converged
        torch.testing.assert_close(found.values, truth, rtol=1.1e-3, atol=0)
        assert bool((found.values <= truth + 1e-9).all())
        enclosed += bool((truth <= found.ends + 1e-9).all())
        assert found.ends.isnan().all() or bool((truth <= found.ends + 1e-9).all())
    assert enclosed or kind in ("cluster", "dense")  # where the law of inertia proves too little


def test_one_eigenvalue_is_right_in_every_run_at_little_cost():
    # Spectra like those of trained networks: outliers over a dense bulk, and a nearly dense upper end.
    rng = torch.Generator().manual_seed(2)
    bulk = torch.rand(2000, generator=rng, dtype=torch.float64) ** 4
    for head, most in (([3.2, 1.2, 1.1], 8), ([1.6, 1.4, 1.3, 1.2, 1.1], 16)):
        values = torch.cat([torch.tensor(head, dtype=torch.float64), 0.9 * bulk])
        products = []
        for seed in range(60):
            found = extreme_eigenvalues(diagonal(values), seed=seed)
            assert abs(float(found.values[0]) - head[0]) <= 1e-3 * head[0]
            assert found.beyond >= head[0]
            products.append(found.products)
        assert sum(products) / 60 <= most


def test_a_skipped_eigenvalue_joins_when_the_companion_finds_it():
    values = torch.cat([torch.tensor([9.0, 9.0, 9.0, 5.0]), torch.linspace(0, 1, 300)]).double()
    found = extreme_eigenvalues(diagonal(values), 4, rtol=1e-6)
    torch.testing.assert_close(found.values, values[:4])
    gram = found.vectors.T @ found.vectors
    torch.testing.assert_close(gram, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
    assert found.estimate().reason.count("probability 0.999") >= 1
