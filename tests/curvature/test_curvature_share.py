"""Which layer carries an eigenvector."""

import math

import pytest
import torch
from torch import nn

from steppe.core import DataError, KindError, ParameterError, ShapeError
from steppe.curvature import eigenvalues, hessian, share
from steppe.linalg import Eigenvalues


def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Sequential(nn.Linear(3, 1))).double()


def test_masses_of_a_known_vector():
    vector = torch.zeros(13, dtype=torch.float64)  # 0.weight 6, 0.bias 3, 2.0.weight 3, 2.0.bias 1
    vector[0], vector[6], vector[12] = 1.0, 2.0, 2.0
    found = share(vector, model())
    assert found.shares == pytest.approx({"0.bias": 4 / 9, "2.0.bias": 4 / 9, "0.weight": 1 / 9, "2.0.weight": 0.0})
    assert share(vector, model(), by="module").shares == pytest.approx({"0": 5 / 9, "2.0": 4 / 9})
    assert share(vector, model(), by=1).shares == pytest.approx({"0": 5 / 9, "2": 4 / 9})
    assert share(vector, model(), by=2)["2.0"] == pytest.approx(4 / 9)
    assert math.isnan(found.error)
    assert found.top in ("0.bias", "2.0.bias")


def test_they_sum_to_one_and_do_not_depend_on_the_length():
    vector = torch.randn(13, dtype=torch.float64)
    for by in ("parameter", "module", 1):
        found = share(vector, model(), by=by)
        values = list(found.shares.values())
        assert sum(values) == pytest.approx(1)
        assert values == sorted(values, reverse=True)
        assert share(-3 * vector, model(), by=by).shares == pytest.approx(found.shares)


def test_an_eigenvector_of_the_hessian_and_its_error():
    torch.manual_seed(0)
    net, x = model(), torch.randn(40, 2, dtype=torch.float64)
    y = torch.sin(x.sum(1, keepdim=True))
    rough = eigenvalues(net, nn.MSELoss(), (x, y), k=1, rtol=1e-1)
    exact = torch.linalg.eigh(hessian(net, nn.MSELoss(), (x, y)).to_dense())[1][:, -1]
    found, truth = share(rough, net), share(exact, hessian(net, nn.MSELoss(), (x, y)))
    error = found.error if math.isfinite(found.error) else 1.0
    assert all(abs(found[name] - truth[name]) <= error + 1e-12 for name in truth.shares)
    assert "share per parameter in %" in str(found)


def test_davis_kahan_bounds_the_shares_of_perturbed_vectors():
    rng = torch.Generator().manual_seed(1)
    matrix = torch.diag(torch.linspace(1, 3, 13, dtype=torch.float64))
    matrix[12, 12] = 5.0
    for size in (1e-3, 1e-2, 1e-1):
        vector = torch.zeros(13, dtype=torch.float64)
        vector[12] = 1.0
        vector = vector + size * torch.randn(13, generator=rng, dtype=torch.float64)
        vector /= vector.norm()
        value = vector @ matrix @ vector
        residual = (matrix @ vector - value * vector).norm()
        found = Eigenvalues(
            values=value[None],
            vectors=vector[:, None],
            residuals=residual[None],
            gaps=(value - 3.0)[None],
            converged=True,
            reason="",
            products=0,
        )
        spread = share(found, model())
        assert spread["2.0.bias"] >= 1 - spread.error
        assert spread.error <= 1.0


def test_some_parameters_and_shapes():
    net = model()
    assert share(torch.ones(4), net, parameters="2.*").shares == pytest.approx({"2.0.weight": 0.75, "2.0.bias": 0.25})
    assert share(torch.ones(4), {"a": (3,), "b": ()})["a"] == pytest.approx(0.75)


@pytest.mark.door
def test_doors():
    with pytest.raises(ShapeError, match="one entry per parameter, 13, got"):
        share(torch.ones(12), model())
    with pytest.raises(DataError, match="not zero"):
        share(torch.zeros(13), model())
    with pytest.raises(KindError, match="must be Eigenvalues"):
        share([1.0], model())
    with pytest.raises(KindError, match="must be a module"):
        share(torch.ones(13), 3)
    with pytest.raises(ParameterError, match="`by` must be"):
        share(torch.ones(13), model(), by="layer")
