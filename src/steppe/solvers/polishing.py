"""Newton's method on the faces that a network lies on: from the accuracy of an interior point to rounding.

Every neuron keeps the kinks it lies on, {z_i·u_k = 0, i in E_k}; on the product of these faces the objective is
smooth, and a few steps reach its optimum.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from .neuron_set import Array, ConeData, NeuronSet

_NEAR = 1e-6


def polished(data: ConeData, neurons: NeuronSet, *, steps: int = 8) -> NeuronSet:
    """A network with an objective not larger, exactly on the kinks that were near.

    Cost: per step one Gram matrix and one factorisation of the size of all faces together.
    """
    if len(neurons) == 0:
        return neurons
    start_value = value = neurons.objective(data)
    bases = _faces(data, neurons)
    start, neurons = neurons, _projected(neurons, bases)
    value = neurons.objective(data)
    if value > start_value + 1e-7 * abs(start_value):
        return start
    for _ in range(steps):
        move = _newton(data, neurons, bases)
        if move is None:
            break
        scale, improved = 1.0, False
        for _ in range(6):
            tried = NeuronSet(neurons.u + scale * move[0], neurons.sign, neurons.beta + scale * move[1])
            reached = tried.objective(data)
            if reached < value:
                improved = True
                break
            scale *= 0.5
        if not improved:
            break
        decrease = value - reached
        neurons, value = tried, reached
        if decrease <= 1e-15 * abs(value):
            break
    return neurons if value <= start_value else start


def slid(data: ConeData, neurons: NeuronSet, *, steps: int = 10) -> NeuronSet:
    """Damped Newton steps that move neurons across kinks; never a larger objective.

    With many samples the cones are tiny and the objective is almost smooth: this crosses many cones at once. It cannot
    reach an optimum on a kink; the cone program does.

    Cost: per step one Gram matrix and one factorisation of the size of all neurons together.
    """
    if len(neurons) == 0:
        return neurons
    bases = [np.eye(data.Z.shape[1])] * len(neurons)
    value, damping = neurons.objective(data), 1e-4
    for _ in range(steps):
        move = _newton(data, neurons, bases, damping)
        if move is None:
            break
        tried = NeuronSet(neurons.u + move[0], neurons.sign, neurons.beta + move[1])
        reached = tried.objective(data)
        if reached >= value:
            damping *= 30
            if damping > 1e3:
                break
            continue
        decrease = value - reached
        neurons, value, damping = tried, reached, max(damping / 10, 1e-8)
        if decrease <= 1e-5 * value:
            break
        sizes = data.sizes(neurons.u)
        if (sizes < 1e-6 * sizes.max()).any():
            neurons = neurons.keep(sizes >= 1e-6 * sizes.max())
            bases = bases[: len(neurons)]
            value = neurons.objective(data)
    return neurons


def _faces(data: ConeData, neurons: NeuronSet) -> list[Array]:
    """An orthonormal basis of the face of every neuron."""
    rows = np.sqrt(np.einsum("ij,ij->i", data.Z, data.Z))
    size = np.sqrt(np.einsum("kj,kj->k", neurons.u, neurons.u))
    margins = data.Z @ neurons.u.T
    near = np.abs(margins) <= _NEAR * rows[:, None] * size[None, :]
    D = data.Z.shape[1]
    bases = []
    for k in range(len(neurons)):
        index = np.flatnonzero(near[:, k])
        if len(index) == 0:
            bases.append(np.eye(D))
            continue
        unit = data.Z[index] / rows[index, None]
        _, sizes, right = np.linalg.svd(unit, full_matrices=True)
        rank = min(int((sizes > 1e-7).sum()), D - 1)
        bases.append(np.ascontiguousarray(right[rank:].T))
    return bases


def _projected(neurons: NeuronSet, bases: list[Array]) -> NeuronSet:
    u = np.stack([basis @ (basis.T @ u) for basis, u in zip(bases, neurons.u, strict=True)])
    return replace(neurons, u=u)


def _newton(
    data: ConeData, neurons: NeuronSet, bases: list[Array], damping: float = 1e-13
) -> tuple[Array, Array] | None:
    """The Newton step (in u and in beta) on the faces; None where the Hessian is not positive.

    `damping` times the mean diagonal entry is added to the part of the neurons.
    """
    sizes, p = data.sizes(neurons.u), data.penalised
    if not (sizes > 0).all():
        return None
    f = neurons.outputs(data)
    rho, curvature = data.rho(f), data.curvatures(f)
    active = (data.Z @ neurons.u.T > 0) * neurons.sign
    columns = [active[:, k, None] * (data.Z @ bases[k]) for k in range(len(neurons))]
    jacobian = np.concatenate([*columns, data.Q], axis=1)
    weighted = jacobian * np.sqrt(curvature)[:, None]
    hessian = weighted.T @ weighted
    gradient = jacobian.T @ -rho
    first = 0
    for k, basis in enumerate(bases):
        last = first + basis.shape[1]
        inner = basis[:p]
        unit = inner.T @ neurons.u[k, :p] / sizes[k]
        gradient[first:last] += data.alpha * unit
        hessian[first:last, first:last] += data.alpha / sizes[k] * (inner.T @ inner - np.outer(unit, unit))
        first = last
    diagonal = np.einsum("ii->i", hessian)
    diagonal[:first] += damping * (diagonal[:first].mean() if damping > 1e-12 else diagonal.max())
    try:
        step = cho_solve(cho_factor(hessian, lower=True, overwrite_a=True), -gradient)
    except LinAlgError:
        return None
    move = np.zeros_like(neurons.u)
    first = 0
    for k, basis in enumerate(bases):
        last = first + basis.shape[1]
        move[k] = basis @ step[first:last]
        first = last
    return move, step[first:]
