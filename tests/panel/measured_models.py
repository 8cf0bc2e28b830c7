"""A small problem and its dense Hessian, as truth for measurements."""

import torch
from torch import nn


def problem(*, n=60, hidden=6, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=rng, dtype=torch.float64)
    y = torch.tanh(x @ torch.randn(3, 2, generator=rng, dtype=torch.float64))
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, hidden), nn.Tanh(), nn.Linear(hidden, 2)).to(dtype)
    return model, nn.MSELoss(), (x.to(dtype), y.to(dtype))


def dense_hessian(model, loss, data):
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().double().flatten() for p in model.parameters()])

    def value(theta):
        parts = theta.split([s.numel() for s in shapes])
        state = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return loss(torch.func.functional_call(model, state, data[0].double()), data[1].double())

    return torch.autograd.functional.hessian(value, flat)
