"""The landscapes of escape experiments: deep linear networks in closed form, other models through autograd."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from steppe.core import DataError, DtypeError, KindError, ShapeError
from steppe.curvature import deep_linear_eigenvalues, eigenvalues, hessian
from steppe.networks import DeepLinear, factors

from .escape_descent import Array

_RTOL = 1e-9  # of the residual of an eigenvector: what it holds of others starts below 1e-9 · start
_NO_SLOPE = 1e-9  # a drift shorter than this part of the whole gradient of the sharpness is rounding


class DeepLinearLandscape:
    """scale · ‖W_L ⋯ W_1 F − T‖² in NumPy, for as many points at once as there are runs; T is met by the network.

    Args:
        network: The minimizer.
        data: X [n, d_0], or None for the identity.
        scale: Factor of the loss.
    """

    def __init__(self, network: DeepLinear, data: Any, scale: float) -> None:
        layers = [layer.detach().double().cpu() for layer in network.layers]
        if len(layers) < 2:
            raise ShapeError(
                "`layers` must hold at least two matrices, got one; its loss is quadratic, pass [W_1, W_2, …]"
            )
        self.shapes = [tuple(layer.shape) for layer in layers]
        self.ends = np.cumsum([0, *(layer.numel() for layer in layers)])
        self.scale = scale
        self.features = _features(network, data)
        self.minimizer: Array = torch.cat([layer.reshape(-1) for layer in layers]).numpy()
        if not np.isfinite(self.minimizer).all():
            raise DataError("`layers` must be finite, got NaN or infinity; pass a minimizer")
        self.target = self._forwards(self.minimizer[None])[1][-1]
        self.sharpness, self.top = self._top(self.minimizer)
        self.drift = self._drift()

    def _layers(self, points: Array) -> list[Array]:
        return [
            points[..., a:b].reshape(*points.shape[:-1], *shape)
            for a, b, shape in zip(self.ends, self.ends[1:], self.shapes, strict=False)
        ]

    def _tensors(self, point: Array) -> list[Tensor]:
        return [torch.from_numpy(layer) for layer in self._layers(point)]

    def _forwards(self, points: Array) -> tuple[list[Array], list[Array]]:
        layers, forwards = self._layers(points), [self.features]
        for layer in layers:
            forwards.append(layer @ forwards[-1])
        return layers, forwards

    def slopes(self, points: Array) -> tuple[Array, Array]:
        """Losses and gradients."""
        if all(shape == (1, 1) for shape in self.shapes):
            return self._scalar_slopes(points)
        layers, forwards = self._forwards(points)
        residual = forwards[-1] - self.target
        losses: Array = self.scale * np.einsum("rkq,rkq->r", residual, residual)
        gradient, adjoint = np.empty_like(points), 2 * self.scale * residual
        for index in reversed(range(len(layers))):
            slope = adjoint @ forwards[index].swapaxes(-1, -2)
            gradient[:, self.ends[index] : self.ends[index + 1]] = slope.reshape(len(points), -1)
            if index:
                adjoint = layers[index].swapaxes(-1, -2) @ adjoint
        return losses, gradient

    def _scalar_slopes(self, points: Array) -> tuple[Array, Array]:
        """The same for layers that are numbers, ten times as fast for many layers."""
        before, after = np.ones_like(points), np.ones_like(points)
        np.cumprod(points[:, :-1], axis=1, out=before[:, 1:])
        np.cumprod(points[:, :0:-1], axis=1, out=after[:, -2::-1])
        residual = (before[:, -1] * points[:, -1])[:, None] * self.features - self.target[0]
        pull = (residual * self.features).sum(axis=1, keepdims=True)
        return self.scale * (residual * residual).sum(axis=1), 2 * self.scale * pull * before * after

    def sharpness_at(self, point: Array) -> float:
        """In closed form, at a point of zero residual."""
        return self._top(point)[0]

    def _top(self, point: Array) -> tuple[float, Array]:
        """Largest eigenvalue at a minimizer and its unit eigenvector."""
        found = deep_linear_eigenvalues(
            self._tensors(point), data=torch.from_numpy(self.features.T), scale=self.scale, rtol=_RTOL
        )
        return float(found.values[0]), _signed(found.vectors[:, 0].numpy())

    def _drift(self) -> Array:
        """The unit vector in the kernel of the Hessian along which the sharpness falls fastest.

        The kernel is that of the Jacobian of the product, J. Where no direction lowers the sharpness, as at a flattest
        minimizer, it is the rescaling of the first two layers, (W_1, −W_2, 0, …).
        """
        layers, features = self._tensors(self.minimizer), torch.from_numpy(self.features)
        slope = _slope_of_sharpness(layers, self._tensors(self.top), features)
        rest = -_outside(slope, layers, features)
        if rest.norm() <= _NO_SLOPE * slope.norm():
            rest = torch.cat([layers[0].reshape(-1), -layers[1].reshape(-1), rest.new_zeros(len(rest) - self.ends[2])])
        return (rest / rest.norm()).numpy()


def _signed(vector: Array) -> Array:
    """Of the two signs of an eigenvector, the one whose largest entry is positive."""
    return vector if vector[int(np.argmax(np.abs(vector)))] > 0 else -vector


def _outside(u: Tensor, layers: list[Tensor], features: Tensor) -> Tensor:
    """The part of u in the kernel of J(U) = Σ A_i U_i B_i F: u − Jᵀ (JJᵀ)⁺ J u."""
    after, before = factors(layers, features.T)
    parts = [part.view_as(layer) for part, layer in zip(u.split([w.numel() for w in layers]), layers, strict=True)]
    image = torch.stack([a @ part @ p for a, part, p in zip(after, parts, before, strict=True)]).sum(dim=0)
    grams = [torch.kron(a @ a.T, p.T @ p) for a, p in zip(after, before, strict=True)]
    inverse = torch.linalg.pinv(torch.stack(grams).sum(dim=0), hermitian=True, rtol=1e-13)
    z = (inverse @ image.reshape(-1)).view_as(image)
    return u - torch.cat([(a.T @ z @ p.T).reshape(-1) for a, p in zip(after, before, strict=True)])


def _slope_of_sharpness(layers: list[Tensor], top: list[Tensor], features: Tensor) -> Tensor:
    """The gradient of ‖J(top)‖² in the layers, for a fixed direction: of the sharpness, along minimizers."""
    leaves = [layer.clone().requires_grad_() for layer in layers]
    forward, tangent = features, torch.zeros_like(features[:0])
    for index, (leaf, direction) in enumerate(zip(leaves, top, strict=True)):
        tangent = direction @ forward + (leaf @ tangent if index else 0)
        forward = leaf @ forward
    slopes = torch.autograd.grad(tangent.square().sum(), leaves, materialize_grads=True)
    return torch.cat([slope.reshape(-1) for slope in slopes])


def _features(network: DeepLinear, data: Any) -> Array:
    """F [d_0, q] with FFᵀ = XᵀX and q = min(n, d_0) columns."""
    if data is None:
        return np.eye(network.inputs)
    x = network.check(data, name="data").detach().double().cpu()
    return (x if len(x) <= x.shape[1] else torch.linalg.qr(x)[1]).T.contiguous().numpy()


class ModelLandscape:
    """A model's own loss: gradients by autograd, eigenvectors by Lanczos iterations.

    Args:
        model: In float64; it is copied.
        loss: `loss(outputs, targets) -> scalar`.
        data: (x, y).
    """

    def __init__(self, model: nn.Module, loss: Any, data: Any) -> None:
        if not isinstance(model, nn.Module):
            raise KindError(f"`model` must be a torch module, got {type(model).__name__}; wrap it in an nn.Module")
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise KindError(f"`data` must be one batch (x, y), got {type(data).__name__}; pass a tuple of two tensors")
        self.model, self.loss, (self.x, self.y) = deepcopy(model), loss, data
        self.leaves = list(self.model.parameters())
        if any(leaf.dtype != torch.float64 for leaf in self.leaves):
            raise DtypeError("`model` must be in float64, for a start so near; convert it with model.double()")
        self.minimizer: Array = parameters_to_vector(self.leaves).detach().cpu().numpy().copy()
        self.sharpness, self.top = self._top(self.minimizer)
        self.drift = self._drift()

    def _at(self, point: Array) -> None:
        vector_to_parameters(torch.from_numpy(point).to(self.leaves[0].device), self.leaves)

    def _value(self) -> Tensor:
        return self.loss(self.model(self.x), self.y)

    def slopes(self, points: Array) -> tuple[Array, Array]:
        """Losses and gradients."""
        losses, gradients = np.empty(len(points)), np.empty_like(points)
        for i, point in enumerate(points):
            self._at(point)
            value = self._value()
            losses[i] = value.item()
            gradients[i] = parameters_to_vector(torch.autograd.grad(value, self.leaves)).cpu().numpy()
        return losses, gradients

    def sharpness_at(self, point: Array) -> float:
        """By Lanczos iterations."""
        return self._top(point)[0]

    def _top(self, point: Array) -> tuple[float, Array]:
        self._at(point)
        found = eigenvalues(hessian(self.model, self.loss, (self.x, self.y)), 1, rtol=_RTOL)
        return float(found.values[0]), _signed(found.vectors[:, 0].cpu().numpy())

    def _drift(self) -> Array:
        """The unit vector orthogonal to the top eigenvector along which the sharpness falls fastest."""
        self._at(self.minimizer)
        top = torch.from_numpy(self.top).to(self.leaves[0].device)
        slope = parameters_to_vector(torch.autograd.grad(self._value(), self.leaves, create_graph=True))
        product = parameters_to_vector(torch.autograd.grad(slope @ top, self.leaves, create_graph=True))
        third = torch.autograd.grad(product @ top, self.leaves, materialize_grads=True)
        vector = -parameters_to_vector(third).detach()
        vector = vector - (vector @ top) * top
        norm = vector.norm()
        return (vector / norm if norm > 0 else vector).cpu().numpy()
