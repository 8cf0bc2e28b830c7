"""Following the largest eigenvalue of an operator that changes slowly."""

import copy

import pytest
import torch

from steppe.core import ComputationError, KindError, ParameterError
from steppe.linalg import SymmetricOperator, Warm

P = 160


def drifting(head, checks, *, turn=0.02, seed=0):
    """Matrices whose eigenvectors turn a little from check to check; `head(t)` gives the largest eigenvalues."""
    rng = torch.Generator().manual_seed(seed)
    skew = torch.randn(P, P, generator=rng, dtype=torch.float64) / P**0.5
    step = torch.matrix_exp(turn * (skew - skew.T))
    q = torch.linalg.qr(torch.randn(P, P, generator=rng, dtype=torch.float64))[0]
    bulk = torch.rand(P, generator=rng, dtype=torch.float64) - 0.3
    for t in range(checks):
        top = torch.tensor(head(t), dtype=torch.float64)
        values = torch.cat([top, bulk[len(top) :]])
        if turn:
            q = q @ step
        matrix = (q * values) @ q.T
        yield 0.5 * (matrix + matrix.T), float(values.max())


def follow(warm, matrices):
    found = []
    for matrix, truth in matrices:
        operator = SymmetricOperator(lambda block, matrix=matrix: matrix @ block, P)
        result = warm.update(operator)
        y, theta = result.vectors[:, 0], float(result.values[0])
        assert float((matrix @ y - theta * y).norm()) == pytest.approx(float(result.residuals[0]), abs=1e-9)
        assert result.converged
        assert float(result.residuals[0]) <= 1e-2 * theta
        assert result.products == operator.products
        found.append((result, truth))
    return found


HEADS = {
    "gap": lambda t: [10.0 + 0.02 * t, 7, 5, 4, 3],
    "close": lambda t: [10.0, 9.2, 8.5, 7, 5],
    "cluster": lambda t: [10.0, 9.8, 9.6, 9.3, 9],
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_check_costs_two_products_and_is_certified(kind):
    warm = Warm()
    found = follow(warm, drifting(HEADS[kind], 60))
    products = [result.products for result, _ in found[1:]]
    assert sum(products) / len(products) <= 2.15
    assert max(products) <= 5
    for result, truth in found:
        assert abs(float(result.values[0]) - truth) <= 1e-3 * truth
    assert (warm.checks, warm.products) == (60, sum(products) + found[0][0].products)


def test_what_kato_temple_claims_is_true_and_claimed_where_the_gap_allows():
    found = follow(Warm(), drifting(HEADS["gap"], 60))
    claims = 0
    for result, truth in found:
        sharper = float(result.kato_temple[0])
        if sharper == sharper:
            claims += sharper <= 1e-3 * truth
            assert truth - float(result.values[0]) <= sharper + 1e-9
    assert claims >= 50


@pytest.mark.parametrize("turn", [0.0, 0.02])
@pytest.mark.parametrize("low", [0.0, -20.0])
def test_an_eigenvalue_that_overtakes_is_found_soon(turn, low):
    found = follow(Warm(), drifting(lambda t: [10.0, 6 + 0.1 * t, low], 80, turn=turn))
    for check, (result, truth) in enumerate(found):
        if check < 38 or check > 65:  # the two are equal at check 40
            assert float(result.values[0]) == pytest.approx(truth, rel=2e-3)
    products = [result.products for result, _ in found[1:]]
    assert sum(products) / len(products) <= 2.3


def test_a_jump_costs_more_and_is_certified_all_the_same():
    matrices = [*drifting(HEADS["gap"], 5), *drifting(HEADS["gap"], 5, seed=9)]
    found = follow(Warm(), matrices)
    assert found[5][0].products > 3
    assert found[5][0].gaps.isnan().all() or float(found[5][0].gaps[0]) < 10


def test_another_size_starts_cold_and_a_state_can_be_copied():
    warm = Warm(seed=3)
    follow(warm, drifting(HEADS["gap"], 4))
    again = copy.deepcopy(warm)
    matrix, truth = next(iter(drifting(HEADS["gap"], 1)))
    first, second = (w.update(SymmetricOperator(lambda b: matrix @ b, P)) for w in (warm, again))
    assert torch.equal(first.values, second.values)
    small = SymmetricOperator(lambda block: 2 * block, 50)
    assert float(warm.update(small).values[0]) == pytest.approx(2)
    assert float(warm.update(small).values[0]) == pytest.approx(2)
    warm.reset()
    assert float(warm.update(SymmetricOperator(lambda b: matrix @ b, P)).values[0]) == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("p", [1, 2, 40])
def test_zero_and_tiny_operators(p):
    warm = Warm()
    for _ in range(3):
        found = warm.update(SymmetricOperator(torch.zeros_like, p))
        assert float(found.values[0]) == 0
        assert float(found.residuals[0]) == 0
        assert found.converged
    for _ in range(3):
        assert float(warm.update(SymmetricOperator(lambda b: -3 * b, p)).values[0]) == pytest.approx(-3)


@pytest.mark.door
def test_doors():
    with pytest.raises(ParameterError, match="`rtol` must be > 0"):
        Warm(0.0)
    with pytest.raises(ParameterError, match="`keep`"):
        Warm(keep=1)
    with pytest.raises(KindError, match="SymmetricOperator, got Tensor"):
        Warm().update(torch.eye(3))
    with pytest.raises(ComputationError, match="NaN or infinite"):
        Warm().update(SymmetricOperator(lambda block: block * torch.nan, 50))
