"""Both sides of the theorems by autograd: plain descent, and dense second derivatives of a network with one output."""

import torch


def loss_of(network, x, y):
    return 0.5 * (network(x) - y).square().mean()


def trained(network, x, y, *, step_size=0.1, steps=300):
    for _ in range(steps):
        gradients = torch.autograd.grad(loss_of(network, x, y), list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= step_size * gradient
    return network


def dense(network, x, y):
    """The exact Hessian and the Jacobian by autograd, as dense matrices."""
    names = [name for name, _ in network.named_parameters()]
    sizes = [p.numel() for p in network.parameters()]
    shapes = [p.shape for p in network.parameters()]
    flat = torch.cat([p.detach().flatten() for p in network.parameters()])

    def outputs(theta):
        parts = {name: part.reshape(shape) for name, part, shape in zip(names, theta.split(sizes), shapes, strict=True)}
        return torch.func.functional_call(network, parts, (x,))

    hessian = torch.autograd.functional.hessian(lambda theta: 0.5 * (outputs(theta) - y).square().mean(), flat)
    jacobian = torch.autograd.functional.jacobian(lambda theta: outputs(theta)[:, 0], flat)
    return hessian, jacobian


def top(matrix):
    return float(torch.linalg.eigvalsh(matrix)[-1])
