"""Trace, diagonal, density, survey and Gauss–Newton spectra of networks, against dense matrices."""

import time

import pytest
import torch
from torch import nn

from steppe.core import KindError, NotComputedError, ParameterError
from steppe.curvature import (
    diagonal,
    eigenvalues,
    gauss_newton,
    gauss_newton_spectrum,
    hessian,
    sharpness,
    spectral_density,
    survey,
    trace,
)


def problem(n=10, k=3):
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.BatchNorm1d(9), nn.Linear(9, k)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng, dtype=torch.float64) / 2
    return model.eval(), torch.randn(n, 6, generator=rng, dtype=torch.float64), rng


LOSSES = {
    "classes": (nn.CrossEntropyLoss(), lambda n, rng: torch.randint(0, 3, (n,), generator=rng)),
    "squares": (nn.MSELoss(), lambda n, rng: torch.randn(n, 3, generator=rng, dtype=torch.float64)),
    "not known": (
        lambda outputs, y: (outputs - y).pow(4).mean(),
        lambda n, rng: torch.randn(n, 3, generator=rng, dtype=torch.float64),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("training", [False, True])
def test_the_gauss_newton_spectrum_of_any_model_is_exact(name, training):
    model, x, rng = problem()
    loss, targets = LOSSES[name]
    y = targets(len(x), rng)
    model.train(training)
    found = gauss_newton_spectrum(model, loss, (x, y))
    dense = gauss_newton(model, loss, (x, y)).to_dense()
    truth = torch.linalg.eigvalsh(dense).flip(0)
    torch.testing.assert_close(found.values, truth[: len(found.values)], rtol=1e-9, atol=1e-10)
    assert float(truth[len(found.values) :].abs().max()) < 1e-10
    rest = hessian(model, loss, (x, y)).to_dense() - dense
    assert found.residual_kind == "probability 0.999"
    assert float(torch.linalg.matrix_norm(rest, ord=2)) <= found.residual_norm * (1 + 1e-9)
    low, high = found.sharpness_interval()
    assert low <= float(sharpness(model, loss, (x, y))) <= high
    assert all(module.training is training for module in model.modules())


def test_batches_and_subsets_of_parameters():
    model, x, rng = problem()
    y = torch.randint(0, 3, (10,), generator=rng)
    whole = gauss_newton_spectrum(model, nn.CrossEntropyLoss(), (x, y), parameters="3.*", residual=False)
    parts = gauss_newton_spectrum(
        model, nn.CrossEntropyLoss(), [(x[:4], y[:4]), (x[4:], y[4:])], parameters="3.*", residual=False
    )
    torch.testing.assert_close(whole.values, parts.values)
    assert whole.residual_kind == "none"
    with pytest.raises(NotComputedError, match="residual=True"):
        whole.sharpness_interval()


@pytest.mark.door
def test_spectrum_doors():
    model, x, rng = problem()
    y = torch.randint(0, 3, (10,), generator=rng)
    with pytest.raises(ParameterError, match=r"n·k = 30, got 20"):
        gauss_newton_spectrum(model, nn.CrossEntropyLoss(), (x, y), max_size=20)
    with pytest.raises(KindError, match="needs loss"):
        gauss_newton_spectrum(model, None, (x, y))


def test_traces_and_diagonals_agree_with_the_matrix():
    model, x, rng = problem()
    data = (x, torch.randint(0, 3, (10,), generator=rng))
    dense = hessian(model, nn.CrossEntropyLoss(), data).to_dense()
    truth = float(dense.trace())
    exact = trace(model, nn.CrossEntropyLoss(), data, probes=200)
    assert exact.value == pytest.approx(truth)
    assert exact.error_kind == "none"
    for keywords in ({"rtol": 0.05, "method": "deflated"}, {"probes": 60, "method": "hutch++"}, {"probes": 40}):
        found = trace(model, nn.CrossEntropyLoss(), data, **keywords)
        assert abs(found.value - truth) <= 5 * found.error
        assert found.error_kind == "standard error"
        assert "all 111 parameters" in found.convention
    torch.testing.assert_close(diagonal(model, nn.CrossEntropyLoss(), data), dense.diagonal())
    rough = diagonal(model, nn.CrossEntropyLoss(), data, method="stochastic", probes=50)
    assert float(((rough.values - dense.diagonal()).abs() <= 3 * rough.errors + 1e-12).double().mean()) > 0.95


def test_density_and_survey_of_a_network():
    model, x, rng = problem()
    data = (x, torch.randint(0, 3, (10,), generator=rng))
    values = torch.linalg.eigvalsh(hessian(model, nn.CrossEntropyLoss(), data).to_dense())
    exact = spectral_density(model, nn.CrossEntropyLoss(), data, steps=200, probes=1)
    torch.testing.assert_close(exact.nodes[0], values)
    found = spectral_density(model, nn.CrossEntropyLoss(), data, steps=20, probes=3)
    assert abs(found.moment(1).value - float(values.mean())) <= 4 * found.moment(1).error
    names = [panel.title for panel in found.plot().panels]
    assert names == ["density", "share beyond"]
    whole = survey(model, nn.CrossEntropyLoss(), data)
    assert whole.largest.quantity == "sharpness"
    assert whole.largest.value == pytest.approx(float(values[-1]), rel=1e-3)
    assert whole.smallest.value == pytest.approx(float(values[0]), abs=1e-2 * float(values[-1]))
    assert abs(whole.trace.value - float(values.sum())) <= 5 * whole.trace.error + 1e-9
    assert whole.density.plot().table()
    assert whole.largest.convention == whole.trace.convention != ""


def test_budgets_and_limits_reach_every_quantity():
    model, x, rng = problem(n=4)
    data = (x[:4], torch.randint(0, 3, (4,), generator=rng))
    loss = nn.CrossEntropyLoss()
    assert not sharpness(model, loss, data, rtol=1e-14, max_products=3).converged
    assert eigenvalues(model, loss, data, k=2, max_products=4).products <= 4
    assert survey(model, loss, data, max_products=5).products == 5
    assert spectral_density(model, loss, data, max_products=7).products <= 7
    told = []
    began = time.perf_counter()
    trace(model, loss, data, probes=20, method="hutchinson", budget=60, progress=lambda *row: told.append(row))
    assert len(told) == 20
    assert time.perf_counter() - began < 30


@pytest.mark.door
def test_unknown_keywords_are_named():
    model, x, _ = problem()
    for function in (trace, diagonal, spectral_density, survey, sharpness, gauss_newton_spectrum):
        with pytest.raises(KindError, match="does not know the keyword `tolerance`"):
            function(model, nn.CrossEntropyLoss(), (x, x), tolerance=1)
