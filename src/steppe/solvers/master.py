"""The master programs of column generation: neurons within fixed activation cones, and sizes of fixed neurons."""

from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import nnls

from .cone_program import ConeProgram
from .neuron_set import Array, ConeData, Indices, Mask, NeuronSet, blend

_NEAR = 1e-9  # margins below this, relative to row and neuron, are on the kink: either side may be chosen
_ROWS = 400_000  # rows of all neurons together up to which no row is left out at first


def optimal_in_cones(
    data: ConeData, neurons: NeuronSet, rng: np.random.Generator, *, tol: float = 1e-10, newton: int = 12
) -> NeuronSet:
    """The best network whose neurons stay in the closed activation cones they are in.

    Cost: for K neurons one Gram matrix, n (K D)², and some 15 factorisations, (K D)³ / 3 each.
    """
    if len(neurons) == 0:
        return free_part_refitted(data, neurons)
    active = _patterns(data, neurons.u, rng)
    f = neurons.outputs(data)
    value = neurons.objective(data, f)
    if data.fit.name == "squared":
        candidate = _cone_step(data, neurons, active, data.curvatures(f), f, tol)
        return candidate if candidate.objective(data) < value else neurons
    majorant = False
    for _ in range(newton):
        curvature = data.curvatures(f, majorant=majorant)
        candidate = _cone_step(data, neurons, active, curvature, f, tol)
        tried = _descent(data, neurons, candidate, value)
        reached = value if tried is None else tried.objective(data)
        # Newton where it goes well; else a parabola above the loss, whose minimiser always lies lower.
        if tried is not None:
            neurons, f = tried, tried.outputs(data)
        if value - reached <= 1e-13 * abs(value) and majorant:
            break
        majorant = value - reached <= 1e-3 * abs(value) and not majorant
        value = reached
    return neurons


def _descent(data: ConeData, first: NeuronSet, second: NeuronSet, value: float) -> NeuronSet | None:
    """The longest of the steps 1, 1/2, 1/4, … from one set to the other that lowers the objective, if any."""
    step = 1.0
    while step > 1e-3:
        tried = blend(first, second, step)
        if tried.objective(data) < value:
            return tried
        step *= 0.5
    return None


def _patterns(data: ConeData, u: Array, rng: np.random.Generator) -> Mask:
    """1[Z u > 0]; points on a kink are decided by one random nudge per neuron, so that the cone has an interior."""
    margins = data.Z @ u.T
    rows = np.sqrt(np.einsum("ij,ij->i", data.Z, data.Z))
    size = np.sqrt(np.einsum("kj,kj->k", u, u))
    near = np.abs(margins) <= _NEAR * rows[:, None] * size[None, :]
    nudge = data.Z @ np.asarray(rng.standard_normal(u.shape)).T
    return np.where(near, nudge > 0, margins > 0)


def _cone_step(data: ConeData, neurons: NeuronSet, active: Mask, curvature: Array, f: Array, tol: float) -> NeuronSet:
    """Minimiser of the quadratic model of the loss at f over the cones; rows are added until none is violated."""
    n, D = data.Z.shape
    K = len(neurons)
    columns = np.concatenate([(neurons.sign[k] * active[:, k])[:, None] * data.Z for k in range(K)] + [data.Q], axis=1)
    weighted = columns * np.sqrt(curvature)[:, None]
    quadratic = weighted.T @ weighted
    linear = columns.T @ (data.rho(f) + curvature * f)
    sides = np.where(active, 1.0, -1.0).T
    chosen = _first_rows(data, neurons.u, n, K, D)
    every = chosen.shape[1] == n
    for _ in range(5):
        signs = sides if every else np.take_along_axis(sides, chosen, axis=1)
        rows = signs[:, :, None] * (data.Z if every else data.Z[chosen])
        program = ConeProgram(quadratic, linear, rows, data.alpha, data.penalised, tol=tol)
        answer = program.solve(neurons.u, neurons.beta)
        if every:
            break
        margins = sides * (answer.u @ data.Z.T)
        size = np.sqrt(np.einsum("kj,kj->k", answer.u, answer.u))
        worst = np.sort(np.argpartition(margins, D + 3, axis=1)[:, : D + 3], axis=1)
        violated = np.take_along_axis(margins, worst, axis=1) < -1e-9 * np.maximum(size, size.mean())[:, None]
        if not violated.any():
            break
        chosen = np.concatenate([chosen, worst], axis=1)
    return replace(neurons, u=answer.u, beta=answer.beta)


def _first_rows(data: ConeData, u: Array, n: int, K: int, D: int) -> Indices:
    """Indices of the rows with the smallest margins of every neuron; all rows of a small problem."""
    count = 6 * D + 20
    if n <= 2 * count or n * K <= _ROWS // D:
        return np.broadcast_to(np.arange(n), (K, n))
    margins = np.abs(u @ data.Z.T)
    return np.argpartition(margins, count, axis=1)[:, :count]


def free_part_refitted(data: ConeData, neurons: NeuronSet) -> NeuronSet:
    """The best free part for fixed neurons, by damped Newton steps."""
    if not data.affine:
        return neurons
    for _ in range(50):
        f = neurons.outputs(data)
        value = neurons.objective(data, f)
        curvature = data.curvatures(f)
        hessian = (data.Q * curvature[:, None]).T @ data.Q
        hessian[np.diag_indices_from(hessian)] += 1e-12 * hessian.trace()
        gradient = data.Q.T @ data.rho(f)
        step = np.asarray(np.linalg.lstsq(hessian, gradient, rcond=1e-13)[0])
        scale, improved = 1.0, False
        while scale > 1e-6 and not improved:
            tried = replace(neurons, beta=neurons.beta + scale * step)
            improved = tried.objective(data) < value
            scale *= 0.5
        if not improved:
            return neurons
        neurons = tried
        if data.fit.name == "squared":
            return neurons
    return neurons


def optimal_sizes(data: ConeData, neurons: NeuronSet) -> NeuronSet:
    """The best sizes ≥ 0 of fixed neurons (a nonnegative lasso on true ReLU columns); neurons of size 0 are dropped.

    For losses other than the squared one this is one step on the quadratic model with a line search.
    """
    if len(neurons) == 0:
        return free_part_refitted(data, neurons)
    norms = data.sizes(neurons.u)
    columns = np.maximum(data.Z @ neurons.u.T, 0.0) * neurons.sign
    f = columns.sum(axis=1) + data.Q @ neurons.beta
    curvature = data.curvatures(f)
    weighted = columns * curvature[:, None]
    gram, target = columns.T @ weighted, data.rho(f) + curvature * f
    linear = columns.T @ target - data.alpha * norms
    whole = np.diag(gram).copy()
    if data.affine:
        cross = data.Q.T @ weighted
        free = cholesky((data.Q * curvature[:, None]).T @ data.Q, lower=True)
        base = data.Q.T @ target
        half = solve_triangular(free, cross, lower=True)
        gram = gram - half.T @ half
        linear = linear - cross.T @ cho_solve((free, True), base)
    sizes = _nonnegative(gram, linear, whole)
    beta = cho_solve((free, True), base - cross @ sizes) if data.affine else neurons.beta
    kept = sizes > 1e-12 * sizes.max(initial=0.0)
    candidate = NeuronSet(neurons.u * sizes[:, None], neurons.sign, beta)
    if data.fit.name == "squared":
        return candidate.keep(kept)
    tried = _descent(data, neurons, candidate, neurons.objective(data, f))
    return neurons if tried is None else tried.keep(data.sizes(tried.u) > 0)


def _nonnegative(gram: Array, linear: Array, whole: Array) -> Array:
    """Minimiser of ½ c'G c − l'c over c ≥ 0; `whole` is the diagonal of G before the free part was taken out of it."""
    # A neuron that is affine on the data leaves only rounding behind.
    scale = 1 / np.sqrt(np.maximum(np.diag(gram), 1e-12 * whole + 1e-300))
    scaled = gram * scale[:, None] * scale[None, :]
    for ridge in (1e-11, 1e-8, 1e-5, 1e-2, 1.0):
        shifted = scaled + ridge * np.eye(len(scaled))
        try:
            root = cholesky(shifted, lower=False)
            return np.asarray(nnls(root, solve_triangular(root, linear * scale, trans="T"))[0] * scale)
        except (LinAlgError, RuntimeError):  # not positive; or nnls ran out of iterations
            continue
    return np.zeros(len(gram))
