"""Merging of neurons that lie in a common closed activation cone, and their orientation.

Two neurons of one sign without a data point that is strictly active for one and strictly inactive for the other are
linear on a common cone: their sum is the same function on the data and its norm is not larger.
"""

import numpy as np

from .neuron_set import Array, ConeData, Mask, NeuronSet

_TOLERANCE = 1e-6  # margins below this, relative to row and neuron, count as lying on the kink


def merged(data: ConeData, neurons: NeuronSet) -> NeuronSet:
    """The same function on the data (up to the tolerance) with fewer neurons."""
    if len(neurons) == 0:
        return neurons
    neurons = oriented(data, neurons) if data.affine else neurons
    positive, negative = _sides(data, neurons.u)
    alive: Mask = np.asarray(positive.any(axis=0))
    neurons, positive, negative = neurons.keep(alive), positive[:, alive], negative[:, alive]
    u, sign, beta = neurons.u.copy(), neurons.sign, neurons.beta
    open_ = np.ones(len(u), dtype=bool)
    order = np.argsort(-data.sizes(u))
    p, m = positive.astype(np.float32), negative.astype(np.float32)
    conflict = (p.T @ m) > 0
    conflict |= conflict.T
    flipped = ((p.T @ p) > 0) | ((m.T @ m) > 0) if data.affine else np.ones_like(conflict)
    for k in order:
        if not open_[k]:
            continue
        while True:
            same = open_ & (sign == sign[k])
            same[k] = False
            direct = np.flatnonzero(same & ~conflict[k])
            turned = np.flatnonzero(same & ~flipped[k]) if data.affine else direct[:0]
            if len(direct):
                other, turn = int(direct[0]), False
            elif len(turned):
                other, turn = int(turned[0]), True
            else:
                break
            if turn:
                # relu(s) = s + relu(−s): the affine part is free.
                beta = beta + _free_coefficients(data, sign[other] * (data.Z @ u[other]))
                u[other] = -u[other]
            u[k] += u[other]
            open_[other] = False
            row = u[k : k + 1]
            pk, mk = (side[:, 0].astype(np.float32) for side in _sides(data, row))
            p[:, k], m[:, k] = pk, mk
            conflict[k] = ((pk @ m) > 0) | ((mk @ p) > 0)
            conflict[:, k] = conflict[k]
            if data.affine:
                flipped[k] = ((pk @ p) > 0) | ((mk @ m) > 0)
                flipped[:, k] = flipped[k]
    return NeuronSet(u[open_], sign[open_], beta)


def oriented(data: ConeData, neurons: NeuronSet) -> NeuronSet:
    """Every neuron active on at most half of the data; what is left over is affine and free."""
    if len(neurons) == 0:
        return neurons
    margins = data.Z @ neurons.u.T
    turn = (margins > 0).sum(axis=0) > len(margins) / 2
    if not turn.any():
        return neurons
    over = margins[:, turn] @ neurons.sign[turn]
    u = np.where(turn[:, None], -neurons.u, neurons.u)
    return NeuronSet(u, neurons.sign, neurons.beta + _free_coefficients(data, over))


def _free_coefficients(data: ConeData, values: Array) -> Array:
    """Coefficients in the orthonormal basis of a function that is affine."""
    return np.asarray(data.Q.T @ values)


def _sides(data: ConeData, u: Array) -> tuple[Mask, Mask]:
    """Where each neuron is strictly active and strictly inactive."""
    margins = data.Z @ u.T
    rows = np.sqrt(np.einsum("ij,ij->i", data.Z, data.Z))
    size = np.sqrt(np.einsum("kj,kj->k", u, u))
    limit = _TOLERANCE * rows[:, None] * size[None, :]
    return margins > limit, margins < -limit
