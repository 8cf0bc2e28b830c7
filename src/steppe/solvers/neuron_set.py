"""The working set of column generation: neurons that carry their size and sign, and the free part.

Everything is in the coordinates of `ConeData`: rows z_i, an orthonormal basis of the free columns, weights of sum one.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .fits import Fit

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class ConeData:
    """Arrays of one problem.

    Args:
        Z: Rows [x_i, −1].
        y: Targets.
        weights: Sample weights, of sum one.
        Q: Basis of the free columns, [n, q]; q = 0 without free part.
        fit: Loss per sample.
        alpha: Weight of the penalty.
        penalised: D, or D − 1 if the bias (the last coordinate) is free.
    """

    Z: Array
    y: Array
    weights: Array
    Q: Array
    fit: Fit
    alpha: float
    penalised: int

    @property
    def affine(self) -> bool:
        """Whether every affine function is free."""
        return self.Q.shape[1] > 0

    def sizes(self, u: Array) -> Array:
        """Penalty norms of the rows of u."""
        part = u[:, : self.penalised]
        return np.asarray(np.sqrt(np.einsum("kj,kj->k", part, part)))

    def rho(self, f: Array) -> Array:
        """−s l'(f): the descent direction of the loss in the outputs, not projected."""
        return np.asarray(-self.weights * self.fit.gradient(f, self.y))

    def curvatures(self, f: Array, *, majorant: bool = False) -> Array:
        """Second derivatives s l''(f), kept above zero; or curvatures of parabolas that touch the loss from above."""
        name = self.fit.name
        if name == "logistic":
            if majorant:
                size = np.maximum(np.abs(f), 1e-8)
                return np.asarray(self.weights * np.tanh(size / 2) / (2 * size))
            z = np.exp(-np.abs(f))
            return np.asarray(self.weights * np.maximum(z / np.square(1 + z), 1e-6))
        if name == "huber":
            delta, size = self.fit.parameters["delta"], np.abs(f - self.y)
            if majorant:
                return np.asarray(self.weights * np.minimum(1.0, delta / np.maximum(size, 1e-300)))
            # A generalised Newton step needs some curvature where the loss is linear.
            return np.asarray(self.weights * np.where(size <= delta, 1.0, 1e-3))
        return np.asarray(self.weights * self.fit.curvature)


@dataclass(frozen=True, eq=False)
class NeuronSet:
    """f = Σ_k sign_k relu(Z u_k) + Q beta, penalty Σ ‖u_k‖.

    Args:
        u: One row per neuron, of the neuron's size.
        sign: ±1.
        beta: Coefficients of the basis of the free columns.
    """

    u: Array
    sign: Array
    beta: Array

    def __len__(self) -> int:
        return len(self.u)

    def outputs(self, data: ConeData) -> Array:
        """F on the data."""
        f = data.Q @ self.beta
        if len(self.u):
            f = f + np.maximum(data.Z @ self.u.T, 0.0) @ self.sign
        return np.asarray(f)

    def objective(self, data: ConeData, f: Array | None = None) -> float:
        """P with the true ReLUs."""
        f = self.outputs(data) if f is None else f
        loss = float(data.weights @ data.fit.values(f, data.y))
        return loss + data.alpha * float(data.sizes(self.u).sum())

    def keep(self, mask: Mask) -> "NeuronSet":
        """Some of the neurons."""
        return NeuronSet(self.u[mask], self.sign[mask], self.beta)

    def joined(self, u: Array, sign: Array) -> "NeuronSet":
        """With further neurons at the end."""
        return replace(self, u=np.concatenate([self.u, u]), sign=np.concatenate([self.sign, sign]))


def empty_set(data: ConeData) -> NeuronSet:
    """No neurons, no free part."""
    return NeuronSet(np.zeros((0, data.Z.shape[1])), np.zeros(0), np.zeros(data.Q.shape[1]))


def blend(first: NeuronSet, second: NeuronSet, step: float) -> NeuronSet:
    """(1 − step) first + step second, neuron by neuron."""
    if step == 1.0:
        return second
    u = (1 - step) * first.u + step * second.u
    return NeuronSet(u, second.sign, (1 - step) * first.beta + step * second.beta)
