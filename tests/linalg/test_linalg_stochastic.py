"""Trace, diagonal, density and survey against explicit matrices."""

import math

import pytest
import torch

from steppe.core import ComputationError, KindError, ParameterError
from steppe.linalg import (
    SymmetricOperator,
    extreme_eigenvalues,
    spectral_density,
    stochastic_diagonal,
    stochastic_trace,
    survey,
)
from steppe.linalg.probes import mean_and_error


def rotated(values, seed=0):
    rng = torch.Generator().manual_seed(seed)
    values = torch.as_tensor(values, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(len(values), len(values), generator=rng, dtype=torch.float64))[0]
    matrix = (q * values) @ q.T
    return 0.5 * (matrix + matrix.T)


def outliers(p=300):
    rng = torch.Generator().manual_seed(1)
    bulk = torch.rand(p - 6, generator=rng, dtype=torch.float64) * 0.16 - 0.05
    return rotated(torch.cat([torch.tensor([60.0, 35, 25, 9, 4, 3], dtype=torch.float64), bulk]))


OUTLIERS = outliers()
FLAT = rotated([0.5 + i / 150 for i in range(150)])


def operator(matrix):
    return SymmetricOperator(lambda block: matrix @ block, len(matrix))


@pytest.mark.parametrize("method", ["hutchinson", "deflated", "hutch++", "xtrace"])
@pytest.mark.parametrize("matrix", [OUTLIERS, FLAT], ids=["outliers", "flat"])
def test_traces_are_unbiased_and_their_intervals_cover(matrix, method):
    truth, runs = float(matrix.trace()), 60
    found = [stochastic_trace(operator(matrix), probes=30, method=method, seed=seed) for seed in range(runs)]
    assert all(e.products <= 30 and e.error_kind == "standard error" and e.converged for e in found)
    errors = torch.tensor([e.value - truth for e in found])
    assert abs(float(errors.mean())) <= 5 * float(errors.std()) / math.sqrt(runs) + 1e-9 * abs(truth)
    covered = sum(e.interval()[0] <= truth <= e.interval()[1] for e in found)
    assert covered >= 0.95 * runs - 4 * math.sqrt(0.95 * 0.05 * runs)


def test_deflation_saves_most_products_and_keeps_its_word():
    truth, runs = float(OUTLIERS.trace()), 60
    off = OUTLIERS - torch.diag(OUTLIERS.diagonal())
    plain = 2 * float(off.square().sum()) / (0.02 * truth) ** 2  # what Hutchinson needs for 2 %
    found = [stochastic_trace(operator(OUTLIERS), rtol=0.02, seed=seed) for seed in range(runs)]
    assert all(e.converged and e.error <= 0.02 * abs(e.value) * (1 + 1e-9) for e in found)
    assert sum(e.products for e in found) / runs <= plain / 8
    covered = sum(e.interval()[0] <= truth <= e.interval()[1] for e in found)
    assert covered >= 0.95 * runs - 4 * math.sqrt(0.95 * 0.05 * runs)


def test_a_flat_spectrum_is_not_deflated():
    found = stochastic_trace(operator(FLAT), rtol=0.02)
    assert "taken out" not in found.reason
    assert found.products <= 60


@pytest.mark.parametrize("count", [2, 5, 30])
def test_stated_intervals_cover_in_95_percent_of_1000_runs(count):
    rng = torch.Generator().manual_seed(count)
    samples = 3 + torch.randn(1000, count, generator=rng, dtype=torch.float64)
    covered = 0
    for row in samples.tolist():
        mean, error = mean_and_error(row)
        covered += abs(mean - 3) <= 1.959963984540054 * error
    assert 930 <= covered <= 970  # 95 % ± 2.9 standard deviations


def test_hutchinson_has_the_known_variance():
    matrix = OUTLIERS[:40, :40]
    off = matrix - torch.diag(matrix.diagonal())
    values = [stochastic_trace(operator(matrix), probes=2, seed=seed).value for seed in range(400)]
    seen = float(torch.tensor(values).var()) * 2
    assert seen == pytest.approx(2 * float(off.square().sum()), rel=0.35)
    assert stochastic_trace(operator(torch.diag(torch.arange(9.0).double())), probes=2).value == pytest.approx(36)


def test_the_diagonal_and_its_errors():
    found = stochastic_diagonal(operator(OUTLIERS), probes=40)
    truth = OUTLIERS.diagonal()
    assert float(((found.values - truth).abs() <= 1.96 * found.errors).double().mean()) >= 0.9
    off = (OUTLIERS - torch.diag(truth)).square().sum(dim=1)
    ratio = found.errors.square() * 40 / off
    assert 0.7 <= float(ratio.mean()) <= 1.4
    one = stochastic_diagonal(operator(torch.diag(torch.arange(9.0).double())), probes=2)
    torch.testing.assert_close(one.values, torch.arange(9.0).double())
    assert float(one.errors.max()) == 0


def test_a_whole_chain_gives_all_eigenvalues():
    found = spectral_density(operator(FLAT), steps=150, probes=1)
    assert found.exact
    torch.testing.assert_close(found.nodes[0], torch.linalg.eigvalsh(FLAT))
    assert found.eigenvalue_count(1.0, 2.0).value == int(((found.nodes >= 1) & (found.nodes <= 2)).sum())
    assert found.moment(1).error_kind == "none"


def test_quadrature_rules_integrate_polynomials_and_know_their_error():
    values = torch.linalg.eigvalsh(OUTLIERS)
    found = spectral_density(operator(OUTLIERS), steps=12, probes=8)
    assert found.products == 96
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(8, dtype=torch.float64))
    for order in (1, 2, 3):
        moment = found.moment(order)
        assert abs(moment.value - float(values.pow(order).mean())) <= 4 * moment.error
    assert found.moment(0).value == pytest.approx(1)


def test_counts_cover_the_truth():
    values, inside = torch.linalg.eigvalsh(OUTLIERS), 0
    truth = int((values > 1).sum())
    for seed in range(60):
        low, high = spectral_density(operator(OUTLIERS), steps=15, probes=2, seed=seed).eigenvalue_count(1.0).interval()
        inside += low <= truth <= high
    assert inside >= 50


def test_density_integrates_to_one_and_the_cumulative_share_is_monotone():
    found = spectral_density(operator(OUTLIERS), steps=20, probes=2)
    grid = torch.linspace(-20, 90, 4000, dtype=torch.float64)
    assert float(torch.trapezoid(found.density(grid, width=1.0), grid)) == pytest.approx(1, abs=1e-6)
    share = found.cumulative(grid)
    assert bool((share.diff() >= 0).all())
    assert float(share[0]) == 0
    assert float(share[-1]) == pytest.approx(1)
    low, high = found.cumulative_band(grid)
    assert bool(((low <= share) & (share <= high)).all())


def test_a_chain_longer_than_its_memory_keeps_the_moments(monkeypatch):
    monkeypatch.setattr("steppe.linalg.density._BASIS", 5 * 8 * 300)
    values = torch.linalg.eigvalsh(OUTLIERS)
    found = spectral_density(operator(OUTLIERS), steps=40, probes=4)
    assert abs(found.moment(2).value - float(values.square().mean())) <= 4 * found.moment(2).error
    assert float(found.nodes.max()) == pytest.approx(float(values.max()), rel=1e-9)


def test_one_pass_answers_all_questions():
    values = torch.linalg.eigvalsh(OUTLIERS)
    found = survey(operator(OUTLIERS))
    assert found.converged
    assert found.largest.value == pytest.approx(float(values[-1]), rel=1e-3)
    assert abs(found.smallest.value - float(values[0])) <= found.smallest.error
    image = OUTLIERS @ found.vector
    assert float((image - found.largest.value * found.vector).norm()) <= 1e-3 * found.largest.value
    assert abs(found.trace.value - float(values.sum())) <= 4 * found.trace.error
    assert float(found.density.weights.sum()) == pytest.approx(1)
    assert found.products <= 80 + 40


def test_a_survey_says_what_it_did_not_reach():
    found = survey(operator(OUTLIERS), max_products=4)
    assert not found.converged
    assert found.trace is None
    assert found.products == 4
    assert "trace: not reached" in found.reason


@pytest.mark.parametrize("p", [1, 2, 20])
def test_small_matrices_are_diagonalised(p):
    matrix = FLAT[:p, :p]
    found = survey(operator(matrix))
    values = torch.linalg.eigvalsh(matrix)
    assert found.products == p
    assert found.trace.error_kind == "none"
    assert found.trace.value == pytest.approx(float(values.sum()))
    assert found.largest.value == pytest.approx(float(values[-1]))
    assert found.smallest.value == pytest.approx(float(values[0]))
    assert spectral_density(operator(matrix)).exact


HOSTILE = {
    "zero": torch.zeros(60, 60, dtype=torch.float64),
    "identity": torch.eye(60, dtype=torch.float64),
    "negative definite": -torch.diag(torch.arange(1.0, 61)).double(),
    "tiny": 1e-30 * FLAT[:60, :60],
    "huge": 1e30 * FLAT[:60, :60],
    "float32": FLAT[:60, :60].float(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_matrices(name):
    matrix = HOSTILE[name]
    made = SymmetricOperator(lambda block: matrix @ block, 60, dtype=matrix.dtype)
    values = torch.linalg.eigvalsh(matrix.double())
    size = float(values.abs().max())
    tolerance = 1e-5 * size if name == "float32" else 1e-9 * size
    for k in (1, 3, 60):
        found = extreme_eigenvalues(made, k, rtol=1e-6)
        assert found.converged
        truth = values.flip(0)[:k]
        assert float((found.values - truth).abs().max()) <= 1e-6 * size + tolerance
    answer = survey(made)
    assert answer.largest.value == pytest.approx(float(values[-1]), abs=1e-3 * size)
    assert answer.smallest.value == pytest.approx(float(values[0]), abs=1e-2 * size)
    assert abs(answer.trace.value - float(values.sum())) <= 5 * answer.trace.error + 100 * tolerance
    for method in ("hutchinson", "deflated", "hutch++", "xtrace"):
        trace = stochastic_trace(made, probes=20, method=method)
        assert abs(trace.value - float(values.sum())) <= 6 * trace.error + 100 * tolerance
    assert stochastic_trace(made, rtol=0.1).converged
    density = spectral_density(made, steps=8, probes=2)
    assert abs(density.moment(1).value - float(values.mean())) <= 5 * density.moment(1).error + tolerance


@pytest.mark.parametrize(
    "routine",
    [
        survey,
        spectral_density,
        stochastic_diagonal,
        *(
            lambda o, m=m: stochastic_trace(o, probes=20, method=m)
            for m in ("hutchinson", "deflated", "hutch++", "xtrace")
        ),
    ],
)
def test_products_that_are_not_finite_are_refused(routine):
    with pytest.raises(ComputationError, match="NaN or infinite"):
        routine(SymmetricOperator(lambda block: block * torch.nan, 300))


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: stochastic_trace(FLAT), KindError, "SymmetricOperator, got Tensor"),
        (lambda: stochastic_trace(operator(FLAT), rtol=0.1, probes=5), ParameterError, "drop one"),
        (lambda: stochastic_trace(operator(FLAT), rtol=0.1, method="xtrace"), ParameterError, "fixed beforehand"),
        (lambda: stochastic_trace(operator(FLAT), probes=1), ParameterError, "`probes` must be ≥ 2"),
        (lambda: stochastic_diagonal(FLAT), KindError, "SymmetricOperator"),
        (lambda: spectral_density(operator(FLAT), steps=0), ParameterError, "`steps` must be ≥ 1"),
        (lambda: spectral_density(FLAT), KindError, "SymmetricOperator"),
        (lambda: survey(FLAT), KindError, "SymmetricOperator"),
        (lambda: survey(operator(FLAT), rtol=-1.0), ParameterError, "`rtol` must be > 0"),
    ],
)
def test_doors(call, error, says):
    with pytest.raises(error, match=says):
        call()
