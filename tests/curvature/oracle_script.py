"""Run in the environment of the peers: products, trace and top eigenvalue by steppe and by them, as JSON."""

import json
import sys

import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from pyhessian import hessian as PyHessian  # noqa: N812 - a class with a lower-case name
from pyhessian.utils import hessian_vector_product
from scipy.sparse.linalg import eigsh
from torch import nn

from steppe.curvature import eigenvalues, gauss_newton, hessian, trace


def problem(name):
    """Float64 model, loss and two uneven batches; no LayerNorm, on which the forward derivative of torch is wrong."""
    torch.manual_seed(0)
    if name == "convolutions":
        body = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)]
        x, y, loss = torch.randn(9, 1, 6, 6), torch.randint(0, 4, (9,)), nn.CrossEntropyLoss()
    else:
        body = [nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3)]
        x, y, loss = torch.randn(9, 4), torch.randn(9, 3, dtype=torch.float64), nn.MSELoss()
    x = x.double()
    return nn.Sequential(*body).double().eval(), loss, [(x[:6], y[:6]), (x[6:], y[6:])]


def relative(a, b):
    """How far b is from a."""
    return float((a - b).norm() / a.norm())


def main(name):
    """The relative differences."""
    model, loss, batches = problem(name)
    parameters, whole = list(model.parameters()), tuple(torch.cat(part) for part in zip(*batches, strict=True))
    ours, newton = hessian(model, loss, batches), gauss_newton(model, loss, batches)
    v = torch.randn(ours.shape[0], dtype=torch.float64)
    theirs = HessianLinearOperator(model, loss, parameters, batches)
    their_newton = GGNLinearOperator(model, loss, parameters, batches)
    dense = theirs @ torch.eye(len(v), dtype=torch.float64)
    top = eigsh(theirs.to_scipy(), k=1, which="LA", tol=1e-12, return_eigenvectors=False)[0]
    power = PyHessian(model, loss, data=whole, cuda=False)
    parts = [part.view_as(p) for part, p in zip(v.split([p.numel() for p in power.params]), power.params, strict=True)]
    image = hessian_vector_product(power.gradsH, power.params, parts)
    model.zero_grad(set_to_none=True)
    found = {
        "Hessian product, curvlinops": relative(theirs @ v, ours @ v),
        "Hessian product, PyHessian": relative(torch.cat([part.reshape(-1) for part in image]), ours @ v),
        "Gauss-Newton product, curvlinops": relative(their_newton @ v, newton @ v),
        "whole Hessian, curvlinops": relative(dense, ours.to_dense()),
        "trace, curvlinops": relative(dense.trace(), torch.tensor(trace(ours, probes=len(v)).value)),
        "top eigenvalue, eigsh": abs(top - float(eigenvalues(ours, 1, rtol=1e-7).values[0])) / abs(top),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
