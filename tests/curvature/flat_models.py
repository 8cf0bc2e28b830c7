"""Networks, their rewritten twins and a quadratic, for the tests of flatness measures."""

import copy
import itertools

import torch
from torch import nn

from steppe.core import SquaredLoss
from steppe.curvature import preconditioned_sharpness

LOSS = SquaredLoss()


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relu(*, bias=True, widths=(3, 5, 4, 2), seed=0):
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(0.7 * randn(*parameter.shape, seed=100 * seed + index))
    return model


X, Y = randn(20, 3, seed=50), randn(20, 2, seed=51) + 3  # far from the outputs: the mean gradient is clear
DATA = (X, Y)


def rescaled(model, factors, layer=0):
    """The same function: neuron j of a hidden layer times c_j, its outgoing weights over c_j."""
    twin = copy.deepcopy(model)
    c = torch.as_tensor(factors, dtype=torch.float64)
    with torch.no_grad():
        twin[2 * layer].weight.mul_(c[:, None])
        if twin[2 * layer].bias is not None:
            twin[2 * layer].bias.mul_(c)
        twin[2 * layer + 2].weight.div_(c)
    torch.testing.assert_close(twin(X), model(X), rtol=1e-9, atol=1e-12)
    return twin


def permuted(model, order, layer=0):
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[2 * layer].weight.copy_(model[2 * layer].weight[order])
        twin[2 * layer].bias.copy_(model[2 * layer].bias[order])
        twin[2 * layer + 2].weight.copy_(model[2 * layer + 2].weight[:, order])
    torch.testing.assert_close(twin(X), model(X))
    return twin


class Quadratic(nn.Module):
    """½ Σ h_i θ_i², as the squared loss of one sample per entry against zero."""

    def __init__(self, h, theta):
        super().__init__()
        self.register_buffer("root", torch.tensor(h, dtype=torch.float64).sqrt())
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x):
        return (self.root * self.theta)[None].expand(len(x), -1)


def quadratic(h, theta):
    zero = torch.zeros(1, len(h), dtype=torch.float64)
    return Quadratic(h, theta), SquaredLoss(), (zero, zero)


def of_adam(model, loss, data):
    """Preconditioned sharpness after three steps of Adam that hardly move."""
    twin = copy.deepcopy(model)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-12, eps=1e-13)
    for _ in range(3):
        optimizer.zero_grad()
        loss(twin(data[0]), data[1]).backward()
        optimizer.step()
    return preconditioned_sharpness(twin, loss, data, optimizer=optimizer, rtol=1e-9)
